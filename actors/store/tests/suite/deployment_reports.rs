use domain::deployment::{DeploymentTransition, TaskQuery, TaskReport, TaskView};
use domain::deployment::{ErrorCode, Refusal, Stage, TaskState, TaskStatus};
use domain::flag::Flag;
use domain::{DeploymentId, DeviceId};
use store::{Notification, TaskReportOutcome};
use test_database::TestDatabase;

use crate::common::{at, console, enroll_many};
use crate::deployment_rows::{attempts, deploy, deployment, events, report, reported, start_again, start_tasks, states};

const ACCEPTED: TaskStatus = TaskStatus::InProgress(Stage::Accepted);
const DOWNLOADING: TaskStatus = TaskStatus::InProgress(Stage::Downloading);

/// A deployment that has started on all its devices.
async fn started(db: &TestDatabase, devices: u32) -> (DeploymentId, Vec<DeviceId>) {
    let ids = enroll_many(db, devices).await;
    let id = deploy(db, 1, &ids).await;
    let tasks: Vec<_> = ids.iter().enumerate().map(|(n, device)| (*device, 101 + n as u32)).collect();
    start_tasks(db, id, &tasks).await;
    (id, ids)
}

async fn record(db: &TestDatabase, reports: &[TaskReport]) -> Vec<TaskReportOutcome> {
    db.store().record_task_reports(reports).await.unwrap()
}

async fn task(db: &TestDatabase, id: DeploymentId, device: DeviceId) -> TaskView {
    let query = TaskQuery { device: Some(device), ..TaskQuery::default() };
    db.store().deployment_tasks(id, query, None, 1).await.unwrap().remove(0)
}

fn is_now(outcome: &TaskReportOutcome, wanted: TaskState) -> bool {
    matches!(outcome, TaskReportOutcome::Changed { state, .. } if *state == wanted)
}

#[tokio::test]
async fn an_installation_goes_forward_to_its_end() {
    let db = TestDatabase::new().await;
    let (id, ids) = started(&db, 1).await;
    let mut listener = db.store().listen().await.unwrap();
    assert!(is_now(&report(&db, id, ids[0], ACCEPTED).await, TaskState::Installing));
    assert_eq!(listener.next().await.unwrap(), Notification::Deployment(id.to_string()));
    let accepted_at = task(&db, id, ids[0]).await.accepted_at;
    assert!(accepted_at.is_some());
    let half = TaskReport { progress_pct: Some(50), message: Some("half".into()), ..reported(id, ids[0], DOWNLOADING) };
    assert!(is_now(&record(&db, std::slice::from_ref(&half)).await[0], TaskState::Installing));
    let more = TaskReport { progress_pct: Some(75), message: None, ..half.clone() };
    assert_eq!(record(&db, std::slice::from_ref(&more)).await, [TaskReportOutcome::Nothing], "the stage is the same");
    let reported_at = || db.value::<chrono::DateTime<chrono::Utc>>("SELECT max(reported_at) FROM deployment_task");
    let progressed_at = reported_at().await;
    for again in [more.clone(), half.clone(), TaskReport { progress_pct: None, ..more }] {
        assert_eq!(record(&db, &[again]).await, [TaskReportOutcome::Nothing]);
    }
    assert_eq!(reported_at().await, progressed_at, "who repeats itself makes no progress");
    let row = task(&db, id, ids[0]).await;
    assert_eq!((row.progress_pct, row.message.as_deref(), row.accepted_at), (Some(75), Some("half"), accepted_at));
    assert_eq!(report(&db, id, ids[0], ACCEPTED).await, TaskReportOutcome::Refused(Refusal::Backwards(Stage::Downloading)));
    let done = TaskReport { installed_version: Some("v1".into()), ..reported(id, ids[0], TaskStatus::Succeeded) };
    let outcomes = record(&db, std::slice::from_ref(&done)).await;
    assert!(
        matches!(outcomes[0], TaskReportOutcome::Changed { state: TaskState::Confirming, error: None, took_ms: Some(0..) }),
        "{outcomes:?}"
    );
    assert_eq!(record(&db, &[done]).await, [TaskReportOutcome::Nothing], "told again");
    let row = task(&db, id, ids[0]).await;
    assert_eq!((row.state, row.installed_version.as_deref(), row.finished_at.is_some()), (TaskState::Confirming, Some("v1"), false));
    assert_eq!(attempts(&db, id).await, ["succeeded"]);
}

#[tokio::test]
async fn nothing_is_permitted_while_it_is_paused_canceled_or_switched_off() {
    let db = TestDatabase::new().await;
    let (id, ids) = started(&db, 2).await;
    report(&db, id, ids[1], ACCEPTED).await;
    let refused = async |refusal| assert_eq!(report(&db, id, ids[0], ACCEPTED).await, TaskReportOutcome::Refused(refusal));
    let set = async |on| db.store().set_flag(Flag::DeploymentsKillSwitch, on, &console(), at(0)).await.unwrap();
    set(true).await;
    refused(Refusal::SwitchedOff).await;
    assert!(is_now(&report(&db, id, ids[1], DOWNLOADING).await, TaskState::Installing), "what has begun goes on");
    set(false).await;
    db.store().transition_deployment(id, DeploymentTransition::Pause, &console(), at(1)).await.unwrap();
    refused(Refusal::Paused).await;
    db.store().transition_deployment(id, DeploymentTransition::Cancel, &console(), at(1)).await.unwrap();
    refused(Refusal::Canceled).await;
    assert!(is_now(&report(&db, id, ids[1], TaskStatus::Succeeded).await, TaskState::Confirming));
    assert_eq!(states(&db, id).await, ["canceled canceled", "confirming"]);
}

