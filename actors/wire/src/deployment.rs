//! Deployments: what people ask for and see, and what devices say.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::device_filter::Filter;
use crate::lenient::Int;

/// Body of `POST /v1/deployments`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploymentRequest {
    /// APK to install.
    pub apk_id: String,
    /// Display name, at most 200 characters; app and version when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Target devices.
    pub target: DeploymentTarget,
    /// Options; absent ones have conservative defaults.
    #[serde(default)]
    pub options: DeploymentOptions,
    /// Rule for devices that an older open deployment of the package has; `wait` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::names::ConflictRule>)]
    pub conflict: Option<String>,
    /// Dry run: only return the plan.
    #[serde(default)]
    pub dry_run: bool,
}

/// Target devices; exactly one kind. The set is fixed on creation.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeploymentTarget {
    /// Every device.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fleet: bool,
    /// Device ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Devices with any of these tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Devices in any of these groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Filter with at least one condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
}

/// Options of a deployment, an object; the table of options describes them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct DeploymentOptions(pub serde_json::Map<String, serde_json::Value>);

/// A deployment, or with `dry_run` what one would begin with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum DeploymentResponse {
    /// Created deployment.
    Deployment(Box<Deployment>),
    /// Plan of a dry run.
    Plan(DeploymentPlan),
}

/// Plan of a deployment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeploymentPlan {
    /// Always true.
    pub dry_run: bool,
    /// Devices of the set.
    pub devices: usize,
    /// The first of them.
    pub canary_size: usize,
    /// Devices that qualify now, whether or not they are in the canary.
    pub qualifying: usize,
    /// Devices that do not, by reason, the most frequent first; a device counts for each of its reasons.
    pub excluded: Vec<PlanExclusionCount>,
    /// Devices by what would become of them. `sending`: told at once.
    pub counts: Vec<PlanCount>,
    /// The first thousand of them in their order.
    pub items: Vec<PlanItem>,
}

/// Devices with the same prospects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanCount {
    /// Planned state of the tasks.
    #[schema(value_type = crate::names::TaskState)]
    pub state: String,
    /// Reason.
    #[schema(value_type = Option<crate::names::TaskReason>)]
    pub reason: Option<String>,
    /// Number of devices.
    pub devices: usize,
}

/// Devices with the same reason for not qualifying.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanExclusionCount {
    /// Reason.
    #[schema(value_type = crate::names::TaskReason)]
    pub reason: String,
    /// Number of devices.
    pub devices: usize,
}

/// Reason of a device's own for not qualifying.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanExclusion {
    /// Reason.
    #[schema(value_type = crate::names::TaskReason)]
    pub reason: String,
    /// The reported value and the required one, as `battery 10 % < 40 %`.
    pub detail: Option<String>,
}

/// A device's prospects.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanItem {
    /// The device.
    pub id: String,
    /// Alias.
    pub alias: String,
    /// Whether the device is in the canary.
    pub canary: bool,
    /// Planned state of the task.
    #[schema(value_type = crate::names::TaskState)]
    pub state: String,
    /// Reason.
    #[schema(value_type = Option<crate::names::TaskReason>)]
    pub reason: Option<String>,
    /// Whether the device qualifies now, whether or not it is in the canary.
    pub qualifies: bool,
    /// Every reason of its own why it does not.
    pub exclusions: Vec<PlanExclusion>,
}

/// A deployment and how far it got.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// Id.
    pub id: String,
    /// The same id.
    pub deployment_id: String,
    /// Display name.
    pub name: String,
    /// APK that is installed.
    pub apk_id: String,
    /// Package.
    pub package: String,
    /// Version code.
    pub version_code: i64,
    /// Version name.
    pub version_name: String,
    /// State.
    #[schema(value_type = crate::names::DeploymentState)]
    pub state: String,
    /// Phase.
    #[schema(value_type = crate::names::DeploymentPhase)]
    pub phase: String,
    /// Reason of the pause.
    #[schema(value_type = Option<crate::names::PauseReason>)]
    pub pause_reason: Option<String>,
    /// Since when it is paused.
    pub paused_at: Option<String>,
    /// Devices of the set.
    pub devices: i32,
    /// The first of them.
    pub canary_size: i32,
    /// The options, whole.
    pub options: DeploymentOptions,
    /// Requested target.
    #[schema(value_type = Object)]
    pub target: serde_json::Value,
    /// The flags of the moment it was made.
    #[schema(value_type = Object)]
    pub flags: serde_json::Value,
    /// Rule for devices that an older open deployment of the package has.
    #[schema(value_type = crate::names::ConflictRule)]
    pub conflict: String,
    /// Tasks by state.
    pub counts: TaskCounts,
    /// Canary progress.
    pub canary: CanaryProgress,
    /// Starts within the last minute.
    pub starts_last_minute: i64,
    /// Cluster-wide block.
    #[schema(value_type = Option<crate::names::BlockReason>)]
    pub blocked_by: Option<String>,
    /// The rollback; only in the answer about a single deployment.
    pub rollback: Option<Rollback>,
    /// The deployment that this one takes back.
    pub rolls_back: Option<String>,
    /// Creator.
    pub created_by: String,
    /// Time of creation.
    pub created_at: String,
    /// Deadline; remaining devices are skipped then.
    pub expires_at: String,
    /// Canceling account.
    pub canceled_by: Option<String>,
    /// Time of completion.
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
    /// Reported as installed; a heartbeat has to confirm it.
    pub confirming: i64,
    /// Installed.
    pub succeeded: i64,
    /// Given up.
    pub failed: i64,
    /// Not needed, or not completed in time.
    pub skipped: i64,
    /// Called off.
    pub canceled: i64,
}

