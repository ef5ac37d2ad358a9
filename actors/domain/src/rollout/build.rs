//! Agent builds as they are stored and shown, and their statistics.

use super::{BuildState, HaltReason, Promotion, RolloutResults};
use crate::{AgentBuildId, ApkId, Timestamp};

/// Agent build with its APK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentBuild {
    /// Id.
    pub id: AgentBuildId,
    /// The APK.
    pub apk: ApkId,
    /// Package name.
    pub package: String,
    /// Version code.
    pub version_code: i64,
    /// Version name.
    pub version_name: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Size, bytes.
    pub size_bytes: i64,
    /// Signing certificates, SHA-256 as hex.
    pub signers_sha256: Vec<String>,
    /// Internal note.
    pub release_notes: String,
    /// State of the build.
    pub state: BuildState,
    /// Last promotion; `None`: never promoted.
    pub promotion: Option<Promotion>,
    /// Reason for the automatic halt.
    pub halt_reason: Option<HaltReason>,
    /// Results of devices since the last promotion.
    pub judged: RolloutResults,
    /// Creator.
    pub created_by: String,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Account that promoted the build last.
    pub promoted_by: Option<String>,
    /// Time of the last promotion.
    pub promoted_at: Option<Timestamp>,
    /// Account that changed the build last.
    pub changed_by: String,
    /// Time of the last change.
    pub changed_at: Timestamp,
    /// Account that notified devices of the build last.
    pub nudged_by: Option<String>,
    /// Time of the last notification.
    pub nudged_at: Option<Timestamp>,
}

/// APK of the agent that may become a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildCandidate {
    /// The APK.
    pub id: ApkId,
    /// Version code.
    pub version_code: i64,
    /// Version name.
    pub version_name: String,
    /// Size of the file, bytes.
    pub size_bytes: i64,
}

/// Counters of an hour, or of all hours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpdateCounts {
    /// Update checks that the build was considered for.
    pub checks: i64,
    /// Update checks that were answered with the build.
    pub eligible: i64,
    /// Devices that downloaded the build.
    pub downloads: i64,
    /// Devices that installed the build.
    pub installs: i64,
    /// Devices whose installation failed.
    pub failures: i64,
    /// Devices whose verification failed.
    pub verify_failures: i64,
}

/// Devices that run a version of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionSample {
    /// Beginning of the hour.
    pub hour: Timestamp,
    /// Version code; 0 for devices that do not report it.
    pub version_code: i64,
    /// Number of devices.
    pub devices: i64,
}
