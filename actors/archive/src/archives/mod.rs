//! The archives of a store.

mod device;
mod read;
mod verify;
mod write;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};

use domain::{Invalid, Timestamp};
use moka::sync::Cache;
use objects::Objects;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::bucket::Bucket;
use crate::manifest::Manifest;
use crate::{ArchiveError, ArchiveName, ArchiveSettings, low_priority};

pub use device::{DeviceDay, ReadBudget};
pub use read::ArchiveRows;
pub use verify::{Progress, Recorded};
pub use write::{WriteMode, Written};

use device::CachedFooter;

/// Largest manifest: 100,000 row groups.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;
/// Most files of a listing: two for each of a hundred years' days.
const FILES_MAX: usize = 100_000;
/// Rows that a decoder hands on at a time.
const BATCH_ROWS: usize = 8192;

/// An archive of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name.
    pub name: ArchiveName,
    /// Size of the file; `None` when it is gone.
    pub bytes: Option<u64>,
    /// When the manifest was written, by the store's clock.
    pub written_at: Timestamp,
}

/// The archives of a store. Clones are the same.
#[derive(Clone)]
pub struct Archives {
    inner: Arc<Inner>,
}

struct Inner {
    /// The store, once it was opened.
    bucket: OnceLock<Bucket>,
    settings: ArchiveSettings,
    footers: Cache<ArchiveName, Arc<CachedFooter>>,
    /// Turns of reads that people wait for.
    reads: Semaphore,
}

impl std::fmt::Debug for Archives {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archives").field("url", &self.inner.settings.url).finish_non_exhaustive()
    }
}

impl Archives {
    /// The archives of the store that the settings name. It is opened, and its folder made, when it is first used: heartbeats need none, and a folder
    /// that cannot be made, as on a disk that is not mounted, ends no start.
    ///
    /// # Errors
    /// Names the setting, where its URL does not read.
    pub fn open(settings: ArchiveSettings) -> Result<Self, Invalid> {
        if !settings.location().is_folder() {
            settings.check()?;
        }
        Ok(Self::with(OnceLock::new(), settings))
    }

    /// The archives of an open store.
    pub fn over(objects: Objects, settings: ArchiveSettings) -> Self {
        let bucket = Bucket::new(objects, settings.timeout);
        Self::with(OnceLock::from(bucket), settings)
    }

    fn with(bucket: OnceLock<Bucket>, settings: ArchiveSettings) -> Self {
        let footers = Cache::builder()
            .max_capacity(settings.footer_cache_bytes)
            .weigher(|_, footer: &Arc<CachedFooter>| u32::try_from(footer.memory_bytes()).unwrap_or(u32::MAX))
            .build();
        let reads = Semaphore::new(settings.reads_max);
        Self { inner: Arc::new(Inner { bucket, settings, footers, reads }) }
    }

    /// Why the store cannot be opened, or the folder for files that are being written cannot be made; `None`: they can. It says nothing about whether
    /// the store answers.
    pub fn problem(&self) -> Option<String> {
        let opened = self.inner.bucket().map(drop).and_then(|()| self.inner.make_scratch_dir());
        opened.err().map(|error| error.to_string())
    }

