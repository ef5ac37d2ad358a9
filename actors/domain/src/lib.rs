//! The decisions of NexMDM: pure functions over plain data.
//!
//! Nothing here does I/O, reads a clock or draws randomness: `now` and random
//! draws are arguments. No JSON, no SQL, no tokio. Types that travel between
//! nodes derive serde; the format is chosen elsewhere.

#[macro_use]
pub mod names;

pub mod abi;
pub mod access;
pub mod account;
pub mod action;
pub mod alert;
pub mod api_token;
pub mod apk;
pub mod archive;
pub mod audit;
pub mod backoff;
pub mod backup;
pub mod bulk;
pub mod bulk_target;
pub mod cluster;
pub mod command;
pub mod condition;
pub mod connections;
pub mod deployment;
pub mod device;
pub mod distribution;
pub mod edit;
pub mod enrollment;
pub mod event;
pub mod event_budget;
pub mod flag;
pub mod heartbeat;
pub mod history;
pub mod ids;
pub mod interval;
pub mod invalid;
pub mod lockout;
pub mod name;
pub mod notification;
pub mod pace;
pub mod param;
pub mod partition;
pub mod permits;
pub mod placement;
pub mod push;
pub mod quantity;
pub mod query;
pub mod rate;
pub mod reconcile;
pub mod reconciliation;
pub mod replacement;
pub mod report;
pub mod retention;
pub mod rollout;
pub mod rule;
pub mod saved_filter;
pub mod secret_file;
mod service_error;
pub mod shard;
pub mod spreadsheet;
pub mod storage;
pub mod telemetry;
pub mod text;
pub mod throttle;
pub mod time;
pub mod transfer;

pub use ids::{
    AgentBuildId, AlertId, AlertWindowId, ApiTokenId, ApkId, ApkUploadId, BackupId, ChannelId, CommandBatchId, CommandId, DeploymentId,
    DeviceId, DeviceTokenId, EnrollTokenId, NodeId, NotificationId, PartitionWorkId, ReportScheduleId, RouteId, SavedFilterId, SessionId,
    SilenceId, SubscriptionId, UserId,
};
pub use invalid::Invalid;
pub use service_error::ServiceError;

/// A point in time, UTC.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
