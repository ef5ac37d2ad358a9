//! Readings of the last heartbeat.

use dioxus::prelude::*;
use domain::Timestamp;
use domain::device::{AppStatus, DeviceView, LastStatus};
use domain::heartbeat::{Telemetry, WatchedApp};
use domain::telemetry::{FIELDS, Field, Page, Section, Unusable};

use crate::components::{Glyph, LocalTime, app_badge, icon, local_time, time_ago};
use crate::context::use_session;
use crate::format::{self, UNKNOWN};

#[component]
pub(super) fn Readings(view: DeviceView, telemetry: Telemetry, as_of: Option<(Timestamp, String)>, foreground: Option<String>) -> Element {
    let policy = use_session().policy;
    let t = &telemetry;
    let stale = as_of.is_some();
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
    rsx! {
        if let Some((at, text)) = &as_of {
            p { class: "notice", role: "status", "data-testid": "readings-as-of", {icon(Glyph::Alert)} span { "The device is not connected. Its last readings, as of " {time_ago(*at, text)} ":" } }
        }
        section { class: if stale { "readings stale" } else { "readings" }, aria_label: "Live readings",
            Reading { label: "Battery", glyph: Glyph::Battery, tone: battery_tone, value: percent(t.battery_pct), hint: joined(battery_hint), bar: t.battery_pct, testid: "battery" }
            Reading { label: "Memory", glyph: Glyph::Chip, value: memory.unwrap_or_else(unknown), hint: joined(memory_hint), bar: t.ram_pressure_pct, testid: "memory" }
            Reading { label: "Storage", glyph: Glyph::Package, value: t.storage_free_mb.map_or_else(unknown, format::mebibytes), hint: t.storage_free_mb.map_or("", |_| "free"), testid: "storage" }
            Reading { label: "Network", glyph: Glyph::Network, value: format::network(t).unwrap_or(UNKNOWN), hint: joined(network_hint), testid: "network" }
            Reading { label: "App", glyph: Glyph::Device, tone: app_tone, value: app, hint: foreground.unwrap_or_default(), testid: "app" }
        }
    }
}

/// Model of the device and version of its agent.
#[component]
pub(super) fn About(view: DeviceView, clock: String, telemetry: Telemetry) -> Element {
    let t = &telemetry;
    rsx! {
            Facts { title: "System",
                Fact { name: "Model", value: view.model().map(str::to_owned) }
                Fact { name: "Manufacturer", value: t.manufacturer.clone().or_else(|| view.identity.manufacturer.clone()) }
                ReadingList { section: Section::System, telemetry: telemetry.clone() }
                Fact { name: "Clock", value: Some(clock) }
            }
            Facts { title: "Agent", ReadingList { section: Section::Agent, telemetry: telemetry.clone() } }
    }
}

/// The fields that the telemetry table lists in this section.
#[component]
fn ReadingList(section: Section, telemetry: Telemetry) -> Element {
    rsx! {
        for (name, value) in listed(section, &telemetry) {
            Fact { key: "{name}", name: "{name}", value }
        }
    }
}

