//! `[database]`: connections, and how many of them lists and exports may use.

use std::time::Duration;

use domain::permits::PoolLimits;
use services::ReadSettings;

use super::Database;

fn part(of: usize, pct: u8) -> usize {
    (of * usize::from(pct)).div_ceil(100).max(1)
}

impl Database {
    /// Connections that reads may have, of the primary and again of the standby.
    pub(crate) fn read_connections(&self) -> usize {
        part(self.pool_max_connections as usize, self.reads_pct)
    }

    /// Shares of the connections that are for lists, searches, history and exports.
    pub(super) fn reads(&self) -> ReadSettings {
        let capacity = self.read_connections();
        ReadSettings {
            limits: PoolLimits {
                per_principal: part(capacity, self.reads_per_principal_pct),
                waiting: self.reads_waiting_max,
                ..PoolLimits::of_capacity(capacity)
            }
            .with_parts(self.reads_per_address_pct, self.reads_reserved_pct),
            patience: Duration::from_millis(self.acquire_timeout_ms),
        }
    }
}
