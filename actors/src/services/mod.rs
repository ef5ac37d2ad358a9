//! What both faces can ask for: authorization, validation and effects, written once.

mod accounts;
mod agent;
mod api_tokens;
mod audit;
mod auth;
mod cluster;
pub(crate) mod credential_cache;
mod device_audit;
mod device_csv;
mod device_edit;
mod devices;
mod enrollment;
mod enrollment_kit;
mod filters;
mod history;
mod paced;
mod passwords;
mod people;
mod sign_in_guard;
mod throttle;

pub use accounts::{AccountPage, AccountService};
pub use agent::{AgentService, DeviceCredentials};
pub use api_tokens::{ApiTokenOwner, ApiTokenPage, ApiTokenService, MadeApiToken};
pub use audit::{AuditChecked, AuditPage, AuditService, check_audit};
pub use auth::{AuthService, ClientInfo, SignedIn};
pub use cluster::{ClusterNode, ClusterOverview, ClusterService, ClusterShard, set_draining};
pub use device_csv::{FieldChange, IMPORT_ROWS_MAX, ImportReport, ImportTurn, RowChange, RowProblem};
pub use device_edit::{BulkOutcome, BulkRequest, BulkTarget};
pub use devices::{DeviceDetails, DevicePage, DeviceService};
pub use enrollment::{Enrolled, EnrollmentService, NewToken, TokenPage};
pub use enrollment_kit::{EnrollmentCode, Script, ScriptOrder, is_settled};
pub use filters::{FilterPatch, FilterRequest, FilterService};
pub use history::{DeviceHistory, EventPage, FLEET_HOURS_DEFAULT, FLEET_HOURS_MAX, HistoryService};
pub(crate) use people::{People, PeopleParts};
