//! One device, live: what it is, how it is doing, and what can be done about it.

use actors::ServiceError;
use dioxus::prelude::*;
use domain::DeviceId;
use domain::access::Permission;
use domain::device::{AppStatus, Connectivity, DeviceView, LastStatus};
use domain::heartbeat::{Telemetry, WatchedApp};

use crate::app::{Route, use_title};
use crate::components::{Confirm, CopyButton, EmptyState, Glyph, Go, app_badge, icon, labels, status_dot, time_ago};
use crate::context::use_session;
use crate::format::{self, UNKNOWN};
use crate::sampling::{LIVE, use_fleet};
use crate::toasts::use_toasts;
use crate::url_state::DevicesUrl;

#[component]
pub(crate) fn Device(id: String) -> Element {
    match id.parse::<DeviceId>() {
        // Keyed, so that another device gets a page of its own.
        Ok(id) => rsx! { for id in [id] { LiveDevice { key: "{id}", id } } },
        Err(_) => rsx! { Gone {} },
    }
}

#[component]
fn Gone() -> Element {
    use_title("No such device");
    rsx! {
        h1 { class: "visually-hidden", tabindex: "-1", "No such device" }
        EmptyState { glyph: Glyph::Search, title: "There is no such device", text: "It may have been deleted, or the address is not complete.",
            Go { to: all_devices(), class: "button primary", "Go to the devices" }
        }
    }
}

fn all_devices() -> Route {
    Route::Devices { query: DevicesUrl::default() }
}

/// What the page shows; relative times are part of it, because they age by themselves.
#[derive(Clone, PartialEq)]
struct Shown {
    view: DeviceView,
    seen: Option<String>,
    enrolled: String,
    clock: Option<String>,
}

#[component]
fn LiveDevice(id: DeviceId) -> Element {
    let shown = use_fleet(LIVE, move |fleet, now| {
        let view = fleet.device(id)?;
        Some(Shown {
            seen: view.last_seen_at.map(|at| format::relative(now, at)),
            enrolled: format::relative(now, view.identity.enrolled_at),
            clock: view.last.as_deref().map(clock_text),
            view,
        })
    });
    match shown() {
        Some(shown) => rsx! { Page { shown } },
        None => rsx! { Gone {} },
    }
}

#[component]
fn Page(shown: Shown) -> Element {
    let identity = shown.view.identity.clone();
    use_title(&identity.alias);
    let last = shown.view.last.clone();
    let seen = shown.view.last_seen_at.zip(shown.seen.as_ref()).map(|(at, text)| time_ago(at, text));
    rsx! {
        nav { class: "crumbs", aria_label: "Breadcrumb", Go { to: all_devices(), "Devices" } span { aria_hidden: "true", "/" } span { class: "truncate", "{identity.alias}" } }
        header { class: "page-header device-header",
            div {
                h1 { tabindex: "-1", "data-testid": "device-alias", "{identity.alias}" }
                p { class: "lead",
                    span { "data-testid": "device-status", {status_dot(shown.view.connectivity)} }
                    if let Some(seen) = seen {
                        span { "last seen " {seen} }
                    } else {
                        span { "enrolled, not heard from yet" }
                    }
                    {labels(&identity.groups, 8)}
                    {labels(&identity.tags, 8)}
                }
            }
            div { class: "page-actions", Actions { id: identity.id, alias: identity.alias.clone() } }
        }
        match last {
            Some(last) => rsx! { Readings { view: shown.view.clone(), clock: shown.clock.clone().unwrap_or_default(), telemetry: last.telemetry.clone() } },
            None => rsx! {
                section { class: "card",
                    EmptyState { glyph: Glyph::Chart, title: "No heartbeat yet", text: "This page fills by itself as soon as the device sends its first heartbeat." }
                }
            },
        }
        Enrolled { view: shown.view.clone(), enrolled: shown.enrolled.clone() }
    }
}

