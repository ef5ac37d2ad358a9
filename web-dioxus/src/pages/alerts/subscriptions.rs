//! Events that are sent to a channel besides alerts: what the audit trail records, and what happens to devices.

use std::time::Duration;

use dioxus::prelude::*;
use domain::ChannelId;
use domain::access::Permission;
use domain::audit::AuditSubject;
use domain::notification::DEVICE_EVENT_PREFIX;
use domain::text::label_list;
use services::SubscriptionView;

use crate::components::form::{FormDialog, TextField, checked_of, text_of, use_submission};
use crate::components::{Confirm, Glyph, Problem, Skeleton, icon, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;
use crate::toasts::use_toasts;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The dialog that is open.
#[derive(Clone, PartialEq)]
enum OpenDialog {
    Add,
    Remove(SubscriptionView),
}

#[component]
pub(super) fn Subscriptions(id: ChannelId) -> Element {
    let session = use_session();
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let list = use_polling(id, POLL_INTERVAL, |system, principal, id| async move {
        let all = system.alerts.subscriptions(&principal).await?;
        Ok(all.into_iter().filter(|view| view.subscription.channel == id).collect::<Vec<_>>())
    });
    let reading = list.read();
    let now = session.clock.now();
    let may = session.may(Permission::ViewAudit);
    let done = move |()| {
        dialog.set(None);
        list.again();
    };
    rsx! {
        section { class: "card", aria_labelledby: "events-title", aria_busy: reading.loading.to_string(),
            div { class: "card-head",
                h2 { id: "events-title", "Events" }
                if may {
                    button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "add-subscription", onclick: move |_| dialog.set(Some(OpenDialog::Add)), {icon(Glyph::Plus)} "Subscribe" }
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some(views) if views.is_empty() => rsx! { p { class: "muted", "Besides alerts, a channel can get what the audit trail records, such as devices enrolled or deleted, deployments and sign-ins, and what happens to devices." } },
                Some(views) => rsx! {
                    ul { class: "rows",
                        for view in views.iter() {
                            li { key: "{view.subscription.id}", class: "row-item", "data-testid": "subscription-row",
                                div { class: "row-main",
                                    div { class: "row-title wrap", code { {view.subscription.actions.join(", ")} } }
                                    div { class: "row-meta", span { "by " strong { "{view.created_by}" } ", " {time_ago(view.created_at, &format::relative(now, view.created_at))} } }
                                }
                                div { class: "row-actions",
                                    button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", aria_label: "Remove the subscription to {view.subscription.actions.join(\", \")}", "data-testid": "remove-subscription",
                                        onclick: {
                                            let view = view.clone();
                                            move |_| dialog.set(Some(OpenDialog::Remove(view.clone())))
                                        },
                                        "Remove"
                                    }
                                }
                            }
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Add) => rsx! { Add { id, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Remove(view)) => rsx! { Remove { view, ondone: done, onclose: move |()| dialog.set(None) } },
        }
    }
}

/// Patterns of the form: those of the subjects that are checked, then those that were written.
fn patterns(subjects: Vec<String>, written: &str) -> Vec<String> {
    let of_subjects = subjects.into_iter().map(|prefix| format!("{prefix}*"));
    of_subjects.chain(label_list(written).into_iter().filter(|action| !action.is_empty())).collect()
}

#[component]
fn Add(id: ChannelId, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let actions = patterns(checked_of(&form, "subjects"), &text_of(&form, "actions"));
            let outcome =
                session.call(move |system, principal| async move { system.alerts.subscribe(&principal, id, actions).await }).await;
            if submission.done(outcome).is_some() {
                toasts.good("Subscribed. New events are sent to the channel.");
                ondone.call(());
            }
        });
    });
    rsx! {
        FormDialog { title: "Subscribe to events", action: "Subscribe", wide: true, busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            fieldset { class: "choices",
                legend { "Everything about" }
                div { class: "choice-list", role: "group", tabindex: "0", aria_label: "Subjects",
                    for subject in AuditSubject::ALL {
                        label { key: "{subject.prefix}", class: "choice-row",
                            input { r#type: "checkbox", name: "subjects", value: subject.prefix }
                            span { {subject.title} }
                        }
                    }
                    label { class: "choice-row",
                        input { r#type: "checkbox", name: "subjects", value: DEVICE_EVENT_PREFIX }
                        span { "What happens to devices: connection, restarts, battery, app, versions" }
                    }
                }
            }
            TextField { name: "actions", label: "Single actions", hint: "as the Audit page names them, separated by commas; of devices: device_event.app_down_began", placeholder: "device.enrolled, device.deleted", error: submission.error("actions") }
            if let Some(problem) = submission.other_error(&["actions"]) {
                p { class: "field-error", role: "alert", "data-testid": "form-error", "{problem}" }
            }
        }
    }
}

#[component]
fn Remove(view: SubscriptionView, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let id = view.subscription.id;
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.alerts.unsubscribe(&principal, id).await }).await {
                Ok(()) => toasts.good("Removed the subscription."),
                Err(error) => toasts.failed(&error),
            }
            ondone.call(());
        });
    });
    rsx! {
        Confirm { title: "Remove this subscription?", action: "Remove", busy: busy(), onconfirm, onclose,
            p { class: "names", code { {view.subscription.actions.join(", ")} } }
            p { "No further events of these kinds are sent to the channel." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_everything_about_it() {
        let subjects = vec!["device.".to_owned()];
        assert_eq!(patterns(subjects, " deployment.finished, flag.set,, "), ["device.*", "deployment.finished", "flag.set"]);
        assert!(patterns(vec![], " , ").is_empty());
    }
}