/// Progress of the canary.
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
    /// Success rate, percent.
    pub success_pct: Option<f64>,
    /// Success threshold, percent.
    pub threshold_pct: Option<u8>,
}

/// The way back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Rollback {
    /// Failures passed the threshold.
    pub offered: bool,
    /// There is one.
    pub possible: bool,
    /// APK of the rollback.
    pub apk_id: Option<String>,
    /// Version name.
    pub version_name: Option<String>,
    /// On how many devices.
    pub devices: Option<usize>,
    /// Reason why rollback is unavailable.
    pub why_not: Option<String>,
}

/// The task of one device.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeploymentTask {
    /// Position in the rollout order.
    pub position: i32,
    /// The device.
    pub device_id: String,
    /// Alias.
    pub alias: String,
    /// Whether the device is in the canary.
    pub canary: bool,
    /// State of the task.
    #[schema(value_type = crate::names::TaskState)]
    pub state: String,
    /// The same state.
    #[schema(value_type = crate::names::TaskState)]
    pub status: String,
    /// Reason.
    #[schema(value_type = Option<crate::names::TaskReason>)]
    pub reason: Option<String>,
    /// Values behind the reason, as `battery 10 % < 40 %`.
    pub reason_detail: Option<String>,
    /// Stage of the installation.
    #[schema(value_type = Option<crate::names::TaskStage>)]
    pub stage: Option<String>,
    /// Download progress, percent.
    pub progress_pct: Option<i16>,
    /// Number of attempts.
    pub attempts: i32,
    /// Earliest time of the next attempt.
    pub not_before: Option<String>,
    /// Start of the last attempt.
    pub started_at: Option<String>,
    /// Time of acceptance by the device.
    pub accepted_at: Option<String>,
    /// Time of completion.
    pub finished_at: Option<String>,
    /// Error code of the last attempt.
    #[schema(value_type = Option<crate::names::TaskError>)]
    pub error: Option<String>,
    /// Human-readable message of the device.
    pub message: Option<String>,
    /// Version code before the installation.
    pub version_before: Option<i64>,
    /// Installed version as reported by the device.
    pub installed_version: Option<String>,
}

/// A page of tasks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeploymentTaskPage {
    /// The tasks, in rollout order.
    pub items: Vec<DeploymentTask>,
    /// Cursor of the next page; null on the last one.
    pub next_cursor: Option<String>,
    /// Number of the page; only where a page was asked for by its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<i64>,
    /// Number of pages; as `page`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<i64>,
    /// Number of tasks on all pages; as `page`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// Event of a deployment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeploymentEvent {
    /// Event number.
    pub id: i64,
    /// Time of the event.
    pub at: String,
    /// Type of the event.
    #[schema(value_type = crate::names::DeploymentEventKind)]
    pub kind: String,
    /// To which device.
    pub device_id: Option<String>,
    /// Human-readable details.
    pub detail: String,
    /// Actor; absent for the server or the device.
    pub by: Option<String>,
}

/// Body of `POST /v1/agent/deployments/{deployment_id}/devices/{device_id}/status`; on the socket the fields of a frame of type
/// `deployment_status`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct DeploymentStatus {
    /// Stage or outcome.
    #[schema(value_type = crate::names::TaskReport)]
    pub status: String,
    /// With `failed` and `skipped`: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Human-readable message, at most 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The version that the device has now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed_version: Option<String>,
    /// Number of the attempt, as in the parameters of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Int>,
    /// Download progress, percent.
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

/// Cluster-wide feature flag.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FeatureFlag {
    /// Name.
    #[schema(value_type = crate::names::FlagName)]
    pub name: String,
    /// Description.
    pub description: String,
    /// On or off.
    pub enabled: bool,
    /// Account of the last change.
    pub updated_by: Option<String>,
    /// Time of the last change.
    pub updated_at: Option<String>,
}

/// List of feature flags.
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