/// What can be done with the device.
#[component]
fn Actions(id: DeviceId, alias: String) -> Element {
    #[derive(Clone, Copy, PartialEq)]
    enum Asked {
        Revoke,
        Delete,
    }
    let session = use_session();
    let toasts = use_toasts();
    let navigator = use_navigator();
    let mut asked = use_signal(|| None::<Asked>);
    let mut busy = use_signal(|| false);
    if !session.may(Permission::ManageDevices) {
        return rsx! {};
    }
    let name = alias.clone();
    let confirmed = use_callback(move |action: Asked| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, name) = (session.clone(), name.clone());
        spawn(async move {
            let outcome: Result<(), ServiceError> = session
                .call(move |system, principal| async move {
                    match action {
                        Asked::Revoke => system.devices.revoke(&principal, id).await,
                        Asked::Delete => system.devices.delete(&principal, id).await,
                    }
                })
                .await;
            busy.set(false);
            asked.set(None);
            match (outcome, action) {
                (Ok(()), Asked::Revoke) => toasts.good(format!("The credentials of {name} are revoked.")),
                (Ok(()), Asked::Delete) => {
                    toasts.good(format!("{name} is deleted."));
                    navigator.push(all_devices());
                }
                (Err(error), _) => toasts.failed(&error),
            }
        });
    });
    rsx! {
        button { class: "button", r#type: "button", aria_haspopup: "dialog", "data-testid": "revoke-device", onclick: move |_| asked.set(Some(Asked::Revoke)),
            {icon(Glyph::Key)} "Revoke credentials"
        }
        button { class: "button danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "delete-device", onclick: move |_| asked.set(Some(Asked::Delete)),
            {icon(Glyph::Trash)} "Delete"
        }
        match asked() {
            None => rsx! {},
            Some(Asked::Revoke) => rsx! {
                Confirm { title: "Revoke the credentials of {alias}?", action: "Revoke credentials", busy: busy(),
                    onconfirm: move |()| confirmed(Asked::Revoke), onclose: move |()| asked.set(None),
                    p { "Its token and session stop working at once, and its connection is closed. The device stays in the list, but it cannot report until it is enrolled again." }
                }
            },
            Some(Asked::Delete) => rsx! {
                Confirm { title: "Delete {alias}?", action: "Delete device", busy: busy(),
                    onconfirm: move |()| confirmed(Asked::Delete), onclose: move |()| asked.set(None),
                    p { "The device leaves the fleet, and its agent is told to stop. To bring it back it has to be enrolled again." }
                }
            },
        }
    }
}

#[component]
fn Readings(view: DeviceView, clock: String, telemetry: Telemetry) -> Element {
    let policy = use_session().policy;
    let t = &telemetry;
    let stale = view.connectivity != Connectivity::Online;
    let low = t.battery_pct.is_some_and(|pct| pct < policy.low_battery_pct);
    let charging = t.charging == Some(true);
    let battery_tone = if charging {
        "charging"
    } else if low {
        "low"
    } else {
        ""
    };
    let battery_hint = [
        t.charging.map(|charging| if charging { "charging".to_owned() } else { "on battery".to_owned() }),
        t.battery_temperature_c.map(|celsius| format!("{celsius:.1} °C")),
    ];
    let memory = t.ram_available_mb.map(|mib| format::mebibytes(i64::from(mib)));
    let memory_hint = [
        t.ram_total_mb.map(|mib| format!("free of {}", format::mebibytes(i64::from(mib)))),
        t.ram_pressure_pct.map(|pct| format!("{pct} % in use")),
    ];
    let network_hint = [t.ssid.clone(), t.carrier.clone(), t.ip.clone()];
    let app = match view.app_status {
        AppStatus::Up => "Running",
        AppStatus::Down => "Down",
        AppStatus::Unknown => UNKNOWN,
    };
    let app_tone = match view.app_status {
        AppStatus::Down => "bad",
        AppStatus::Up => "good",
        AppStatus::Unknown => "quiet",
    };
    let app_hint = [t.foreground_recent_s.map(|seconds| format!("in the foreground {} ago", format::duration(i64::from(seconds))))];
    rsx! {
        section { class: if stale { "readings stale" } else { "readings" }, aria_label: "Live readings",
            Reading { label: "Battery", glyph: Glyph::Battery, tone: battery_tone, value: percent(t.battery_pct), hint: joined(battery_hint), bar: t.battery_pct, testid: "battery" }
            Reading { label: "Memory", glyph: Glyph::Chip, value: memory.unwrap_or_else(unknown), hint: joined(memory_hint), bar: t.ram_pressure_pct, testid: "memory" }
            Reading { label: "Storage", glyph: Glyph::Package, value: t.storage_free_mb.map_or_else(unknown, format::mebibytes), hint: t.storage_free_mb.map_or("", |_| "free"), testid: "storage" }
            Reading { label: "Network", glyph: Glyph::Network, value: format::network(t).unwrap_or(UNKNOWN), hint: joined(network_hint), testid: "network" }
            Reading { label: "App", glyph: Glyph::Device, tone: app_tone, value: app, hint: joined(app_hint), testid: "app" }
        }
        div { class: "columns",
            Facts { title: "System",
                Fact { name: "Model", value: view.model().map(str::to_owned) }
                Fact { name: "Manufacturer", value: t.manufacturer.clone().or_else(|| view.identity.manufacturer.clone()) }
                Fact { name: "Android", value: versioned(t.android_version.as_deref(), t.sdk_int.map(i64::from), "API") }
                Fact { name: "Security patch", value: t.patch_level.clone() }
                Fact { name: "Build", value: t.build_id.clone() }
                Fact { name: "Up for", value: t.uptime_s.map(format::duration) }
                Fact { name: "Clock", value: Some(clock) }
            }
            Facts { title: "Agent",
                Fact { name: "Version", value: versioned(t.app_version.as_deref(), t.agent_version_code, "code") }
                Fact { name: "Device owner", value: Some(format::yes_no(t.is_device_owner).to_owned()) }
                Fact { name: "Exempt from Doze", value: Some(format::yes_no(t.doze_whitelisted).to_owned()) }
                Fact { name: "Left alone by power management", value: Some(format::yes_no(t.power_ok).to_owned()) }
                Fact { name: "Waiting heartbeats", value: t.queue_depth.map(|depth| format::number(u64::from(depth.unsigned_abs()))) }
                Fact { name: "Network validated", value: Some(format::yes_no(t.net_validated).to_owned()) }
                Fact { name: "Metered", value: Some(format::yes_no(t.metered).to_owned()) }
                Fact { name: "In a call", value: Some(format::yes_no(t.in_call).to_owned()) }
            }
        }
        if !t.apps.is_empty() {
            Packages { apps: t.apps.clone(), status: view.app_status }
        }
    }
}

