//! APKs: read and verified, kept in an object store, handed to devices.
//!
//! ```text
//! reader       what a file is, and who signed it for certain
//! incoming     a file that comes in, hashed as it grows
//! objects      the store: apks/<id>.apk, uploads/<upload id>/<part>
//! cache        files of a store that is far away, on this node's disk
//! file_sender  downloads, under a rate limit that they share
//! signed_url   download addresses, which expire
//! ```
//!
//! Nothing here is node-local but the cache: an upload that begins at one node goes on at any other.

mod cache;
pub mod file_sender;
mod incoming;
mod objects;
pub mod reader;
mod settings;
pub mod signed_url;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use domain::apk::Apk;
use domain::permits::{Claim, PoolName};
use domain::transfer::MinimumRate;
use domain::{ApkId, ApkUploadId, Invalid, ServiceError, Timestamp};
use permits::metrics::PoolMetrics;
use permits::{Permit, Pool};
use secrecy::SecretBox;
use tokio::sync::{Semaphore, mpsc};

use cache::{Cache, RequestedFile};
use file_sender::{RateLimiter, send_file};
use incoming::{CompleteFile, Incoming};
use objects::{Objects, disk, part_name};
use reader::ApkFacts;
pub use settings::ApkSettings;
use signed_url::{APK_FILES, LinkHolder, UrlSigner};

/// Files that are read and verified at a time; each takes a processor for a while.
const READS_MAX: usize = 2;

/// The store of APK files: those of APKs are `apks/<id>.apk`.
///
/// # Errors
/// Names the setting that does not do.
pub fn open_store(settings: &ApkSettings) -> Result<Arc<dyn object_store::ObjectStore>, Invalid> {
    Ok(Objects::open(&settings.store_url, &settings.store_options)?.into_store())
}

/// The library of a node.
pub struct ApkLibrary {
    settings: ApkSettings,
    objects: Arc<Objects>,
    cache: Arc<Cache>,
    incoming: PathBuf,
    signer: UrlSigner,
    downloads: Pool,
    uploads: Pool,
    reads: Semaphore,
    rate_limiter: Option<Arc<RateLimiter>>,
}

/// An APK of which some bytes can be sent.
pub struct LibraryFile {
    /// Record of the APK.
    pub apk: Apk,
    file: tokio::fs::File,
    permit: Permit,
    minimum_rate: MinimumRate,
    rate_limiter: Option<Arc<RateLimiter>>,
}

