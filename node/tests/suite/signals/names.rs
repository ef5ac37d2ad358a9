//! Every metric that a dashboard or rule names exists.

use std::collections::BTreeSet;

use super::sources::sources;
use super::{queries, rule_files, text};

/// Words of a text that begin so.
fn words(text: &str, begin: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(|c| !is_word(c)).filter(|word| word.starts_with(begin)).map(str::to_owned).collect()
}

/// Metrics that the sources register, each with its kind's suffixes left out.
fn declared() -> BTreeSet<String> {
    let registers = |text: &str| text.contains("register_") || text.contains("Opts::new(");
    let mut names = BTreeSet::new();
    for source in sources().iter().filter(|source| registers(&source.text)) {
        names.extend(source.text.split('"').filter(|word| word.starts_with("nexmdm_")).map(str::to_owned));
    }
    assert!(names.len() > 90, "{names:?}");
    names
}

#[test]
fn every_metric_of_dashboards_and_rules_exists() {
    let declared = declared();
    let exists = |name: &str| {
        declared.contains(name)
            || ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end).is_some_and(|base| declared.contains(base)))
    };
    let mut recorded = BTreeSet::new();
    let mut used: Vec<(String, String)> =
        queries().into_iter().map(|(dashboard, panel, query)| (format!("{dashboard}: {panel}"), query)).collect();
    for file in rule_files() {
        let rules = text(&file);
        recorded.extend(rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).map(str::to_owned));
        // Comments and annotations name events and files as well, which have no such prefix.
        used.push((file, rules));
    }
    let missing: Vec<_> = used
        .iter()
        .flat_map(|(place, query)| words(query, "nexmdm_").into_iter().map(move |name| (place, name)))
        .filter(|(_, name)| !exists(name))
        .collect();
    assert!(missing.is_empty(), "no such metrics: {missing:#?}");
    let missing: Vec<_> = used
        .iter()
        .flat_map(|(place, query)| words(query, "nexmdm:").into_iter().map(move |name| (place, name)))
        .filter(|(_, name)| !recorded.contains(name))
        .collect();
    assert!(missing.is_empty(), "no rule records: {missing:#?}");
}

#[test]
fn every_query_is_of_the_job_of_the_nodes() {
    for (dashboard, panel, query) in queries() {
        let selectors = query.matches("nexmdm_").count();
        assert_eq!(query.matches("job=\"nexmdm\"").count(), selectors + query.matches("up{").count(), "{dashboard}, {panel}: {query}");
    }
}