/// One reading, large.
#[component]
fn Reading(
    label: String,
    glyph: Glyph,
    value: String,
    hint: String,
    testid: String,
    #[props(default)] tone: String,
    #[props(default)] bar: Option<i16>,
) -> Element {
    rsx! {
        div { class: "reading {tone}",
            span { class: "stat-label", {icon(glyph)} "{label}" }
            span { class: "stat-value", "data-testid": "{testid}", "{value}" }
            if let Some(pct) = bar {
                span { class: "bar", aria_hidden: "true", span { style: "width:{pct.clamp(0, 100)}%" } }
            }
            span { class: "stat-hint truncate", title: hint.clone(), "{hint}" }
        }
    }
}

#[component]
fn Facts(title: String, children: Element) -> Element {
    rsx! { section { class: "card", h2 { "{title}" } dl { class: "facts", {children} } } }
}

#[component]
fn Fact(name: String, value: Option<String>) -> Element {
    let known = value.is_some();
    rsx! {
        div {
            dt { "{name}" }
            dd { class: (!known).then_some("muted"), {value.unwrap_or_else(unknown)} }
        }
    }
}

#[component]
fn Packages(apps: Vec<WatchedApp>, status: AppStatus) -> Element {
    rsx! {
        section { class: "card", aria_labelledby: "packages",
            h2 { id: "packages", "Watched packages " {app_badge(status)} }
            div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "List of packages",
                table { class: "plain",
                    thead { tr { th { scope: "col", "Package" } th { scope: "col", "Installed" } th { scope: "col", "Version" } th { scope: "col", class: "number", "Code" } } }
                    tbody {
                        for app in apps {
                            tr { key: "{app.package}",
                                td { class: "mono", "{app.package}" }
                                td { {format::yes_no(app.installed)} }
                                td { {app.version_name.clone().unwrap_or_else(unknown)} }
                                td { class: "number", {app.version_code.map_or_else(unknown, |code| code.to_string())} }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[component]
fn Enrolled(view: DeviceView, enrolled: String) -> Element {
    let identity = &view.identity;
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

fn unknown() -> String {
    UNKNOWN.to_owned()
}

fn percent(pct: Option<i16>) -> String {
    pct.map_or_else(unknown, |pct| format!("{pct} %"))
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// A version and the number behind it: "13 (API 33)".
fn versioned(name: Option<&str>, code: Option<i64>, what: &str) -> Option<String> {
    match (name, code) {
        (Some(name), Some(code)) => Some(format!("{name} ({what} {code})")),
        (Some(name), None) => Some(name.to_owned()),
        (None, Some(code)) => Some(format!("{what} {code}")),
        (None, None) => None,
    }
}

/// How the device's clock compares with the server's.
fn clock_text(last: &LastStatus) -> String {
    let Some(device_time) = last.device_time else { return unknown() };
    let off_s = (device_time - last.received_at).num_seconds();
    let verdict = if last.clock_rejected { ", not believed" } else { "" };
    match off_s {
        -60..=60 => format!("agrees{verdict}"),
        ahead if ahead > 0 => format!("{} ahead{verdict}", format::duration(ahead)),
        behind => format!("{} behind{verdict}", format::duration(-behind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_show_what_is_known() {
        assert_eq!(versioned(Some("13"), Some(33), "API").as_deref(), Some("13 (API 33)"));
        assert_eq!(versioned(None, Some(33), "API").as_deref(), Some("API 33"));
        assert_eq!(versioned(None, None, "API"), None);
    }

    #[test]
    fn a_clock_that_is_off_is_told() {
        let now = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        let with = |off_s, clock_rejected| {
            let device_time = Some(now + chrono::TimeDelta::seconds(off_s));
            clock_text(&LastStatus { bucket_at: now, received_at: now, device_time, clock_rejected, telemetry: Telemetry::default() })
        };
        assert_eq!(with(5, false), "agrees");
        assert_eq!(with(-7300, false), "2 h 1 min behind");
        assert_eq!(with(86_400 * 400, true), "400 d ahead, not believed");
    }
}
