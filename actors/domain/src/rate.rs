//! Rate limits: the generic cell rate algorithm (ITU-T I.371, annex A), which needs one number per key.
//!
//! The number is the theoretical arrival time: when the requests so far would have come, had they
//! come evenly. One that is too far in the future means too many requests.

use std::net::{IpAddr, Ipv6Addr};

/// Rate limit of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per second, in the long run.
    pub per_second: u32,
    /// Requests at once after a pause.
    pub burst: u32,
}

/// Key under which requests count together: an IPv4 address, or the /64 network of an IPv6 one, since its
/// hosts choose the other half themselves (RFC 4291, section 2.5.1).
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// Lets a request at `now_ns` go on, or says how many nanoseconds it is too early.
///
/// `arrival_ns` is the key's number, 0 for a new key; the answer is its next one. Both are
/// nanoseconds of one clock that never steps back.
///
/// # Errors
/// Nanoseconds until the request would be let through.
pub fn admit(arrival_ns: u64, limit: RateLimit, now_ns: u64) -> Result<u64, u64> {
    let interval_ns = SECOND_NS / u64::from(limit.per_second.max(1));
    let tolerance_ns = interval_ns.saturating_mul(u64::from(limit.burst.max(1)));
    let next_ns = arrival_ns.max(now_ns).saturating_add(interval_ns);
    match (next_ns - now_ns).checked_sub(tolerance_ns) {
        None | Some(0) => Ok(next_ns),
        Some(early_ns) => Err(early_ns),
    }
}

/// Counts what happened at `now_ns` whether or not it is within the limit. Returns the key's next number, and how many nanoseconds
/// whatever comes next has to wait for what came too early.
pub fn charge(arrival_ns: u64, limit: RateLimit, now_ns: u64) -> (u64, u64) {
    let interval_ns = SECOND_NS / u64::from(limit.per_second.max(1));
    let tolerance_ns = interval_ns.saturating_mul(u64::from(limit.burst.max(1)));
    let next_ns = arrival_ns.max(now_ns).saturating_add(interval_ns);
    (next_ns, (next_ns - now_ns).saturating_sub(tolerance_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: RateLimit = RateLimit { per_second: 10, burst: 3 };
    const START: u64 = 77 * SECOND_NS;

    proptest! {
        #[test]
        fn who_waits_as_told_stays_within_the_limit(gaps in proptest::collection::vec(0u64..SECOND_NS, 1..100)) {
            let (mut arrival_ns, mut now_ns, mut counted) = (0, START, 0u64);
            for gap in gaps {
                let (next_ns, wait_ns) = charge(arrival_ns, LIMIT, now_ns);
                (arrival_ns, counted) = (next_ns, counted + 1);
                let allowed = (now_ns - START) / (SECOND_NS / 10) + 3 + 1;
                prop_assert!(counted <= allowed, "{counted} of {allowed}");
                now_ns += wait_ns.max(gap / 50);
            }
        }
    }

    #[test]
    fn a_network_counts_as_one_and_a_mapped_address_as_itself() {
        let counted = |text: &str| counted_as(text.parse().unwrap()).to_string();
        assert_eq!(counted("192.0.2.7"), "192.0.2.7");
        assert_eq!(counted("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn a_burst_then_an_even_rate() {
        let mut arrival = 0;
        for _ in 0..3 {
            arrival = admit(arrival, LIMIT, START).unwrap();
        }
        assert_eq!(admit(arrival, LIMIT, START), Err(SECOND_NS / 10));
        arrival = admit(arrival, LIMIT, START + SECOND_NS / 10).unwrap();
        assert!(admit(arrival, LIMIT, START + SECOND_NS / 10).is_err());
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate(gaps_ms in proptest::collection::vec(0u64..400, 1..200)) {
            let (mut arrival, mut now, mut admitted) = (0, START, 0);
            for gap_ms in gaps_ms {
                now += gap_ms * 1_000_000;
                if let Ok(next) = admit(arrival, LIMIT, now) {
                    arrival = next;
                    admitted += 1;
                }
                let allowed = u64::from(LIMIT.burst) + (now - START) * u64::from(LIMIT.per_second) / SECOND_NS;
                prop_assert!(admitted <= allowed, "{admitted} of {allowed}");
            }
        }

        #[test]
        fn who_waits_as_told_is_let_through(arrival in 0..100 * SECOND_NS, now in 0..100 * SECOND_NS) {
            if let Err(early_ns) = admit(arrival, LIMIT, now) {
                prop_assert!(admit(arrival, LIMIT, now + early_ns).is_ok());
                prop_assert!(admit(arrival, LIMIT, now + early_ns - 1).is_err());
            }
        }

        #[test]
        fn who_keeps_to_the_rate_is_never_refused(count in 1u64..1000) {
            let mut arrival = 0;
            for n in 0..count {
                arrival = admit(arrival, LIMIT, START + n * SECOND_NS / 10).unwrap();
            }
        }
    }
}
