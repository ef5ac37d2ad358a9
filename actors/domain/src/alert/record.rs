//! Record of an alert: how it is raised, acknowledged and resolved.
//!
//! ```text
//!         fires                acknowledged
//! (none) -------> firing ------------------> acknowledged
//!                    |                            |
//!                    +-------- resolved <---------+     clears, its rule is off, its subject is gone
//! ```
//! Each raise is a record of its own; at most one of a rule and subject is open.

use chrono::TimeDelta;

use crate::invalid::Invalid;
use crate::text::bounded;
use crate::{AlertId, Timestamp};

use super::{AlertKey, Severity, SubjectLabels, Verdict};

/// Longest reason of an alert.
pub const REASON_MAX_CHARS: usize = 500;
/// Longest note of an acknowledgement.
pub const NOTE_MAX_CHARS: usize = 500;
/// Period in which openings are counted for flap detection.
pub const FLAP_PERIOD: TimeDelta = TimeDelta::hours(1);
/// Most openings that are remembered of a rule and subject; also the greatest limit of flap detection.
pub const OPENINGS_MAX: usize = 20;

/// State of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AlertState {
    /// The condition holds, and nobody has said to look after it.
    Firing,
    /// The condition holds, and somebody looks after it.
    Acknowledged,
    /// The condition does not hold any more.
    Resolved,
}

named!(pub AlertState, parse -> Result);

impl AlertState {
    /// Whether the condition holds.
    pub fn is_open(self) -> bool {
        self != Self::Resolved
    }
}

/// Change of an alert, as its history has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum TransitionKind {
    /// Raised.
    Raised,
    /// Became more or less severe, because the rule's setting changed.
    SeverityChanged,
    /// Acknowledged by a person.
    Acknowledged,
    /// Resolved.
    Resolved,
    /// A command was sent to mend it.
    Remediated,
}

named!(pub TransitionKind, parse -> Option);

/// Reason for which an alert was resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ResolveCause {
    /// The condition does not hold any more.
    Cleared,
    /// The rule was turned off for the subject.
    RuleOff,
    /// The subject was deleted, or is over.
    SubjectGone,
}

named!(pub ResolveCause, parse -> Option);

/// Acknowledgement by a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Name of the person.
    pub by: String,
    /// Note; may be empty.
    pub note: String,
    /// Time.
    pub at: Timestamp,
}

/// Record of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRecord {
    /// Id.
    pub id: AlertId,
    /// Rule and subject.
    pub key: AlertKey,
    /// Name and labels of the subject when it was raised.
    pub labels: SubjectLabels,
    /// Severity.
    pub severity: Severity,
    /// State.
    pub state: AlertState,
    /// Reason in words and numbers, as of the raise.
    pub reason: String,
    /// When it was raised.
    pub opened_at: Timestamp,
    /// Acknowledgement, if any.
    pub acknowledged: Option<Acknowledgement>,
    /// When and why it was resolved.
    pub resolved: Option<(Timestamp, ResolveCause)>,
    /// Number of changes so far; the raise is the first.
    pub revision: u32,
}

impl AlertRecord {
    /// How long it lasted, or has lasted so far.
    pub fn lasted(&self, now: Timestamp) -> TimeDelta {
        (self.resolved.map_or(now, |(at, _)| at) - self.opened_at).max(TimeDelta::zero())
    }
}

/// Change that a judgement makes to the records of a rule and subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange {
    /// A record is opened.
    Open {
        /// Severity.
        severity: Severity,
        /// Reason, within its limit.
        reason: String,
    },
    /// The open record changes its severity.
    SetSeverity(Severity),
    /// The open record is resolved.
    Resolve(ResolveCause),
}

/// The change that follows from a judgement, if any. `open`: severity of the open record; `on`: whether the rule is on for the subject.
pub fn judge(open: Option<Severity>, on: bool, verdict: &Verdict, severity: Severity) -> Option<RecordChange> {
    match (open, verdict) {
        (Some(_), _) if !on => Some(RecordChange::Resolve(ResolveCause::RuleOff)),
        (None, Verdict::Firing { reason }) if on => {
            let mut reason = reason.clone();
            crate::text::fit(&mut reason, REASON_MAX_CHARS);
            Some(RecordChange::Open { severity, reason })
        }
        (Some(_), Verdict::Ok) => Some(RecordChange::Resolve(ResolveCause::Cleared)),
        (Some(before), _) if before != severity => Some(RecordChange::SetSeverity(severity)),
        _ => None,
    }
}

/// Checks the note of an acknowledgement.
///
/// # Errors
/// Names the limit.
pub fn note(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    bounded("note", text, NOTE_MAX_CHARS).map(|()| text.to_owned())
}

/// State after an acknowledgement. `None`: nothing changes; it is acknowledged already, or resolved.
pub fn acknowledge(state: AlertState) -> Option<AlertState> {
    (state == AlertState::Firing).then_some(AlertState::Acknowledged)
}

/// Openings of a rule and subject within the last hour, oldest first, at most [`OPENINGS_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Openings(Vec<Timestamp>);

impl Openings {
    /// Openings as they were stored.
    pub fn stored(mut at: Vec<Timestamp>) -> Self {
        at.sort_unstable();
        at.drain(..at.len().saturating_sub(OPENINGS_MAX));
        Self(at)
    }

    /// The openings.
    pub fn times(&self) -> &[Timestamp] {
        &self.0
    }

