//! The coordinator by example, and its promises under any sequence of events.

mod incidents;
mod promises;

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use super::*;
use crate::alert::{AlertWindow, Matcher, Rule, Severity, Silence, Subject, SubjectLabels, TransitionKind};
use crate::notification::{ChannelSets, NotificationKind, NotificationSettings, NotificationSetup, Route, ThreadMark};
use crate::{AlertId, AlertWindowId, ChannelId, DeviceId, RouteId, SilenceId};

pub(super) const CAUSE: fn(Suppression) -> Settled = Settled::Suppressed;

pub(super) fn at(second: i64) -> Timestamp {
    // 10:42:00 UTC.
    chrono::DateTime::from_timestamp(1_780_051_320 + second, 0).unwrap()
}

pub(super) fn channel(number: u128) -> ChannelId {
    ChannelId(uuid::Uuid::from_u128(number))
}

pub(super) fn route(number: u128) -> Route {
    Route {
        id: RouteId(uuid::Uuid::from_u128(number)),
        channel: channel(number),
        min_severity: Severity::Info,
        rules: vec![],
        groups: vec![],
        hours: None,
        level: 0,
        digest: None,
    }
}

pub(super) fn silence(matcher: Matcher, from: i64, until: i64) -> Silence {
    Silence {
        id: SilenceId(uuid::Uuid::nil()),
        matcher,
        reason: "test".into(),
        author: "ada".into(),
        starts_at: at(from),
        ends_at: at(until),
    }
}

pub(super) fn device(rule: Rule, number: u128) -> AlertKey {
    AlertKey { rule, subject: Subject::Device(DeviceId(uuid::Uuid::from_u128(number))) }
}

fn system(rule: Rule) -> AlertKey {
    AlertKey { rule, subject: Subject::System(String::new()) }
}

/// A coordinator, what is set up, and what it did, by second.
#[derive(Clone)]
pub(super) struct World {
    pub(super) state: CoordinatorState,
    pub(super) settings: NotificationSettings,
    pub(super) routes: Vec<Route>,
    /// Channels that exist.
    pub(super) channels: BTreeSet<ChannelId>,
    /// Those of them that are off.
    pub(super) off: BTreeSet<ChannelId>,
    /// Those that keep incidents.
    pub(super) incidents: BTreeSet<ChannelId>,
    pub(super) silences: Vec<Silence>,
    pub(super) windows: Vec<AlertWindow>,
    pub(super) groups: Vec<String>,
    events: Vec<AlertEvent>,
    pub(super) open: BTreeMap<AlertKey, AlertId>,
    changes: i64,
    pub(super) sent: Vec<(i64, Notification)>,
    pub(super) settled: Vec<(i64, TransitionId, Settled)>,
    further: Vec<(TransitionId, usize)>,
    pub(super) wakeup: Option<Timestamp>,
}

impl World {
    pub(super) fn new() -> Self {
        let settings = NotificationSettings { group_interval: TimeDelta::zero(), ..NotificationSettings::default() };
        Self {
            state: CoordinatorState::default(),
            settings,
            routes: vec![route(1)],
            channels: (1..=3).map(channel).collect(),
            off: BTreeSet::new(),
            incidents: BTreeSet::new(),
            silences: vec![],
            windows: vec![],
            groups: vec![],
            events: vec![],
            open: BTreeMap::new(),
            changes: 0,
            sent: vec![],
            settled: vec![],
            further: vec![],
            wakeup: None,
        }
    }

    fn event(&mut self, key: &AlertKey, alert: AlertId, kind: TransitionKind, second: i64) -> TransitionId {
        self.changes += 1;
        let id = TransitionId(self.changes);
        let labels = SubjectLabels { name: key.subject.id(), groups: self.groups.clone(), tags: vec![] };
        let severity = key.rule.spec().severity;
        self.events.push(AlertEvent { id, alert, key: key.clone(), kind, severity, labels, reason: "reason".into(), at: at(second) });
        id
    }

    pub(super) fn raise(&mut self, key: &AlertKey, second: i64) -> TransitionId {
        let alert = AlertId(uuid::Uuid::from_u128(self.changes.unsigned_abs().into()));
        self.open.insert(key.clone(), alert);
        self.event(key, alert, TransitionKind::Raised, second)
    }

    pub(super) fn resolve(&mut self, key: &AlertKey, second: i64) -> TransitionId {
        let alert = self.open.remove(key).unwrap();
        self.event(key, alert, TransitionKind::Resolved, second)
    }

