//! One channel: what it is, and every message that was sent to it or could not be.

use std::time::Duration;

use dioxus::prelude::*;
use domain::notification::Channel;
use domain::{ChannelId, NotificationId, Timestamp};
use services::{ChannelField, Delivery, channel_fields};

use super::channel_actions::{ChannelDialog, ChannelDialogs};
use super::subscriptions::Subscriptions;
use super::{NotAllowed, Tab};
use crate::alerts_url::{AlertsUrl, ChannelUrl};
use crate::components::{EmptyState, Glyph, PageHeader, Problem, RouteLink, Skeleton, icon, time_ago};
use crate::context::use_session;
use crate::format;
use crate::navigation::{PendingNavigation, use_title};
use crate::polling::use_polling;
use crate::route::Route;
use crate::toasts::use_toasts;

/// How often the deliveries are read again.
const POLL_INTERVAL: Duration = Duration::from_secs(3);
/// Deliveries that are listed.
const LISTED: i64 = 100;

#[component]
pub(crate) fn AlertChannel(id: String, query: ChannelUrl) -> Element {
    if !Tab::Channels.open_to(&use_session().principal) {
        return rsx! { PageHeader { title: "Channel" } NotAllowed {} };
    }
    match id.parse::<ChannelId>() {
        // Keyed, so that another channel gets a page of its own.
        Ok(id) => rsx! { for id in [id] { Live { key: "{id}", id, query } } },
        Err(_) => rsx! { NoSuchChannel {} },
    }
}

#[component]
fn NoSuchChannel() -> Element {
    use_title("No such channel");
    rsx! {
        h1 { class: "visually-hidden", tabindex: "-1", "No such channel" }
        EmptyState { glyph: Glyph::Search, title: "There is no such channel", text: "It may have been removed, or the address is incomplete.",
            RouteLink { to: Route::AlertChannels {}, class: "button primary", "Go to the channels" }
        }
    }
}

#[component]
fn Live(id: ChannelId, query: ChannelUrl) -> Element {
    let channel = use_polling(id, POLL_INTERVAL, |system, principal, id| async move {
        Ok(system.alerts.channels(&principal).await?.into_iter().find(|channel| channel.id == id))
    });
    let reading = channel.read();
    match reading.value.as_deref() {
        Some(None) => rsx! { NoSuchChannel {} },
        Some(Some(found)) => rsx! {
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| channel.again() }
            }
            Page { channel: found.clone(), query, onchange: move |()| channel.again() }
        },
        None => rsx! {
            PageHeader { title: "Channel" }
            match &reading.problem {
                Some(problem) => rsx! { Problem { text: problem.clone(), onretry: move |()| channel.again() } },
                None => rsx! { section { class: "card", Skeleton {} } },
            }
        },
    }
}

