//! Devices that a rule concerns right now, by what is set or would be.

use dioxus::prelude::*;
use services::{PREVIEWED_MAX, RulePreview};

use crate::components::RouteLink;
use crate::format;
use crate::route::Route;

/// The numbers of a preview, in a sentence. `planned`: it is of a setting that is not saved yet.
fn summary(preview: &RulePreview, planned: bool) -> String {
    let devices = |count: u64| domain::quantity::count(count, "device", "devices");
    let of = devices(preview.judged);
    match (planned, preview.firing, preview.firing_now) {
        (_, _, _) if preview.judged == 0 => "The rule is on for no device.".into(),
        (false, 0, _) => format!("None of {of} that the rule is on for."),
        (false, firing, _) => format!("{} of {of} that the rule is on for.", format::number(firing)),
        (true, firing, now) if firing == now => format!("Would fire for {} of {of}, as now.", format::number(firing)),
        (true, firing, now) => format!("Would fire for {} of {of}; now it does for {}.", format::number(firing), format::number(now)),
    }
}

/// How many devices are concerned, and the first of them.
#[component]
pub(super) fn Preview(preview: RulePreview, planned: bool) -> Element {
    let more = preview.firing.saturating_sub(preview.devices.len() as u64);
    rsx! {
        div { class: "rule-preview", "data-testid": "rule-preview", "data-firing": "{preview.firing}",
            p { strong { {summary(&preview, planned)} } }
            if preview.unknown > 0 {
                p { class: "muted", "{devices_text(preview.unknown)} did not report what the rule goes by." }
            }
            if !preview.devices.is_empty() {
                ul { class: "preview-devices", tabindex: "0", aria_label: "Devices",
                    for device in preview.devices.iter() {
                        li { key: "{device.id}", RouteLink { to: Route::device(device.id), class: "truncate", "{device.alias}" } span { class: "muted", "{device.reason}" } }
                    }
                }
            }
            if more > 0 {
                p { class: "muted", "The first {PREVIEWED_MAX} are shown; {devices_text(more)} more." }
            }
        }
    }
}

fn devices_text(count: u64) -> String {
    domain::quantity::count(count, "device", "devices")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_compares_with_what_is() {
        let preview = |firing, firing_now, judged| RulePreview { firing, firing_now, judged, ..RulePreview::default() };
        assert_eq!(summary(&preview(12, 9, 2_000), true), "Would fire for 12 of 2,000 devices; now it does for 9.");
        assert_eq!(summary(&preview(9, 9, 1), true), "Would fire for 9 of 1 device, as now.");
        assert_eq!(summary(&preview(0, 0, 5), false), "None of 5 devices that the rule is on for.");
        assert_eq!(summary(&preview(0, 3, 0), true), "The rule is on for no device.");
    }
}
