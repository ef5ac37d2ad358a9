//! Cache of the tasks of a deployment, in the order of its targets.

use std::collections::HashMap;

use chrono::TimeDelta;
use domain::deployment::Task;
use domain::{DeviceId, Timestamp};
use store::IndexedTask;

/// Longest time between the time stamp of a change and its commit.
const COMMIT_LAG: TimeDelta = TimeDelta::seconds(5);
/// Interval of reading all tasks again, in case that a change was missed.
const WHOLE_EVERY: TimeDelta = TimeDelta::seconds(30);

/// Cached tasks, and the times of the last reads.
#[derive(Default)]
pub(super) struct TaskCache {
    tasks: Vec<Task>,
    indexes: HashMap<DeviceId, usize>,
    read_at: Option<Timestamp>,
    whole_at: Option<Timestamp>,
}

impl TaskCache {
    pub(super) fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// Begin of the period whose changes a read at `now` has to cover; `None`: all tasks.
    pub(super) fn since(&self, now: Timestamp) -> Option<Timestamp> {
        self.whole_at.filter(|at| now - *at < WHOLE_EVERY)?;
        self.read_at.map(|at| at - COMMIT_LAG)
    }

    /// Stores the tasks that were read at `now`; all of them when `since` was `None`.
    pub(super) fn take(&mut self, mut read: Vec<IndexedTask>, since: Option<Timestamp>, now: Timestamp) {
        if since.is_none() {
            read.sort_unstable_by_key(|indexed| indexed.position);
            self.tasks = read.into_iter().map(|indexed| indexed.task).collect();
            self.indexes = self.tasks.iter().enumerate().map(|(index, task)| (task.device, index)).collect();
            self.whole_at = Some(now);
        } else {
            for indexed in read {
                if let Some(index) = self.indexes.get(&indexed.task.device) {
                    self.tasks[*index] = indexed.task;
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
        let indexed = |n: u128, state| {
            let task = Task { state, ..Task::new(DeviceId(uuid::Uuid::from_u128(n)), false) };
            IndexedTask { position: n as i32, task }
        };
        let mut cache = TaskCache::default();
        assert_eq!(cache.since(at(0)), None);
        cache.take(vec![indexed(1, TaskState::Queued), indexed(0, TaskState::Queued)], None, at(0));
        assert_eq!(cache.tasks()[1].device.0.as_u128(), 1, "in the order of the set");
        assert_eq!(cache.since(at(1)), Some(at(-5)));
        cache.take(vec![indexed(1, TaskState::Sending)], cache.since(at(1)), at(1));
        assert_eq!((cache.tasks()[0].state, cache.tasks()[1].state), (TaskState::Queued, TaskState::Sending));
        assert_eq!(cache.since(at(30)), None, "now and then, everything");
    }
}
