//! Creation of deployments: tasks, idempotency keys, older deployments of the package, rollbacks.

use domain::audit::AuditAction;
use domain::deployment::TaskQuery;
use domain::deployment::{ConflictRule, Phase, Stage, TaskReason, TaskState, TaskStatus};
use domain::flag::{Flag, Flags};
use domain::shard::shard_of_deployment;
use store::{CreateOutcome, IdempotencyRecord, NewDeployment, Notification};
use test_database::TestDatabase;

use crate::commands::command;
use crate::common::{actions, at, console, enroll_many, entry, uuid};
use crate::deployment_rows::{
    PACKAGE, add_apk, attempts, commands, deploy, deployment, events, insert, new_deployment, report, run, start_tasks, states, task,
    with_canary,
};

#[tokio::test]
async fn a_deployment_is_stored_with_its_tasks_in_their_order() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    let apk = add_apk(&db, 1, 10).await;
    let mut new = with_canary(new_deployment(50, apk, &[ids[2], ids[0], ids[1]]));
    new.tasks[2].state = TaskState::Skipped;
    new.tasks[2].reason = Some(TaskReason::AlreadyInstalled.into());
    new.flags = Flags { deployments_enabled: true, kill_switch: false };
    let mut listener = db.store().listen().await.unwrap();
    assert_eq!(insert(&db, &new, 7).await, CreateOutcome::New(vec![]));
    assert_eq!(listener.next().await.unwrap(), Notification::Deployment(new.id.to_string()));
    let row = db.store().deployment(new.id).await.unwrap().unwrap();
    assert_eq!((row.devices, row.canary_size, row.phase, row.created_at), (3, 1, Phase::Canary, at(7)));
    assert_eq!((row.options, row.version_name.as_str(), row.min_sdk), (new.options, "v10", Some(26)));
    assert_eq!((row.target_sdk, row.native_abis), (None, domain::abi::AbiSet::of(["arm64-v8a", "x86"])));
    assert_eq!(db.value::<i32>("SELECT shard_id FROM deployment").await, i32::from(shard_of_deployment(new.id).0));
    let tasks = db.store().deployment_tasks(new.id, TaskQuery::default(), None, 9).await.unwrap();
    let notified: Vec<_> = tasks.iter().map(|task| (task.position, task.device_id, task.canary, task.state, task.finished_at)).collect();
    assert_eq!(
        notified,
        [
            (0, ids[2], true, TaskState::Queued, None),
            (1, ids[0], false, TaskState::Queued, None),
            (2, ids[1], false, TaskState::Skipped, Some(at(7))),
        ]
    );
    assert_eq!(events(&db, new.id).await, ["created"]);
    assert_eq!(actions(&db).await.last().unwrap(), "deployment.created");
}

#[tokio::test]
async fn without_a_canary_it_begins_with_the_rollout() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    deploy(&db, 1, &ids).await;
    assert_eq!(run(&db, deployment(1)).await, "running rollout");
}

#[tokio::test]
async fn the_same_call_again_makes_nothing() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    let apk = add_apk(&db, 1, 10).await;
    let call = async |number, body| {
        let key = IdempotencyRecord { owner: uuid(1), key: "k".into(), body_sha256: [body; 32] };
        let new = new_deployment(number, apk, &ids);
        db.store().insert_deployment(&new, Some(&key), &console(), &entry(AuditAction::DeploymentCreated), at(0)).await.unwrap()
    };
    let both = tokio::join!(call(50, 1), call(51, 1));
    let made = match both {
        (CreateOutcome::New(_), CreateOutcome::Existing(known)) => (deployment(50), known),
        (CreateOutcome::Existing(known), CreateOutcome::New(_)) => (deployment(51), known),
        other => panic!("{other:?}"),
    };
    assert_eq!(made.0, made.1);
    assert_eq!(call(52, 2).await, CreateOutcome::OtherBody);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM deployment").await, 1);
}

#[tokio::test]
async fn a_deleted_apk_is_not_deployed() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    let apk = add_apk(&db, 1, 10).await;
    db.store().delete_apk(apk, &console(), at(1)).await.unwrap();
    assert_eq!(insert(&db, &new_deployment(50, apk, &ids), 2).await, CreateOutcome::NoApk);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM deployment").await, 0);
}

/// An older deployment with a task that waits, one that is sending, one that is installing, and one that has reported success.
async fn older(db: &TestDatabase, ids: &[domain::DeviceId]) -> domain::DeploymentId {
    let old = deploy(db, 1, &ids[..4]).await;
    start_tasks(db, old, &[(ids[1], 101), (ids[2], 102), (ids[3], 103)]).await;
    for id in &ids[2..4] {
        report(db, old, *id, TaskStatus::InProgress(Stage::Accepted)).await;
    }
    report(db, old, ids[3], TaskStatus::Succeeded).await;
    assert_eq!(states(db, old).await, ["queued", "sending", "installing", "confirming"]);
    old
}

