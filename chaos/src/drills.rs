//! Drills of a command: their names on the command line, and the report of those that were run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::oracle::{Check, Verdict, Violation};

/// Selection of drills: one by its name, or all.
#[derive(Debug, Clone)]
pub struct Drills<D>(pub Vec<D>);

/// Name of a drill on the command line.
pub fn name_of(drill: &impl ValueEnum) -> String {
    drill.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Reads a selection of drills.
///
/// # Errors
/// There is no drill of this name; those that there are.
pub fn drills_of<D: ValueEnum + Clone>(text: &str) -> Result<Drills<D>, String> {
    if text == "all" {
        return Ok(Drills(D::value_variants().to_vec()));
    }
    let names = || D::value_variants().iter().map(name_of).collect::<Vec<_>>().join(", ");
    D::from_str(text, false).map(|drill| Drills(vec![drill])).map_err(|_| format!("unknown drill `{text}`; expected all, {}", names()))
}

/// What a drill has shown.
#[derive(Debug, Default)]
pub struct Shown {
    /// What was seen, for people.
    pub what: String,
    /// Checks of promises.
    pub checks: Vec<Check>,
    /// What its fleet has counted, if that is reported.
    pub fleet: Value,
}

/// Report of drills.
#[derive(Debug, Default)]
pub struct Report {
    drills: Vec<Value>,
    checks: Vec<Check>,
}

impl Report {
    /// Adds and prints what came of a drill.
    pub fn add(&mut self, name: &str, took: Duration, outcome: Result<Shown>) {
        let took_s = took.as_secs_f64();
        let mut entry = json!({"drill": name, "seconds": took_s});
        match outcome {
            Ok(Shown { what, checks, fleet }) => {
                let verdict = Verdict { checks };
                let kept = verdict.violations() == 0;
                println!("\n{name}: {} ({took_s:.0} s): {what}\n{verdict}", if kept { "ok" } else { "BROKEN" });
                entry["ok"] = kept.into();
                entry["shown"] = what.into();
                entry["verdict"] = json!(verdict);
                if !fleet.is_null() {
                    entry["fleet"] = fleet;
                }
                self.checks.extend(verdict.checks);
            }
            Err(error) => {
                let problem = format!("{error:#}");
                println!("\n{name}: FAILED ({took_s:.0} s): {problem}");
                entry["ok"] = false.into();
                entry["error"] = problem.clone().into();
                let violations = vec![Violation::new("drill", "", format!("{name}: {problem}"))];
                self.checks.push(Check { promise: "drill", looked_at: name.to_owned(), violations, notes: Vec::new() });
            }
        }
        self.drills.push(entry);
    }

    /// Whether each drill had the expected result and every promise was kept.
    pub fn is_well(&self) -> bool {
        self.drills.iter().all(|drill| drill["ok"] == true)
    }

    /// Checks of all drills; one that had another result than expected is a violation.
    pub fn into_checks(self) -> Vec<Check> {
        self.checks
    }

    /// Writes it as JSON, if there is a path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: Option<&Path>) -> Result<()> {
        match path {
            None => Ok(()),
            Some(path) => {
                std::fs::write(path, serde_json::to_vec_pretty(&self.drills)?).with_context(|| format!("cannot write {}", path.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
    #[value(rename_all = "snake_case")]
    enum Trial {
        NodeKilled,
        Storm,
    }

    #[test]
    fn drills_are_named_one_by_one_or_all_at_once() {
        assert_eq!(drills_of::<Trial>("all").unwrap().0, [Trial::NodeKilled, Trial::Storm]);
        assert_eq!(drills_of::<Trial>("node_killed").unwrap().0, [Trial::NodeKilled]);
        assert_eq!(drills_of::<Trial>("flood").unwrap_err(), "unknown drill `flood`; expected all, node_killed, storm");
    }

    #[test]
    fn a_report_is_well_when_every_drill_is() {
        let check = |violations| Check { promise: "P1", looked_at: "rows".into(), violations, notes: Vec::new() };
        let shown = |violations| Shown { what: "seen".into(), checks: vec![check(violations)], ..Shown::default() };
        let mut report = Report::default();
        report.add("one", Duration::from_secs(1), Ok(shown(Vec::new())));
        assert!(report.is_well());
        report.add("two", Duration::from_secs(1), Err(anyhow::anyhow!("not so")));
        assert!(!report.is_well());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        report.write(Some(&path)).unwrap();
        let written: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((&written[0]["ok"], &written[0]["shown"], &written[1]["error"]), (&json!(true), &json!("seen"), &json!("not so")));
        let checks = report.into_checks();
        assert_eq!(checks.iter().map(|check| (check.promise, check.violations.len())).collect::<Vec<_>>(), [("P1", 0), ("drill", 1)]);
        let mut broken = Report::default();
        broken.add("three", Duration::from_secs(1), Ok(shown(vec![Violation::new("P1", "d", "is missing")])));
        assert!(!broken.is_well());
    }
}
