//! Storage of history: partitions, archives, sizes, and work on them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// 200 of `GET /v1/storage`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Storage {
    /// Days whose heartbeats are kept in the database: `history.heartbeats_kept_days`.
    pub heartbeats_kept_days: u32,
    /// Where archives are kept, without credentials.
    pub archive_url: String,
    /// Why the node that answers cannot use it; null while nothing is known against it.
    #[serde(default)]
    pub archive_problem: Option<String>,
    /// Days by state; states without one are left out.
    pub partitions: Vec<PartitionCount>,
    /// Sizes now.
    pub sizes: StorageSizes,
    /// The disk of the database; null where the node does not see it.
    pub disk: Option<StorageDisk>,
    /// Growth a day; null while there is too little data.
    pub growth: Option<StorageGrowth>,
    /// When the disk is full at this rate.
    pub forecast: StorageForecast,
    /// The partition manager; null before its first run.
    pub manager: Option<PartitionManager>,
    /// The newest work that people started, newest first.
    pub work: Vec<PartitionWork>,
    /// The last reconciliation of each kind.
    pub reconciliations: Vec<Reconciliation>,
    /// The newest backup that succeeded; null without one.
    pub backup: Option<NewestBackup>,
    /// When the schedule makes the next one; null without a schedule.
    pub next_backup_at: Option<String>,
}

/// Days of heartbeats of a state.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct PartitionCount {
    /// State.
    #[schema(value_type = crate::names::PartitionState)]
    pub state: String,
    /// Number of days.
    pub days: usize,
    /// Rows in the database or, where the table is gone, in the archive.
    pub rows: u64,
    /// Bytes in the database.
    pub bytes: u64,
    /// Bytes in the archive.
    pub archive_bytes: u64,
}

/// Sizes now.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct StorageSizes {
    /// The whole database, bytes.
    pub database_bytes: i64,
    /// Heartbeats in it with their indexes, bytes.
    pub heartbeats_bytes: i64,
    /// Rows of those, as the database estimates them.
    pub heartbeats_rows: i64,
    /// The archives, bytes.
    pub archive_bytes: i64,
    /// Rows of those.
    pub archive_rows: i64,
    /// Bytes of a heartbeat in the database, indexes included; null without rows.
    pub bytes_per_heartbeat: Option<f64>,
    /// Bytes of a heartbeat in an archive; null without rows.
    pub bytes_per_archived_heartbeat: Option<f64>,
}

/// The disk of the database.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct StorageDisk {
    /// Size, bytes.
    pub bytes: i64,
    /// Free space, bytes.
    pub free_bytes: i64,
    /// Time of looking.
    pub at: String,
}

/// Growth a day.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct StorageGrowth {
    /// Bytes a day of database and archives together; negative where they shrink.
    pub bytes_per_day: f64,
    /// Bytes a day of what lies on the disk of the database.
    pub disk_bytes_per_day: f64,
    /// Time that it was judged by, s.
    pub over_seconds: i64,
}

/// When the disk is full.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct StorageForecast {
    /// What is known.
    #[schema(value_type = crate::names::StorageForecastKind)]
    pub kind: String,
    /// The time at which it is full; null unless the kind is `full_at`.
    pub full_at: Option<String>,
}

/// The partition manager at the node that ran it last.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct PartitionManager {
    /// Name of the node.
    pub node: String,
    /// Start of the last run that ended; null before the first.
    pub last_run_at: Option<String>,
    /// Start of the run that is under way; null when none is.
    pub running_since: Option<String>,
    /// Length of the last run, ms.
    pub duration_ms: u64,
    /// Steps that the last run carried out.
    pub changed: u64,
    /// Failed runs since the last one that succeeded.
    pub failures_in_a_row: u32,
    /// Reason of the last run's failure; null after a success.
    pub last_error: Option<String>,
    /// When it runs again, about.
    pub next_run_at: Option<String>,
}

/// A day of heartbeats.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Partition {
    /// The day, UTC.
    pub day: String,
    /// State.
    #[schema(value_type = crate::names::PartitionState)]
    pub state: String,
    /// Rows of its table, counted or estimated; null without a table.
    pub rows: Option<u64>,
    /// Size of its table with indexes, bytes.
    pub bytes: Option<u64>,
    /// Its newest archive; null without one.
    pub archive: Option<PartitionArchive>,
    /// When its table was made.
    pub created_at: Option<String>,
    /// When its table was frozen and analyzed.
    pub analyzed_at: Option<String>,
    /// When the archive was written.
    pub archived_at: Option<String>,
    /// When the archive was last read back and matched.
    pub verified_at: Option<String>,
    /// When the table was dropped.
    pub dropped_at: Option<String>,
    /// When it was restored from the archive.
    pub restored_at: Option<String>,
    /// Until when a restored one is kept.
    pub restored_until: Option<String>,
    /// Why the last attempt at a step failed; null after a success.
    pub last_error: Option<String>,
    /// When it failed.
    pub failed_at: Option<String>,
    /// Attempts in a row that failed.
    pub attempts: u32,
    /// The step that is under way; null when none is.
    pub progress: Option<PartitionProgress>,
}

