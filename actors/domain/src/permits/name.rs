//! The pools of a node, and the settings that their limits come from.

use super::limit::Limit;

/// What permits are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum PoolName {
    /// Downloads of APKs.
    Downloads,
    /// Downloads of the agent's APK for enrollment.
    AgentApkDownloads,
    /// Bodies of uploads.
    Uploads,
    /// bcrypt of passwords.
    Passwords,
    /// bcrypt of device tokens.
    DeviceTokens,
    /// Tables that are read.
    Exports,
    /// Tables that are taken in.
    Imports,
    /// Connections to the database that lists, searches, history and exports use at a time.
    DatabaseReads,
    /// Sockets of devices.
    AgentSockets,
    /// Open pages of the dashboard.
    DashboardSessions,
    /// Connections of clients.
    Connections,
    /// Handshakes of other nodes, and of whoever else connects to their port.
    LinkHandshakes,
}

named!(pub PoolName, parse -> Option);

/// Settings with a common start: capacity, reserve, shares.
macro_rules! named_after {
    ($limit:expr, $start:literal) => {
        match $limit {
            Limit::Capacity => concat!($start, "_max"),
            Limit::Reserve => concat!($start, "_reserved_pct"),
            Limit::Principal => concat!($start, "_per_principal_max"),
            Limit::Link => concat!($start, "_per_link_max"),
            Limit::Address => concat!($start, "_per_address_pct"),
            Limit::Waiting | Limit::Wait => concat!($start, "_wait_ms"),
        }
    };
}

impl PoolName {
    /// Title on pages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Downloads => "APK downloads",
            Self::AgentApkDownloads => "Agent downloads",
            Self::Uploads => "Uploads",
            Self::Passwords => "Password checks",
            Self::DeviceTokens => "Device token checks",
            Self::Exports => "Exports",
            Self::Imports => "Imports",
            Self::DatabaseReads => "Database reads",
            Self::AgentSockets => "Agent sockets",
            Self::DashboardSessions => "Dashboard pages",
            Self::Connections => "Connections",
            Self::LinkHandshakes => "Node handshakes",
        }
    }

    /// The setting that sets a limit; callers are told it.
    pub fn setting(self, limit: Limit) -> &'static str {
        match (self, limit) {
            (Self::Downloads, _) => named_after!(limit, "apks.downloads"),
            (Self::AgentApkDownloads, _) => named_after!(limit, "enrollment.agent_apk_downloads"),
            (Self::Uploads, _) => named_after!(limit, "apks.uploads"),
            (Self::Passwords | Self::DeviceTokens, Limit::Capacity) => "auth.bcrypt_concurrency",
            (Self::Passwords, Limit::Waiting) => "auth.bcrypt_waiting_max",
            (Self::DeviceTokens, Limit::Waiting) => "auth.device_bcrypt_waiting_max",
            (Self::Passwords | Self::DeviceTokens, _) => named_after!(limit, "auth.bcrypt"),
            (Self::Exports | Self::Imports, _) => named_after!(limit, "http.exports"),
            (Self::DatabaseReads, Limit::Capacity) => "database.reads_pct",
            (Self::DatabaseReads, Limit::Principal) => "database.reads_per_principal_pct",
            (Self::DatabaseReads, Limit::Waiting) => "database.reads_waiting_max",
            (Self::DatabaseReads, Limit::Wait) => "database.acquire_timeout_ms",
            (Self::DatabaseReads, _) => named_after!(limit, "database.reads"),
            (Self::AgentSockets, _) => named_after!(limit, "socket.connections"),
            (Self::DashboardSessions, Limit::Principal) => "dashboard.sessions_per_user_max",
            (Self::DashboardSessions, _) => named_after!(limit, "dashboard.sessions"),
            (Self::Connections, _) => named_after!(limit, "http.connections"),
            (Self::LinkHandshakes, _) => named_after!(limit, "cluster.handshakes"),
        }
    }
}
