//! Preview of a deployment: what becomes of each device, and why those that do not qualify do not.

use domain::DeviceId;
use domain::apk::Apk;
use domain::deployment::{Exclusion, Options, Reason, TaskState};

/// Preview of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentPlan {
    /// APK to install.
    pub apk: Apk,
    /// Options with their defaults.
    pub options: Options,
    /// Tasks, in the order of the targets.
    pub tasks: Vec<PlannedTask>,
}

/// Task of a previewed deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTask {
    /// The device.
    pub id: DeviceId,
    /// Alias of the device.
    pub alias: String,
    /// Whether the device belongs to the canary.
    pub canary: bool,
    /// First state of the task; [`TaskState::Sending`]: it would start at once.
    pub state: TaskState,
    /// Reason of the state.
    pub reason: Option<Reason>,
    /// Values behind the reason, for display.
    pub detail: Option<String>,
    /// Reasons of the device's own for not getting it now, whether or not it is in the canary; none: it qualifies.
    pub exclusions: Vec<Exclusion>,
}

impl DeploymentPlan {
    /// Number of devices that qualify.
    pub fn qualifying(&self) -> usize {
        qualifying(&self.tasks)
    }

    /// Numbers of devices by the reasons why they do not qualify, the most frequent first. A device counts for each of its reasons.
    pub fn excluded(&self) -> Vec<(Reason, usize)> {
        excluded(&self.tasks)
    }
}

fn qualifying(tasks: &[PlannedTask]) -> usize {
    tasks.iter().filter(|task| task.exclusions.is_empty()).count()
}

fn excluded(tasks: &[PlannedTask]) -> Vec<(Reason, usize)> {
    let mut counts: Vec<(Reason, usize)> = Vec::new();
    for exclusion in tasks.iter().flat_map(|task| &task.exclusions) {
        match counts.iter_mut().find(|(reason, _)| *reason == exclusion.reason) {
            Some((_, count)) => *count += 1,
            None => counts.push((exclusion.reason, 1)),
        }
    }
    counts.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), reason.as_str()));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::deployment::{ErrorCode, TaskReason};

    #[test]
    fn a_device_counts_for_each_of_its_reasons_and_once_as_not_qualifying() {
        let of = |reasons: &[Reason]| PlannedTask {
            id: DeviceId(uuid::Uuid::nil()),
            alias: String::new(),
            canary: false,
            state: TaskState::Queued,
            reason: Some(TaskReason::Canary.into()),
            detail: None,
            exclusions: reasons.iter().map(|reason| Exclusion { reason: *reason, detail: None }).collect(),
        };
        let (battery, wifi) = (Reason::from(ErrorCode::LowBattery), Reason::from(ErrorCode::NoWifi));
        let tasks = [of(&[]), of(&[battery]), of(&[wifi, battery]), of(&[])];
        assert_eq!(qualifying(&tasks), 2);
        assert_eq!(excluded(&tasks), [(battery, 2), (wifi, 1)]);
    }
}