/// Names and values of the fields of a section.
fn listed(section: Section, telemetry: &Telemetry) -> Vec<(&'static str, Option<String>)> {
    let value = |field: &Field| (field.get)(telemetry).map(|reading| format::reading(reading, field.unit));
    let at = |(at, field): (usize, &'static Field)| {
        // Its own value, and those that the table has in brackets behind it.
        let behind = FIELDS[at + 1..].iter().map_while(|field| match field.page {
            Page::Behind(words) => Some((words, value(field))),
            _ => None,
        });
        let behind: Vec<_> = behind.filter_map(|(words, value)| Some(format!("{words} {}", value?))).collect();
        let shown = match (value(field), behind.join(", ")) {
            (value, behind) if behind.is_empty() => value,
            (Some(value), behind) => Some(format!("{value} ({behind})")),
            (None, behind) => Some(behind),
        };
        (field.label, shown)
    };
    let listed = FIELDS.iter().enumerate().filter(|(_, field)| field.page == Page::Listed(section));
    // An opt-in reading is not missed where nobody asked for it.
    listed
        .map(|(n, field)| (field, at((n, field))))
        .filter(|(field, (_, value))| field.opt_in.is_none() || value.is_some())
        .map(|(_, row)| row)
        .collect()
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
pub(super) fn Fact(name: String, value: Option<String>) -> Element {
    let known = value.is_some();
    rsx! {
        div {
            dt { "{name}" }
            dd { class: (!known).then_some("muted"), {value.unwrap_or_else(unknown)} }
        }
    }
}

/// Values that the device sent and that could not be used as they were.
#[component]
pub(super) fn UnusableValues(values: Vec<Unusable>) -> Element {
    rsx! {
        section { class: "card", aria_labelledby: "unusable", "data-testid": "unusable-values",
            h2 { id: "unusable", "Unusable values" }
            dl { class: "facts",
                for noted in &values {
                    div { key: "{noted.field}",
                        dt { {noted.label()} }
                        dd {
                            "unusable value "
                            span { class: "mono", if noted.value.is_empty() { "(empty)" } else { "{noted.value}" } }
                            ", since " {local_time(noted.since, LocalTime::Minute)}
                            span { class: "muted", " ({noted.problem})" }
                        }
                    }
                }
            }
        }
    }
}

#[component]
pub(super) fn Packages(apps: Vec<WatchedApp>, status: AppStatus) -> Element {
    rsx! {
        section { class: "card", aria_labelledby: "packages",
            h2 { id: "packages", "Monitored apps " {app_badge(status)} }
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

fn unknown() -> String {
    UNKNOWN.to_owned()
}

fn percent(pct: Option<i16>) -> String {
    pct.map_or_else(unknown, |pct| format!("{pct} %"))
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// How long ago the monitored app was in the foreground: before the heartbeat, and since.
pub(super) fn foreground_text(last: &LastStatus, now: Timestamp) -> Option<String> {
    let at = last.received_at - chrono::TimeDelta::seconds(i64::from(last.telemetry.foreground_recent_s?));
    Some(format!("in the foreground {}", format::relative(now, at)))
}

/// How the device's clock compares with the server's.
pub(super) fn clock_text(last: &LastStatus) -> String {
    let Some(device_time) = last.device_time else {
        return if last.clock_rejected { "unreadable".to_owned() } else { unknown() };
    };
    let off_s = (device_time - last.received_at).num_seconds();
    let verdict = if last.clock_rejected { ", rejected" } else { "" };
    match off_s {
        -60..=60 => format!("in sync{verdict}"),
        ahead if ahead > 0 => format!("{} ahead{verdict}", format::duration(ahead)),
        behind => format!("{} behind{verdict}", format::duration(-behind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_shows_what_is_known() {
        let shown = |telemetry: &Telemetry| {
            let all = [listed(Section::System, telemetry), listed(Section::Agent, telemetry)].concat();
            all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect::<Vec<_>>()
        };
        assert_eq!(shown(&Telemetry::default()), []);
        assert_eq!(shown(&Telemetry { sdk_int: Some(33), ..Telemetry::default() }), [("Android", "API 33".to_owned())]);
        let reported = Telemetry {
            android_version: Some("13".into()),
            sdk_int: Some(33),
            uptime_s: Some(90_000),
            app_version: Some("1.4.0".into()),
            metered: Some(false),
            queue_depth: Some(1_234),
            cpu_load_pct: Some(37),
            location_lat: Some(52.520008),
            location_accuracy_m: Some(12.5),
            ..Telemetry::default()
        };
        let wanted = [
            ("Android", "13 (API 33)"),
            ("Uptime", "1 d 1 h"),
            ("Processor load", "37 %"),
            ("Latitude", "52.520008°"),
            ("Location accuracy", "12.5 m"),
            ("Version", "1.4.0"),
            ("Metered", "No"),
            ("Queued heartbeats", "1,234"),
        ];
        assert_eq!(shown(&reported), wanted.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn the_age_of_a_reading_grows_while_a_device_is_silent() {
        let now = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        let telemetry = Telemetry { foreground_recent_s: Some(44), ..Telemetry::default() };
        let last = LastStatus { bucket_at: now, received_at: now, device_time: None, clock_rejected: false, telemetry };
        let after = |seconds| foreground_text(&last, now + chrono::TimeDelta::seconds(seconds));
        assert_eq!(after(0).as_deref(), Some("in the foreground 40 s ago"));
        assert_eq!(after(17 * 60).as_deref(), Some("in the foreground 18 min ago"));
        assert_eq!(foreground_text(&LastStatus { telemetry: Telemetry::default(), ..last }, now), None);
    }

    #[test]
    fn a_clock_that_is_off_is_told() {
        let now = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        let with = |off_s, clock_rejected| {
            let device_time = Some(now + chrono::TimeDelta::seconds(off_s));
            clock_text(&LastStatus { bucket_at: now, received_at: now, device_time, clock_rejected, telemetry: Telemetry::default() })
        };
        assert_eq!(with(5, false), "in sync");
        assert_eq!(with(-7300, false), "2 h 2 min behind");
        assert_eq!(with(86_400 * 400, true), "400 d ahead, rejected");
        let without = |clock_rejected| {
            clock_text(&LastStatus { bucket_at: now, received_at: now, device_time: None, clock_rejected, telemetry: Telemetry::default() })
        };
        assert_eq!((without(true).as_str(), without(false).as_str()), ("unreadable", UNKNOWN));
    }
}
