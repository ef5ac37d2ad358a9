//! The outbox: messages are tried by one sender at a time, again and again, until they are delivered or given up.

use chrono::TimeDelta;
use domain::alert::{Rule, Severity, Subject};
use domain::audit::AuditAction;
use domain::notification::{DeliveryStep, Message, NotificationKind, NotifiedAlert};
use domain::{ChannelId, NotificationId};
use store::{AttemptRecord, ClaimedDelivery};
use test_database::TestDatabase;

use crate::alert_setup::{add_channels, channel};
use crate::alerts::alert;
use crate::common::{at, device, entry, plan_of, strings, uuid};

const HELD: TimeDelta = TimeDelta::seconds(60);

fn message() -> Message {
    let one = NotifiedAlert {
        alert: alert(1),
        rule: Rule::DeviceOffline,
        subject: Subject::Device(device(1)),
        name: "till \"1\"".into(),
        groups: strings(&["north"]),
        severity: Severity::Warning,
        reason: "no heartbeat".into(),
        opened_at: at(0),
        resolved_at: Some(at(60)),
    };
    Message {
        kind: NotificationKind::Resolved,
        severity: Severity::Warning,
        thread: "device_offline-1".into(),
        begins_thread: false,
        ends_thread: true,
        threads: vec![],
        headline: "Resolved: 12 devices offline".into(),
        count: 12,
        alerts: vec![one.clone(), NotifiedAlert { resolved_at: None, rule: Rule::AppDown, ..one }],
        event: None,
        report: None,
    }
}

fn id(number: u32) -> NotificationId {
    NotificationId(uuid(number))
}

fn to(number: u32) -> ChannelId {
    ChannelId(uuid(number))
}

async fn queue(db: &TestDatabase, number: u32, channels: &[u32], second: i64) {
    let channels: Vec<_> = channels.iter().map(|number| to(*number)).collect();
    queue_in(db, &format!("device_offline-{number}"), number, &channels, second).await;
}

/// Queues a message of a thread.
async fn queue_in(db: &TestDatabase, thread: &str, number: u32, channels: &[ChannelId], second: i64) {
    let message = Message { thread: thread.to_owned(), ..message() };
    db.store().queue_message(id(number), &message, channels, at(second)).await.unwrap();
}

async fn claim(db: &TestDatabase, second: i64) -> Vec<ClaimedDelivery> {
    let mut claimed = db.store().claim_deliveries(10, 100, &[], HELD, at(second)).await.unwrap();
    claimed.sort_by_key(|delivery| (delivery.notification, delivery.channel));
    claimed
}

async fn end(db: &TestDatabase, delivery: &ClaimedDelivery, step: DeliveryStep, second: i64) -> bool {
    let ClaimedDelivery { notification, channel, attempt, .. } = *delivery;
    let record = AttemptRecord { notification, channel, attempt, step, answer: "503 busy".into(), at: at(second) };
    db.store().record_attempt(&record).await.unwrap()
}

#[tokio::test]
async fn a_message_is_sent_to_each_channel_as_it_was_queued() {
    let db = TestDatabase::new().await;
    add_channels(&db, 2).await;
    queue(&db, 1, &[1, 2, 9], 0).await;
    let claimed = claim(&db, 0).await;
    let channels: Vec<_> = claimed.iter().map(|delivery| (delivery.channel, delivery.attempt)).collect();
    assert_eq!(channels, [(to(1), 1), (to(2), 1)], "not to one that is gone");
    assert_eq!((&claimed[0].message, claimed[0].queued_at), (&Message { thread: "device_offline-1".into(), ..message() }, at(0)));
    assert!(claim(&db, 59).await.is_empty(), "one sender has them");
    assert!(end(&db, &claimed[0], DeliveryStep::Done, 1).await);
    assert!(!end(&db, &claimed[0], DeliveryStep::Done, 1).await, "once");
    assert_eq!(db.store().next_delivery_at().await.unwrap(), Some(at(60)));
    // The sender of the other dies: after a while another one takes it over, and the dead one's word does not count.
    let again = claim(&db, 60).await;
    assert_eq!((again.len(), again[0].channel, again[0].attempt), (1, to(2), 2));
    assert!(!end(&db, &claimed[1], DeliveryStep::Done, 61).await);
    assert!(end(&db, &again[0], DeliveryStep::RetryAt(at(90)), 61).await);
    assert!(claim(&db, 89).await.is_empty());
    assert_eq!(claim(&db, 90).await[0].attempt, 3);
}

