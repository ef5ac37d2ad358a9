//! Facts about deployments: rows of the database, steps of devices, and actions of operators.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::fleet::Window;

/// A row of `deployment`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeploymentRow {
    /// Package.
    pub package: String,
    /// Version code.
    pub version_code: i64,
    /// `running`, `paused`, `canceled` or `finished`.
    pub state: String,
    /// Options that are checked.
    pub options: Limits,
}

/// Deployment options that the oracle checks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Success threshold in percent and minimum of completed canary devices; `None`: no canary.
    pub canary: Option<(u32, u32)>,
    /// Most starts per minute; 0: unlimited.
    pub rate_per_minute: u32,
    /// Most concurrent attempts.
    pub concurrency: u32,
    /// Maintenance window.
    pub window: Option<Window>,
}

/// A row of `deployment_task`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskRow {
    /// Id of the deployment.
    pub deployment: String,
    /// Id of the device.
    pub device_id: String,
    /// Whether the device belongs to the canary.
    pub canary: bool,
    /// State of the task.
    pub state: String,
    /// Reason of the state; empty without one.
    pub reason: String,
    /// Last time that the device was accepted, microseconds.
    pub accepted_us: Option<i64>,
    /// End, microseconds.
    pub finished_us: Option<i64>,
}

/// A row of `deployment_attempt`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttemptRow {
    /// Id of the deployment.
    pub deployment: String,
    /// Id of the device.
    pub device_id: String,
    /// Start, microseconds.
    pub started_us: i64,
    /// End, microseconds; `None` while it is in progress.
    pub finished_us: Option<i64>,
}

/// Step of an installation, done or reported by a device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// Number of the device.
    pub device: u32,
    /// Id of the deployment; empty for updates of the agent.
    pub deployment: String,
    /// Number of the attempt, when the device knew it.
    pub attempt: Option<u32>,
    /// A status, or `downloaded`, `installed`, `rebooted`, `hung`.
    pub step: String,
    /// HTTP status, when the step was reported.
    pub status: Option<u16>,
    /// Time of sending, microseconds.
    pub sent_us: i64,
    /// Time of the response, or of the step itself, microseconds.
    pub answered_us: i64,
    /// Installed package.
    pub package: Option<String>,
    /// Installed version code.
    pub version_code: Option<i64>,
}

/// Event that stops deployments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopEvent {
    /// The deployment is paused.
    Pause,
    /// The deployment is canceled.
    Cancel,
    /// `deployments.kill_switch` is on.
    KillSwitch,
    /// `deployments.enabled` is off.
    FlagOff,
}

/// Operator action that starts or ends a stop of deployments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperatorAction {
    /// Id of the deployment; `None`: all deployments.
    pub deployment: Option<String>,
    /// Kind of stop.
    #[serde(rename = "brake")]
    pub stop: StopEvent,
    /// Whether the stop starts; otherwise it ends.
    pub on: bool,
    /// Time of the request, microseconds.
    pub sent_us: i64,
    /// Time of the acknowledgement, microseconds.
    pub answered_us: i64,
}

/// All facts about deployments.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Deployments {
    /// Deployments by id.
    pub rows: BTreeMap<String, DeploymentRow>,
    /// Tasks.
    pub tasks: Vec<TaskRow>,
    /// Attempts.
    pub attempts: Vec<AttemptRow>,
    /// Steps of devices, in the order of the record.
    pub steps: Vec<Step>,
    /// Actions that stop deployments or end a stop.
    pub operator_actions: Vec<OperatorAction>,
    /// Counters of the API at quiescence, by deployment and state.
    pub counts: HashMap<String, BTreeMap<String, u64>>,
}

#[derive(Deserialize)]
struct Line {
    step: String,
    #[serde(default)]
    deployment_id: String,
    attempt: Option<u32>,
    status: Option<u16>,
    package: Option<String>,
    version_code: Option<i64>,
}

/// Line of a record with an operator action; the device field is empty.
#[derive(Serialize, Deserialize)]
struct ActionLine {
    what: String,
    device_id: String,
    server: String,
    answered_at: String,
    #[serde(rename = "act")]
    action: OperatorAction,
}

impl Deployments {
    /// Reads a record line with a step of an installation.
    pub(in crate::oracle) fn read_step(&mut self, text: &str, device: u32, sent_us: i64, answered_us: i64) -> Result<()> {
        let Line { step, deployment_id, attempt, status, package, version_code } = serde_json::from_str(text)?;
        self.steps.push(Step { device, deployment: deployment_id, attempt, step, status, sent_us, answered_us, package, version_code });
        Ok(())
    }

    /// Reads a record line with an operator action.
    pub(in crate::oracle) fn read_action(&mut self, text: &str) -> Result<()> {
        self.operator_actions.push(serde_json::from_str::<ActionLine>(text)?.action);
        Ok(())
    }
}

/// Appends an operator action to a record.
///
/// # Errors
/// The file cannot be written.
pub fn append_action(path: &Path, server: &str, at: DateTime<Utc>, action: &OperatorAction) -> Result<()> {
    use std::io::Write;
    let answered_at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let line = ActionLine { what: "act".into(), device_id: String::new(), server: server.to_owned(), answered_at, action: action.clone() };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    Ok(file.with_context(|| format!("cannot write {}", path.display()))?.write_all(&text)?)
}
