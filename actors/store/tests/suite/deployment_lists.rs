//! Reads of deployments: pages, counters, earlier versions, removal.

use domain::deployment::{DeploymentQuery, TaskEnding, TaskQuery};
use std::collections::BTreeMap;

use domain::deployment::{DeploymentState, Reason, Stage, TaskReason, TaskState, TaskStatus};
use domain::flag::Flag;
use domain::shard::shard_of_deployment;
use domain::{ApkId, DeploymentId, Timestamp};
use test_database::TestDatabase;

use crate::common::{at, console, delete_devices, enroll_many, uuid};
use crate::deployment_rows::{PACKAGE, add_apk, deploy, deployment, insert, new_apk, new_deployment, report, start_tasks, with_canary};

async fn finish(db: &TestDatabase, id: DeploymentId, second: i64) {
    let finished = at(second);
    db.execute(&format!("UPDATE deployment SET state = 'finished', finished_at = '{finished}' WHERE deployment_id = '{id}'")).await;
}

#[tokio::test]
async fn pages_hold_every_deployment_once_newest_first() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    let (one, two) = (add_apk(&db, 1, 10).await, add_apk(&db, 2, 11).await);
    for (number, apk, second) in [(50, one, 5), (51, two, 5), (52, one, 3), (53, one, 9)] {
        insert(&db, &new_deployment(number, apk, &ids), second).await;
    }
    finish(&db, deployment(52), 20).await;
    let numbers = async |query: DeploymentQuery| {
        let rows = db.store().deployments(&query, None, 99).await.unwrap();
        rows.iter().map(|row| row.id.0.as_u128() as u32).collect::<Vec<_>>()
    };
    let all = DeploymentQuery::default;
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = db.store().deployments(&all(), after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.created_at, last.id));
        paged.extend(page.iter().map(|row| row.id.0.as_u128() as u32));
    }
    assert_eq!(paged, [53, 51, 50, 52]);
    assert_eq!(numbers(DeploymentQuery { state: Some(DeploymentState::Finished), ..all() }).await, [52]);
    assert_eq!(numbers(DeploymentQuery { apk: Some(two), ..all() }).await, [51]);
    assert_eq!(numbers(DeploymentQuery { package: Some(PACKAGE.into()), apk: Some(one), ..all() }).await, [53, 50, 52]);
    assert!(numbers(DeploymentQuery { package: Some("app".into()), ..all() }).await.is_empty());
    for (number, open) in [(53, true), (52, false)] {
        let of_shard = db.store().open_deployments(&[shard_of_deployment(deployment(number))]).await.unwrap();
        assert_eq!(of_shard.contains(&deployment(number)), open, "{number}");
    }
    assert!(db.store().open_deployments(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn counters_equal_the_tasks() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 6).await;
    let apk = add_apk(&db, 1, 10).await;
    db.store().set_flag(Flag::DeploymentsEnabled, true, &console(), at(0)).await.unwrap();
    let mut new = with_canary(new_deployment(50, apk, &ids));
    new.tasks[5].state = TaskState::Skipped;
    insert(&db, &new, 0).await;
    let id = deployment(50);
    start_tasks(&db, id, &[(ids[0], 101), (ids[1], 102), (ids[2], 103)]).await;
    report(&db, id, ids[0], TaskStatus::Succeeded).await;
    report(&db, id, ids[1], TaskStatus::Succeeded).await;
    let mut wanted: BTreeMap<(&str, bool), i64> = BTreeMap::new();
    for task in db.store().deployment_tasks(id, TaskQuery::default(), None, 99).await.unwrap() {
        *wanted.entry((task.state.as_str(), task.canary)).or_default() += 1;
    }
    let counts = db.store().task_counts(&[id, deployment(99)]).await.unwrap();
    assert_eq!(counts.iter().map(|count| ((count.state.as_str(), count.canary), count.tasks)).collect::<BTreeMap<_, _>>(), wanted);
    assert_eq!(wanted.len(), 5, "{wanted:?}");
    assert_eq!(db.store().recent_start_counts(&[id]).await.unwrap()[&id], 3);
    db.execute(&format!("UPDATE deployment_attempt SET started_at = now() - interval '61 s' WHERE device_id = '{}'", ids[0])).await;
    assert_eq!(db.store().recent_start_counts(&[id]).await.unwrap()[&id], 2);
}

