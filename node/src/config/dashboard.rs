//! `[dashboard]`: open pages.

use domain::permits::PoolLimits;
use domain::rate::RateLimit;

use super::Dashboard;

impl Dashboard {
    /// Shares of the open pages.
    pub(crate) fn sessions(&self) -> PoolLimits {
        PoolLimits { per_principal: self.sessions_per_user_max, ..PoolLimits::of_capacity(self.sessions_max) }
            .with_parts(self.sessions_per_address_pct, self.sessions_reserved_pct)
    }

    /// Rate of the events of one account.
    pub(crate) fn events(&self) -> RateLimit {
        RateLimit { per_second: self.events_per_second, burst: self.events_burst }
    }
}
