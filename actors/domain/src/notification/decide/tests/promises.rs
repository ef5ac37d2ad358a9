//! P9 and the limit of messages, under any sequence of events, silences, changes of channels and routes, and deaths of the coordinator.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::{World, at, channel, device, route, silence, system};
use crate::alert::{AlertKey, Matcher, Rule};
use crate::notification::decide::Settled;
use crate::notification::{NotificationKind, NotificationSettings, Route, TransitionId};

#[derive(Debug, Clone)]
enum Step {
    /// Time passes, with decisions whenever they are due.
    Pass(i64),
    /// An alert is raised if it is resolved, resolved if it is open.
    Toggle(usize),
    /// A decision is made, and its coordinator dies before it is committed.
    Die,
    /// Another coordinator decides for no reason, as after a failover.
    Decide,
    /// Somebody silences a rule for a while.
    Silence(usize, i64),
    /// A channel is turned off, or on again.
    Switch(u128),
    /// All routes are removed, or made again.
    Routes,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_i64..2_500).prop_map(Step::Pass),
        2 => (1_i64..20).prop_map(Step::Pass),
        8 => (0_usize..14).prop_map(Step::Toggle),
        1 => Just(Step::Die),
        1 => Just(Step::Decide),
        1 => (0_usize..3, 10_i64..5_000).prop_map(|(rule, length)| Step::Silence(rule, length)),
        1 => (1_u128..=2).prop_map(Step::Switch),
        1 => Just(Step::Routes),
    ]
}

const RULES: [Rule; 3] = [Rule::DeviceOffline, Rule::AppDown, Rule::LowBattery];

fn keys() -> Vec<AlertKey> {
    let devices = RULES.into_iter().flat_map(|rule| (0..4).map(move |n| device(rule, n)));
    devices.chain([system(Rule::FleetSilent), system(Rule::DatabaseAway)]).collect()
}

/// What happened, second by second.
fn run(steps: Vec<Step>, settings: NotificationSettings) -> (World, BTreeMap<TransitionId, (AlertKey, bool)>) {
    let (mut world, keys) = (World::new(), keys());
    world.settings = settings;
    let routes = vec![route(1), Route { level: 1, ..route(2) }];
    world.routes.clone_from(&routes);
    let (mut now, mut changes) = (0, BTreeMap::new());
    for step in steps {
        match step {
            Step::Pass(seconds) => {
                now += seconds;
                world.run_until(now);
            }
            Step::Toggle(number) => {
                let key = &keys[number];
                let raises = !world.open.contains_key(key);
                let id = if raises { world.raise(key, now) } else { world.resolve(key, now) };
                changes.insert(id, (key.clone(), raises));
                // Sometimes several changes are decided about at once.
                if number % 3 > 0 {
                    world.decide(now);
                }
            }
            // Nothing of it is kept; its events come again.
            Step::Die => drop(world.decision(now)),
            Step::Decide => world.decide(now),
            Step::Silence(rule, length) => {
                world.silences.push(silence(Matcher { rules: vec![RULES[rule]], ..Matcher::default() }, now, now + length));
            }
            Step::Switch(number) => {
                if !world.off.remove(&channel(number)) {
                    world.off.insert(channel(number));
                }
                world.decide(now);
            }
            Step::Routes => {
                world.routes = if world.routes.is_empty() { routes.clone() } else { vec![] };
                world.decide(now);
            }
        }
    }
    // Everything clears, and there is time for all that waits.
    for key in keys {
        if world.open.contains_key(&key) {
            changes.insert(world.resolve(&key, now), (key, false));
        }
    }
    world.decide(now);
    world.run_until(now + 1_000_000);
    (world, changes)
}

