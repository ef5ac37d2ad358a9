//! Services that keep incidents, and changes that several messages tell.

use super::*;

/// Messages to a channel: kind, thread, whether it ends it.
fn sent(world: &World, number: u128) -> Vec<(NotificationKind, String, bool)> {
    let to = world.sent.iter().filter(|(_, message)| message.channels.contains(&channel(number)));
    to.map(|(_, message)| (message.kind, message.thread.clone(), message.ends_thread)).collect()
}

fn kinds(world: &World, number: u128) -> Vec<NotificationKind> {
    sent(world, number).into_iter().map(|(kind, ..)| kind).collect()
}

/// Two channels, of which the first keeps incidents.
fn world() -> World {
    let mut world = World::new();
    world.routes = vec![route(1), route(2)];
    world.incidents = [channel(1)].into();
    world
}

#[test]
fn an_incident_is_acknowledged_once_each_of_its_alerts_is() {
    let mut world = world();
    let (one, other) = (device(Rule::DeviceOffline, 1), device(Rule::DeviceOffline, 2));
    world.raise(&one, 0);
    world.raise(&other, 0);
    world.decide(0);
    world.run_until(20);
    world.acknowledge(&one, 30);
    world.decide(30);
    assert_eq!(kinds(&world, 1), [Raised], "the other may still need somebody");
    world.acknowledge(&other, 40);
    world.decide(40);
    world.run_until(60);
    let (messages, thread) = (sent(&world, 1), world.sent[0].1.thread.clone());
    assert_eq!(messages[1..], [(Acknowledged, thread, false)]);
    assert_eq!(kinds(&world, 2), [Raised], "whoever keeps no incidents is not told");
    world.decide(100);
    assert_eq!(kinds(&world, 1).len(), 2, "once");
}

#[test]
fn an_incident_is_acknowledged_when_the_last_alert_that_was_not_is_resolved() {
    let mut world = world();
    let (one, other) = (device(Rule::DeviceOffline, 1), device(Rule::DeviceOffline, 2));
    world.raise(&one, 0);
    world.raise(&other, 0);
    world.decide(0);
    world.run_until(20);
    world.acknowledge(&one, 30);
    world.decide(30);
    let mut alone = world.clone();
    world.resolve(&other, 40);
    world.decide(40);
    assert_eq!(kinds(&world, 1), [Raised, Acknowledged]);
    // Nothing is left that somebody looks after.
    alone.resolve(&one, 40);
    alone.resolve(&other, 40);
    alone.decide(40);
    alone.run_until(200);
    assert_eq!(kinds(&alone, 1), [Raised, Resolved]);
}

#[test]
fn an_alert_that_was_acknowledged_before_its_message_acknowledges_its_incident() {
    let mut world = world();
    let key = device(Rule::DeviceOffline, 1);
    world.raise(&key, 0);
    world.decide(0);
    world.acknowledge(&key, 5);
    world.decide(5);
    world.run_until(60);
    assert_eq!(kinds(&world, 1), [Raised, Acknowledged]);
    world.off = [channel(1)].into();
    let mut off = world.clone();
    off.acknowledge(&key, 70);
    off.decide(70);
    assert_eq!(kinds(&off, 1).len(), 2, "nothing is queued for a channel that is off");
}

#[test]
fn a_message_that_sums_up_names_the_incidents_of_its_rules() {
    let mut world = world();
    world.settings.per_minute_max = 1;
    let keys = [device(Rule::DeviceOffline, 1), device(Rule::LowBattery, 1)];
    for key in &keys {
        world.raise(key, 0);
    }
    world.decide(0);
    world.run_until(59);
    let summed: Vec<_> = world.sent.iter().map(|(_, message)| (message.kind, message.channels.clone(), message.threads.clone())).collect();
    let name = |rule: Rule| world.state.threads[&rule].name(rule);
    let marks: Vec<_> = [Rule::DeviceOffline, Rule::LowBattery].map(|rule| ThreadMark { name: name(rule), ends: false }).into();
    assert_eq!(summed, [(Overflow, vec![channel(2)], vec![]), (Overflow, vec![channel(1)], marks.clone())]);
    assert_eq!(world.settled.len(), 2, "each raise once, whatever the number of messages");
    let further: Vec<_> = world.further.iter().map(|(_, index)| *index).collect();
    assert_eq!(further, [1, 1], "both messages tell both");
    // One ends while the other goes on, in a message of its own: its incident ends by its name.
    world.resolve(&keys[0], 100);
    world.decide(100);
    world.run_until(200);
    let resolve = sent(&world, 1).pop();
    let thread = marks[0].name.clone();
    assert_eq!(resolve, Some((Resolved, thread, true)));
}