    fn acknowledge(&mut self, key: &AlertKey, second: i64) {
        self.event(key, self.open[key], TransitionKind::Acknowledged, second);
    }

    fn change_severity(&mut self, key: &AlertKey, severity: Severity, second: i64) {
        self.event(key, self.open[key], TransitionKind::SeverityChanged, second);
        if let Some(event) = self.events.last_mut() {
            event.severity = severity;
        }
    }

    pub(super) fn decision(&self, second: i64) -> Decision {
        // As the database answers: those of channels that are off are left out.
        let routes: Vec<_> = self.routes.iter().filter(|route| !self.off.contains(&route.channel)).cloned().collect();
        let channels = ChannelSets { all: self.channels.clone(), incidents: self.incidents.difference(&self.off).copied().collect() };
        let setup = NotificationSetup::new(routes, channels, self.silences.clone(), self.windows.clone());
        let surroundings = Surroundings { settings: &self.settings, setup: &setup };
        decide(&self.state, &surroundings, &self.events, at(second))
    }

    /// Decides and commits.
    pub(super) fn decide(&mut self, second: i64) {
        let decision = self.decision(second);
        self.events.clear();
        self.state = decision.state;
        self.sent.extend(decision.notifications.into_iter().map(|notification| (second, notification)));
        self.settled.extend(decision.settled.into_iter().map(|(id, settled)| (second, id, settled)));
        self.further.extend(decision.further);
        self.wakeup = decision.next_wakeup;
    }

    /// Decides whenever it wants to, up to a second.
    pub(super) fn run_until(&mut self, second: i64) {
        while let Some(next) = self.wakeup.filter(|next| *next <= at(second)) {
            self.decide((next - at(0)).num_seconds());
        }
    }

    /// Kind, headline and second of each message so far, without repeats of the subject's id.
    fn notified(&self) -> Vec<(i64, NotificationKind, usize)> {
        self.sent.iter().map(|(second, message)| (*second, message.kind, message.alerts.len())).collect()
    }

    fn outcome(&self, id: TransitionId) -> Option<Settled> {
        self.settled.iter().find(|(_, settled, _)| *settled == id).map(|(.., outcome)| match outcome {
            Settled::Notified(_) => Settled::Notified(0),
            other => *other,
        })
    }
}

use NotificationKind::{Acknowledged, Escalated, Flapping, Overflow, Raised, Resolved, Worsened};

#[test]
fn many_at_once_are_one_message_and_so_is_their_return() {
    let mut world = World::new();
    world.groups = vec!["north".into()];
    let keys: Vec<_> = (0..143).map(|n| device(Rule::DeviceOffline, n)).collect();
    for (n, key) in keys.iter().enumerate() {
        if n == 140 {
            world.groups.clear();
        }
        world.raise(key, n as i64 / 20);
        world.decide(n as i64 / 20);
    }
    world.run_until(100);
    assert_eq!(world.notified(), [(15, Raised, 143)], "15 s after the first");
    assert_eq!(world.sent[0].1.headline(), "143 devices offline, 140 of them in group north, since 10:42 UTC");
    assert!(world.sent[0].1.begins_thread);
    for key in &keys {
        world.resolve(key, 600);
    }
    world.decide(600);
    world.run_until(1_000);
    assert_eq!(world.notified()[1..], [(615, Resolved, 143)]);
    let (raised, resolved) = (&world.sent[0].1, &world.sent[1].1);
    assert_eq!(resolved.headline(), "Resolved: 143 devices offline, 140 of them in group north, after up to 10 min");
    assert!(resolved.ends_thread && !resolved.begins_thread && resolved.thread == raised.thread);
    assert!(world.settled.iter().all(|(.., outcome)| matches!(outcome, Settled::Notified(_))));
    assert_eq!(world.settled.len(), 286);
}

#[test]
fn what_is_over_within_the_group_wait_is_not_notified() {
    let mut world = World::new();
    let key = device(Rule::AppDown, 1);
    let raise = world.raise(&key, 0);
    world.decide(0);
    let resolve = world.resolve(&key, 10);
    world.decide(10);
    world.run_until(10_000);
    assert_eq!(world.notified(), []);
    assert_eq!(world.outcome(raise), Some(CAUSE(Suppression::Superseded)));
    assert_eq!(world.outcome(resolve), Some(CAUSE(Suppression::Superseded)));
    world.decide(10_001);
    assert_eq!(world.state, CoordinatorState::default(), "and is forgotten");
}

