//! Bulk actions: input, preview and results.

use std::rc::Rc;

use dioxus::prelude::*;
use domain::bulk::{BulkAction, Decision};
use domain::bulk_target::BulkTarget;
use domain::edit::{DevicePatch, LabelChange};
use domain::text::label_list;
use domain::{DeviceId, Invalid, ServiceError};
use services::{BulkOutcome, BulkRequest};

use crate::components::form::{FormDialog, TextField, text_of, use_submission};
use crate::components::{Dialog, Glyph, Problem, Skeleton, icon};
use crate::context::{explain, use_session};
use crate::format;
use crate::toasts::{Undo, use_toasts};

/// Devices that a question or an answer names.
const NAMED_MAX: usize = 8;
/// Refusals that an answer lists.
const REFUSED_MAX: usize = 100;

/// Kind of bulk action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BulkKind {
    Tags,
    Groups,
    Revoke,
    Delete,
}

/// Stage of a bulk action.
#[derive(Clone, PartialEq)]
enum Stage {
    /// Input of tags or groups.
    Labels,
    /// Preview.
    Check(BulkAction),
    /// Results.
    Done(BulkAction, Rc<Vec<BulkOutcome>>),
}

/// Number of devices by outcome.
#[derive(Debug, Default, PartialEq, Eq)]
struct OutcomeCounts {
    changed: usize,
    unchanged: usize,
    refused: usize,
}

impl OutcomeCounts {
    fn of(outcomes: &[BulkOutcome]) -> Self {
        outcomes.iter().fold(Self::default(), |mut counts, outcome| {
            match &outcome.decision {
                Decision::Refused(_) => counts.refused += 1,
                Decision::Unchanged => counts.unchanged += 1,
                _ => counts.changed += 1,
            }
            counts
        })
    }
}

fn devices(count: usize) -> String {
    format::count(count, "device", "devices")
}

/// The dialogs of one bulk action on these devices.
#[component]
pub(super) fn Bulk(wanted: BulkKind, ids: Rc<Vec<DeviceId>>, onclose: EventHandler<()>, ondone: EventHandler<()>) -> Element {
    let mut stage = use_signal(|| match wanted {
        BulkKind::Tags | BulkKind::Groups => Stage::Labels,
        BulkKind::Revoke => Stage::Check(BulkAction::RevokeCredentials),
        BulkKind::Delete => Stage::Check(BulkAction::Delete),
    });
    match stage() {
        Stage::Labels => rsx! { LabelsForm { wanted, count: ids.len(), onclose, onsubmit: move |action| stage.set(Stage::Check(action)) } },
        Stage::Check(action) => rsx! {
            Check { action: action.clone(), ids, onclose,
                ondone: move |outcomes: Rc<Vec<BulkOutcome>>| {
                    stage.set(Stage::Done(action.clone(), outcomes));
                },
            }
        },
        Stage::Done(action, outcomes) => rsx! { Outcomes { action, outcomes, onclose: ondone } },
    }
}

/// Asks which tags or groups to add, remove or set.
#[component]
fn LabelsForm(wanted: BulkKind, count: usize, onsubmit: EventHandler<BulkAction>, onclose: EventHandler<()>) -> Element {
    let submission = use_submission();
    let (what, example) = if wanted == BulkKind::Tags { ("Tags", "till, ground-floor") } else { ("Groups", "berlin") };
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let labels = label_list(&text_of(&form, "labels"));
        let change = match text_of(&form, "how").as_str() {
            "remove" => LabelChange::Remove(labels.clone()),
            "set" => LabelChange::Set(labels.clone()),
            _ => LabelChange::Add(labels.clone()),
        };
        let refused = labels.is_empty() && !matches!(change, LabelChange::Set(_));
        let patch = match wanted {
            BulkKind::Tags => DevicePatch { tags: Some(change), ..DevicePatch::default() },
            _ => DevicePatch { groups: Some(change), ..DevicePatch::default() },
        };
        let outcome = match patch.checked() {
            _ if refused => Err(Invalid::new("labels", "enter at least one")),
            // The field of the form has one name for both.
            Err(invalid) => Err(Invalid::new("labels", invalid.problem)),
            Ok(patch) => Ok(patch),
        };
        if let Some(patch) = submission.done(outcome.map_err(ServiceError::from)) {
            onsubmit.call(BulkAction::Edit(patch));
        }
    });
    rsx! {
        FormDialog { title: "{what} of {devices(count)}", action: "Check the change", busy: false, focus: submission.focus(), onsubmit: send, onclose,
            fieldset { class: "choices inline",
                legend { "Operation" }
                for (value, text) in [("add", "Add"), ("remove", "Remove"), ("set", "Replace all")] {
                    label { key: "{value}", class: "choice-row",
                        input { r#type: "radio", name: "how", value, initial_checked: value == "add" }
                        span { "{text}" }
                    }
                }
            }
            TextField { name: "labels", label: what, hint: "separated by commas", placeholder: example, error: submission.error("labels") }
        }
    }
}

