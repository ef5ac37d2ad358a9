//! APKs, deployments and plans that the tests of deployments share.

use domain::apk::{Offer, Signing};
use domain::audit::AuditAction;
use domain::deployment::TaskReport;
use domain::deployment::{ConflictRule, Options, Retries, TaskChange, TaskState, TaskStatus};
use domain::flag::{Flag, Flags};
use domain::shard::shard_of_deployment;
use domain::{ApkId, CommandId, DeploymentId, DeviceId, Timestamp};
use store::{AddApkOutcome, Applied, ApplyPlan, ChangedTask, CreateOutcome, NewApk, NewDeployment, NewTask, TaskReportOutcome, TaskStart};
use test_database::TestDatabase;

use crate::common::{at, console, entry, lease, strings, uuid};

pub(crate) const PACKAGE: &str = "app.a";
pub(crate) const SIGNER: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

pub(crate) fn new_apk(number: u32, package: &str, version_code: i64) -> NewApk {
    NewApk {
        id: ApkId(uuid(number)),
        offer: Offer {
            package: package.into(),
            version_code,
            sha256: format!("{number:064x}"),
            signing: Signing { signers: strings(&[SIGNER]), lineage: vec![] },
            rollback_of: None,
        },
        version_name: format!("v{version_code}"),
        label: "App".into(),
        min_sdk: Some(26),
        target_sdk: None,
        native_abis: vec!["arm64-v8a".into(), "x86".into()],
        size_bytes: 1000,
        icon: None,
        notes: String::new(),
        upload: None,
    }
}

/// Allows the package and adds an APK of it.
pub(crate) async fn add_apk(db: &TestDatabase, number: u32, version_code: i64) -> ApkId {
    db.store().put_package(PACKAGE, &strings(&[SIGNER]), "", &console(), at(0), 9).await.unwrap();
    let new = new_apk(number, PACKAGE, version_code);
    assert_eq!(db.store().add_apk(&new, &console(), at(i64::from(number))).await.unwrap(), AddApkOutcome::Added);
    new.id
}

pub(crate) fn deployment(number: u32) -> DeploymentId {
    DeploymentId(uuid(number))
}

pub(crate) fn task(device: DeviceId, canary: bool) -> NewTask {
    NewTask { device, alias: format!("alias of {device}"), canary, state: TaskState::Queued, reason: None, detail: None }
}

/// A deployment without a canary that tries each device twice.
pub(crate) fn new_deployment(number: u32, apk: ApkId, devices: &[DeviceId]) -> NewDeployment {
    NewDeployment {
        id: deployment(number),
        name: format!("deployment {number}"),
        apk,
        package: PACKAGE.into(),
        version_code: 10,
        target: "{}".into(),
        options: Options { canary: None, retries: Retries { max: 1, backoff_s: 60 }, ..Options::conservative(devices.len()) },
        flags: Flags::default(),
        conflict: ConflictRule::Wait,
        rolls_back: None,
        expires_at: at(100_000),
        open_max: 100,
        tasks: devices.iter().map(|device| task(*device, false)).collect(),
    }
}

/// The same with its first device as canary.
pub(crate) fn with_canary(mut new: NewDeployment) -> NewDeployment {
    new.tasks[0].canary = true;
    new
}

pub(crate) async fn insert(db: &TestDatabase, new: &NewDeployment, second: i64) -> CreateOutcome {
    db.store().insert_deployment(new, None, &console(), &entry(AuditAction::DeploymentCreated), at(second)).await.unwrap()
}

/// Inserts a deployment of an APK of its own, with deployments enabled.
pub(crate) async fn deploy(db: &TestDatabase, number: u32, devices: &[DeviceId]) -> DeploymentId {
    let apk = add_apk(db, number, i64::from(number)).await;
    db.store().set_flag(Flag::DeploymentsEnabled, true, &console(), at(0)).await.unwrap();
    let new = new_deployment(number, apk, devices);
    assert_eq!(insert(db, &new, i64::from(number)).await, CreateOutcome::New(vec![]));
    new.id
}

