//! Limits of a pool: its capacity, the shares of one caller, and what is reserved.

use super::class::Class;

/// Limit that a claim was refused at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Limit {
    /// The capacity of the pool.
    Capacity,
    /// What is left is reserved for more important callers.
    Reserve,
    /// The share of one device, account or API token.
    Principal,
    /// The share of one download link.
    Link,
    /// The share of one address.
    Address,
    /// Callers that may wait.
    Waiting,
    /// The time that a caller waits.
    Wait,
}

named!(pub Limit);

/// Capacity of a pool and its shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Permits at a time.
    pub capacity: usize,
    /// Of these, only for [`Class::Essential`].
    pub reserved: usize,
    /// Of the others, not for [`Class::Stranger`].
    pub known_only: usize,
    /// Permits of one device, account or API token.
    pub per_principal: usize,
    /// Permits of one download link.
    pub per_link: usize,
    /// Permits of one address.
    pub per_address: usize,
    /// Callers of one class that may wait; 0: nobody waits.
    pub waiting: usize,
}

impl PoolLimits {
    /// A pool of so many permits without shares, in which nobody waits.
    pub fn of_capacity(capacity: usize) -> Self {
        Self { capacity, reserved: 0, known_only: 0, per_principal: capacity, per_link: capacity, per_address: capacity, waiting: 0 }
    }

    /// With the share of one address and the reserve as parts of the capacity, percent: an address has at least one permit, and
    /// at least one is not reserved.
    #[must_use]
    pub fn with_parts(self, per_address_pct: u8, reserved_pct: u8) -> Self {
        let part = |pct: u8| self.capacity * usize::from(pct.min(100));
        Self {
            per_address: part(per_address_pct).div_ceil(100).max(1),
            reserved: (part(reserved_pct) / 100).min(self.capacity.saturating_sub(1)),
            ..self
        }
    }

    /// Permits that a class and those below it may hold together.
    pub(super) fn ceiling(&self, class: Class) -> usize {
        match class {
            Class::Essential => self.capacity,
            Class::Regular => self.capacity.saturating_sub(self.reserved),
            Class::Stranger => self.capacity.saturating_sub(self.reserved).saturating_sub(self.known_only),
        }
    }

    pub(super) fn of_key(&self, limit: Limit) -> usize {
        match limit {
            Limit::Principal => self.per_principal,
            Limit::Link => self.per_link,
            Limit::Address => self.per_address,
            _ => self.capacity,
        }
    }
}
