//! What this node sees of itself and of its machine, noted for whoever judges.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use domain::{ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use push::PushSender;
use store::{NodeHealth, Store};
use tokio::time::Instant;

use super::CertificateExpiry;
use crate::reconcile::{Reconcile, Reconciler, Run};
use crate::write_times::{Durations, WriteTimes, p99_ms};

/// Time between two notes.
const INTERVAL: Duration = Duration::from_secs(15);
/// Notes of a minute.
const NOTES_A_MINUTE: usize = 4;

/// What notes the health of this node.
pub(crate) struct HealthWatch {
    pub(crate) name: String,
    pub(crate) store: Store,
    pub(crate) push: PushSender,
    /// Folder whose disk counts.
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) certificates: CertificateExpiry,
    pub(crate) pool_full_since: Option<Timestamp>,
    pub(crate) write_times: WriteTimes,
    /// Those of the last minute.
    pub(crate) minute: VecDeque<Durations>,
}

impl HealthWatch {
    /// The reconciler of every node.
    pub(crate) fn reconciler(self) -> Reconciler {
        Reconciler::per_node("node_health", INTERVAL, self).at_start()
    }

    fn observe(&mut self, now: Timestamp) -> NodeHealth {
        let pool = self.store.pool_use();
        // This run has one of the connections.
        let is_full = pool.open.saturating_sub(pool.idle) >= pool.max;
        self.pool_full_since = if is_full { self.pool_full_since.or(Some(now)) } else { None };
        self.minute.push_back(self.write_times.take());
        if self.minute.len() > NOTES_A_MINUTE {
            self.minute.pop_front();
        }
        let push = self.push.status();
        NodeHealth {
            disk_free_pct: self.data_dir.as_deref().and_then(disk_free_pct),
            pool_full_since: self.pool_full_since,
            push_refused: push.on.then_some(push.misconfigured.is_some()),
            push_quota_used_up: push.on.then_some(push.quota_used_up),
            database_p99_ms: p99_ms(&self.minute),
            certificate_expires_at: self.certificates.earliest(),
        }
    }
}

/// Free space of a disk for the user of the node, percent. `None`: some network disks do not tell.
fn disk_free_pct(folder: &std::path::Path) -> Option<i16> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let pct = disk.f_bavail.saturating_mul(100) / disk.f_blocks.max(1);
    (disk.f_blocks > 0).then(|| i16::try_from(pct.min(100)).unwrap_or(100))
}

impl Reconcile for HealthWatch {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let health = self.observe(run.now);
            // Where little else is written, this alone tells how long that takes.
            let started = Instant::now();
            self.store.note_node_health(&self.name, &health, run.now).await?;
            self.write_times.note(started.elapsed());
            Ok(0)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_tells_how_much_is_free() {
        assert!(disk_free_pct(&std::env::temp_dir()).is_some_and(|pct| (0..=100).contains(&pct)));
        assert_eq!(disk_free_pct(std::path::Path::new("/nowhere/at/all")), None);
    }
}