#[tokio::test]
async fn a_claim_is_prolonged_by_its_sender_alone() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    queue(&db, 1, &[1], 0).await;
    let claimed = claim(&db, 0).await.remove(0);
    let hold = async |attempt, until| db.store().hold_delivery(claimed.notification, claimed.channel, attempt, at(until)).await.unwrap();
    assert!(hold(claimed.attempt, 90).await);
    assert!(claim(&db, 89).await.is_empty(), "longer than the claim was for");
    let again = claim(&db, 90).await.remove(0);
    assert!(!hold(claimed.attempt, 500).await, "another one has it");
    assert!(end(&db, &again, DeliveryStep::Done, 91).await);
    assert!(!hold(again.attempt, 500).await, "it is delivered");
}

#[tokio::test]
async fn a_channel_that_is_down_delays_no_other() {
    let db = TestDatabase::new().await;
    add_channels(&db, 2).await;
    for number in 1..=20 {
        queue(&db, number, &[1], i64::from(number)).await;
    }
    queue(&db, 21, &[2], 30).await;
    let claimed = db.store().claim_deliveries(5, 6, &[], HELD, at(100)).await.unwrap();
    let of = |channel| claimed.iter().filter(|delivery| delivery.channel == to(channel)).count();
    assert_eq!((of(1), of(2)), (5, 1));
    let spared = db.store().claim_deliveries(5, 6, &[to(1)], HELD, at(200)).await.unwrap();
    assert_eq!(spared.iter().map(|delivery| delivery.channel).collect::<Vec<_>>(), [to(2)], "one whose circuit breaker is open waits");
    let off = domain::notification::Channel { enabled: false, ..channel(1) };
    db.store().update_alert_channel(&off, &store::NewSecret::Kept, &entry(AuditAction::FlagSet), at(101)).await.unwrap();
    assert!(claim(&db, 102).await.is_empty(), "one that is off waits");
    let counts = db.store().outbox_counts(100).await.unwrap();
    assert_eq!((counts.queued, counts.oldest_queued_at), (1, Some(at(30))), "what waits for a channel that is off is not late");
}

#[tokio::test]
async fn a_resolve_does_not_overtake_its_raise() {
    let db = TestDatabase::new().await;
    add_channels(&db, 2).await;
    queue_in(&db, "app_down-1", 1, &[to(1)], 0).await;
    queue_in(&db, "app_down-1", 2, &[to(1), to(2)], 10).await;
    queue_in(&db, "storage_low-1", 3, &[to(1)], 20).await;
    let claimed = claim(&db, 20).await;
    let which: Vec<_> = claimed.iter().map(|delivery| (delivery.notification, delivery.channel)).collect();
    assert_eq!(which, [(id(1), to(1)), (id(2), to(2)), (id(3), to(1))], "other threads and channels do not wait");
    assert!(end(&db, &claimed[0], DeliveryStep::RetryAt(at(90)), 21).await);
    assert!(claim(&db, 30).await.is_empty(), "the raise is tried again first");
    let raise = claim(&db, 100).await.remove(0);
    assert_eq!(raise.notification, id(1));
    assert!(end(&db, &raise, DeliveryStep::DeadLetter, 101).await);
    assert_eq!(claim(&db, 101).await[0].notification, id(2), "what is given up holds up nothing");
    let counts = db.store().outbox_counts(10).await.unwrap();
    assert_eq!((counts.queued, counts.oldest_queued_at, counts.dead), (3, Some(at(10)), 1));
}

