//! Identity and labels of a device.

use crate::{DeviceId, Timestamp};

/// Identity and labels of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceIdentity {
    /// Id.
    pub id: DeviceId,
    /// Alias.
    pub alias: String,
    /// Tags, sorted.
    pub tags: Vec<String>,
    /// Groups, sorted.
    pub groups: Vec<String>,
    /// Hardware identity given at enrollment; never authenticates.
    pub hardware_id: Option<String>,
    /// Model given at enrollment.
    pub model: Option<String>,
    /// Manufacturer given at enrollment.
    pub manufacturer: Option<String>,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
}

/// App that a device is there to run, and that is monitored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitoredApp {
    /// Package name.
    pub package: String,
    /// Seconds out of the foreground after which it counts as down; `None` = as configured for all.
    pub stale_after_s: Option<i32>,
}
