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

use domain::shard::{Epoch, SHARD_COUNT, ShardId};
use rustix::time::{ClockId, clock_gettime};

/// A moment of the machine's own clock, in ms; goes on while the machine sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        Self(time.tv_sec * 1000 + time.tv_nsec / 1_000_000)
    }

    pub(crate) fn as_ms(self) -> i64 {
        self.0
    }

    pub(crate) fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// How long ago this was.
    pub fn elapsed(self) -> Duration {
        Duration::from_millis(u64::try_from(Self::now().0 - self.0).unwrap_or(0))
    }
}

/// Shards and lease of this node; shared by everything that acts for a device.
pub struct Ownership {
    acts_until_ms: AtomicI64,
    /// Epoch of each shard that this node acts for; 0 for the others.
    epochs: [AtomicI64; SHARD_COUNT as usize],
}

impl Default for Ownership {
    fn default() -> Self {
        Self { acts_until_ms: AtomicI64::new(0), epochs: std::array::from_fn(|_| AtomicI64::new(0)) }
    }
}

impl Ownership {
    /// Whether the lease holds.
    pub fn lease_holds(&self) -> bool {
        self.lease_holds_at(Moment::now())
    }

    fn lease_holds_at(&self, now: Moment) -> bool {
        now.0 < self.acts_until_ms.load(Ordering::Acquire)
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
        self.acts_until_ms.fetch_max(sent.0.saturating_add(fence_after.as_millis() as i64), Ordering::AcqRel);
    }

    /// Fences this node: its lease is lost for good, and it acts for no shard any more.
    pub(crate) fn fenced(&self) {
        self.acts_until_ms.store(0, Ordering::Release);
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

    #[test]
    fn a_node_acts_only_within_its_lease_and_epoch() {
        let (ownership, shard, sent) = (Ownership::default(), ShardId(7), Moment::now());
        ownership.begin(shard, Epoch(3));
        assert_eq!(ownership.acting(shard), None, "without a lease");
        ownership.renewed(sent, Duration::from_secs(60));
        assert!(ownership.acts(shard, Epoch(3)) && !ownership.acts(shard, Epoch(2)) && !ownership.acts(shard, Epoch(4)));
        assert_eq!(ownership.acting(ShardId(8)), None);
        ownership.end(shard);
        assert_eq!(ownership.acting(shard), None);
        ownership.begin(shard, Epoch(4));
        ownership.fenced();
        ownership.renewed(Moment::now(), Duration::from_secs(60));
        assert_eq!(ownership.acting(shard), None, "a new lease brings no shard back");
    }

    #[test]
    fn the_lease_counts_from_before_the_renewal_was_sent() {
        let (ownership, sent) = (Ownership::default(), Moment(1_000_000));
        ownership.renewed(sent, Duration::from_millis(3500));
        assert!(ownership.lease_holds_at(Moment(1_003_499)) && !ownership.lease_holds_at(Moment(1_003_500)));
        ownership.renewed(Moment(999_000), Duration::from_millis(3500));
        assert!(ownership.lease_holds_at(Moment(1_003_499)), "an answer that was overtaken shortens nothing");
    }
}
