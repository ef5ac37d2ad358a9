//! `[cluster]`: leases, and the links between nodes.

use domain::Invalid;
use domain::invalid::in_range;
use link::protocol::{PROTOCOL_MAX, PROTOCOL_MIN};

use super::Cluster;

impl Cluster {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        in_range("cluster.lease_ms", self.lease_ms, 500, 60_000)?;
        in_range("cluster.renew_interval_ms", self.renew_interval_ms, 50, self.lease_ms / 2)?;
        // What is left between the fence and the lease's end is for clocks that run apart.
        in_range("cluster.fence_after_ms", self.fence_after_ms, self.renew_interval_ms, self.lease_ms * 4 / 5)?;
        in_range("cluster.steady_after_ms", self.steady_after_ms, 0, 60_000)?;
        in_range("cluster.pool_max_connections", self.pool_max_connections, 3, 100)?;
        in_range("cluster.owner_wait_ms", self.owner_wait_ms, 10, 10_000)?;
        in_range("cluster.feed_interval_ms", self.feed_interval_ms, 50, 60_000)?;
        if self.protocol_max != 0 {
            in_range("cluster.protocol_max", self.protocol_max, PROTOCOL_MIN, PROTOCOL_MAX)?;
        }
        in_range("cluster.handshake_timeout_ms", self.handshake_timeout_ms, 50, 60_000)?;
        in_range("cluster.beat_interval_ms", self.beat_interval_ms, 50, 10_000)?;
        in_range("cluster.idle_after_ms", self.idle_after_ms, 2 * self.beat_interval_ms, 60_000)?;
        in_range("cluster.redial_min_ms", self.redial_min_ms, 10, 60_000)?;
        in_range("cluster.redial_max_ms", self.redial_max_ms, self.redial_min_ms, 600_000)?;
        in_range("cluster.peer_in_flight_max", self.peer_in_flight_max, 16, 100_000)?;
        in_range("cluster.peer_in_flight_bytes", self.peer_in_flight_bytes, 1 << 20, 1 << 30)?;
        in_range("cluster.peer_queue_max", self.peer_queue_max, 100, 1_000_000)?;
        in_range("cluster.peer_batch_max", self.peer_batch_max, 1, 200)?;
        if self.node_name.chars().count() > 64 || self.node_name.contains(|c: char| c.is_control() || "@,=".contains(c)) {
            return Err(Invalid::new("cluster.node_name", "more than 64 characters, or one of @ , ="));
        }
        self.addresses().map(drop)
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
