//! Checks for updates, counted in memory by build and hour, and taken out to be written every few seconds.
//!
//! A node that is killed loses what it counted since the last writing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{AgentBuildId, Timestamp};
use store::UpdateCheckCount;

/// Most builds and hours that wait to be written; what would be more is not counted.
const WAITING_MAX: usize = 10_000;

#[derive(Default, Clone, Copy)]
struct Counts {
    checks: i64,
    eligible: i64,
}

/// Checks that wait to be written.
#[derive(Default)]
pub struct CheckCounters {
    waiting: Mutex<HashMap<(AgentBuildId, Timestamp), Counts>>,
}

impl CheckCounters {
    /// Counts a check that was judged by a build; `eligible`: it was answered with it.
    pub fn count(&self, build: AgentBuildId, hour: Timestamp, eligible: bool) {
        self.add(UpdateCheckCount { build, hour, checks: 1, eligible: i64::from(eligible) });
    }

    /// Takes out what is to be written.
    pub fn take(&self) -> Vec<UpdateCheckCount> {
        let taken = std::mem::take(&mut *self.waiting());
        let counted =
            |((build, hour), counts): (_, Counts)| UpdateCheckCount { build, hour, checks: counts.checks, eligible: counts.eligible };
        taken.into_iter().map(counted).collect()
    }

    /// Returns counts that could not be written.
    pub fn put_back(&self, counted: Vec<UpdateCheckCount>) {
        counted.into_iter().for_each(|one| self.add(one));
    }

    fn add(&self, one: UpdateCheckCount) {
        let mut waiting = self.waiting();
        let key = (one.build, one.hour);
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(&key) {
            return;
        }
        let counts = waiting.entry(key).or_default();
        counts.checks += one.checks;
        counts.eligible += one.eligible;
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<(AgentBuildId, Timestamp), Counts>> {
        // Every step leaves the counts whole, so a poisoned lock guards good data.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn build(n: u128) -> AgentBuildId {
        AgentBuildId(Uuid::from_u128(n))
    }

    fn hour(n: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(n * 3600, 0).unwrap()
    }

    #[test]
    fn checks_add_up_and_are_taken_once() {
        let counters = CheckCounters::default();
        for eligible in [true, false, true] {
            counters.count(build(1), hour(7), eligible);
        }
        let counted = counters.take();
        assert_eq!(counted, [UpdateCheckCount { build: build(1), hour: hour(7), checks: 3, eligible: 2 }]);
        assert!(counters.take().is_empty());
        counters.count(build(1), hour(7), false);
        counters.put_back(counted);
        assert_eq!(counters.take(), [UpdateCheckCount { build: build(1), hour: hour(7), checks: 4, eligible: 2 }]);
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let counters = CheckCounters::default();
        for n in 0..WAITING_MAX as i64 + 10 {
            counters.count(build(1), hour(n), true);
        }
        // One that waits already goes on counting.
        counters.count(build(1), hour(0), true);
        let counted = counters.take();
        assert_eq!(counted.len(), WAITING_MAX);
        assert!(counted.contains(&UpdateCheckCount { build: build(1), hour: hour(0), checks: 2, eligible: 2 }));
    }
}
