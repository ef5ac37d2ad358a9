//! What operators watch a node by: metrics that dashboards and rules name, runbooks of alerts, events of the log.

mod events;
mod names;
mod prometheus;
mod runbooks;
mod sources;

use std::path::PathBuf;

/// A file or folder of the repository.
fn at(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// A file of the repository.
fn text(path: &str) -> String {
    std::fs::read_to_string(at(path)).unwrap_or_else(|cause| panic!("{path}: {cause}"))
}

/// Files of a folder with this ending, by their names.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(at(folder)).unwrap_or_else(|cause| panic!("{folder}: {cause}"));
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(ending));
    names.sort();
    names.into_iter().map(|name| format!("{folder}/{name}")).collect()
}

/// Files with rules for Prometheus.
fn rule_files() -> Vec<String> {
    let mut rules = files("config/prometheus", ".yml");
    rules.retain(|file| !file.ends_with(".test.yml") && text(file).contains("\ngroups:"));
    assert!(rules.len() >= 2, "{rules:?}");
    rules
}

/// Queries of the dashboards: dashboard, panel and expression.
fn queries() -> Vec<(String, String, String)> {
    let mut queries = Vec::new();
    for file in files("config/grafana/dashboards", ".json") {
        let dashboard: serde_json::Value = serde_json::from_str(&text(&file)).unwrap();
        let of = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                queries.push((of(&dashboard["uid"]), of(&panel["title"]), of(&target["expr"])));
            }
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|variable| variable["type"] == "query") {
            assert_eq!(variable["definition"], "label_values(up{job=\"nexmdm\"}, instance)", "{file}");
        }
    }
    assert!(queries.len() > 100, "{}", queries.len());
    queries
}
