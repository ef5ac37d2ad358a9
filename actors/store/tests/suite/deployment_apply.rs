//! Plans of the owner of a deployment.

use domain::deployment::TaskQuery;
use domain::deployment::{DeploymentChange, ErrorCode, PauseReason, Reason, Stage, TaskChange, TaskReason, TaskState, TaskStatus};
use domain::flag::Flag;
use domain::shard::shard_of_deployment;
use store::{Applied, ApplyPlan, ChangedTask, Notification};
use test_database::TestDatabase;

use crate::commands::command;
use crate::common::{actions_after, at, console, delete_devices, enroll_many, next_epoch};
use crate::deployment_rows::{
    add_apk, apply, attempts, changed, commands, deploy, deployment, events, insert, new_deployment, plan, report, run, start, start_tasks,
    states, with_canary,
};

#[tokio::test]
async fn a_deposed_owner_changes_nothing() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let id = deploy(&db, 1, &ids).await;
    let wait = changed(ids[1], TaskState::Queued, 0, TaskChange::Wait(TaskState::Throttled, TaskReason::Rate.into()));
    let old = ApplyPlan {
        starts: vec![start(ids[0], 101, 1)],
        changes: vec![wait],
        deployment: Some(DeploymentChange::Pause(PauseReason::FailureRate)),
        ..plan(&db, id).await
    };
    next_epoch(&db, shard_of_deployment(id)).await;
    assert_eq!(db.store().apply_plan(&old).await.unwrap(), None);
    assert_eq!((states(&db, id).await, run(&db, id).await.as_str()), (vec!["queued".into(), "queued".into()], "running rollout"));
    assert!(commands(&db).await.is_empty());
    let present = ApplyPlan { lease: plan(&db, id).await.lease, ..old };
    assert_eq!(apply(&db, &present).await.started, [ids[0]]);
    assert_eq!(
        (states(&db, id).await, run(&db, id).await.as_str()),
        (vec!["sending".into(), "throttled rate".into()], "paused rollout failure_rate")
    );
}

#[tokio::test]
async fn a_start_makes_an_attempt_and_a_command() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    let id = deploy(&db, 1, &ids).await;
    let mut listener = db.store().listen().await.unwrap();
    start_tasks(&db, id, &[(ids[0], 101)]).await;
    assert_eq!(listener.next().await.unwrap(), Notification::DeploymentCommands(id.to_string()));
    let task = db.store().deployment_tasks(id, TaskQuery::default(), None, 1).await.unwrap().remove(0);
    assert_eq!((task.state, task.attempts, task.version_before), (TaskState::Sending, 1, Some(5)));
    let row = db.store().command(command(101)).await.unwrap().unwrap();
    assert_eq!((row.action.as_str(), row.params.as_str(), row.created_by.as_str()), ("deploy_apk", r#"{"url":"..."}"#, "server"));
    assert_eq!(attempts(&db, id).await, ["-"]);
    // Given again, as after an answer that was lost.
    let again = apply(&db, &ApplyPlan { starts: vec![start(ids[0], 102, 1)], ..plan(&db, id).await }).await;
    assert_eq!((again.started.len(), commands(&db).await.len()), (0, 1));
}

#[tokio::test]
async fn no_more_start_than_slots_are_free() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 5).await;
    let id = deploy(&db, 1, &ids).await;
    start_tasks(&db, id, &[(ids[0], 101)]).await;
    report(&db, id, ids[0], TaskStatus::InProgress(Stage::Accepted)).await;
    let starts: Vec<_> = [4, 2, 3].into_iter().map(|index| start(ids[index], 110 + index as u32, 1)).collect();
    let mut started = apply(&db, &ApplyPlan { starts: starts.clone(), concurrency: 3, ..plan(&db, id).await }).await.started;
    started.sort();
    assert_eq!(started, [ids[2], ids[4]], "the most urgent, beside the one that is installing");
    assert!(apply(&db, &ApplyPlan { starts, concurrency: 3, ..plan(&db, id).await }).await.started.is_empty());
    assert_eq!(states(&db, id).await, ["installing", "queued", "sending", "queued", "sending"]);
}

