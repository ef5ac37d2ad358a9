//! Requests and answers of the API for people and scripts.

use domain::telemetry;
use domain::telemetry::{Telemetry, Unusable, WatchedApp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::reading::shown;

/// Body of `POST /v1/auth/login`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct LoginRequest {
    /// Name of the account.
    pub username: String,
    /// Password.
    pub password: String,
}

/// Body of `POST /v1/auth/refresh` and `POST /v1/auth/logout`.
#[derive(Default, Deserialize, Serialize, ToSchema)]
pub struct RefreshRequest {
    /// Refresh token of the last response.
    #[serde(default)]
    pub refresh_token: Option<String>,
}

/// 200 of `POST /v1/auth/login` and `POST /v1/auth/refresh`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct LoginResponse {
    /// Bearer token of the admin API.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// Expiry of the access token.
    pub expires_at: String,
    /// Single-use token for the next pair. Null when a concurrent request received it.
    pub refresh_token: Option<String>,
    /// Expiry of the refresh token.
    pub refresh_expires_at: String,
    /// Name of the account.
    pub username: String,
    /// Role.
    #[schema(value_type = crate::names::Role)]
    pub role: String,
}

/// Body of `POST /v1/enroll-tokens`.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreateEnrollTokens {
    /// Number of tokens, 1..500; 1 when absent.
    pub count: Option<i64>,
    /// Lifetime of the tokens, seconds.
    pub expires_in_seconds: Option<i64>,
    /// Alias that the device gets; only with a count of 1.
    pub alias: Option<String>,
    /// Alias with `{n}`, which counts from `start_number`.
    pub alias_pattern: Option<String>,
    /// First `{n}`, 1 when absent.
    pub start_number: Option<i64>,
    /// Tags that the device gets.
    pub tags: Vec<String>,
    /// Groups that the device gets.
    pub groups: Vec<String>,
}

/// 201 of `POST /v1/enroll-tokens`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct CreatedEnrollTokens {
    /// In the order of `{n}`.
    pub tokens: Vec<CreatedEnrollToken>,
    /// What to look at, such as an alias that is easily mistaken for another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A new token; the only time its secret is shown.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct CreatedEnrollToken {
    /// Identity of the token.
    pub id: String,
    /// The bearer token of `POST /v1/register`.
    pub token: String,
    /// Alias that the device gets.
    pub alias: Option<String>,
    /// Time of expiry.
    pub expires_at: String,
}

/// One row of `GET /v1/enroll-tokens`.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct EnrollToken {
    /// Identity of the token.
    pub id: String,
    /// State.
    #[schema(value_type = crate::names::EnrollTokenStatus)]
    pub status: String,
    /// Alias that the device gets.
    pub alias: Option<String>,
    /// Tags that the device gets.
    pub tags: Vec<String>,
    /// Groups that the device gets.
    pub groups: Vec<String>,
    /// Time of creation.
    pub created_at: String,
    /// Creator.
    pub created_by: Option<String>,
    /// Time of expiry.
    pub expires_at: String,
    /// Time of use.
    pub used_at: Option<String>,
    /// The device that used it.
    pub device_id: Option<String>,
    /// Time of revocation.
    pub revoked_at: Option<String>,
}

/// A page of a list.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Opaque cursor of the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// A device as lists and `GET /v1/devices/{id}` show it.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Device {
    /// Identity.
    pub id: String,
    /// Display name.
    pub alias: String,
    /// Connectivity.
    #[schema(value_type = crate::names::DeviceStatus)]
    pub status: String,
    /// State of the monitored app.
    #[schema(value_type = crate::names::AppStatus)]
    pub app_status: String,
    /// Whether two devices report as this one. Commands to it are held then, until somebody has decided.
    #[schema(value_type = crate::names::IdentityStatus)]
    pub identity: String,
    /// Since when they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_conflict_at: Option<String>,
    /// Rules of its open alerts, as its owner knows them.
    #[serde(default)]
    #[schema(value_type = Vec<crate::names::AlertRuleName>)]
    pub alerts: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// Hardware identity given at enrollment.
    pub hardware_id: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Time of enrollment.
    pub enrolled_at: String,
    /// Time at which the server last stored a newer heartbeat.
    pub last_seen_at: Option<String>,
    /// The newest stored heartbeat.
    pub last: Option<LastStatus>,
}

