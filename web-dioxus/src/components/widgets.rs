//! General widgets.

use dioxus::prelude::*;
use domain::Timestamp;

use crate::components::{Glyph, RouteLink, icon};
use crate::format;
use crate::route::Route;

/// Page header. Its heading takes the focus after navigation.
#[component]
pub(crate) fn PageHeader(title: String, #[props(default)] lead: Option<String>, #[props(default)] children: Element) -> Element {
    rsx! {
        header { class: "page-header",
            div {
                h1 { tabindex: "-1", "{title}" }
                if let Some(lead) = lead {
                    p { class: "lead", "{lead}" }
                }
            }
            div { class: "page-actions", {children} }
        }
    }
}

/// Tile with one number, linked to the list that it counts if there is one.
#[component]
pub(crate) fn StatTile(
    testid: String,
    label: String,
    value: u64,
    tone: String,
    #[props(default)] hint: Option<String>,
    to: Option<Route>,
) -> Element {
    // Zero problems are not highlighted.
    let tone = if value == 0 { "quiet".to_owned() } else { tone };
    let content = rsx! {
        span { class: "stat-label", span { class: "stat-mark" } "{label}" }
        span { class: "stat-value", {format::number(value)} }
        if let Some(hint) = hint {
            span { class: "stat-hint", "{hint}" }
        }
    };
    match to {
        Some(to) => rsx! { RouteLink { to, class: "stat {tone}", testid, {content} } },
        None => rsx! { div { class: "stat {tone}", "data-testid": testid, {content} } },
    }
}

/// Relative time; the script sets the exact local time as its title.
pub(crate) fn time_ago(at: Timestamp, text: &str) -> Element {
    rsx! { time { datetime: format::iso(at), "{text}" } }
}

/// Precision of a displayed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalTime {
    /// Day and minute.
    Minute,
    /// Day only.
    Day,
}

/// Time in the viewer's time zone, filled in by the script as only the browser knows the zone.
pub(crate) fn local_time(at: Timestamp, exactness: LocalTime) -> Element {
    let exactness = match exactness {
        LocalTime::Minute => "minute",
        LocalTime::Day => "day",
    };
    rsx! { time { datetime: format::iso(at), "data-local": exactness } }
}

/// Button that copies a text.
#[component]
pub(crate) fn CopyButton(text: String, label: String, #[props(default)] wide: bool) -> Element {
    rsx! {
        button {
            class: if wide { "button copy" } else { "icon-button copy" },
            r#type: "button", "data-copy": text,
            aria_label: if wide { None } else { Some(label.clone()) },
            title: if wide { None } else { Some(label.clone()) },
            span { class: "copy-idle", {icon(Glyph::Copy)} }
            span { class: "copy-done", {icon(Glyph::Check)} }
            if wide {
                "{label}"
            }
        }
    }
}

/// Shell command to copy.
#[component]
pub(crate) fn Curl(command: String, testid: Option<String>) -> Element {
    rsx! {
        div { class: "command",
            pre { tabindex: "0", code { "data-testid": testid, "{command}" } }
            CopyButton { text: command, label: "Copy the command" }
        }
    }
}

/// Error message with a retry button.
#[component]
pub(crate) fn Problem(text: String, onretry: EventHandler<()>) -> Element {
    rsx! {
        div { class: "notice bad", role: "alert", "data-testid": "problem", {icon(Glyph::Alert)} span { "{text}" }
            button { class: "button small", r#type: "button", onclick: move |_| onretry.call(()), "Try again" }
        }
    }
}

/// Pagination of a list, newest first. `page` counts from 0.
#[component]
pub(crate) fn Pager(page: usize, more: bool, onnewer: EventHandler<()>, onolder: EventHandler<()>) -> Element {
    if page == 0 && !more {
        return rsx! {};
    }
    rsx! {
        nav { class: "pager", aria_label: "Pages",
            button { class: "button small", r#type: "button", disabled: page == 0, "data-testid": "newer", onclick: move |_| onnewer.call(()), "Newer" }
            span { class: "muted", role: "status", "Page {page + 1}" }
            button { class: "button small", r#type: "button", disabled: !more, "data-testid": "older", onclick: move |_| onolder.call(()), "Older" }
        }
    }
}

/// Placeholder while content loads.
#[component]
pub(crate) fn Skeleton() -> Element {
    rsx! { div { class: "skeleton-lines", aria_busy: "true", aria_label: "Loading", role: "status", span {} span {} span {} } }
}

/// Empty state with a hint.
#[component]
pub(crate) fn EmptyState(glyph: Glyph, title: String, text: String, #[props(default)] children: Element) -> Element {
    rsx! {
        div { class: "empty", "data-testid": "empty-state",
            span { class: "empty-mark", {icon(glyph)} }
            h2 { "{title}" }
            p { "{text}" }
            div { class: "empty-actions", {children} }
        }
    }
}
