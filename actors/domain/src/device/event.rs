//! Events that change the live state of a device, and the effects that follow.

use std::sync::Arc;

use super::{DeviceIdentity, IdentityConflict, LastStatus, MonitoredApp};
use crate::Timestamp;

/// Stored state of a device.
#[derive(Debug, Clone)]
pub struct PersistedDevice {
    /// Identity and labels of the device.
    pub identity: DeviceIdentity,
    /// Monitored app.
    pub monitored: Option<MonitoredApp>,
    /// Generation of the valid credentials.
    pub credential_generation: i32,
    /// Whether it is deleted.
    pub deleted: bool,
    /// The newest stored heartbeat.
    pub last: Option<Arc<LastStatus>>,
    /// When the last stored heartbeat was received.
    pub last_seen_at: Option<Timestamp>,
    /// Recorded identity conflict.
    pub conflict: Option<IdentityConflict>,
}

/// Event of the live state of a device.
#[derive(Debug, Clone)]
pub enum DeviceEvent {
    /// A heartbeat was committed.
    Stored(Arc<LastStatus>),
    /// The stored state, after somebody else may have written. Read after whatever was applied
    /// before: nobody but the store knows better.
    Refresh(Box<PersistedDevice>),
    /// The liveness deadline has passed.
    DeadlinePassed,
    /// The credentials were revoked.
    CredentialsRevoked {
        /// Generation that is valid from now on.
        generation: i32,
    },
    /// The device was deleted.
    Deleted,
}

/// Effect that the actor carries out.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceEffect {
    /// Publish the new state to the fleet view.
    Publish,
    /// Withdraw the device from the fleet view.
    Withdraw,
    /// Send [`DeviceEvent::DeadlinePassed`] at this time.
    WatchUntil(Timestamp),
    /// Close the device's sockets: their credentials no longer hold.
    Disconnect,
}
