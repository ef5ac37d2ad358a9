//! Services that both the API and the dashboard call: authorization, validation and effects.

mod access_trail;
mod account_mail;
mod accounts;
mod agent;
mod agent_builds;
mod agent_updates;
mod alerts;
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
pub mod console;
mod credential_cache;
pub mod crypto;
mod csv_dialect;
mod deployment_pages;
mod deployment_plan;
mod deployment_target;
mod deployments;
mod detached;
mod device_audit;
mod device_csv;
mod device_edit;
mod device_identity;
mod devices;
mod enrollment;
mod enrollment_agent;
mod enrollment_kit;
mod exec_commands;
mod filters;
mod flags;
mod history;
mod import_table;
mod known_addresses;
pub mod metrics;
mod packages;
mod passwords;
mod people;
mod report_errors;
mod reports;
mod request_keys;
mod revalidation;
pub mod settings;
mod sign_in_guard;
mod standing;
mod storage;
mod system;
mod table_pools;
mod task_reports;
mod throttle;
mod throttled_stream;
mod token_guard;

pub use self::enrollment_kit::{EnrollmentCode, Script, ScriptOptions, is_settled};
pub use access_trail::AccessTrail;
pub use account_mail::AccountMail;
pub use accounts::{AccountPage, AccountService, FirstAdminError};
pub use agent::AgentService;
use agent_builds::AgentBuildParts;
pub use agent_builds::{AgentBuildService, AgentUpdate, BuildDetails, BuildStats, NudgePlan, STATS_HOURS_DEFAULT, STATS_HOURS_MAX};
pub use agent_updates::{UpdateCheck, UpdateOffer, UpdateProgress};
pub use alerts::{
    ACKNOWLEDGED_MAX, ALERT_GROUPS_MAX, AcknowledgeOutcome, AlertCount, AlertCursor, AlertDetails, AlertFilter, AlertPage, AlertService,
    AlertStep, AlertsTogether, ChannelField, ChannelInput, ChannelRequest, ChannelTest, ChannelValues, ChannelView, Delivery, FIRED_DAYS,
    PREVIEWED_MAX, PreviewedDevice, RemediationRequest, RemediationView, RouteRequest, RulePreview, RuleRequest, RuleView, SilenceEnd,
    SilenceRequest, SubscriptionView, Together, WindowRequest, channel_fields, matcher as alert_matcher,
};
pub use api_tokens::{ApiTokenOwner, ApiTokenPage, ApiTokenService, IssuedApiToken};
pub use apk_uploads::{UploadError, UploadFacts};
pub use apks::{ApkCursor, ApkService, DownloadLink};
pub use audit::{ArchivedEntries, AuditChecked, AuditPage, AuditService, check_audit};
pub use auth::{AuthService, ClientInfo, SignedIn};
pub use cluster::{ClusterNode, ClusterOverview, ClusterService, ClusterShard, NodeReconciler, set_draining};
pub use command_batches::{BatchDetails, BatchRequest, Expected, Planned};
pub use command_results::{CommandResult, ResultFormat};
pub use commands::{CommandRequest, CommandService, IdempotencyKey};
pub use deployment_pages::{DeploymentCursor, DeploymentDetails};
pub use deployment_plan::{DeploymentPlan, PlannedTask};
pub use deployment_target::{DeploymentScope, Selection as DeploymentSelection};
pub use deployments::{DeploymentRequest, DeploymentService, NAME_MAX_CHARS as DEPLOYMENT_NAME_MAX_CHARS, RollbackOffer};
pub use detached::run_detached;
pub use device_csv::{ImportPermit, read_import};
pub use device_edit::{BulkOutcome, BulkRequest};
pub use devices::{DeviceDetails, DevicePage, DeviceService};
pub use enrollment::{Enrolled, EnrollmentService, NewToken, TokenPage};
pub use enrollment_agent::{EnrollmentAgent, EnrollmentApk};
pub use filters::{FilterPatch, FilterRequest, FilterService};
pub use flags::{FlagService, FlagState};
pub use history::{ArchivedDays, DeviceHistory, EventPage, EventView, FLEET_HOURS_DEFAULT, FLEET_HOURS_MAX, HistoryService};
pub use import_table::{FieldChange, IMPORT_ROWS_MAX, ImportReport, RowChange, RowProblem};
pub use passwords::check_password;
use people::{People, PeopleParts};
pub use reports::{ReportRequest, ReportScheduleRequest, ReportScheduleView, ReportService, ReportView};
pub use request_keys::{CallEnd, RequestKey, RequestKeys, TakenKey};
pub use revalidation::Revalidation;
pub use storage::{
    PARTITIONS_DRAWN_DAYS, PartitionCount, PartitionPage, Sizes, StorageOverview, StorageParts, StorageService, StorageView, WorkRequest,
};
pub use system::System;
pub use table_pools::{ReadSettings, TablePools, TableSettings};
