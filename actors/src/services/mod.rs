//! What both faces can ask for: authorization, validation and effects, written once.

mod agent;
mod auth;
mod cluster;
mod device_csv;
mod device_edit;
mod devices;
mod enrollment;
mod filters;
mod history;
mod throttle;

pub use agent::{AgentService, DeviceCredentials};
pub use auth::{AuthService, SignedIn};
pub use cluster::{ClusterNode, ClusterOverview, ClusterService, ClusterShard, set_draining};
pub use device_csv::{FieldChange, IMPORT_ROWS_MAX, ImportReport, RowChange, RowProblem};
pub use device_edit::{BulkOutcome, BulkRequest, BulkTarget};
pub use devices::{DeviceDetails, DevicePage, DeviceService};
pub use enrollment::{Enrolled, EnrollmentService, NewToken, TokenPage};
pub use filters::{FilterPatch, FilterRequest, FilterService};
pub use history::{DeviceHistory, EventPage, FLEET_HOURS_DEFAULT, FLEET_HOURS_MAX, HistoryService};
