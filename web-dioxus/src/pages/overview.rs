//! The state of the fleet at a glance: counts, the heartbeat rate, and what needs attention.

use std::rc::Rc;

use actors::clock;
use dioxus::prelude::*;
use domain::access::Permission;
use domain::device::{Connectivity, DeviceView};
use domain::query::{DeviceFilter, Sort, SortKey};

use crate::app::{Route, use_title};
use crate::components::{Curl, EmptyState, Glyph, Go, PageHeader, StatTile, battery_bar, icon, status_dot, time_ago};
use crate::context::use_session;
use crate::fleet_watch::{Attention, Digest, RATES_KEPT};
use crate::format;
use crate::sampling::{CALM, ticks, use_fleet};
use crate::url_state::{DevicesUrl, EnrollmentUrl};

#[component]
pub(crate) fn Overview() -> Element {
    use_title("Overview");
    let session = use_session();
    let stats = use_fleet(CALM, |fleet, _| *fleet.stats().borrow());
    let low = session.policy.low_battery_pct;
    let stats = stats();
    let list = |filter| Some(Route::Devices { query: DevicesUrl { filter, ..DevicesUrl::default() } });
    let with = |connectivity| DeviceFilter { connectivity: Some(connectivity), ..DeviceFilter::default() };
    let share = |part: u64| (stats.devices > 0).then(|| format!("{} % of {}", part * 100 / stats.devices, format::number(stats.devices)));
    if stats.devices == 0 {
        return rsx! {
            PageHeader { title: "Overview" }
            FirstSteps {}
        };
    }
    rsx! {
        PageHeader { title: "Overview", lead: "{format::count(stats.devices as usize, \"device\", \"devices\")} enrolled" }
        section { class: "stats", aria_label: "Counts",
            StatTile { testid: "stat-online", label: "Online", value: stats.online, tone: "good", hint: share(stats.online), to: list(with(Connectivity::Online)) }
            StatTile { testid: "stat-offline", label: "Offline", value: stats.offline, tone: "bad", hint: share(stats.offline), to: list(with(Connectivity::Offline)) }
            StatTile { testid: "stat-never-seen", label: "Never seen", value: stats.never_seen, tone: "neutral", hint: "enrolled, not heard from", to: list(with(Connectivity::NeverSeen)) }
            StatTile {
                testid: "stat-low-battery", label: "Low battery", value: stats.low_battery, tone: "warn", hint: "online, below {low} %",
                to: list(DeviceFilter { battery_below: Some(low), ..with(Connectivity::Online) }),
            }
            StatTile { testid: "stat-app-down", label: "App down", value: stats.app_down, tone: "bad", hint: "online, app not running", to: None }
        }
        Rate {}
        NeedsAttention {}
    }
}

/// Heartbeats per second, now and over the last two minutes.
#[component]
fn Rate() -> Element {
    let session = use_session();
    let rates = use_fleet(CALM, move |_, _| session.watch.rates());
    let rates = rates();
    let now = rates.last().copied().unwrap_or_default();
    let peak = rates.iter().copied().fold(0.0, f64::max);
    rsx! {
        section { class: "card rate", aria_label: "Heartbeats per second",
            div { class: "rate-now",
                span { class: "stat-label", {icon(Glyph::Chart)} "Heartbeats per second" }
                span { class: "stat-value", "data-testid": "heartbeats-per-second", {format::rate(now)} }
                span { class: "stat-hint", "peak {format::rate(peak)} in the last 2 minutes" }
            }
            Sparkline { values: rates, peak }
        }
    }
}

#[component]
fn Sparkline(values: Vec<f64>, peak: f64) -> Element {
    let (line, area) = sparkline(&values, peak);
    rsx! {
        svg { class: "spark", view_box: "0 0 480 64", preserve_aspect_ratio: "none", role: "img", "aria-label": "Heartbeats per second over the last two minutes",
            path { class: "spark-area", d: area }
            path { class: "spark-line", d: line, vector_effect: "non-scaling-stroke" }
        }
    }
}

/// The line through the values and the area below it, newest at the right edge.
fn sparkline(values: &[f64], peak: f64) -> (String, String) {
    const WIDTH: f64 = 480.0;
    const HEIGHT: f64 = 64.0;
    let step = WIDTH / (RATES_KEPT - 1) as f64;
    let first = RATES_KEPT.saturating_sub(values.len()) as f64 * step;
    let points: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let y = if peak > 0.0 { HEIGHT - 2.0 - value / peak * (HEIGHT - 6.0) } else { HEIGHT - 2.0 };
            format!("{:.1} {y:.1}", first + at as f64 * step)
        })
        .collect();
    if points.len() < 2 {
        return (String::new(), String::new());
    }
    let line = format!("M{}", points.join("L"));
    let area = format!("{line}L{WIDTH} {HEIGHT}L{first:.1} {HEIGHT}Z");
    (line, area)
}