/// Preview with confirmation.
#[component]
fn Check(action: BulkAction, ids: Rc<Vec<DeviceId>>, ondone: EventHandler<Rc<Vec<BulkOutcome>>>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let mut again = use_signal(|| 0u32);
    let (asking, acting) = (session.clone(), session.clone());
    let (confirming, asked_ids) = (action.clone(), Rc::clone(&ids));
    let preview = use_resource(move || {
        again();
        let (session, action, ids) = (asking.clone(), confirming.clone(), asked_ids.to_vec());
        async move {
            let request = BulkRequest { target: BulkTarget::Ids(ids), action, dry_run: true };
            let outcomes = session.call(move |system, principal| async move { system.devices.bulk(&principal, request).await }).await;
            outcomes.map(Rc::new).map_err(|error| explain(&error))
        }
    });
    let wanted = action.clone();
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, action, ids) = (acting.clone(), wanted.clone(), ids.to_vec());
        spawn(async move {
            let deletes = action == BulkAction::Delete;
            let request = BulkRequest { target: BulkTarget::Ids(ids), action, dry_run: false };
            let outcomes = session.call(move |system, principal| async move { system.devices.bulk(&principal, request).await }).await;
            busy.set(false);
            match outcomes {
                Err(error) => {
                    toasts.failed(&error);
                    again += 1;
                }
                Ok(outcomes) => {
                    if deletes {
                        let gone: Vec<_> = outcomes.iter().filter(|outcome| outcome.decision.changes()).map(|outcome| outcome.id).collect();
                        if !gone.is_empty() {
                            toasts.undoable(format!("Deleted {}.", devices(gone.len())), Undo::Restore(gone));
                        }
                    }
                    ondone.call(Rc::new(outcomes));
                }
            }
        });
    });
    let counts = match &*preview.read() {
        Some(Ok(outcomes)) => Some(OutcomeCounts::of(outcomes)),
        _ => None,
    };
    let changed = counts.as_ref().map_or(0, |counts| counts.changed);
    let (title, verb, text) = match &action {
        BulkAction::RevokeCredentials => (
            "Revoke credentials?",
            "Revoke credentials of",
            "Tokens and sessions of the devices are revoked immediately. The devices remain in the list, but cannot report until they are enrolled again.",
        ),
        BulkAction::Delete => (
            "Delete devices?",
            "Delete",
            "The devices are removed from the fleet, and their agents stop. They can be restored from the list of deleted devices during the retention period.",
        ),
        _ => ("Change devices?", "Change", "No other property of the devices changes. The change is recorded in their events."),
    };
    let danger = !matches!(action, BulkAction::Edit(_));
    rsx! {
        Dialog { title, onclose,
            div { class: "dialog-body", "data-testid": "bulk-check",
                p { "{text}" }
                match &*preview.read() {
                    None => rsx! { Skeleton {} },
                    Some(Err(problem)) => rsx! { Problem { text: problem.clone(), onretry: move |()| again += 1 } },
                    Some(Ok(outcomes)) => rsx! {
                        OutcomeSummary { outcomes: outcomes.clone(), ahead: true }
                        Refused { outcomes: outcomes.clone() }
                    },
                }
            }
            div { class: "dialog-actions",
                button { class: "button", r#type: "button", onclick: move |_| onclose.call(()), "Cancel" }
                button {
                    class: if danger { "button danger" } else { "button primary" }, r#type: "button", disabled: busy() || changed == 0, "data-testid": "confirm",
                    onclick: move |_| onconfirm.call(()),
                    if busy() { "Working…" } else { "{verb} {devices(changed)}" }
                }
            }
        }
    }
}

