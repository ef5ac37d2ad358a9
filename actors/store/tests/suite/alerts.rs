//! Records of alerts: raised and resolved in the epoch of their shard, acknowledged by people.

use domain::alert::{
    AlertKey, AlertState, RecordChange, ResolveCause, Rule, Severity, Subject, SubjectKind, SubjectLabels, TransitionKind,
};
use domain::audit::AuditAction;
use domain::shard::{ShardId, ShardLease, shard_of};
use domain::{AlertId, DeviceId};
use store::{AlertChange, AlertQuery, ChangedAlert};
use test_database::TestDatabase;

use crate::common::{actions, at, device, entry, lease, next_epoch, strings, uuid};

pub(crate) fn alert(number: u32) -> AlertId {
    AlertId(uuid(number))
}

pub(crate) fn offline(id: DeviceId) -> AlertKey {
    AlertKey { rule: Rule::DeviceOffline, subject: Subject::Device(id) }
}

/// A change of the alert of this number about the device of the next.
pub(crate) fn change(lease: ShardLease, number: u32, of_device: u32, change: RecordChange, second: i64) -> AlertChange {
    let labels = SubjectLabels { name: format!("d{of_device}"), groups: strings(&["north", "süd \"1\""]), tags: vec![] };
    AlertChange { lease, id: alert(number), key: offline(device(of_device)), labels, change, at: at(second) }
}

pub(crate) fn open() -> RecordChange {
    RecordChange::Open { severity: Severity::Warning, reason: "no heartbeat for 12 min, limit 12 min".into() }
}

pub(crate) fn clear() -> RecordChange {
    RecordChange::Resolve(ResolveCause::Cleared)
}

/// Records one change in the present epoch of the device's shard.
pub(crate) async fn record(db: &TestDatabase, number: u32, of_device: u32, what: RecordChange, second: i64) -> ChangedAlert {
    let lease = lease(db, shard_of(device(of_device))).await;
    db.store().record_alerts(&[change(lease, number, of_device, what, second)]).await.unwrap()[0]
}

#[tokio::test]
async fn an_alert_is_raised_changed_and_resolved_with_its_history() {
    let db = TestDatabase::new().await;
    assert_eq!(record(&db, 1, 7, open(), 0).await, ChangedAlert::Changed);
    assert_eq!(record(&db, 1, 7, RecordChange::SetSeverity(Severity::Critical), 10).await, ChangedAlert::Changed);
    assert_eq!(record(&db, 1, 7, RecordChange::SetSeverity(Severity::Critical), 11).await, ChangedAlert::Nothing);
    let raised = db.store().alert(alert(1)).await.unwrap().unwrap();
    assert_eq!((raised.state, raised.severity, raised.revision), (AlertState::Firing, Severity::Critical, 2));
    assert_eq!((raised.labels.name.as_str(), raised.labels.groups.clone()), ("d7", strings(&["north", "süd \"1\""])));
    let by = entry(AuditAction::FlagSet);
    assert_eq!(db.store().acknowledge_alerts(&[alert(1), alert(9)], "ada", "on it", &by, at(20)).await.unwrap(), [alert(1)]);
    assert!(db.store().acknowledge_alerts(&[alert(1)], "bob", "", &by, at(21)).await.unwrap().is_empty(), "once");
    assert_eq!(actions(&db).await.len(), 1, "no entry without its action");
    assert_eq!(record(&db, 1, 7, clear(), 30).await, ChangedAlert::Changed);
    assert_eq!(record(&db, 1, 7, clear(), 31).await, ChangedAlert::Nothing);
    assert!(db.store().acknowledge_alerts(&[alert(1)], "ada", "", &by, at(32)).await.unwrap().is_empty(), "it is over");
    let resolved = db.store().alert(alert(1)).await.unwrap().unwrap();
    assert_eq!((resolved.state, resolved.resolved, resolved.revision), (AlertState::Resolved, Some((at(30), ResolveCause::Cleared)), 4));
    assert_eq!(resolved.acknowledged.map(|by| (by.by, by.note)), Some(("ada".into(), "on it".into())));
    let history = db.store().alert_history(alert(1), 10).await.unwrap();
    let kinds: Vec<_> = history.iter().map(|step| (step.revision, step.kind, step.at)).collect();
    use TransitionKind::{Acknowledged, Raised, Resolved, SeverityChanged};
    assert_eq!(kinds, [(1, Raised, at(0)), (2, SeverityChanged, at(10)), (3, Acknowledged, at(20)), (4, Resolved, at(30))]);
    assert_eq!((history[2].actor.as_deref(), history[2].detail.as_deref()), (Some("ada"), Some("on it")));
}

