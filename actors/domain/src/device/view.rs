//! A device as lists, pages and counts show it.

use std::sync::Arc;

use super::{AppStatus, Connectivity, DeviceIdentity, IdentityStatus, LastStatus};
use crate::command::Channels;
use crate::rule::RuleSet;
use crate::{DeviceId, Timestamp};

/// View of a device, for lists, pages and counts; cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceView {
    /// Identity and labels of the device.
    pub identity: Arc<DeviceIdentity>,
    /// The newest stored heartbeat.
    pub last: Option<Arc<LastStatus>>,
    /// When the last stored heartbeat was received.
    pub last_seen_at: Option<Timestamp>,
    /// Whether the device is online.
    pub connectivity: Connectivity,
    /// Status of the monitored app.
    pub app_status: AppStatus,
    /// Channels to the device, as its owner knows them.
    pub channels: Channels,
    /// Since when two devices report as this one; `None`: one does, as far as known, or somebody has decided about it.
    pub conflict_at: Option<Timestamp>,
    /// Whether it enrolled a while ago and never sent a heartbeat.
    pub ghost: bool,
    /// Rules of its open alerts.
    pub open_alerts: RuleSet,
}

impl DeviceView {
    /// Battery level, if reported.
    pub fn battery_pct(&self) -> Option<i16> {
        self.last.as_ref().and_then(|last| last.telemetry.battery_pct)
    }
    /// Model: as last reported, else as enrolled.
    pub fn model(&self) -> Option<&str> {
        self.last.as_ref().and_then(|last| last.telemetry.model.as_deref()).or(self.identity.model.as_deref())
    }
    /// Identity of the device.
    pub fn identity_status(&self) -> IdentityStatus {
        match self.conflict_at {
            Some(_) => IdentityStatus::Conflict,
            None if self.ghost => IdentityStatus::Ghost,
            None => IdentityStatus::Single,
        }
    }
    /// Agent version name, if reported.
    pub fn app_version(&self) -> Option<&str> {
        self.last.as_ref().and_then(|last| last.telemetry.app_version.as_deref())
    }
}

/// Scope of a list of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceListScope {
    /// Devices of the fleet.
    Active,
    /// Deleted devices that can still be restored.
    Deleted,
}

/// Device that needs legacy push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyPushDevice {
    /// The device.
    pub id: DeviceId,
    /// Alias of the device.
    pub alias: String,
    /// When it last answered a command in the legacy format.
    pub result_at: Timestamp,
}
