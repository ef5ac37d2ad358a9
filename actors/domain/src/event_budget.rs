//! Cap on the events that a device causes by what it reports: one that changes with each heartbeat fills no table, and hides no other.

use chrono::TimeDelta;

use crate::Timestamp;
use crate::condition::Occurrence;
use crate::event::EventKind;

/// Time for which events are counted.
const PERIOD: TimeDelta = TimeDelta::hours(1);

/// Events of the present hour of a device, and how many were left out. In memory of its owner; begun anew where the device is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventBudget {
    began_at: Option<Timestamp>,
    recorded: u32,
    left_out: u64,
}

impl EventBudget {
    /// Of what happened, what is recorded, and how much is left out: at most `per_hour` events an hour are recorded. Once the hour is
    /// over, one event tells how many were left out. What people have to decide about is always recorded.
    pub fn admit(&mut self, happened: Vec<Occurrence>, per_hour: u32, now: Timestamp) -> (Vec<Occurrence>, u64) {
        let mut recorded = Vec::with_capacity(happened.len() + 1);
        recorded.extend(self.summary(now));
        let left_out_before = self.left_out;
        for occurrence in happened {
            if occurrence.kind == EventKind::IdentityConflictBegan {
                recorded.push(occurrence);
            } else if self.recorded < per_hour {
                self.recorded += 1;
                recorded.push(occurrence);
            } else {
                self.left_out += 1;
            }
        }
        (recorded, self.left_out - left_out_before)
    }

    /// Whether an hour is over in which events were left out.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.left_out > 0 && self.is_over(now)
    }

    /// Begins a new hour when the one before is over. What it left out, as one event.
    fn summary(&mut self, now: Timestamp) -> Option<Occurrence> {
        if !self.is_over(now) {
            return None;
        }
        let Self { left_out, .. } = std::mem::replace(self, Self { began_at: Some(now), recorded: 0, left_out: 0 });
        (left_out > 0).then(|| Occurrence { at: now, kind: EventKind::EventsLeftOut, before: None, after: Some(left_out.to_string()) })
    }

    /// Also when the clock stepped back: an hour lasts no longer than one.
    fn is_over(&self, now: Timestamp) -> bool {
        self.began_at.is_none_or(|began_at| now < began_at || now - began_at >= PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    fn rebooted(second: i64) -> Occurrence {
        Occurrence { at: at(second), kind: EventKind::Rebooted, before: None, after: None }
    }

    /// Kinds and values of what is recorded.
    fn admitted(budget: &mut EventBudget, happened: Vec<Occurrence>, second: i64) -> Vec<(&'static str, Option<String>)> {
        budget.admit(happened, 3, at(second)).0.into_iter().map(|one| (one.kind.as_str(), one.after)).collect()
    }

    #[test]
    fn a_device_that_flaps_has_so_many_events_an_hour_and_one_that_counts_the_others() {
        let mut budget = EventBudget::default();
        let recorded: usize = (0..200).map(|n| admitted(&mut budget, vec![rebooted(n * 10)], n * 10).len()).sum();
        assert_eq!((recorded, budget.left_out), (3, 197));
        assert_eq!(budget.clone().admit(vec![rebooted(1); 2], 3, at(2000)), (vec![], 2));
        assert!(!budget.is_due(at(3599)) && budget.is_due(at(3600)));
        let later = admitted(&mut budget, vec![rebooted(3600)], 3600);
        assert_eq!(later, [("events_left_out", Some("197".to_owned())), ("rebooted", None)]);
        assert_eq!(admitted(&mut budget, vec![rebooted(3601); 3], 3601).len(), 2, "the next hour has its own");
        assert_eq!(admitted(&mut budget, vec![], 0), [("events_left_out", Some("1".to_owned()))], "a clock that stepped back");
        assert!(admitted(&mut budget, vec![], 9_999_999).is_empty(), "nothing was left out");
    }

    #[test]
    fn what_somebody_has_to_decide_about_is_never_left_out() {
        let mut budget = EventBudget::default();
        let conflict = Occurrence { kind: EventKind::IdentityConflictBegan, ..rebooted(1) };
        admitted(&mut budget, vec![rebooted(0); 9], 0);
        assert_eq!(admitted(&mut budget, vec![rebooted(1), conflict], 1), [("identity_conflict_began", None)]);
    }
}
