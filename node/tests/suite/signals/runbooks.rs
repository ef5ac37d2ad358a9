//! A runbook for each rule of Prometheus and of NexMDM itself.

use std::collections::BTreeSet;

use domain::rule::Rule;

use super::{at, files, rule_files, text};

/// Headings of a runbook, in their order.
const HEADINGS: [&str; 4] = ["## What it means", "## What to look at", "## What to do", "## How to see that it worked"];

/// Alerts of Prometheus, each with the runbook that it names.
fn prometheus_alerts() -> Vec<(String, Option<String>)> {
    let mut alerts: Vec<(String, Option<String>)> = Vec::new();
    for line in rule_files().iter().map(|file| text(file)).collect::<String>().lines() {
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            alerts.push((name.to_owned(), None));
        } else if let Some(url) = line.trim().strip_prefix("runbook_url: ") {
            alerts.last_mut().unwrap().1 = Some(url.to_owned());
        }
    }
    assert!(alerts.len() >= 14, "{alerts:?}");
    alerts
}

#[test]
fn every_rule_has_a_runbook_with_all_of_its_parts() {
    let mut names = BTreeSet::new();
    for (alert, url) in prometheus_alerts() {
        assert_eq!(url, Some(format!("docs/runbooks/{alert}.md")), "runbook_url of {alert}");
        names.insert(alert);
    }
    names.extend(Rule::ALL.iter().map(|rule| rule.as_str().to_owned()));
    let index = text("docs/runbooks/README.md");
    for name in &names {
        let runbook = text(&format!("docs/runbooks/{name}.md"));
        let headings: Vec<_> = runbook.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, HEADINGS, "{name}");
        for part in runbook.split("\n## ").skip(1) {
            assert!(part.lines().filter(|line| !line.trim().is_empty()).count() >= 2, "{name}: an empty part: {part}");
        }
        assert!(
            runbook.starts_with(&format!("# {name}\n")) && index.contains(&format!("({name}.md)")),
            "{name}: title, or place in README.md"
        );
    }
}

#[test]
fn what_runbooks_lead_to_is_there() {
    for file in files("docs/runbooks", ".md") {
        for target in text(&file).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
            let path = if path.is_empty() { file.clone() } else { format!("docs/runbooks/{path}") };
            assert!(at(&path).is_file(), "{file}: {target}");
            let anchors = |line: &str| {
                let title = line.trim_start_matches('#').trim().to_lowercase();
                title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
            };
            let has = |anchor: &str| text(&path).lines().filter(|line| line.starts_with('#')).any(|line| anchors(line) == anchor);
            assert!(anchor.is_none_or(has), "{file}: no heading {target}");
        }
    }
}
