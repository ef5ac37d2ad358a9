//! What is known about deployments: rows of the database, steps of devices, and what people did.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::fleet::Window;

/// A row of `deployment`.
#[derive(Debug, Clone)]
pub struct DeploymentRow {
    /// Package.
    pub package: String,
    /// Version code.
    pub version_code: i64,
    /// `running`, `paused`, `canceled` or `finished`.
    pub state: String,
    /// What it may do and when.
    pub options: Limits,
}

/// The options that are judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Success threshold in per cent and least number of first devices that are done; `None`: no first devices.
    pub canary: Option<(u32, u32)>,
    /// Starts in any minute; 0: no limit.
    pub rate_per_minute: u32,
    /// Attempts at a time.
    pub concurrency: u32,
    /// When devices may begin.
    pub window: Option<Window>,
}

/// A row of `deployment_task`.
#[derive(Debug, Clone)]
pub struct TaskRow {
    /// Of which deployment.
    pub deployment: String,
    /// Whose.
    pub device_id: String,
    /// Whether it is one of the first.
    pub canary: bool,
    /// Where it stands.
    pub state: String,
    /// Why; empty without a reason.
    pub reason: String,
    /// When the device was let through last.
    pub accepted_us: Option<i64>,
    /// When it was over.
    pub finished_us: Option<i64>,
}

/// A row of `deployment_attempt`.
#[derive(Debug, Clone)]
pub struct AttemptRow {
    /// Of which deployment.
    pub deployment: String,
    /// Whose.
    pub device_id: String,
    /// When it started.
    pub started_us: i64,
    /// When it was over; `None`: it is under way.
    pub finished_us: Option<i64>,
}

/// What a device did or told about an installation.
#[derive(Debug, Clone)]
pub struct Step {
    /// Number of the device.
    pub device: u32,
    /// Of which deployment; empty for updates of the agent.
    pub deployment: String,
    /// Which try, when the device knew it.
    pub attempt: Option<u32>,
    /// A status, or `downloaded`, `installed`, `rebooted`, `hung`.
    pub step: String,
    /// The answer, when it was told.
    pub status: Option<u16>,
    /// When it was sent.
    pub sent_us: i64,
    /// When the answer was there, or it was done.
    pub answered_us: i64,
    /// Package, when it was installed.
    pub package: Option<String>,
    /// Version code, when it was installed.
    pub version_code: Option<i64>,
}

/// Something that stops deployments, or its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Brake {
    /// The deployment is paused.
    Pause,
    /// The deployment is canceled.
    Cancel,
    /// `deployments.kill_switch` is on.
    KillSwitch,
    /// `deployments.enabled` is off.
    FlagOff,
}

/// A brake that was put on or released.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Act {
    /// Of which deployment; `None`: of all.
    pub deployment: Option<String>,
    /// Which brake.
    pub brake: Brake,
    /// Whether it was put on.
    pub on: bool,
    /// When it was asked for, microseconds.
    pub sent_us: i64,
    /// When it was acknowledged, microseconds.
    pub answered_us: i64,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Deployments {
    /// By id.
    pub rows: BTreeMap<String, DeploymentRow>,
    /// Tasks.
    pub tasks: Vec<TaskRow>,
    /// Attempts.
    pub attempts: Vec<AttemptRow>,
    /// What devices did and told, in the order of the record.
    pub steps: Vec<Step>,
    /// What stopped deployments.
    pub acts: Vec<Act>,
    /// Counters as the API told them when nothing was under way, by deployment and state.
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

/// A line of a record that says what was done to deployments; devices and servers have no part in it.
#[derive(Serialize, Deserialize)]
struct ActLine {
    what: String,
    device_id: String,
    server: String,
    answered_at: String,
    act: Act,
}

impl Deployments {
    /// Takes over what a line of a record says about an installation.
    pub(in crate::oracle) fn read_step(&mut self, text: &str, device: u32, sent_us: i64, answered_us: i64) -> Result<()> {
        let Line { step, deployment_id, attempt, status, package, version_code } = serde_json::from_str(text)?;
        self.steps.push(Step { device, deployment: deployment_id, attempt, step, status, sent_us, answered_us, package, version_code });
        Ok(())
    }

    /// Takes over what a line of a record says that somebody did.
    pub(in crate::oracle) fn read_act(&mut self, text: &str) -> Result<()> {
        self.acts.push(serde_json::from_str::<ActLine>(text)?.act);
        Ok(())
    }
}

/// Appends what was done to a record, for whoever judges it later.
///
/// # Errors
/// The file cannot be written.
pub fn append_act(path: &Path, server: &str, at: DateTime<Utc>, act: &Act) -> Result<()> {
    use std::io::Write;
    let answered_at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let line = ActLine { what: "act".into(), device_id: String::new(), server: server.to_owned(), answered_at, act: act.clone() };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    Ok(file.with_context(|| format!("cannot write {}", path.display()))?.write_all(&text)?)
}