    /// A turn at a read that somebody waits for, of which `reads_max` are under way at a time. `None`: none came free for as long as a read may take.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let turn = tokio::time::timeout(self.inner.settings.read_timeout, self.inner.reads.acquire()).await;
        // It is never closed.
        turn.ok().and_then(Result::ok)
    }

    /// Where the archives are: a folder or a URL, without credentials.
    pub fn url(&self) -> &str {
        &self.inner.settings.url
    }

    /// The settings.
    pub fn settings(&self) -> &ArchiveSettings {
        &self.inner.settings
    }

    /// The manifest of an archive; `None` when there is none, and thus no whole archive.
    ///
    /// # Errors
    /// The store fails, or what is there is no manifest.
    pub async fn manifest(&self, name: &ArchiveName) -> Result<Option<Manifest>, ArchiveError> {
        let key = name.manifest_key();
        let Some(json) = self.inner.bucket()?.get(&key, MANIFEST_BYTES_MAX).await? else { return Ok(None) };
        let manifest = Manifest::read(&json).map_err(|problem| ArchiveError::damaged(&key, problem))?;
        if manifest.file != name.file_key() {
            return Err(ArchiveError::damaged(&key, format!("is the manifest of {}", manifest.file)));
        }
        Ok(Some(manifest))
    }

    /// The archives of a table that have a manifest, in the order of their names.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list(&self, table: &str) -> Result<Vec<Listed>, ArchiveError> {
        let files = self.inner.bucket()?.list(table, FILES_MAX).await?;
        let sizes: BTreeMap<_, _> = files.iter().map(|file| (file.location.as_ref(), file.size)).collect();
        let listed = files.iter().filter_map(|file| {
            let name = ArchiveName::of_manifest(&file.location)?;
            let bytes = sizes.get(name.file_key().as_str()).copied();
            Some(Listed { bytes, written_at: file.last_modified, name })
        });
        Ok(listed.collect())
    }

    /// Deletes an archive, the manifest first.
    ///
    /// # Errors
    /// The store fails; the file may be left without a manifest.
    pub async fn delete(&self, name: &ArchiveName) -> Result<(), ArchiveError> {
        self.inner.footers.invalidate(name);
        self.inner.bucket()?.delete(&name.manifest_key()).await?;
        self.inner.bucket()?.delete(&name.file_key()).await
    }

    /// Moves what is left of a damaged archive into the folder `damaged`, where nothing reads or removes it, the manifest first. Answers where it is.
    ///
    /// # Errors
    /// The store fails; the file may be left without a manifest, which is no archive.
    pub async fn set_aside(&self, name: &ArchiveName) -> Result<String, ArchiveError> {
        self.inner.footers.invalidate(name);
        let bucket = self.inner.bucket()?;
        let aside = Bucket::damaged(&name.to_string());
        for (from, to) in [(name.manifest_key(), format!("{aside}.json")), (name.file_key(), format!("{aside}.parquet"))] {
            if bucket.head(&from).await?.is_some() {
                bucket.rename(&from, &to).await?;
            }
        }
        Ok(aside)
    }
}

impl Inner {
    /// The store, opened by the first call.
    fn bucket(&self) -> Result<&Bucket, ArchiveError> {
        if let Some(bucket) = self.bucket.get() {
            return Ok(bucket);
        }
        let objects = self.settings.location().open().map_err(ArchiveError::NotOpened)?;
        Ok(self.bucket.get_or_init(|| Bucket::new(objects, self.settings.timeout)))
    }

    fn make_scratch_dir(&self) -> Result<(), ArchiveError> {
        std::fs::create_dir_all(&self.settings.scratch_dir).map_err(|cause| self.disk(cause))
    }

    /// A file without a name, which is gone when it is closed, however that happens.
    fn scratch(&self) -> Result<std::fs::File, ArchiveError> {
        self.make_scratch_dir()?;
        tempfile::tempfile_in(&self.settings.scratch_dir).map_err(|cause| self.disk(cause))
    }

    fn disk(&self, cause: io::Error) -> ArchiveError {
        ArchiveError::Disk { folder: self.settings.scratch_dir.clone(), cause }
    }
}

impl Inner {
    /// Starts a thread of low priority for work that takes as long as a file is large.
    fn in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, ArchiveError>>, ArchiveError> {
        low_priority::start(work).map_err(|cause| self.disk(cause))
    }
}

/// What such a thread answers. One that panicked could not process the file.
async fn answered<T>(key: &str, thread: oneshot::Receiver<Result<T, ArchiveError>>) -> Result<T, ArchiveError> {
    thread.await.unwrap_or_else(|_| Err(ArchiveError::damaged(key, "cannot be processed: its thread ended without an answer")))
}

/// What a thread that was started for it answers. One that panicked could not read the file.
async fn joined<T>(key: &str, thread: tokio::task::JoinHandle<Result<T, ArchiveError>>) -> Result<T, ArchiveError> {
    thread.await.unwrap_or_else(|cause| Err(ArchiveError::damaged(key, format!("cannot be processed: {cause}"))))
}