#[test]
fn without_a_group_wait_it_is_notified_at_once() {
    let mut world = World::new();
    world.settings.group_wait = TimeDelta::zero();
    world.raise(&device(Rule::AppDown, 1), 0);
    world.decide(0);
    assert_eq!(world.notified(), [(0, Raised, 1)]);
}

#[test]
fn within_the_cooldown_the_same_is_notified_again_only_if_it_still_holds() {
    let mut world = World::new();
    let key = device(Rule::DeviceOffline, 1);
    world.raise(&key, 0);
    world.decide(0);
    world.run_until(15);
    world.resolve(&key, 100);
    world.decide(100);
    world.run_until(115);
    assert_eq!(world.notified(), [(15, Raised, 1), (115, Resolved, 1)]);
    // Raised again and over again: neither is news.
    let raise = world.raise(&key, 200);
    world.decide(200);
    let resolve = world.resolve(&key, 300);
    world.decide(300);
    assert_eq!(world.outcome(raise), Some(CAUSE(Suppression::Cooldown)));
    assert_eq!(world.outcome(resolve), Some(CAUSE(Suppression::Cooldown)));
    // Raised again and lasting: notified when the cooldown is over.
    let lasting = world.raise(&key, 400);
    world.decide(400);
    assert_eq!(world.state.tracked[&key].held, Some(Suppression::Cooldown));
    world.run_until(1_814);
    assert_eq!(world.sent.len(), 2);
    world.run_until(1_830);
    assert_eq!(world.notified()[2..], [(1_830, Raised, 1)], "30 min after the first, and its group's wait");
    assert_eq!(world.outcome(lasting), Some(Settled::Notified(0)));
}

#[test]
fn a_silence_holds_and_what_still_fires_at_its_end_is_notified() {
    let mut world = World::new();
    let (brief, lasting, other) = (device(Rule::DeviceOffline, 1), device(Rule::DeviceOffline, 2), device(Rule::LowBattery, 3));
    world.silences = vec![silence(Matcher { rules: vec![Rule::DeviceOffline], ..Matcher::default() }, 0, 3_600)];
    let (raise, _) = (world.raise(&brief, 10), world.raise(&lasting, 10));
    world.raise(&other, 10);
    world.decide(10);
    world.run_until(30);
    assert_eq!(world.notified(), [(25, Raised, 1)], "what the silence does not match");
    let resolve = world.resolve(&brief, 60);
    world.decide(60);
    assert_eq!(world.outcome(raise), Some(CAUSE(Suppression::Silenced)));
    assert_eq!(world.outcome(resolve), Some(CAUSE(Suppression::Silenced)));
    world.run_until(4_000);
    assert_eq!(world.notified()[1..], [(3_615, Raised, 1)]);
    assert_eq!(world.sent[1].1.alerts[0].subject, lasting.subject);
}

#[test]
fn a_silence_holds_an_escalation_until_its_end() {
    let mut world = World::new();
    world.routes = vec![route(1), Route { level: 1, ..route(2) }];
    world.raise(&device(Rule::AppDown, 1), 0);
    world.decide(0);
    world.run_until(99);
    world.silences = vec![silence(Matcher { rules: vec![Rule::AppDown], ..Matcher::default() }, 100, 4_000)];
    world.decide(100);
    world.run_until(5_000);
    assert_eq!(world.notified(), [(15, Raised, 1), (4_000, Escalated, 1)]);
}

#[test]
fn a_maintenance_window_holds_by_its_name() {
    let mut world = World::new();
    let key = device(Rule::DeviceOffline, 1);
    world.windows = vec![AlertWindow {
        id: AlertWindowId(uuid::Uuid::nil()),
        matcher: Matcher { severities: Severity::ALL.to_vec(), ..Matcher::default() },
        reason: "restart".into(),
        author: "ada".into(),
        weekdays: [true; 7],
        hours: AlertWindow::parse_hours("10:00", "11:00", "UTC").unwrap(),
        ends_at: None,
    }];
    world.raise(&key, 0);
    world.decide(0);
    assert_eq!(world.state.tracked[&key].held, Some(Suppression::MaintenanceWindow));
    assert_eq!(world.wakeup, Some(at(18 * 60)), "11:00");
    world.run_until(18 * 60 + 15);
    assert_eq!(world.notified(), [(18 * 60 + 15, Raised, 1)]);
}

