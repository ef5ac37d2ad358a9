//! Changes of the devices that a node owns.

use domain::DeviceId;
use domain::device::DeviceView;
use domain::shard::Epoch;

/// Asks for what changed in the devices that a node owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangesRequest {
    /// The log that `after` is a number of; another one means: from the beginning.
    pub log: u64,
    /// Changes after this one.
    pub after: u64,
}

/// A change of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The device.
    pub device: DeviceId,
    /// The epoch of its shard in which the owner said so.
    pub epoch: Epoch,
    /// New view; `None`: the device is deleted.
    pub view: Option<DeviceView>,
}

/// Changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// The log that `last` is a number of.
    pub log: u64,
    /// Number of the newest change in `changes`.
    pub last: u64,
    /// Whether there is more already.
    pub more: bool,
    /// The changes, oldest first.
    pub changes: Vec<Change>,
    /// Heartbeats stored per second by this node.
    pub heartbeats_per_second: f64,
    /// Changes whenever an enrollment token did, on this node.
    pub enrollment_revision: u64,
}
