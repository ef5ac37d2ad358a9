//! Preview of a deployment: number of devices by state and reason, and the first devices.

use std::rc::Rc;

use dioxus::prelude::*;
use domain::deployment::{Reason, TaskState};
use services::{DeploymentPlan, PlannedTask};

use crate::components::RouteLink;
use crate::components::deployment_widgets::{reason_text, task_badge, task_state_text};
use crate::format;
use crate::route::Route;

/// Devices that are listed.
const SHOWN_MAX: usize = 100;

/// Number of planned tasks by state and reason, those to start first.
fn counts(tasks: &[PlannedTask]) -> Vec<(TaskState, Option<Reason>, usize)> {
    let mut counts: Vec<(TaskState, Option<Reason>, usize)> = Vec::new();
    for task in tasks {
        match counts.iter_mut().find(|(state, reason, _)| (*state, *reason) == (task.state, task.reason)) {
            Some((.., count)) => *count += 1,
            None => counts.push((task.state, task.reason, 1)),
        }
    }
    counts.sort_by_key(|(state, _, count)| (*state != TaskState::Sending, state.is_finished(), std::cmp::Reverse(*count)));
    counts
}

/// Number of devices that would get the deployment.
pub(super) fn wanted(plan: &DeploymentPlan) -> usize {
    plan.tasks.iter().filter(|task| !task.state.is_finished()).count()
}

/// Number of canary devices.
pub(super) fn canary(plan: &DeploymentPlan) -> usize {
    plan.tasks.iter().filter(|task| task.canary).count()
}

fn state_title(state: TaskState) -> &'static str {
    if state == TaskState::Sending { "Starts immediately" } else { task_state_text(state) }
}

#[component]
pub(super) fn Plan(plan: Rc<DeploymentPlan>) -> Element {
    let (wanted, canary, all) = (wanted(&plan), canary(&plan), plan.tasks.len());
    let rest = all.saturating_sub(SHOWN_MAX);
    rsx! {
        div { role: "status",
            ul { class: "tally",
                li { class: "good", "data-testid": "plan-devices", strong { {format::number(wanted as u64)} } " to install" }
                li { "data-testid": "plan-canary", strong { {format::number(canary as u64)} } " in the canary" }
                li { class: if wanted < all { "bad" } else { "" }, "data-testid": "plan-skipped", strong { {format::number((all - wanted) as u64)} } " skipped" }
            }
        }
        dl { class: "plan",
            for (state, reason, count) in counts(&plan.tasks) {
                div { key: "{state.as_str()} {reason:?}", "data-testid": "plan-count", "data-state": state.as_str(),
                    dt { {state_title(state)} if let Some(reason) = reason { ": {reason_text(reason)}" } }
                    dd { {format::number(count as u64)} }
                }
            }
        }
        h3 { "Devices" }
        div { class: "scroll-x plan-devices", tabindex: "0", role: "region", aria_label: "Devices of the dry run",
            table { class: "plain",
                thead { tr { th { scope: "col", "Device" } th { scope: "col", "State" } th { scope: "col", "Reason" } } }
                tbody {
                    for task in plan.tasks.iter().take(SHOWN_MAX) {
                        tr { key: "{task.id}", "data-testid": "plan-device",
                            td { RouteLink { to: Route::device(task.id), "{task.alias}" } if task.canary { " " span { class: "badge", "canary" } } }
                            td { {task_badge(task.state)} }
                            td { class: "muted", match task.reason { Some(reason) => rsx! { {reason_text(reason)} }, None => rsx! { "starts immediately" } } }
                        }
                    }
                }
            }
        }
        if rest > 0 {
            p { class: "muted more", "and {format::number(rest as u64)} more" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::DeviceId;
    use domain::deployment::TaskReason;

    #[test]
    fn every_device_is_counted_once_and_those_that_start_stand_first() {
        let one = |n, state, reason: Option<TaskReason>| PlannedTask {
            id: DeviceId(uuid::Uuid::from_u128(n)),
            alias: String::new(),
            canary: false,
            state,
            reason: reason.map(Reason::from),
        };
        let tasks = [
            one(1, TaskState::Skipped, Some(TaskReason::AlreadyInstalled)),
            one(2, TaskState::Queued, Some(TaskReason::Canary)),
            one(3, TaskState::Queued, Some(TaskReason::Offline)),
            one(4, TaskState::Queued, Some(TaskReason::Canary)),
            one(5, TaskState::Sending, None),
        ];
        let shown: Vec<_> = counts(&tasks).into_iter().map(|(state, reason, count)| (state, reason.map(Reason::as_str), count)).collect();
        let want = [
            (TaskState::Sending, None, 1),
            (TaskState::Queued, Some("canary"), 2),
            (TaskState::Queued, Some("offline"), 1),
            (TaskState::Skipped, Some("already_installed"), 1),
        ];
        assert_eq!(shown, want);
    }
}
