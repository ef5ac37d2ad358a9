use domain::deployment::DeploymentTransition;
use domain::deployment::{ErrorCode, Stage, TaskStatus};
use domain::{DeploymentId, DeviceId};
use store::{Notification, TransitionOutcome};
use test_database::TestDatabase;

use crate::commands::command;
use crate::common::{actions_after, at, console, enroll_many};
use crate::deployment_rows::{attempts, commands, deploy, deployment, events, report, run, start_tasks, states};

const PAUSE: DeploymentTransition = DeploymentTransition::Pause;
const RESUME: DeploymentTransition = DeploymentTransition::Resume;
const CANCEL: DeploymentTransition = DeploymentTransition::Cancel;

async fn transition(db: &TestDatabase, id: DeploymentId, transition: DeploymentTransition) -> TransitionOutcome {
    db.store().transition_deployment(id, transition, &console(), at(700)).await.unwrap()
}

/// A deployment with a task that waits, one that is sending and one that is installing.
async fn under_way(db: &TestDatabase) -> (DeploymentId, Vec<DeviceId>) {
    let ids = enroll_many(db, 3).await;
    let id = deploy(db, 1, &ids).await;
    start_tasks(db, id, &[(ids[1], 101), (ids[2], 102)]).await;
    report(db, id, ids[2], TaskStatus::InProgress(Stage::Accepted)).await;
    (id, ids)
}

#[tokio::test]
async fn a_pause_takes_back_what_no_device_has_accepted() {
    let db = TestDatabase::new().await;
    let (id, ids) = under_way(&db).await;
    let mut listener = db.store().listen().await.unwrap();
    assert_eq!(transition(&db, id, PAUSE).await, TransitionOutcome::Done(vec![(ids[1], command(101))]));
    assert_eq!(listener.next().await.unwrap(), Notification::Deployment(id.to_string()));
    assert_eq!(states(&db, id).await, ["queued", "queued paused", "installing"]);
    assert_eq!(
        (run(&db, id).await.as_str(), attempts(&db, id).await),
        ("paused rollout person", vec!["paused".to_owned(), "-".to_owned()])
    );
    assert_eq!(commands(&db).await, ["canceled", "queued"]);
    let row = db.store().command(command(101)).await.unwrap().unwrap();
    assert_eq!((row.canceled_by.as_deref(), row.progress.finished_at), (Some("server"), Some(at(700))));
}

#[tokio::test]
async fn a_cancellation_ends_every_task_but_those_that_install() {
    let db = TestDatabase::new().await;
    let (id, ids) = under_way(&db).await;
    assert_eq!(transition(&db, id, CANCEL).await, TransitionOutcome::Done(vec![(ids[1], command(101))]));
    assert_eq!(states(&db, id).await, ["canceled canceled", "canceled canceled", "installing"]);
    assert_eq!(attempts(&db, id).await, ["canceled", "-"]);
    let row = db.store().deployment(id).await.unwrap().unwrap();
    assert_eq!((row.canceled_by.as_deref(), row.finished_at), (Some("console"), None), "it finishes with its last installation");
}

#[tokio::test]
async fn each_transition_has_states_to_start_from() {
    let db = TestDatabase::new().await;
    let (id, _) = under_way(&db).await;
    let before = db.store().audit_head().await.unwrap().seq;
    assert_eq!(transition(&db, id, RESUME).await, TransitionOutcome::Already);
    assert!(matches!(transition(&db, id, PAUSE).await, TransitionOutcome::Done(_)));
    assert_eq!(transition(&db, id, PAUSE).await, TransitionOutcome::Already);
    assert!(matches!(transition(&db, id, RESUME).await, TransitionOutcome::Done(_)));
    assert!(matches!(transition(&db, id, PAUSE).await, TransitionOutcome::Done(_)));
    assert!(matches!(transition(&db, id, CANCEL).await, TransitionOutcome::Done(_)), "also what is paused");
    assert_eq!(transition(&db, id, CANCEL).await, TransitionOutcome::Already);
    for after in [PAUSE, RESUME] {
        assert_eq!(transition(&db, id, after).await, TransitionOutcome::Over);
    }
    db.execute("UPDATE deployment SET state = 'finished', finished_at = now()").await;
    for after in [PAUSE, RESUME, CANCEL] {
        assert_eq!(transition(&db, id, after).await, TransitionOutcome::Over);
    }
    assert_eq!(transition(&db, deployment(9), PAUSE).await, TransitionOutcome::Unknown);
    let told = ["deployment.paused", "deployment.resumed", "deployment.paused", "deployment.canceled"];
    assert_eq!(actions_after(&db, before).await, told);
    assert_eq!(events(&db, id).await, ["created", "paused", "resumed", "paused", "canceled"]);
}

#[tokio::test]
async fn a_resume_tries_failed_devices_of_the_canary_again_and_no_others() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    let id = deploy(&db, 1, &ids).await;
    db.execute("UPDATE deployment SET phase = 'canary', canary_ms = 90").await;
    db.execute(&format!("UPDATE deployment_task SET canary = true WHERE device_id IN ('{}', '{}')", ids[0], ids[1])).await;
    start_tasks(&db, id, &[(ids[0], 101), (ids[1], 102), (ids[2], 103)]).await;
    report(&db, id, ids[0], TaskStatus::Failed(ErrorCode::SignerMismatch)).await;
    report(&db, id, ids[1], TaskStatus::Succeeded).await;
    report(&db, id, ids[2], TaskStatus::Failed(ErrorCode::SignerMismatch)).await;
    transition(&db, id, PAUSE).await;
    transition(&db, id, RESUME).await;
    assert_eq!(states(&db, id).await, ["queued", "confirming", "failed signer_mismatch"]);
    let row = db.store().deployment(id).await.unwrap().unwrap();
    assert_eq!((row.canary_ms, row.judged_since), (0, at(700)), "it is judged anew");
    db.execute("UPDATE deployment SET phase = 'rollout'").await;
    db.execute("UPDATE deployment_task SET state = 'failed', finished_at = now() WHERE state = 'queued'").await;
    transition(&db, id, PAUSE).await;
    transition(&db, id, RESUME).await;
    assert_eq!(states(&db, id).await, ["failed", "confirming", "failed signer_mismatch"], "after the canary, a failure is one");
}

#[tokio::test]
async fn of_a_pause_and_an_acceptance_at_once_the_second_sees_the_first() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 8).await;
    let id = deploy(&db, 1, &ids).await;
    for (number, device) in ids.iter().enumerate() {
        start_tasks(&db, id, &[(*device, 101 + number as u32)]).await;
        let (accepted, paused) =
            tokio::join!(report(&db, id, *device, TaskStatus::InProgress(Stage::Accepted)), transition(&db, id, PAUSE));
        let TransitionOutcome::Done(taken_back) = paused else { panic!("{paused:?}") };
        let installs = matches!(accepted, store::TaskReportOutcome::Changed { .. });
        assert_eq!(installs, taken_back.is_empty(), "{accepted:?}: an installation that was permitted is not taken back, another one is");
        transition(&db, id, RESUME).await;
    }
}
