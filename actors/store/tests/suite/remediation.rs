//! Remediation: commands by plans, within their caps, and how they ended.

use domain::alert::{RemediationPlan, Remedy, Rule, TransitionKind};
use domain::audit::AuditAction;
use domain::flag::Flag;
use domain::shard::{ShardLease, shard_of_name};
use domain::{CommandId, DeviceId};
use store::{RemediationCommand, RemediationUse};
use test_database::TestDatabase;

use crate::alerts::{alert, clear, open, record};
use crate::common::{actions, at, console, device, enroll, entry, lease, next_epoch, uuid};

fn plan() -> RemediationPlan {
    RemediationPlan { enabled: true, at_once_max: 2, per_hour_max: 3, failures_max: 2, ..RemediationPlan::default_of(Rule::DeviceOffline) }
}

async fn put(db: &TestDatabase, plan: &RemediationPlan, group: Option<&str>) {
    db.store().put_remediation_plan(plan, group, None, "ada", &entry(AuditAction::RemediationSet), at(0)).await.unwrap();
}

async fn owner(db: &TestDatabase) -> ShardLease {
    lease(db, shard_of_name("alerts")).await
}

async fn send(db: &TestDatabase, number: u32, attempt: u32, second: i64) -> bool {
    let command = RemediationCommand {
        lease: owner(db).await,
        alert: alert(number),
        rule: Rule::DeviceOffline,
        group: None,
        device: device(number),
        attempt,
        remedy: Remedy::Ping,
        command: CommandId(uuid(1_000 * attempt + number)),
        params: "{}".into(),
        expires_at: at(second + 600),
        open_per_device_max: 10,
        now: at(second),
    };
    db.store().send_remedy(&command).await.unwrap()
}

async fn offline(db: &TestDatabase, count: u32) -> Vec<DeviceId> {
    let mut ids = Vec::new();
    for number in 1..=count {
        ids.push(enroll(db, number, &format!("d{number}")).await);
        record(db, number, number, open(), 0).await;
    }
    ids
}

async fn end_command(db: &TestDatabase, number: u32, attempt: u32, state: &str, second: i64) {
    let (id, when) = (uuid(1_000 * attempt + number), at(second));
    let outcome = if state == "succeeded" { "'success'" } else { "NULL" };
    db.execute(&format!("UPDATE command SET state = '{state}', outcome = {outcome}, finished_at = '{when}' WHERE request_id = '{id}'"))
        .await;
}

async fn ended(db: &TestDatabase, since: i64, second: i64) -> Vec<String> {
    let ended = db.store().end_remedies(owner(db).await, at(since), at(second), 10).await.unwrap();
    ended.into_iter().map(|(remedy, outcome)| format!("{remedy} {outcome}")).collect()
}

#[tokio::test]
async fn commands_are_sent_within_the_caps_and_stand_on_the_alert() {
    let db = TestDatabase::new().await;
    offline(&db, 4).await;
    assert!(!send(&db, 1, 1, 10).await, "no plan");
    put(&db, &RemediationPlan { enabled: false, ..plan() }, None).await;
    assert!(!send(&db, 1, 1, 10).await, "it is off");
    put(&db, &plan(), None).await;
    assert!(send(&db, 1, 1, 10).await);
    assert!(!send(&db, 1, 1, 11).await, "the same attempt again");
    assert!(send(&db, 2, 1, 12).await);
    assert!(!send(&db, 3, 1, 13).await, "two devices at once");
    let used = db.store().remediation_use(Rule::DeviceOffline, at(20)).await.unwrap();
    assert_eq!(used, RemediationUse { at_once: 2, in_last_hour: 2, oldest_at: Some(at(10)) });
    let made: Vec<String> = db.values("SELECT concat_ws(' ', action, created_by, state) FROM command ORDER BY request_id").await;
    assert_eq!(made, ["ping system:remediation queued"; 2]);
    let history = db.store().alert_history(alert(1), 10).await.unwrap();
    assert_eq!((history[1].kind, history[1].detail.as_deref()), (TransitionKind::Remediated, Some("ping sent, attempt 1")));
    assert_eq!(history[1].actor.as_deref(), Some("system:remediation"));
    assert!(actions(&db).await.contains(&"command.sent".to_owned()));
    // One comes back, so that another one may be woken; a fourth command within the hour is too many.
    record(&db, 1, 1, clear(), 30).await;
    assert_eq!(ended(&db, 0, 31).await, ["ping helped"]);
    assert!(send(&db, 3, 1, 40).await);
    record(&db, 3, 3, clear(), 50).await;
    assert_eq!(ended(&db, 0, 51).await, ["ping helped"]);
    assert!(!send(&db, 4, 1, 60).await, "three an hour");
    assert!(send(&db, 4, 1, 3_611).await, "the first was an hour ago");
    let candidates = db.store().remediation_candidates(&[Rule::DeviceOffline], None, 10).await.unwrap();
    assert_eq!(
        (candidates[0].severity.as_str(), candidates[0].labels.name.as_str(), candidates[0].labels.groups.len()),
        ("warning", "d2", 2)
    );
    let tried: Vec<_> = candidates.iter().map(|candidate| (candidate.alert, candidate.attempts, candidate.under_way)).collect();
    assert_eq!(tried, [(alert(2), 1, true), (alert(4), 1, true)]);
}