#[test]
fn a_resolve_that_is_told_in_parts_has_each_of_them() {
    let mut world = World::new();
    world.routes = vec![route(1), Route { groups: vec!["north".into()], ..route(2) }];
    let (south, north) = (device(Rule::DeviceOffline, 1), device(Rule::DeviceOffline, 2));
    world.raise(&south, 0);
    world.groups = vec!["north".into()];
    world.raise(&north, 0);
    world.decide(0);
    world.run_until(99);
    let resolve = world.resolve(&north, 100);
    world.decide(100);
    world.run_until(199);
    // It goes on for the first channel and ends for the second.
    let settled: Vec<_> = world.settled.iter().filter(|(_, id, _)| *id == resolve).map(|(.., outcome)| *outcome).collect();
    assert_eq!(settled, [Settled::Notified(0)]);
    assert_eq!(world.further, [(resolve, 1)]);
}

#[test]
fn who_is_for_the_severe_alone_hears_of_one_that_becomes_so() {
    let mut world = World::new();
    world.routes = vec![route(1), Route { min_severity: Severity::Critical, ..route(2) }];
    let key = device(Rule::LowBattery, 1);
    world.raise(&key, 0);
    world.decide(0);
    world.run_until(50);
    assert!(world.open.contains_key(&key) && kinds(&world, 2).is_empty());
    world.change_severity(&key, Severity::Critical, 60);
    world.decide(60);
    assert_eq!((kinds(&world, 1), kinds(&world, 2)), (vec![Raised], vec![Worsened]));
    assert_eq!(world.sent[1].1.headline(), format!("Now critical: Low battery: {}, since 10:42 UTC", key.subject.id()));
    world.decide(70);
    world.resolve(&key, 100);
    world.decide(100);
    world.run_until(200);
    assert_eq!((kinds(&world, 1), kinds(&world, 2)), (vec![Raised, Resolved], vec![Worsened, Resolved]));
}

/// One alert of which the first channel is notified, and the second is only if it is critical.
fn for_the_severe() -> (World, AlertKey) {
    let mut world = World::new();
    world.routes = vec![route(1), Route { min_severity: Severity::Critical, ..route(2) }];
    let key = device(Rule::LowBattery, 1);
    world.raise(&key, 0);
    world.decide(0);
    world.run_until(50);
    assert!(kinds(&world, 2).is_empty());
    (world, key)
}

#[test]
fn one_that_becomes_more_severe_while_it_is_silenced_is_sent_once_the_silence_ends() {
    let (mut world, key) = for_the_severe();
    world.silences.push(silence(Matcher { rules: vec![Rule::LowBattery], ..Matcher::default() }, 55, 500));
    world.change_severity(&key, Severity::Critical, 60);
    world.decide(60);
    world.run_until(499);
    assert!(kinds(&world, 2).is_empty());
    world.run_until(600);
    assert_eq!((kinds(&world, 1), kinds(&world, 2)), (vec![Raised], vec![Worsened]));
    world.run_until(100_000);
    assert_eq!(kinds(&world, 2), [Worsened], "once");
}

#[test]
fn one_that_becomes_more_severe_beyond_the_limit_of_messages_is_sent_after_it() {
    let (mut world, key) = for_the_severe();
    world.settings.per_minute_max = 1;
    world.state.sent = vec![at(55)];
    world.change_severity(&key, Severity::Critical, 60);
    world.decide(60);
    assert!(kinds(&world, 2).is_empty());
    world.run_until(200);
    assert_eq!(kinds(&world, 2), [Worsened]);
}

#[test]
fn one_that_is_less_severe_again_is_not_sent_to_those_for_the_severe() {
    let (mut world, key) = for_the_severe();
    world.silences.push(silence(Matcher { rules: vec![Rule::LowBattery], ..Matcher::default() }, 55, 500));
    world.change_severity(&key, Severity::Critical, 60);
    world.decide(60);
    world.change_severity(&key, key.rule.spec().severity, 70);
    world.decide(70);
    world.run_until(100_000);
    assert!(kinds(&world, 2).is_empty());
}

/// What holds is not copied with each decision: a thousand silences and ten thousand alerts are decided about every few seconds.
#[test]
fn a_decision_shares_what_it_does_not_change() {
    let mut world = World::new();
    let all = Matcher { severities: Severity::ALL.to_vec(), ..Matcher::default() };
    world.silences.push(silence(all, 0, 100_000));
    let keys: Vec<_> = (0..50).map(|n| device(Rule::DeviceOffline, n)).collect();
    for key in &keys {
        world.raise(key, 0);
    }
    world.decide(0);
    let next = world.decision(10);
    assert!(keys.iter().all(|key| std::sync::Arc::ptr_eq(&world.state.tracked[key], &next.state.tracked[key])));
    world.resolve(&keys[0], 20);
    let next = world.decision(20);
    let shared =
        keys.iter().filter(|key| next.state.tracked.get(*key).is_some_and(|to| std::sync::Arc::ptr_eq(&world.state.tracked[*key], to)));
    assert_eq!(shared.count(), 49);
}