#[tokio::test]
async fn one_alert_of_a_rule_and_subject_is_open_at_a_time() {
    let db = TestDatabase::new().await;
    assert_eq!(record(&db, 1, 7, open(), 0).await, ChangedAlert::Changed);
    assert_eq!(record(&db, 2, 7, open(), 1).await, ChangedAlert::Nothing);
    assert_eq!(record(&db, 1, 7, open(), 1).await, ChangedAlert::Nothing, "given again, as after an answer that was lost");
    assert_eq!(record(&db, 3, 8, open(), 1).await, ChangedAlert::Changed);
    record(&db, 1, 7, clear(), 2).await;
    assert_eq!(record(&db, 4, 7, open(), 3).await, ChangedAlert::Changed);
    let lease = lease(&db, shard_of(device(9))).await;
    let twice = [change(lease, 5, 9, open(), 4), change(lease, 6, 9, open(), 4)];
    assert_eq!(db.store().record_alerts(&twice).await.unwrap(), [ChangedAlert::Changed, ChangedAlert::Nothing]);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM alert_transition").await, 5);
}

#[tokio::test]
async fn a_deposed_owner_records_nothing() {
    let db = TestDatabase::new().await;
    let shard = shard_of(device(7));
    let old = lease(&db, shard).await;
    record(&db, 1, 7, open(), 0).await;
    next_epoch(&db, shard).await;
    let other = lease(&db, shard_of(device(8))).await;
    assert_ne!(other.shard, shard);
    let changes = [change(old, 1, 7, clear(), 5), change(other, 2, 8, open(), 5)];
    assert_eq!(db.store().record_alerts(&changes).await.unwrap(), [ChangedAlert::NotOwner, ChangedAlert::Changed]);
    assert_eq!(db.store().alert(alert(1)).await.unwrap().unwrap().state, AlertState::Firing);
    let of_another = change(other, 1, 7, clear(), 5);
    assert_eq!(db.store().record_alerts(&[of_another]).await.unwrap(), [ChangedAlert::Nothing], "an owner, but not of this shard");
    assert_eq!(record(&db, 1, 7, clear(), 6).await, ChangedAlert::Changed, "the present owner");
}

#[tokio::test]
async fn owners_find_what_is_open_and_pages_what_they_ask_for() {
    let db = TestDatabase::new().await;
    for number in 1..=5 {
        record(&db, number, number, open(), i64::from(number)).await;
    }
    record(&db, 2, 2, clear(), 10).await;
    let mut open_ids = Vec::new();
    for shard in ShardId::all() {
        let first = db.store().open_alerts(&[shard], None, None, 1).await.unwrap();
        let after = first.first().map(|alert| alert.id);
        open_ids.extend(
            first
                .into_iter()
                .chain(db.store().open_alerts(&[shard], Some(SubjectKind::Device), after, 10).await.unwrap())
                .map(|open| (open.id, open.key)),
        );
    }
    open_ids.sort();
    open_ids.dedup();
    assert_eq!(open_ids, [1, 3, 4, 5].map(|number| (alert(number), offline(device(number)))));
    let page = async |query: AlertQuery, limit| -> Vec<AlertId> {
        db.store().alert_page(&query, limit).await.unwrap().into_iter().map(|alert| alert.id).collect()
    };
    let all = AlertQuery::default;
    assert_eq!(page(all(), 2).await, [alert(5), alert(4)]);
    assert_eq!(page(AlertQuery { after: Some((at(4), alert(4))), ..all() }, 9).await, [alert(3), alert(2), alert(1)]);
    assert_eq!(page(AlertQuery { states: vec![AlertState::Resolved], ..all() }, 9).await, [alert(2)]);
    assert_eq!(page(AlertQuery { subject: Some(Subject::Device(device(3))), ..all() }, 9).await, [alert(3)]);
    assert!(page(AlertQuery { rule: Some(Rule::LowBattery), ..all() }, 9).await.is_empty());
    assert!(page(AlertQuery { min_severity: Some(Severity::Critical), ..all() }, 9).await.is_empty());
    let counts = db.store().open_alert_counts().await.unwrap();
    assert_eq!(counts, [(Rule::DeviceOffline, Severity::Warning, AlertState::Firing, 4)]);
}

#[tokio::test]
async fn an_alert_whose_end_is_not_settled_is_not_purged() {
    let db = TestDatabase::new().await;
    for number in 1..=2 {
        record(&db, number, number, open(), 0).await;
        record(&db, number, number, clear(), 1).await;
    }
    record(&db, 3, 3, open(), 0).await;
    assert_eq!(db.store().purge_alerts(at(100), 10).await.unwrap(), 0);
    let settled =
        "UPDATE alert_transition SET taken_at = now(), settled_at = now() WHERE alert_id <> '00000000-0000-0000-0000-000000000002'";
    db.execute(settled).await;
    assert_eq!(db.store().purge_alerts(at(1), 10).await.unwrap(), 0, "not so old");
    assert_eq!(db.store().purge_alerts(at(100), 10).await.unwrap(), 1);
    assert!(db.store().alert_history(alert(1), 9).await.unwrap().is_empty());
    assert!(db.store().alert(alert(3)).await.unwrap().is_some(), "it is open");
}
