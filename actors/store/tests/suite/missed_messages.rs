//! Messages that a channel has missed: too old to be sent, counted, and said once; and events of devices for subscriptions.

use chrono::TimeDelta;
use domain::audit::AuditAction;
use domain::notification::{AuditedEvent, Channel, EventSubscription, Message, NotificationKind};
use domain::{ChannelId, NotificationId, SubscriptionId};
use store::{ClaimedDelivery, EventTaker, Missed};
use test_database::TestDatabase;

use crate::alert_setup::{add_channels, channel};
use crate::common::{at, device, enroll, entry, strings, until_blocked, uuid};

const DAY: i64 = 86_400;

fn id(number: u32) -> NotificationId {
    NotificationId(uuid(number))
}

fn to(number: u32) -> ChannelId {
    ChannelId(uuid(number))
}

async fn queue(db: &TestDatabase, number: u32, channel: u32, second: i64) {
    let event = AuditedEvent::of_device((1, at(second), "rebooted".into(), device(1), None, None));
    let message = Message::of_event(SubscriptionId(uuid(number)), event);
    db.store().queue_message(id(number), &message, &[to(channel)], at(second)).await.unwrap();
}

async fn claim(db: &TestDatabase, second: i64) -> Vec<ClaimedDelivery> {
    db.store().claim_deliveries(10, 100, &[], TimeDelta::seconds(60), at(second)).await.unwrap()
}

async fn switch(db: &TestDatabase, enabled: bool) {
    let off = Channel { enabled, ..channel(1) };
    db.store().update_alert_channel(&off, &store::NewSecret::Kept, &entry(AuditAction::FlagSet), at(1)).await.unwrap();
}

async fn expire(db: &TestDatabase, second: i64) -> u64 {
    db.store().expire_deliveries(100, at(second)).await.unwrap()
}

async fn missed(db: &TestDatabase) -> Vec<Missed> {
    db.store().missed_messages(9).await.unwrap()
}

async fn dead(db: &TestDatabase, channel: u32) -> Vec<Option<String>> {
    let dead = db.store().channel_deliveries(to(channel), true, 9).await.unwrap();
    dead.into_iter().map(|one| one.last_answer).collect()
}

#[tokio::test]
async fn what_a_channel_was_off_for_is_not_sent_late_and_said_once() {
    let db = TestDatabase::new().await;
    add_channels(&db, 2).await;
    switch(&db, false).await;
    for number in 1..=3 {
        queue(&db, number, 1, i64::from(number) * 10).await;
    }
    queue(&db, 4, 1, 3 * DAY - 60).await;
    queue(&db, 5, 2, 3 * DAY - 60).await;
    assert_eq!(expire(&db, DAY - 100).await, 0);
    // It is on again before anybody looked: the old ones are not sent, whoever claims first.
    switch(&db, true).await;
    let claimed: Vec<_> = claim(&db, 3 * DAY).await.iter().map(|delivery| delivery.notification).collect();
    assert_eq!((claimed.len(), claimed.contains(&id(4)), claimed.contains(&id(5))), (2, true, true));
    assert_eq!(expire(&db, 3 * DAY).await, 3);
    assert_eq!(expire(&db, 3 * DAY).await, 0, "once");
    let reason = Some("not sent within 24 h: the channel was off or did not answer".to_owned());
    assert_eq!(dead(&db, 1).await, [reason.clone(), reason.clone(), reason]);
    assert_eq!(missed(&db).await, [Missed { channel: to(1), messages: 3, since: at(10) }]);
    switch(&db, false).await;
    assert!(missed(&db).await.is_empty(), "it is told once it is on");
    switch(&db, true).await;
    let said = missed(&db).await[0];
    assert!(db.store().queue_missed(&said, id(10), at(3 * DAY)).await.unwrap());
    assert!(!db.store().queue_missed(&said, id(11), at(3 * DAY)).await.unwrap(), "another node said so");
    assert!(missed(&db).await.is_empty());
    let summary = claim(&db, 3 * DAY + 1).await.remove(0);
    assert_eq!((summary.message.kind, summary.message.count), (NotificationKind::Missed, 3));
    assert!(
        summary.message.headline.starts_with("3 messages were left out for this channel since 2026-06-01 12:00 UTC"),
        "{}",
        summary.message.headline
    );
}

