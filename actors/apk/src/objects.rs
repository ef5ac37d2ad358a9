//! Storage of APK files: a folder, or an object store shared by all nodes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::{ApkId, ApkUploadId, Invalid, ServiceError, Timestamp};
use futures_util::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use secrecy::SecretString;
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use ::objects::Location;

use super::incoming::Incoming;

/// Bytes read from a file at a time on their way to the store.
const CHUNK_BYTES: usize = 1 << 20;
/// Parts of one file that are on their way to the store at a time.
const PARTS_AHEAD: usize = 4;
/// Folder of the parts of uploads.
const UPLOADS: &str = "uploads";
/// How long the store may take for one piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);

/// The store.
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// A folder of this machine, which files are read from as they are.
    folder: Option<PathBuf>,
}

impl Objects {
    /// Opens the store at a folder or URL.
    ///
    /// # Errors
    /// Names the setting.
    pub(super) fn open(place: &str, options: &[(String, SecretString)]) -> Result<Self, Invalid> {
        let ::objects::Objects { store, folder } = location(place, options).open()?;
        Ok(Self { store, folder })
    }

    /// Checks what [`Self::open`] would open, and makes no folder.
    ///
    /// # Errors
    /// Names the setting.
    pub(super) fn check(place: &str, options: &[(String, SecretString)]) -> Result<(), Invalid> {
        location(place, options).check()
    }

    /// The store itself.
    pub(super) fn into_store(self) -> Arc<dyn ObjectStore> {
        self.store
    }

