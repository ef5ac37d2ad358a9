//! What both faces can ask for: authorization, validation and effects, written once.

mod agent;
mod auth;
mod devices;
mod enrollment;
mod throttle;

pub use agent::{AgentService, DeviceCredentials, IncomingHeartbeat};
pub use auth::{AuthService, SignedIn};
pub use devices::{DevicePage, DeviceService};
pub use enrollment::{Enrolled, EnrollmentService, NewToken, TokenPage};
