//! The state of the fleet at a glance: counts, the last day, what there is, and what needs attention.

mod attention;
mod distributions;
mod first_steps;
mod history;
mod rate;

use std::rc::Rc;

use dioxus::prelude::*;
use domain::device::{AppStatus, Connectivity};
use domain::query::DeviceFilter;

use crate::components::{PageHeader, StatTile};
use crate::context::use_session;
use crate::fleet_watch::Digest;
use crate::format;
use crate::navigation::use_title;
use crate::route::Route;
use crate::sampling::{CALM, ticks, use_fleet};
use crate::url_state::DevicesUrl;

use attention::NeedsAttention;
use distributions::FleetDistributions;
use first_steps::FirstSteps;
use history::OnlineHistory;
use rate::Rate;

/// As long as no more devices than this are enrolled, and none has reported, the first steps are shown.
const FIRST_FEW: u64 = 5;

/// The list of the devices that fit.
fn list(filter: DeviceFilter) -> Option<Route> {
    Some(Route::Devices { query: DevicesUrl { filter, ..DevicesUrl::default() } })
}

#[component]
pub(crate) fn Overview() -> Element {
    use_title("Overview");
    let session = use_session();
    let stats = use_fleet(CALM, |fleet, _| *fleet.stats().borrow());
    // Whoever watched the first device come in is not torn away from it.
    let mut guided = use_signal(|| false);
    let low = session.policy.low_battery_pct;
    let stats = stats();
    let reported = stats.online + stats.offline > 0;
    let empty = use_fleet(CALM, |fleet, _| fleet.is_empty());
    // A node that has just started does not know its fleet yet.
    let complete = use_fleet(CALM, |fleet, _| fleet.is_complete());
    if empty() && complete() && !guided() {
        guided.set(true);
    }
    // Many at once are no first device.
    let waiting = complete() && !reported && (1..=FIRST_FEW).contains(&stats.devices);
    if guided() && stats.online + stats.offline <= 1 || waiting {
        return rsx! {
            PageHeader { title: "Overview" }
            FirstSteps { enrolled: stats.devices > 0, reported, ondone: move |()| guided.set(false) }
        };
    }
    let with = |connectivity| DeviceFilter { connectivity: Some(connectivity), ..DeviceFilter::default() };
    let known = format::count(stats.devices as usize, "device", "devices");
    let lead = if stats.complete { format!("{known} enrolled") } else { format!("Counting: {known} so far. This node has just started.") };
    let [online, offline, never_seen] = connectivity_hints(stats.online, stats.offline, stats.never_seen);
    rsx! {
        PageHeader { title: "Overview", lead }
        section { class: "stats", aria_label: "Counts",
            StatTile { testid: "stat-online", label: "Online", value: stats.online, tone: "good", hint: online, to: list(with(Connectivity::Online)) }
            StatTile { testid: "stat-offline", label: "Offline", value: stats.offline, tone: "bad", hint: offline, to: list(with(Connectivity::Offline)) }
            StatTile { testid: "stat-never-seen", label: "Never seen", value: stats.never_seen, tone: "neutral", hint: never_seen, to: list(with(Connectivity::NeverSeen)) }
            StatTile {
                testid: "stat-low-battery", label: "Low battery", value: stats.low_battery, tone: "warn", hint: "online, below {low} %",
                to: list(DeviceFilter { battery_below: Some(low), ..with(Connectivity::Online) }),
            }
            StatTile {
                testid: "stat-app-down", label: "App down", value: stats.app_down, tone: "bad", hint: "online, app not running",
                to: list(DeviceFilter { app_status: Some(AppStatus::Down), ..with(Connectivity::Online) }),
            }
        }
        Fleet {}
    }
}

/// Shares of the devices by connectivity, which add up; `None` without devices.
fn connectivity_hints(online: u64, offline: u64, never_seen: u64) -> [Option<String>; 3] {
    let (parts, all) = ([online, offline, never_seen], online + offline + never_seen);
    let hints = format::shares(&parts).into_iter().map(|share| (all > 0).then(|| format!("{share} of {}", format::number(all))));
    let mut hints = hints.collect::<Vec<_>>().into_iter();
    std::array::from_fn(|_| hints.next().flatten())
}

/// Figures that need the whole fleet, or its history.
#[component]
fn Fleet() -> Element {
    let session = use_session();
    let mut digest = use_signal(|| None::<Rc<Digest>>);
    use_future(move || {
        let watch = session.watch.clone();
        async move {
            let mut ticks = ticks(CALM);
            loop {
                ticks.tick().await;
                let new = watch.digest().await;
                if digest.peek().as_deref() != Some(&*new) {
                    digest.set(Some(Rc::new((*new).clone())));
                }
            }
        }
    });
    rsx! {
        div { class: "overview-top",
            OnlineHistory {}
            Rate {}
        }
        NeedsAttention { digest: digest() }
        FleetDistributions {}
    }
}

/// The call that enrolls a device with a token.
pub(crate) fn register_command(origin: &str, token: &str, alias: Option<&str>) -> String {
    let body = alias.map_or_else(|| "{}".to_owned(), |alias| serde_json::json!({ "alias": alias }).to_string());
    let authorization = format::shell_word(&format!("Authorization: Bearer {token}"));
    format!(
        "curl -sS {} \\\n  -H {authorization} \\\n  -H 'Content-Type: application/json' \\\n  -d {}",
        format::shell_word(&format!("{origin}/v1/register")),
        format::shell_word(&body)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_fleet_add_up() {
        assert_eq!(connectivity_hints(5000, 200, 0).map(Option::unwrap), ["96 % of 5,200", "4 % of 5,200", "0 % of 5,200"]);
        assert_eq!(connectivity_hints(0, 0, 0), [None, None, None]);
    }

    #[test]
    fn the_command_survives_any_alias() {
        let command = register_command("https://mdm.example", "t", Some("it's \"x\""));
        assert!(command.contains(r#"'{"alias":"it'\''s \"x\""}'"#), "{command}");
        assert!(register_command("https://mdm.example", "t", None).ends_with("-d '{}'"));
    }
}