#[tokio::test]
async fn a_count_that_could_not_be_said_is_not_lost() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    queue(&db, 1, 1, 0).await;
    queue(&db, 2, 1, 10).await;
    assert_eq!(expire(&db, 2 * DAY).await, 2);
    assert!(db.store().queue_missed(&missed(&db).await[0], id(10), at(2 * DAY)).await.unwrap());
    queue(&db, 3, 1, 2 * DAY).await;
    assert_eq!(expire(&db, 4 * DAY).await, 2, "one that says so, and another");
    assert_eq!(missed(&db).await, [Missed { channel: to(1), messages: 3, since: at(2 * DAY) }]);
}

#[tokio::test]
async fn one_that_is_being_tried_is_left_to_its_sender() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    queue(&db, 1, 1, 0).await;
    assert_eq!(claim(&db, DAY - 10).await.len(), 1);
    assert_eq!(expire(&db, DAY + 10).await, 0);
    assert_eq!(expire(&db, DAY + 60).await, 1, "its sender died");
}

#[tokio::test]
async fn a_message_that_is_given_up_after_a_day_counts_and_one_that_is_refused_does_not() {
    use domain::notification::DeliveryStep;
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    for number in 1..=2 {
        queue(&db, number, 1, 0).await;
    }
    for (delivery, step) in claim(&db, 5).await.into_iter().zip([DeliveryStep::Expired, DeliveryStep::DeadLetter]) {
        let store::ClaimedDelivery { notification, channel, attempt, .. } = delivery;
        let record = store::AttemptRecord { notification, channel, attempt, step, answer: "503".into(), at: at(6) };
        assert!(db.store().record_attempt(&record).await.unwrap());
    }
    assert_eq!(missed(&db).await, [Missed { channel: to(1), messages: 1, since: at(0) }]);
    assert_eq!(dead(&db, 1).await.len(), 2);
}

#[tokio::test]
async fn the_note_of_an_expired_message_waits_for_whoever_deletes_its_channel() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    queue(&db, 1, 1, 0).await;
    let ClaimedDelivery { notification, channel, attempt, .. } = claim(&db, 5).await.remove(0);
    let step = domain::notification::DeliveryStep::Expired;
    let record = store::AttemptRecord { notification, channel, attempt, step, answer: "503".into(), at: at(6) };
    let mut deleting = db.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM alert_channel FOR UPDATE").execute(&mut *deleting).await.unwrap();
    let store = db.another_store(1);
    let note = tokio::spawn(async move { store.record_attempt(&record).await });
    until_blocked(&db, &note).await;
    // Its deliveries go with it: who had locked one of them before the channel would never get further.
    sqlx::query("DELETE FROM alert_channel").execute(&mut *deleting).await.unwrap();
    deleting.commit().await.unwrap();
    assert!(!note.await.unwrap().unwrap(), "there is nothing left to note");
}

fn subscription(number: u32, to_channel: u32, actions: &[&str]) -> EventSubscription {
    EventSubscription { id: SubscriptionId(uuid(number)), channel: to(to_channel), actions: strings(actions) }
}

async fn subscribe(db: &TestDatabase, subscription: &EventSubscription) {
    let by = entry(AuditAction::AlertRouteMade);
    assert!(db.store().insert_event_subscription(subscription, 9, "ada", &by, at(0)).await.unwrap());
}

async fn happens(db: &TestDatabase, kinds: &[&str]) {
    let kinds = kinds.join(",");
    db.execute(&format!(
        "INSERT INTO device_event (device_id, at, kind) SELECT '{}', '{}', kind FROM UNNEST('{{{kinds}}}'::text[]) WITH ORDINALITY AS k(kind, n) ORDER BY n",
        device(1),
        at(20)
    ))
    .await;
}

async fn take(db: &TestDatabase, takers: &[(&EventSubscription, usize)], first: u32) -> (usize, Vec<usize>) {
    take_since(db, takers, 0, first).await
}

