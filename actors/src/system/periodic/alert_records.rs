//! Records of alerts of devices: a reconciler that compares what is open with what each owner remembers, and resolves those of devices that
//! are gone.
//!
//! Owners know what they recorded. This is for what they cannot know: a statement that was given up and committed all the same, a device that
//! was purged while nobody acted for it.

use std::sync::Arc;
use std::time::Duration;

use domain::ServiceError;
use domain::alert::{RecordChange, ResolveCause, SubjectLabels};
use domain::shard::{ShardId, ShardLease, shard_of};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{AlertChange, ChangedAlert, Store};

use crate::device::DeviceMsg;
use crate::ownership::Ownership;
use crate::reconcile::{Reconcile, Reconciler, Run};
use crate::shard::{Directory, all_open_alerts, open_by_device};
use crate::system::runtime::{Core, Members, Writers};
use crate::writers::AlertWriter;

/// Time between two comparisons.
const INTERVAL: Duration = Duration::from_secs(60);
/// Alerts of devices that are gone which one run resolves.
const ORPHANS_MAX: i64 = 1_000;

/// The reconciler of every node, for the shards that it owns.
pub(super) fn reconciler(core: &Core, writers: &Writers, members: &Members) -> Reconciler {
    let work = AlertRecords {
        store: core.store.clone(),
        ownership: Arc::clone(&core.ownership),
        directory: Arc::clone(&members.parts.directory),
        writer: writers.alerts.clone(),
    };
    Reconciler::per_node("alert_records", INTERVAL, work)
}

struct AlertRecords {
    store: Store,
    ownership: Arc<Ownership>,
    directory: Directory,
    writer: AlertWriter,
}

impl Reconcile for AlertRecords {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let mine: Vec<ShardId> = ShardId::all().filter(|shard| self.ownership.acting(*shard).is_some()).collect();
            if mine.is_empty() {
                return Ok(0);
            }
            for (id, open) in open_by_device(all_open_alerts(&self.store, &mine).await?) {
                if let Some(device) = self.directory.get(&id) {
                    // A device that stops is judged by its next owner.
                    let _ = device.cast(DeviceMsg::OpenAlerts(open));
                }
            }
            let mut resolved = 0;
            for orphan in self.store.orphaned_alerts(&mine, ORPHANS_MAX).await? {
                let Some(shard) = orphan.key.subject.device().map(shard_of) else { continue };
                let Some(epoch) = self.ownership.acting(shard) else { continue };
                let change = AlertChange {
                    lease: ShardLease { shard, epoch },
                    id: orphan.id,
                    key: orphan.key,
                    labels: SubjectLabels::default(),
                    change: RecordChange::Resolve(ResolveCause::SubjectGone),
                    at: run.now,
                };
                resolved += u64::from(self.writer.record(change).await? == ChangedAlert::Changed);
            }
            Ok(resolved)
        }
        .boxed()
    }
}
