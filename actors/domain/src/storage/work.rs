//! Work on partitions that a person started: one at a time in the cluster, with its progress.

use chrono::{NaiveDate, TimeDelta};

use crate::{PartitionWorkId, Timestamp};

/// Time without a sign of life after which work counts as lost with its node.
pub const WORK_LOST_AFTER: TimeDelta = TimeDelta::seconds(60);

/// Kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum WorkKind {
    /// Everything that is due.
    Run,
    /// Archiving a day.
    Archive,
    /// Reading an archive back and comparing it.
    Verify,
    /// Bringing an archived day back.
    Restore,
    /// Dropping a restored day before its time.
    Forget,
}

named!(pub WorkKind, parse -> Option);

/// State of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum WorkState {
    /// Under way.
    Running,
    /// Done.
    Succeeded,
    /// Ended with a problem.
    Failed,
    /// Its node ended, or fell silent, before it did.
    Interrupted,
}

named!(pub WorkState, parse -> Option);

/// Work on partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionWork {
    /// Id.
    pub id: PartitionWorkId,
    /// Kind.
    pub kind: WorkKind,
    /// The day; `None` of a run.
    pub day: Option<NaiveDate>,
    /// State.
    pub state: WorkState,
    /// What it is doing, in a few words.
    pub step: String,
    /// Rows, or steps of a run, that are done.
    pub done: i64,
    /// Of how many; `None` while that is not known.
    pub total: Option<i64>,
    /// Who started it.
    pub by: String,
    /// Name of the node that does it.
    pub node: String,
    /// Begin.
    pub started_at: Timestamp,
    /// Last sign of life.
    pub renewed_at: Timestamp,
    /// End.
    pub ended_at: Option<Timestamp>,
    /// What came out, or went wrong, as a sentence.
    pub outcome: Option<String>,
}

impl PartitionWork {
    /// The work as it is at `now`: what gave no sign of life for too long is interrupted, though nobody has noted it yet.
    pub fn seen_at(mut self, now: Timestamp) -> Self {
        if self.state == WorkState::Running && now - self.renewed_at > WORK_LOST_AFTER {
            self.state = WorkState::Interrupted;
            self.ended_at = Some(self.renewed_at);
            self.outcome = Some("Its node ended, or fell silent. It can be started again.".to_owned());
        }
        self
    }

    /// How far it is, 0..1. `None`: that is not known.
    pub fn share(&self) -> Option<f64> {
        match (self.state, self.total) {
            (WorkState::Succeeded, _) => Some(1.0),
            (_, Some(total)) if total > 0 => Some((self.done as f64 / total as f64).clamp(0.0, 1.0)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(state: WorkState, done: i64, total: Option<i64>) -> PartitionWork {
        let at = chrono::DateTime::UNIX_EPOCH;
        PartitionWork {
            id: PartitionWorkId(uuid::Uuid::nil()),
            kind: WorkKind::Archive,
            day: NaiveDate::from_ymd_opt(2026, 9, 1),
            state,
            step: String::new(),
            done,
            total,
            by: "ada".into(),
            node: "a".into(),
            started_at: at,
            renewed_at: at,
            ended_at: None,
            outcome: None,
        }
    }

    #[test]
    fn a_share_is_known_once_the_whole_is() {
        let share = |state, done, total| work(state, done, total).share();
        assert_eq!(share(WorkState::Running, 25, Some(100)), Some(0.25));
        assert_eq!(share(WorkState::Running, 120, Some(100)), Some(1.0), "rows came meanwhile");
        assert_eq!(share(WorkState::Running, 25, None), None);
        assert_eq!(share(WorkState::Running, 0, Some(0)), None);
        assert_eq!(share(WorkState::Succeeded, 0, None), Some(1.0));
    }

    #[test]
    fn work_of_a_node_that_fell_silent_is_interrupted() {
        let running = work(WorkState::Running, 1, None);
        let silent = running.started_at + WORK_LOST_AFTER;
        assert_eq!(running.clone().seen_at(silent).state, WorkState::Running);
        let lost = running.clone().seen_at(silent + TimeDelta::seconds(1));
        assert_eq!((lost.state, lost.ended_at), (WorkState::Interrupted, Some(running.renewed_at)));
        let failed = work(WorkState::Failed, 1, None);
        assert_eq!(failed.clone().seen_at(silent + TimeDelta::days(1)), failed);
    }
}
