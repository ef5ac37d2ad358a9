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

/// Percentages of the parts.
fn shares(parts: &[Part]) -> Vec<String> {
    format::shares(&parts.iter().map(|part| part.count).collect::<Vec<_>>())
}

/// Bar chart, scaled to the whole.
#[component]
pub(crate) fn Bars(parts: Vec<Part>, testid: String) -> Element {
    let (all, shares) = (whole(&parts), shares(&parts));
    rsx! {
        ul { class: "bars", "data-testid": testid,
            for (part, share) in parts.into_iter().zip(shares) {
                li { key: "{part.name}",
                    {name(&part, "bars-name truncate")}
                    span { class: "bars-count", {format::number(part.count)} span { class: "muted", "{share}" } }
                    span { class: "bars-bar tone-{part.tone}", aria_hidden: "true", span { style: "width:{length(part.count, all):.2}%" } }
                }
            }
        }
    }
}

/// Column chart for ordered parts, scaled to the whole.
#[component]
pub(crate) fn Columns(parts: Vec<Part>, testid: String) -> Element {
    let (all, shares) = (whole(&parts), shares(&parts));
    rsx! {
        ul { class: "chart-columns", "data-testid": testid,
            for (part, share) in parts.into_iter().zip(shares) {
                li { key: "{part.name}", title: "{part.name}: {format::number(part.count)} ({share})",
                    span { class: "column-count", {format::number(part.count)} }
                    span { class: "column tone-{part.tone}", aria_hidden: "true", span { style: "height:{length(part.count, all):.2}%" } }
                    {name(&part, "column-name")}
                }
            }
        }
    }
}

/// Stacked bar with a legend.
#[component]
pub(crate) fn Stack(parts: Vec<Part>, testid: String) -> Element {
    let shares = shares(&parts);
    rsx! {
        div { class: "stack", "data-testid": testid,
            div { class: "stack-bar", aria_hidden: "true",
                for part in parts.iter().filter(|part| part.count > 0) {
                    span { key: "{part.name}", class: "tone-{part.tone}", style: "flex-grow:{part.count}" }
                }
            }
            ul {
                for (part, share) in parts.into_iter().zip(shares) {
                    li { key: "{part.name}",
                        span { class: "chart-key tone-{part.tone}", aria_hidden: "true" }
                        {name(&part, "stack-name truncate")}
                        span { class: "bars-count", {format::number(part.count)} span { class: "muted", "{share}" } }
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
    fn parts_are_lengths_of_the_whole_and_their_percentages_add_up() {
        let part = |count: u64| Part { name: count.to_string(), count, tone: "accent", to: None };
        let parts = [part(13), part(87), part(0)];
        assert_eq!(parts.each_ref().map(|part| length(part.count, whole(&parts))), [13.0, 87.0, 0.0]);
        assert_eq!(shares(&[part(5000), part(200)]), ["96 %", "4 %"]);
        assert_eq!(length(1, 0), 0.0);
    }
}
