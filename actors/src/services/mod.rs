//! Services that both the API and the dashboard call: authorization, validation and effects.

mod accounts;
mod agent;
mod agent_builds;
mod agent_updates;
mod api_tokens;
mod apk_uploads;
mod apks;
mod audit;
mod auth;
mod cluster;
mod command_batches;
mod command_params;
mod command_results;
mod commands;
pub(crate) mod credential_cache;
mod deployment_pages;
mod deployments;
mod device_audit;
mod device_csv;
mod device_edit;
mod devices;
mod enrollment;
mod enrollment_agent;
mod enrollment_kit;
mod exec_commands;
mod filters;
mod flags;
mod history;
mod packages;
mod passwords;
mod people;
mod settings;
mod sign_in_guard;
mod task_reports;
mod throttle;
mod throttled_stream;

pub use self::enrollment_kit::{EnrollmentCode, Script, ScriptOptions, is_settled};
pub use accounts::{AccountPage, AccountService};
pub use agent::AgentService;
pub(crate) use agent_builds::AgentBuildParts;
pub use agent_builds::{AgentBuildService, BuildDetails, BuildStats, NudgePlan, STATS_HOURS_DEFAULT, STATS_HOURS_MAX};
pub use agent_updates::{UpdateCheck, UpdateOffer, UpdateProgress};
pub use api_tokens::{ApiTokenOwner, ApiTokenPage, ApiTokenService, IssuedApiToken};
pub use apk_uploads::{UploadError, UploadFacts};
pub use apks::{ApkCursor, ApkService};
pub use audit::{AuditChecked, AuditPage, AuditService, check_audit};
pub use auth::{AuthService, ClientInfo, SignedIn};
pub use cluster::{ClusterNode, ClusterOverview, ClusterService, ClusterShard, NodeReconciler, set_draining};
pub use command_batches::{BatchDetails, BatchRequest, Expected, Planned};
pub use command_results::CommandResult;
pub use commands::{CommandRequest, CommandService, IdempotencyKey};
pub use deployment_pages::{DeploymentCursor, DeploymentDetails};
pub use deployments::{
    DeploymentPlan, DeploymentRequest, DeploymentScope, DeploymentService, NAME_MAX_CHARS as DEPLOYMENT_NAME_MAX_CHARS, PlannedTask,
    RollbackOffer,
};
pub use device_csv::{FieldChange, IMPORT_ROWS_MAX, ImportPermit, ImportReport, RowChange, RowProblem};
pub use device_edit::{BulkOutcome, BulkRequest, BulkTarget};
pub use devices::{DeviceDetails, DevicePage, DeviceService};
pub use enrollment::{Enrolled, EnrollmentService, NewToken, TokenPage};
pub use enrollment_agent::{AgentUpdate, EnrollmentAgent, EnrollmentApk};
pub use filters::{FilterPatch, FilterRequest, FilterService};
pub use flags::{FlagService, FlagState};
pub use history::{DeviceHistory, EventPage, EventView, FLEET_HOURS_DEFAULT, FLEET_HOURS_MAX, HistoryService};
pub(crate) use people::{People, PeopleParts};
pub use settings::{AuthSettings, CommandSettings, EnrollmentSettings};
