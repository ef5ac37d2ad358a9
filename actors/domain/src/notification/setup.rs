//! What people have set up about notifications, prepared for many alerts: made once with each change, and not with each decision.

use std::collections::BTreeSet;

use crate::alert::{AlertWindow, FoldedAlert, FoldedMatcher, FoldedNames, Silence};
use crate::{ChannelId, Timestamp};

use super::Route;

/// Channels as decisions see them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelSets {
    /// Those that exist, on or off, of whatever kind.
    pub all: BTreeSet<ChannelId>,
    /// Those that are on and keep incidents, which are acknowledged and resolved by name.
    pub incidents: BTreeSet<ChannelId>,
}

/// What people have set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotificationSetup {
    /// Channels.
    pub channels: ChannelSets,
    routes: Vec<(Route, FoldedNames)>,
    silences: Vec<(Silence, FoldedMatcher)>,
    windows: Vec<(AlertWindow, FoldedMatcher)>,
}

impl NotificationSetup {
    /// Routes to channels that are on, channels, silences and maintenance windows.
    pub fn new(routes: Vec<Route>, channels: ChannelSets, silences: Vec<Silence>, windows: Vec<AlertWindow>) -> Self {
        let route = |route: Route| {
            let groups = FoldedNames::of(&route.groups);
            (route, groups)
        };
        let silence = |silence: Silence| {
            let matcher = FoldedMatcher::of(&silence.matcher);
            (silence, matcher)
        };
        let window = |window: AlertWindow| {
            let matcher = FoldedMatcher::of(&window.matcher);
            (window, matcher)
        };
        Self {
            channels,
            routes: routes.into_iter().map(route).collect(),
            silences: silences.into_iter().map(silence).collect(),
            windows: windows.into_iter().map(window).collect(),
        }
    }

    /// Channels that are notified at once of an alert, at a level of escalation.
    pub fn recipients(&self, alert: &FoldedAlert<'_>, level: u8, now: Timestamp) -> BTreeSet<ChannelId> {
        self.leading(alert, level).filter(|route| route.is_open(now)).map(|route| route.channel).collect()
    }

    /// When a route that takes the alert opens next.
    pub(super) fn opens_at(&self, alert: &FoldedAlert<'_>, level: u8, now: Timestamp) -> Option<Timestamp> {
        let shut = self.leading(alert, level).filter(|route| !route.is_open(now));
        shut.filter_map(|route| route.hours.as_ref()?.opens_at(now)).min()
    }

    /// Whether there is a route of this level or a higher one.
    pub(super) fn escalates_to(&self, level: u8) -> bool {
        self.routes.iter().any(|(route, _)| route.level >= level)
    }

    /// Silences that hold now, each with its end.
    pub(super) fn silences_at(&self, now: Timestamp) -> Vec<(&FoldedMatcher, Timestamp)> {
        let active = self.silences.iter().filter(|(silence, _)| silence.is_active(now));
        active.map(|(silence, matcher)| (matcher, silence.ends_at)).collect()
    }

    /// Maintenance windows that are open now, each with when it closes.
    pub(super) fn windows_at(&self, now: Timestamp) -> Vec<(&FoldedMatcher, Option<Timestamp>)> {
        let active = self.windows.iter().filter(|(window, _)| window.is_active(now));
        active.map(|(window, matcher)| (matcher, window.next_change(now))).collect()
    }

    /// Routes of a level that take the alert, whatever the time.
    fn leading<'a>(&'a self, alert: &'a FoldedAlert<'_>, level: u8) -> impl Iterator<Item = &'a Route> {
        let takes = move |(route, groups): &&(Route, FoldedNames)| {
            route.digest.is_none()
                && route.level == level
                && route.concerns(alert.alert())
                && (groups.is_empty() || groups.any_of(alert.groups()))
        };
        self.routes.iter().filter(takes).map(|(route, _)| route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{AlertKey, MatchedAlert, Rule, Severity, Subject, SubjectLabels};
    use crate::deployment::MaintenanceWindow;
    use crate::notification::DigestTime;
    use crate::{DeviceId, RouteId};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn route(number: u128) -> Route {
        Route {
            id: RouteId(uuid::Uuid::from_u128(number)),
            channel: ChannelId(uuid::Uuid::from_u128(number)),
            min_severity: Severity::Info,
            rules: vec![],
            groups: vec![],
            hours: None,
            level: 0,
            digest: None,
        }
    }

    #[test]
    fn routes_go_by_severity_rule_group_hours_and_level() {
        let key = AlertKey { rule: Rule::AppDown, subject: Subject::Device(DeviceId(uuid::Uuid::nil())) };
        let labels = SubjectLabels { groups: vec!["North".into()], ..SubjectLabels::default() };
        let alert = FoldedAlert::of(MatchedAlert { key: &key, severity: Severity::Warning, labels: &labels });
        let hours = || Some(MaintenanceWindow::parse("09:00", "17:00", "Europe/Berlin").unwrap());
        let routes = vec![
            route(1),
            Route { min_severity: Severity::Critical, ..route(2) },
            Route { rules: vec![Rule::DeviceOffline], ..route(3) },
            Route { groups: vec!["north".into()], ..route(4) },
            Route { groups: vec!["south".into()], ..route(5) },
            Route { hours: hours(), ..route(6) },
            Route { level: 1, ..route(7) },
            Route { digest: Some(DigestTime::parse("08:00", "UTC").unwrap()), ..route(8) },
        ];
        let setup = NotificationSetup::new(routes, ChannelSets::default(), vec![], vec![]);
        let notified = |level, now: &str| -> Vec<u128> {
            setup.recipients(&alert, level, at(now)).into_iter().map(|channel| channel.0.as_u128()).collect()
        };
        assert_eq!(notified(0, "2026-11-30T12:00:00Z"), [1, 4, 6]);
        assert_eq!(notified(0, "2026-11-30T20:00:00Z"), [1, 4], "after hours in Berlin");
        assert_eq!(notified(1, "2026-11-30T20:00:00Z"), [7]);
        assert_eq!(setup.opens_at(&alert, 0, at("2026-11-30T20:00:00Z")), Some(at("2026-12-01T08:00:00Z")));
        assert!(setup.escalates_to(1) && !setup.escalates_to(2));
    }
}
