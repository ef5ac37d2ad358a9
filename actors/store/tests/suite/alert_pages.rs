//! What people ask of alerts: pages by group and time, what was notified, how often a rule fired; and routes that they change.

use domain::alert::{AlertState, Rule, Severity};
use domain::audit::AuditAction;
use domain::notification::{DigestTime, Message, NotificationKind, Route};
use domain::{AlertId, ChannelId, NotificationId, RouteId};
use store::AlertQuery;
use test_database::TestDatabase;

use crate::alert_setup::{add_channels, route};
use crate::alerts::{alert, clear, open, record};
use crate::common::{at, device, entry, strings, uuid};

#[tokio::test]
async fn alerts_are_found_by_group_and_time() {
    let db = TestDatabase::new().await;
    for number in 1..=4 {
        record(&db, number, number, open(), i64::from(number) * 10).await;
    }
    record(&db, 2, 2, clear(), 25).await;
    db.execute("UPDATE alert SET groups = '{south}' WHERE opened_at = (SELECT min(opened_at) FROM alert)").await;
    let page = async |query: AlertQuery| -> Vec<AlertId> {
        db.store().alert_page(&query, 9).await.unwrap().into_iter().map(|alert| alert.id).collect()
    };
    let all = AlertQuery::default;
    assert_eq!(page(AlertQuery { groups: strings(&["south", "x"]), ..all() }).await, [alert(1)]);
    assert_eq!(page(AlertQuery { groups: strings(&["north"]), ..all() }).await, [alert(4), alert(3), alert(2)]);
    assert_eq!(page(AlertQuery { since: Some(at(20)), until: Some(at(30)), ..all() }).await, [alert(3), alert(2)]);
    assert_eq!(page(AlertQuery { until: Some(at(30)), open_since: Some(at(26)), ..all() }).await, [alert(3), alert(1)]);
    assert_eq!(page(AlertQuery { until: Some(at(30)), open_since: Some(at(25)), ..all() }).await, [alert(3), alert(2), alert(1)]);
}

/// Pages read them every few seconds, beside any number of resolved ones.
#[tokio::test]
async fn lists_of_alerts_have_indexes_of_their_own() {
    let db = TestDatabase::new().await;
    db.execute(
        "INSERT INTO alert (alert_id, shard_id, rule, subject_kind, subject_id, subject_name, groups, tags, severity, state, reason, opened_at,
             resolved_at, resolve_cause, revision)
         SELECT gen_random_uuid(), 0, CASE WHEN n % 1000 = 0 THEN 'app_down' ELSE 'low_battery' END, 'device', (n % 1000)::text, '', '{}', '{}',
             'info', 'resolved', '', now() - n * interval '1 second', now(), 'cleared', 2
         FROM generate_series(1, 20000) AS n",
    )
    .await;
    db.execute("ANALYZE alert").await;
    let plan = async |conditions: &str| -> String {
        let sql =
            format!("EXPLAIN (COSTS off) SELECT alert_id FROM alert WHERE {conditions} ORDER BY opened_at DESC, alert_id DESC LIMIT 50");
        db.values::<String>(&sql).await.join("\n")
    };
    for (conditions, index) in [
        ("state <> 'resolved'", "alert_open_newest_idx"),
        ("state <> 'resolved' AND severity = ANY ('{critical}')", "alert_open_newest_idx"),
        ("true AND rule = 'app_down'", "alert_rule_idx"),
        ("true AND subject_kind = 'device' AND subject_id = '7'", "alert_subject_idx"),
    ] {
        let plan = plan(conditions).await;
        assert!(plan.contains(index), "{conditions}: {plan}");
    }
}

#[tokio::test]
async fn states_and_counts_are_those_of_the_records() {
    let db = TestDatabase::new().await;
    for number in 1..=3 {
        record(&db, number, number, open(), i64::from(number) * 10).await;
    }
    record(&db, 2, 2, clear(), 25).await;
    let mut states = db.store().alert_states(&[alert(1), alert(2), alert(9)]).await.unwrap();
    states.sort_by_key(|(id, _)| *id);
    assert_eq!(states, [(alert(1), AlertState::Firing), (alert(2), AlertState::Resolved)]);
    let mut alerted = db.store().devices_alerted(Rule::DeviceOffline, 9).await.unwrap();
    alerted.sort();
    assert_eq!(alerted, [device(1), device(3)]);
    assert!(db.store().devices_alerted(Rule::AppDown, 9).await.unwrap().is_empty());
    assert_eq!(db.store().alerts_raised(at(20)).await.unwrap(), [(Rule::DeviceOffline, 2)]);
    assert!(db.store().alert_notice(alert(1)).await.unwrap().is_none(), "no coordinator has taken it");
}

#[tokio::test]
async fn deliveries_of_messages_are_named_by_their_channels() {
    let db = TestDatabase::new().await;
    add_channels(&db, 2).await;
    let message = Message {
        kind: NotificationKind::Raised,
        severity: Severity::Warning,
        thread: "device_offline-1".into(),
        begins_thread: true,
        ends_thread: false,
        headline: "till-1 is offline".into(),
        count: 1,
        alerts: vec![],
        event: None,
    };
    let id = |number| NotificationId(uuid(number));
    let to = [1, 2].map(|number| ChannelId(uuid(number)));
    db.store().queue_message(id(1), &message, &to, at(1)).await.unwrap();
    db.store().queue_message(id(2), &message, &to[..1], at(2)).await.unwrap();
    let deliveries = db.store().message_deliveries(&[id(1)], 9).await.unwrap();
    let shown: Vec<_> = deliveries.iter().map(|(channel, name, delivery)| (*channel, name.as_str(), delivery.state.as_str())).collect();
    assert_eq!(shown, [(to[0], "channel 1", "queued"), (to[1], "channel 2", "queued")]);
    assert_eq!(db.store().message_deliveries(&[id(1), id(2)], 2).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_changed_route_is_read_as_it_was_given() {
    let db = TestDatabase::new().await;
    add_channels(&db, 2).await;
    let by = || entry(AuditAction::FlagSet);
    let digest = Some(DigestTime::parse("08:00", "UTC").unwrap());
    let changed =
        Route { channel: ChannelId(uuid(2)), min_severity: Severity::Critical, rules: vec![Rule::AppDown], digest, ..route(1, 2) };
    assert!(db.store().update_alert_route(&changed, &by(), at(50)).await.unwrap());
    assert!(db.store().alert_routes(true, 9).await.unwrap().contains(&changed));
    assert_eq!(db.store().digest_routes(9).await.unwrap(), [(changed.clone(), at(50))], "it has nothing to catch up with");
    let later = Route { min_severity: Severity::Info, ..changed.clone() };
    assert!(db.store().update_alert_route(&later, &by(), at(60)).await.unwrap());
    assert_eq!(db.store().digest_routes(9).await.unwrap(), [(later, at(50))], "the last digest is where it was");
    assert!(!db.store().update_alert_route(&Route { channel: ChannelId(uuid(9)), ..changed.clone() }, &by(), at(70)).await.unwrap());
    assert!(!db.store().update_alert_route(&Route { id: RouteId(uuid(9)), ..changed }, &by(), at(70)).await.unwrap());
}
