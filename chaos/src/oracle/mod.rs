//! Oracle: checks from the records of devices, the injected faults and the database rows which promises were kept.

mod alerts;
mod archives;
mod authenticity;
mod backups;
mod command;
mod commands;
mod deployments;
mod dump;
mod evidence;
mod history;
mod host_agents;
mod ownership;
mod rows;
mod stored;
mod takeover;

use std::fmt;

use serde::Serialize;

pub use alerts::{AlertFacts, ChangeRow, DeliveryRow, NotificationRow, SilentSink};
pub use archives::{ArchiveFacts, FoundArchive, RecordedDay, read_archives};
pub use backups::{RestoredFacts, check as check_restored};
pub use command::{OracleArgs, run};
pub use deployments::{
    AttemptRow, DeploymentRow, Deployments, Limits, OperatorAction, Step, StopEvent, TaskRow, append_action, most_at_a_time,
    most_in_a_minute,
};
pub use evidence::{Evidence, Moment, Row};
pub use history::{
    Ack, Claim, CommandRow, DecidingOwner, ExecutedCommand, Failure, FaultPeriod, FaultPeriodKind, History, KeyPeriod, Names,
    ReceivedCommand, ReportedResult, RequestedCommand, StoredRows,
};
pub use host_agents::{ConcludedCommand, HostAgentFacts, HostAgentFiles, PerformedAction};
pub use rows::read_rows;
pub use takeover::{FirstResponses, first_responses};

/// Most violations that are listed; further ones are only counted.
const SHOWN: usize = 20;

/// Violation of a promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Promise, such as `P1`.
    pub promise: &'static str,
    /// Device; empty when it does not concern a single one.
    pub device: String,
    /// Description.
    pub what: String,
    /// What shows it.
    pub evidence: Evidence,
}

impl Violation {
    /// Violation without evidence beside its description.
    pub fn new(promise: &'static str, device: &str, what: impl Into<String>) -> Self {
        Self { promise, device: device.to_owned(), what: what.into(), evidence: Evidence::default() }
    }

    /// The same with evidence.
    #[must_use]
    pub fn with(mut self, evidence: Evidence) -> Self {
        self.evidence = evidence;
        self
    }
}

/// Result of checking one promise.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Promise.
    pub promise: &'static str,
    /// Statements of what was checked.
    pub looked_at: String,
    /// Violations.
    pub violations: Vec<Violation>,
    /// Notes.
    pub notes: Vec<String>,
}

/// Results of all checks.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// One per promise.
    pub checks: Vec<Check>,
}

/// Checks every promise that a history can prove.
pub fn judge(history: &History) -> Verdict {
    Verdict {
        checks: vec![
            stored::check(history),
            commands::check(history),
            authenticity::check(history),
            ownership::check(history),
            takeover::without_database(history),
            takeover::check(history),
            deployments::check(history),
            deployments::check_stops(history),
            host_agents::check(history),
            archives::check(history),
            alerts::check(history),
        ],
    }
}

impl Verdict {
    /// Number of violations.
    pub fn violations(&self) -> usize {
        self.checks.iter().map(|check| check.violations.len()).sum()
    }

    /// Adds the result of another check.
    pub fn add(&mut self, check: Check) {
        self.checks.push(check);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { promise, looked_at, violations, notes } in &self.checks {
            let outcome = if violations.is_empty() { "kept".to_owned() } else { format!("BROKEN {} times", violations.len()) };
            writeln!(f, "{promise:<4} {outcome}: {looked_at}")?;
            for Violation { device, what, .. } in violations.iter().take(SHOWN) {
                writeln!(f, "     {device} {what}")?;
            }
            if violations.len() > SHOWN {
                writeln!(f, "     and {} more", violations.len() - SHOWN)?;
            }
            for note in notes {
                writeln!(f, "     {note}")?;
            }
        }
        match self.violations() {
            0 => write!(f, "verdict: no violation"),
            n => write!(f, "verdict: {n} VIOLATIONS"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_history_breaks_nothing() {
        let verdict = judge(&History::default());
        assert_eq!(verdict.violations(), 0, "{verdict}");
        assert!(verdict.to_string().contains("nothing to check"), "{verdict}");
    }

    #[test]
    fn a_verdict_names_promise_device_and_deed_and_does_not_flood() {
        let violation = Violation::new("P1", "d-1", "was lost");
        let check = Check { promise: "P1", looked_at: "30 lines".into(), violations: vec![violation; 30], notes: vec!["a note".into()] };
        let text = Verdict { checks: vec![check] }.to_string();
        for part in ["P1   BROKEN 30 times: 30 lines", "d-1 was lost", "and 10 more", "a note", "30 VIOLATIONS"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
