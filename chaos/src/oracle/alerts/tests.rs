use super::*;
use crate::oracle::FaultPeriod;
use crate::sink::ListedAlert;

const S: i64 = 1_000_000;

fn change(alert: &str, kind: &str, at_s: i64, notification: Option<&str>) -> ChangeRow {
    ChangeRow {
        alert: alert.into(),
        rule: "device_offline".into(),
        subject: "device:d1".into(),
        kind: kind.into(),
        at_us: at_s * S,
        suppressed_by: None,
        notification: notification.map(str::to_owned),
        further: vec![],
        held: None,
    }
}

fn arrival(notification: &str, kind: &str, alert: &str, at_s: i64) -> Arrival {
    Arrival {
        sink: "ops".into(),
        at_us: at_s * S,
        answered_us: Some(at_s * S + 1_000),
        status: Some(200),
        notification: Some(notification.into()),
        kind: Some(kind.into()),
        alerts: vec![ListedAlert {
            alert_id: alert.into(),
            rule: "device_offline".into(),
            name: "till-1".into(),
            about: String::new(),
            link: String::new(),
        }],
        count: Some(1),
        ..Arrival::default()
    }
}

fn notify(facts: &mut AlertFacts, id: &str, kind: &str, alert: &str, at_s: i64) {
    let row =
        NotificationRow { kind: kind.into(), thread: "device_offline-1".into(), begins_thread: kind == "raised", created_us: at_s * S };
    facts.notifications.insert(id.into(), row);
    facts.deliveries.push(DeliveryRow { notification: id.into(), channel: "ops".into(), state: "delivered".into(), queued_us: at_s * S });
    facts.changes.push(change(alert, kind, at_s - 15, Some(id)));
    facts.arrivals.push(arrival(id, kind, alert, at_s));
}

/// A device goes offline and returns: one message each, and a second time within the cooldown, which is suppressed.
fn kept() -> History {
    let mut facts = AlertFacts {
        sinks: ["ops".to_owned()].into(),
        cooldown_us: 1_800 * S,
        settled_within_us: 60 * S,
        delivered_within_us: 60 * S,
        read_us: 1_000 * S,
        ..AlertFacts::default()
    };
    notify(&mut facts, "n1", "raised", "a1", 100);
    notify(&mut facts, "n2", "resolved", "a1", 200);
    for kind in ["raised", "resolved"] {
        facts.changes.push(ChangeRow { suppressed_by: Some("cooldown".into()), ..change("a2", kind, 300, None) });
    }
    History { alerts: facts, ..History::default() }
}

fn broken(change: impl FnOnce(&mut History)) -> Vec<String> {
    let mut history = kept();
    change(&mut history);
    check(&history).violations.into_iter().map(|violation| violation.what).collect()
}

fn fault(kind: FaultPeriodKind, node: Option<u32>, began_s: i64, healed_s: i64) -> FaultPeriod {
    let (began_us, healed_us) = (began_s * S, healed_s * S);
    FaultPeriod { kind, text: String::new(), server: None, node, began_us, in_force_us: began_us, healing_us: healed_us, healed_us }
}

#[track_caller]
fn one(violations: &[String], part: &str) {
    assert!(violations.len() == 1 && violations[0].contains(part), "{part}: {violations:?}");
}

#[test]
fn a_run_without_fault_keeps_the_promise() {
    let check = check(&kept());
    assert!(check.violations.is_empty(), "{:?}", check.violations);
    assert_eq!(check.notes, ["2 notified", "2 suppressed: cooldown"]);
    assert_eq!(broken(|history| history.alerts.arrivals.clear()).len(), 2, "it depends on what sinks received");
}

#[test]
fn a_loss_is_seen_wherever_it_happens() {
    // A change without a decision; while it is new or held, it may wait.
    let undecided = |age_s: i64, held: Option<&str>| {
        broken(|history| {
            let held = held.map(str::to_owned);
            history.alerts.changes.push(ChangeRow { held, ..change("a3", "raised", 1_000 - age_s, None) });
        })
    };
    one(&undecided(61, None), "neither notified nor suppressed after 61 s");
    assert_eq!(undecided(60, None), [""; 0]);
    assert_eq!(undecided(600, Some("silenced")), [""; 0]);
    // Decided, but its message is gone, or for no channel.
    one(&broken(|history| history.alerts.changes.push(change("a3", "raised", 10, Some("n9")))), "n9, which is not there");
    one(&broken(|history| history.alerts.deliveries.retain(|row| row.notification != "n2")), "n2 of 1 changes is for no channel");
    // Sent, but it did not arrive, or was not accepted.
    one(&broken(|history| drop(history.alerts.arrivals.pop())), "recorded as delivered, but never arrived");
    one(&broken(|history| history.alerts.arrivals[1].status = Some(500)), "recorded as delivered, but never arrived");
    one(&broken(|history| history.alerts.deliveries[1].state = "dead".into()), "given up");
    let waits = |until_s: i64| {
        broken(|history| {
            history.alerts.deliveries[1].state = "queued".into();
            history.alerts.arrivals.pop();
            history.alerts.silent_sinks.push(SilentSink { sink: "ops".into(), until_us: until_s * S });
        })
    };
    one(&waits(900), "still waits");
    assert_eq!(waits(950), [""; 0], "the sink has answered for less than a minute");
}