#[tokio::test]
async fn a_failure_is_tried_again_as_often_as_the_options_say() {
    let db = TestDatabase::new().await;
    let (id, ids) = started(&db, 2).await;
    let failed = TaskStatus::Failed(ErrorCode::DownloadFailed);
    assert!(is_now(&report(&db, id, ids[0], failed).await, TaskState::Queued));
    let row = task(&db, id, ids[0]).await;
    assert_eq!((row.error.as_deref(), row.finished_at), (Some("download_failed"), None));
    let wait_s: i64 = db
        .value(&format!(
            "SELECT round(extract(epoch FROM not_before - reported_at))::bigint FROM deployment_task WHERE device_id = '{}'",
            ids[0]
        ))
        .await;
    assert_eq!(wait_s, 60);
    assert_eq!(report(&db, id, ids[0], failed).await, TaskReportOutcome::Nothing, "told again");
    start_again(&db, id, ids[0], 201).await;
    assert!(is_now(&report(&db, id, ids[0], failed).await, TaskState::Failed), "there is no third attempt");
    assert!(
        is_now(&report(&db, id, ids[1], TaskStatus::Failed(ErrorCode::SignerMismatch)).await, TaskState::Failed),
        "trying again cannot help"
    );
    assert_eq!(attempts(&db, id).await, ["failed", "failed", "failed"]);
    assert_eq!(events(&db, id).await, ["created", "task_retried", "task_failed", "task_failed"]);
}

#[tokio::test]
async fn a_report_of_an_earlier_attempt_changes_nothing() {
    let db = TestDatabase::new().await;
    let (id, ids) = started(&db, 1).await;
    report(&db, id, ids[0], TaskStatus::Failed(ErrorCode::DownloadFailed)).await;
    start_again(&db, id, ids[0], 201).await;
    let of_attempt =
        async |attempt, status| record(&db, &[TaskReport { attempt: Some(attempt), ..reported(id, ids[0], status) }]).await.remove(0);
    assert_eq!(of_attempt(1, ACCEPTED).await, TaskReportOutcome::Refused(Refusal::OtherAttempt));
    assert_eq!(of_attempt(1, TaskStatus::Failed(ErrorCode::DownloadFailed)).await, TaskReportOutcome::Refused(Refusal::OtherAttempt));
    assert_eq!(states(&db, id).await, ["sending"]);
    assert!(is_now(&of_attempt(2, ACCEPTED).await, TaskState::Installing));
    assert!(is_now(&of_attempt(1, TaskStatus::Succeeded).await, TaskState::Confirming), "installed is installed");
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order_and_each_task_gets_its_own_values() {
    let db = TestDatabase::new().await;
    let (id, ids) = started(&db, 4).await;
    let told = |index: usize, status, message: &str| TaskReport { message: Some(message.into()), ..reported(id, ids[index], status) };
    let reports = [
        told(3, TaskStatus::Skipped(ErrorCode::InCall), "a call"),
        told(0, ACCEPTED, "yes"),
        reported(deployment(9), ids[0], ACCEPTED),
        told(0, DOWNLOADING, "loading"),
        told(1, TaskStatus::Failed(ErrorCode::SignerMismatch), "no"),
        told(0, TaskStatus::Succeeded, "done"),
        told(1, TaskStatus::InProgress(Stage::Verifying), "too late"),
        reported(id, domain::DeviceId(crate::common::uuid(99)), ACCEPTED),
    ];
    let outcomes = record(&db, &reports).await;
    assert!(is_now(&outcomes[0], TaskState::Queued) && is_now(&outcomes[1], TaskState::Installing), "{outcomes:?}");
    assert!(is_now(&outcomes[3], TaskState::Installing) && is_now(&outcomes[5], TaskState::Confirming), "{outcomes:?}");
    assert!(is_now(&outcomes[4], TaskState::Failed), "{outcomes:?}");
    assert_eq!(outcomes[2], TaskReportOutcome::Unknown);
    assert_eq!(outcomes[6], TaskReportOutcome::Refused(Refusal::Finished(TaskState::Failed)));
    assert_eq!(outcomes[7], TaskReportOutcome::Unknown);
    assert_eq!(states(&db, id).await, ["confirming", "failed signer_mismatch", "sending", "queued in_call"]);
    let messages: Vec<Option<String>> = db.values("SELECT message FROM deployment_task ORDER BY position").await;
    assert_eq!(messages, [Some("done".into()), Some("no".into()), None, Some("a call".into())]);
    assert_eq!(attempts(&db, id).await, ["succeeded", "failed", "-", "failed"]);
}

#[tokio::test]
async fn what_a_device_installed_after_its_command_was_taken_back_counts() {
    let db = TestDatabase::new().await;
    let (id, ids) = started(&db, 1).await;
    db.store().transition_deployment(id, DeploymentTransition::Pause, &console(), at(1)).await.unwrap();
    assert_eq!(states(&db, id).await, ["queued paused"]);
    assert!(is_now(&report(&db, id, ids[0], TaskStatus::Succeeded).await, TaskState::Confirming));
    assert_eq!(attempts(&db, id).await, ["paused"], "its attempt ended before");
}
