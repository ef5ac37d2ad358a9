//! Distributions: bars, columns and a stacked bar. Every part can link to its list.

use dioxus::prelude::*;

use crate::components::RouteLink;
use crate::format;
use crate::route::Route;

/// Part of a distribution.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    /// Name.
    pub(crate) name: String,
    /// Count.
    pub(crate) count: u64,
    /// Colour, a role of the style sheet.
    pub(crate) tone: &'static str,
    /// Link to the list, if there is one.
    pub(crate) to: Option<Route>,
}

/// Share in percent, rounded, but never 0 for some nor 100 for not all.
pub(crate) fn share(part: u64, whole: u64) -> String {
    let pct = if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 };
    match pct {
        pct if part > 0 && pct < 1.0 => "<1 %".into(),
        pct if part < whole && pct > 99.0 => ">99 %".into(),
        pct => format!("{pct:.0} %"),
    }
}

fn length(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

fn whole(parts: &[Part]) -> u64 {
    parts.iter().map(|part| part.count).sum()
}

/// Name of a part, linked to its list.
fn name(part: &Part, class: &str) -> Element {
    match &part.to {
        Some(to) if part.count > 0 => rsx! { RouteLink { to: to.clone(), class, "{part.name}" } },
        _ => rsx! { span { class, "{part.name}" } },
    }
}

/// Bar chart, scaled to the largest part.
#[component]
pub(crate) fn Bars(parts: Vec<Part>, testid: String) -> Element {
    let (all, most) = (whole(&parts), parts.iter().map(|part| part.count).max().unwrap_or_default());
    rsx! {
        ul { class: "bars", "data-testid": testid,
            for part in parts {
                li { key: "{part.name}",
                    {name(&part, "bars-name truncate")}
                    span { class: "bars-count", {format::number(part.count)} span { class: "muted", {share(part.count, all)} } }
                    span { class: "bars-bar tone-{part.tone}", aria_hidden: "true", span { style: "width:{length(part.count, most):.2}%" } }
                }
            }
        }
    }
}

/// Column chart for ordered parts, scaled to the largest one.
#[component]
pub(crate) fn Columns(parts: Vec<Part>, testid: String) -> Element {
    let (all, most) = (whole(&parts), parts.iter().map(|part| part.count).max().unwrap_or_default());
    rsx! {
        ul { class: "chart-columns", "data-testid": testid,
            for part in parts {
                li { key: "{part.name}", title: "{part.name}: {format::number(part.count)} ({share(part.count, all)})",
                    span { class: "column-count", {format::number(part.count)} }
                    span { class: "column tone-{part.tone}", aria_hidden: "true", span { style: "height:{length(part.count, most):.2}%" } }
                    {name(&part, "column-name")}
                }
            }
        }
    }
}

/// Stacked bar with a legend.
#[component]
pub(crate) fn Stack(parts: Vec<Part>, testid: String) -> Element {
    let all = whole(&parts);
    rsx! {
        div { class: "stack", "data-testid": testid,
            div { class: "stack-bar", aria_hidden: "true",
                for part in parts.iter().filter(|part| part.count > 0) {
                    span { key: "{part.name}", class: "tone-{part.tone}", style: "flex-grow:{part.count}" }
                }
            }
            ul {
                for part in parts {
                    li { key: "{part.name}",
                        span { class: "chart-key tone-{part.tone}", aria_hidden: "true" }
                        {name(&part, "stack-name truncate")}
                        span { class: "bars-count", {format::number(part.count)} span { class: "muted", {share(part.count, all)} } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_hide_a_few() {
        assert_eq!([share(0, 10), share(10, 10), share(5, 10), share(0, 0)], ["0 %", "100 %", "50 %", "0 %"]);
        assert_eq!([share(1, 10_000), share(9_999, 10_000)], ["<1 %", ">99 %"]);
        assert_eq!(length(1, 0), 0.0);
    }
}
