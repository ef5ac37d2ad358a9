//! The devices that somebody should look at.

use std::rc::Rc;

use dioxus::prelude::*;
use domain::device::{AppStatus, Connectivity, DeviceView, IdentityStatus};
use domain::query::{DeviceFilter, Sort, SortKey};

use crate::components::{Glyph, RouteLink, battery_bar, icon, status_dot, time_ago};
use crate::context::use_session;
use crate::fleet_watch::{Attention, Digest};
use crate::format;
use crate::route::Route;
use crate::url_state::DevicesUrl;

#[component]
pub(super) fn NeedsAttention(digest: Option<Rc<Digest>>) -> Element {
    let session = use_session();
    let low = session.policy.low_battery_pct;
    let offline = DevicesUrl {
        filter: DeviceFilter { connectivity: Some(Connectivity::Offline), ..DeviceFilter::default() },
        sort: Sort { key: SortKey::LastSeen, descending: true },
        ..DevicesUrl::default()
    };
    let empty = DevicesUrl {
        filter: DeviceFilter { connectivity: Some(Connectivity::Online), battery_below: Some(low), ..DeviceFilter::default() },
        sort: Sort { key: SortKey::BATTERY, descending: false },
        ..DevicesUrl::default()
    };
    let down = DevicesUrl {
        filter: DeviceFilter { connectivity: Some(Connectivity::Online), app_status: Some(AppStatus::Down), ..DeviceFilter::default() },
        ..DevicesUrl::default()
    };
    let of_identity =
        |identity| DevicesUrl { filter: DeviceFilter { identity: Some(identity), ..DeviceFilter::default() }, ..DevicesUrl::default() };
    rsx! {
        section { class: "card", aria_labelledby: "attention",
            h2 { id: "attention", "Needs attention" }
            match digest {
                None => rsx! { div { class: "skeleton-lines", aria_hidden: "true", span {} span {} span {} } },
                Some(digest) if digest.all().into_iter().all(|attention| attention.total == 0) => rsx! {
                    p { class: "all-good", {icon(Glyph::Check)} "All devices are online, charged and running their app." }
                },
                Some(digest) => rsx! {
                    div { class: "attention",
                        AttentionList { title: "App down", reason: Reason::AppDown, attention: digest.app_down.clone(), more: down }
                        AttentionList { title: "Low battery", reason: Reason::LowBattery, attention: digest.low_battery.clone(), more: empty }
                        AttentionList { title: "Offline", reason: Reason::Offline, attention: digest.offline.clone(), more: offline }
                        // Rare: they take no place while there are none.
                        if digest.conflict.total > 0 {
                            AttentionList { title: "Identity conflict", reason: Reason::Conflict, attention: digest.conflict.clone(), more: of_identity(IdentityStatus::Conflict) }
                        }
                        if digest.ghosts.total > 0 {
                            AttentionList { title: "Ghosts", reason: Reason::Ghost, attention: digest.ghosts.clone(), more: of_identity(IdentityStatus::Ghost) }
                        }
                    }
                },
            }
        }
    }
}

/// Reason why a device needs attention.
#[derive(Clone, Copy, PartialEq)]
enum Reason {
    AppDown,
    LowBattery,
    Offline,
    Conflict,
    Ghost,
}

#[component]
fn AttentionList(title: String, reason: Reason, attention: Attention, more: DevicesUrl) -> Element {
    let rest = attention.total - attention.top.len();
    rsx! {
        div { class: "attention-list",
            h3 { "{title} " span { class: "count", {format::number(attention.total as u64)} } }
            if attention.total == 0 {
                p { class: "muted", "None." }
            }
            ul {
                for view in attention.top.iter() {
                    AttentionRow { key: "{view.identity.id}", reason, view: view.clone() }
                }
            }
            if rest > 0 {
                RouteLink { to: Route::Devices { query: more }, class: "more-link", "Show all {format::number(attention.total as u64)}" }
            }
        }
    }
}

#[component]
fn AttentionRow(reason: Reason, view: DeviceView) -> Element {
    let now = use_session().clock.now();
    let telemetry = view.last.as_ref().map(|last| &last.telemetry);
    let detail = match reason {
        Reason::AppDown => {
            let text = match telemetry.map(|telemetry| (telemetry.app_running, telemetry.foreground_recent_s)) {
                Some((Some(false), _)) | None => "not running".to_owned(),
                Some((_, Some(seconds))) => format!("in the background for {}", format::duration(i64::from(seconds))),
                Some((_, None)) => String::new(),
            };
            rsx! { span { class: "muted", "{text}" } }
        }
        Reason::Conflict => rsx! { span { class: "muted", "two devices report as one" } },
        Reason::Ghost => {
            let enrolled_at = view.identity.enrolled_at;
            rsx! { span { class: "muted", "enrolled " {time_ago(enrolled_at, &format::relative(now, enrolled_at))} } }
        }
        Reason::LowBattery => battery_bar(view.battery_pct(), telemetry.and_then(|telemetry| telemetry.charging), true),
        Reason::Offline => rsx! {
            span { class: "muted",
                if let Some(at) = view.last_seen_at {
                    {time_ago(at, &format::relative(now, at))}
                }
            }
        },
    };
    rsx! {
        li {
            {status_dot(view.connectivity)}
            RouteLink { to: Route::device(view.identity.id), class: "truncate", "{view.identity.alias}" }
            {detail}
        }
    }
}
