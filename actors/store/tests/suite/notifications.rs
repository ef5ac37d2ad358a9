//! The coordinator's state: continued by whoever owns its shard, changed by nobody else, whenever one dies.

use chrono::TimeDelta;
use domain::alert::{Matcher, Rule, Silence};
use domain::audit::AuditAction;
use domain::notification::{
    ChannelSets, CoordinatorState, Decision, NotificationKind, NotificationSettings, NotificationSetup, Route, Suppression, Surroundings,
    decide,
};
use domain::shard::{ShardId, shard_of_name};
use domain::{NotificationId, SilenceId};
use store::{CoordinatorInput, DecisionWrite};
use test_database::TestDatabase;

use crate::alert_setup::add_channels;
use crate::alerts::{alert, clear, open, record};
use crate::common::{at, entry, lease, next_epoch, uuid};

fn coordinator() -> ShardId {
    shard_of_name("alerts")
}

async fn read(db: &TestDatabase, second: i64) -> CoordinatorInput {
    db.store().coordinator_input(at(second - 60), 10_000).await.unwrap()
}

fn decided(input: &CoordinatorInput, routes: &[Route], second: i64) -> Decision {
    let settings = NotificationSettings { group_interval: TimeDelta::zero(), ..NotificationSettings::default() };
    let channels = ChannelSets { all: routes.iter().map(|route| route.channel).collect(), ..ChannelSets::default() };
    let setup = NotificationSetup::new(routes.to_vec(), channels, vec![], vec![]);
    let surroundings = Surroundings { settings: &settings, setup: &setup };
    decide(&input.state, &surroundings, &input.events, at(second))
}

async fn apply(db: &TestDatabase, input: &CoordinatorInput, decision: &Decision, second: i64) -> bool {
    let lease = lease(db, coordinator()).await;
    let ids: Vec<_> = (0..decision.notifications.len()).map(|n| NotificationId(uuid(second as u32 * 100 + n as u32))).collect();
    let write = DecisionWrite { lease, input, decision, ids: &ids, now: at(second) };
    db.store().apply_decision(&write).await.unwrap()
}

/// Reads, decides and stores, as a coordinator does that has just taken over. The state that it leaves is what the next one reads.
async fn run(db: &TestDatabase, routes: &[Route], second: i64) -> Decision {
    let input = read(db, second).await;
    let decision = decided(&input, routes, second);
    assert!(apply(db, &input, &decision, second).await);
    let next = read(db, second).await;
    assert_eq!(next.state, decision.state, "the rows hold the whole state");
    assert!(next.events.is_empty());
    decision
}

async fn settled(db: &TestDatabase) -> Vec<String> {
    let sql = "SELECT kind || ' ' || coalesce(suppressed_by, CASE WHEN notification_id IS NOT NULL THEN 'notified' END,
                   CASE WHEN settled_at IS NOT NULL THEN 'noted' ELSE 'open' END) FROM alert_transition ORDER BY transition_id";
    db.values(sql).await
}

#[tokio::test]
async fn a_raise_and_a_resolve_are_notified_once_by_one_coordinator_after_another() {
    let db = TestDatabase::new().await;
    let routes = add_channels(&db, 2).await;
    for number in 1..=3 {
        record(&db, number, number, open(), 0).await;
    }
    let first = run(&db, &routes, 1).await;
    assert_eq!((first.notifications.len(), first.next_wakeup), (0, Some(at(16))));
    let sent = run(&db, &routes, 16).await;
    assert_eq!((sent.notifications[0].kind, sent.notifications[0].alerts.len()), (NotificationKind::Raised, 3));
    let by = entry(AuditAction::FlagSet);
    db.store().acknowledge_alerts(&[alert(1)], "ada", "", &by, at(20)).await.unwrap();
    for number in 1..=3 {
        record(&db, number, number, clear(), 100).await;
    }
    run(&db, &routes, 101).await;
    let resolved = run(&db, &routes, 116).await;
    assert_eq!((resolved.notifications[0].kind, resolved.notifications[0].ends_thread), (NotificationKind::Resolved, true));
    assert!(run(&db, &routes, 117).await.notifications.is_empty());
    let all = settled(&db).await;
    assert_eq!(all.iter().filter(|one| one.ends_with(" notified")).count(), 6, "{all:?}");
    assert_eq!(all.iter().filter(|one| *one == "acknowledged noted").count(), 1);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM notification_delivery WHERE state = 'queued'").await, 4, "two messages, two channels");
    let history = db.store().alert_history(alert(1), 9).await.unwrap();
    assert_eq!(history[0].notification, Some(NotificationId(uuid(1_600))));
    // In time nothing is left of it but the records.
    run(&db, &routes, 100_000).await;
    assert_eq!(read(&db, 100_000).await.state, CoordinatorState::default());
}