#[component]
fn Page(channel: Channel, query: ChannelUrl, onchange: EventHandler<()>) -> Element {
    use_title(&channel.name);
    let mut dialog = use_signal(|| None::<ChannelDialog>);
    let onward: PendingNavigation = use_context();
    let (tested, changed, removed) = (channel.clone(), channel.clone(), channel.clone());
    let shown: Vec<(ChannelField, String)> = channel_fields(channel.kind)
        .iter()
        .filter_map(|field| Some((*field, channel.settings.get(field.name)?.clone())))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let host = channel.settings.get("host").filter(|_| !channel_fields(channel.kind).iter().any(|field| field.name == "host"));
    rsx! {
        nav { class: "crumbs", aria_label: "Breadcrumb",
            RouteLink { to: Route::Alerts { query: AlertsUrl::default() }, "Alerts" } span { aria_hidden: "true", "/" }
            RouteLink { to: Route::AlertChannels {}, "Channels" } span { aria_hidden: "true", "/" } span { class: "truncate", "{channel.name}" }
        }
        PageHeader { title: channel.name.clone(),
            button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "test-channel", onclick: move |_| dialog.set(Some(ChannelDialog::Test(tested.clone()))), {icon(Glyph::Send)} "Test" }
            button { class: "button", r#type: "button", aria_haspopup: "dialog", "data-testid": "change-channel", onclick: move |_| dialog.set(Some(ChannelDialog::Edit(Some(changed.clone())))), "Change" }
            button { class: "button danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "remove-channel", onclick: move |_| dialog.set(Some(ChannelDialog::Remove(removed.clone()))), "Remove" }
        }
        section { class: "card", aria_labelledby: "details-title",
            h2 { id: "details-title", "Details" }
            dl { class: "facts wide",
                div { dt { "Kind" } dd { {channel.kind.title()} } }
                div { dt { "State" } dd { if channel.enabled { "On" } else { "Off: nothing is sent to it" } } }
                if let Some(host) = host { div { dt { "Host" } dd { "{host}" } } }
                for (field, value) in shown { div { key: "{field.name}", dt { {field.label} } dd { "{value}" } } }
                div { dt { "Secret" } dd { if channel.has_secret { "Set, and shown nowhere" } else { "None" } } }
            }
        }
        Deliveries { id: channel.id, dead: query.dead }
        Subscriptions { id: channel.id }
        ChannelDialogs { dialog, onchange, onremove: move |()| onward.go(Route::AlertChannels {}) }
    }
}

#[component]
fn Deliveries(id: ChannelId, dead: bool) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let list = use_polling((id, dead), POLL_INTERVAL, |system, principal, (id, dead)| async move {
        system.alerts.deliveries(&principal, id, dead, LISTED).await
    });
    let reading = list.read();
    let now = session.clock.now();
    let resend = use_callback(move |notification: NotificationId| {
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.alerts.resend(&principal, notification, id).await }).await {
                Ok(()) => toasts.good("Queued the message again."),
                Err(error) => toasts.failed(&error),
            }
            list.again();
        });
    });
    let other = |dead| Route::AlertChannel { id: id.to_string(), query: ChannelUrl { dead } };
    rsx! {
        section { class: "card", aria_labelledby: "deliveries-title", aria_busy: reading.loading.to_string(),
            div { class: "card-head",
                h2 { id: "deliveries-title", "Deliveries" }
                nav { class: "tabs", aria_label: "Deliveries",
                    RouteLink { to: other(false), current: !dead, testid: "deliveries-all", "All" }
                    RouteLink { to: other(true), current: dead, testid: "deliveries-dead", "Dead letters" }
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some(deliveries) if deliveries.is_empty() && dead => rsx! {
                    EmptyState { glyph: Glyph::Check, title: "No dead letters", text: "Messages that could not be delivered within a day, or were refused for good, are listed here to be sent again." }
                },
                Some(deliveries) if deliveries.is_empty() => rsx! {
                    EmptyState { glyph: Glyph::Send, title: "Nothing sent yet", text: "Every message that a route leads to this channel appears here, with the answer of the service." }
                },
                Some(deliveries) => rsx! {
                    div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "Delivery log",
                        table { class: "plain delivery-table", "data-testid": "deliveries",
                            thead { tr { th { scope: "col", "Time" } th { scope: "col", "Message" } th { scope: "col", "State" } th { scope: "col", "Answer" } th { scope: "col", span { class: "visually-hidden", "Actions" } } } }
                            tbody {
                                for delivery in deliveries.iter() {
                                    Row { key: "{delivery.notification}", delivery: delivery.clone(), now, onresend: resend }
                                }
                            }
                        }
                    }
                    if deliveries.len() as i64 == LISTED { p { class: "muted more", "Only the newest {LISTED} are shown." } }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
    }
}

/// State of a delivery, its colour, and when it is tried next.
fn state_words(delivery: &Delivery, now: Timestamp) -> (&'static str, &'static str, Option<String>) {
    match delivery.state.as_str() {
        "delivered" => ("Delivered", "good", None),
        "dead" => ("Given up", "bad", None),
        _ if delivery.attempts == 0 => ("Queued", "", None),
        _ => {
            let next = delivery.next_attempt_at.map(|at| (at - now).num_seconds());
            let next =
                next.map(|seconds| if seconds > 0 { format!("again in {}", format::duration(seconds)) } else { "again now".to_owned() });
            ("Retrying", "warn", next)
        }
    }
}

#[component]
fn Row(delivery: Delivery, now: Timestamp, onresend: EventHandler<NotificationId>) -> Element {
    let (state, tone, next) = state_words(&delivery, now);
    let (at, id) = (delivery.ended_at.unwrap_or(delivery.queued_at), delivery.notification);
    rsx! {
        tr { "data-testid": "delivery-row", "data-state": "{delivery.state}",
            td { class: "audit-time", {time_ago(at, &format::relative(now, at))} }
            td { "{delivery.headline}" }
            td {
                span { class: "badge {tone}", {state} }
                if delivery.attempts > 1 { span { class: "audit-kind", {format::count(delivery.attempts as usize, "attempt", "attempts")} } }
                if let Some(next) = next { span { class: "audit-kind", "{next}" } }
            }
            td { span { class: "delivery-answer", {delivery.last_answer.as_deref().unwrap_or_default()} } }
            td {
                if delivery.state == "dead" {
                    button { class: "button small", r#type: "button", aria_label: "Send again: {delivery.headline}", "data-testid": "resend", onclick: move |_| onresend.call(id), "Send again" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_says_how_far_it_is() {
        let now = Timestamp::from_timestamp(1_780_000_000, 0).unwrap();
        let delivery = |state: &str, attempts, next: Option<i64>| Delivery {
            notification: NotificationId(uuid::Uuid::nil()),
            channel: ChannelId(uuid::Uuid::nil()),
            channel_name: "Ops".into(),
            headline: "1 device offline".into(),
            state: state.into(),
            attempts,
            queued_at: now,
            next_attempt_at: next.map(|seconds| now + chrono::TimeDelta::seconds(seconds)),
            last_answer: None,
            ended_at: None,
        };
        assert_eq!(state_words(&delivery("delivered", 1, None), now).0, "Delivered");
        assert_eq!(state_words(&delivery("queued", 0, Some(0)), now).0, "Queued");
        assert_eq!(state_words(&delivery("queued", 2, Some(90)), now), ("Retrying", "warn", Some("again in 1 min 30 s".to_owned())));
        assert_eq!(state_words(&delivery("queued", 2, Some(-5)), now).2.as_deref(), Some("again now"));
        assert_eq!(state_words(&delivery("dead", 9, None), now).1, "bad");
    }
}