    /// The file of an APK, where it can be read as it is.
    pub(super) fn local(&self, apk: ApkId) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join("apks").join(file_name(apk)))
    }

    /// Stores a part of an upload.
    ///
    /// # Errors
    /// The store is unavailable.
    pub(super) async fn put_part(&self, upload: ApkUploadId, part: &str, bytes: Vec<Bytes>) -> Result<(), ServiceError> {
        let key = part_key(upload, part);
        within(self.store.put(&key, PutPayload::from_iter(bytes))).await.map(drop)
    }

    /// Adds a part of an upload to a file.
    ///
    /// # Errors
    /// The store is unavailable, or the part is not there.
    pub(super) async fn part(&self, upload: ApkUploadId, part: &str, into: &mut Incoming) -> Result<(), ServiceError> {
        self.fetch(&part_key(upload, part), into, u64::MAX).await
    }

    /// Deletes every part of an upload.
    ///
    /// # Errors
    /// The store is unavailable; some may be gone.
    pub(super) async fn delete_parts(&self, upload: ApkUploadId) -> Result<(), ServiceError> {
        let mut parts = self.store.list(Some(&Key::from(format!("{UPLOADS}/{upload}"))));
        while let Some(part) = within(parts.try_next()).await? {
            self.delete(&part.location).await?;
        }
        if let Some(folder) = &self.folder {
            // Stores have no folders; this one does, and would keep it.
            let _ = tokio::fs::remove_dir(folder.join(UPLOADS).join(upload.to_string())).await;
        }
        Ok(())
    }

    /// Deletes one part of an upload.
    ///
    /// # Errors
    /// The store is unavailable.
    pub(super) async fn delete_part(&self, upload: ApkUploadId, part: &str) -> Result<(), ServiceError> {
        self.delete(&part_key(upload, part)).await
    }

    /// The uploads whose parts are there, all of them since before `before`; at most `most`.
    ///
    /// # Errors
    /// The store is unavailable.
    pub(super) async fn uploads_before(&self, before: Timestamp, most: usize) -> Result<Vec<ApkUploadId>, ServiceError> {
        let mut parts = self.store.list(Some(&Key::from(UPLOADS)));
        let mut found: BTreeMap<ApkUploadId, bool> = BTreeMap::new();
        while let Some(part) = within(parts.try_next()).await? {
            let id = part.location.parts().nth(1).and_then(|id| id.as_ref().parse().ok());
            if let Some(id) = id {
                *found.entry(id).or_insert(true) &= part.last_modified < before;
            }
        }
        Ok(found.into_iter().filter(|(_, old)| *old).map(|(id, _)| id).take(most).collect())
    }

    /// Stores the file of an APK. The file may be moved.
    ///
    /// # Errors
    /// The store is unavailable.
    pub(super) async fn put_apk(&self, apk: ApkId, file: &Path) -> Result<(), ServiceError> {
        if let Some(target) = self.local(apk) {
            if let Some(folder) = target.parent() {
                tokio::fs::create_dir_all(folder).await.map_err(disk)?;
            }
            // Whole or not at all; on another disk it is copied as to any store.
            if tokio::fs::rename(file, &target).await.is_ok() {
                return Ok(());
            }
        }
        let mut source = tokio::fs::File::open(file).await.map_err(disk)?;
        let mut upload = WriteMultipart::new(within(self.store.put_multipart(&apk_key(apk))).await?);
        let copied = async {
            let mut chunk = vec![0; CHUNK_BYTES];
            loop {
                within(upload.wait_for_capacity(PARTS_AHEAD)).await?;
                match source.read(&mut chunk).await.map_err(disk)? {
                    0 => return Ok::<_, ServiceError>(()),
                    count => upload.write(&chunk[..count]),
                }
            }
        };
        match copied.await {
            Ok(()) => within(upload.finish()).await.map(drop),
            Err(error) => {
                let _ = within(upload.abort()).await;
                Err(error)
            }
        }
    }

    /// Fetches the file of an APK, which has at most `most` bytes.
    ///
    /// # Errors
    /// The store is unavailable, or the file is not there.
    pub(super) async fn apk(&self, apk: ApkId, into: &mut Incoming, most: u64) -> Result<(), ServiceError> {
        self.fetch(&apk_key(apk), into, most).await
    }

    async fn fetch(&self, key: &Key, into: &mut Incoming, most: u64) -> Result<(), ServiceError> {
        let mut pieces = within(self.store.get(key)).await?.into_stream();
        while let Some(piece) = within(pieces.try_next()).await? {
            if into.size() + piece.len() as u64 > most {
                tracing::error!(event = "apks.store_damaged", %key, "larger than what was uploaded");
                return Err(ServiceError::Unavailable);
            }
            into.add(&piece).await.map_err(disk)?;
        }
        Ok(())
    }

    /// Removes the file of an APK.
    ///
    /// # Errors
    /// The store is unavailable.
    pub(super) async fn delete_apk(&self, apk: ApkId) -> Result<(), ServiceError> {
        self.delete(&apk_key(apk)).await
    }

    /// The APKs whose files are there, and stood there before `before`.
    ///
    /// # Errors
    /// The store is unavailable.
    pub(super) async fn apks_before(&self, before: Timestamp) -> Result<Vec<ApkId>, ServiceError> {
        let mut files = self.store.list(Some(&Key::from("apks")));
        let mut found = Vec::new();
        while let Some(file) = within(files.try_next()).await? {
            let id: Option<ApkId> = file.location.filename().and_then(|name| name.strip_suffix(".apk")?.parse().ok());
            found.extend(id.filter(|_| file.last_modified < before));
        }
        Ok(found)
    }

    async fn delete(&self, key: &Key) -> Result<(), ServiceError> {
        match tokio::time::timeout(PIECE_TIMEOUT, self.store.delete(key)).await {
            Ok(Ok(()) | Err(Error::NotFound { .. })) => Ok(()),
            Ok(Err(cause)) => Err(unavailable(&cause)),
            Err(_) => Err(ServiceError::Unavailable),
        }
    }
}

fn location<'a>(place: &'a str, options: &'a [(String, SecretString)]) -> Location<'a> {
    Location { setting: "apks.store_url", place, options, synced: false }
}

fn file_name(apk: ApkId) -> String {
    format!("{apk}.apk")
}

fn apk_key(apk: ApkId) -> Key {
    Key::from(format!("apks/{}", file_name(apk)))
}

fn part_key(upload: ApkUploadId, part: &str) -> Key {
    Key::from(format!("{UPLOADS}/{upload}/{part}"))
}

/// A name for a part that no other part has.
pub(super) fn part_name() -> String {
    Uuid::now_v7().to_string()
}

/// Awaits an answer of the store, within a timeout.
async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, ServiceError> {
    match tokio::time::timeout(PIECE_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|cause| unavailable(&cause)),
        Err(_) => {
            tracing::warn!(event = "apks.store_timed_out");
            Err(ServiceError::Unavailable)
        }
    }
}

fn unavailable(cause: &Error) -> ServiceError {
    tracing::warn!(event = "apks.store_failed", %cause);
    ServiceError::Unavailable
}

/// A failure of this machine's disk.
pub(super) fn disk(cause: std::io::Error) -> ServiceError {
    tracing::warn!(event = "apks.disk_failed", %cause);
    ServiceError::Unavailable
}
