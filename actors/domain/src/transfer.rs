//! Slowest transfer that is waited for: one that falls behind its rate for too long is ended.

use std::time::Duration;

/// Minimum rate of a transfer, and how far it may fall behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinimumRate {
    /// Bytes per second.
    pub bytes_per_second: u32,
    /// Time without a byte, or behind the rate altogether, after which a transfer is ended.
    pub patience: Duration,
}

/// How long a transfer is waited for: waiting uses the time up, bytes bring it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    rate: MinimumRate,
    left: Duration,
}

impl Patience {
    /// All of it.
    pub fn new(rate: MinimumRate) -> Self {
        Self { rate, left: rate.patience }
    }

    /// How long the next bytes are waited for.
    pub fn left(&self) -> Duration {
        self.left
    }

    /// So many bytes came or were taken after so long.
    pub fn moved(&mut self, bytes: usize, waited: Duration) {
        let earned = Duration::from_secs_f64(bytes as f64 / f64::from(self.rate.bytes_per_second.max(1)));
        self.left = (self.left.saturating_sub(waited) + earned).min(self.rate.patience);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: MinimumRate = MinimumRate { bytes_per_second: 1000, patience: Duration::from_secs(30) };

    /// Seconds until a transfer of `bytes` every `gap` is ended, within an hour.
    fn ended_after_s(bytes: usize, gap: Duration) -> Option<u64> {
        let (mut patience, mut elapsed) = (Patience::new(RATE), Duration::ZERO);
        while elapsed < Duration::from_secs(3600) {
            if patience.left() < gap {
                return Some((elapsed + patience.left()).as_secs());
            }
            patience.moved(bytes, gap);
            elapsed += gap;
        }
        None
    }

    #[test]
    fn the_table_of_transfers() {
        let (second, half_minute) = (Duration::from_secs(1), Duration::from_secs(29));
        for (name, bytes, gap, ended) in [
            ("nothing moves", 0, second, Some(30)),
            ("a byte a second", 1, second, Some(30)),
            ("a byte every 29 seconds", 1, half_minute, Some(30)),
            ("half the rate", 500, second, Some(59)),
            ("the rate", 1000, second, None),
            ("the rate in large pieces", 29_000, half_minute, None),
            ("more", 100_000, second, None),
        ] {
            assert_eq!(ended_after_s(bytes, gap), ended, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_came_before_buys_no_more_than_the_patience(bytes in 0usize..1 << 30, waited_ms in 0u64..30_000) {
            let mut patience = Patience::new(RATE);
            patience.moved(bytes, Duration::from_millis(waited_ms));
            prop_assert!(patience.left() <= RATE.patience);
        }
    }
}