async fn take_since(db: &TestDatabase, takers: &[(&EventSubscription, usize)], made: i64, first: u32) -> (usize, Vec<usize>) {
    let next = std::sync::atomic::AtomicU32::new(first);
    let taker = |(subscription, most): &(&EventSubscription, usize)| EventTaker {
        subscription: (*subscription).clone(),
        most: *most,
        since: at(made),
    };
    let takers: Vec<_> = takers.iter().map(taker).collect();
    let new_id = || id(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    db.store().take_device_events(&takers, 100, &new_id, at(30)).await.unwrap()
}

#[tokio::test]
async fn events_of_devices_reach_the_subscriptions_about_them_once_and_within_their_rate() {
    let db = TestDatabase::new().await;
    add_channels(&db, 2).await;
    enroll(&db, 1, "till-1").await;
    happens(&db, &["rebooted"]).await;
    let waiting = async || db.value::<i64>("SELECT count(*) FROM device_event_queue").await;
    subscribe(&db, &subscription(3, 1, &["*"])).await;
    happens(&db, &["rebooted"]).await;
    assert_eq!(waiting().await, 0, "nobody has subscribed to events of devices");
    let (apps, all) = (subscription(1, 1, &["device_event.app_down*"]), subscription(2, 2, &["device_event.*"]));
    subscribe(&db, &apps).await;
    happens(&db, &["rebooted", "app_down_began", "app_down_ended"]).await;
    assert_eq!(waiting().await, 2, "what nobody wants is not queued");
    subscribe(&db, &all).await;
    happens(&db, &["went_offline", "app_down_began"]).await;
    assert_eq!(waiting().await, 4);
    assert_eq!(take(&db, &[(&apps, 2), (&all, 60)], 100).await, (4, vec![2, 4]));
    assert_eq!(take(&db, &[(&apps, 60), (&all, 60)], 200).await, (0, vec![0, 0]), "once");
    assert_eq!(missed(&db).await, [Missed { channel: to(1), messages: 1, since: at(20) }], "beyond its rate");
    let first = claim(&db, 31).await;
    let said: Vec<_> = first.iter().map(|delivery| (delivery.channel, delivery.message.headline.as_str())).collect();
    assert!(said.contains(&(to(2), "device_event.app_down_began: till-1")), "{said:?}");
    db.execute("DELETE FROM event_subscription").await;
    happens(&db, &["rebooted"]).await;
    assert_eq!(waiting().await, 0);
}

#[tokio::test]
async fn events_from_before_a_subscription_are_not_for_it() {
    let db = TestDatabase::new().await;
    add_channels(&db, 2).await;
    enroll(&db, 1, "till-1").await;
    let (first, later) = (subscription(1, 1, &["device_event.*"]), subscription(2, 2, &["device_event.*"]));
    subscribe(&db, &first).await;
    happens(&db, &["rebooted"]).await;
    subscribe(&db, &later).await;
    assert_eq!(take_since(&db, &[(&later, 60)], 21, 100).await, (1, vec![0]), "it happened at 20");
    assert!(missed(&db).await.is_empty(), "nor is it missed");
    happens(&db, &["rebooted"]).await;
    assert_eq!(take_since(&db, &[(&first, 60), (&later, 60)], 20, 200).await, (1, vec![1, 1]));
}

#[tokio::test]
async fn events_that_a_full_queue_does_not_take_are_missed_by_the_channels_about_devices() {
    let db = TestDatabase::new().await;
    add_channels(&db, 2).await;
    enroll(&db, 1, "till-1").await;
    let (trail, all) = (subscription(1, 1, &["*"]), subscription(2, 2, &["device_event.*"]));
    subscribe(&db, &trail).await;
    subscribe(&db, &all).await;
    happens(&db, &["rebooted"]).await;
    // The queue is full by its oldest and newest number.
    db.execute("SELECT setval(pg_get_serial_sequence('device_event_queue', 'queue_id'), 60000)").await;
    happens(&db, &["rebooted"]).await;
    happens(&db, &["went_offline", "app_down_began"]).await;
    assert_eq!(take(&db, &[(&trail, 60), (&all, 60)], 100).await, (2, vec![0, 2]));
    assert_eq!(missed(&db).await, [Missed { channel: to(2), messages: 2, since: at(30) }]);
    assert_eq!(take(&db, &[(&trail, 60), (&all, 60)], 200).await, (0, vec![0, 0]));
    assert_eq!(missed(&db).await, [Missed { channel: to(2), messages: 2, since: at(30) }], "noted once");
}
