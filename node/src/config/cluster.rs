//! `[cluster]`: leases, and the links between nodes.

use domain::Invalid;
use domain::invalid::in_range;
use domain::permits::PoolLimits;
use link::protocol::{PROTOCOL_MAX, PROTOCOL_MIN};

use super::Cluster;

impl Cluster {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        in_range("cluster.renew_interval_ms", self.renew_interval_ms, 50, self.lease_ms / 2)?;
        // What is left between the fence and the lease's end is for clocks that run apart.
        in_range("cluster.fence_after_ms", self.fence_after_ms, self.renew_interval_ms, self.lease_ms * 4 / 5)?;
        if self.protocol_max != 0 {
            in_range("cluster.protocol_max", self.protocol_max, PROTOCOL_MIN, PROTOCOL_MAX)?;
        }
        in_range("cluster.idle_after_ms", self.idle_after_ms, 2 * self.beat_interval_ms, 60_000)?;
        in_range("cluster.redial_max_ms", self.redial_max_ms, self.redial_min_ms, 600_000)?;
        if self.node_name.chars().count() > 64 || self.node_name.contains(|c: char| c.is_control() || "@,=".contains(c)) {
            return Err(Invalid::new("cluster.node_name", "more than 64 characters, or one of @ , ="));
        }
        self.addresses().map(drop)
    }

    /// Shares of handshakes at the port for links.
    pub(crate) fn handshakes(&self) -> PoolLimits {
        PoolLimits::of_capacity(self.handshakes_max).with_parts(self.handshakes_per_address_pct, self.handshakes_reserved_pct)
    }

    /// Newest protocol between nodes that this node speaks.
    pub(crate) fn newest_protocol(&self) -> u16 {
        if self.protocol_max == 0 { PROTOCOL_MAX } else { self.protocol_max }
    }

    /// Addresses to dial by name of the node.
    pub(crate) fn addresses(&self) -> Result<Vec<(String, String)>, Invalid> {
        self.peer_addresses
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
            .map(|pair| match pair.split_once('=') {
                Some((name, address)) if !name.is_empty() && address.contains(':') => {
                    Ok((name.trim().to_owned(), address.trim().to_owned()))
                }
                _ => Err(Invalid::new("cluster.peer_addresses", "not a list of name=host:port")),
            })
            .collect()
    }
}
