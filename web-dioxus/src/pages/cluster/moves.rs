//! Who took shards from whom, when and why.

use dioxus::prelude::*;
use store::ShardMoves;

use super::ClusterSnapshot;
use crate::components::{EmptyState, Glyph, time_ago};
use crate::format;

/// A move as a sentence.
fn sentence(moved: &ShardMoves) -> String {
    let ShardMoves { from, to, reason, shards, .. } = moved;
    let shards = format::count(usize::try_from(*shards).unwrap_or_default(), "shard", "shards");
    let from = from.as_deref().unwrap_or("nobody");
    match reason.as_str() {
        "expired" => format!("{to} took {shards} of {from}, whose lease ran out"),
        "left" => format!("{to} took {shards} of {from}, which left"),
        "released" => format!("{to} took {shards} that {from} handed over"),
        _ => format!("{to} took {shards} that were nobody's"),
    }
}

#[component]
pub(super) fn Moves(snapshot: ClusterSnapshot) -> Element {
    let moves = &snapshot.overview.moves;
    rsx! {
        section { class: "card", aria_labelledby: "moves-title",
            div { class: "card-head", h2 { id: "moves-title", "Who moved when" } }
            if moves.is_empty() {
                EmptyState { glyph: Glyph::Network, title: "Nothing moved in the last days", text: "Shards move when a node joins, drains, leaves or is lost." }
            } else {
                ul { class: "moves", "data-testid": "moves",
                    for moved in moves.iter() {
                        li { key: "{moved.at}{moved.to}{moved.reason}{moved.from:?}",
                            span { class: "muted", {time_ago(moved.at, &format::relative(snapshot.at, moved.at))} }
                            span { {sentence(moved)} }
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
        assert_eq!(sentence(&moved("expired", Some("a"), 1)), "b took 1 shard of a, whose lease ran out");
        assert_eq!(sentence(&moved("free", None, 256)), "b took 256 shards that were nobody's");
    }
}
