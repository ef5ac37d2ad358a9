//! Change log of the devices of this node: each device once, at its newest change.
//!
//! ```text
//! number    1  2  3  4  5  6  7  8
//! device    a  b  a  c  b  d  c  a
//! kept                  b  d  c  a     whoever has seen 5 gets d, c, a; whoever starts, all four
//! ```
//! So the log is never longer than the fleet is large, and a reader that starts from nothing reads
//! the same log as one that is up to date.

use std::collections::{BTreeMap, HashMap, VecDeque};

use domain::DeviceId;
use domain::shard::Epoch;

/// Deleted devices that are remembered, so that readers hear of it.
const GONE_MAX: usize = 10_000;

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) device: DeviceId,
    pub(crate) epoch: Epoch,
    pub(crate) gone: bool,
}

/// The log.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    id: u64,
    last: u64,
    order: BTreeMap<u64, DeviceId>,
    newest: HashMap<DeviceId, (u64, Epoch, bool)>,
    gone: VecDeque<DeviceId>,
}

impl ChangeLog {
    /// An empty log. Its id tells it from the log of an earlier start.
    pub(crate) fn new(id: u64) -> Self {
        Self { id, last: 0, order: BTreeMap::new(), newest: HashMap::new(), gone: VecDeque::new() }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// A device changed.
    pub(crate) fn note(&mut self, device: DeviceId, epoch: Epoch) {
        self.put(device, epoch, false);
    }

    /// A device was deleted.
    pub(crate) fn note_gone(&mut self, device: DeviceId, epoch: Epoch) {
        self.put(device, epoch, true);
        self.gone.push_back(device);
        if self.gone.len() > GONE_MAX
            && let Some(oldest) = self.gone.pop_front()
            && self.is_gone(oldest)
        {
            self.forget(oldest);
        }
    }

    fn put(&mut self, device: DeviceId, epoch: Epoch, gone: bool) {
        self.last += 1;
        if let Some((before, ..)) = self.newest.insert(device, (self.last, epoch, gone)) {
            self.order.remove(&before);
        }
        self.order.insert(self.last, device);
    }

    /// A device is another node's now.
    pub(crate) fn forget(&mut self, device: DeviceId) {
        if let Some((number, ..)) = self.newest.remove(&device) {
            self.order.remove(&number);
        }
    }

    /// Whether a device was deleted here.
    pub(crate) fn is_gone(&self, device: DeviceId) -> bool {
        self.newest.get(&device).is_some_and(|(.., gone)| *gone)
    }

    /// At most `limit` changes after the one with this number, and whether there are more.
    pub(crate) fn after(&self, number: u64, limit: usize) -> (Vec<Entry>, bool) {
        let mut entries: Vec<Entry> = self
            .order
            .range(number.saturating_add(1)..)
            .take(limit + 1)
            .filter_map(|(number, device)| {
                let (_, epoch, gone) = self.newest.get(device)?;
                Some(Entry { number: *number, device: *device, epoch: *epoch, gone: *gone })
            })
            .collect();
        let more = entries.len() > limit;
        entries.truncate(limit);
        (entries, more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u8) -> DeviceId {
        DeviceId(uuid::Uuid::from_u128(u128::from(n)))
    }

    proptest! {
        /// Whatever happens between its looks, a reader ends up with what the writer has.
        #[test]
        fn a_reader_catches_up(steps in proptest::collection::vec((0u8..20, 0u8..4), 0..200), limit in 1usize..7) {
            let mut log = ChangeLog::new(1);
            let (mut truth, mut seen, mut at) = (HashMap::new(), HashMap::new(), 0);
            let read = |log: &ChangeLog, seen: &mut HashMap<DeviceId, Epoch>, at: &mut u64| {
                let (entries, more) = log.after(*at, limit);
                for entry in entries {
                    *at = entry.number;
                    if entry.gone { seen.remove(&entry.device); } else { seen.insert(entry.device, entry.epoch); }
                }
                more
            };
            for (n, (device, step)) in steps.into_iter().enumerate() {
                let epoch = Epoch(n as i64);
                match step {
                    0 => { log.note_gone(id(device), epoch); truth.remove(&id(device)); }
                    1 => { read(&log, &mut seen, &mut at); }
                    _ => { log.note(id(device), epoch); truth.insert(id(device), epoch); }
                }
            }
            while read(&log, &mut seen, &mut at) {}
            prop_assert_eq!(seen, truth);
        }
    }

    #[test]
    fn the_log_is_no_longer_than_the_fleet() {
        let mut log = ChangeLog::new(1);
        (0..1000).for_each(|n| log.note(id((n % 7) as u8), Epoch(1)));
        assert_eq!(log.after(0, 100).0.len(), 7);
        log.forget(id(3));
        assert_eq!(log.after(0, 100).0.len(), 6);
        assert_eq!(log.after(1000, 100), (vec![], false));
    }
}
