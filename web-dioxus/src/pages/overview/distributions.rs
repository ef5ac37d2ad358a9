//! Distributions of the fleet: charge, network, versions and models.

use dioxus::prelude::*;
use domain::distribution::{BATTERY_BANDS_PCT, Distribution, Distributions};
use domain::heartbeat::Transport;
use domain::query::DeviceFilter;

use super::list;
use crate::components::chart::{Bars, Columns, Part, Stack};
use crate::context::use_session;
use crate::format;
use crate::sampling::{CALM, use_fleet};

/// Values that are named; the rest is counted together.
const NAMED_MAX: usize = 6;

#[component]
pub(super) fn FleetDistributions() -> Element {
    let low = use_session().policy.low_battery_pct;
    let distributions = use_fleet(CALM, |fleet, _| fleet.distributions());
    let distributions = distributions();
    let by_version = |version| DeviceFilter { app_version: Some(version), ..DeviceFilter::default() };
    let by_model = |model| DeviceFilter { model: Some(model), ..DeviceFilter::default() };
    rsx! {
        div { class: "distributions",
            Card { id: "by-battery", title: "Battery (%)", unknown: distributions.battery_unknown, Columns { parts: charges(&distributions, low), testid: "battery-distribution" } }
            Card { id: "by-network", title: "Network", unknown: unknown(&distributions.transports), Stack { parts: networks(&distributions.transports), testid: "network-distribution" } }
            Card { id: "by-version", title: "Agent version", unknown: unknown(&distributions.agent_versions), Bars { parts: named(&distributions.agent_versions, by_version), testid: "version-distribution" } }
            Card { id: "by-model", title: "Model", unknown: unknown(&distributions.models), Bars { parts: named(&distributions.models, by_model), testid: "model-distribution" } }
        }
    }
}

/// A distribution under its title.
#[component]
fn Card(id: String, title: String, unknown: u64, children: Element) -> Element {
    rsx! {
        section { class: "card", aria_labelledby: "{id}",
            h2 { id: "{id}", "{title}" }
            {children}
            if unknown > 0 {
                p { class: "muted distribution-note", "{format::count(unknown as usize, \"device\", \"devices\")} unknown" }
            }
        }
    }
}

/// Devices that did not tell a value.
fn unknown(distribution: &Distribution) -> u64 {
    distribution.shares.iter().filter(|share| share.value.is_none()).map(|share| share.devices).sum()
}

fn charges(distributions: &Distributions, low: i16) -> Vec<Part> {
    let ends = BATTERY_BANDS_PCT.iter().skip(1).map(|from| from - 1).chain([100]);
    let bands = BATTERY_BANDS_PCT.iter().zip(ends).zip(&distributions.battery);
    let part = |((from, to), count): ((&i16, i16), &u64)| {
        // A list can be cut off at the upper end of a band only.
        let to_list = (*from == 0).then(|| list(DeviceFilter { battery_below: Some(to + 1), ..DeviceFilter::default() })).flatten();
        Part { name: format!("{from}–{to}"), count: *count, tone: if to < low { "bad" } else { "accent" }, to: to_list }
    };
    bands.map(part).collect()
}

fn networks(distribution: &Distribution) -> Vec<Part> {
    let known = distribution.shares.iter().filter_map(|share| Some((Transport::parse("", share.value.as_deref()?).ok()?, share.devices)));
    known
        .map(|(network, count)| Part { name: format::transport(network).into(), count, tone: format::transport_tone(network), to: None })
        .collect()
}

/// The most frequent values, and the others together.
fn named(distribution: &Distribution, filter: impl Fn(String) -> DeviceFilter) -> Vec<Part> {
    let reported: Vec<_> = distribution.shares.iter().filter_map(|share| Some((share.value.clone()?, share.devices))).collect();
    // One more name takes no more room than "others".
    let shown = if reported.len() <= NAMED_MAX + 1 { reported.len() } else { NAMED_MAX };
    let rest = distribution.other + reported[shown..].iter().map(|(_, count)| count).sum::<u64>();
    let mut parts: Vec<Part> = reported
        .into_iter()
        .take(shown)
        .map(|(name, count)| Part { to: list(filter(name.clone())), name, count, tone: "accent" })
        .collect();
    if rest > 0 {
        parts.push(Part { name: "Others".into(), count: rest, tone: "idle", to: None });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::distribution::Share;

    fn of(names: usize) -> Distribution {
        let share = |n| Share { value: Some(format!("1.{n}")), devices: 10 };
        Distribution { shares: (0..names).map(share).chain([Share { value: None, devices: 3 }]).collect(), other: 0 }
    }

    #[test]
    fn bands_of_charge_meet_and_low_ones_stand_out() {
        let parts = charges(&Distributions::default(), 20);
        assert_eq!(parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>(), ["0–19", "20–39", "40–59", "60–79", "80–100"]);
        assert_eq!(parts.iter().filter(|part| part.tone == "bad").count(), 1);
        assert!(parts[0].to.is_some() && parts[1].to.is_none());
    }

    #[test]
    fn rare_values_are_counted_together_and_silence_is_no_value() {
        let parts = named(&of(20), |_| DeviceFilter::default());
        assert_eq!((parts.len(), parts[6].name.as_str(), parts[6].count), (7, "Others", 140));
        assert_eq!(named(&of(7), |_| DeviceFilter::default()).len(), 7, "one name instead of \"Others\"");
        assert_eq!(unknown(&of(7)), 3);
    }
}