impl ApkLibrary {
    /// Opens the store and what is left of the cache.
    ///
    /// # Errors
    /// Names the setting that does not do.
    pub fn open(settings: ApkSettings, master_key: &SecretBox<Vec<u8>>, metrics: &PoolMetrics) -> Result<Arc<Self>, Invalid> {
        let objects = Objects::open(&settings.store_url, &settings.store_options)?;
        let in_cache_dir = |cause: std::io::Error| Invalid::new("apks.cache_dir", cause.to_string());
        let incoming = settings.cache_dir.join("incoming");
        // What an earlier start left unfinished is worth nothing.
        match std::fs::remove_dir_all(&incoming) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(in_cache_dir(cause)),
            _ => std::fs::create_dir_all(&incoming).map_err(in_cache_dir)?,
        }
        let files = settings.cache_dir.join("files");
        std::fs::create_dir_all(&files).map_err(in_cache_dir)?;
        let cache = Cache::open(files, settings.cache_max_bytes).map_err(in_cache_dir)?;
        Ok(Arc::new(Self {
            objects: Arc::new(objects),
            cache: Arc::new(cache),
            incoming,
            signer: UrlSigner::new(master_key, APK_FILES),
            downloads: Pool::new(PoolName::Downloads, settings.downloads, metrics),
            uploads: Pool::new(PoolName::Uploads, settings.uploads, metrics),
            reads: Semaphore::new(READS_MAX),
            rate_limiter: RateLimiter::new(settings.download_bytes_per_second),
            settings,
        }))
    }

    /// Checks the settings of the store, and makes nothing.
    ///
    /// # Errors
    /// Names the setting that does not do.
    pub fn check(settings: &ApkSettings) -> Result<(), Invalid> {
        Objects::check(&settings.store_url, &settings.store_options)
    }

    /// Signed download address of an APK for `holder`, and its expiry.
    pub fn download_url(&self, apk: ApkId, holder: Option<LinkHolder>, now: Timestamp) -> (String, Timestamp) {
        let expires_at = now + self.settings.download_url_life;
        let (path, expires, base_url) = (file_path(apk), expires_at.timestamp(), &self.settings.base_url);
        let url = match holder {
            Some(holder) => {
                let signature = self.signer.sign_for(holder, &path, expires);
                format!("{base_url}{path}?expires={expires}&holder={holder}&signature={signature}")
            }
            None => format!("{base_url}{path}?expires={expires}&signature={}", self.signer.sign(&path, expires)),
        };
        (url, expires_at)
    }

    /// Whether an address of [`Self::download_url`] is ours and still holds.
    pub fn holds(&self, apk: ApkId, holder: Option<LinkHolder>, expires: i64, signature: &str, now: Timestamp) -> bool {
        self.signer.holds_for(holder, &file_path(apk), expires, signature, now)
    }

    /// A permit to download.
    ///
    /// # Errors
    /// Overloaded when too many run, of all or of one holder, link or address.
    pub fn download_permit(&self, claim: Claim) -> Result<Permit, ServiceError> {
        self.downloads.take(claim)
    }

    /// A permit to send this node a file, or a part of one.
    ///
    /// # Errors
    /// Overloaded when too many run, of all or of one account, API token or address.
    pub fn upload_permit(&self, claim: Claim) -> Result<Permit, ServiceError> {
        self.uploads.take(claim)
    }

    /// Opens an APK for a download.
    ///
    /// # Errors
    /// The file cannot be had, or not soon.
    pub async fn file(&self, apk: Apk, permit: Permit) -> Result<LibraryFile, ServiceError> {
        let minimum_rate = self.settings.minimum_rate;
        let file = match self.objects.local(apk.id) {
            Some(path) => tokio::fs::File::open(path).await.map_err(disk)?,
            None => {
                let wanted = RequestedFile { apk: apk.id, sha256: apk.sha256.clone(), size: apk.size_bytes.unsigned_abs() };
                self.cache.file(&self.objects, wanted, minimum_rate.patience).await?
            }
        };
        Ok(LibraryFile { apk, file, permit, minimum_rate, rate_limiter: self.rate_limiter.clone() })
    }

    /// A file that comes in.
    pub async fn begin(&self) -> Result<IncomingFile, ServiceError> {
        Ok(IncomingFile(Incoming::begin(&self.incoming).await.map_err(disk)?))
    }

    /// Stores a part of an upload. Returns its name.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn put_part(&self, upload: ApkUploadId, bytes: Vec<Bytes>) -> Result<String, ServiceError> {
        let name = part_name();
        self.objects.put_part(upload, &name, bytes).await?;
        Ok(name)
    }

    /// Puts the parts of an upload together.
    ///
    /// # Errors
    /// The store is unavailable, or a part is not there.
    pub async fn join(&self, upload: ApkUploadId, parts: &[String]) -> Result<IncomingFile, ServiceError> {
        let mut file = Incoming::begin(&self.incoming).await.map_err(disk)?;
        for part in parts {
            self.objects.part(upload, part, &mut file).await?;
        }
        Ok(IncomingFile(file))
    }

    /// Forgets every part of an upload.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn forget_parts(&self, upload: ApkUploadId) -> Result<(), ServiceError> {
        self.objects.delete_parts(upload).await
    }

    /// Forgets one part of an upload.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn forget_part(&self, upload: ApkUploadId, part: &str) -> Result<(), ServiceError> {
        self.objects.delete_part(upload, part).await
    }

    /// Removes an upload: its parts, then its row by `remove_row`, then the parts that came meanwhile.
    ///
    /// # Errors
    /// The store or the database is unavailable; the row is still there then, so that somebody comes back for the parts.
    pub async fn remove_upload<T>(
        &self,
        upload: ApkUploadId,
        remove_row: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, ServiceError> {
        self.forget_parts(upload).await?;
        let removed = remove_row.await?;
        if let Err(cause) = self.forget_parts(upload).await {
            tracing::warn!(event = "apks.parts_left", %upload, %cause);
        }
        Ok(removed)
    }

    /// Uploads with parts in the store, all of which are older than `before`; at most `most`.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn uploads_before(&self, before: Timestamp, most: usize) -> Result<Vec<ApkUploadId>, ServiceError> {
        self.objects.uploads_before(before, most).await
    }

    /// Reads a file and verifies its signature.
    ///
    /// # Errors
    /// Names `apk` and what is wrong.
    pub async fn read(&self, file: &UploadedFile) -> Result<ApkFacts, ServiceError> {
        let _permit = self.reads.acquire().await.map_err(|_| ServiceError::Unavailable)?;
        let path = file.0.path().to_owned();
        // It has a limit on its time.
        let read = tokio::task::spawn_blocking(move || match File::open(path) {
            Ok(file) => reader::read(&file).map_err(ServiceError::from),
            Err(cause) => Err(disk(cause)),
        });
        read.await.map_err(|_| ServiceError::Internal)?
    }

    /// Stores the file of an APK.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn keep(&self, apk: ApkId, file: UploadedFile) -> Result<(), ServiceError> {
        self.objects.put_apk(apk, file.0.path()).await?;
        if self.objects.local(apk).is_none() {
            // Devices will ask for it soon; if it does not fit it is fetched then.
            let _ = self.cache.adopt(apk, file.0.size, file.0.path()).await;
        }
        Ok(())
    }

    /// Files in the store that are older than `before`.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn stored_before(&self, before: Timestamp) -> Result<Vec<ApkId>, ServiceError> {
        self.objects.apks_before(before).await
    }

    /// Settings of the library.
    pub fn settings(&self) -> &ApkSettings {
        &self.settings
    }

    /// Removes the file of an APK.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn remove(&self, apk: ApkId) -> Result<(), ServiceError> {
        self.cache.forget(apk);
        self.objects.delete_apk(apk).await
    }
}

