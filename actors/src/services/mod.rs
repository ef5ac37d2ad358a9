//! What both faces can ask for: authorization, validation and effects, written once.

mod agent;
mod auth;
mod cluster;
mod devices;
mod enrollment;
mod enrollment_kit;
mod throttle;

pub use agent::{AgentService, DeviceCredentials};
pub use auth::{AuthService, SignedIn};
pub use cluster::{ClusterNode, ClusterOverview, ClusterService, ClusterShard, set_draining};
pub use devices::{DevicePage, DeviceService};
pub use enrollment::{Enrolled, EnrollmentService, NewToken, TokenPage};
pub use enrollment_kit::{EnrollmentCode, Script, ScriptOrder, is_settled};
