//! The pools of permits of each node: how far they are used, who waits and who was refused.

use dioxus::prelude::*;
use domain::permits::{PoolFigures, PoolName};

use super::ClusterSnapshot;
use crate::components::{EmptyState, Glyph};
use crate::format;

/// Use of a pool in words, and its colour.
fn use_badge(figures: &PoolFigures) -> (String, &'static str) {
    let used = format!("{} of {}", format::number(figures.in_use), format::number(figures.capacity));
    match figures {
        figures if figures.waiting > 0 || figures.in_use >= figures.capacity => (used, "warn"),
        _ => (used, ""),
    }
}

#[component]
pub(super) fn Pools(snapshot: ClusterSnapshot) -> Element {
    let figures = snapshot.live().filter_map(|node| Some((node.info.name.clone(), &node.stats.as_ref()?.pools)));
    let mut rows: Vec<(String, PoolFigures)> =
        figures.flat_map(|(node, pools)| pools.iter().map(move |figures| (node.clone(), figures.clone()))).collect();
    // One below the other where they are compared: the nodes of a pool.
    rows.sort_by_key(|(_, figures)| PoolName::parse(&figures.pool));
    rsx! {
        section { class: "card", aria_labelledby: "pools-title",
            div { class: "card-head", h2 { id: "pools-title", "Pools" } }
            if rows.is_empty() {
                EmptyState { glyph: Glyph::Network, title: "No pools known yet", text: "Nodes report theirs within a second." }
            } else {
                div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "List of pools",
                    table { class: "plain",
                        thead { tr {
                            th { scope: "col", "Pool" } th { scope: "col", "Node" } th { scope: "col", "In use" }
                            th { scope: "col", class: "number", "Waiting" } th { scope: "col", class: "number", "Refused" }
                        } }
                        tbody {
                            for (node, figures) in rows.iter() {
                                PoolRow { key: "{figures.pool}@{node}", node: node.clone(), figures: figures.clone() }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[component]
fn PoolRow(node: String, figures: PoolFigures) -> Element {
    let (used, tone) = use_badge(&figures);
    let name = PoolName::parse(&figures.pool).map_or_else(|| figures.pool.clone(), |pool| pool.title().to_owned());
    rsx! {
        tr { "data-testid": "pool-row", "data-pool": "{figures.pool}", "data-node": "{node}",
            td { strong { "{name}" } }
            td { "{node}" }
            td { span { class: "badge {tone}", "{used}" } }
            td { class: "number", {format::number(figures.waiting)} }
            td { class: "number", {format::number(figures.refused)} }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_full_or_waited_for_stands_out() {
        let badge = |in_use, waiting| use_badge(&PoolFigures { capacity: 4, in_use, waiting, ..PoolFigures::default() });
        assert_eq!(badge(3, 0), ("3 of 4".to_owned(), ""));
        assert_eq!(badge(4, 0).1, "warn");
        assert_eq!(badge(1, 2).1, "warn", "for a share of their own");
    }
}
