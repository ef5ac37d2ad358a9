//! Verdict of a run: promises, thresholds, steady states, and what they come to.

use serde::{Deserialize, Serialize};

use crate::oracle::{Check, Moment, Row, Violation};

/// Most counterexamples that are kept of one promise; further ones are only counted.
pub const COUNTEREXAMPLES_MAX: usize = 20;

/// What a run comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All promises, thresholds and steady states hold.
    Passed,
    /// One of them does not.
    Failed,
    /// The scenario could not be run to its end.
    NotRun,
}

impl Outcome {
    /// Exit code of `chaos`: 0, 1 or 2.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::NotRun => 2,
        }
    }

    /// Word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotRun => "not run",
        }
    }
}

/// Verdict of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What it comes to.
    pub outcome: Outcome,
    /// Why the scenario could not be run to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Promises.
    pub promises: Vec<PromiseVerdict>,
    /// Thresholds.
    pub thresholds: Vec<Threshold>,
    /// Steady states before and after.
    pub steady_states: Vec<SteadyState>,
}

/// Whether a promise was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseVerdict {
    /// `P1` to `P14`, or a name such as `calm`.
    pub id: String,
    /// What is promised.
    pub promise: String,
    /// Whether it was kept.
    pub kept: bool,
    /// What was checked, with numbers.
    pub checked: String,
    /// Number of violations.
    pub violations: usize,
    /// The first of them.
    pub counterexamples: Vec<Counterexample>,
    /// Remarks.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Violation, with what shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counterexample {
    /// Device; none when it does not concern a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Request id of the command, or another id that logs name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What happened, in a sentence about the device.
    pub what: String,
    /// Times that matter, the earliest first.
    #[serde(default)]
    pub times: Vec<Moment>,
    /// Rows of the database that are there or missing.
    #[serde(default)]
    pub rows: Vec<Row>,
}

/// Threshold of a measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Name, as in the scenario.
    pub name: String,
    /// Measured value; none when nothing was measured, which does not hold.
    pub value: Option<f64>,
    /// Unit, such as `ms`, `%` or `/s`; may be empty.
    #[serde(default)]
    pub unit: String,
    /// How it compares with the limit.
    pub comparison: Comparison,
    /// Limit.
    pub limit: f64,
}

/// How a value is compared with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Less than the limit.
    Below,
    /// The limit or less.
    AtMost,
    /// The limit or more.
    AtLeast,
}

impl Comparison {
    /// Sign.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "\u{2264}",
            Self::AtLeast => "\u{2265}",
        }
    }
}

impl Threshold {
    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.value.is_some_and(|value| match self.comparison {
            Comparison::Below => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::AtLeast => value >= self.limit,
        })
    }
}

/// When a steady state is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Before the first step.
    Before,
    /// After everything was healed.
    After,
}

impl When {
    /// Word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// Steady state: what is expected of a system that nobody disturbs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SteadyState {
    /// When it was measured.
    pub when: When,
    /// Conditions.
    pub conditions: Vec<Threshold>,
}

impl SteadyState {
    /// Whether all of its conditions hold.
    pub fn holds(&self) -> bool {
        self.conditions.iter().all(Threshold::holds)
    }
}

impl Verdict {
    /// Verdict of what was found.
    pub fn of(promises: Vec<PromiseVerdict>, thresholds: Vec<Threshold>, steady_states: Vec<SteadyState>, problem: Option<String>) -> Self {
        let held = promises.iter().all(|promise| promise.kept)
            && thresholds.iter().all(Threshold::holds)
            && steady_states.iter().all(SteadyState::holds);
        let outcome = match (&problem, held) {
            // What was broken until then is broken all the same.
            (Some(_), _) => Outcome::NotRun,
            (None, true) => Outcome::Passed,
            (None, false) => Outcome::Failed,
        };
        Self { outcome, problem, promises, thresholds, steady_states }
    }

    /// Promises that were broken.
    pub fn broken(&self) -> impl Iterator<Item = &PromiseVerdict> {
        self.promises.iter().filter(|promise| !promise.kept)
    }
}