#[test]
fn a_duplicate_is_seen_unless_a_fault_explains_the_repeat() {
    let again = |acknowledged: bool, period: Option<FaultPeriod>| {
        broken(|history| {
            if !acknowledged {
                (history.alerts.arrivals[0].status, history.alerts.arrivals[0].answered_us) = (None, None);
            }
            history.alerts.arrivals.push(arrival("n1", "raised", "a1", 130));
            history.fault_periods.extend(period);
        })
    };
    one(&again(true, None), "n1 again after 30000 ms");
    assert_eq!(again(false, None), [""; 0], "the first was not accepted");
    assert_eq!(again(true, Some(fault(FaultPeriodKind::Killed, Some(1), 101, 110))), [""; 0], "its sender died");
    assert_eq!(again(true, Some(fault(FaultPeriodKind::NoDatabase, None, 90, 101))), [""; 0], "it could not be noted");
    one(&again(true, Some(fault(FaultPeriodKind::Killed, Some(1), 120, 125))), "again");
    one(&again(true, Some(fault(FaultPeriodKind::Other, None, 90, 140))), "again");
}

#[test]
fn the_same_is_not_notified_twice_within_the_cooldown() {
    let twice = |after_s: i64, alert: &str| broken(|history| notify(&mut history.alerts, "n3", "raised", alert, 100 + after_s));
    one(&twice(600, "a3"), "device_offline is raised, 600 s apart");
    let with_longer_run = broken(|history| {
        history.alerts.read_us = 3_000 * S;
        notify(&mut history.alerts, "n3", "raised", "a3", 1_900);
    });
    assert_eq!(with_longer_run, [""; 0]);
    // The same alert by another message, whatever time has passed.
    let same_alert = broken(|history| notify(&mut history.alerts, "n3", "raised", "a1", 1_950));
    one(&same_alert, "alert a1 is raised: by n1 and n3");
}

#[test]
fn a_message_says_what_was_decided() {
    one(&broken(|history| history.alerts.arrivals.push(arrival("n9", "raised", "a9", 120))), "(n9), which is not in the database");
    assert_eq!(broken(|history| history.alerts.arrivals.push(arrival("n9", "test", "", 120))), [""; 0], "a test of a channel");
    one(&broken(|history| history.alerts.arrivals[0].count = Some(7)), "about 7 alerts, the database has 1");
    let other = broken(|history| history.alerts.arrivals[0].alerts[0].alert_id = "a7".into());
    one(&other, "lists alert a7 that it is not about");
    one(&broken(|history| history.alerts.still_open.push(("d1".into(), "device_offline".into()))), "open although it does not hold");
}

#[test]
fn a_mail_that_begins_a_thread_is_found_by_it() {
    let by_thread = |thread: &str| {
        broken(|history| {
            let first = &mut history.alerts.arrivals[0];
            (first.notification, first.thread, first.kind) = (None, Some(thread.to_owned()), None);
            (first.alerts, first.count) = (vec![], None);
        })
    };
    assert_eq!(by_thread("device_offline-1"), [""; 0]);
    assert_eq!(by_thread("device_offline-2").len(), 2, "a message without a decision, and one that is missing");
}

#[test]
fn a_resolve_that_is_told_in_parts_is_part_of_each_message() {
    let parted = |further: bool| {
        broken(|history| {
            let facts = &mut history.alerts;
            facts.sinks.insert("pager".into());
            let row = NotificationRow { kind: "resolved".into(), ..facts.notifications["n2"].clone() };
            facts.notifications.insert("n3".into(), row);
            facts.deliveries.push(DeliveryRow {
                notification: "n3".into(),
                channel: "pager".into(),
                state: "delivered".into(),
                queued_us: 200 * S,
            });
            facts.arrivals.push(Arrival { sink: "pager".into(), ..arrival("n3", "resolved", "a1", 200) });
            let resolve = facts.changes.iter_mut().find(|change| change.notification.as_deref() == Some("n2")).unwrap();
            resolve.further.extend(further.then(|| "n3".to_owned()));
        })
    };
    assert!(parted(true).is_empty(), "{:?}", parted(true));
    assert!(parted(false)[0].contains("about 1 alerts, the database has 0"), "{:?}", parted(false));
}