/// How many change, stay, and are refused; and the first of those that change.
#[component]
fn OutcomeSummary(outcomes: Rc<Vec<BulkOutcome>>, ahead: bool) -> Element {
    let counts = OutcomeCounts::of(&outcomes);
    let named = outcomes.iter().filter(|outcome| outcome.decision.changes());
    let names: Vec<_> = named.take(NAMED_MAX).map(|outcome| (outcome.id, outcome.alias.clone().unwrap_or_default())).collect();
    let rest = counts.changed.saturating_sub(names.len());
    rsx! {
        div { role: "status",
        ul { class: "tally",
            li { class: "good", "data-testid": "bulk-changed", strong { {format::number(counts.changed as u64)} } if ahead { " would change" } else { " changed" } }
            li { strong { {format::number(counts.unchanged as u64)} } " unchanged" }
            li { class: if counts.refused > 0 { "bad" } else { "" }, "data-testid": "bulk-refused", strong { {format::number(counts.refused as u64)} } " refused" }
        }
        }
        if !names.is_empty() {
            ul { class: "names",
                for (id, name) in names {
                    li { key: "{id}", class: "truncate", "{name}" }
                }
                if rest > 0 {
                    li { class: "muted", "and {format::number(rest as u64)} more" }
                }
            }
        }
    }
}

/// Which devices nothing is done with, and why.
#[component]
fn Refused(outcomes: Rc<Vec<BulkOutcome>>) -> Element {
    let refused: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| match &outcome.decision {
            Decision::Refused(refusal) => {
                Some((outcome.id, outcome.alias.clone().unwrap_or_else(|| outcome.id.to_string()), refusal.to_string()))
            }
            _ => None,
        })
        .collect();
    if refused.is_empty() {
        return rsx! {};
    }
    let rest = refused.len().saturating_sub(REFUSED_MAX);
    rsx! {
        ul { class: "names refused", tabindex: "0", aria_label: "Refused devices",
            for (id, name, why) in refused.into_iter().take(REFUSED_MAX) {
                li { key: "{id}", {icon(Glyph::Alert)} strong { class: "truncate", "{name}" } span { "{why}" } }
            }
            if rest > 0 {
                li { class: "muted", "and {format::number(rest as u64)} more" }
            }
        }
    }
}

/// Result of each device.
#[component]
fn Outcomes(action: BulkAction, outcomes: Rc<Vec<BulkOutcome>>, onclose: EventHandler<()>) -> Element {
    let title = match action {
        BulkAction::RevokeCredentials => "Credentials revoked",
        BulkAction::Delete => "Devices deleted",
        _ => "Devices changed",
    };
    rsx! {
        Dialog { title, onclose,
            div { class: "dialog-body", "data-testid": "bulk-outcome",
                OutcomeSummary { outcomes: outcomes.clone(), ahead: false }
                Refused { outcomes }
            }
            div { class: "dialog-actions", button { class: "button primary", r#type: "button", "data-testid": "bulk-close", onclick: move |_| onclose.call(()), "Done" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::bulk::Refusal;

    #[test]
    fn every_device_is_counted_once() {
        let outcome = |n, decision| BulkOutcome { id: DeviceId(uuid::Uuid::from_u128(n)), alias: None, decision };
        let outcomes = [
            outcome(1, Decision::Delete),
            outcome(2, Decision::Unchanged),
            outcome(3, Decision::Refused(Refusal::NotFound)),
            outcome(4, Decision::RevokeCredentials),
        ];
        assert_eq!(OutcomeCounts::of(&outcomes), OutcomeCounts { changed: 2, unchanged: 1, refused: 1 });
    }
}
