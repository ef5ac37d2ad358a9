//! Small parts that show a device's state. Plain functions: a table of them
//! would pay for every component.

use dioxus::prelude::*;
use domain::device::{AppStatus, Connectivity};

use crate::components::{Glyph, icon};
use crate::format;

/// A connectivity in words.
pub(crate) fn connectivity_text(connectivity: Connectivity) -> &'static str {
    match connectivity {
        Connectivity::Online => "Online",
        Connectivity::Offline => "Offline",
        Connectivity::NeverSeen => "Never seen",
    }
}

/// A state of the monitored app in words.
pub(crate) fn app_text(status: AppStatus) -> &'static str {
    match status {
        AppStatus::Up => "Up",
        AppStatus::Down => "Down",
        AppStatus::Unknown => "Unknown",
    }
}

/// Whether a device is heard from: a dot and a word.
pub(crate) fn status_dot(connectivity: Connectivity) -> Element {
    let text = connectivity_text(connectivity);
    rsx! {
        span { class: "status {connectivity.as_str()}", title: text,
            span { class: "dot" }
            span { class: "status-text", "{text}" }
        }
    }
}

/// A charge as a bar and a number.
pub(crate) fn battery_bar(pct: Option<i16>, charging: Option<bool>, low: bool) -> Element {
    let Some(pct) = pct else { return unknown() };
    let charging = charging == Some(true);
    let tone = match (charging, low) {
        (true, _) => "charging",
        (false, true) => "low",
        (false, false) => "",
    };
    rsx! {
        span { class: "battery {tone}",
            span { class: "battery-bar", span { class: "battery-fill", style: "width:{pct.clamp(0, 100)}%" } }
            span { class: "battery-pct", "{pct} %" }
            if charging {
                {icon(Glyph::Bolt)}
                span { class: "visually-hidden", "charging" }
            }
        }
    }
}

/// The state of the monitored app.
pub(crate) fn app_badge(status: AppStatus) -> Element {
    match status {
        AppStatus::Up => rsx! { span { class: "badge good", "Up" } },
        AppStatus::Down => rsx! { span { class: "badge bad", "Down" } },
        AppStatus::Unknown => unknown(),
    }
}

/// Tags or groups, the first few of them.
pub(crate) fn labels(labels: &[String], most: usize) -> Element {
    let more = labels.len().saturating_sub(most);
    let all = (more > 0).then(|| labels.join(", "));
    rsx! {
        span { class: "labels", title: all,
            for label in labels.iter().take(most) {
                span { key: "{label}", class: "label", "{label}" }
            }
            if more > 0 {
                span { class: "label more", "+{more}" }
            }
        }
    }
}

/// Stands where nothing is known.
pub(crate) fn unknown() -> Element {
    rsx! { span { class: "muted", {format::UNKNOWN} } }
}
