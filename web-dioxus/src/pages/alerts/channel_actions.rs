//! Dialogs about a channel: its form, the answer to a test message, its removal.

use dioxus::prelude::*;
use domain::notification::Channel;
use services::ChannelTest;

use super::channel_form::ChannelForm;
use crate::components::{Confirm, Dialog, Glyph, Skeleton, icon};
use crate::context::{explain, use_session};
use crate::toasts::use_toasts;

/// The dialog that is open.
#[derive(Clone, PartialEq)]
pub(super) enum ChannelDialog {
    /// The form; of a new channel without one.
    Edit(Option<Channel>),
    /// A test message.
    Test(Channel),
    /// Its removal.
    Remove(Channel),
}

#[component]
pub(super) fn ChannelDialogs(dialog: Signal<Option<ChannelDialog>>, onchange: EventHandler<()>, onremove: EventHandler<()>) -> Element {
    let mut dialog = dialog;
    match dialog() {
        None => rsx! {},
        Some(ChannelDialog::Edit(known)) => rsx! {
            ChannelForm { known,
                ondone: move |()| {
                    dialog.set(None);
                    onchange.call(());
                },
                onclose: move |()| dialog.set(None),
            }
        },
        Some(ChannelDialog::Test(channel)) => rsx! { Test { channel, onclose: move |()| dialog.set(None) } },
        Some(ChannelDialog::Remove(channel)) => rsx! {
            Remove { channel,
                ondone: move |()| {
                    dialog.set(None);
                    onremove.call(());
                },
                onclose: move |()| dialog.set(None),
            }
        },
    }
}

/// Sends a test message and shows the service's answer.
#[component]
fn Test(channel: Channel, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let id = channel.id;
    let mut round = use_signal(|| 0u32);
    let mut answer = use_signal(|| None::<Result<ChannelTest, String>>);
    use_resource(move || {
        let session = session.clone();
        round();
        async move {
            if answer.peek().is_some() {
                answer.set(None);
            }
            let outcome = session.call(move |system, principal| async move { system.alerts.test_channel(&principal, id).await }).await;
            answer.set(Some(outcome.map_err(|error| explain(&error))));
        }
    });
    let running = answer.read().is_none();
    rsx! {
        Dialog { title: "Test of {channel.name}", onclose,
            div { class: "dialog-body test-answer", aria_live: "polite", "data-testid": "test-answer",
                match answer() {
                    None => rsx! { p { "Sending a test message…" } Skeleton {} },
                    Some(Ok(answer)) if answer.delivered => rsx! {
                        div { class: "notice", {icon(Glyph::Check)} span { "Delivered." } }
                        p { class: "answer mono", "{answer.answer}" }
                    },
                    Some(Ok(answer)) => rsx! {
                        div { class: "notice bad", {icon(Glyph::Alert)} span { "Not delivered." } }
                        p { class: "answer mono", "{answer.answer}" }
                    },
                    Some(Err(problem)) => rsx! { div { class: "notice bad", {icon(Glyph::Alert)} span { "{problem}" } } },
                }
            }
            div { class: "dialog-actions",
                button { class: "button", r#type: "button", disabled: running, "data-testid": "test-again", onclick: move |_| round += 1, "Test again" }
                button { class: "button primary", r#type: "button", onclick: move |_| onclose.call(()), "Close" }
            }
        }
    }
}

#[component]
fn Remove(channel: Channel, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let (id, name) = (channel.id, channel.name.clone());
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, name) = (session.clone(), name.clone());
        spawn(async move {
            match session.call(move |system, principal| async move { system.alerts.remove_channel(&principal, id).await }).await {
                Ok(_) => {
                    toasts.good(format!("Removed {name}."));
                    ondone.call(());
                }
                Err(error) => {
                    toasts.failed(&error);
                    onclose.call(());
                }
            }
        });
    });
    rsx! {
        Confirm { title: "Remove {channel.name}?", action: "Remove", busy: busy(), onconfirm, onclose,
            p { "Its routes, its delivery log and messages that are still on their way go with it." }
        }
    }
}
