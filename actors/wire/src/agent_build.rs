//! Updates of the agent: what devices ask and tell, and builds for people.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lenient::Int;

/// 200 of `GET /v1/agent/update`: a newer build for this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentUpdate {
    /// The build; reports name it.
    pub build_id: String,
    /// Version code, greater than the one that was asked with.
    pub version_code: i64,
    /// Version name.
    pub version_name: String,
    /// Package.
    pub package_name: String,
    /// Signed download URL with a limited lifetime; supports ranges.
    pub download_url: String,
    /// Expiry of the download URL.
    pub download_url_expires_at: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// SHA-256 of the certificate that signs it, hex.
    pub signer_fingerprint: String,
    /// Length of the file in bytes.
    pub file_size: i64,
    /// Download over Wi-Fi only.
    pub wifi_only: bool,
    /// Force installation: do not postpone.
    pub must_install: bool,
    /// Minimum battery, percent.
    pub min_battery: u8,
    /// Rollout percentage.
    pub staged_rollout_percent: u8,
    /// Internal release notes.
    pub release_notes: String,
}

/// Body of `POST /v1/agent/update/report`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct AgentUpdateReport {
    /// The build.
    pub build_id: String,
    /// The event.
    #[schema(value_type = crate::names::UpdateEvent)]
    pub event: String,
    /// The error, best as a short code; text beyond 200 characters is cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The version that the device runs now; after `installed` it must be the build's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_code: Option<Int>,
    /// If given, must be the caller's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
}

/// 200 of `POST /v1/agent/update/report`: it is on record.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgentUpdateReported {
    /// Always true.
    pub ok: bool,
}

/// Body of `POST /v1/agent-builds`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAgentBuild {
    /// An uploaded APK of the agent.
    pub apk_id: String,
    /// Internal release notes, at most 4,000 characters.
    #[serde(default)]
    pub release_notes: String,
}

/// Body of `POST /v1/agent-builds/{id}/promote`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteAgentBuild {
    /// Rollout percentage, 1..100.
    pub rollout_percent: i64,
    /// Download over Wi-Fi only; true when absent.
    #[serde(default = "yes")]
    pub wifi_only: bool,
    /// Force installation: the agent must not postpone it; false when absent.
    #[serde(default)]
    pub must_install: bool,
    /// Minimum battery, percent, 0..100; 0 when absent.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100)]
    pub min_battery: i64,
}

fn yes() -> bool {
    true
}

/// Body of `POST /v1/agent-builds/{id}/rollout`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentBuildRollout {
    /// Rollout percentage, 1..100.
    pub rollout_percent: i64,
}

/// Body of `POST /v1/agent-builds/{id}/nudge`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NudgeRequest {
    /// Dry run: only count the devices.
    pub dry_run: bool,
    /// Commands per second; `commands.batch_per_second` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<i32>,
}

/// Devices that a nudge addresses.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct NudgePlan {
    /// Devices that are offered the build and run an older version.
    pub devices: usize,
    /// Online devices among them.
    pub online: usize,
    /// Devices beyond what one call may address.
    pub left_out: usize,
}

/// 200 or 201 of `POST /v1/agent-builds/{id}/nudge`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum NudgeResponse {
    /// A dry run.
    Plan(NudgePlan),
    /// The commands that were made.
    Batch(Box<crate::command::CommandBatch>),
}

/// Counters of a build. Each device counts once per counter, except for checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpdateCounts {
    /// Checks that were judged by the build.
    pub checks: i64,
    /// Checks that were answered with it.
    pub eligible: i64,
    /// Devices that downloaded it.
    pub downloads: i64,
    /// Devices that installed it.
    pub installs: i64,
    /// Devices whose installation failed.
    pub failures: i64,
    /// Devices whose verification failed.
    pub verify_failures: i64,
}

/// Devices that a build is offered to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CohortCounts {
    /// Total.
    pub devices: u64,
    /// Online devices.
    pub online: u64,
    /// Devices with an older version.
    pub behind: u64,
}

/// A build of the agent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgentBuild {
    /// Id.
    pub id: String,
    /// The APK behind it.
    pub apk_id: String,
    /// Package.
    pub package: String,
    /// Version code.
    pub version_code: i64,
    /// Version name.
    pub version_name: String,
    /// Internal release notes.
    pub release_notes: String,
    /// State.
    #[schema(value_type = crate::names::AgentBuildState)]
    pub state: String,
    /// Current or last rollout percentage; absent for a draft.
    pub rollout_percent: Option<u8>,
    /// Download over Wi-Fi only; absent for a draft, as are the next two.
    pub wifi_only: Option<bool>,
    /// Force installation: the agent must not postpone it.
    pub must_install: Option<bool>,
    /// Minimum battery, percent.
    pub min_battery: Option<u8>,
    /// Reason of the automatic halt.
    #[schema(value_type = Option<crate::names::HaltReason>)]
    pub halt_reason: Option<String>,
    /// Creator.
    pub created_by: String,
    /// Time of creation.
    pub created_at: String,
    /// Account of the last promotion.
    pub promoted_by: Option<String>,
    /// Time of the last promotion.
    pub promoted_at: Option<String>,
    /// Account of the last change.
    pub changed_by: String,
    /// Time of the last change.
    pub changed_at: String,
    /// Account of the last nudge.
    pub nudged_by: Option<String>,
    /// Time of the last nudge.
    pub nudged_at: Option<String>,
    /// Devices that it is offered to now; none while it is not promoted.
    pub cohort: CohortCounts,
    /// Devices that run it now.
    pub running: u64,
    /// Counters over all hours that are kept.
    pub counts: UpdateCounts,
}

/// Counters of an hour.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpdateHour {
    /// Beginning of the hour.
    pub hour: String,
    /// The counters.
    #[serde(flatten)]
    pub counts: UpdateCounts,
}

/// Error reported by devices.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpdateError {
    /// Error as reported by the agent.
    pub error: String,
    /// Number of reports.
    pub devices: i64,
}

/// Devices that ran a version of the agent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionSample {
    /// Beginning of the hour.
    pub hour: String,
    /// Version code; 0 for devices that do not tell it.
    pub version_code: i64,
    /// Number of devices.
    pub devices: i64,
}

/// Statistics of a build, and agent versions of the fleet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgentBuildStats {
    /// The build.
    pub build: AgentBuild,
    /// Counters by hour, oldest first; hours without any are left out.
    pub hours: Vec<UpdateHour>,
    /// Errors, most frequent first.
    pub errors: Vec<UpdateError>,
    /// Versions by hour, oldest first; the last hour is the present.
    pub versions: Vec<VersionSample>,
}
