//! Devices: identity, newest status, live state and its changes, views.

mod clock_lag;
mod conflict;
mod event;
mod identity;
mod policy;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod view;

pub use clock_lag::ClockLag;
pub use conflict::{ConflictEvidence, HeartbeatRuns, IdentityConflict, IdentityStatus};
pub use event::{DeviceEffect, DeviceEvent, PersistedDevice};
pub use identity::{DeviceIdentity, MonitoredApp};
pub use policy::{AppStatus, Connectivity, DevicePolicy};
pub use state::{Admission, DeviceState, Lifecycle};
pub use status::LastStatus;
pub use view::{DeviceListScope, DeviceView, LegacyPushDevice};
