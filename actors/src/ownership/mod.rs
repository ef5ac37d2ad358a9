//! Ownership of this node: the shards that it acts for, until when its lease holds, and the cluster as last read.
//!
//! ```text
//! lease sent ......... answered      fence                  lease ends
//!   |--------------------|-------------|----------------------|
//!   0                                 3.5 s                  5 s
//!            this node acts as owner   | refuses              | others may take over
//! ```
//! Time counts from before the renewal was sent, by a clock that also runs while the machine
//! sleeps, so whatever held the answer up is on the safe side.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use clock::{Clock, Moment};
use domain::shard::{Epoch, SHARD_COUNT, ShardId};

/// Shards and lease of this node; shared by everything that acts for a device.
pub struct Ownership {
    clock: Clock,
    /// Until when the lease holds, ns of the monotonic clock.
    acts_until_ns: AtomicI64,
    /// Epoch of each shard that this node acts for; 0 for the others.
    epochs: [AtomicI64; SHARD_COUNT as usize],
}

impl Ownership {
    /// No lease and no shard yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, acts_until_ns: AtomicI64::new(0), epochs: std::array::from_fn(|_| AtomicI64::new(0)) }
    }

    /// Whether the lease holds.
    pub fn lease_holds(&self) -> bool {
        self.lease_holds_at(self.clock.monotonic())
    }

    fn lease_holds_at(&self, now: Moment) -> bool {
        now.as_ns() < self.acts_until_ns.load(Ordering::Acquire)
    }

    /// Epoch in which this node acts for a shard; `None` when it must not.
    pub fn acting(&self, shard: ShardId) -> Option<Epoch> {
        let epoch = self.epochs.get(usize::from(shard.0))?.load(Ordering::Acquire);
        (epoch != 0 && self.lease_holds()).then_some(Epoch(epoch))
    }

    /// Whether this node still acts for a shard in this epoch.
    pub fn acts(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.acting(shard) == Some(epoch)
    }

    /// Extends the lease after a renewal that was sent at `sent`.
    pub(crate) fn renewed(&self, sent: Moment, fence_after: Duration) {
        // Answers may overtake each other.
        self.acts_until_ns.fetch_max((sent + fence_after).as_ns(), Ordering::AcqRel);
    }

    /// Fences this node: its lease is lost for good, and it acts for no shard any more.
    pub(crate) fn fenced(&self) {
        self.acts_until_ns.store(0, Ordering::Release);
        self.epochs.iter().for_each(|epoch| epoch.store(0, Ordering::Release));
    }

    /// Starts to act for a shard.
    pub(crate) fn begin(&self, shard: ShardId, epoch: Epoch) {
        if let Some(slot) = self.epochs.get(usize::from(shard.0)) {
            slot.store(epoch.0, Ordering::Release);
        }
    }

    /// Stops to act for a shard.
    pub(crate) fn end(&self, shard: ShardId) {
        self.begin(shard, Epoch(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: i64) -> Moment {
        Moment::from_ns(ms * 1_000_000)
    }

    #[test]
    fn a_node_acts_only_within_its_lease_and_epoch() {
        let clock = Clock::system();
        let (ownership, shard, sent) = (Ownership::new(clock.clone()), ShardId(7), clock.monotonic());
        ownership.begin(shard, Epoch(3));
        assert_eq!(ownership.acting(shard), None, "without a lease");
        ownership.renewed(sent, Duration::from_secs(60));
        assert!(ownership.acts(shard, Epoch(3)) && !ownership.acts(shard, Epoch(2)) && !ownership.acts(shard, Epoch(4)));
        assert_eq!(ownership.acting(ShardId(8)), None);
        ownership.end(shard);
        assert_eq!(ownership.acting(shard), None);
        ownership.begin(shard, Epoch(4));
        ownership.fenced();
        ownership.renewed(clock.monotonic(), Duration::from_secs(60));
        assert_eq!(ownership.acting(shard), None, "a new lease brings no shard back");
    }

    #[test]
    fn the_lease_counts_from_before_the_renewal_was_sent() {
        let (ownership, sent) = (Ownership::new(Clock::system()), at_ms(1_000_000));
        ownership.renewed(sent, Duration::from_millis(3500));
        assert!(ownership.lease_holds_at(at_ms(1_003_499)) && !ownership.lease_holds_at(at_ms(1_003_500)));
        ownership.renewed(at_ms(999_000), Duration::from_millis(3500));
        assert!(ownership.lease_holds_at(at_ms(1_003_499)), "an answer that was overtaken shortens nothing");
    }
}
