//! The dialogs that decide whom a build is offered to: promoting it, and changing its percentage.

use std::time::Duration;

use actors::agent_updates::Cohorts;
use dioxus::prelude::*;
use domain::rollout::{BuildState, Promotion};
use domain::{AgentBuildId, Invalid};
use services::BuildDetails;

use super::name_of;
use crate::components::Confirm;
use crate::components::form::{Field, FormDialog, TextField, text_of, use_submission};
use crate::context::use_session;
use crate::format;
use crate::polling::{Reading, use_polling};
use crate::toasts::use_toasts;

/// Percentage of a first promotion: small, so that harm stays small.
const FIRST_PERCENT: u8 = 5;
/// How often the devices of a cohort are counted again.
const RECOUNT: Duration = Duration::from_secs(5);

/// A whole number as somebody typed it.
fn typed_number(field: &str, text: &str) -> Result<i64, Invalid> {
    text.trim().parse().map_err(|_| Invalid::new(field, "must be a whole number"))
}

/// A percentage as somebody typed it, brought within its limits for slider and counts.
fn shown_percent(text: &str) -> u8 {
    text.trim().parse::<i64>().map_or(1, |percent| percent.clamp(1, 100) as u8)
}

/// How many devices a cohort has, in words.
fn cohort_text(cohorts: &Cohorts, percent: u8) -> String {
    let cohort = cohorts.within(percent);
    let devices = format::count(usize::try_from(cohort.devices).unwrap_or(usize::MAX), "device", "devices");
    format!(
        "{devices} in this cohort, {} online now, {} run an older version.",
        format::number(cohort.online),
        format::number(cohort.behind)
    )
}

/// A slider and a field for the same percentage, and how many devices that is. What somebody moves or types in is left
/// alone; the other one is made anew, so that nothing that comes back late undoes a key or a drag.
#[component]
fn Percent(text: Signal<String>, id: AgentBuildId, error: Option<String>) -> Element {
    let (mut text, mut typed, mut slid) = (text, use_signal(|| 0u32), use_signal(|| 0u32));
    let cohorts = use_polling(id, RECOUNT, |system, principal, id| async move { system.agent_builds.cohorts(&principal, id).await });
    let percent = shown_percent(&text());
    let reading: Reading<Cohorts> = cohorts.read();
    let counted = match (reading.value.as_deref(), &reading.problem) {
        (Some(cohorts), _) => cohort_text(cohorts, percent),
        (None, Some(problem)) => problem.clone(),
        (None, None) => "Counting the devices …".into(),
    };
    let invalid = error.as_ref().map(|_| "true");
    rsx! {
        Field { name: "rollout_percent", hint: "1 to 100; raising it only adds devices", error: error.clone(),
            div { class: "percent",
                for times in [typed()] {
                    input { key: "{times}", r#type: "range", class: "slider", min: "1", max: "100", step: "1", initial_value: "{percent}", aria_label: "Percentage of devices, as a slider", "data-testid": "percent-slider",
                        oninput: move |event| { text.set(event.value()); slid += 1; },
                    }
                }
                for times in [slid()] {
                    input { key: "{times}", id: "rollout_percent", name: "rollout_percent", r#type: "number", inputmode: "numeric", min: "1", max: "100", initial_value: "{text}", autocomplete: "off", aria_describedby: "rollout_percent-note cohort-count", aria_invalid: invalid,
                        oninput: move |event| { text.set(event.value()); typed += 1; },
                    }
                }
                span { aria_hidden: "true", "%" }
            }
        }
        p { id: "cohort-count", class: "cohort-count", role: "status", "data-testid": "cohort-count", "{counted}" }
    }
}

