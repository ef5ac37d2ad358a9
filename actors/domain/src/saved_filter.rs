//! Saved filters of device lists.

use crate::query::DeviceFilter;
use crate::{SavedFilterId, Timestamp, UserId};

/// Saved filter.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedFilter {
    /// Id.
    pub id: SavedFilterId,
    /// Owner.
    pub owner: UserId,
    /// Name of the owner.
    pub owner_name: String,
    /// Name.
    pub name: String,
    /// Filter of the devices.
    pub filter: DeviceFilter,
    /// Whether others see it.
    pub shared: bool,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub changed_at: Timestamp,
}