#[tokio::test]
async fn nothing_starts_while_deployments_are_blocked_or_this_one_is_paused() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    let id = deploy(&db, 1, &ids).await;
    let try_start = async || apply(&db, &ApplyPlan { starts: vec![start(ids[0], 101, 1)], ..plan(&db, id).await }).await.started.len();
    let set = async |flag, on| db.store().set_flag(flag, on, &console(), at(0)).await.unwrap();
    set(Flag::DeploymentsKillSwitch, true).await;
    assert_eq!(try_start().await, 0);
    set(Flag::DeploymentsKillSwitch, false).await;
    set(Flag::DeploymentsEnabled, false).await;
    assert_eq!(try_start().await, 0);
    set(Flag::DeploymentsEnabled, true).await;
    apply(&db, &ApplyPlan { deployment: Some(DeploymentChange::Pause(PauseReason::CanaryFailed)), ..plan(&db, id).await }).await;
    assert_eq!(try_start().await, 0);
    db.store().transition_deployment(id, domain::deployment::DeploymentTransition::Resume, &console(), at(0)).await.unwrap();
    assert_eq!(try_start().await, 1);
}

#[tokio::test]
async fn a_device_installs_a_package_for_one_deployment_at_a_time() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let first = deploy(&db, 1, &ids).await;
    let second = deploy(&db, 2, &ids).await;
    start_tasks(&db, first, &[(ids[0], 101)]).await;
    let starts = vec![start(ids[0], 201, 1), start(ids[1], 202, 1)];
    assert_eq!(apply(&db, &ApplyPlan { starts, ..plan(&db, second).await }).await.started, [ids[1]]);
    assert_eq!(commands(&db).await.len(), 2, "no command without its task");
}

#[tokio::test]
async fn a_deleted_device_is_started_without_a_command() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let id = deploy(&db, 1, &ids).await;
    delete_devices(&db, &ids[..1], at(1)).await;
    assert_eq!(db.store().gone_targets(id).await.unwrap(), ids[..1]);
    start_tasks(&db, id, &[(ids[0], 101), (ids[1], 102)]).await;
    assert!(db.store().command(command(101)).await.unwrap().is_none());
    let gone = changed(ids[0], TaskState::Sending, 1, TaskChange::Finish(TaskState::Canceled, TaskReason::DeviceDeleted.into()));
    let finished = vec![(TaskState::Canceled, TaskReason::DeviceDeleted.into())];
    let applied = apply(&db, &ApplyPlan { changes: vec![gone], ..plan(&db, id).await }).await;
    assert_eq!(applied, Applied { finished, ..Applied::default() });
    assert!(db.store().gone_targets(id).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_reported_success_holds_no_slot_and_is_confirmed_or_taken_back() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 5).await;
    let id = deploy(&db, 1, &ids).await;
    start_tasks(&db, id, &[(ids[0], 101), (ids[1], 102), (ids[2], 103)]).await;
    for device in &ids[..3] {
        report(&db, id, *device, TaskStatus::Succeeded).await;
    }
    assert_eq!(attempts(&db, id).await, ["succeeded"; 3]);
    let starts = vec![start(ids[3], 104, 1)];
    assert_eq!(apply(&db, &ApplyPlan { starts, concurrency: 1, ..plan(&db, id).await }).await.started, [ids[3]]);
    // Nothing is over before the heartbeats: neither the tasks, nor their deployment, whoever reads them next.
    let finish = async || apply(&db, &ApplyPlan { deployment: Some(DeploymentChange::Finish), ..plan(&db, id).await }).await;
    let over = |reason: TaskReason| TaskChange::Finish(TaskState::Skipped, reason.into());
    let rest = vec![
        changed(ids[3], TaskState::Sending, 1, over(TaskReason::DeviceDeleted)),
        changed(ids[4], TaskState::Queued, 0, over(TaskReason::Deadline)),
    ];
    apply(&db, &ApplyPlan { changes: rest, ..plan(&db, id).await }).await;
    finish().await;
    assert_eq!(run(&db, id).await, "running rollout");
    let read = db.store().tasks_changed(id, None).await.unwrap();
    let confirming = read.iter().filter(|read| read.task.state == TaskState::Confirming && read.task.reported_at.is_some());
    assert_eq!(confirming.count(), 3);

    let failed = |code: ErrorCode| TaskChange::Finish(TaskState::Failed, code.into());
    let notified =
        |changed: ChangedTask| ChangedTask { detail: Some("heartbeat shows version code 1, 10 was installed".into()), ..changed };
    let changes = vec![
        changed(ids[0], TaskState::Confirming, 1, TaskChange::Finish(TaskState::Succeeded, TaskReason::Confirmed.into())),
        notified(changed(ids[1], TaskState::Confirming, 1, failed(ErrorCode::Reverted))),
        changed(ids[2], TaskState::Confirming, 1, failed(ErrorCode::Unconfirmed)),
    ];
    let applied = apply(&db, &ApplyPlan { changes, ..plan(&db, id).await }).await;
    let ends: [(TaskState, Reason); 3] = [
        (TaskState::Succeeded, TaskReason::Confirmed.into()),
        (TaskState::Failed, ErrorCode::Reverted.into()),
        (TaskState::Failed, ErrorCode::Unconfirmed.into()),
    ];
    let mut finished = applied.finished.clone();
    finished.sort_by_key(|(_, reason)| Reason::as_str(*reason));
    assert_eq!(finished, ends);
    // What a heartbeat had confirmed is taken back by the next one.
    let again = notified(changed(ids[0], TaskState::Succeeded, 1, failed(ErrorCode::Reverted)));
    apply(&db, &ApplyPlan { changes: vec![again], ..plan(&db, id).await }).await;
    let wanted = ["failed reverted", "failed reverted", "failed unconfirmed", "skipped device_deleted", "skipped deadline"];
    assert_eq!(states(&db, id).await, wanted);
    let tasks = db.store().deployment_tasks(id, TaskQuery::default(), None, 9).await.unwrap();
    let notified = (tasks[1].error.as_deref(), tasks[1].detail.as_deref());
    assert_eq!(notified, (Some("reverted"), Some("heartbeat shows version code 1, 10 was installed")));
    assert_eq!(attempts(&db, id).await, ["failed", "failed", "failed", "taken_back"]);
    assert_eq!(events(&db, id).await, ["created", "task_reverted", "task_failed", "task_reverted"]);
    finish().await;
    assert_eq!(run(&db, id).await, "finished rollout");
}

