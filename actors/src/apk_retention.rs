//! Reconcilers that remove uploads that nobody goes on with, old versions that nobody needs, and files of deleted APKs.
//!
//! The file of an APK that the database does not know at all is left alone: it may belong to another cluster that was pointed at the same
//! store by mistake.

use std::sync::Arc;
use std::time::Duration;

use apk::ApkLibrary;
use chrono::TimeDelta;
use domain::ServiceError;
use domain::access::{Origin, Principal};
use domain::apk::superfluous;
use domain::shard::shard_of_name;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{DeletedApk, Store};

use crate::reconcile::{Reconcile, Reconciler, Run};

/// Uploads that are removed in one run.
const UPLOADS_MAX: i64 = 100;
/// Runs of the retention between two comparisons of the store with the database.
const SWEEP_EVERY: u32 = 60;
/// A file that is younger may belong to an upload that is just being taken.
const SWEEP_AGE: TimeDelta = TimeDelta::hours(1);

/// The reconcilers of the library.
pub(crate) fn reconcilers(store: &Store, library: &Arc<ApkLibrary>, interval: Duration) -> [Reconciler; 2] {
    let (retention, sweep) = ("apk_retention", "apk_sweep");
    [
        Reconciler::per_cluster(
            retention,
            shard_of_name(retention),
            interval,
            Retention { store: store.clone(), library: Arc::clone(library) },
        ),
        Reconciler::per_cluster(
            sweep,
            shard_of_name(sweep),
            interval * SWEEP_EVERY,
            Sweep { store: store.clone(), library: Arc::clone(library) },
        ),
    ]
}

/// Removes stale uploads, and versions beyond those that are kept.
struct Retention {
    store: Store,
    library: Arc<ApkLibrary>,
}

impl Reconcile for Retention {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let mut removed = 0;
            for upload in self.store.stale_uploads(run.now - self.library.settings().upload_kept, UPLOADS_MAX).await? {
                if !run.may_go_on() {
                    return Ok(removed);
                }
                self.library.remove_upload(upload, async { Ok(self.store.delete_upload(upload).await?) }).await?;
                tracing::info!(event = "apks.upload_removed", %upload);
                removed += 1;
            }
            let by = Principal::System { origin: Origin::default() };
            for apk in superfluous(&self.store.apks_kept().await?, self.library.settings().versions_kept) {
                if !run.may_go_on() {
                    return Ok(removed);
                }
                // Somebody may have begun to use it meanwhile.
                if self.store.delete_apk(apk, &by, run.now).await? == DeletedApk::Deleted {
                    self.library.remove(apk).await?;
                    tracing::info!(event = "apks.old_version_removed", %apk);
                    removed += 1;
                }
            }
            Ok(removed)
        }
        .boxed()
    }
}

/// Removes files of APKs that are deleted, and parts of uploads that are gone.
struct Sweep {
    store: Store,
    library: Arc<ApkLibrary>,
}

impl Reconcile for Sweep {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let mut removed = 0;
            let there = self.library.stored_before(run.now - SWEEP_AGE).await?;
            for apk in self.store.apks_deleted(&there).await? {
                self.library.remove(apk).await?;
                tracing::info!(event = "apks.left_file_removed", %apk);
                removed += 1;
            }
            // Even of another cluster they would be worth nothing any more, after twice the time that an upload is kept.
            let kept = self.library.settings().upload_kept.max(SWEEP_AGE);
            for upload in self.library.uploads_before(run.now - kept * 2, UPLOADS_MAX as usize).await? {
                if !run.may_go_on() {
                    return Ok(removed);
                }
                if self.store.upload(upload).await?.is_none() {
                    self.library.forget_parts(upload).await?;
                    tracing::info!(event = "apks.left_parts_removed", %upload);
                    removed += 1;
                }
            }
            Ok(removed)
        }
        .boxed()
    }
}