fn settings() -> impl Strategy<Value = NotificationSettings> {
    (0_i64..60, 0_i64..120, 0_i64..3_600, 1_u32..6, 1_usize..6).prop_map(|(wait, interval, cooldown, per_minute_max, flap_limit)| {
        NotificationSettings {
            group_wait: TimeDelta::seconds(wait),
            group_interval: TimeDelta::seconds(interval),
            cooldown: TimeDelta::seconds(cooldown),
            per_minute_max,
            flap_limit,
            ..NotificationSettings::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// P9: each raise and each resolve is notified once or suppressed for a named cause, and the same is not notified twice within the cooldown.
    #[test]
    fn each_change_is_notified_or_suppressed_and_not_twice_within_its_cooldown(steps in prop::collection::vec(step(), 1..80), settings in settings()) {
        let (world, changes) = run(steps, settings);
        let mut outcomes: BTreeMap<TransitionId, Vec<Settled>> = BTreeMap::new();
        for (_, id, settled) in &world.settled {
            outcomes.entry(*id).or_default().push(*settled);
        }
        for (id, (key, raises)) in &changes {
            let outcome = outcomes.get(id).map_or(&[][..], Vec::as_slice);
            prop_assert_eq!(outcome.len(), 1, "{:?} of {:?}, raised: {}: {:?}", id, key, raises, outcome);
            prop_assert_ne!(outcome[0], Settled::Noted);
        }
        // What people were notified of each: raise and resolve by turns, each no sooner than the cooldown after the last of its kind.
        let mut last: BTreeMap<(AlertKey, bool), i64> = BTreeMap::new();
        let mut believed: BTreeMap<AlertKey, bool> = BTreeMap::new();
        for (second, id, settled) in &world.settled {
            if let (Settled::Notified(_), Some((key, raises))) = (settled, changes.get(id)) {
                prop_assert_eq!(believed.insert(key.clone(), *raises).unwrap_or(false), !raises, "{:?} notified twice in a row", key);
                if let Some(before) = last.insert((key.clone(), *raises), *second) {
                    prop_assert!(second - before >= settings.cooldown.num_seconds(), "{:?} at {} and {}", key, before, second);
                }
            }
        }
        prop_assert!(believed.values().all(|fires| !fires), "somebody still believes that something fires: {:?}", believed);
        prop_assert!(world.state.tracked.values().all(|tracked| tracked.unsettled.is_none()));
        prop_assert_eq!(world.wakeup, None, "nothing is left to do");
    }

    /// No minute sees more messages than the limit, whatever happens.
    #[test]
    fn the_limit_of_messages_is_never_exceeded(steps in prop::collection::vec(step(), 1..80), settings in settings()) {
        let (world, _) = run(steps, settings);
        let seconds: Vec<_> = world.sent.iter().map(|(second, _)| *second).collect();
        for (n, second) in seconds.iter().enumerate() {
            let within = seconds[n..].iter().take_while(|other| **other < second + 60).count();
            prop_assert!(within <= settings.per_minute_max as usize, "{} in the minute from {}", within, second);
        }
        prop_assert!(world.sent.iter().all(|(_, message)| !message.alerts.is_empty() && !message.channels.is_empty()));
    }

    /// A decision depends on what the database holds alone: one that takes over at any time, and decides for no reason, changes nothing of what people
    /// are notified.
    #[test]
    fn another_coordinator_goes_on_with_the_same_result(steps in prop::collection::vec(step(), 1..60), settings in settings()) {
        let notified = |failovers: bool| {
            let (mut world, keys) = (World::new(), keys());
            world.settings = settings;
            world.routes = vec![route(1), Route { level: 1, ..route(2) }];
            let mut now = 0;
            for step in &steps {
                match step {
                    Step::Pass(seconds) => {
                        for part in 1..=3 {
                            let until = now + seconds * part / 3;
                            world.run_until(until);
                            if failovers {
                                world.decide(until);
                            }
                        }
                        now += seconds;
                    }
                    Step::Toggle(number) => {
                        let key = &keys[*number];
                        if world.open.contains_key(key) { world.resolve(key, now) } else { world.raise(key, now) };
                        world.decide(now);
                    }
                    Step::Die | Step::Decide | Step::Silence(..) | Step::Switch(_) | Step::Routes => {}
                }
            }
            world.run_until(now + 100_000);
            world.sent
        };
        prop_assert_eq!(notified(false), notified(true));
    }

    /// A wakeup is ahead, so that nobody spins.
    #[test]
    fn wakeups_are_ahead(steps in prop::collection::vec(step(), 1..60), settings in settings()) {
        let mut world = World::new();
        world.settings = settings;
        let keys = keys();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Pass(seconds) => now += seconds,
                Step::Toggle(number) if world.open.contains_key(&keys[number]) => {
                    world.resolve(&keys[number], now);
                }
                Step::Toggle(number) => {
                    world.raise(&keys[number], now);
                }
                _ => {}
            }
            world.decide(now);
            prop_assert!(world.wakeup.is_none_or(|wakeup| wakeup > at(now)), "{:?}", world.wakeup);
        }
    }
}

#[test]
fn an_overflow_counts_as_notified() {
    let settings = NotificationSettings { per_minute_max: 1, ..NotificationSettings::default() };
    let (world, changes) = run(vec![Step::Toggle(0), Step::Toggle(4), Step::Toggle(8), Step::Pass(100)], settings);
    let raised = &world.sent[0].1;
    assert_eq!((raised.kind, raised.alerts.len()), (NotificationKind::Overflow, 3));
    assert_eq!(changes.len(), 6);
}
