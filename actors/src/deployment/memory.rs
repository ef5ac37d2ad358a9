//! The tasks of a deployment as last read, in the order of its set.

use std::collections::HashMap;

use chrono::TimeDelta;
use domain::deployment::Task;
use domain::{DeviceId, Timestamp};
use store::PlacedTask;

/// A change may be committed so much later than it is dated.
const COMMIT_LAG: TimeDelta = TimeDelta::seconds(5);
/// Everything is read again after this, whatever was missed.
const WHOLE_EVERY: TimeDelta = TimeDelta::seconds(30);

/// The tasks, and what has to be read next.
#[derive(Default)]
pub(super) struct TaskMemory {
    tasks: Vec<Task>,
    places: HashMap<DeviceId, usize>,
    read_at: Option<Timestamp>,
    whole_at: Option<Timestamp>,
}

impl TaskMemory {
    pub(super) fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// What a reading at `now` has to cover; `None`: everything.
    pub(super) fn since(&self, now: Timestamp) -> Option<Timestamp> {
        self.whole_at.filter(|at| now - *at < WHOLE_EVERY)?;
        self.read_at.map(|at| at - COMMIT_LAG)
    }

    /// Takes over what was read at `now`; a whole reading when `since` was `None`.
    pub(super) fn take(&mut self, mut read: Vec<PlacedTask>, since: Option<Timestamp>, now: Timestamp) {
        if since.is_none() {
            read.sort_unstable_by_key(|placed| placed.position);
            self.tasks = read.into_iter().map(|placed| placed.task).collect();
            self.places = self.tasks.iter().enumerate().map(|(place, task)| (task.device, place)).collect();
            self.whole_at = Some(now);
        } else {
            for placed in read {
                if let Some(place) = self.places.get(&placed.task.device) {
                    self.tasks[*place] = placed.task;
                }
            }
        }
        self.read_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::deployment::TaskState;

    #[test]
    fn what_changed_late_is_read_again() {
        let at = |second: i64| chrono::DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap();
        let placed = |n: u128, state| {
            let task = Task { state, ..Task::new(DeviceId(uuid::Uuid::from_u128(n)), false) };
            PlacedTask { position: n as i32, task }
        };
        let mut memory = TaskMemory::default();
        assert_eq!(memory.since(at(0)), None);
        memory.take(vec![placed(1, TaskState::Queued), placed(0, TaskState::Queued)], None, at(0));
        assert_eq!(memory.tasks()[1].device.0.as_u128(), 1, "in the order of the set");
        assert_eq!(memory.since(at(1)), Some(at(-5)));
        memory.take(vec![placed(1, TaskState::Sending)], memory.since(at(1)), at(1));
        assert_eq!((memory.tasks()[0].state, memory.tasks()[1].state), (TaskState::Queued, TaskState::Sending));
        assert_eq!(memory.since(at(30)), None, "now and then, everything");
    }
}