#[tokio::test]
async fn pages_of_tasks_are_filtered_and_found_by_number() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 6).await;
    let apk = add_apk(&db, 1, 10).await;
    let mut new = new_deployment(50, apk, &ids);
    for index in [1, 3, 4] {
        new.tasks[index].state = TaskState::Skipped;
        new.tasks[index].reason = Some(if index == 3 { TaskReason::SdkTooOld } else { TaskReason::AlreadyInstalled }.into());
    }
    insert(&db, &new, 0).await;
    let id = new.id;
    let positions = async |query, after, limit| {
        let tasks = db.store().deployment_tasks(id, query, after, limit).await.unwrap();
        tasks.iter().map(|task| task.position).collect::<Vec<_>>()
    };
    let all = TaskQuery::default();
    let skipped = TaskQuery { state: Some(TaskState::Skipped), ..all };
    let installed = TaskQuery { reason: Some(Reason::Server(TaskReason::AlreadyInstalled)), ..all };
    let mut endings = db.store().task_endings(&[id, deployment(99)]).await.unwrap();
    endings.sort_by_key(|(_, ending)| ending.tasks);
    let ending = |reason: TaskReason, tasks| (id, TaskEnding { state: TaskState::Skipped, reason: Some(reason.into()), tasks });
    assert_eq!(endings, [ending(TaskReason::SdkTooOld, 1), ending(TaskReason::AlreadyInstalled, 2)]);
    assert_eq!(positions(all, Some(1), 3).await, [2, 3, 4]);
    assert_eq!(positions(skipped, None, 2).await, [1, 3]);
    assert_eq!(positions(skipped, Some(3), 2).await, [4]);
    assert_eq!(positions(installed, None, 9).await, [1, 4]);
    assert_eq!(positions(TaskQuery { device: Some(ids[5]), ..all }, None, 9).await, [5]);
    let task_at = async |query, skip| db.store().deployment_task_at(id, query, skip).await.unwrap();
    assert_eq!([task_at(all, 0).await, task_at(skipped, 1).await, task_at(skipped, 3).await], [(6, Some(0)), (3, Some(3)), (3, None)]);
}

#[tokio::test]
async fn a_task_keeps_the_alias_of_a_device_that_is_gone_for_good() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let apk = add_apk(&db, 1, 10).await;
    insert(&db, &new_deployment(50, apk, &ids), 0).await;
    delete_devices(&db, &ids[..1], at(1)).await;
    db.store().purge_devices(at(1), 9, at(2)).await.unwrap();
    let tasks = db.store().deployment_tasks(deployment(50), TaskQuery::default(), None, 9).await.unwrap();
    assert_eq!(tasks.iter().map(|task| task.alias.as_str()).collect::<Vec<_>>(), [format!("alias of {}", ids[0]).as_str(), "d2"]);
}

#[tokio::test]
async fn only_changed_tasks_are_read_again() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    let id = deploy(&db, 1, &ids).await;
    db.execute("UPDATE deployment_task SET changed_at = now() - interval '1 h'").await;
    let since: Timestamp = db.value("SELECT clock_timestamp()").await;
    start_tasks(&db, id, &[(ids[1], 101)]).await;
    let read = async |since: Option<Timestamp>| {
        let mut tasks = db.store().tasks_changed(id, since).await.unwrap();
        tasks.sort_by_key(|task| task.position);
        tasks
    };
    let changed = read(Some(since)).await;
    assert_eq!(
        changed.iter().map(|task| (task.position, task.task.state, task.task.attempts)).collect::<Vec<_>>(),
        [(1, TaskState::Sending, 1)]
    );
    assert_eq!(read(None).await.len(), 3);
    report(&db, id, ids[1], TaskStatus::InProgress(Stage::Accepted)).await;
    assert!(read(Some(since)).await[0].task.reported_at.is_some());
}

