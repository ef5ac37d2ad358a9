//! Deployments: what people ask for and see, and what devices say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::devices::Filter;
use crate::lenient::Int;

/// Body of `POST /v1/deployments`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploymentRequest {
    /// What to install.
    pub apk_id: String,
    /// For people, at most 200 characters; made up of the APK when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where.
    pub target: DeploymentTarget,
    /// How; what is not given is as careful as the defaults.
    #[serde(default)]
    pub options: DeploymentOptions,
    /// Devices that an older open deployment of the package has: `wait` for it (the default), or `supersede` it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Which devices; exactly one of them. The set is settled when the deployment is made.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeploymentTarget {
    /// Every device.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fleet: bool,
    /// These.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Those with any of these tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Those in any of these groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Those that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
}

/// What a deployment may do and when.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeploymentOptions {
    /// The first devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Most installations that start within any minute; 0: no limit. 10 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u32>,
    /// Most devices at a time. 3 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Only over Wi-Fi or a cable, and not over a metered network. On unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wifi_only: Option<bool>,
    /// Least charge, percent. 40 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_battery_pct: Option<u8>,
    /// Only while charging.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charging_only: Option<bool>,
    /// Least free storage, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_storage_free_mb: Option<u32>,
    /// Only devices whose last heartbeat is at most this old. 900 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_max_age_seconds: Option<u32>,
    /// Only devices that Doze leaves alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doze_exempt_only: Option<bool>,
    /// Only at this time of the day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Further tries on one device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// What is sent to the app once it is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_intent: Option<RestartIntent>,
    /// Whether it may be rolled back. On unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_allowed: Option<bool>,
    /// When failures pause it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_pause: Option<FailurePause>,
    /// What is not done by then is skipped. 168 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_hours: Option<u32>,
}

/// The first devices, and when the others may follow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Canary {
    /// How many; 0: none, which a deployment to the fleet refuses. A twentieth, 1 to 5, unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// How many of a hundred of those that are done must have succeeded. 90 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_threshold_pct: Option<u8>,
    /// How many must be done. All of them unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_count: Option<u32>,
    /// How long they have. 60 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_minutes: Option<u32>,
}

/// Hours of the clock on the wall; across midnight when `end` is earlier than `start`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// `HH:MM`.
    pub start: String,
    /// `HH:MM`.
    pub end: String,
    /// A name of the IANA time zone database.
    pub tz: String,
}

/// Further tries on one device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// How many. 2 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Wait before the first; doubles with each. 60 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_seconds: Option<u32>,
}

/// An intent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartIntent {
    /// Its action.
    pub action: String,
    /// What goes with it.
    #[serde(default)]
    pub extras: BTreeMap<String, String>,
}

/// When failures pause a deployment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FailurePause {
    /// More failures than this of a hundred. 20 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold_pct: Option<u8>,
    /// Not before so many are done. 5 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_count: Option<u32>,
}

/// A deployment, or with `dry_run` what one would begin with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum DeploymentResponse {
    /// It is on record.
    Deployment(Box<Deployment>),
    /// Nothing was done.
    Plan(DeploymentPlan),
}

/// What a deployment would begin with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeploymentPlan {
    /// Always true.
    pub dry_run: bool,
    /// Devices of the set.
    pub devices: usize,
    /// The first of them.
    pub canary_size: usize,
    /// Devices by what would become of them. `sending`: told at once.
    pub counts: Vec<PlanCount>,
    /// The first thousand of them in their order.
    pub items: Vec<PlanItem>,
}

/// Devices with the same prospects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanCount {
    /// Where their tasks would stand.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
    /// How many.
    pub devices: usize,
}

/// A device's prospects.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanItem {
    /// The device.
    pub id: String,
    /// Its alias.
    pub alias: String,
    /// Whether it is one of the first.
    pub canary: bool,
    /// Where its task would stand.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
}