    /// Adds one.
    pub fn push(&mut self, at: Timestamp) {
        self.0.push(at);
        self.0.sort_unstable();
        if self.0.len() > OPENINGS_MAX {
            self.0.remove(0);
        }
    }

    /// Whether some count no more.
    pub fn forgets(&self, now: Timestamp) -> bool {
        self.0.iter().any(|at| *at + FLAP_PERIOD <= now)
    }

    /// Forgets those that count no more.
    pub fn forget(&mut self, now: Timestamp) {
        self.0.retain(|at| *at + FLAP_PERIOD > now);
    }

    /// Until when it flaps: opened more than `limit` times within an hour. `None`: it does not.
    pub fn flapping_until(&self, limit: usize, now: Timestamp) -> Option<Timestamp> {
        let recent: Vec<_> = self.0.iter().filter(|at| **at + FLAP_PERIOD > now).collect();
        // It ends when no more than `limit` are left.
        recent.len().checked_sub(limit.clamp(1, OPENINGS_MAX - 1) + 1).map(|at| *recent[at] + FLAP_PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    #[test]
    fn judgements_open_change_and_resolve() {
        use Severity::{Critical, Warning};
        let firing = Verdict::Firing { reason: "battery 9 %".into() };
        let open = RecordChange::Open { severity: Warning, reason: "battery 9 %".into() };
        for (before, on, verdict, change) in [
            (None, true, &firing, Some(open)),
            (None, true, &Verdict::Ok, None),
            (None, true, &Verdict::Unknown, None),
            (None, false, &firing, None),
            (Some(Warning), true, &firing, None),
            (Some(Critical), true, &firing, Some(RecordChange::SetSeverity(Warning))),
            (Some(Critical), true, &Verdict::Unknown, Some(RecordChange::SetSeverity(Warning))),
            (Some(Warning), true, &Verdict::Unknown, None),
            (Some(Warning), true, &Verdict::Ok, Some(RecordChange::Resolve(ResolveCause::Cleared))),
            (Some(Warning), false, &firing, Some(RecordChange::Resolve(ResolveCause::RuleOff))),
        ] {
            assert_eq!(judge(before, on, verdict, Warning), change, "{before:?} {on} {verdict:?}");
        }
        let long = Verdict::Firing { reason: "x".repeat(REASON_MAX_CHARS * 2) };
        let Some(RecordChange::Open { reason, .. }) = judge(None, true, &long, Warning) else { panic!("it opens") };
        assert_eq!(reason.len(), REASON_MAX_CHARS);
    }

    #[test]
    fn an_alert_is_acknowledged_once_and_only_while_it_fires() {
        assert_eq!(acknowledge(AlertState::Firing), Some(AlertState::Acknowledged));
        assert_eq!(acknowledge(AlertState::Acknowledged), None);
        assert_eq!(acknowledge(AlertState::Resolved), None);
        assert_eq!(note("  on it ").unwrap(), "on it");
        assert_eq!(note(&"x".repeat(NOTE_MAX_CHARS + 1)).unwrap_err().field, "note");
    }

    #[test]
    fn more_openings_than_the_limit_within_an_hour_are_flapping() {
        let mut openings = Openings::default();
        for n in 0..3 {
            openings.push(at(n * 600));
            assert_eq!(openings.flapping_until(3, at(n * 600)), None);
        }
        openings.push(at(1_800));
        assert_eq!(openings.flapping_until(3, at(1_800)), Some(at(3_600)), "until the first has left the hour");
        assert_eq!(openings.flapping_until(3, at(3_600)), None);
        openings.forget(at(3_600));
        assert_eq!(openings.times(), [at(600), at(1_200), at(1_800)]);
        assert_eq!(Openings::stored(vec![at(2), at(1)]).times(), [at(1), at(2)]);
    }

    proptest! {
        /// Whatever the verdicts, each opening is followed by one resolve before the next.
        #[test]
        fn openings_and_resolves_alternate(verdicts in proptest::collection::vec((0_u8..3, any::<bool>()), 0..60)) {
            let mut open = None;
            for (verdict, on) in verdicts {
                let verdict = [Verdict::Ok, Verdict::Unknown, Verdict::Firing { reason: "x".into() }][usize::from(verdict)].clone();
                match judge(open, on, &verdict, Severity::Info) {
                    Some(RecordChange::Open { severity, .. }) => {
                        prop_assert!(open.is_none() && on);
                        open = Some(severity);
                    }
                    Some(RecordChange::Resolve(_)) => {
                        prop_assert!(open.is_some());
                        open = None;
                    }
                    Some(RecordChange::SetSeverity(_)) => prop_assert!(false, "nothing has changed it"),
                    None => {
                        let agrees = open.is_some() == matches!(verdict, Verdict::Firing { .. });
                        prop_assert!(verdict == Verdict::Unknown || !on || agrees);
                    }
                }
            }
        }

        #[test]
        fn flapping_ends_when_it_says(openings in proptest::collection::vec(0_i64..7_200, 0..30), limit in 1_usize..10) {
            let openings = Openings::stored(openings.into_iter().map(at).collect());
            let now = at(7_200);
            if let Some(until) = openings.flapping_until(limit, now) {
                prop_assert!(until > now && openings.flapping_until(limit, until).is_none_or(|later| later > until));
                prop_assert!(openings.times().iter().filter(|at| **at + FLAP_PERIOD > now).count() > limit);
            }
        }
    }
}
