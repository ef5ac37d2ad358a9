//! The devices whose agent takes push messages of the earlier server only.

use dioxus::prelude::*;
use domain::Timestamp;
use domain::query::PAGE_DEFAULT;

use super::LegacyDevices;
use crate::components::{RouteLink, time_ago};
use crate::format;
use crate::route::Route;

#[component]
pub(super) fn LegacyPush(shown: LegacyDevices, now: Timestamp) -> Element {
    if shown.devices.is_empty() {
        return rsx! {};
    }
    let count = shown.devices.len();
    rsx! {
        section { class: "card", aria_labelledby: "legacy-push", "data-testid": "legacy-push",
            div { class: "card-head", h2 { id: "legacy-push", "Legacy push" } }
            p { class: "muted",
                if shown.has_more { "More than {PAGE_DEFAULT} devices need " } else if count == 1 { "1 device needs " } else { "{count} devices need " }
                "push messages in the format of the earlier server, whose signature does not cover the parameters. Update their agents, then set commands.legacy_push to false."
            }
            div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "Devices that need legacy push",
                table { class: "plain",
                    thead { tr { th { scope: "col", "Device" } th { scope: "col", "Last result in that format" } } }
                    tbody {
                        for device in shown.devices.iter() {
                            tr { key: "{device.id}",
                                td { RouteLink { to: Route::device(device.id), "{device.alias}" } }
                                td { {time_ago(device.result_at, &format::relative(now, device.result_at))} }
                            }
                        }
                    }
                }
            }
        }
    }
}