/// Promotes a build, or changes how it is offered.
#[component]
pub(super) fn Promote(details: BuildDetails, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let known = details.build.promotion;
    let first = known.map_or(FIRST_PERCENT, |promotion| promotion.rollout_percent);
    let text = use_signal(|| first.to_string());
    let mut widening = use_signal(|| None::<Promotion>);
    // What was filled in, for whoever comes back from the question.
    let mut filled = use_signal(|| known);
    let (id, name, promoted) = (details.build.id, name_of(&details), details.build.state == BuildState::Promoted);
    let called = name.clone();
    let offer = use_callback(move |promotion: Promotion| {
        let (session, name) = (session.clone(), called.clone());
        spawn(async move {
            let outcome =
                session.call(move |system, principal| async move { system.agent_builds.promote(&principal, id, promotion).await }).await;
            widening.set(None);
            if submission.done(outcome).is_some() {
                toasts.good(format!("{name} is offered to {} % of the devices.", promotion.rollout_percent));
                ondone.call(());
            }
        });
    });
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let has = |name: &str| !text_of(&form, name).is_empty();
        let read = || {
            let percent = typed_number("rollout_percent", &text.peek())?;
            let battery = typed_number("min_battery", &text_of(&form, "min_battery"))?;
            Promotion::new(percent, has("wifi_only"), has("must_install"), battery)
        };
        match read() {
            Ok(promotion) if promoted && promotion.rollout_percent > first => {
                filled.set(Some(promotion));
                widening.set(Some(promotion));
            }
            Ok(promotion) => offer.call(promotion),
            Err(invalid) => drop(submission.done::<()>(Err(invalid.into()))),
        }
    });
    if let Some(promotion) = widening() {
        return rsx! {
            ConfirmRollout { name, id, from: first, to: promotion.rollout_percent, onconfirm: move |()| offer.call(promotion),
                onclose: move |()| { submission.reset(); widening.set(None); },
            }
        };
    }
    let again = matches!(details.build.state, BuildState::Halted | BuildState::RolledBack);
    let (title, action) = if promoted { (format!("Conditions of {name}"), "Save") } else { (format!("Promote {name}"), "Promote") };
    rsx! {
        FormDialog { title, action, busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            if again {
                p { class: "notice warn", "This build was halted or rolled back before. Earlier reports of devices no longer count for the automatic halt." }
            }
            Percent { text, id, error: submission.error("rollout_percent") }
            fieldset { class: "choices",
                legend { "Conditions on the device" }
                label { class: "choice-row",
                    input { r#type: "checkbox", name: "wifi_only", value: "1", initial_checked: filled().is_none_or(|promotion| promotion.wifi_only) }
                    span { strong { "Wi-Fi only" } span { class: "muted", "No download over mobile data" } }
                }
                label { class: "choice-row",
                    input { r#type: "checkbox", name: "must_install", value: "1", initial_checked: filled().is_some_and(|promotion| promotion.must_install) }
                    span { strong { "Force install" } span { class: "muted", "Do not postpone while the device is in use" } }
                }
            }
            TextField { name: "min_battery", hint: "0 to 100; devices below it wait", kind: "number", value: filled().map_or(20, |promotion| promotion.min_battery_pct).to_string(), error: submission.error("min_battery") }
        }
    }
}

/// Changes the percentage of a promoted build.
#[component]
pub(super) fn Rollout(details: BuildDetails, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let first = details.build.promotion.map_or(1, |promotion| promotion.rollout_percent);
    let text = use_signal(|| first.to_string());
    let mut widening = use_signal(|| None::<u8>);
    let (id, name) = (details.build.id, name_of(&details));
    let called = name.clone();
    let change = use_callback(move |percent: u8| {
        let (session, name) = (session.clone(), called.clone());
        spawn(async move {
            let confirming = i64::from(percent);
            let outcome =
                session.call(move |system, principal| async move { system.agent_builds.rollout(&principal, id, confirming).await }).await;
            widening.set(None);
            if submission.done(outcome).is_some() {
                toasts.good(format!("{name} is offered to {percent} % of the devices."));
                ondone.call(());
            }
        });
    });
    let send = use_callback(move |_: FormEvent| {
        if !submission.begin() {
            return;
        }
        match typed_number("rollout_percent", &text.peek()).and_then(domain::rollout::percent) {
            Ok(percent) if percent > first => widening.set(Some(percent)),
            Ok(percent) => change.call(percent),
            Err(invalid) => drop(submission.done::<()>(Err(invalid.into()))),
        }
    });
    if let Some(to) = widening() {
        return rsx! {
            ConfirmRollout { name, id, from: first, to, onconfirm: move |()| change.call(to),
                onclose: move |()| { submission.reset(); widening.set(None); },
            }
        };
    }
    rsx! {
        FormDialog { title: "Rollout of {name}", action: "Change", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            p { class: "muted", "Offered to {first} % now. Lowering the percentage does not uninstall the build from devices." }
            Percent { text, id, error: submission.error("rollout_percent") }
        }
    }
}

/// Asks before more devices are offered a build.
#[component]
fn ConfirmRollout(name: String, id: AgentBuildId, from: u8, to: u8, onconfirm: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let cohorts = use_polling(id, RECOUNT, |system, principal, id| async move { system.agent_builds.cohorts(&principal, id).await });
    let mut busy = use_signal(|| false);
    let more = cohorts.read().value.map(|cohorts| {
        let more = cohorts.within(to).devices.saturating_sub(cohorts.within(from).devices);
        format::count(usize::try_from(more).unwrap_or(usize::MAX), "more device", "more devices")
    });
    rsx! {
        Confirm { title: "Offer {name} to {to} %?", action: "Raise to {to} %", dismiss: "Back", mild: true, busy: busy(), onclose,
            onconfirm: move |()| {
                if !busy() {
                    busy.set(true);
                    onconfirm.call(());
                }
            },
            p { "Offered to {from} % of the devices now. ",
                match more {
                    Some(more) => rsx! { strong { "data-testid": "widen-more", "{more}" } " will be offered the build with their next check." },
                    None => rsx! { "Counting the devices …" },
                }
            }
            p { "Devices that have installed it keep it, even if you lower the percentage later." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_a_percentage_or_refused() {
        assert_eq!(["", "x", "0", "7", " 50 ", "900"].map(shown_percent), [1, 1, 1, 7, 50, 100]);
        assert_eq!(typed_number("rollout_percent", " 12 ").unwrap(), 12);
        assert_eq!(typed_number("rollout_percent", "1.5").unwrap_err().field, "rollout_percent");
    }
}
