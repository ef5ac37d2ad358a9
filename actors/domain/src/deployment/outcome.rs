//! Outcome of a finished deployment: which of its tasks are problems, and why.

use super::{Reason, TaskReason, TaskState};

/// Number of tasks that ended in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskEnding {
    /// State of the tasks.
    pub state: TaskState,
    /// Reason of the state.
    pub reason: Option<Reason>,
    /// Number of tasks.
    pub tasks: u64,
}

impl TaskEnding {
    /// Whether the devices lack what the deployment was to install.
    fn is_problem(&self) -> bool {
        let installed = self.reason == Some(Reason::Server(TaskReason::AlreadyInstalled));
        self.state.is_finished() && self.state != TaskState::Succeeded && !installed && self.tasks > 0
    }
}

/// The endings that are problems, the most frequent first.
pub fn problems(mut endings: Vec<TaskEnding>) -> Vec<TaskEnding> {
    endings.retain(TaskEnding::is_problem);
    endings.sort_by_key(|ending| (std::cmp::Reverse(ending.tasks), ending.state.as_str(), ending.reason.map(Reason::as_str)));
    endings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::ErrorCode;

    #[test]
    fn what_most_devices_lack_it_for_comes_first() {
        let ending = |state, reason: Option<Reason>, tasks| TaskEnding { state, reason, tasks };
        let failed = ending(TaskState::Failed, Some(ErrorCode::ChecksumMismatch.into()), 1);
        let too_old = ending(TaskState::Skipped, Some(TaskReason::SdkTooOld.into()), 199);
        let canceled = ending(TaskState::Canceled, None, 1);
        let fine = [
            ending(TaskState::Succeeded, None, 300),
            ending(TaskState::Skipped, Some(TaskReason::AlreadyInstalled.into()), 500),
            ending(TaskState::Installing, None, 700),
            ending(TaskState::Failed, None, 0),
        ];
        assert_eq!(problems([vec![failed, too_old, canceled], fine.to_vec()].concat()), [too_old, canceled, failed]);
        assert_eq!(problems(fine.to_vec()), []);
    }
}
