//! Every SQL statement of NexMDM: the only crate that knows there is a database.
//!
//! One module per aggregate, all of them methods of [`Store`]. Statements are
//! checked at compile time against the committed schema, except those that
//! are built at run time: what the filters of two lists select, and what is done to partitions.

#[macro_use]
mod telemetry_column;

mod account;
mod agent_build;
mod agent_build_stat;
mod alert;
mod api_token;
mod apk;
mod apk_upload;
mod archived;
pub(crate) mod audit;
mod audit_archive;
mod backup;
mod canonical;
mod channels;
mod cluster;
mod cluster_keys;
mod cluster_lock;
mod command;
mod command_page;
mod command_report;
mod deployment;
mod deployment_apply;
mod deployment_page;
mod deployment_reading;
mod deployment_record;
mod deployment_report;
mod deployment_transition;
mod details;
mod device;
mod device_edit;
mod device_event;
mod device_filter;
mod device_identity;
mod device_search;
mod durability;
mod enroll_retry;
mod enroll_token;
mod error;
mod exec_command;
mod flag;
mod heartbeat;
mod history;
mod in_force;
mod legacy_push;
mod managed_package;
mod migrate;
mod narrow;
mod notification;
mod partition;
mod password_link;
mod pool;
mod reconciliation;
mod replica;
mod report;
mod request_key;
mod retention;
mod saved_filter;
mod server_check;
mod session;
mod sign_in_failure;
mod storage;
mod user;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sqlx::AssertSqlSafe;

use pool::{Connection, Limits, Lineage, Pool, Target, Transaction, Wanted};

pub use account::AccountOutcome;
pub use agent_build::{AddBuildOutcome, BuildAction, BuildActionOutcome};
pub use agent_build_stat::{UpdateCheckCount, UpdateReport, UpdateReportOutcome};
pub use alert::{
    AlertChange, AlertGroup, AlertNotice, AlertQuery, AlertTransition, ChangedAlert, JudgedDeployment, NodeHealth, OpenAlert,
    RemediationCandidate, RemediationCommand, RemediationUse, ReportErrors, StoredRemediation, TaskTotals,
};
pub use api_token::{ApiTokenOutcome, ApiTokenQuery, ApiTokenUser, NewApiToken};
pub use apk::{AddApkOutcome, DeletedApk, NewApk};
pub use apk_upload::{NewUpload, UploadsMax};
pub use audit::AuditEntry;
pub use backup::{NewBackup, RestoreTarget, RestoreTransaction, Snapshot, SnapshotApk, SnapshotSequence, SnapshotTable};
pub use canonical::NameCollision;
pub use cluster::{ClaimedShard, JoinOutcome, Listener, NewNode, Notification, ShardRow};
pub use cluster_keys::Rekeyed;
pub use cluster_lock::ClusterLock;
pub use command::{IdempotencyRecord, InsertOutcome, NewBatch, NewCommands, OpenCommand, OpenCommandScope};
pub use command_page::BatchCount;
pub use command_report::{CommandReport, CommandReportOutcome, Reporter, key_version};
pub use deployment::{CreateOutcome, NewDeployment, NewTask};
pub use deployment_apply::{Applied, ApplyPlan, ChangedTask, TaskStart};
pub use deployment_page::TaskCount;
pub use deployment_reading::{DeploymentReading, IndexedTask, RefusedCommand};
pub use deployment_record::target as deployment_target;
pub use deployment_report::TaskReportOutcome;
pub use deployment_transition::TransitionOutcome;
pub use details::same_details;
pub use device::{Credential, DeviceAccess, NewDevice, StoredDevice};
pub use device_edit::DeviceWork;
pub use device_event::{RecordedChange, StoredEvent};
pub use device_filter::StatusThresholds;
pub use durability::DurabilitySettings;
pub use enroll_retry::{RegistrationRetry, ReplacementToken, RetriedDevice};
pub use enroll_token::{EnrollOutcome, NewEnrollToken, PresentedToken, UsableToken};
pub use error::{Conflict, StoreError, UnfitServer};
pub use heartbeat::HeartbeatRow;
pub use managed_package::RemovePackageOutcome;
pub use narrow::NarrowRows;
pub use notification::{
    AttemptRecord, ChannelDelivery, ChannelRow, ClaimedDelivery, CoordinatorInput, CoordinatorNews, DecisionWrite, EventTaker, Missed,
    NewSecret, OutboxCounts, StoredReportSchedule, Subscribed,
};
pub use partition::{LOCK_TIMEOUT_MS, LockPatience, PartitionTable};
pub use password_link::{LinkKind, LinkedAccount};
pub use reconciliation::{HourDrift, StatusChunk};
pub use request_key::KeyClaim;
pub use server_check::ServerConnections;
pub use session::{NewSession, Rotation, SessionUser};
pub use storage::DatabaseSizes;
pub use user::{NewUser, UserRow};

/// The database, behind a pool of connections.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    statement_timeout: Duration,
    sessions: Arc<narrow::Sessions>,
    /// For reads that may lag, of stores made by [`Store::for_reading`].
    replica: Option<Arc<replica::Replica>>,
    reads_by_replica: bool,
}