#[test]
fn a_silent_fleet_is_one_alert_and_not_a_thousand() {
    let mut world = World::new();
    let keys: Vec<_> = (0..1_000).map(|n| device(Rule::DeviceOffline, n)).collect();
    let fleet = system(Rule::FleetSilent);
    for key in &keys {
        world.raise(key, 0);
    }
    world.decide(0);
    world.raise(&fleet, 5);
    world.decide(5);
    world.run_until(300);
    assert_eq!(world.notified(), [(20, Raised, 1)]);
    assert_eq!(world.sent[0].1.alerts[0].rule, Rule::FleetSilent);
    // All but one come back; the one is notified once the inhibition is over.
    for key in &keys[1..] {
        world.resolve(key, 400);
    }
    world.resolve(&fleet, 400);
    world.decide(400);
    world.run_until(2_000);
    assert_eq!(world.notified()[1..], [(415, Resolved, 1), (535, Raised, 1)]);
    let inhibited = world.settled.iter().filter(|(.., outcome)| *outcome == CAUSE(Suppression::Inhibited)).count();
    assert_eq!(inhibited, 2 * 999);
}

#[test]
fn a_node_that_stays_away_hides_no_silence_for_long() {
    let mut world = World::new();
    let node = AlertKey { rule: Rule::NodeLost, subject: Subject::Node("n1".into()) };
    world.raise(&node, 0);
    world.decide(0);
    world.run_until(99);
    let (soon, later) = (device(Rule::DeviceOffline, 1), device(Rule::DeviceOffline, 2));
    world.raise(&soon, 100);
    world.decide(100);
    world.run_until(899);
    assert_eq!(world.notified(), [(15, Raised, 1)], "the node, and not the device that it may have taken along");
    world.run_until(1_000);
    world.raise(&later, 1_000);
    world.decide(1_000);
    world.run_until(1_100);
    assert_eq!(world.notified()[1..], [(915, Raised, 1), (1_015, Raised, 1)]);
}

#[test]
fn what_flaps_is_said_to_flap_once() {
    let mut world = World::new();
    world.settings.cooldown = TimeDelta::zero();
    let key = device(Rule::AppDown, 1);
    for n in 0..20 {
        world.raise(&key, n * 100);
        world.decide(n * 100);
        world.run_until(n * 100 + 49);
        world.resolve(&key, n * 100 + 50);
        world.decide(n * 100 + 50);
        world.run_until(n * 100 + 99);
    }
    let kinds = |kind| world.sent.iter().filter(|(_, message)| message.kind == kind).count();
    assert_eq!((kinds(Raised), kinds(Resolved)), (5, 5), "as often as the limit allows");
    assert_eq!(kinds(Flapping), 1);
    let mut calm = world.clone();
    calm.settings.cooldown = TimeDelta::minutes(30);
    calm.sent.clear();
    calm.run_until(100_000);
    assert!(calm.sent.is_empty(), "people were notified that it is resolved, and so it is");
}

#[test]
fn what_nobody_acknowledges_goes_to_the_next_level_and_its_end_to_everybody() {
    let mut world = World::new();
    world.routes = vec![route(1), Route { level: 1, ..route(2) }, Route { level: 3, ..route(3) }];
    let (seen, unseen) = (device(Rule::AppDown, 1), device(Rule::AppDown, 2));
    world.raise(&seen, 0);
    world.raise(&unseen, 0);
    world.decide(0);
    world.run_until(15);
    world.acknowledge(&seen, 60);
    world.decide(60);
    world.run_until(20_000);
    assert_eq!(world.notified(), [(15, Raised, 2), (1_815, Escalated, 1), (3_615, Escalated, 1)]);
    assert_eq!(world.sent[1].1.alerts[0].subject, unseen.subject);
    assert_eq!((world.sent[1].1.channels.clone(), world.sent[2].1.channels.clone()), (vec![channel(2)], vec![channel(3)]));
    world.resolve(&unseen, 20_001);
    world.decide(20_001);
    world.run_until(30_000);
    let resolved: Vec<_> = world.sent[3..].iter().map(|(_, message)| (message.channels.clone(), message.ends_thread)).collect();
    assert_eq!(resolved, [(vec![channel(1)], false), (vec![channel(2), channel(3)], true)], "the first still has the other one");
}