#[tokio::test]
async fn a_coordinator_that_dies_before_the_commit_leaves_all_of_it_to_the_next() {
    let db = TestDatabase::new().await;
    let routes = add_channels(&db, 1).await;
    record(&db, 1, 1, open(), 0).await;
    run(&db, &routes, 1).await;
    let input = read(&db, 16).await;
    let lost = decided(&input, &routes, 16);
    assert_eq!(lost.notifications.len(), 1);
    // It dies with the decision in hand. The next one finds the same, and says it once.
    assert_eq!(run(&db, &routes, 17).await.notifications.len(), 1);
    // The dead one comes back with its decision, under the epoch of before: refused.
    let old = lease(&db, coordinator()).await;
    next_epoch(&db, coordinator()).await;
    let ids = [NotificationId(uuid(99))];
    let write = DecisionWrite { lease: old, input: &input, decision: &lost, ids: &ids, now: at(16) };
    assert!(!db.store().apply_decision(&write).await.unwrap());
    assert_eq!(db.value::<i64>("SELECT count(*) FROM notification").await, 1);
}

/// Between each two statements of a decision the connection breaks: nothing of it is kept.
#[tokio::test]
async fn a_coordinator_that_dies_between_two_statements_leaves_nothing() {
    let db = TestDatabase::new().await;
    let routes = add_channels(&db, 1).await;
    record(&db, 1, 1, open(), 0).await;
    run(&db, &routes, 1).await;
    record(&db, 2, 2, open(), 2).await;
    let input = read(&db, 16).await;
    let decision = decided(&input, &routes, 16);
    assert_eq!(decision.notifications[0].alerts.len(), 2);
    // Each of these makes another statement of the transaction fail, the last one its commit.
    for (table, operation) in [
        ("alert_transition", "UPDATE"),
        ("alert_notice", "INSERT OR UPDATE"),
        ("alert_thread", "INSERT"),
        ("notification", "INSERT"),
        ("notification_delivery", "INSERT"),
    ] {
        db.execute("CREATE OR REPLACE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''died''; END'").await;
        db.execute(&format!(
            "CREATE CONSTRAINT TRIGGER die AFTER {operation} ON {table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()"
        ))
        .await;
        db.execute(&format!("CREATE TRIGGER die_at_once BEFORE {operation} ON {table} FOR EACH ROW EXECUTE FUNCTION die()")).await;
        let write = async || {
            let lease = lease(&db, coordinator()).await;
            let ids = [NotificationId(uuid(50))];
            let write = DecisionWrite { lease, input: &input, decision: &decision, ids: &ids, now: at(16) };
            db.store().apply_decision(&write).await
        };
        assert!(write().await.is_err(), "{table}: in the statement");
        db.execute(&format!("DROP TRIGGER die_at_once ON {table}")).await;
        assert!(write().await.is_err(), "{table}: in the commit");
        db.execute(&format!("DROP TRIGGER die ON {table}")).await;
        assert_eq!(read(&db, 16).await, input, "{table}: nothing is kept");
        assert_eq!(db.value::<i64>("SELECT count(*) FROM notification").await, 0, "{table}");
    }
    assert!(apply(&db, &input, &decision, 16).await);
    assert_eq!(settled(&db).await, ["raised notified", "raised notified"]);
}