#[tokio::test]
async fn a_superseding_deployment_takes_the_devices_that_are_not_installing() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 5).await;
    let old = older(&db, &ids).await;
    let apk = add_apk(&db, 2, 11).await;
    let mut new = NewDeployment { conflict: ConflictRule::Supersede, ..new_deployment(50, apk, &ids) };
    // Nothing is to be done on this one: it loses nothing to it.
    new.tasks[0].state = TaskState::Skipped;
    assert_eq!(insert(&db, &new, 9).await, CreateOutcome::New(vec![(ids[1], command(101))]));
    assert_eq!(states(&db, old).await, ["queued", "canceled superseded", "installing", "confirming"]);
    assert_eq!(attempts(&db, old).await, ["superseded", "-", "succeeded"]);
    assert_eq!(commands(&db).await, ["canceled", "queued", "queued"]);
    assert_eq!(events(&db, old).await.last().unwrap(), "superseded");
    assert!(db.value::<bool>("SELECT params = params_shown FROM command WHERE state = 'canceled'").await, "its secret is gone");
}

#[tokio::test]
async fn a_waiting_deployment_and_one_of_another_package_take_nothing() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 4).await;
    let old = older(&db, &ids).await;
    let before = states(&db, old).await;
    let apk = add_apk(&db, 2, 11).await;
    assert_eq!(insert(&db, &new_deployment(50, apk, &ids), 9).await, CreateOutcome::New(vec![]));
    let other = NewDeployment { package: "app.b".into(), conflict: ConflictRule::Supersede, ..new_deployment(51, apk, &ids) };
    assert_eq!(insert(&db, &other, 9).await, CreateOutcome::New(vec![]));
    assert_eq!(states(&db, old).await, before);
}

#[tokio::test]
async fn what_another_deployment_has_first_is_known() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 5).await;
    older(&db, &ids).await;
    let apk = add_apk(&db, 2, 11).await;
    let mut new = new_deployment(50, apk, &ids[1..]);
    new.tasks.push(task(ids[0], false));
    insert(&db, &new, 9).await;
    let elsewhere = async |number| {
        let row = db.store().deployment(deployment(number)).await.unwrap().unwrap();
        let mut ids = db.store().targets_elsewhere(&row).await.unwrap();
        ids.sort();
        ids
    };
    assert_eq!(elsewhere(50).await, ids[..3], "it waits there, is sending, is installing; what has been reported is free");
    assert!(elsewhere(1).await.is_empty(), "the older one goes first");
    start_tasks(&db, deployment(50), &[(ids[4], 105)]).await;
    db.execute("UPDATE deployment_task SET state = 'canceled', finished_at = now() WHERE state <> 'sending'").await;
    assert!(elsewhere(50).await.is_empty(), "its own tasks wait no more");
}

#[tokio::test]
async fn a_rollback_cancels_what_it_takes_back_and_comes_alone() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 4).await;
    let old = older(&db, &ids).await;
    let apk = add_apk(&db, 2, 11).await;
    let back = |number| NewDeployment { rolls_back: Some(old), ..new_deployment(number, apk, &ids) };
    let (first, second) = (back(50), back(51));
    let both = tokio::join!(insert(&db, &first, 9), insert(&db, &second, 9));
    let (made, by) = match both {
        (CreateOutcome::New(taken), CreateOutcome::TakenBackAlready(by))
        | (CreateOutcome::TakenBackAlready(by), CreateOutcome::New(taken)) => {
            assert_eq!(taken, [(ids[1], command(101))]);
            (by, by)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(db.store().taken_back_by(old).await.unwrap(), Some(made));
    assert_eq!(states(&db, old).await, ["canceled canceled", "canceled canceled", "installing", "confirming"]);
    assert_eq!(run(&db, old).await, "canceled rollout");
    let notified = actions(&db).await;
    assert_eq!(notified[notified.len() - 2..], ["deployment.canceled", "deployment.created"]);
    // Once it has finished, it may be taken back again.
    db.execute(&format!("UPDATE deployment SET state = 'finished', finished_at = now() WHERE deployment_id = '{by}'")).await;
    assert_eq!(db.store().taken_back_by(old).await.unwrap(), None);
    assert_eq!(insert(&db, &back(52), 10).await, CreateOutcome::New(vec![]), "the old one is canceled already");
}

#[tokio::test]
async fn flags_of_the_moment_are_kept() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    deploy(&db, 1, &ids).await;
    db.store().set_flag(Flag::DeploymentsKillSwitch, true, &console(), at(5)).await.unwrap();
    let reading = db.store().read_deployment(deployment(1)).await.unwrap().unwrap();
    assert_eq!(reading.flags, Flags { deployments_enabled: true, kill_switch: true }, "those of now");
    assert_eq!(reading.row.flags, r#"{"deployments.enabled":false,"deployments.kill_switch":false}"#, "those of then");
    assert_eq!((reading.row.package.as_str(), reading.starts.len()), (PACKAGE, 0));
    db.store().set_flag(Flag::DeploymentsKillSwitch, false, &console(), at(6)).await.unwrap();
    start_tasks(&db, deployment(1), &[(ids[0], 101)]).await;
    let reading = db.store().read_deployment(deployment(1)).await.unwrap().unwrap();
    assert!(reading.starts.len() == 1 && reading.starts[0] <= reading.now);
    db.execute("UPDATE deployment_attempt SET started_at = started_at - interval '61 s'").await;
    assert!(db.store().read_deployment(deployment(1)).await.unwrap().unwrap().starts.is_empty(), "of the last minute");
    assert!(db.store().read_deployment(deployment(9)).await.unwrap().is_none());
}
