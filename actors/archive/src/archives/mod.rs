//! The archives of a store.

mod device;
mod read;
mod verify;
mod write;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use domain::{Invalid, Timestamp};
use moka::sync::Cache;
use objects::Objects;

use crate::bucket::Bucket;
use crate::manifest::Manifest;
use crate::{ArchiveError, ArchiveName, ArchiveSettings};

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
    bucket: Bucket,
    settings: ArchiveSettings,
    footers: Cache<ArchiveName, Arc<CachedFooter>>,
}

impl std::fmt::Debug for Archives {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archives").field("url", &self.inner.settings.url).finish_non_exhaustive()
    }
}

impl Archives {
    /// The archives of the store that the settings name.
    ///
    /// # Errors
    /// Names the setting.
    pub fn open(settings: ArchiveSettings) -> Result<Self, Invalid> {
        let objects = settings.location().open()?;
        Self::over(objects, settings)
    }

    /// The archives of an open store.
    ///
    /// # Errors
    /// The folder for files that are being written cannot be made.
    pub fn over(objects: Objects, settings: ArchiveSettings) -> Result<Self, Invalid> {
        let scratch = &settings.scratch_dir;
        std::fs::create_dir_all(scratch).map_err(|cause| Invalid::new("archive.scratch_dir", format!("{}: {cause}", scratch.display())))?;
        let footers = Cache::builder()
            .max_capacity(settings.footer_cache_bytes)
            .weigher(|_, footer: &Arc<CachedFooter>| u32::try_from(footer.memory_bytes()).unwrap_or(u32::MAX))
            .build();
        let bucket = Bucket::new(objects, settings.timeout);
        Ok(Self { inner: Arc::new(Inner { bucket, settings, footers }) })
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
        let Some(json) = self.inner.bucket.get(&key, MANIFEST_BYTES_MAX).await? else { return Ok(None) };
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
        let files = self.inner.bucket.list(table, FILES_MAX).await?;
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
        self.inner.bucket.delete(&name.manifest_key()).await?;
        self.inner.bucket.delete(&name.file_key()).await
    }

    /// Moves what is left of a damaged archive into the folder `damaged`, where nothing reads or removes it, the manifest first. Answers where it is.
    ///
    /// # Errors
    /// The store fails; the file may be left without a manifest, which is no archive.
    pub async fn set_aside(&self, name: &ArchiveName) -> Result<String, ArchiveError> {
        self.inner.footers.invalidate(name);
        let bucket = &self.inner.bucket;
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
    /// A file without a name, which is gone when it is closed, however that happens.
    fn scratch(&self) -> Result<std::fs::File, ArchiveError> {
        tempfile::tempfile_in(&self.settings.scratch_dir).map_err(|cause| self.disk(cause))
    }

    fn disk(&self, cause: io::Error) -> ArchiveError {
        ArchiveError::Disk { folder: self.settings.scratch_dir.clone(), cause }
    }
}

/// What a thread that was started for it answers. One that panicked could not read the file.
async fn joined<T>(key: &str, thread: tokio::task::JoinHandle<Result<T, ArchiveError>>) -> Result<T, ArchiveError> {
    thread.await.unwrap_or_else(|cause| Err(ArchiveError::damaged(key, format!("cannot be processed: {cause}"))))
}
