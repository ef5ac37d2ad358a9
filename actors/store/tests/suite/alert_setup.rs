//! What people set up: thresholds, silences, maintenance windows, channels and routes.

use std::collections::BTreeMap;

use domain::alert::{AlertWindow, Matcher, Rule, RuleSetting, Severity, Silence, ThresholdScope};
use domain::audit::AuditAction;
use domain::notification::{Channel, ChannelKind, DigestTime, Message, NotificationKind, Route};
use domain::{AlertWindowId, ChannelId, NotificationId, RouteId, SilenceId};
use store::{Conflict, NewSecret, StoreError};
use test_database::TestDatabase;

use crate::common::{actions, at, device, entry, strings, uuid};

fn by() -> store::AuditEntry {
    entry(AuditAction::FlagSet)
}

pub(crate) fn channel(number: u32) -> Channel {
    Channel {
        id: ChannelId(uuid(number)),
        name: format!("channel {number}"),
        kind: ChannelKind::Discord,
        settings: BTreeMap::from([("host".to_owned(), "discord.com".to_owned())]),
        has_secret: true,
        enabled: true,
        changed_at: at(0),
    }
}

pub(crate) fn route(number: u32, to: u32) -> Route {
    Route {
        id: RouteId(uuid(number)),
        channel: ChannelId(uuid(to)),
        min_severity: Severity::Info,
        rules: vec![],
        groups: vec![],
        hours: None,
        level: 0,
        digest: None,
    }
}

/// Adds channels 1 to `count`, each with a route to it.
pub(crate) async fn add_channels(db: &TestDatabase, count: u32) -> Vec<Route> {
    for number in 1..=count {
        assert!(db.store().insert_alert_channel(&channel(number), Some(&[7; 28]), 9, "ada", &by(), at(0)).await.unwrap());
        assert!(db.store().insert_alert_route(&route(number, number), 9, "ada", &by(), at(0)).await.unwrap());
    }
    db.store().alert_routes(true, 100).await.unwrap()
}

#[tokio::test]
async fn a_setting_replaces_the_one_of_the_same_scope() {
    let db = TestDatabase::new().await;
    let setting = |scope, values: &[(&str, i64)]| RuleSetting {
        rule: Rule::LowBattery,
        scope,
        enabled: Some(true),
        severity: Some(Severity::Critical),
        values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
    };
    let put = async |setting: &RuleSetting| db.store().put_rule_setting(setting, "ada", &by(), at(0)).await.unwrap();
    put(&setting(ThresholdScope::Group("North".into()), &[("raise_below_pct", 30)])).await;
    let group = setting(ThresholdScope::Group("north".into()), &[("clear_at_pct", 40), ("raise_below_pct", 31)]);
    put(&group).await;
    let own = RuleSetting { enabled: None, severity: None, ..setting(ThresholdScope::Device(device(1)), &[]) };
    put(&own).await;
    put(&setting(ThresholdScope::Global, &[])).await;
    assert_eq!(db.store().rule_settings(10).await.unwrap(), [own, setting(ThresholdScope::Global, &[]), group]);
    let north = ThresholdScope::Group("NORTH".into());
    assert!(db.store().delete_rule_setting(Rule::LowBattery, &north, &by(), at(1)).await.unwrap());
    assert!(!db.store().delete_rule_setting(Rule::LowBattery, &north, &by(), at(1)).await.unwrap());
    assert_eq!(actions(&db).await.len(), 5, "an entry for each change, none for what changed nothing");
}

#[tokio::test]
async fn a_silence_ends_by_itself_or_by_a_person() {
    let db = TestDatabase::new().await;
    let silence = |number, ends| Silence {
        id: SilenceId(uuid(number)),
        matcher: Matcher { rules: vec![Rule::DeviceOffline], groups: strings(&["north"]), devices: vec![device(3)], ..Matcher::default() },
        reason: "move".into(),
        author: "ada".into(),
        starts_at: at(0),
        ends_at: at(ends),
    };
    let insert = async |silence: &Silence| db.store().insert_silence(silence, 2, &by(), at(0)).await.unwrap();
    assert!(insert(&silence(1, 100)).await && insert(&silence(2, 200)).await);
    assert!(!insert(&silence(3, 300)).await, "two are the limit");
    assert_eq!(db.store().silences(at(10), 9).await.unwrap(), [silence(1, 100), silence(2, 200)]);
    assert!(db.store().end_silence(SilenceId(uuid(2)), &by(), at(50)).await.unwrap());
    assert!(!db.store().end_silence(SilenceId(uuid(2)), &by(), at(51)).await.unwrap());
    assert_eq!(db.store().silences(at(50), 9).await.unwrap(), [silence(1, 100)]);
    assert_eq!(db.store().purge_silences(at(99), 9).await.unwrap(), 1);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM alert_silence").await, 1);
}

#[tokio::test]
async fn a_maintenance_window_is_read_as_it_was_stored() {
    let db = TestDatabase::new().await;
    let window = AlertWindow {
        id: AlertWindowId(uuid(1)),
        matcher: Matcher { severities: vec![Severity::Info], nodes: strings(&["n1"]), ..Matcher::default() },
        reason: "restart".into(),
        author: "ada".into(),
        weekdays: [true, false, false, false, false, false, true],
        hours: AlertWindow::parse_hours("22:00", "05:00", "Europe/Berlin").unwrap(),
        ends_at: Some(at(1_000)),
    };
    assert!(db.store().insert_alert_window(&window, 1, &by(), at(0)).await.unwrap());
    let second = AlertWindow { id: AlertWindowId(uuid(2)), ..window.clone() };
    assert!(!db.store().insert_alert_window(&second, 1, &by(), at(0)).await.unwrap());
    assert_eq!(db.store().alert_windows(9).await.unwrap(), [window]);
    assert!(db.store().delete_alert_window(AlertWindowId(uuid(1)), &by(), at(0)).await.unwrap());
    assert!(!db.store().delete_alert_window(AlertWindowId(uuid(1)), &by(), at(0)).await.unwrap());
}