/// The archive of a day.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct PartitionArchive {
    /// Where it is, without credentials.
    pub url: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// SHA-256 of the canonical rows, hex.
    pub rows_sha256: String,
    /// Rows.
    pub rows: u64,
    /// Size of the file, bytes.
    pub bytes: u64,
    /// First bucket; null without rows.
    pub first_at: Option<String>,
    /// Last bucket; null without rows.
    pub last_at: Option<String>,
    /// Version of the file's schema.
    pub schema_version: u32,
}

/// Progress of a step.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct PartitionProgress {
    /// The step.
    pub step: String,
    /// Rows done.
    pub done: u64,
    /// Of how many; null while that is not known.
    pub of: Option<u64>,
    /// When this was noted.
    pub at: String,
}

/// 200 of `GET /v1/partitions/{day}`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct PartitionDetails {
    /// The day.
    #[serde(flatten)]
    pub partition: Partition,
    /// What is due now, in order.
    pub steps: Vec<PartitionStep>,
    /// What comes after that, in words; null when nothing does.
    pub then: Option<String>,
}

/// A step that is due.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct PartitionStep {
    /// What it does.
    #[schema(value_type = crate::names::PartitionAction)]
    pub action: String,
    /// Why it is due, in words.
    pub cause: String,
}

/// Body of `POST /v1/partitions/run`.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartitionRun {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// 200 of `POST /v1/partitions/run`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct PartitionRunStarted {
    /// What is due now, by day.
    pub plan: Vec<PlannedDay>,
    /// The run that was started; null of a dry run.
    pub work: Option<PartitionWork>,
}

/// What is due of a day.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct PlannedDay {
    /// The day, UTC.
    pub day: String,
    /// Steps, in order.
    pub steps: Vec<PartitionStep>,
}

/// Work on partitions that a person started.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct PartitionWork {
    /// Id.
    pub id: String,
    /// Kind.
    #[schema(value_type = crate::names::PartitionWorkKind)]
    pub kind: String,
    /// The day; null of a run.
    pub day: Option<String>,
    /// State.
    #[schema(value_type = crate::names::PartitionWorkState)]
    pub state: String,
    /// What it is doing, in words.
    pub step: String,
    /// Rows done.
    pub done: i64,
    /// Of how many; null while that is not known.
    pub total: Option<i64>,
    /// Who started it.
    pub started_by: String,
    /// Name of the node that does it.
    pub node: String,
    /// Begin.
    pub started_at: String,
    /// End; null while it is under way.
    pub ended_at: Option<String>,
    /// What came out, or went wrong, as a sentence; null while it is under way.
    pub summary: Option<String>,
}

/// The last reconciliation of a kind.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Reconciliation {
    /// What was compared.
    #[schema(value_type = crate::names::ReconciliationCheck)]
    pub check: String,
    /// Name of the node, of a check that each node makes for itself.
    pub node: Option<String>,
    /// Begin.
    pub started_at: String,
    /// Length, s.
    pub seconds: f64,
    /// Rows that were compared.
    pub checked: u64,
    /// Rows that differed.
    pub drifted: u64,
    /// Of these, rows that were mended.
    pub healed: u64,
    /// Whether all that was to be compared was.
    pub complete: bool,
    /// Rows that differed, by kind.
    pub kinds: Vec<DriftCount>,
    /// The first of them.
    pub examples: Vec<Drift>,
}

/// Rows that differ in a way.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct DriftCount {
    /// How they differ.
    #[schema(value_type = crate::names::DriftKind)]
    pub kind: String,
    /// Number of rows.
    pub rows: u64,
}

/// A row that differed from what it is derived from.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Drift {
    /// How.
    #[schema(value_type = crate::names::DriftKind)]
    pub kind: String,
    /// Id of the device, deployment or command.
    pub subject: String,
    /// The fields that differed.
    pub fields: Vec<FieldDrift>,
    /// Whether it was mended.
    pub healed: bool,
}

/// A field that differed.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct FieldDrift {
    /// Name.
    pub field: String,
    /// Value of the derived row; null: it had none.
    pub stored: Option<String>,
    /// Value that it should have had; null: none.
    pub expected: Option<String>,
}

/// The newest backup.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct NewestBackup {
    /// Name of the file.
    pub file: String,
    /// Its size, bytes.
    pub bytes: i64,
    /// Rows in it.
    pub rows: i64,
    /// Name of the node that made it.
    pub node: String,
    /// Begin.
    pub started_at: String,
    /// End.
    pub finished_at: Option<String>,
    /// When it was verified; null if it was not.
    pub verified_at: Option<String>,
}
