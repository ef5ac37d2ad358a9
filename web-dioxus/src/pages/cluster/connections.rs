//! The connections of each node to the database: how many are used, who waits and for how long.

use dioxus::prelude::*;
use domain::connections::ConnectionFigures;

use super::ClusterSnapshot;
use crate::components::{EmptyState, Glyph};
use crate::format;

/// Use of a pool in words, and its colour.
fn use_badge(figures: &ConnectionFigures) -> (String, &'static str) {
    let used = format!("{} of {}", figures.in_use, figures.capacity);
    (used, if figures.is_full() { "warn" } else { "" })
}

/// A wait in words.
fn wait(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

#[component]
pub(super) fn Connections(snapshot: ClusterSnapshot) -> Element {
    let rows: Vec<(String, ConnectionFigures)> =
        snapshot.live().filter_map(|node| Some((node.info.name.clone(), node.stats.as_ref()?.connections?))).collect();
    rsx! {
        section { class: "card", aria_labelledby: "connections-title",
            div { class: "card-head",
                h2 { id: "connections-title", "Database connections" }
                span { class: "muted", "Waits of the last minute" }
            }
            if rows.is_empty() {
                EmptyState { glyph: Glyph::Network, title: "No connections known yet", text: "Nodes report theirs within a second." }
            } else {
                div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "List of database connections",
                    table { class: "plain",
                        thead { tr {
                            th { scope: "col", "Node" } th { scope: "col", "In use" } th { scope: "col", class: "number", "Open" }
                            th { scope: "col", class: "number", "Waiting" } th { scope: "col", class: "number", "Average wait" }
                            th { scope: "col", class: "number", "Longest wait" } th { scope: "col", class: "number", "Timed out" }
                            th { scope: "col", class: "number", "Given up" }
                        } }
                        tbody {
                            for (node, figures) in rows.iter() {
                                ConnectionsRow { key: "{node}", node: node.clone(), figures: *figures }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[component]
fn ConnectionsRow(node: String, figures: ConnectionFigures) -> Element {
    let (used, tone) = use_badge(&figures);
    rsx! {
        tr { "data-testid": "connections-row", "data-node": "{node}",
            td { strong { "{node}" } }
            td { span { class: "badge {tone}", "{used}" } }
            td { class: "number", "{figures.open}" }
            td { class: "number", "{figures.waiting}" }
            td { class: "number", {wait(figures.wait_avg_ms)} }
            td { class: "number", {wait(figures.wait_max_ms)} }
            td { class: "number", {format::number(figures.timed_out)} }
            td { class: "number", {format::number(figures.given_up)} }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_makes_callers_wait_stands_out() {
        let badge = |in_use, waiting| use_badge(&ConnectionFigures { capacity: 16, in_use, waiting, ..ConnectionFigures::default() });
        assert_eq!(badge(3, 0), ("3 of 16".to_owned(), ""));
        assert_eq!([badge(16, 0).1, badge(3, 1).1], ["warn", "warn"]);
    }

    #[test]
    fn short_waits_have_a_decimal() {
        assert_eq!([wait(0.04), wait(1.24), wait(1999.6)], ["0.0 ms", "1.2 ms", "2000 ms"]);
    }
}
