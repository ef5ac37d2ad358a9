//! Files of a store that is far away, kept on this node's disk up to a limit: the least recently used goes first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::{ApkId, ServiceError};
use tokio::fs::File;
use tokio::sync::{Semaphore, watch};

use super::incoming::Incoming;
use super::objects::{Objects, disk};

/// Files that are fetched from the store at a time.
const FETCHES_MAX: usize = 2;

/// Cached files.
pub(super) struct Cache {
    folder: PathBuf,
    limit_bytes: u64,
    index: Mutex<CacheIndex>,
    fetches: Semaphore,
}

#[derive(Default)]
struct CacheIndex {
    files: HashMap<ApkId, CachedFile>,
    /// Downloads under way, with their outcomes.
    coming: HashMap<ApkId, watch::Receiver<Option<bool>>>,
    /// Counts uses.
    clock: u64,
}

struct CachedFile {
    size: u64,
    used: u64,
}

/// The file that is wanted.
#[derive(Debug, Clone)]
pub(super) struct RequestedFile {
    pub(super) apk: ApkId,
    pub(super) sha256: String,
    pub(super) size: u64,
}

impl Cache {
    /// Files of an earlier start in this folder count, oldest first.
    pub(super) fn open(folder: PathBuf, limit_bytes: u64) -> std::io::Result<Self> {
        let mut left = Vec::new();
        for file in std::fs::read_dir(&folder)? {
            let file = file?;
            let name = file.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".apk")).and_then(|id| id.parse::<ApkId>().ok());
            let metadata = file.metadata()?;
            left.extend(id.map(|id| (metadata.modified().ok(), id, metadata.len())));
        }
        left.sort();
        let mut index = CacheIndex::default();
        for (_, id, size) in left {
            index.clock += 1;
            index.files.insert(id, CachedFile { size, used: index.clock });
        }
        let cache = Self { folder, limit_bytes, index: Mutex::new(index), fetches: Semaphore::new(FETCHES_MAX) };
        cache.evict(None);
        Ok(cache)
    }

    /// The file, fetched first if it is not here. Whoever asks for the same one meanwhile waits for the same fetch.
    ///
    /// # Errors
    /// Overloaded when it did not come within `patience`, though it may come later; unavailable when it cannot be had.
    pub(super) async fn file(
        self: &Arc<Self>,
        objects: &Arc<Objects>,
        wanted: RequestedFile,
        patience: Duration,
    ) -> Result<File, ServiceError> {
        let path = self.path(wanted.apk);
        if self.touch(wanted.apk)
            && let Ok(file) = File::open(&path).await
        {
            return Ok(file);
        }
        let mut coming = self.fetch(objects, wanted);
        let fetched = tokio::time::timeout(patience, coming.wait_for(Option::is_some)).await;
        match fetched.map(|fetched| fetched.map(|done| *done)) {
            Ok(Ok(Some(true))) => File::open(&path).await.map_err(disk),
            Ok(_) => Err(ServiceError::Unavailable),
            Err(_) => Err(ServiceError::Overloaded("the time for copying the APK to this node")),
        }
    }

    /// Adds a file to the cache.
    pub(super) async fn adopt(&self, apk: ApkId, size: u64, from: &Path) -> std::io::Result<()> {
        tokio::fs::rename(from, self.path(apk)).await?;
        self.note(apk, size);
        Ok(())
    }

    /// Deletes a file.
    pub(super) fn forget(&self, apk: ApkId) {
        self.lock().files.remove(&apk);
        let _ = std::fs::remove_file(self.path(apk));
    }

    fn fetch(self: &Arc<Self>, objects: &Arc<Objects>, wanted: RequestedFile) -> watch::Receiver<Option<bool>> {
        let mut index = self.lock();
        if let Some(coming) = index.coming.get(&wanted.apk) {
            return coming.clone();
        }
        let (done, coming) = watch::channel(None);
        index.coming.insert(wanted.apk, coming.clone());
        let (cache, objects) = (Arc::clone(self), Arc::clone(objects));
        tokio::spawn(async move {
            let fetched = cache.fetched(&objects, &wanted).await;
            if let Err(cause) = &fetched {
                tracing::warn!(event = "apks.fetch_failed", apk = %wanted.apk, %cause);
            }
            cache.lock().coming.remove(&wanted.apk);
            done.send_replace(Some(fetched.is_ok()));
        });
        coming
    }

    async fn fetched(&self, objects: &Objects, wanted: &RequestedFile) -> Result<(), ServiceError> {
        let _turn = self.fetches.acquire().await.map_err(|_| ServiceError::Unavailable)?;
        let mut file = Incoming::begin(&self.folder).await.map_err(disk)?;
        objects.apk(wanted.apk, &mut file, wanted.size).await?;
        let whole = file.finish().await.map_err(disk)?;
        if whole.sha256 != wanted.sha256 {
            tracing::error!(event = "apks.store_damaged", apk = %wanted.apk, sha256 = whole.sha256);
            return Err(ServiceError::Unavailable);
        }
        self.adopt(wanted.apk, whole.size, whole.path()).await.map_err(disk)
    }

    fn note(&self, apk: ApkId, size: u64) {
        let mut index = self.lock();
        index.clock += 1;
        let used = index.clock;
        index.files.insert(apk, CachedFile { size, used });
        drop(index);
        self.evict(Some(apk));
    }

    /// Marks a file as used. `false`: it is not cached.
    fn touch(&self, apk: ApkId) -> bool {
        let mut index = self.lock();
        index.clock += 1;
        let now = index.clock;
        match index.files.get_mut(&apk) {
            Some(held) => {
                held.used = now;
                true
            }
            None => false,
        }
    }

    /// Removes files until they fit, but not `kept`. Who reads one goes on to the end.
    fn evict(&self, kept: Option<ApkId>) {
        let mut index = self.lock();
        while index.files.values().map(|held| held.size).sum::<u64>() > self.limit_bytes {
            let oldest = index.files.iter().filter(|(id, _)| Some(**id) != kept).min_by_key(|(_, held)| held.used);
            let Some(id) = oldest.map(|(id, _)| *id) else { return };
            index.files.remove(&id);
            let _ = std::fs::remove_file(self.path(id));
        }
    }

    fn path(&self, apk: ApkId) -> PathBuf {
        self.folder.join(format!("{apk}.apk"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, CacheIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
