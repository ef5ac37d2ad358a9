//! Widgets of the state of a device. Plain functions, because a component per table cell would be costly.

use dioxus::prelude::*;
use domain::device::{AppStatus, Connectivity, IdentityStatus};

use crate::components::{Glyph, icon};
use crate::format;

/// Connectivity as a dot with text.
pub(crate) fn status_dot(connectivity: Connectivity) -> Element {
    let text = connectivity.title();
    rsx! {
        span { class: "status {connectivity.as_str()}", title: text,
            span { class: "dot" }
            span { class: "status-text", "{text}" }
        }
    }
}

/// Battery level as a bar with a number.
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

/// Badge of the state of the monitored app.
pub(crate) fn app_badge(status: AppStatus) -> Element {
    match status {
        AppStatus::Up => rsx! { span { class: "badge good", "Up" } },
        AppStatus::Down => rsx! { span { class: "badge bad", "Down" } },
        AppStatus::Unknown => unknown(),
    }
}

/// Mark of an identity that somebody should look at.
pub(crate) fn identity_mark(status: IdentityStatus) -> Element {
    let (tone, text) = match status {
        IdentityStatus::Single => return rsx! {},
        IdentityStatus::Conflict => ("bad", "Identity conflict: two devices report as this one"),
        IdentityStatus::Ghost => ("warn", "Ghost: enrolled a while ago, and never reported"),
    };
    rsx! {
        span { class: "identity-mark {tone}", title: text, "data-testid": "identity-mark", {icon(Glyph::Alert)} span { class: "visually-hidden", "{text}" } }
    }
}

/// The first tags or groups of a list.
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

/// Placeholder for an unknown value.
pub(crate) fn unknown() -> Element {
    rsx! { span { class: "muted", {format::UNKNOWN} } }
}