#[tokio::test]
async fn changes_of_all_kinds_each_get_their_own_values() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 6).await;
    let id = deploy(&db, 1, &ids).await;
    start_tasks(&db, id, &[(ids[1], 101), (ids[2], 102), (ids[3], 103), (ids[4], 104)]).await;
    report(&db, id, ids[4], TaskStatus::InProgress(Stage::Downloading)).await;
    let refused = Reason::Device(ErrorCode::NotPermitted);
    let changes = vec![
        changed(ids[5], TaskState::Queued, 0, TaskChange::Finish(TaskState::Skipped, TaskReason::Deadline.into())),
        changed(ids[0], TaskState::Queued, 0, TaskChange::Wait(TaskState::WaitingWindow, ErrorCode::OutsideWindow.into())),
        changed(ids[1], TaskState::Sending, 1, TaskChange::Retry(TaskReason::NoAnswer.into(), Some(at(900)))),
        changed(ids[2], TaskState::Sending, 1, TaskChange::Retry(TaskReason::Offline.into(), None)),
        ChangedTask {
            message: Some("not allowed".into()),
            ..changed(ids[3], TaskState::Sending, 1, TaskChange::Finish(TaskState::Failed, refused))
        },
        changed(ids[4], TaskState::Installing, 1, TaskChange::Finish(TaskState::Succeeded, TaskReason::SeenInHeartbeat.into())),
    ];
    let mut applied = apply(&db, &ApplyPlan { changes, ..plan(&db, id).await }).await;
    applied.taken_back.sort();
    assert_eq!(applied.taken_back, [(ids[1], command(101)), (ids[2], command(102)), (ids[3], command(103))]);
    let wanted = [
        "waiting_window outside_window",
        "queued no_answer",
        "queued offline",
        "failed not_permitted",
        "succeeded seen_in_heartbeat",
        "skipped deadline",
    ];
    assert_eq!(states(&db, id).await, wanted);
    let tasks = db.store().deployment_tasks(id, TaskQuery::default(), None, 9).await.unwrap();
    let notified: Vec<_> = tasks.iter().map(|task| (task.error.as_deref(), task.not_before, task.finished_at)).collect();
    assert_eq!(
        notified,
        [
            (None, None, None),
            (Some("timeout"), Some(at(900)), None),
            (None, None, None),
            (Some("not_permitted"), None, Some(at(500))),
            (None, None, Some(at(500))),
            (None, None, Some(at(500))),
        ]
    );
    assert_eq!((tasks[3].message.as_deref(), tasks[4].stage), (Some("not allowed"), None));
    assert_eq!(attempts(&db, id).await, ["taken_back", "taken_back", "failed", "succeeded"]);
    assert_eq!(commands(&db).await, ["canceled", "canceled", "canceled", "queued"], "what was accepted is not taken back");
    assert_eq!(events(&db, id).await, ["created", "task_failed"]);
}

