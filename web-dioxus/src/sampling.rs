//! Values of the running system, looked at so many times a second and published only when different.
//!
//! Actors never write into a page: a page that looks four times a second costs
//! them nothing, and a burst of a thousand changes costs the page one look.

use std::rc::Rc;
use std::time::Duration;

use actors::fleet_view::FleetView;
use dioxus::prelude::*;
use domain::Timestamp;
use tokio::time::MissedTickBehavior;

use crate::context::use_session;

/// How often a page looks at devices.
pub(crate) const LIVE: Duration = Duration::from_millis(250);
/// How often a page looks at what changes slowly.
pub(crate) const CALM: Duration = Duration::from_secs(1);

/// Ticks of a page; those it was too busy for are left out.
pub(crate) fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A value read from the fleet. It is read again when the fleet changed, and
/// once a second, because relative times age by themselves.
pub(crate) fn use_fleet<T: PartialEq + 'static>(period: Duration, read: impl Fn(&FleetView, Timestamp) -> T + 'static) -> Signal<T> {
    let session = use_session();
    let read = use_hook(|| Rc::new(read));
    let mut value = use_signal(|| read(&session.fleet, session.clock.now()));
    use_future(move || {
        let (fleet, clock, read) = (session.fleet.clone(), session.clock.clone(), Rc::clone(&read));
        async move {
            let mut ticks = ticks(period);
            let mut read_at = (fleet.revision(), clock.now());
            loop {
                ticks.tick().await;
                let (revision, now) = (fleet.revision(), clock.now());
                if revision == read_at.0 && now - read_at.1 < chrono::TimeDelta::seconds(1) {
                    continue;
                }
                read_at = (revision, now);
                let new = read(&fleet, now);
                if *value.peek() != new {
                    value.set(new);
                }
            }
        }
    });
    value
}
