//! Progress of a deployment by phase: canary with its threshold, verdict, and rollout with its rate.

use dioxus::prelude::*;
use domain::deployment::{Phase, TaskState};
use services::DeploymentDetails;

use crate::components::deployment_widgets::unsigned;
use crate::components::{Glyph, icon};
use crate::format;

/// Values of a meter.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Share {
    good: f64,
    bad: f64,
    /// Position of the threshold, if there is one.
    mark: Option<f64>,
}

/// `part` of `all`, in percent of the width.
fn percent(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { (part as f64 * 100.0 / all as f64).min(100.0) }
}

/// Meter with succeeded and failed shares and a mark.
fn meter(share: Share, said: &str) -> Element {
    let bad_at = share.good.min(100.0);
    let bad = share.bad.min(100.0 - bad_at);
    rsx! {
        svg { class: "phase-meter", role: "img", "aria-label": "{said}", view_box: "0 0 100 12", preserve_aspect_ratio: "none",
            rect { class: "phase-ground", x: "0", y: "2", width: "100", height: "8" }
            rect { class: "phase-good", x: "0", y: "2", width: "{share.good:.2}", height: "8" }
            rect { class: "phase-bad", x: "{bad_at:.2}", y: "2", width: "{bad:.2}", height: "8" }
            if let Some(mark) = share.mark {
                rect { class: "phase-mark", x: "{(mark - 0.4).clamp(0.0, 99.2):.2}", y: "0", width: "0.8", height: "12" }
            }
        }
    }
}

#[component]
pub(super) fn DeploymentProgress(details: DeploymentDetails) -> Element {
    let row = &details.deployment;
    let rollout = row.phase == Phase::Rollout;
    let over = row.finished_at.is_some();
    rsx! {
        section { class: "card", aria_labelledby: "phases-title", "data-testid": "phases", "data-phase": row.phase.as_str(),
            h2 { id: "phases-title", "Phases" }
            ol { class: "phases",
                if row.canary_size > 0 {
                    Canary { details: details.clone() }
                    li { class: if rollout { "phase-gate open" } else { "phase-gate" }, "data-testid": "gate",
                        {icon(if rollout { Glyph::Check } else { Glyph::Lock })}
                        span { if rollout { "Canary passed" } else { "Canary pending" } }
                    }
                }
                Rollout { details: details.clone(), current: rollout && !over }
            }
        }
    }
}

#[component]
fn Canary(details: DeploymentDetails) -> Element {
    let row = &details.deployment;
    let tally = details.canary;
    let size = row.canary_size.unsigned_abs();
    let counted = tally.counted();
    let threshold = row.options.canary.map(|canary| canary.success_threshold_pct);
    // Rounded down, as it is compared with the threshold.
    let success = (u64::from(tally.succeeded) * 100).checked_div(counted.into());
    let current = row.phase == Phase::Canary && row.finished_at.is_none();
    let share = Share {
        good: percent(tally.succeeded.into(), size.into()),
        bad: percent(tally.failed.into(), size.into()),
        mark: threshold.map(f64::from),
    };
    let tone = match (success, threshold) {
        (Some(success), Some(threshold)) if success >= threshold.into() => "good",
        (Some(_), Some(_)) => "bad",
        _ => "",
    };
    let devices = format::count(size as usize, "device", "devices");
    let said = format!("{} of {devices} succeeded, {} failed", format::number(tally.succeeded.into()), format::number(tally.failed.into()));
    rsx! {
        li { class: if current { "phase current" } else { "phase" }, aria_current: current.then_some("step"), "data-testid": "canary",
            div { class: "phase-head", h3 { "Canary" } span { class: "muted", "{devices}" } }
            {meter(share, &said)}
            dl { class: "phase-facts",
                div { dt { "Success rate" }
                    dd { class: "{tone}", "data-testid": "canary-success",
                        match success {
                            Some(success) => rsx! { "{success} % of {format::number(counted.into())}" },
                            None => rsx! { {format::UNKNOWN} },
                        }
                    }
                }
                if let Some(canary) = row.options.canary {
                    div { dt { "Threshold" } dd { "{canary.success_threshold_pct} % of {format::number(canary.min_count.into())} or more completed" } }
                    div { dt { "Evaluation timeout" } dd { "{format::duration(i64::from(canary.timeout_minutes) * 60)}" } }
                }
                div { dt { "Remaining" } dd { "{format::number(tally.open.into())}" } }
            }
        }
    }
}

#[component]
fn Rollout(details: DeploymentDetails, current: bool) -> Element {
    let row = &details.deployment;
    let all = u64::from(row.devices.unsigned_abs());
    let (succeeded, failed) = (unsigned(details.count(TaskState::Succeeded)), unsigned(details.count(TaskState::Failed)));
    let starts = unsigned(details.starts_last_minute);
    let busy = unsigned(details.count(TaskState::Sending)) + unsigned(details.count(TaskState::Installing));
    let (rate, concurrency) = (row.options.rate_per_minute, row.options.concurrency);
    let failures = (succeeded + failed > 0).then(|| format::share(failed, succeeded + failed));
    let said = format!("{} of {} succeeded, {} failed", format::number(succeeded), format::number(all), format::number(failed));
    let pace_said = format!("{} started in the last minute", format::number(starts));
    rsx! {
        li { class: if current { "phase current" } else { "phase" }, aria_current: current.then_some("step"), "data-testid": "rollout",
            div { class: "phase-head", h3 { "Rollout" } span { class: "muted", "{format::number(succeeded)} of {format::number(all)} installed" } }
            {meter(Share { good: percent(succeeded, all), bad: percent(failed, all), mark: None }, &said)}
            dl { class: "phase-facts",
                div { dt { "Started in the last minute" }
                    dd { "data-testid": "pace", "{format::number(starts)}" if rate > 0 { " of {format::number(rate.into())}" } }
                    if rate > 0 {
                        dd { class: "phase-pace", {meter(Share { good: percent(starts, rate.into()), bad: 0.0, mark: None }, &pace_said)} }
                    }
                }
                div { dt { "In progress" } dd { "data-testid": "busy", "{format::number(busy)} of {format::number(concurrency.into())}" } }
                div { dt { "Failure rate" }
                    dd { "data-testid": "failure-rate",
                        match failures {
                            Some(failures) => rsx! { "{failures}, auto-pause above {row.options.failure_pause.threshold_pct} %" },
                            None => rsx! { "no failures, auto-pause above {row.options.failure_pause.threshold_pct} %" },
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stay_within_their_bar() {
        assert_eq!([percent(0, 0), percent(1, 4), percent(4, 4), percent(9, 4)], [0.0, 25.0, 100.0, 100.0]);
    }
}