/// A plan in the present epoch that does nothing.
pub(crate) async fn plan(db: &TestDatabase, id: DeploymentId) -> ApplyPlan {
    ApplyPlan {
        id,
        lease: lease(db, shard_of_deployment(id)).await,
        changes: vec![],
        starts: vec![],
        concurrency: 100,
        commands_expire_at: in_an_hour(db).await,
        deployment: None,
        canary_ms: 0,
        now: at(500),
    }
}

/// By the database's clock, which dates what a plan starts.
pub(crate) async fn in_an_hour(db: &TestDatabase) -> Timestamp {
    db.value("SELECT now() + interval '1 hour'").await
}

pub(crate) fn start(device: DeviceId, command: u32, attempt: u32) -> TaskStart {
    TaskStart {
        device,
        command: CommandId(uuid(command)),
        attempt,
        params: r#"{"url":"secret"}"#.into(),
        params_shown: r#"{"url":"..."}"#.into(),
        version_before: Some(5),
    }
}

pub(crate) fn changed(device: DeviceId, from: TaskState, attempts: u32, change: TaskChange) -> ChangedTask {
    ChangedTask { device, from, attempts, change, message: None, detail: None }
}

pub(crate) async fn apply(db: &TestDatabase, plan: &ApplyPlan) -> Applied {
    db.store().apply_plan(plan).await.unwrap().expect("the epoch is the present one")
}

/// Starts these tasks, by commands of these numbers.
pub(crate) async fn start_tasks(db: &TestDatabase, id: DeploymentId, tasks: &[(DeviceId, u32)]) {
    let starts = tasks.iter().map(|(device, command)| start(*device, *command, 1)).collect();
    let applied = apply(db, &ApplyPlan { starts, ..plan(db, id).await }).await;
    assert_eq!(applied.started.len(), tasks.len());
}

pub(crate) fn reported(deployment: DeploymentId, device: DeviceId, status: TaskStatus) -> TaskReport {
    TaskReport { deployment, device, status, attempt: None, progress_pct: None, message: None, installed_version: None }
}

pub(crate) async fn report(db: &TestDatabase, deployment: DeploymentId, device: DeviceId, status: TaskStatus) -> TaskReportOutcome {
    db.store().record_task_reports(&[reported(deployment, device, status)]).await.unwrap().remove(0)
}

/// State and reason of each task, in the order of the targets.
pub(crate) async fn states(db: &TestDatabase, id: DeploymentId) -> Vec<String> {
    db.values(&format!("SELECT concat_ws(' ', state, reason) FROM deployment_task WHERE deployment_id = '{id}' ORDER BY position")).await
}

/// Outcome of each attempt in the order of its start, `-` while it runs.
pub(crate) async fn attempts(db: &TestDatabase, id: DeploymentId) -> Vec<String> {
    let sql = format!("SELECT coalesce(outcome, '-') FROM deployment_attempt WHERE deployment_id = '{id}' ORDER BY device_id, attempt");
    db.values(&sql).await
}

/// State and phase of a deployment, and why it is paused.
pub(crate) async fn run(db: &TestDatabase, id: DeploymentId) -> String {
    db.value(&format!("SELECT concat_ws(' ', state, phase, pause_reason) FROM deployment WHERE deployment_id = '{id}'")).await
}

/// Kinds of its events, oldest first.
pub(crate) async fn events(db: &TestDatabase, id: DeploymentId) -> Vec<String> {
    db.values(&format!("SELECT kind FROM deployment_event WHERE deployment_id = '{id}' ORDER BY event_id")).await
}

/// State of each command of the database, by number.
pub(crate) async fn commands(db: &TestDatabase) -> Vec<String> {
    db.values("SELECT state FROM command ORDER BY request_id").await
}

/// Starts a task for the second time.
pub(crate) async fn start_again(db: &TestDatabase, id: DeploymentId, device: DeviceId, command: u32) {
    let starts = vec![start(device, command, 2)];
    assert_eq!(apply(db, &ApplyPlan { starts, ..plan(db, id).await }).await.started, [device]);
}
