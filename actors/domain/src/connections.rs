//! Health of a node's pool of connections to the database.

/// Length of the period that waits are told of, seconds; the figures cover between one and two of these.
pub const WAITS_PERIOD_S: u64 = 30;

/// Connections of a node to the database, and the waits for them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ConnectionFigures {
    /// Most connections.
    pub capacity: u32,
    /// Open connections, used or not.
    pub open: u32,
    /// Connections in use.
    pub in_use: u32,
    /// Callers that wait for one.
    pub waiting: u32,
    /// Average wait of late, ms.
    pub wait_avg_ms: f64,
    /// Longest wait of late, ms.
    pub wait_max_ms: f64,
    /// Callers that got none in time since the node started.
    pub timed_out: u64,
    /// Connections given up since then, because the database did not answer in time.
    pub given_up: u64,
}

/// How often reads that may lag went where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaUse {
    /// To the standby.
    pub by_replica: u64,
    /// To the primary, because the standby lagged too far behind.
    pub too_old: u64,
    /// To the primary, because the standby did not answer.
    pub unavailable: u64,
}

impl ConnectionFigures {
    /// Whether somebody waits, or the next caller would have to.
    pub fn is_full(&self) -> bool {
        self.waiting > 0 || (self.capacity > 0 && self.in_use >= self.capacity)
    }
}

/// Waits of a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Period {
    number: u64,
    waits: u64,
    total_us: u64,
    longest_us: u64,
}

/// Waits of late, added up by periods: the one under way, and the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecentWaits {
    current: Period,
    before: Period,
}

impl RecentWaits {
    /// Adds a wait that ended so many seconds after any fixed moment.
    pub fn add(&mut self, at_s: u64, wait_us: u64) {
        self.turn_to(at_s / WAITS_PERIOD_S);
        self.current.waits += 1;
        self.current.total_us = self.current.total_us.saturating_add(wait_us);
        self.current.longest_us = self.current.longest_us.max(wait_us);
    }

    /// Average and longest wait of late, ms; both 0 where nobody asked.
    pub fn avg_and_max_ms(mut self, at_s: u64) -> (f64, f64) {
        self.turn_to(at_s / WAITS_PERIOD_S);
        let waits = self.current.waits + self.before.waits;
        let total_us = self.current.total_us.saturating_add(self.before.total_us);
        let avg = if waits == 0 { 0.0 } else { total_us as f64 / waits as f64 / 1000.0 };
        (avg, self.current.longest_us.max(self.before.longest_us) as f64 / 1000.0)
    }

    fn turn_to(&mut self, number: u64) {
        if number > self.current.number {
            let follows = number == self.current.number + 1;
            self.before = if follows { self.current } else { Period::default() };
            self.current = Period { number, ..Period::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_told_for_one_to_two_periods() {
        let mut waits = RecentWaits::default();
        waits.add(3, 2_000);
        waits.add(4, 4_000);
        assert_eq!(waits.avg_and_max_ms(10), (3.0, 4.0));
        waits.add(WAITS_PERIOD_S, 9_000);
        assert_eq!(waits.avg_and_max_ms(WAITS_PERIOD_S + 1), (5.0, 9.0));
        assert_eq!(waits.avg_and_max_ms(2 * WAITS_PERIOD_S), (9.0, 9.0), "the first period is over");
        assert_eq!(waits.avg_and_max_ms(3 * WAITS_PERIOD_S), (0.0, 0.0));
        assert_eq!(waits.avg_and_max_ms(99 * WAITS_PERIOD_S), (0.0, 0.0));
    }

    #[test]
    fn a_pool_is_full_when_the_next_caller_waits() {
        let pool = |in_use, waiting| ConnectionFigures { capacity: 4, in_use, waiting, ..ConnectionFigures::default() };
        assert_eq!([pool(3, 0), pool(4, 0), pool(1, 1)].map(|pool| pool.is_full()), [false, true, true]);
        assert!(!ConnectionFigures::default().is_full(), "one that is not known is not full");
    }
}
