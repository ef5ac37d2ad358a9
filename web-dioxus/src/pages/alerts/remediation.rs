//! Remediation of a rule: commands that mend its alerts, for all devices or a group.

use std::time::Duration;

use dioxus::prelude::*;
use domain::Invalid;
use domain::access::Permission;
use domain::alert::{RemediationPlan, Remedy, Rule};
use domain::flag::Flag;
use services::{RemediationRequest, RemediationView};

use crate::components::form::{FormDialog, TextField, checked_of, some_of, use_submission};
use crate::components::set_flag::SetFlag;
use crate::components::{Confirm, Glyph, Problem, Skeleton, icon, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;
use crate::toasts::use_toasts;

/// How often the plans are read again.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Numbers of a plan: name, label, hint.
const NUMBERS: [(&str, &str, &str); 5] = [
    ("attempts_max", "Attempts at one alert", "1 to 10"),
    ("backoff_seconds", "Retry delay (s)", "doubled with each further attempt"),
    ("at_once_max", "Concurrent devices", "over the whole cluster"),
    ("per_hour_max", "Commands an hour", "over the whole cluster"),
    ("failures_max", "Consecutive failures", "after so many it turns itself off"),
];

/// The dialog that is open.
#[derive(Clone, PartialEq)]
enum OpenDialog {
    Set(Option<RemediationView>),
    Remove(RemediationView),
    Stop(bool),
}

#[component]
pub(super) fn Remediation(rule: Rule) -> Element {
    let session = use_session();
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let list = use_polling(rule, POLL_INTERVAL, |system, principal, rule| async move {
        let plans = system.alerts.remediation(&principal).await?;
        let stopped = system.flags.all(&principal).await?.into_iter().any(|state| state.flag == Flag::RemediationStop && state.enabled);
        Ok((plans.into_iter().filter(|view| view.plan.rule == rule).collect::<Vec<_>>(), stopped))
    });
    let reading = list.read();
    let may = session.may(Permission::ManageAlerts) && session.may(Permission::SendCommands);
    let stops = session.may(Permission::ManageFlags);
    let stopped = reading.value.as_deref().is_some_and(|(_, stopped)| *stopped);
    let done = move |()| {
        dialog.set(None);
        list.again();
    };
    rsx! {
        section { class: "card", aria_labelledby: "remediation-title", aria_busy: reading.loading.to_string(),
            div { class: "card-head",
                h2 { id: "remediation-title", "Remediation" }
                div { class: "row-actions",
                    if stops && !stopped {
                        button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "stop-remediation", onclick: move |_| dialog.set(Some(OpenDialog::Stop(true))), {icon(Glyph::Power)} "Stop all remediation" }
                    }
                    if may {
                        button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "add-remediation", onclick: move |_| dialog.set(Some(OpenDialog::Set(None))), {icon(Glyph::Plus)} "For a group" }
                    }
                }
            }
            p { class: "muted card-lead", "{remedies_text(rule)} Not while a maintenance window matches the alert, and not once somebody has acknowledged it." }
            if stopped {
                div { class: "notice bad", "data-testid": "remediation-stopped", {icon(Glyph::Alert)} span { "All remediation is stopped, whatever is turned on here." }
                    if stops { button { class: "button small", r#type: "button", aria_haspopup: "dialog", onclick: move |_| dialog.set(Some(OpenDialog::Stop(false))), "Resume remediation" } }
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((plans, _)) => rsx! {
                    ul { class: "rows",
                        for view in plans.iter() {
                            PlanRow { key: "{view.group:?}", view: view.clone(), ago: view.turned_off_at.map(|at| format::relative(session.clock.now(), at)), may, onopen: move |what| dialog.set(Some(what)) }
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Set(known)) => rsx! { SetPlan { rule, known, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Remove(view)) => rsx! { Remove { view, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Stop(on)) => rsx! { SetFlag { flag: Flag::RemediationStop, on, onclose: done } },
        }
    }
}

/// Name of a remedy as a command.
fn remedy_text(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::LaunchApp => "launches the app",
        Remedy::RestartApp => "restarts the app",
        Remedy::Ping => "wakes the device",
        Remedy::Exec => "runs an allowed command",
        Remedy::Update => "updates the agent",
        Remedy::Reboot => "restarts the device, if that is allowed",
    }
}

/// What is tried, in its order.
fn remedies_text(rule: Rule) -> String {
    let remedies: Vec<_> = rule.remedies().iter().map(|remedy| remedy_text(*remedy)).collect();
    format!("The server {}.", remedies.join(", then "))
}

/// The limits of a plan in words.
fn plan_text(view: &RemediationView) -> String {
    let plan = &view.plan;
    let mut text = format!(
        "{}, {} devices at once, {} commands an hour",
        format::count(plan.attempts_max as usize, "attempt", "attempts"),
        format::number(plan.at_once_max.into()),
        format::number(plan.per_hour_max.into())
    );
    if let Some(exec) = &view.exec {
        text.push_str(&format!(", runs {exec}"));
    }
    if plan.allow_reboot {
        text.push_str(", may restart devices");
    }
    text
}

fn scope(view: &RemediationView) -> String {
    view.group.as_ref().map_or_else(|| "All devices".to_owned(), |group| format!("Group {group}"))
}

#[component]
fn PlanRow(view: RemediationView, ago: Option<String>, may: bool, onopen: EventHandler<OpenDialog>) -> Element {
    let name = scope(&view);
    let (changed, removed) = (view.clone(), view.clone());
    rsx! {
        li { class: "row-item", "data-testid": "remediation-row", "data-enabled": view.plan.enabled.to_string(),
            div { class: "row-main",
                div { class: "row-title",
                    span { class: "truncate", "{name}" }
                    if view.plan.enabled { span { class: "badge good", "On" } } else { span { class: "badge", "Off" } }
                }
                if view.plan.enabled { div { class: "row-meta", span { {plan_text(&view)} } } }
                if let Some((at, ago)) = view.turned_off_at.zip(ago) {
                    div { class: "row-meta", span { "data-testid": "turned-off", "Turned itself off " {time_ago(at, &ago)} ": it kept failing." } }
                } else if view.failures_in_a_row > 0 {
                    div { class: "row-meta", span { "Consecutive failures: {view.failures_in_a_row}" } }
                }
            }
            if may {
                div { class: "row-actions",
                    button { class: "button small", r#type: "button", aria_haspopup: "dialog", aria_label: "Change remediation: {name}", "data-testid": "change-remediation", onclick: move |_| onopen.call(OpenDialog::Set(Some(changed.clone()))), "Change" }
                    if view.changed.is_some() {
                        button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", aria_label: "Remove remediation: {name}", "data-testid": "remove-remediation", onclick: move |_| onopen.call(OpenDialog::Remove(removed.clone())), "Remove" }
                    }
                }
            }
        }
    }
}

/// Reads the fields of the form over those of a plan.
fn request(
    rule: Rule,
    text: impl Fn(&str) -> Option<String>,
    on: impl Fn(&str) -> bool,
    group: Option<String>,
) -> Result<RemediationRequest, Invalid> {
    let mut plan = RemediationPlan { enabled: on("enabled"), allow_reboot: on("allow_reboot"), ..RemediationPlan::default_of(rule) };
    for (name, _, _) in NUMBERS {
        let Some(entered) = text(name) else { continue };
        let value = entered.parse::<u32>().map_err(|_| Invalid::new(name, "not a whole number"))?;
        match name {
            "attempts_max" => plan.attempts_max = value,
            "backoff_seconds" => plan.backoff_seconds = value,
            "at_once_max" => plan.at_once_max = value,
            "per_hour_max" => plan.per_hour_max = value,
            _ => plan.failures_max = value,
        }
    }
    Ok(RemediationRequest { plan, group, exec: text("exec") })
}

#[component]
fn SetPlan(rule: Rule, known: Option<RemediationView>, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let fixed = known.as_ref().map(|view| view.group.clone());
    let of_form = fixed.clone();
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let (session, fixed) = (session.clone(), of_form.clone());
        spawn(async move {
            let group = match fixed {
                Some(group) => Ok(group),
                None => some_of(&form, "group").map(Some).ok_or_else(|| Invalid::new("group", "missing: which group?")),
            };
            let asked =
                group.and_then(|group| request(rule, |name| some_of(&form, name), |name| !checked_of(&form, name).is_empty(), group));
            let outcome = match asked {
                Err(invalid) => Err(invalid.into()),
                Ok(asked) => {
                    session.call(move |system, principal| async move { system.alerts.set_remediation(&principal, asked).await }).await
                }
            };
            if let Some(view) = submission.done(outcome) {
                toasts.good(format!("{}: remediation is {}.", scope(&view), if view.plan.enabled { "on" } else { "off" }));
                ondone.call(());
            }
        });
    });
    let plan =
        known.as_ref().map_or_else(|| RemediationPlan { enabled: true, ..RemediationPlan::default_of(rule) }, |view| view.plan.clone());
    let held = [plan.attempts_max, plan.backoff_seconds, plan.at_once_max, plan.per_hour_max, plan.failures_max];
    let (runs, restarts) = (rule.remedies().contains(&Remedy::Exec), rule.remedies().contains(&Remedy::Reboot));
    let names: Vec<&str> = NUMBERS.iter().map(|(name, _, _)| *name).chain(["group", "exec"]).collect();
    let title = known.as_ref().map_or_else(|| "Remediation for a group".to_owned(), |view| format!("Remediation: {}", scope(view)));
    rsx! {
        FormDialog { title, action: "Save", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            p { class: "muted", {remedies_text(rule)} }
            if fixed.is_none() {
                TextField { name: "group", label: "Group", error: submission.error("group") }
            }
            label { class: "choice-row",
                input { r#type: "checkbox", name: "enabled", initial_checked: plan.enabled }
                span { strong { "Run automatically" } span { class: "muted", "commands are sent without a person confirming them" } }
            }
            if runs {
                TextField { name: "exec", label: "Allowed command", value: known.as_ref().and_then(|view| view.exec.clone()).unwrap_or_default(), hint: "as it is named in the list of allowed commands", error: submission.error("exec") }
            }
            for ((name, label, hint), value) in NUMBERS.into_iter().zip(held) {
                TextField { key: "{name}", name, label: label.to_owned(), value: value.to_string(), hint, error: submission.error(name) }
            }
            if restarts {
                label { class: "choice-row",
                    input { r#type: "checkbox", name: "allow_reboot", initial_checked: plan.allow_reboot }
                    span { strong { "May restart the device" } span { class: "muted", "as the last attempt" } }
                }
            }
            if let Some(problem) = submission.other_error(&names) {
                p { class: "field-error", role: "alert", "data-testid": "form-error", "{problem}" }
            }
        }
    }
}

#[component]
fn Remove(view: RemediationView, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let (rule, group) = (view.plan.rule, view.group.clone());
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, group) = (session.clone(), group.clone());
        spawn(async move {
            let outcome = session
                .call(move |system, principal| async move { system.alerts.remove_remediation(&principal, rule, group.as_deref()).await })
                .await;
            match outcome {
                Ok(()) => toasts.good("Removed."),
                Err(error) => toasts.failed(&error),
            }
            ondone.call(());
        });
    });
    rsx! {
        Confirm { title: "Remove remediation: {scope(&view)}?", action: "Remove", busy: busy(), onconfirm, onclose,
            p { if view.group.is_some() { "What is set for all devices holds for the group again." } else { "It is off then, but for groups that have their own." } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_keeps_its_defaults_where_nothing_is_entered() {
        let filled = |fields: &[(&str, &str)]| {
            let text = |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| (*value).to_owned());
            request(Rule::AppDown, text, |name| name == "enabled", Some("north".into()))
        };
        let asked = filled(&[("attempts_max", "2")]).unwrap();
        assert!(asked.plan.enabled && !asked.plan.allow_reboot);
        assert_eq!((asked.plan.attempts_max, asked.plan.failures_max), (2, RemediationPlan::default_of(Rule::AppDown).failures_max));
        assert_eq!(filled(&[("per_hour_max", "many")]).unwrap_err().field, "per_hour_max");
        assert_eq!(
            remedies_text(Rule::AppDown),
            "The server launches the app, then restarts the app, then restarts the device, if that is allowed."
        );
    }
}