/// A deployment and how far it got.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// What is installed.
    pub apk_id: String,
    /// Its package.
    pub package: String,
    /// Its version code.
    pub version_code: i64,
    /// Its version name.
    pub version_name: String,
    /// `running`, `paused`, `canceled` or `finished`.
    pub state: String,
    /// `canary` or `rollout`.
    pub phase: String,
    /// `person`, `canary_failed`, `canary_timeout` or `failure_rate`.
    pub pause_reason: Option<String>,
    /// Since when it is paused.
    pub paused_at: Option<String>,
    /// Devices of the set.
    pub devices: i32,
    /// The first of them.
    pub canary_size: i32,
    /// The options, whole.
    pub options: DeploymentOptions,
    /// What was asked for.
    #[schema(value_type = Object)]
    pub target: serde_json::Value,
    /// The flags of the moment it was made.
    #[schema(value_type = Object)]
    pub flags: serde_json::Value,
    /// `wait` or `supersede`.
    pub conflict: String,
    /// Its tasks by state.
    pub counts: TaskCounts,
    /// Its first devices.
    pub canary: CanaryProgress,
    /// Starts within the last minute.
    pub starts_last_minute: i64,
    /// Why no deployment at all goes on: `flag_off` or `kill_switch`.
    pub blocked_by: Option<String>,
    /// The way back; only told of one deployment at a time.
    pub rollback: Option<Rollback>,
    /// The deployment that this one takes back.
    pub rolls_back: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: String,
    /// What waits then is skipped.
    pub expires_at: String,
    /// Who called it off.
    pub canceled_by: Option<String>,
    /// When everything was over.
    pub finished_at: Option<String>,
}

/// Tasks by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskCounts {
    /// Waiting for the canary, the device, or the next try.
    pub queued: i64,
    /// Waiting for the maintenance window.
    pub waiting_window: i64,
    /// Waiting for their turn.
    pub throttled: i64,
    /// Told, and not taken yet.
    pub sending: i64,
    /// Taken.
    pub installing: i64,
    /// Installed.
    pub succeeded: i64,
    /// Given up.
    pub failed: i64,
    /// Nothing to do, or not done in time.
    pub skipped: i64,
    /// Called off.
    pub canceled: i64,
}

/// How the first devices fare.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CanaryProgress {
    /// Installed.
    pub succeeded: u32,
    /// Given up.
    pub failed: u32,
    /// Not over.
    pub open: u32,
    /// Succeeded or failed.
    pub counted: u32,
    /// Of those, how many succeeded.
    pub success_pct: Option<f64>,
    /// What is asked for.
    pub threshold_pct: Option<u8>,
}

/// The way back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Rollback {
    /// Failures passed the threshold.
    pub offered: bool,
    /// There is one.
    pub possible: bool,
    /// What would be installed.
    pub apk_id: Option<String>,
    /// Its version name.
    pub version_name: Option<String>,
    /// On how many devices.
    pub devices: Option<usize>,
    /// Why there is none.
    pub why_not: Option<String>,
}

/// The task of one device.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeploymentTask {
    /// Its place in the set.
    pub position: i32,
    /// The device.
    pub device_id: String,
    /// Its alias.
    pub alias: String,
    /// Whether it is one of the first.
    pub canary: bool,
    /// Where it stands.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
    /// `accepted`, `downloading`, `verifying` or `installing`.
    pub stage: Option<String>,
    /// How much of it is downloaded, percent.
    pub progress_pct: Option<i16>,
    /// Times that it was started.
    pub attempts: i32,
    /// It is not started before.
    pub not_before: Option<String>,
    /// When it was started last.
    pub started_at: Option<String>,
    /// When the device took it.
    pub accepted_at: Option<String>,
    /// When it was over.
    pub finished_at: Option<String>,
    /// What the last attempt failed with.
    pub error: Option<String>,
    /// What the device said with it.
    pub message: Option<String>,
    /// Version code that was there before.
    pub version_before: Option<i64>,
    /// What the device says it has now.
    pub installed_version: Option<String>,
}

/// What happened to a deployment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeploymentEvent {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: String,
    /// What.
    pub kind: String,
    /// To which device.
    pub device_id: Option<String>,
    /// For people.
    pub detail: String,
    /// Who did it; absent: the server, or the device.
    pub by: Option<String>,
}

/// Body of `POST /v1/agent/deployments/{deployment_id}/devices/{device_id}/status`; on the socket the fields of a frame of type
/// `deployment_status`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct DeploymentStatus {
    /// `accepted`, `downloading`, `verifying`, `installing`, `succeeded`, `failed` or `skipped`.
    pub status: String,
    /// With `failed` and `skipped`: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// For people, at most 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The version that the device has now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed_version: Option<String>,
    /// Which attempt it speaks of, as in the parameters of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Int>,
    /// How much of the file it has, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_pct: Option<Int>,
    /// The deployment; on the socket only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
}

/// 200: it is on record.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeploymentStatusResponse {
    /// Always true.
    pub ok: bool,
}

/// A feature that is on or off for the whole cluster.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FeatureFlag {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// On or off.
    pub enabled: bool,
    /// Who set it last.
    pub updated_by: Option<String>,
    /// When.
    pub updated_at: Option<String>,
}

/// Every flag.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FeatureFlags {
    /// By name.
    pub items: Vec<FeatureFlag>,
}

/// Body of `PUT /v1/flags/{name}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetFlag {
    /// On or off.
    pub enabled: bool,
}
