//! What happened in a run: acknowledgements, faults, and what broke a promise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use domain::shard::Epoch;
use domain::{DeviceId, Timestamp};
use link::messages::HeartbeatOutcome;
use tokio::time::Instant;

/// Acknowledged heartbeat.
#[derive(Debug, Clone)]
pub(crate) struct Ack {
    /// Device.
    pub(crate) device: DeviceId,
    /// Bucket that is stored.
    pub(crate) bucket_at: Timestamp,
    /// Its number among the heartbeats of the device; later ones are newer.
    pub(crate) seq: i64,
    /// When the device sent it, ms of the run.
    pub(crate) requested_ms: u64,
    /// When it was answered.
    pub(crate) at_ms: u64,
    /// Start of a node that answered.
    pub(crate) node: String,
    /// Whether it was stored now or before.
    pub(crate) outcome: HeartbeatOutcome,
    /// Name and epoch of the owner that decided; none: stored without it.
    pub(crate) owner: Option<(Arc<str>, Epoch)>,
}

/// Kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A node dies.
    Death,
    /// A node is stopped in order.
    Stop,
    /// A node joins, or comes back.
    Join,
    /// Two nodes do not reach each other.
    Partition,
    /// One node does not reach the database.
    DatabaseCut,
    /// Messages of one node to the database stop, and arrive later.
    DatabaseStall,
    /// The database is away.
    DatabaseDown,
    /// The database is slow.
    SlowStore,
    /// The wall clock of a node jumps.
    ClockJump,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Death,
        Self::Stop,
        Self::Join,
        Self::Partition,
        Self::DatabaseCut,
        Self::DatabaseStall,
        Self::DatabaseDown,
        Self::SlowStore,
        Self::ClockJump,
    ];
}

/// Fault with its time.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Kind.
    pub kind: FaultKind,
    /// Nodes concerned, as text.
    pub what: String,
    /// When it began, ms of the run.
    pub from_ms: u64,
    /// When it was over.
    pub until_ms: u64,
}

/// Record of a run.
pub(crate) struct History {
    /// When something was first noted.
    began: OnceLock<Instant>,
    records: Mutex<Records>,
}

/// What a history holds.
#[derive(Default, Clone)]
pub(crate) struct Records {
    /// Acknowledgements, in their order.
    pub(crate) acks: Vec<Ack>,
    /// Disturbances, in the order of their begin.
    pub(crate) faults: Vec<Fault>,
    /// Broken promises.
    pub(crate) violations: Vec<String>,
    /// How often what happened.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// Everything worth telling, for a person.
    pub(crate) lines: Vec<String>,
}

impl History {
    /// Nothing yet; time counts from the first record.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { began: OnceLock::new(), records: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time of the run, ms.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Logs something.
    pub(crate) fn log(&self, text: impl std::fmt::Display) {
        let line = format!("{:>6} ms  {text}", self.now_ms());
        self.lock().lines.push(line);
    }

    /// Counts something.
    pub(crate) fn count(&self, what: &'static str, times: u64) {
        *self.lock().counts.entry(what).or_default() += times;
    }

    /// Notes a fault that lasts this long.
    pub(crate) fn fault(&self, kind: FaultKind, what: &str, lasts_ms: u64) {
        let from_ms = self.now_ms();
        self.log(format!("{kind:?} {what} for {lasts_ms} ms"));
        self.lock().faults.push(Fault { kind, what: what.to_owned(), from_ms, until_ms: from_ms + lasts_ms });
    }

    /// Notes an acknowledgement.
    pub(crate) fn acknowledged(&self, ack: Ack) {
        self.lock().acks.push(ack);
    }

    /// Notes a broken promise, once.
    pub(crate) fn broken(&self, promise: &str, what: impl std::fmt::Display) {
        let text = format!("{promise}: {what}");
        self.log(format!("BROKEN {text}"));
        let mut records = self.lock();
        if !records.violations.contains(&text) {
            records.violations.push(text);
        }
    }

    /// All of it.
    pub(crate) fn records(&self) -> Records {
        self.lock().clone()
    }
}