#[tokio::test]
async fn two_senders_share_the_work() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    for number in 1..=10 {
        queue(&db, number, &[1], 0).await;
    }
    let (other, store) = (db.another_store(2), db.store());
    let (one, two) = tokio::join!(store.claim_deliveries(10, 10, &[], HELD, at(1)), other.claim_deliveries(10, 10, &[], HELD, at(1)));
    let mut all: Vec<_> = one.unwrap().into_iter().chain(two.unwrap()).map(|delivery| delivery.notification).collect();
    all.sort();
    let before = all.len();
    all.dedup();
    assert_eq!((before, all.len()), (10, 10), "each once");
}

#[tokio::test]
async fn a_dead_letter_is_seen_and_can_be_sent_again() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    queue(&db, 1, &[1], 0).await;
    queue(&db, 2, &[1], 1).await;
    let claimed = claim(&db, 1).await;
    assert!(end(&db, &claimed[0], DeliveryStep::DeadLetter, 2).await);
    let dead = db.store().channel_deliveries(to(1), true, 9).await.unwrap();
    assert_eq!((dead.len(), dead[0].notification, dead[0].last_answer.as_deref()), (1, id(1), Some("503 busy")));
    assert_eq!(db.store().channel_deliveries(to(1), false, 9).await.unwrap().len(), 2);
    let by = entry(AuditAction::FlagSet);
    assert!(db.store().resend_delivery(id(1), to(1), &by, at(10)).await.unwrap());
    assert!(!db.store().resend_delivery(id(1), to(1), &by, at(10)).await.unwrap(), "it is queued");
    let again = claim(&db, 10).await;
    assert_eq!((again[0].notification, again[0].attempt, again[0].queued_at), (id(1), 2, at(10)), "a day begins anew");
    assert_eq!(db.store().purge_notifications(at(100), 9).await.unwrap(), 0, "both wait");
    assert!(end(&db, &again[0], DeliveryStep::Done, 11).await);
    assert_eq!(db.store().purge_notifications(at(100), 9).await.unwrap(), 1);
}

#[tokio::test]
async fn a_message_of_a_later_build_is_left_to_it_and_holds_up_no_other() {
    let db = TestDatabase::new().await;
    add_channels(&db, 2).await;
    queue_in(&db, "app_down-1", 1, &[to(1)], 0).await;
    queue_in(&db, "app_down-1", 2, &[to(1), to(2)], 10).await;
    db.execute(&format!("UPDATE notification SET kind = 'x' WHERE notification_id = '{}'", uuid(1))).await;
    let which: Vec<_> = claim(&db, 20).await.iter().map(|delivery| (delivery.notification, delivery.channel)).collect();
    assert_eq!(which, [(id(2), to(1)), (id(2), to(2))]);
    assert_eq!(
        db.value::<i32>(
            "SELECT sum(attempts)::integer FROM notification_delivery JOIN notification USING (notification_id) WHERE kind = 'x'"
        )
        .await,
        0
    );
}

#[tokio::test]
async fn dead_letters_of_a_channel_have_an_index_of_their_own() {
    let db = TestDatabase::new().await;
    add_channels(&db, 2).await;
    db.execute(&format!(
        "INSERT INTO notification (notification_id, kind, severity, thread, begins_thread, ends_thread, headline, alert_count, alerts, created_at)
         SELECT gen_random_uuid(), 'raised', 'info', 't', true, true, '', 0, '[]', now() FROM generate_series(1, 5000);
         INSERT INTO notification_delivery (notification_id, channel_id, state, attempts, queued_at, next_attempt_at, ended_at)
         SELECT notification_id, '{}'::uuid, 'delivered', 1, now(), now(), now() FROM notification
         UNION ALL SELECT notification_id, '{}'::uuid, 'dead', 1, now(), now(), now() FROM notification;
         ANALYZE notification_delivery",
        uuid(1),
        uuid(2)
    ))
    .await;
    db.store().channel_deliveries(to(1), true, 50).await.unwrap();
    let plan = plan_of(&db, "SELECT d.notification_id, n.headline", &format!("'{}', 50", uuid(1))).await;
    assert!(plan.contains("notification_delivery_dead_newest_idx"), "{plan}");
}
