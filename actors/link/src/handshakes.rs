//! Handshakes at the port for links: who may begin one while many others have.
//!
//! Whoever reaches the port may connect and say nothing. So each address has a share, and a part is kept for addresses from which a
//! certificate of this cluster was shown, or at which the cluster says that a node is.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use domain::permits::{Claim, Class, Limit, PoolLimits, PoolName};
use permits::metrics::PoolMetrics;
use permits::{Permit, Pool};

/// Addresses of peers that are remembered, the latest ones.
const PEERS_MAX: usize = 64;

/// Handshakes under way, and the addresses of peers.
pub(crate) struct Handshakes {
    pool: Pool,
    peers: Mutex<VecDeque<IpAddr>>,
}

impl Handshakes {
    /// None under way, no peer known.
    pub(crate) fn new(limits: PoolLimits, metrics: &PoolMetrics) -> Self {
        Self { pool: Pool::new(PoolName::LinkHandshakes, limits, metrics), peers: Mutex::default() }
    }

    /// Notes the address of a peer.
    pub(crate) fn note_peer(&self, address: IpAddr) {
        let address = address.to_canonical();
        // Every step leaves the list whole, so a poisoned lock guards good data.
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|known| *known != address);
        peers.push_back(address);
        if peers.len() > PEERS_MAX {
            peers.pop_front();
        }
    }

    /// A permit for a handshake with whoever connects from this address.
    ///
    /// # Errors
    /// The limit.
    pub(crate) fn take(&self, address: IpAddr) -> Result<Permit, Limit> {
        let address = address.to_canonical();
        let is_peer = self.peers.lock().unwrap_or_else(PoisonError::into_inner).contains(&address);
        let class = if is_peer { Class::Essential } else { Class::Stranger };
        self.pool.try_take(Claim::new(class).from_address(Some(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshakes() -> Handshakes {
        let limits = PoolLimits::of_capacity(20).with_parts(25, 50);
        Handshakes::new(limits, &PoolMetrics::register(&prometheus::Registry::new()).unwrap())
    }

    fn address(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    #[test]
    fn a_stranger_that_says_nothing_has_its_share_alone() {
        let handshakes = handshakes();
        let silent: Vec<_> = (0..5).map(|_| handshakes.take(address(1)).unwrap()).collect();
        assert_eq!(handshakes.take(address(1)).err(), Some(Limit::Address));
        assert_eq!(handshakes.take("::ffff:192.0.2.1".parse().unwrap()).err(), Some(Limit::Address), "the same one");
        assert!(handshakes.take(address(2)).is_ok());
        drop(silent);
        assert!(handshakes.take(address(1)).is_ok());
    }

    #[test]
    fn strangers_from_everywhere_leave_the_peers_theirs() {
        let handshakes = handshakes();
        handshakes.note_peer("::ffff:192.0.2.200".parse().unwrap());
        let silent: Vec<_> = (0..20).filter_map(|n| handshakes.take(address(n)).ok()).collect();
        assert_eq!(silent.len(), 10);
        assert_eq!(handshakes.take(address(100)).err(), Some(Limit::Reserve));
        let peer: Vec<_> = (0..5).map(|_| handshakes.take(address(200)).unwrap()).collect();
        assert_eq!((peer.len(), handshakes.take(address(200)).err()), (5, Some(Limit::Address)));
    }

    #[test]
    fn few_addresses_are_remembered_the_latest_ones() {
        let handshakes = handshakes();
        (0..=PEERS_MAX as u8).for_each(|n| handshakes.note_peer(address(n)));
        let peers = handshakes.peers.lock().unwrap();
        assert!(peers.len() == PEERS_MAX && !peers.contains(&address(0)) && peers.contains(&address(1)));
    }
}