#[tokio::test]
async fn a_task_that_has_changed_meanwhile_is_left_alone() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    let id = deploy(&db, 1, &ids).await;
    start_tasks(&db, id, &[(ids[0], 101), (ids[1], 102)]).await;
    report(&db, id, ids[0], TaskStatus::InProgress(Stage::Accepted)).await;
    let gave_up = TaskChange::Retry(TaskReason::NoAnswer.into(), Some(at(900)));
    let changes = vec![
        // Accepted just then.
        changed(ids[0], TaskState::Sending, 1, gave_up),
        // Of an attempt that is over.
        changed(ids[1], TaskState::Sending, 0, gave_up),
        changed(ids[2], TaskState::Queued, 0, TaskChange::Wait(TaskState::Queued, TaskReason::Offline.into())),
    ];
    let starts = vec![start(ids[2], 103, 1)];
    // Two slots: the plan thought that both would be free.
    let applied = apply(&db, &ApplyPlan { changes, starts, concurrency: 2, ..plan(&db, id).await }).await;
    assert_eq!(applied, Applied::default());
    assert_eq!(states(&db, id).await, ["installing", "sending", "queued offline"]);
    assert_eq!(attempts(&db, id).await, ["-", "-"]);
}

#[tokio::test]
async fn a_deployment_finishes_when_no_task_is_open() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let id = deploy(&db, 1, &ids).await;
    let finish = async || apply(&db, &ApplyPlan { deployment: Some(DeploymentChange::Finish), ..plan(&db, id).await }).await;
    let skip =
        |index: usize| changed(ids[index], TaskState::Queued, 0, TaskChange::Finish(TaskState::Skipped, TaskReason::Deadline.into()));
    apply(&db, &ApplyPlan { changes: vec![skip(0)], ..plan(&db, id).await }).await;
    finish().await;
    assert_eq!(run(&db, id).await, "running rollout");
    let before = db.store().audit_head().await.unwrap().seq;
    apply(&db, &ApplyPlan { changes: vec![skip(1)], deployment: Some(DeploymentChange::Finish), ..plan(&db, id).await }).await;
    assert_eq!(run(&db, id).await, "finished rollout");
    finish().await;
    assert_eq!(actions_after(&db, before).await, ["deployment.finished"], "once");
    assert_eq!(db.store().deployment(id).await.unwrap().unwrap().finished_at, Some(at(500)));
}

#[tokio::test]
async fn a_canceled_deployment_finishes_as_canceled() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    let id = deploy(&db, 1, &ids).await;
    db.store().transition_deployment(id, domain::deployment::DeploymentTransition::Cancel, &console(), at(1)).await.unwrap();
    apply(&db, &ApplyPlan { deployment: Some(DeploymentChange::Finish), ..plan(&db, id).await }).await;
    let row = db.store().deployment(id).await.unwrap().unwrap();
    assert_eq!((run(&db, id).await.as_str(), row.finished_at), ("canceled rollout", Some(at(500))));
}

#[tokio::test]
async fn a_gate_opens_once_and_only_while_the_deployment_runs() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let apk = add_apk(&db, 1, 10).await;
    insert(&db, &with_canary(new_deployment(50, apk, &ids)), 0).await;
    let id = deployment(50);
    let change = async |change| apply(&db, &ApplyPlan { deployment: Some(change), canary_ms: 70, ..plan(&db, id).await }).await;
    let transition = async |transition| db.store().transition_deployment(id, transition, &console(), at(1)).await.unwrap();
    change(DeploymentChange::Pause(PauseReason::CanaryTimeout)).await;
    change(DeploymentChange::Pause(PauseReason::CanaryFailed)).await;
    change(DeploymentChange::OpenGate).await;
    assert_eq!(run(&db, id).await, "paused canary canary_timeout", "what is paused stays as it is");
    transition(domain::deployment::DeploymentTransition::Resume).await;
    change(DeploymentChange::OpenGate).await;
    change(DeploymentChange::OpenGate).await;
    assert_eq!(run(&db, id).await, "running rollout");
    assert_eq!(events(&db, id).await, ["created", "paused", "resumed", "gate_opened"]);
    assert_eq!(db.store().deployment(id).await.unwrap().unwrap().judged_since, at(500), "failures of the canary do not count");
}

#[tokio::test]
async fn the_running_time_of_a_canary_only_grows_while_it_runs() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let apk = add_apk(&db, 1, 10).await;
    insert(&db, &with_canary(new_deployment(50, apk, &ids)), 0).await;
    let note = async |canary_ms| {
        db.store().note_canary_time(deployment(50), canary_ms).await.unwrap();
        db.store().deployment(deployment(50)).await.unwrap().unwrap().canary_ms
    };
    assert_eq!([note(50).await, note(40).await, note(60).await], [50, 50, 60]);
    db.store().transition_deployment(deployment(50), domain::deployment::DeploymentTransition::Pause, &console(), at(1)).await.unwrap();
    assert_eq!(note(70).await, 60);
}