/// A file on its way in.
pub struct IncomingFile(Incoming);

/// A file that came in, whole.
pub struct UploadedFile(CompleteFile);

impl IncomingFile {
    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// Adds bytes.
    pub async fn add(&mut self, bytes: &[u8]) -> Result<(), ServiceError> {
        self.0.add(bytes).await.map_err(disk)
    }

    /// Closes it.
    pub async fn finish(self) -> Result<UploadedFile, ServiceError> {
        self.0.finish().await.map(UploadedFile).map_err(disk)
    }
}

impl UploadedFile {
    /// SHA-256, hex.
    pub fn sha256(&self) -> &str {
        &self.0.sha256
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.0.size
    }
}

impl LibraryFile {
    /// The bytes `from ..= to`, as fast as this node sends files. A reader that is too slow for too long
    /// loses its permit.
    pub fn bytes(self, from: u64, to: u64) -> mpsc::Receiver<std::io::Result<Bytes>> {
        send_file(self.file, from, to, self.permit, self.minimum_rate, self.rate_limiter)
    }
}

fn file_path(apk: ApkId) -> String {
    format!("/v1/apks/{apk}/file")
}

/// The folder of a node's data that APKs are kept in unless told otherwise.
pub fn default_store(data_dir: &Path) -> String {
    data_dir.join("apks").to_string_lossy().into_owned()
}
