//! Updates of the agent: what devices ask and tell, and builds for people.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lenient::Int;

/// 200 of `GET /v1/agent/update`: a newer build for this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentUpdate {
    /// The build; reports name it.
    pub build_id: String,
    /// Its version code, greater than the one that was asked with.
    pub version_code: i64,
    /// Its version name.
    pub version_name: String,
    /// Its package.
    pub package_name: String,
    /// Where it is downloaded from, in ranges if need be; holds for a while.
    pub download_url: String,
    /// Until when that holds; then ask again.
    pub download_url_expires_at: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// SHA-256 of the certificate that signs it, hex.
    pub signer_fingerprint: String,
    /// Length of the file in bytes.
    pub file_size: i64,
    /// Download over Wi-Fi only.
    pub wifi_only: bool,
    /// Do not put it off.
    pub must_install: bool,
    /// Lowest charge to install at, percent.
    pub min_battery: u8,
    /// Share of the fleet that it is offered to, percent.
    pub staged_rollout_percent: u8,
    /// For people.
    pub release_notes: String,
}

/// Body of `POST /v1/agent/update/report`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct AgentUpdateReport {
    /// The build.
    pub build_id: String,
    /// `downloaded`, `installed`, `failed` or `verify_failed`.
    pub event: String,
    /// What went wrong, best as a short code; what is beyond 200 characters is cut off.
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
    /// For people, at most 4,000 characters.
    #[serde(default)]
    pub release_notes: String,
}

/// Body of `POST /v1/agent-builds/{id}/promote`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteAgentBuild {
    /// Share of the fleet that it is offered to, 1..100.
    pub rollout_percent: i64,
    /// Download over Wi-Fi only; true when absent.
    #[serde(default = "yes")]
    pub wifi_only: bool,
    /// The agent must not put it off; false when absent.
    #[serde(default)]
    pub must_install: bool,
    /// Lowest charge to install at, percent, 0..100; 0 when absent.
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
    /// Share of the fleet that it is offered to, 1..100.
    pub rollout_percent: i64,
}

/// Body of `POST /v1/agent-builds/{id}/nudge`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NudgeRequest {
    /// Only say whom it would be for.
    pub dry_run: bool,
    /// Commands that are sent in a second; `commands.batch_per_second` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<i32>,
}

/// Whom a nudge would be for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct NudgePlan {
    /// Devices that are offered the build and run an older version.
    pub devices: usize,
    /// Those of them that are heard from.
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

/// Counters of a build; each device counts once for each, checks aside.
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
    /// Devices that could not.
    pub failures: i64,
    /// Devices that could not verify it.
    pub verify_failures: i64,
}

/// Devices that a build is offered to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CohortCounts {
    /// All of them.
    pub devices: u64,
    /// Those that are heard from.
    pub online: u64,
    /// Those that run an older version.
    pub behind: u64,
}

/// A build of the agent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgentBuild {
    /// Its id.
    pub id: String,
    /// The APK behind it.
    pub apk_id: String,
    /// Its package.
    pub package: String,
    /// Its version code.
    pub version_code: i64,
    /// Its version name.
    pub version_name: String,
    /// For people.
    pub release_notes: String,
    /// `draft`, `promoted`, `halted` or `rolled_back`.
    pub state: String,
    /// Share of the fleet that it is or was offered to, percent; absent for a draft.
    pub rollout_percent: Option<u8>,
    /// Download over Wi-Fi only; absent for a draft, as are the next two.
    pub wifi_only: Option<bool>,
    /// The agent must not put it off.
    pub must_install: Option<bool>,
    /// Lowest charge to install at, percent.
    pub min_battery: Option<u8>,
    /// Why the server took it out: `verify_failures` or `failure_rate`.
    pub halt_reason: Option<String>,
    /// Who added it.
    pub created_by: String,
    /// When.
    pub created_at: String,
    /// Who promoted it last.
    pub promoted_by: Option<String>,
    /// When.
    pub promoted_at: Option<String>,
    /// Who changed anything last.
    pub changed_by: String,
    /// When.
    pub changed_at: String,
    /// Who told devices to look for it last.
    pub nudged_by: Option<String>,
    /// When.
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

/// What devices say went wrong.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpdateError {
    /// In the agent's words.
    pub error: String,
    /// How many times it was told.
    pub devices: i64,
}

/// Devices that ran a version of the agent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionSample {
    /// Beginning of the hour.
    pub hour: String,
    /// Version code; 0 for devices that do not tell it.
    pub version_code: i64,
    /// How many.
    pub devices: i64,
}

/// What became of a build, and which versions the fleet ran.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgentBuildStats {
    /// The build.
    pub build: AgentBuild,
    /// Counters by hour, oldest first; hours without any are left out.
    pub hours: Vec<UpdateHour>,
    /// What went wrong, most frequent first.
    pub errors: Vec<UpdateError>,
    /// Versions by hour, oldest first; the last hour is the present.
    pub versions: Vec<VersionSample>,
}