impl From<&Violation> for Counterexample {
    fn from(violation: &Violation) -> Self {
        let mut times = violation.evidence.times.clone();
        times.sort_by_key(|moment| moment.at_us);
        Self {
            device: (!violation.device.is_empty()).then(|| violation.device.clone()),
            request: violation.evidence.request.clone(),
            what: violation.what.clone(),
            times,
            rows: violation.evidence.rows.clone(),
        }
    }
}

impl From<&Check> for PromiseVerdict {
    fn from(check: &Check) -> Self {
        Self {
            id: check.promise.to_owned(),
            promise: super::promises::text(check.promise).to_owned(),
            kept: check.violations.is_empty(),
            checked: check.looked_at.clone(),
            violations: check.violations.len(),
            counterexamples: check.violations.iter().take(COUNTEREXAMPLES_MAX).map(Counterexample::from).collect(),
            notes: check.notes.clone(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::verdict) fn threshold(value: Option<f64>, comparison: Comparison, limit: f64) -> Threshold {
        Threshold { name: "heartbeat_p99".into(), value, unit: "ms".into(), comparison, limit }
    }

    #[test]
    fn a_threshold_holds_up_to_its_limit_and_never_without_a_value() {
        for (value, comparison, holds) in [
            (Some(9.9), Comparison::Below, true),
            (Some(10.0), Comparison::Below, false),
            (Some(10.0), Comparison::AtMost, true),
            (Some(10.1), Comparison::AtMost, false),
            (Some(10.0), Comparison::AtLeast, true),
            (Some(9.9), Comparison::AtLeast, false),
            (None, Comparison::AtMost, false),
            (None, Comparison::AtLeast, false),
            (Some(f64::NAN), Comparison::AtMost, false),
        ] {
            assert_eq!(threshold(value, comparison, 10.0).holds(), holds, "{value:?} {comparison:?}");
        }
    }

    #[test]
    fn one_thing_that_does_not_hold_fails_a_run_and_a_problem_is_no_verdict() {
        let check = |violations| Check { promise: "P1", looked_at: "2 rows".into(), violations, notes: Vec::new() };
        let kept = || vec![PromiseVerdict::from(&check(Vec::new()))];
        let broken = vec![PromiseVerdict::from(&check(vec![Violation::new("P1", "d1", "has 0 rows")]))];
        let (good, bad) = (threshold(Some(1.0), Comparison::AtMost, 2.0), threshold(Some(3.0), Comparison::AtMost, 2.0));
        let state = |condition: &Threshold| vec![SteadyState { when: When::After, conditions: vec![condition.clone()] }];
        let outcome = |promises, thresholds, states, problem| Verdict::of(promises, thresholds, states, problem).outcome;
        assert_eq!(outcome(kept(), vec![good.clone()], state(&good), None), Outcome::Passed);
        assert_eq!(outcome(broken.clone(), vec![good.clone()], state(&good), None), Outcome::Failed);
        assert_eq!(outcome(kept(), vec![bad.clone()], state(&good), None), Outcome::Failed);
        assert_eq!(outcome(kept(), vec![good.clone()], state(&bad), None), Outcome::Failed);
        assert_eq!(outcome(broken, vec![good], Vec::new(), Some("no database".into())), Outcome::NotRun);
        assert_eq!([Outcome::Passed, Outcome::Failed, Outcome::NotRun].map(Outcome::exit_code), [0, 1, 2]);
    }

    #[test]
    fn counterexamples_are_counted_and_the_first_are_kept() {
        let violations = (0..30).map(|n| Violation::new("P1", &format!("d{n}"), "was lost")).collect();
        let verdict = PromiseVerdict::from(&Check { promise: "P1", looked_at: String::new(), violations, notes: Vec::new() });
        assert_eq!((verdict.kept, verdict.violations, verdict.counterexamples.len()), (false, 30, COUNTEREXAMPLES_MAX));
        assert!(verdict.promise.contains("stored exactly once"), "{verdict:?}");
    }
}
