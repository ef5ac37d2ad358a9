//! What people ask of alerts: pages by group and time, what was notified, how often a rule fired; and routes that they change.

use domain::alert::{AlertState, Rule, Severity, Subject};
use domain::audit::AuditAction;
use domain::notification::{DigestTime, Message, NotificationKind, Route};
use domain::{AlertId, ChannelId, NotificationId, RouteId};
use store::AlertQuery;
use test_database::TestDatabase;

use crate::alert_setup::{add_channels, route};
use crate::alerts::{alert, clear, open, record};
use crate::common::{at, device, entry, plan_of, strings, uuid};

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

#[tokio::test]
async fn alerts_of_a_later_build_are_no_end_of_the_list() {
    let db = TestDatabase::new().await;
    for number in 1..=7 {
        record(&db, number, number, open(), i64::from(number) * 10).await;
    }
    let unknown = [3, 4, 5, 6].map(|number| format!("'{}'", uuid(number))).join(", ");
    db.execute(&format!("UPDATE alert SET rule = 'x' WHERE alert_id IN ({unknown})")).await;
    let page = async |limit, after| -> Vec<AlertId> {
        let query = AlertQuery { after, ..AlertQuery::default() };
        db.store().alert_page(&query, limit).await.unwrap().into_iter().map(|alert| alert.id).collect()
    };
    assert_eq!(page(2, None).await, [alert(7), alert(2)]);
    assert_eq!(page(9, None).await, [alert(7), alert(2), alert(1)]);
    assert_eq!(page(1, Some((at(70), alert(7)))).await, [alert(2)]);
    assert!(page(2, Some((at(10), alert(1)))).await.is_empty());
}

#[tokio::test]
async fn open_alerts_are_counted_by_what_they_are_about() {
    use domain::alert::AlertGrouping::{Group, Subject as BySubject, Tag};
    let db = TestDatabase::new().await;
    for number in 1..=4 {
        record(&db, number, number, open(), i64::from(number) * 10).await;
    }
    record(&db, 4, 4, clear(), 50).await;
    db.execute(&format!(
        "UPDATE alert SET groups = '{{}}', tags = '{{till,berlin}}', severity = 'critical' WHERE alert_id = '{}'",
        uuid(1)
    ))
    .await;
    let counted = async |by, least, rule| -> Vec<(Option<String>, Severity, u64)> {
        let groups = db.store().open_alert_groups(by, AlertState::Firing, least, rule, 9).await.unwrap();
        groups.into_iter().map(|group| (group.key, group.severity, group.alerts)).collect()
    };
    let of = |name: &str, severity, alerts| (Some(name.to_owned()), severity, alerts);
    let without = |severity, alerts| (None, severity, alerts);
    let usual = Severity::Warning;
    assert_eq!(
        counted(Group, Severity::Info, None).await,
        [without(Severity::Critical, 1), of("north", usual, 2), of("süd \"1\"", usual, 2)]
    );
    let tags = counted(Tag, Severity::Critical, None).await;
    assert_eq!(tags, [of("berlin", Severity::Critical, 1), of("till", Severity::Critical, 1)]);
    assert_eq!(counted(BySubject, Severity::Info, None).await.len(), 3);
    assert!(counted(BySubject, Severity::Info, Some(Rule::AppDown)).await.is_empty());
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
    let all = AlertQuery::default;
    let open = || vec![AlertState::Firing, AlertState::Acknowledged];
    for (query, arguments, index) in [
        (AlertQuery { states: open(), ..all() }, "50", "alert_open_newest_idx"),
        (AlertQuery { states: open(), min_severity: Some(Severity::Critical), ..all() }, "'{critical}', 50", "alert_open_newest_idx"),
        (AlertQuery { rule: Some(Rule::AppDown), ..all() }, "'app_down', 50", "alert_rule_idx"),
        (AlertQuery { subject: Some(Subject::Device(device(7))), ..all() }, "'device', '7', 50", "alert_subject_idx"),
    ] {
        db.store().alert_page(&query, 50).await.unwrap();
        let plan = plan_of(&db, "SELECT alert_id, rule, subject_kind", arguments).await;
        assert!(plan.contains(index), "{query:?}: {plan}");
    }
    db.store().alerts_raised(at(0), at(3_600)).await.unwrap();
    let plan = plan_of(&db, "SELECT rule, date_trunc", "now() - interval '1 hour', now()").await;
    assert!(plan.contains("alert_newest_idx"), "{plan}");
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
    // at(0) is a full hour.
    let raised = async |from, until| db.store().alerts_raised(at(from), at(until)).await.unwrap();
    assert_eq!(raised(20, 3_600).await, [(Rule::DeviceOffline, at(0), 2)]);
    assert_eq!(raised(0, 30).await, [(Rule::DeviceOffline, at(0), 2)], "without those of the end");
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
        threads: vec![],
        headline: "till-1 is offline".into(),
        count: 1,
        alerts: vec![],
        event: None,
        report: None,
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
