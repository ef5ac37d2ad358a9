//! Shard history: moves between nodes and ends of nodes, with time and reason.

use dioxus::prelude::*;
use domain::Timestamp;
use domain::cluster::{Node, NodeState, ShardMoves};

use super::ClusterSnapshot;
use crate::components::{EmptyState, Glyph, time_ago};
use crate::format;

/// A move as a sentence.
fn sentence(moved: &ShardMoves) -> String {
    let ShardMoves { from, to, reason, shards, .. } = moved;
    let shards = format::count(usize::try_from(*shards).unwrap_or_default(), "shard", "shards");
    let from = from.as_deref().unwrap_or("unassigned");
    match reason.as_str() {
        "expired" => format!("{to} took over {shards} from {from} (lease expired)"),
        "left" => format!("{to} took over {shards} from {from} (node left)"),
        "released" => format!("{to} took over {shards} from {from} (handed over)"),
        _ => format!("{to} took over {shards} (unassigned)"),
    }
}

/// The end of an earlier start of a node as a sentence.
fn end_sentence(node: &Node) -> String {
    match node.state {
        NodeState::Left => format!("{} left", node.name),
        _ => format!("{} was lost", node.name),
    }
}

/// What happened: ends of nodes and moves of shards, the newest first.
fn history(snapshot: &ClusterSnapshot) -> Vec<(Timestamp, String)> {
    let ends = snapshot.overview.ended.iter().filter_map(|node| Some((node.info.ended_at?, end_sentence(&node.info))));
    let mut all: Vec<_> = snapshot.overview.moves.iter().map(|moved| (moved.at, sentence(moved))).chain(ends).collect();
    all.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    all
}

#[component]
pub(super) fn Moves(snapshot: ClusterSnapshot) -> Element {
    let history = history(&snapshot);
    rsx! {
        section { class: "card", aria_labelledby: "moves-title",
            div { class: "card-head", h2 { id: "moves-title", "Shard history" } }
            if history.is_empty() {
                EmptyState { glyph: Glyph::Network, title: "No shard moves in the last days", text: "Shards move when a node joins, drains, leaves or is lost." }
            } else {
                ul { class: "moves", "data-testid": "moves",
                    for (at, text) in history {
                        li { key: "{at}{text}",
                            span { class: "muted", {time_ago(at, &format::relative(snapshot.at, at))} }
                            span { "{text}" }
                        }
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
    fn a_move_reads_as_a_sentence() {
        let moved = |reason: &str, from: Option<&str>, shards| ShardMoves {
            from: from.map(str::to_owned),
            to: "b".into(),
            reason: reason.into(),
            shards,
            at: chrono::DateTime::UNIX_EPOCH,
        };
        assert_eq!(sentence(&moved("expired", Some("a"), 1)), "b took over 1 shard from a (lease expired)");
        assert_eq!(sentence(&moved("free", None, 256)), "b took over 256 shards (unassigned)");
    }
}
