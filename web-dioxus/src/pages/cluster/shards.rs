//! The shards as a picture: one cell each, in the colour of its owner.

use dioxus::prelude::*;

use super::ClusterSnapshot;

#[component]
pub(super) fn Shards(snapshot: ClusterSnapshot) -> Element {
    let free = snapshot.overview.shards.iter().filter(|shard| shard.owner.is_none_or(|owner| snapshot.tone(owner).is_none())).count();
    rsx! {
        section { class: "card", aria_labelledby: "shards-title",
            div { class: "card-head", h2 { id: "shards-title", "Shards" } }
            ul { class: "legend", aria_label: "Shards per node",
                for node in snapshot.live() {
                    li { key: "{node.info.id}",
                        span { class: "node-mark node-{snapshot.tone(node.info.id).unwrap_or_default()}", aria_hidden: "true" }
                        "{node.info.name} " span { class: "count", "{node.shards}" }
                    }
                }
                if free > 0 {
                    li { span { class: "node-mark", aria_hidden: "true" } "unassigned " span { class: "count", "data-testid": "free-shards", "{free}" } }
                }
            }
            // The legend says the same in words.
            div { class: "shards", aria_hidden: "true", "data-testid": "shards",
                for shard in snapshot.overview.shards.iter() {
                    span {
                        key: "{shard.shard.0}",
                        class: shard.owner.and_then(|owner| snapshot.tone(owner)).map_or_else(String::new, |tone| format!("node-{tone}")),
                        title: "shard {shard.shard.0}, epoch {shard.epoch.0}",
                    }
                }
            }
        }
    }
}