#[tokio::test]
async fn a_channel_keeps_its_secret_sealed_and_its_name_to_itself() {
    let db = TestDatabase::new().await;
    let store = db.store();
    add_channels(&db, 1).await;
    let same_name = Channel { name: "CHANNEL 1".into(), ..channel(2) };
    let refused = store.insert_alert_channel(&same_name, None, 9, "ada", &by(), at(0)).await;
    assert!(matches!(refused, Err(StoreError::Conflict(Conflict::ChannelNameInUse))));
    assert!(!store.insert_alert_channel(&channel(3), None, 1, "ada", &by(), at(0)).await.unwrap(), "one is the limit");
    let stored = store.alert_channel(ChannelId(uuid(1))).await.unwrap().unwrap();
    assert_eq!((&stored.channel, stored.sealed_secret.as_deref()), (&channel(1), Some(&[7; 28][..])));
    assert!(!format!("{stored:?}").contains('7'), "{stored:?}");
    let renamed = Channel { name: "Ops".into(), enabled: false, changed_at: at(5), ..channel(1) };
    assert!(store.update_alert_channel(&renamed, &NewSecret::Kept, &by(), at(5)).await.unwrap());
    assert_eq!(store.alert_channels(9).await.unwrap(), std::slice::from_ref(&renamed));
    assert!(store.update_alert_channel(&renamed, &NewSecret::Sealed(vec![8; 30]), &by(), at(5)).await.unwrap());
    assert_eq!(store.alert_channel(renamed.id).await.unwrap().unwrap().sealed_secret, Some(vec![8; 30]));
    assert!(store.update_alert_channel(&renamed, &NewSecret::Removed, &by(), at(5)).await.unwrap());
    assert_eq!(store.alert_channel(renamed.id).await.unwrap().unwrap().sealed_secret, None);
    assert!(!store.update_alert_channel(&channel(9), &NewSecret::Kept, &by(), at(5)).await.unwrap());
    assert_eq!((store.alert_routes(true, 9).await.unwrap().len(), store.alert_routes(false, 9).await.unwrap().len()), (0, 1), "it is off");
    assert_eq!(store.alert_channel_ids(9).await.unwrap(), std::collections::BTreeSet::from([renamed.id]), "and exists");
    assert!(store.delete_alert_channel(renamed.id, &by(), at(6)).await.unwrap());
    assert!(store.alert_routes(false, 9).await.unwrap().is_empty(), "its route goes with it");
}

#[tokio::test]
async fn a_route_is_read_as_it_was_stored() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    let hours = AlertWindow::parse_hours("09:00", "17:00", "Europe/Berlin").unwrap();
    let whole = Route {
        min_severity: Severity::Critical,
        rules: vec![Rule::AppDown],
        groups: strings(&["north"]),
        hours: Some(hours),
        level: 2,
        ..route(2, 1)
    };
    let digest = Route { digest: Some(DigestTime::parse("08:00", "UTC").unwrap()), ..route(3, 1) };
    let insert = async |route: &Route, most, now| db.store().insert_alert_route(route, most, "ada", &by(), at(now)).await.unwrap();
    assert!(insert(&whole, 9, 1).await && insert(&digest, 9, 2).await);
    assert!(!insert(&route(4, 1), 3, 3).await, "three are the limit");
    assert!(!insert(&route(4, 8), 9, 3).await, "no such channel");
    assert_eq!(db.store().alert_routes(true, 9).await.unwrap(), [route(1, 1), whole, digest]);
    db.execute("UPDATE alert_route SET rules = '{rule_of_a_later_build}' WHERE cardinality(rules) > 0").await;
    assert_eq!(db.store().alert_routes(true, 9).await.unwrap().len(), 2, "not one for everything");
    assert!(db.store().delete_alert_route(RouteId(uuid(1)), &by(), at(4)).await.unwrap());
}

#[tokio::test]
async fn a_digest_is_sent_once_whoever_is_asked_to() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    let daily = Route { digest: Some(DigestTime::parse("08:00", "UTC").unwrap()), ..route(2, 1) };
    db.store().insert_alert_route(&daily, 9, "ada", &by(), at(5)).await.unwrap();
    assert_eq!(db.store().digest_routes(9).await.unwrap(), [(daily.clone(), at(5))]);
    let message = Message {
        kind: NotificationKind::Digest,
        severity: Severity::Info,
        thread: "digest".into(),
        begins_thread: true,
        ends_thread: false,
        threads: vec![],
        headline: "No alerts since the last digest".into(),
        count: 0,
        alerts: vec![],
        event: None,
        report: None,
    };
    let send = async |id| db.store().queue_digest(&daily, at(5), NotificationId(uuid(id)), &message, at(100)).await.unwrap();
    let (one, two) = tokio::join!(send(1), send(2));
    assert_eq!([one, two, send(3).await].iter().filter(|sent| **sent).count(), 1, "one of all");
    assert_eq!(db.store().digest_routes(9).await.unwrap()[0].1, at(100));
    assert_eq!(db.value::<i64>("SELECT count(*) FROM notification_delivery").await, 1);
}
