//! Subscriptions to events: each entry of the audit trail that one covers is queued once, in its order.

use domain::audit::AuditAction;
use domain::notification::{AuditedEvent, EventSubscription, NotificationKind};
use domain::{ChannelId, NotificationId, SubscriptionId};
use store::Subscribed;
use test_database::TestDatabase;

use crate::alert_setup::{add_channels, channel};
use crate::common::{at, entry, strings, uuid};

const HELD: chrono::TimeDelta = chrono::TimeDelta::seconds(60);

fn subscription(number: u32, to: u32, actions: &[&str]) -> EventSubscription {
    EventSubscription { id: SubscriptionId(uuid(number)), channel: ChannelId(uuid(to)), actions: strings(actions) }
}

async fn subscribe(db: &TestDatabase, subscription: &EventSubscription) -> bool {
    db.store().insert_event_subscription(subscription, 2, "ada", &entry(AuditAction::AlertRouteMade), at(0)).await.unwrap()
}

async fn subscribed(db: &TestDatabase, sending: bool) -> Vec<Subscribed> {
    db.store().event_subscriptions(sending, 2, 10).await.unwrap()
}

/// Records an act in the trail: a channel's change.
async fn act(db: &TestDatabase, action: AuditAction) {
    let kept = store::NewSecret::Kept;
    assert!(db.store().update_alert_channel(&channel(1), &kept, &entry(action), at(1)).await.unwrap());
}

fn numbered(events: Vec<AuditedEvent>, first: u32) -> Vec<(NotificationId, AuditedEvent)> {
    events.into_iter().zip(first..).map(|(event, number)| (NotificationId(uuid(number)), event)).collect()
}

#[tokio::test]
async fn what_is_recorded_after_it_is_queued_once_and_in_order() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    act(&db, AuditAction::DeviceEnrolled).await;
    assert!(subscribe(&db, &subscription(1, 1, &["device.*"])).await);
    assert!(!subscribe(&db, &subscription(2, 9, &["device.*"])).await, "no such channel");
    for action in [AuditAction::DeviceEnrolled, AuditAction::FlagSet, AuditAction::DeviceDeleted, AuditAction::DeviceRevoked] {
        act(&db, action).await;
    }
    let mut at_node = subscribed(&db, true).await.remove(0);
    let elsewhere = at_node.clone();
    let (events, seen) = db.store().subscribed_events(&at_node, 2).await.unwrap();
    let actions: Vec<_> = events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(actions, ["device.enrolled", "device.deleted"], "not what was before it, nor what it does not cover");
    assert!(db.store().queue_events(&at_node, &numbered(events.clone(), 10), seen, at(2)).await.unwrap());
    assert!(
        !db.store().queue_events(&elsewhere, &numbered(events, 20), seen, at(2)).await.unwrap(),
        "another node does not queue it again"
    );
    at_node.seq = seen;
    let (events, seen) = db.store().subscribed_events(&at_node, 2).await.unwrap();
    assert_eq!(events.iter().map(|event| event.action.as_str()).collect::<Vec<_>>(), ["device.revoked"]);
    assert!(subscribed(&db, true).await.is_empty(), "two messages wait: no further ones until they are sent");
    assert_eq!(subscribed(&db, false).await.len(), 1);
    assert!(db.store().queue_events(&at_node, &numbered(events, 30), seen, at(3)).await.unwrap());
    let claimed = db.store().claim_deliveries(10, 10, &[], HELD, at(4)).await.unwrap();
    let [first] = &*claimed else { panic!("one at a time, in order: {claimed:?}") };
    assert_eq!((first.notification, first.message.kind), (NotificationId(uuid(10)), NotificationKind::Event));
    let event = first.message.event.as_ref().unwrap();
    assert_eq!(
        (event.action.as_str(), event.actor_name.as_str(), first.message.headline.as_str()),
        ("device.enrolled", "root", "device.enrolled, by root")
    );
}

#[tokio::test]
async fn what_a_subscription_does_not_cover_is_passed_over() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    assert!(subscribe(&db, &subscription(1, 1, &["node.*"])).await);
    let mut one = subscribed(&db, true).await.remove(0);
    act(&db, AuditAction::FlagSet).await;
    let (events, seen) = db.store().subscribed_events(&one, 10).await.unwrap();
    assert!(events.is_empty() && seen > one.seq);
    assert!(db.store().queue_events(&one, &[], seen, at(2)).await.unwrap());
    one.seq = seen;
    assert_eq!(db.store().subscribed_events(&one, 10).await.unwrap(), (vec![], seen));
    let by = entry(AuditAction::AlertRouteRemoved);
    assert!(db.store().delete_event_subscription(one.subscription.id, &by, at(3)).await.unwrap());
    assert!(!db.store().delete_event_subscription(one.subscription.id, &by, at(3)).await.unwrap());
    assert!(subscribe(&db, &subscription(3, 1, &["*"])).await);
    db.store().delete_alert_channel(ChannelId(uuid(1)), &by, at(4)).await.unwrap();
    assert!(subscribed(&db, false).await.is_empty(), "it goes with its channel");
}

#[tokio::test]
async fn what_is_too_old_is_passed_over_and_counted() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    assert!(subscribe(&db, &subscription(1, 1, &["device.*"])).await);
    for action in [AuditAction::DeviceEnrolled, AuditAction::FlagSet, AuditAction::DeviceDeleted] {
        act(&db, action).await;
    }
    let before = subscribed(&db, true).await.remove(0);
    assert_eq!(db.store().pass_over_events(&before, at(-1)).await.unwrap(), Some(before.seq), "nothing is too old");
    let seen = db.store().pass_over_events(&before, at(1)).await.unwrap().unwrap();
    assert!(seen > before.seq);
    assert_eq!(db.store().pass_over_events(&before, at(1)).await.unwrap(), None, "another node has done so");
    let after = subscribed(&db, true).await.remove(0);
    assert_eq!((after.seq, db.store().subscribed_events(&after, 9).await.unwrap().0), (seen, vec![]));
    let missed = db.store().missed_messages(9).await.unwrap();
    assert_eq!(missed.iter().map(|one| (one.messages, one.since)).collect::<Vec<_>>(), [(2, at(1))]);
}