#[tokio::test]
async fn refused_commands_are_those_of_tasks_that_nobody_accepted() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    let id = deploy(&db, 1, &ids).await;
    start_tasks(&db, id, &[(ids[0], 101), (ids[1], 102), (ids[2], 103)]).await;
    report(&db, id, ids[1], TaskStatus::InProgress(Stage::Accepted)).await;
    db.execute(&format!("UPDATE command SET state = 'failed', outcome = 'failed', finished_at = now(), code = 'c', message = 'm' WHERE request_id IN ('{}', '{}')", uuid(101), uuid(102))).await;
    let refused = db.store().refused_commands(id).await.unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].device, refused[0].code.as_deref(), refused[0].message.as_deref()), (ids[0], Some("c"), Some("m")));
}

#[tokio::test]
async fn what_a_rollback_needs_is_read_from_the_tasks() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 5).await;
    let id = deploy(&db, 1, &ids).await;
    start_tasks(&db, id, &[(ids[0], 101), (ids[1], 102), (ids[2], 103), (ids[3], 104)]).await;
    for index in [3, 0] {
        report(&db, id, ids[index], TaskStatus::Succeeded).await;
    }
    report(&db, id, ids[1], TaskStatus::InProgress(Stage::Accepted)).await;
    assert_eq!(db.store().devices_installed_by(id).await.unwrap(), [ids[0], ids[1], ids[3]]);
    delete_devices(&db, &ids[1..2], at(1)).await;
    assert_eq!(db.store().devices_installed_by(id).await.unwrap(), [ids[0], ids[3]]);
    for (index, version) in [(0, 7), (1, 9), (2, 8), (3, 7)] {
        db.execute(&format!("UPDATE deployment_task SET version_before = {version} WHERE device_id = '{}'", ids[index])).await;
    }
    assert_eq!(db.store().versions_before(id).await.unwrap(), [7, 9, 8], "the most frequent first, then the newest");
    add_apk(&db, 2, 20).await;
    let mut rollback = new_apk(3, PACKAGE, 21);
    rollback.offer.rollback_of = Some(ApkId(uuid(1)));
    db.store().add_apk(&rollback, &console(), at(0)).await.unwrap();
    db.store().delete_apk(ApkId(uuid(2)), &console(), at(1)).await.unwrap();
    let mut candidates: Vec<_> =
        db.store().rollback_candidates(PACKAGE).await.unwrap().iter().map(|one| (one.id, one.version_code, one.rollback_of)).collect();
    candidates.sort();
    assert_eq!(candidates, [(ApkId(uuid(1)), 1, None), (ApkId(uuid(3)), 21, Some(ApkId(uuid(1))))]);
}

#[tokio::test]
async fn events_come_newest_first_in_pages() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    let id = deploy(&db, 1, &ids).await;
    for transition in [domain::deployment::DeploymentTransition::Pause, domain::deployment::DeploymentTransition::Resume] {
        db.store().transition_deployment(id, transition, &console(), at(1)).await.unwrap();
    }
    let all = db.store().deployment_events(id, None, 9).await.unwrap();
    assert_eq!(all.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["resumed", "paused", "created"]);
    assert_eq!(all[0].by_whom.as_deref(), Some("console"));
    assert_eq!(db.store().deployment_events(id, Some(all[0].id), 1).await.unwrap(), all[1..2]);
}

#[tokio::test]
async fn old_deployments_are_removed_with_their_rows_unless_one_is_being_taken_back() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    for (number, second) in [(1, 10), (2, 20), (3, 30)] {
        deploy(&db, number, &ids).await;
        finish(&db, deployment(number), second).await;
    }
    deploy(&db, 4, &ids).await;
    db.execute(&format!("UPDATE deployment SET rolls_back = '{}' WHERE deployment_id = '{}'", deployment(1), deployment(4))).await;
    let purge = async |second, limit| db.store().purge_deployments(at(second), limit).await.unwrap();
    let left = async || db.values::<String>("SELECT name FROM deployment ORDER BY name").await;
    assert_eq!(purge(20, 9).await, 0, "the first is being taken back; the second finished at that time");
    assert_eq!(purge(99, 1).await, 1, "the oldest");
    assert_eq!(left().await, ["deployment 1", "deployment 3", "deployment 4"]);
    finish(&db, deployment(4), 40).await;
    assert_eq!(purge(40, 9).await, 2);
    assert_eq!(left().await, ["deployment 4"]);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM deployment_task").await, 1);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM deployment_event").await, 1);
    assert!(db.store().deployment(deployment(4)).await.unwrap().unwrap().rolls_back.is_none());
}