macro_rules! last_status {
    ({} $( { $field:ident $heartbeat:tt [$($type:tt)*] $attributes:tt $about:tt $api:tt } )*) => {
        /// The newest stored heartbeat of a device.
        #[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
        pub struct LastStatus {
            /// Start of its 10-second bucket.
            pub bucket_at: String,
            /// The device's own clock.
            pub device_time: Option<String>,
            /// Whether the device's clock was rejected.
            pub clock_rejected: bool,
            $(#[doc = $about] $api $field: Option<$($type)*>,)*
            /// Monitored packages.
            pub apps: Vec<App>,
            /// Values that the device sent and that could not be used as they were.
            #[serde(default)]
            pub unusable: Vec<UnusableValue>,
        }

        impl LastStatus {
            /// A status with these readings, and without its times.
            pub fn of(telemetry: &Telemetry) -> Self {
                Self {
                    $($field: telemetry.$field.as_ref().map(shown),)*
                    apps: telemetry.apps.iter().map(App::of).collect(),
                    unusable: telemetry.unusable.iter().map(UnusableValue::of).collect(),
                    ..Self::default()
                }
            }
        }
    };
}
macro_rules! api_types {
    ({} $($rows:tt)*) => {
        typed! { last_status {} [] $($rows)* }
    };
}
telemetry! { api => api_types {} }

/// A monitored package.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct App {
    /// Package name.
    pub package: String,
    /// Whether it is installed.
    pub installed: Option<bool>,
    /// Version name.
    pub version_name: Option<String>,
    /// Version code.
    pub version_code: Option<i64>,
}

impl App {
    fn of(app: &WatchedApp) -> Self {
        let WatchedApp { package, installed, version_name, version_code } = app.clone();
        Self { package, installed, version_name, version_code }
    }
}

/// A value that a device sent and that could not be used as it was.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct UnusableValue {
    /// Path in the heartbeat.
    pub field: String,
    /// The value, cut to 64 characters.
    pub value: String,
    /// Why, and what was taken instead.
    pub problem: String,
    /// Receipt of the first heartbeat of those in a row whose value was unusable.
    pub since: String,
}

impl UnusableValue {
    fn of(unusable: &Unusable) -> Self {
        let Unusable { field, value, problem, since } = unusable.clone();
        Self { field, value, problem, since: shown(&since) }
    }
}

/// 200 of `GET /v1/fleet/stats`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
pub struct FleetStats {
    /// Enrolled devices.
    pub devices: u64,
    /// Devices with a heartbeat within the offline limit.
    pub online: u64,
    /// Devices seen before, but without a heartbeat within the offline limit.
    pub offline: u64,
    /// Enrolled devices without a heartbeat.
    pub never_seen: u64,
    /// Online with a battery below the configured limit.
    pub low_battery: u64,
    /// Online, but the monitored app is down.
    pub app_down: u64,
    /// Devices whose identity is in conflict.
    pub identity_conflicts: u64,
    /// Heartbeats stored per second, over the last seconds.
    pub heartbeats_per_second: f64,
    /// Whether all devices are counted. False right after the start of a node, which then knows a part of the fleet only.
    #[serde(default)]
    pub complete: bool,
}

/// 200 of `GET /v1/cluster`: the cluster as the node that answers sees it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Cluster {
    /// Name of the node that answers.
    pub node: String,
    /// Whether the node's lease is valid.
    pub lease_holds: bool,
    /// Nodes that live, and those that ended within the hour.
    pub nodes: Vec<ClusterNode>,
    /// Every shard, in the order of their numbers.
    pub shards: Vec<ClusterShard>,
    /// The newest moves of shards, newest first; those of one second together.
    pub moves: Vec<ClusterMove>,
    /// Reconcilers, by name: the periodic work of the cluster and of each node.
    pub reconcilers: Vec<ClusterReconciler>,
}