#[tokio::test]
async fn of_two_coordinators_only_the_one_with_the_epoch_acts() {
    let db = TestDatabase::new().await;
    let routes = add_channels(&db, 1).await;
    record(&db, 1, 1, open(), 0).await;
    run(&db, &routes, 1).await;
    let input = read(&db, 16).await;
    let decision = decided(&input, &routes, 16);
    let old = lease(&db, coordinator()).await;
    next_epoch(&db, coordinator()).await;
    let new = lease(&db, coordinator()).await;
    let apply_as = async |lease, id| {
        let ids = [NotificationId(uuid(id))];
        let write = DecisionWrite { lease, input: &input, decision: &decision, ids: &ids, now: at(16) };
        db.store().apply_decision(&write).await.unwrap()
    };
    let (deposed, present) = tokio::join!(apply_as(old, 1), apply_as(new, 2));
    assert_eq!((deposed, present), (false, true));
    // The present one again, as after an answer that was lost: what is settled stays settled.
    assert!(!apply_as(new, 3).await);
    assert_eq!(db.values::<uuid::Uuid>("SELECT notification_id FROM notification").await, [uuid(2)]);
}

#[tokio::test]
async fn what_was_not_notified_has_its_cause() {
    let db = TestDatabase::new().await;
    let routes = add_channels(&db, 1).await;
    record(&db, 1, 1, open(), 0).await;
    run(&db, &routes, 1).await;
    record(&db, 1, 1, clear(), 5).await;
    run(&db, &routes, 5).await;
    assert_eq!(settled(&db).await, ["raised superseded", "resolved superseded"]);
    let history = db.store().alert_history(alert(1), 9).await.unwrap();
    assert_eq!((history[0].suppressed_by, history[0].settled_at), (Some(Suppression::Superseded), Some(at(5))));
}

#[tokio::test]
async fn the_limit_counts_what_others_have_sent() {
    let db = TestDatabase::new().await;
    let routes = add_channels(&db, 1).await;
    record(&db, 1, 1, open(), 0).await;
    run(&db, &routes, 1).await;
    run(&db, &routes, 16).await;
    assert_eq!(read(&db, 20).await.state.sent, [at(16)]);
    assert!(read(&db, 76).await.state.sent.is_empty());
    assert_eq!(read(&db, 20).await.state.threads[&Rule::DeviceOffline].raised_sent_at, Some(at(16)));
}

/// 10,000 devices go offline at once: their records and one decision about all of them.
#[tokio::test]
async fn ten_thousand_at_once_are_one_message() {
    let db = TestDatabase::new().await;
    let routes = add_channels(&db, 1).await;
    let mut changes = Vec::new();
    for number in 1..=10_000 {
        let lease =
            domain::shard::ShardLease { shard: domain::shard::shard_of(crate::common::device(number)), epoch: domain::shard::Epoch(0) };
        changes.push(crate::alerts::change(lease, number, number, open(), 0));
    }
    let epoch: i64 = db.value("SELECT min(epoch) FROM shard").await;
    changes.iter_mut().for_each(|change| change.lease.epoch = domain::shard::Epoch(epoch));
    for batch in changes.chunks(1_000) {
        assert!(db.store().record_alerts(batch).await.unwrap().iter().all(|outcome| *outcome == store::ChangedAlert::Changed));
    }
    run(&db, &routes, 1).await;
    let sent = run(&db, &routes, 16).await;
    assert_eq!((sent.notifications.len(), sent.notifications[0].alerts.len()), (1, 10_000));
    assert_eq!(db.value::<i64>("SELECT count(*) FROM alert_transition WHERE settled_at IS NOT NULL").await, 10_000);
    assert_eq!(db.value::<i32>("SELECT jsonb_array_length(alerts) FROM notification").await, 10);
}

#[tokio::test]
async fn a_coordinator_that_knows_the_state_reads_the_news_alone() {
    let db = TestDatabase::new().await;
    let routes = add_channels(&db, 1).await;
    record(&db, 1, 1, open(), 0).await;
    let news = async |decisions| db.store().coordinator_news(decisions, 10).await.unwrap();
    assert_eq!(news(0).await.map(|news| news.events.len()), Some(1));
    run(&db, &routes, 0).await;
    assert_eq!(news(0).await, None, "another decision was stored meanwhile");
    let quiet = news(1).await.unwrap();
    assert!(quiet.events.is_empty());
    record(&db, 2, 2, open(), 1).await;
    let more = news(1).await.unwrap();
    assert_eq!((more.events[0].alert, more.setup_version), (alert(2), quiet.setup_version), "an alert is nothing that people set up");
}

