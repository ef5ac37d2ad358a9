//! Removes uploads that nobody goes on with, old versions that nobody needs, and files of deleted APKs.
//!
//! The owner of shard 0 does it for all. A file that the database does not know at all is left alone: it may belong to
//! another cluster that was pointed at the same store by mistake.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use domain::access::{Origin, Principal};
use domain::apk::superfluous;
use domain::shard::ShardId;
use store::{DeletedApk, Store};
use tokio_util::sync::CancellationToken;

use super::ApkLibrary;
use crate::ownership::Ownership;
use crate::{ServiceError, clock};

/// Whose owner does it for all.
const KEEPER_SHARD: ShardId = ShardId(0);
/// Uploads that are removed at a look.
const UPLOADS_MAX: i64 = 100;
/// Looks between two comparisons of the store with the database.
const SWEEP_EVERY: u32 = 60;
/// A file that is younger may belong to an upload that is just being taken.
const SWEEP_AGE: TimeDelta = TimeDelta::hours(1);

/// Keeps the library tidy.
pub(crate) struct ApkKeeper {
    pub(crate) store: Store,
    pub(crate) library: Arc<ApkLibrary>,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) interval: Duration,
}

impl ApkKeeper {
    /// Does so until `stopping`.
    pub(crate) async fn keep(self, stopping: CancellationToken) {
        let keeping = async {
            for look in 1_u32.. {
                tokio::time::sleep(self.interval).await;
                if self.ownership.acting(KEEPER_SHARD).is_some()
                    && let Err(cause) = self.look(look % SWEEP_EVERY == 0).await
                {
                    tracing::warn!(event = "apks.look_failed", %cause);
                }
            }
        };
        tokio::select! {
            () = keeping => {}
            () = stopping.cancelled() => {}
        }
    }

    async fn look(&self, sweep: bool) -> Result<(), ServiceError> {
        let now = clock::now();
        for upload in self.store.stale_uploads(now - self.library.settings.upload_kept, UPLOADS_MAX).await? {
            // Its row goes last: as long as it is there, somebody comes back for the parts.
            self.library.forget_parts(upload).await?;
            self.store.delete_upload(upload).await?;
            tracing::info!(event = "apks.upload_removed", %upload);
        }
        let by = Principal::System { origin: Origin::default() };
        for apk in superfluous(&self.store.apks_kept().await?, self.library.settings.versions_kept) {
            // Somebody may have begun to use it meanwhile.
            if self.store.delete_apk(apk, &by, now).await? == DeletedApk::Deleted {
                self.library.remove(apk).await?;
                tracing::info!(event = "apks.old_version_removed", %apk);
            }
        }
        if sweep {
            let there = self.library.objects.apks_before(now - SWEEP_AGE).await?;
            for apk in self.store.apks_deleted(&there).await? {
                self.library.remove(apk).await?;
                tracing::info!(event = "apks.left_file_removed", %apk);
            }
        }
        Ok(())
    }
}
