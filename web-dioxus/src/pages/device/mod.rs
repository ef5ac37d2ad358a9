//! One device, live: what it is, how it is doing, what happened to it, and what can be done about it.

mod actions;
mod alerts;
mod commands;
mod edit;
mod events;
mod identity;
mod plots;
mod readings;
mod send;

use std::time::Duration;

use dioxus::prelude::*;
use domain::access::Permission;
use domain::device::{Connectivity, DeviceView};
use domain::{DeviceId, Timestamp};
use services::DeviceDetails;

use crate::components::alert_widgets::alert_mark;
use crate::components::{CopyButton, EmptyState, Glyph, RouteLink, identity_mark, labels, status_dot, time_ago};
use crate::context::use_session;
use crate::format;
use crate::navigation::use_title;
use crate::polling::{Polling, use_polling};
use crate::route::Route;
use crate::sampling::{LIVE, use_fleet};
use crate::url_state::{DeviceUrl, DevicesUrl};

use actions::Actions;
use alerts::{Alerts, use_alerts};
use commands::Commands;
use events::Events;
use identity::Identity;
use plots::Plots;
use readings::{About, Fact, Packages, Readings, UnusableValues, clock_text, foreground_text};
use send::Send;

/// Poll interval of the details, which change rarely.
const DETAILS_POLL_INTERVAL: Duration = Duration::from_secs(30);

#[component]
pub(crate) fn Device(id: String, query: DeviceUrl) -> Element {
    match id.parse::<DeviceId>() {
        // Keyed, so that another device gets a page of its own.
        Ok(id) => rsx! { for id in [id] { LiveDevice { key: "{id}", id, query } } },
        Err(_) => rsx! { NoSuchDevice {} },
    }
}

#[component]
fn NoSuchDevice() -> Element {
    use_title("No such device");
    rsx! {
        h1 { class: "visually-hidden", tabindex: "-1", "No such device" }
        EmptyState { glyph: Glyph::Search, title: "There is no such device", text: "It may have been deleted, or the address is incomplete.",
            RouteLink { to: all_devices(), class: "button primary", "Go to the devices" }
        }
    }
}

fn all_devices() -> Route {
    Route::Devices { query: DevicesUrl::default() }
}

/// Data of the page, including relative times, which change by themselves.
#[derive(Clone, PartialEq)]
struct PageData {
    view: DeviceView,
    seen: Option<String>,
    enrolled: String,
    clock: Option<String>,
    /// Age of the readings, of a device that is not connected.
    as_of: Option<(Timestamp, String)>,
    foreground: Option<String>,
}

#[component]
fn LiveDevice(id: DeviceId, query: DeviceUrl) -> Element {
    let shown = use_fleet(LIVE, move |fleet, now| {
        let view = fleet.device(id)?;
        Some(PageData {
            seen: view.last_seen_at.map(|at| format::relative(now, at)),
            enrolled: format::relative(now, view.identity.enrolled_at),
            clock: view.last.as_deref().map(clock_text),
            as_of: view
                .last
                .as_deref()
                .filter(|_| view.connectivity != Connectivity::Online)
                .map(|last| (last.received_at, format::relative(now, last.received_at))),
            foreground: view.last.as_deref().and_then(|last| foreground_text(last, now)),
            view,
        })
    });
    match shown() {
        Some(shown) => rsx! { Page { shown, query } },
        None => rsx! { NoSuchDevice {} },
    }
}

