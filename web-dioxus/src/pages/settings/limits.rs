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
                "Requests that exceed a limit are rejected with an error that names it; too many requests with status 429 and a Retry-After header. The limits are set in each node's configuration; changes take effect after a restart."
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
