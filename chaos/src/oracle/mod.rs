//! Decides, from what simulated devices recorded, what was done to the cluster
//! and what the database holds, which promises were kept.

mod authenticity;
mod command;
mod commands;
mod deployments;
mod history;
mod host_agents;
mod ownership;
mod rows;
mod stored;
mod takeover;

use std::fmt;

use serde::Serialize;

pub use command::{OracleArgs, run};
pub use deployments::{
    Act, AttemptRow, Brake, DeploymentRow, Deployments, Limits, Step, TaskRow, append_act, most_at_a_time, most_in_a_minute,
};
pub use history::{
    Ack, Claim, CommandRow, Deciding, Executed, Failure, History, KeyPeriod, Names, Order, Received, Span, SpanKind, Stored, Told,
};
pub use host_agents::{Concluded, HostAgentFacts, HostAgentFiles, Performed};
pub use rows::read_rows;
pub use takeover::{FirstAnswers, first_answers};

/// Violations that are written out; the others are only counted.
const SHOWN: usize = 20;

/// Something that must not have happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which promise it breaks, `P1` and so on.
    pub promise: &'static str,
    /// Whose; empty when it is not about one device.
    pub device: String,
    /// What happened.
    pub what: String,
}

/// One promise, checked.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Which.
    pub promise: &'static str,
    /// What was looked at.
    pub looked_at: String,
    /// What broke it.
    pub violations: Vec<Violation>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
}

/// All checks.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// One per promise.
    pub checks: Vec<Check>,
}

/// Checks everything that can be checked from a history.
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
        ],
    }
}

impl Verdict {
    /// How many violations there are.
    pub fn violations(&self) -> usize {
        self.checks.iter().map(|check| check.violations.len()).sum()
    }

    /// Adds what somebody else found.
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
        let violation = Violation { promise: "P1", device: "d-1".into(), what: "was lost".into() };
        let check = Check { promise: "P1", looked_at: "30 lines".into(), violations: vec![violation; 30], notes: vec!["a note".into()] };
        let text = Verdict { checks: vec![check] }.to_string();
        for part in ["P1   BROKEN 30 times: 30 lines", "d-1 was lost", "and 10 more", "a note", "30 VIOLATIONS"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