/// Size and patience of the pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolOptions {
    /// Most connections.
    pub max_connections: u32,
    /// How long a caller waits for a free connection.
    pub acquire_timeout: Duration,
    /// How long one statement may take before the database ends it.
    pub statement_timeout: Duration,
    /// How much longer than that an answer is waited for; then the connection is given up.
    pub answer_grace: Duration,
}

/// Longest wait of a transaction for the next statement of its node, ms; the database rolls it back then, and its locks end. Less than a lease: what
/// a node held that froze, or whose network was cut, is free before others take its shards.
const IDLE_IN_TRANSACTION_MAX_MS: &str = "3000";

/// Statements that set up a new connection. Not options of its start: poolers refuse or drop those, in session mode as well.
fn session_settings(statement_timeout: Duration) -> String {
    let statement_timeout_ms = statement_timeout.as_millis().to_string();
    let settings = [
        ("statement_timeout", statement_timeout_ms.as_str()),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MAX_MS),
        // Connections of a node that is out of reach end; the defaults of the system are hours.
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
        canonical::KEEPS_CANONICAL_NAMES,
        ("timezone", "UTC"),
        // What is counted under a lock is read after it; a default of the database or role must not take an older state for it.
        ("default_transaction_isolation", "read committed"),
        // A batch statement is planned once; a generic plan is as good and costs nothing again.
        ("plan_cache_mode", "force_generic_plan"),
        // Statements here are short: starting a worker takes longer than it saves.
        ("max_parallel_workers_per_gather", "0"),
    ];
    settings.iter().map(|(name, value)| format!("SET {name} = '{value}';")).collect()
}

/// Runs statements of ours that set up a connection, in one round trip.
pub(crate) async fn configure(connection: &mut Connection, settings: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(settings)).execute(connection).await.map(drop)
}

/// How many connections there are, and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// Open connections.
    pub open: u32,
    /// Open connections that nobody uses.
    pub idle: u32,
    /// Most connections.
    pub max: u32,
    /// Connections given up so far because the database did not answer in time, also those of stores beside this one.
    pub given_up: u64,
}

/// A pool that leads to the primary of a URL's hosts, or to a standby.
fn pool(url: &str, wanted: Wanted, options: PoolOptions, given_up: Arc<AtomicU64>, lineage: Arc<Lineage>) -> Result<Pool, StoreError> {
    let PoolOptions { max_connections, acquire_timeout, statement_timeout, answer_grace } = options;
    // The setting of floats is the server's default, and a pooler may not know it.
    let field = match wanted {
        Wanted::Primary => "DATABASE_URL (database.url)",
        Wanted::Standby => "database.read_url",
    };
    let places = pool::hosts(field, url)?.into_iter().map(|place| place.application_name("nexmdm").extra_float_digits(None)).collect();
    // One host that does not answer leaves time for the others.
    let target = Target::new(places, wanted, lineage, acquire_timeout / 2);
    let limits =
        Limits { connections: max_connections, acquire: acquire_timeout, answer: statement_timeout + answer_grace, grace: answer_grace };
    Ok(Pool::new(target, session_settings(statement_timeout), limits, given_up))
}

impl Store {
    /// A store for the database at `url`, which may name several hosts of which one is the primary. Connects when first used, and again
    /// whenever the database comes back.
    ///
    /// # Errors
    /// The URL is not one of PostgreSQL.
    pub fn new(url: &str, options: PoolOptions) -> Result<Self, StoreError> {
        Self::counting(url, options, Arc::default(), Arc::default())
    }

    /// Checks what can be known of the URL of a database, and of that of its standby, without connecting.
    ///
    /// # Errors
    /// It is not one of PostgreSQL, or does not ask for the primary; without the URL, which may hold a password.
    pub fn check_url(field: &str, url: &str) -> Result<(), domain::Invalid> {
        pool::hosts(field, url).map(drop)
    }

    /// A store for the same database over connections of its own, whose lost ones are counted with those of this one.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn beside(&self, url: &str, options: PoolOptions) -> Result<Self, StoreError> {
        Self::counting(url, options, self.pool.given_up_count(), self.pool.lineage())
    }

    fn counting(url: &str, options: PoolOptions, given_up: Arc<AtomicU64>, lineage: Arc<Lineage>) -> Result<Self, StoreError> {
        let pool = pool(url, Wanted::Primary, options, given_up, lineage)?;
        Ok(Self { pool, statement_timeout: options.statement_timeout, sessions: Arc::default(), replica: None, reads_by_replica: false })
    }

    /// Begins a transaction; it is rolled back if it is dropped, whenever that is.
    pub(crate) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        self.pool.begin().await
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query_scalar!("SELECT 1").fetch_one(&self.pool).await?;
        Ok(())
    }

    /// Use of the pool.
    pub fn pool_use(&self) -> PoolUse {
        PoolUse { open: self.pool.open(), idle: self.pool.idle(), max: self.pool.max(), given_up: self.pool.given_up() }
    }

    /// Connections in use, and the waits for them.
    pub fn connection_figures(&self) -> domain::connections::ConnectionFigures {
        self.pool.figures()
    }

    /// Whether a connection led to a server that only reads a moment ago, as a standby does that a fail-over has passed: what is not found may
    /// well be there.
    pub fn reads_are_doubtful(&self) -> bool {
        self.pool.reads_are_doubtful()
    }

    /// Closes every connection, waiting for those in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