#[test]
fn a_thread_ends_for_each_channel_with_the_last_alert_that_it_was_notified_of() {
    let mut world = World::new();
    world.routes = vec![route(1), Route { groups: vec!["north".into()], ..route(2) }];
    let (south, north) = (device(Rule::DeviceOffline, 1), device(Rule::DeviceOffline, 2));
    world.raise(&south, 0);
    world.groups = vec!["north".into()];
    world.raise(&north, 0);
    world.decide(0);
    world.run_until(99);
    let before = world.sent.len();
    let ends = |world: &World| -> Vec<_> {
        world.sent[before..].iter().map(|(_, message)| (message.channels.clone(), message.ends_thread)).collect()
    };
    let mut together = world.clone();
    world.resolve(&north, 100);
    world.decide(100);
    world.run_until(199);
    assert_eq!(ends(&world), [(vec![channel(1)], false), (vec![channel(2)], true)]);
    world.resolve(&south, 200);
    world.decide(200);
    world.run_until(299);
    assert_eq!(ends(&world)[2..], [(vec![channel(1)], true)]);
    // Both in one decision: two messages to the first channel, of which the last ends it.
    together.resolve(&north, 100);
    together.resolve(&south, 100);
    together.decide(100);
    together.run_until(199);
    let last = |number| ends(&together).into_iter().rfind(|(channels, _)| channels.contains(&channel(number)));
    assert_eq!((last(1).map(|(_, ends)| ends), last(2).map(|(_, ends)| ends)), (Some(true), Some(true)));
}

#[test]
fn without_a_route_it_waits_for_one() {
    let mut world = World::new();
    world.routes = vec![Route { min_severity: Severity::Critical, ..route(1) }];
    let key = device(Rule::DeviceOffline, 1);
    world.raise(&key, 0);
    world.decide(0);
    assert_eq!(world.state.tracked[&key].held, Some(Suppression::NoRoute));
    world.routes.push(route(2));
    world.decide(100);
    world.run_until(200);
    assert_eq!(world.notified(), [(115, Raised, 1)]);
    // Its channel is removed: there is nobody to whom the resolve is news.
    world.routes.clear();
    world.channels.clear();
    let resolve = world.resolve(&key, 300);
    world.decide(300);
    assert_eq!(world.outcome(resolve), Some(CAUSE(Suppression::NoRoute)));
}

#[test]
fn a_resolve_goes_to_whoever_was_notified_though_the_route_is_gone_or_the_channel_off() {
    let key = device(Rule::DeviceOffline, 1);
    let resolved = |change: fn(&mut World)| {
        let mut world = World::new();
        world.raise(&key, 0);
        world.decide(0);
        world.run_until(20);
        change(&mut world);
        world.resolve(&key, 100);
        world.decide(100);
        world.run_until(200);
        world.sent[1..].iter().map(|(_, message)| (message.kind, message.channels.clone())).collect::<Vec<_>>()
    };
    assert_eq!(resolved(|world| world.routes.clear()), [(Resolved, vec![channel(1)])]);
    assert_eq!(resolved(|world| world.off = [channel(1)].into()), [(Resolved, vec![channel(1)])], "its queue waits until it is on");
    assert!(resolved(|world| world.channels.clear()).is_empty());
}

#[test]
fn what_exceeds_the_limit_is_summed_up_in_one_message() {
    let mut world = World::new();
    world.settings.per_minute_max = 3;
    for (n, rule) in [Rule::DeviceOffline, Rule::LowBattery, Rule::AppDown, Rule::StorageLow, Rule::ClockWrong].into_iter().enumerate() {
        for device_number in 0..=n as u128 {
            world.raise(&device(rule, device_number), 0);
        }
    }
    world.decide(0);
    world.run_until(60);
    let kinds: Vec<_> = world.sent.iter().map(|(second, message)| (*second, message.kind, message.severity)).collect();
    assert_eq!(
        kinds,
        [(15, Raised, Severity::Critical), (15, Raised, Severity::Warning), (15, Overflow, Severity::Warning)],
        "the most severe have messages of their own"
    );
    assert_eq!(
        world.sent[2].1.headline(),
        "Too many messages; in short: 5 devices with a wrong clock, 4 devices with little storage, 2 devices with a low battery"
    );
    world.raise(&device(Rule::CommandFailures, 1), 61);
    world.decide(61);
    world.run_until(74);
    assert_eq!(world.sent.len(), 3, "the minute is full");
    world.run_until(100);
    assert_eq!(world.notified()[3..], [(76, Raised, 1)]);
}

#[test]
fn different_recipients_have_different_messages() {
    let mut world = World::new();
    world.routes = vec![route(1), Route { groups: vec!["north".into()], ..route(2) }];
    world.raise(&device(Rule::DeviceOffline, 1), 0);
    world.groups = vec!["North".into()];
    world.raise(&device(Rule::DeviceOffline, 2), 0);
    world.decide(0);
    world.run_until(15);
    let channels: Vec<_> = world.sent.iter().map(|(_, message)| message.channels.len()).collect();
    assert_eq!(channels, [1, 2]);
    assert_eq!(world.sent[0].1.thread, world.sent[1].1.thread);
}