/// The devices that somebody should look at.
#[component]
fn NeedsAttention() -> Element {
    let session = use_session();
    let low = session.policy.low_battery_pct;
    let mut digest = use_signal(|| None::<Rc<Digest>>);
    use_future(move || {
        let watch = session.watch.clone();
        async move {
            let mut ticks = ticks(CALM);
            loop {
                ticks.tick().await;
                let new = watch.digest().await;
                if digest.peek().as_deref() != Some(&*new) {
                    digest.set(Some(Rc::new((*new).clone())));
                }
            }
        }
    });
    let offline = DevicesUrl {
        filter: DeviceFilter { connectivity: Some(Connectivity::Offline), ..DeviceFilter::default() },
        sort: Sort { key: SortKey::LastSeen, descending: true },
        ..DevicesUrl::default()
    };
    let empty = DevicesUrl {
        filter: DeviceFilter { connectivity: Some(Connectivity::Online), battery_below: Some(low), ..DeviceFilter::default() },
        sort: Sort { key: SortKey::Battery, descending: false },
        ..DevicesUrl::default()
    };
    let shown = digest();
    rsx! {
        section { class: "card", aria_labelledby: "attention",
            h2 { id: "attention", "Needs attention" }
            match shown {
                None => rsx! { div { class: "skeleton-lines", aria_hidden: "true", span {} span {} span {} } },
                Some(digest) if digest.app_down.total + digest.low_battery.total + digest.offline.total == 0 => rsx! {
                    p { class: "all-good", {icon(Glyph::Check)} "Every device is online, charged, and runs its app." }
                },
                Some(digest) => rsx! {
                    div { class: "attention",
                        AttentionList { title: "App down", reason: Reason::AppDown, attention: digest.app_down.clone(), more: None }
                        AttentionList { title: "Low battery", reason: Reason::LowBattery, attention: digest.low_battery.clone(), more: Some(empty) }
                        AttentionList { title: "Offline", reason: Reason::Offline, attention: digest.offline.clone(), more: Some(offline) }
                    }
                },
            }
        }
    }
}

/// Why a device needs attention.
#[derive(Clone, Copy, PartialEq)]
enum Reason {
    AppDown,
    LowBattery,
    Offline,
}

#[component]
fn AttentionList(title: String, reason: Reason, attention: Attention, more: Option<DevicesUrl>) -> Element {
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
                match more {
                    Some(query) => rsx! { Go { to: Route::Devices { query }, class: "more-link", "Show all {format::number(attention.total as u64)}" } },
                    None => rsx! { p { class: "muted more-link", "and {format::number(rest as u64)} more" } },
                }
            }
        }
    }
}

#[component]
fn AttentionRow(reason: Reason, view: DeviceView) -> Element {
    let telemetry = view.last.as_ref().map(|last| &last.telemetry);
    let detail = match reason {
        Reason::AppDown => {
            let text = match telemetry.map(|telemetry| (telemetry.app_running, telemetry.foreground_recent_s)) {
                Some((Some(false), _)) | None => "not running".to_owned(),
                Some((_, Some(seconds))) => format!("out of view for {}", format::duration(i64::from(seconds))),
                Some((_, None)) => String::new(),
            };
            rsx! { span { class: "muted", "{text}" } }
        }
        Reason::LowBattery => battery_bar(view.battery_pct(), telemetry.and_then(|telemetry| telemetry.charging), true),
        Reason::Offline => rsx! {
            span { class: "muted",
                if let Some(at) = view.last_seen_at {
                    {time_ago(at, &format::relative(clock::now(), at))}
                }
            }
        },
    };
    rsx! {
        li {
            {status_dot(view.connectivity)}
            Go { to: Route::Device { id: view.identity.id.to_string() }, class: "truncate", "{view.identity.alias}" }
            {detail}
        }
    }
}

/// What to do with an empty fleet.
#[component]
fn FirstSteps() -> Element {
    let session = use_session();
    let command = register_command(&session.origin, "ENROLLMENT_TOKEN", Some("my-first-device"));
    rsx! {
        section { class: "card first-steps",
            EmptyState { glyph: Glyph::Device, title: "No devices yet", text: "Three steps bring the first one in. This page fills by itself once it reports.",
                if session.may(Permission::ManageEnrollment) {
                    Go { to: Route::Enrollment { query: EnrollmentUrl::default() }, class: "button primary", "Create an enrollment token" }
                }
            }
            ol {
                li { strong { "Create an enrollment token. " } "Each token enrolls exactly one device and then is used up." }
                li { strong { "Enroll the device. " } "The agent does this call; you can do it by hand to try it:" Curl { command, testid: None } }
                li { strong { "Watch it report. " } "With the device token from the answer the agent sends its first heartbeat." }
            }
        }
    }
}

/// The call that enrolls a device with a token.
pub(crate) fn register_command(origin: &str, token: &str, alias: Option<&str>) -> String {
    let body = alias.map_or_else(|| "{}".to_owned(), |alias| serde_json::json!({ "alias": alias }).to_string());
    let authorization = format::shell_word(&format!("Authorization: Bearer {token}"));
    format!(
        "curl -sS {} \\\n  -H {authorization} \\\n  -H 'Content-Type: application/json' \\\n  -d {}",
        format::shell_word(&format!("{origin}/v1/register")),
        format::shell_word(&body)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_rate_is_at_the_right_edge_and_the_peak_at_the_top() {
        let (line, area) = sparkline(&[0.0, 10.0], 10.0);
        assert_eq!(line, "M476.0 62.0L480.0 4.0");
        assert!(area.ends_with("L480 64L476.0 64Z"));
        assert_eq!(sparkline(&[1.0], 1.0).0, "", "one point is no line");
        assert!(!sparkline(&[0.0, 0.0], 0.0).0.contains("NaN"));
    }

    #[test]
    fn the_command_survives_any_alias() {
        let command = register_command("https://mdm.example", "t", Some("it's \"x\""));
        assert!(command.contains(r#"'{"alias":"it'\''s \"x\""}'"#), "{command}");
        assert!(register_command("https://mdm.example", "t", None).ends_with("-d '{}'"));
    }
}
