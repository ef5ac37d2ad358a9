//! Channels: where notifications are sent; made, changed, tested, removed.

use std::time::Duration;

use dioxus::prelude::*;
use domain::notification::{Channel, ChannelKind};

use super::channel_actions::{ChannelDialog, ChannelDialogs};
use super::{Frame, Tab};
use crate::components::{EmptyState, Glyph, Problem, RouteLink, Skeleton, icon};
use crate::polling::use_polling;
use crate::route::Route;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

#[component]
pub(crate) fn AlertChannels() -> Element {
    let dialog = use_signal(|| None::<ChannelDialog>);
    let mut opened = dialog;
    let actions = rsx! {
        button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "add-channel", onclick: move |_| opened.set(Some(ChannelDialog::Edit(None))), {icon(Glyph::Plus)} "New channel" }
    };
    rsx! { Frame { tab: Tab::Channels, actions, List { dialog } } }
}

#[component]
fn List(dialog: Signal<Option<ChannelDialog>>) -> Element {
    let mut dialog = dialog;
    let list = use_polling((), POLL_INTERVAL, |system, principal, ()| async move { system.alerts.channels(&principal).await });
    let reading = list.read();
    rsx! {
        section { class: "card", aria_labelledby: "channels-title", aria_busy: reading.loading.to_string(),
            h2 { id: "channels-title", class: "visually-hidden", "Channels" }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some(channels) if channels.is_empty() => rsx! {
                    EmptyState { glyph: Glyph::Send, title: "No channels yet", text: "Create a channel, test it, and add a route that sends alerts to it. Until then nobody is notified; alerts are on the Alerts page all the same.",
                        button { class: "button primary", r#type: "button", aria_haspopup: "dialog", onclick: move |_| dialog.set(Some(ChannelDialog::Edit(None))), "New channel" }
                    }
                },
                Some(channels) => rsx! {
                    ul { class: "rows",
                        for channel in channels.iter() {
                            Row { key: "{channel.id}", channel: channel.clone(), onopen: move |what| dialog.set(Some(what)) }
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        ChannelDialogs { dialog, onchange: move |()| list.again(), onremove: move |()| list.again() }
    }
}

/// What can be shown of where a channel leads: the host of a URL, the addresses of mail.
pub(super) fn target_text(channel: &Channel) -> String {
    let of = |name: &str| channel.settings.get(name).map(String::as_str).filter(|value| !value.is_empty());
    match channel.kind {
        ChannelKind::Email => of("to"),
        _ => of("host").or_else(|| of("url")),
    }
    .unwrap_or_default()
    .to_owned()
}

#[component]
fn Row(channel: Channel, onopen: EventHandler<ChannelDialog>) -> Element {
    let target = target_text(&channel);
    let (tested, changed, removed) = (channel.clone(), channel.clone(), channel.clone());
    rsx! {
        li { class: if channel.enabled { "row-item" } else { "row-item off" }, "data-testid": "channel-row", "data-name": "{channel.name}", "data-kind": channel.kind.as_str(),
            span { class: "row-icon", {icon(Glyph::Send)} }
            div { class: "row-main",
                div { class: "row-title",
                    RouteLink { to: Route::alert_channel(channel.id), class: "truncate", testid: "open-channel", "{channel.name}" }
                    span { class: "badge", {channel.kind.title()} }
                    if !channel.enabled { span { class: "badge bad", "Off" } }
                }
                if !target.is_empty() { div { class: "row-meta", span { class: "truncate", "{target}" } } }
            }
            div { class: "row-actions", role: "group", aria_label: "Actions for {channel.name}",
                button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "test-channel", onclick: move |_| onopen.call(ChannelDialog::Test(tested.clone())), "Test" }
                button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "change-channel", onclick: move |_| onopen.call(ChannelDialog::Edit(Some(changed.clone()))), "Change" }
                button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "remove-channel", onclick: move |_| onopen.call(ChannelDialog::Remove(removed.clone())), "Remove" }
            }
        }
    }
}
