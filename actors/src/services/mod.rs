//! What both faces can ask for: authorization, validation and effects, written once.

mod accounts;
mod agent;
mod api_tokens;
mod auth;
mod cluster;
pub(crate) mod credential_cache;
mod devices;
mod enrollment;
mod passwords;
mod people;
mod sign_in_guard;
mod throttle;

pub use accounts::{AccountPage, AccountService};
pub use agent::{AgentService, DeviceCredentials};
pub use api_tokens::{ApiTokenOwner, ApiTokenPage, ApiTokenService, MadeApiToken};
pub use auth::{AuthService, ClientInfo, SignedIn};
pub use cluster::{ClusterNode, ClusterOverview, ClusterService, ClusterShard, set_draining};
pub use devices::{DevicePage, DeviceService};
pub use enrollment::{Enrolled, EnrollmentService, NewToken, TokenPage};
pub(crate) use people::{People, PeopleParts};
