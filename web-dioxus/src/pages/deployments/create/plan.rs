//! Preview of a deployment: how many devices qualify and why the others do not, what is planned, and the first devices.

use std::rc::Rc;

use dioxus::prelude::*;
use domain::deployment::{Reason, TaskState};
use services::{DeploymentPlan, PlannedTask};

use crate::components::RouteLink;
use crate::components::deployment_widgets::{reason_detail, reason_text, task_badge, task_state_text};
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

/// Reasons of a device's own, and what its task waits for beside them.
fn why(task: &PlannedTask) -> String {
    let own = task.exclusions.iter().map(|own| reason_detail(own.reason, own.detail.as_deref()));
    let planned = task.reason.filter(|reason| task.exclusions.iter().all(|own| own.reason != *reason)).map(reason_text);
    let parts: Vec<_> = own.chain(planned.map(str::to_owned)).collect();
    if parts.is_empty() { "starts immediately".to_owned() } else { parts.join("; ") }
}

#[component]
pub(super) fn Plan(plan: Rc<DeploymentPlan>) -> Element {
    let (wanted, canary, all) = (wanted(&plan), canary(&plan), plan.tasks.len());
    let rest = all.saturating_sub(SHOWN_MAX);
    rsx! {
        div { role: "status",
            ul { class: "tally",
                li { class: "good", "data-testid": "plan-qualifying", strong { {format::number(plan.qualifying() as u64)} } " of {format::number(all as u64)} qualify now" }
                li { class: "good", "data-testid": "plan-devices", strong { {format::number(wanted as u64)} } " to install" }
                li { "data-testid": "plan-canary", strong { {format::number(canary as u64)} } " in the canary" }
                li { class: if wanted < all { "bad" } else { "" }, "data-testid": "plan-skipped", strong { {format::number((all - wanted) as u64)} } " skipped" }
            }
        }
        if !plan.excluded().is_empty() {
            h3 { "Do not qualify now" }
            dl { class: "plan",
                for (reason, count) in plan.excluded() {
                    div { key: "{reason:?}", "data-testid": "plan-excluded", "data-reason": reason.as_str(),
                        dt { {reason_text(reason)} }
                        dd { {format::number(count as u64)} }
                    }
                }
            }
        }
        h3 { "Planned" }
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
                            td { class: "muted", "data-testid": "plan-reason", {why(task)} }
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
    use domain::deployment::{ErrorCode, Exclusion, TaskReason};

    #[test]
    fn every_device_is_counted_once_and_those_that_start_stand_first() {
        let one = |n, state, reason: Option<TaskReason>| PlannedTask {
            id: DeviceId(uuid::Uuid::from_u128(n)),
            alias: String::new(),
            canary: false,
            state,
            reason: reason.map(Reason::from),
            detail: None,
            exclusions: Vec::new(),
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

    #[test]
    fn a_device_outside_the_canary_has_reasons_of_its_own() {
        let mut task = PlannedTask {
            id: DeviceId(uuid::Uuid::nil()),
            alias: String::new(),
            canary: false,
            state: TaskState::Queued,
            reason: Some(TaskReason::Canary.into()),
            detail: None,
            exclusions: vec![Exclusion { reason: ErrorCode::LowBattery.into(), detail: Some("battery 10 % < 40 %".into()) }],
        };
        assert_eq!(why(&task), "battery too low: battery 10 % < 40 %; canary pending");
        task.reason = Some(ErrorCode::LowBattery.into());
        assert_eq!(why(&task), "battery too low: battery 10 % < 40 %");
        (task.reason, task.exclusions) = (None, Vec::new());
        assert_eq!(why(&task), "starts immediately");
    }
}
