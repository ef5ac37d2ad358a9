//! Judgement of a rule about a subject.

use chrono::TimeDelta;

use crate::Timestamp;
use crate::quantity;

use super::{Facts, Rule, Thresholds, rules};

/// Verdict of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The condition holds.
    Firing {
        /// Reason in words and numbers.
        reason: String,
    },
    /// The condition does not hold.
    Ok,
    /// Not known, or between the thresholds: what was is still so.
    Unknown,
}

/// Verdict, and when it may be another one without news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// Verdict.
    pub verdict: Verdict,
    /// When to evaluate again although nothing is reported.
    pub next_deadline: Option<Timestamp>,
}

impl Evaluation {
    pub(super) fn firing(reason: String) -> Self {
        Self { verdict: Verdict::Firing { reason }, next_deadline: None }
    }

    pub(super) const OK: Self = Self { verdict: Verdict::Ok, next_deadline: None };
    pub(super) const UNKNOWN: Self = Self { verdict: Verdict::Unknown, next_deadline: None };

    pub(super) fn until(self, at: Timestamp) -> Self {
        Self { next_deadline: Some(at), ..self }
    }

    /// Whether the alert is open after this, given whether it was before.
    pub fn fires_after(&self, firing: bool) -> bool {
        match self.verdict {
            Verdict::Firing { .. } => true,
            Verdict::Ok => false,
            Verdict::Unknown => firing,
        }
    }
}

/// Circumstances of a judgement.
#[derive(Debug, Clone, Copy)]
pub struct Judging<'a> {
    /// Present time.
    pub now: Timestamp,
    /// Since when whoever judges hears of the subject: its start, a failover, or the end of an outage of the database.
    pub judged_since: Timestamp,
    /// How long silence says nothing after that: one interval of heartbeats, and grace.
    pub settle: TimeDelta,
    /// Whether the alert is open: conditions clear elsewhere than they are raised.
    pub firing: bool,
    /// Thresholds that hold for the subject.
    pub thresholds: &'a Thresholds,
}

impl Judging<'_> {
    /// When silence begins to mean something.
    pub(super) fn settled_at(&self) -> Timestamp {
        self.judged_since + self.settle
    }

    /// Threshold that is a number of seconds, minutes, hours or days, by its name.
    pub(super) fn duration(&self, name: &str) -> TimeDelta {
        let value = self.thresholds.get(name);
        let unit_s = self.thresholds.rule().spec().thresholds.iter().find(|spec| spec.name == name).map_or(1, |spec| match spec.unit {
            super::ThresholdUnit::Minutes => 60,
            super::ThresholdUnit::Hours => 3_600,
            super::ThresholdUnit::Days => 86_400,
            _ => 1,
        });
        // Thresholds are within the limits of their declaration, far below what a duration holds.
        TimeDelta::try_seconds(value.saturating_mul(unit_s)).unwrap_or(TimeDelta::MAX)
    }

    /// Fires once something has lasted for longer than `limit`.
    pub(super) fn lasting(&self, since: Timestamp, limit: TimeDelta, reason: impl FnOnce(&str, &str) -> String) -> Evaluation {
        let ends = since.checked_add_signed(limit).unwrap_or(Timestamp::MAX_UTC);
        if ends > self.now {
            return Evaluation::OK.until(ends);
        }
        Evaluation::firing(reason(&quantity::duration((self.now - since).num_seconds()), &quantity::duration(limit.num_seconds())))
    }

    /// Fires below one limit, and is over from another on.
    pub(super) fn below(&self, value: i64, raise: i64, clear: i64, reason: impl FnOnce() -> String) -> Evaluation {
        match value {
            _ if value < raise => Evaluation::firing(reason()),
            // Overlapping scopes may set the limits in the wrong order.
            _ if value >= clear.max(raise) => Evaluation::OK,
            _ => Evaluation::UNKNOWN,
        }
    }

    /// Fires at a limit and above, and is over below another.
    pub(super) fn at_least(&self, value: i64, raise: i64, clear: i64, reason: impl FnOnce() -> String) -> Evaluation {
        match value {
            _ if value >= raise => Evaluation::firing(reason()),
            _ if value < clear.min(raise) => Evaluation::OK,
            _ => Evaluation::UNKNOWN,
        }
    }
}

/// Judgement of a rule: of a subject of another kind, nothing is known.
pub fn evaluate(rule: Rule, facts: Facts<'_>, at: &Judging<'_>) -> Evaluation {
    let judged = match facts {
        Facts::Device(device) => rules::of_device(rule, device, at),
        Facts::Deployment(deployment) => rules::of_deployment(rule, deployment, at),
        Facts::Node(node) => rules::of_node(rule, node, at),
        Facts::System(system) => rules::of_system(rule, system, at),
    };
    judged.unwrap_or(Evaluation::UNKNOWN)
}