#[tokio::test]
async fn changes_of_a_later_build_are_left_to_it_and_hold_up_no_others() {
    let db = TestDatabase::new().await;
    for number in 1..=4 {
        record(&db, number, number, open(), i64::from(number)).await;
    }
    db.execute(&format!("UPDATE alert SET rule = 'x' WHERE alert_id = '{}'", uuid(1))).await;
    db.execute(&format!("UPDATE alert_transition SET kind = 'x' WHERE alert_id = '{}'", uuid(2))).await;
    let events = db.store().coordinator_news(0, 2).await.unwrap().unwrap().events;
    assert_eq!(events.iter().map(|event| event.alert).collect::<Vec<_>>(), [alert(3), alert(4)], "as many as were asked for");
    assert_eq!(db.value::<i64>("SELECT count(*) FROM alert_transition WHERE taken_at IS NULL").await, 4);
}

/// Whatever build or tool changes them: a decision goes by what holds when it is made.
#[tokio::test]
async fn each_change_of_what_people_set_up_is_counted() {
    let db = TestDatabase::new().await;
    let version = async || db.store().coordinator_news(0, 1).await.unwrap().unwrap().setup_version;
    let mut last = version().await;
    add_channels(&db, 1).await;
    let by = || entry(AuditAction::FlagSet);
    let silence = Silence {
        id: SilenceId(uuid(1)),
        matcher: Matcher { rules: vec![Rule::AppDown], ..Matcher::default() },
        reason: "test".into(),
        author: "ada".into(),
        starts_at: at(0),
        ends_at: at(100),
    };
    let mut counted = async |what: &str, counts: bool| {
        let now = version().await;
        assert_eq!(now > last, counts, "{what}");
        last = now;
    };
    counted("channels and their routes", true).await;
    assert!(db.store().insert_silence(&silence, 9, &by(), at(1)).await.unwrap());
    counted("a silence", true).await;
    assert!(db.store().end_silence(silence.id, &by(), at(2)).await.unwrap());
    counted("its end", true).await;
    db.execute("UPDATE alert_channel SET enabled = false").await;
    counted("a switch", true).await;
    db.execute("UPDATE alert_channel SET missed = 1").await;
    counted("what a channel has missed", false).await;
    db.execute("UPDATE alert_route SET digest_sent_at = now()").await;
    counted("a digest that was sent", false).await;
    db.execute("DELETE FROM alert_channel").await;
    counted("a channel that is gone", true).await;
    db.execute(
        "INSERT INTO alert_window (window_id, matcher, reason, author, created_at, weekdays, starts, ends, tz)
                VALUES (gen_random_uuid(), '{}', 'r', 'a', now(), '{t,t,t,t,t,t,t}', '01:00', '02:00', 'UTC')",
    )
    .await;
    counted("a window", true).await;
}

#[tokio::test]
async fn a_change_names_each_message_that_tells_it() {
    let db = TestDatabase::new().await;
    let mut routes = add_channels(&db, 2).await;
    routes[1].groups = vec!["north".into()];
    for number in 1..=2 {
        record(&db, number, number, open(), 0).await;
    }
    db.execute(&format!("UPDATE alert SET groups = '{{}}' WHERE alert_id = '{}'", uuid(1))).await;
    run(&db, &routes, 0).await;
    run(&db, &routes, 20).await;
    record(&db, 2, 2, clear(), 30).await;
    run(&db, &routes, 30).await;
    let decision = run(&db, &routes, 50).await;
    assert_eq!(decision.notifications.len(), 2, "it goes on for the first channel and ends for the second");
    let history = db.store().alert_history(alert(2), 9).await.unwrap();
    let id = |n: u32| NotificationId(uuid(5_000 + n));
    assert_eq!(history.last().map(|step| (step.notification, step.further.clone())), Some((Some(id(0)), vec![id(1)])));
    assert!(history[0].further.is_empty());
}
