//! `[socket]`: sockets of agents.

use domain::permits::PoolLimits;

use super::Socket;

impl Socket {
    /// Shares of the open sockets.
    pub(crate) fn connections(&self) -> PoolLimits {
        PoolLimits { per_principal: self.connections_per_principal_max, ..PoolLimits::of_capacity(self.connections_max) }
            .with_parts(self.connections_per_address_pct, 0)
    }
}