#[component]
fn Page(shown: PageData, query: DeviceUrl) -> Element {
    let identity = shown.view.identity.clone();
    use_title(&identity.alias);
    let details = use_polling(identity.id, DETAILS_POLL_INTERVAL, |system, principal, id: DeviceId| async move {
        system.devices.details(&principal, id).await
    });
    let alerts = use_alerts(identity.id, query);
    let session = use_session();
    let mut sent = use_signal(|| 0u32);
    let last = shown.view.last.clone();
    let packages = last.iter().flat_map(|last| &last.telemetry.apps).map(|app| app.package.clone()).collect::<Vec<_>>();
    let online = shown.view.connectivity == Connectivity::Online;
    let seen = shown.view.last_seen_at.zip(shown.seen.as_ref()).map(|(at, text)| time_ago(at, text));
    rsx! {
        nav { class: "crumbs", aria_label: "Breadcrumb", RouteLink { to: all_devices(), "Devices" } span { aria_hidden: "true", "/" } span { class: "truncate", "{identity.alias}" } }
        header { class: "page-header device-header",
            div {
                h1 { tabindex: "-1", "data-testid": "device-alias", "{identity.alias}" }
                p { class: "lead",
                    span { "data-testid": "device-status", {status_dot(shown.view.connectivity)} }
                    {identity_mark(shown.view.identity_status())}
                    {alert_mark(shown.view.open_alerts)}
                    if let Some(seen) = seen {
                        span { "last seen " {seen} }
                    } else {
                        span { "enrolled, no heartbeat yet" }
                    }
                    {labels(&identity.groups, 8)}
                    {labels(&identity.tags, 8)}
                }
            }
            div { class: "page-actions", Actions { view: shown.view.clone(), details } }
        }
        Identity { view: shown.view.clone(), details }
        match &last {
            Some(last) => rsx! { Readings { view: shown.view.clone(), telemetry: last.telemetry.clone(), as_of: shown.as_of.clone(), foreground: shown.foreground.clone() } },
            None => rsx! {
                section { class: "card",
                    EmptyState { glyph: Glyph::Chart, title: "No heartbeat yet", text: "This page updates as soon as the device sends its first heartbeat." }
                }
            },
        }
        if let Some(last) = last.as_ref().filter(|last| !last.telemetry.unusable.is_empty()) {
            UnusableValues { values: last.telemetry.unusable.clone() }
        }
        Send { id: identity.id, alias: identity.alias.clone(), online, packages, onsent: move |()| sent += 1 }
        if last.is_some() {
            Plots { id: identity.id, query, alerts }
        }
        Alerts { id: identity.id, query, alerts }
        div { class: "device-lower",
            div {
                if session.may(Permission::ViewCommands) {
                    Commands { id: identity.id, sent: sent() }
                }
                Events { id: identity.id }
                if let Some(last) = last.as_ref().filter(|last| !last.telemetry.apps.is_empty()) {
                    Packages { apps: last.telemetry.apps.clone(), status: shown.view.app_status }
                }
                Enrolled { view: shown.view.clone(), enrolled: shown.enrolled.clone(), details }
            }
            if let Some(last) = &last {
                div { About { view: shown.view.clone(), clock: shown.clock.clone().unwrap_or_default(), telemetry: last.telemetry.clone() } }
            }
        }
    }
}

#[component]
fn Enrolled(view: DeviceView, enrolled: String, details: Polling<DeviceDetails>) -> Element {
    let identity = &view.identity;
    let monitored = details.read().value.and_then(|details| details.monitored.clone());
    let monitored = monitored.map(|app| match app.stale_after_s {
        Some(seconds) => format!("{}, down after {} out of the foreground", app.package, format::duration(i64::from(seconds))),
        None => app.package,
    });
    let boot = view.last.as_ref().and_then(|last| last.telemetry.boot_id.clone());
    rsx! {
        section { class: "card",
            h2 { "Identity" }
            dl { class: "facts wide",
                div { dt { "Enrolled" } dd { {time_ago(identity.enrolled_at, &enrolled)} } }
                Identifier { name: "Device id", value: identity.id.to_string() }
                if let Some(hardware_id) = identity.hardware_id.clone() {
                    Identifier { name: "Hardware id", value: hardware_id }
                }
                if let Some(boot) = boot {
                    Identifier { name: "Boot id", value: boot }
                }
                Fact { name: "Monitored app", value: monitored }
                Fact { name: "Model at enrollment", value: identity.model.clone() }
                Fact { name: "Manufacturer at enrollment", value: identity.manufacturer.clone() }
            }
        }
    }
}

#[component]
fn Identifier(name: String, value: String) -> Element {
    rsx! {
        div {
            dt { "{name}" }
            dd { class: "identifier", code { class: "truncate", "{value}" } CopyButton { text: value.clone(), label: "Copy the {name.to_lowercase()}" } }
        }
    }
}