#[tokio::test]
async fn candidates_are_read_page_by_page_until_each_was_looked_at() {
    let db = TestDatabase::new().await;
    offline(&db, 5).await;
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = db.store().remediation_candidates(&[Rule::DeviceOffline], after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.opened_at, last.alert));
        seen.push(page.iter().map(|candidate| candidate.alert).collect::<Vec<_>>());
    }
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    let mut all = seen.concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5, "each once, though they were raised at the same time");
}

#[tokio::test]
async fn one_switch_stops_all_and_a_former_owner_sends_nothing() {
    let db = TestDatabase::new().await;
    offline(&db, 2).await;
    put(&db, &plan(), None).await;
    let store = db.store();
    store.set_flag(Flag::RemediationStop, true, &console(), at(5)).await.unwrap();
    assert!(store.remediation_stopped().await.unwrap() && !send(&db, 1, 1, 10).await);
    store.set_flag(Flag::RemediationStop, false, &console(), at(15)).await.unwrap();
    assert!(!store.remediation_stopped().await.unwrap() && send(&db, 1, 1, 20).await);
    let before = owner(&db).await;
    next_epoch(&db, before.shard).await;
    assert!(store.end_remedies(before, at(0), at(30), 10).await.unwrap().is_empty());
    let stored = store.remediation_plans(10).await.unwrap().remove(0);
    assert!(!store.turn_remediation_off(&stored, before, at(30)).await.unwrap());
}

#[tokio::test]
async fn what_keeps_failing_is_turned_off() {
    let db = TestDatabase::new().await;
    offline(&db, 2).await;
    put(&db, &plan(), None).await;
    assert!(send(&db, 1, 1, 10).await && send(&db, 2, 1, 10).await);
    assert!(ended(&db, 0, 11).await.is_empty(), "nothing is known yet");
    end_command(&db, 1, 1, "succeeded", 20).await;
    end_command(&db, 2, 1, "expired", 20).await;
    assert_eq!(ended(&db, 19, 21).await, ["ping command_failed"]);
    let store = db.store();
    let stored = async || store.remediation_plans(10).await.unwrap().remove(0);
    assert_eq!(stored().await.failures_in_a_row, 1);
    assert!(!store.turn_remediation_off(&stored().await, owner(&db).await, at(22)).await.unwrap(), "not often enough");
    assert_eq!(ended(&db, 20, 400).await, ["ping did_not_help"], "the device had time to come back");
    assert!(store.turn_remediation_off(&stored().await, owner(&db).await, at(401)).await.unwrap());
    let off = stored().await;
    assert_eq!((off.plan.enabled, off.turned_off_at, off.changed_by.as_str()), (false, Some(at(401)), "system:remediation"));
    assert!(actions(&db).await.contains(&"alert_remediation.turned_off".to_owned()));
    put(&db, &plan(), None).await;
    assert_eq!((stored().await.failures_in_a_row, stored().await.turned_off_at), (0, None), "somebody turned it on knowing that");
    let history = store.alert_history(alert(2), 10).await.unwrap();
    assert_eq!(history[2].detail.as_deref(), Some("ping, attempt 1: command failed"));
}

#[tokio::test]
async fn plans_are_kept_by_rule_and_group() {
    let db = TestDatabase::new().await;
    put(&db, &plan(), None).await;
    put(&db, &RemediationPlan { attempts_max: 7, ..plan() }, Some("North")).await;
    put(&db, &RemediationPlan { attempts_max: 8, ..plan() }, Some("north")).await;
    let plans = db.store().remediation_plans(10).await.unwrap();
    let shown: Vec<_> = plans.iter().map(|stored| (stored.group.as_deref(), stored.plan.attempts_max)).collect();
    assert_eq!(shown, [(None, 3), (Some("north"), 8)]);
    let gone = entry(AuditAction::RemediationRemoved);
    assert!(db.store().delete_remediation_plan(Rule::DeviceOffline, Some("NORTH"), &gone, at(9)).await.unwrap());
    assert!(!db.store().delete_remediation_plan(Rule::DeviceOffline, Some("north"), &gone, at(9)).await.unwrap());
    assert_eq!(db.store().remediation_plans(10).await.unwrap().len(), 1);
}