/// A node.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ClusterNode {
    /// This start of it.
    pub node_id: String,
    /// Name.
    pub name: String,
    /// State.
    #[schema(value_type = crate::names::NodeState)]
    pub state: String,
    /// URL for devices and users.
    pub http_url: String,
    /// Address for other nodes.
    pub cluster_addr: String,
    /// Build.
    pub version: String,
    /// Newest protocol between nodes that it speaks.
    pub protocol_max: i32,
    /// Protocol that is spoken with it; null without a link.
    pub protocol: Option<u16>,
    /// Shards that it owns.
    pub shards: usize,
    /// Devices that it owns; null when it has not told.
    pub devices: Option<u64>,
    /// Heartbeats that it stores per second.
    pub heartbeats_per_second: Option<f64>,
    /// Time of joining.
    pub joined_at: String,
    /// Time of leaving or loss.
    pub ended_at: Option<String>,
    /// Remaining time of the lease, ms; negative after expiry.
    pub lease_left_ms: i64,
    /// Whether the answering node reaches it; null for itself and for those that ended.
    pub reachable: Option<bool>,
    /// Round trip between the answering node and it, ms.
    pub round_trip_ms: Option<f64>,
    /// Its pools of permits; empty when it has not told.
    #[serde(default)]
    pub pools: Vec<ClusterPool>,
    /// Its connections to the database; null when it has not told.
    #[serde(default)]
    pub connections: Option<ClusterConnections>,
}

/// Connections of a node to the database, and the waits for them.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ClusterConnections {
    /// Most connections: `database.pool_max_connections`.
    pub capacity: u32,
    /// Open connections, used or not.
    pub open: u32,
    /// Connections in use.
    pub in_use: u32,
    /// Callers that wait for one.
    pub waiting: u32,
    /// Average wait over the last minute at most, ms.
    pub wait_avg_ms: f64,
    /// Longest wait over the last minute at most, ms.
    pub wait_max_ms: f64,
    /// Callers that got none in time since the node started.
    pub timed_out: u64,
    /// Connections given up since then, because the database did not answer in time.
    pub given_up: u64,
}

/// Pool of permits of a node.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ClusterPool {
    /// Name, as in the metrics.
    pub name: String,
    /// Permits that there are.
    pub capacity: u64,
    /// Permits in use.
    pub in_use: u64,
    /// Callers that wait for one.
    pub waiting: u64,
    /// Callers refused since the node started.
    pub refused: u64,
}

/// A shard.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ClusterShard {
    /// Shard number.
    pub shard: u16,
    /// Name of its owner; null while it has none.
    pub owner: Option<String>,
    /// Epoch: number of claims of the shard.
    pub epoch: i64,
}

/// The state of a reconciler at a node.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ClusterReconciler {
    /// Name.
    pub name: String,
    /// Name of the node; of one that runs once per cluster, the node that ran it last.
    pub node: String,
    /// Whether one node runs it for the whole cluster; otherwise every node runs its own.
    pub per_cluster: bool,
    /// Runs that ended since the node started.
    pub runs: u64,
    /// Failed runs since the last one that succeeded.
    pub failures_in_a_row: u32,
    /// Start of the last run that ended; null before the first.
    pub last_run_at: Option<String>,
    /// Start of the run that is under way; null when none is.
    pub running_since: Option<String>,
    /// Length of the last run, ms.
    pub duration_ms: u64,
    /// Things that the last run changed.
    pub changed: u64,
    /// Reason of the last run's failure; null after a success.
    pub last_error: Option<String>,
}

/// Shards that moved together.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ClusterMove {
    /// Previous owner; null if unassigned.
    pub from: Option<String>,
    /// New owner.
    pub to: String,
    /// Why.
    #[schema(value_type = crate::names::ShardMoveReason)]
    pub reason: String,
    /// Number of shards.
    pub shards: i64,
    /// Time of the last move.
    pub at: String,
}
