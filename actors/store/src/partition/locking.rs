//! Locks that heartbeats wait for: taken within a short time or not at all, and tried again.

use std::time::Duration;

use crate::pool::{Connection, Transaction};
use crate::{Store, StoreError};

/// Key of the advisory lock that one partition manager at a time holds.
const PARTITION_LOCK: i64 = 0x6e65_786d_646d_0001;
/// Longest wait for a lock on `heartbeats` or its default partition, ms: heartbeats that come meanwhile wait behind it.
pub const LOCK_TIMEOUT_MS: u64 = 40;
/// Longest time for which such a lock is held while the process that took it stands still, ms; the database ends its connection then.
const HELD_IDLE_MS: u64 = 100;
/// Longest time for the message that changes a partition: to attach one, PostgreSQL goes through the whole default partition.
pub(super) const LONGEST_CHANGE: Duration = Duration::from_secs(60);
/// Attempts after a connection that ended under its locks.
const CUT_OFFS_MAX: u32 = 3;
/// Longest wait for the other manager.
const OTHER_MANAGER_TIMEOUT: &str = "SET LOCAL lock_timeout = '10s'";

/// How often a change of partitions is tried.
#[derive(Debug, Clone, Copy)]
pub struct LockPatience {
    attempts: u32,
    pause: Duration,
    /// Time for the rows that move before the locks are taken.
    moving: Duration,
}

impl LockPatience {
    /// At the start of a node, which is not to wait long.
    pub const START: Self = Self { attempts: 20, pause: Duration::from_millis(20), moving: Duration::from_secs(10) };
    /// Of the partition manager: over a minute and a half.
    pub const MANAGER: Self = Self { attempts: 120, pause: Duration::from_millis(50), moving: Duration::from_secs(1800) };
    /// Longest pause.
    const PAUSE_MAX: Duration = Duration::from_millis(1000);

    /// The same with so much time for the rows that move before the locks are taken.
    #[must_use]
    pub const fn moving_for(self, moving: Duration) -> Self {
        Self { moving, ..self }
    }

    /// Time for the rows that move before the locks are taken.
    pub(super) fn moving(self) -> Duration {
        self.moving
    }

    /// Attempts that are left after the first.
    pub(super) fn retries(self) -> Retries {
        Retries { left: self.attempts.saturating_sub(1), cut_offs_left: CUT_OFFS_MAX, pause: self.pause }
    }
}

/// Attempts that are left.
pub(super) struct Retries {
    left: u32,
    cut_offs_left: u32,
    pause: Duration,
}

impl Retries {
    /// Whether there is another attempt, for this reason.
    pub(super) fn are_left_for(&mut self, cause: &StoreError) -> bool {
        let is_cut_off = cause.is_cut_off();
        let are_left = self.left > 0 && (cause.is_lock_timeout() || (is_cut_off && self.cut_offs_left > 0));
        self.cut_offs_left = self.cut_offs_left.saturating_sub(u32::from(is_cut_off));
        self.left = self.left.saturating_sub(1);
        are_left
    }

    /// Pauses before it, ever longer: in between heartbeats catch up.
    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 3 / 2).min(LockPatience::PAUSE_MAX);
    }
}

/// Lets one transaction at a time change partitions.
pub(super) async fn hold_partitions(connection: &mut Connection) -> Result<(), StoreError> {
    crate::configure(connection, OTHER_MANAGER_TIMEOUT).await?;
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", PARTITION_LOCK).execute(&mut *connection).await?;
    Ok(())
}

/// A transaction that takes locks that heartbeats wait for.
pub(super) async fn begin_locking(store: &Store) -> Result<Transaction, StoreError> {
    let mut tx = store.begin().await?;
    hold_partitions(&mut tx).await?;
    let limits = format!("SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; SET LOCAL idle_in_transaction_session_timeout = {HELD_IDLE_MS}");
    crate::configure(&mut tx, &limits).await?;
    Ok(tx)
}
