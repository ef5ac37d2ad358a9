//! The limits in force: read from the configuration of this node, to be looked at.

use dioxus::prelude::*;

use crate::context::use_session;

#[component]
pub(super) fn Limits() -> Element {
    let session = use_session();
    let groups = session.limits.chunk_by(|a, b| a.group == b.group);
    rsx! {
        section { class: "card", aria_labelledby: "limits-title",
            h2 { id: "limits-title", "Rate limits" }
            p { class: "muted card-lead",
                "What exceeds a limit is refused with 429, names the limit, and is told when to come back. The limits stand in the configuration of each node; a change takes effect with its next start."
            }
            for group in groups {
                div { key: "{group[0].group}", class: "limits",
                    h3 { "{group[0].group}" }
                    dl {
                        for limit in group {
                            div { key: "{limit.setting}", class: "limit",
                                dt { "{limit.meaning}" code { class: "muted", "{limit.setting}" } }
                                dd { "data-testid": "limit-value", "{limit.value}" }
                            }
                        }
                    }
                }
            }
        }
    }
}
