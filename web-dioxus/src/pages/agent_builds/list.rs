//! The builds: what state each is in, whom it is offered to, and what can be done with it.

use dioxus::prelude::*;
use domain::Timestamp;
use domain::rollout::{BuildState, HaltReason};
use services::BuildDetails;

use super::{OpenDialog, name_of};
use crate::components::{EmptyState, Glyph, icon, time_ago};
use crate::format;

#[component]
pub(super) fn Builds(builds: Vec<BuildDetails>, now: Timestamp, manages: bool, onopen: EventHandler<OpenDialog>) -> Element {
    rsx! {
        section { class: "card", aria_labelledby: "builds-title",
            h2 { id: "builds-title", "Builds" }
            if builds.is_empty() {
                EmptyState { glyph: Glyph::Package, title: "No builds yet", text: "Upload an agent APK, then add it here. No device is offered a build before you promote it." }
            } else {
                ul { class: "rows", aria_label: "Builds",
                    for details in builds {
                        Row { key: "{details.build.id}", details, now, manages, onopen }
                    }
                }
            }
        }
    }
}

/// A state in words, and its tone.
fn state_text(details: &BuildDetails) -> (String, &'static str) {
    let percent = details.build.promotion.map_or(0, |promotion| promotion.rollout_percent);
    match details.build.state {
        BuildState::Draft => ("Draft".into(), ""),
        BuildState::Promoted => (format!("Promoted, {percent} %"), "good"),
        BuildState::Halted => ("Halted".into(), "bad"),
        BuildState::RolledBack => ("Rolled back".into(), ""),
    }
}

/// Text about the reason for a halt.
fn halt_text(details: &BuildDetails) -> Option<String> {
    let judged = details.build.judged;
    let count = |devices: i64| format::count(usize::try_from(devices).unwrap_or_default(), "device", "devices");
    Some(match details.build.halt_reason? {
        HaltReason::VerifyFailures => {
            format!(
                "Halted: signature verification failed on {}. The file or its signature does not match the offered build.",
                count(judged.verify_failures)
            )
        }
        HaltReason::FailureRate => {
            let failed = judged.failures + judged.verify_failures;
            format!("Halted: the installation failed on {} of {}.", format::number(failed.unsigned_abs()), count(failed + judged.installs))
        }
    })
}

#[component]
fn Row(details: BuildDetails, now: Timestamp, manages: bool, onopen: EventHandler<OpenDialog>) -> Element {
    let build = &details.build;
    let name = name_of(&details);
    let (state, tone) = state_text(&details);
    let promoted = build.state == BuildState::Promoted;
    let (cohort, running) = (details.cohort, details.running);
    let devices = |count: u64| format::count(usize::try_from(count).unwrap_or(usize::MAX), "device", "devices");
    let open = |what: fn(BuildDetails) -> OpenDialog| {
        let details = details.clone();
        move |_| onopen.call(what(details.clone()))
    };
    rsx! {
        li { class: if build.state == BuildState::RolledBack { "row-item off" } else { "row-item" }, "data-testid": "build-row", "data-version": "{build.version_code}", "data-state": build.state.as_str(),
            span { class: "row-icon", {icon(Glyph::Package)} }
            div { class: "row-main",
                div { class: "row-title", span { class: "truncate", "{name}" } span { class: "badge {tone}", "data-testid": "build-state", "{state}" } }
                if let Some(text) = halt_text(&details) {
                    p { class: "build-halted", "data-testid": "build-halted", {icon(Glyph::Alert)} "{text}" }
                }
                div { class: "row-meta",
                    if promoted {
                        span { "data-testid": "build-cohort", "offered to {devices(cohort.devices)}, {format::number(cohort.online)} online, {format::number(cohort.behind)} behind" }
                    }
                    span { "installed on {devices(running)}" }
                    if let Some(promotion) = build.promotion {
                        if promotion.wifi_only { span { "Wi-Fi only" } }
                        if promotion.must_install { span { "force install" } }
                        if promotion.min_battery_pct > 0 { span { "minimum battery {promotion.min_battery_pct} %" } }
                    }
                    span { "by " strong { "{build.changed_by}" } ", " {time_ago(build.changed_at, &format::relative(now, build.changed_at))} }
                }
                if !build.release_notes.is_empty() { p { class: "build-notes muted", "{build.release_notes}" } }
            }
            if manages {
                div { class: "row-actions", role: "group", aria_label: "Actions for {name}",
                    if promoted {
                        button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "rollout", onclick: open(OpenDialog::Rollout), "Rollout" }
                        button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "nudge", onclick: open(OpenDialog::Nudge), "Notify now" }
                    }
                    button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "promote", onclick: open(OpenDialog::Promote),
                        match build.state {
                            BuildState::Draft => "Promote",
                            BuildState::Promoted => "Conditions",
                            BuildState::Halted | BuildState::RolledBack => "Promote again",
                        }
                    }
                    if promoted || build.state == BuildState::Halted {
                        button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "roll-back", onclick: open(OpenDialog::RollBack), "Roll back" }
                    }
                }
            }
        }
    }
}
