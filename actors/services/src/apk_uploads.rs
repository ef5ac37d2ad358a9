//! Uploads of APKs: whole with one call, or in parts through any node; then parsed, verified and judged.

use std::error::Error;

use apk::UploadedFile;
use bytes::Bytes;
use domain::access::{Permission, Principal};
use domain::apk::{Apk, ApkUpload, NOTES_MAX_CHARS, Offer, Refusal, Verdict, sha256};
use domain::permits::{Claim, Class, Limit, PoolLimits, PoolName};
use domain::text::{bounded, line};
use domain::transfer::Patience;
use domain::{ApkId, ApkUploadId, Invalid, ServiceError, UserId};
use futures_util::{Stream, StreamExt};
use store::{AddApkOutcome, NewApk, NewUpload, StoreError, UploadsMax};
use tokio::time::Instant;
use uuid::Uuid;

use super::ApkService;
use super::detached::run_detached;
use crate::revalidation::Revalidation;

/// Longest name of a file, in characters.
const FILE_NAME_MAX_CHARS: usize = 255;
/// Parts that are not the last have at least so many bytes, so that their list stays short.
const PART_MIN_BYTES: i64 = 64 << 10;

/// Error of an upload.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// As any other call.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The body is larger than it may be.
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The body ended early.
    #[error("the body ended early; the part is discarded")]
    CutOff,
    /// The upload was too slow.
    #[error("the body came too slowly for too long (apks.stall_timeout_ms, apks.transfer_min_bytes_per_second)")]
    Stalled,
    /// The part does not begin where the upload stands.
    #[error("the upload is at {received} bytes; continue from there")]
    Offset {
        /// Bytes received so far.
        received: i64,
    },
}

impl From<Invalid> for UploadError {
    fn from(invalid: Invalid) -> Self {
        Self::Service(invalid.into())
    }
}

impl From<StoreError> for UploadError {
    fn from(error: StoreError) -> Self {
        Self::Service(error.into())
    }
}

/// Attributes that a request gives of an uploaded file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadFacts {
    /// SHA-256 of the file, hex; checked at the end.
    pub sha256: Option<String>,
    /// Older APK whose code this rollback build contains.
    pub rollback_of: Option<ApkId>,
    /// For people.
    pub notes: String,
}

impl UploadFacts {
    fn checked(self) -> Result<Self, Invalid> {
        bounded("notes", &self.notes, NOTES_MAX_CHARS)?;
        let sha256 = self.sha256.map(|text| sha256("sha256", &text)).transpose()?;
        Ok(Self { sha256, ..self })
    }
}

impl ApkService {
    /// Uploads a whole file. The flag: the APK is new; otherwise the library had the same file already.
    ///
    /// # Errors
    /// Forbidden, too large, cut off, too slow; not an APK, or one that is not taken; too many uploads at a time.
    pub async fn upload_whole<E: Error + 'static>(
        &self,
        principal: &Principal,
        facts: UploadFacts,
        announced: Option<u64>,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<(Apk, bool), UploadError> {
        principal.require(Permission::UploadApks).map_err(ServiceError::from)?;
        let facts = facts.checked()?;
        let limit_bytes = self.library.settings().upload_max_bytes;
        if announced.is_some_and(|length| length > limit_bytes) {
            return Err(UploadError::TooLarge { limit_bytes });
        }
        let _permit = self.library.upload_permit(Claim::of(principal))?;
        let mut file = self.library.begin().await?;
        let mut body = std::pin::pin!(body);
        let mut patience = Patience::new(self.library.settings().minimum_rate);
        while let Some(piece) = next(&mut patience, &mut body).await? {
            if file.size() + piece.len() as u64 > limit_bytes {
                return Err(UploadError::TooLarge { limit_bytes });
            }
            file.add(&piece).await?;
        }
        let file = file.finish().await?;
        Ok(self.taken(principal, file, facts, None).await?)
    }

    /// Whether a person may upload APKs, before the request's body is read.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_upload(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(principal.require(Permission::UploadApks)?)
    }

    /// Begins an upload in parts.
    ///
    /// # Errors
    /// Forbidden, a value out of its limits, or too many uploads are under way.
    pub async fn begin_upload(
        &self,
        principal: &Principal,
        file_name: &str,
        size_bytes: i64,
        facts: UploadFacts,
    ) -> Result<ApkUpload, ServiceError> {
        principal.require(Permission::UploadApks)?;
        let facts = facts.checked()?;
        line("file_name", file_name, FILE_NAME_MAX_CHARS)?;
        let most = i64::try_from(self.library.settings().upload_max_bytes).unwrap_or(i64::MAX);
        domain::invalid::in_range("size_bytes", size_bytes, 1, most)?;
        if let Some(id) = facts.rollback_of
            && self.store.apk(id).await?.is_none_or(|apk| apk.deleted_at.is_some())
        {
            return Err(Invalid::new("rollback_of", "there is no such APK").into());
        }
        let new = NewUpload {
            id: ApkUploadId(self.clock.new_id()),
            owner: owner(principal),
            created_by: principal.username().to_owned(),
            file_name: file_name.to_owned(),
            size_bytes,
            sha256: facts.sha256,
            rollback_of: facts.rollback_of,
            notes: facts.notes,
        };
        let most = uploads_max(&self.library.settings().uploads, principal);
        let mut limit = self.store.insert_upload(&new, self.clock.now(), most).await?;
        if let Some(reached) = limit
            && self.remove_idle(reached, new.owner).await?
        {
            limit = self.store.insert_upload(&new, self.clock.now(), most).await?;
        }
        if let Some(limit) = limit {
            return Err(ServiceError::Overloaded(PoolName::Uploads.setting(limit)));
        }
        self.upload(principal, new.id).await
    }

    /// Removes an upload that stands still, of the owner whose share is used up, or of anybody. `false`: there is none.
    async fn remove_idle(&self, reached: Limit, owner: UserId) -> Result<bool, ServiceError> {
        let owner = (reached == Limit::Principal).then_some(owner);
        let before = self.clock.now() - self.library.settings().upload_idle;
        let Some(id) = self.store.idle_upload(owner, before).await? else { return Ok(false) };
        self.library.remove_upload(id, async { Ok(self.store.delete_upload(id).await?) }).await?;
        tracing::info!(event = "apks.idle_upload_removed", upload = %id);
        Ok(true)
    }

    /// The uploads under way, newest first: of everybody for those who manage packages, else those of this account.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn uploads(&self, principal: &Principal) -> Result<Vec<ApkUpload>, ServiceError> {
        principal.require(Permission::UploadApks)?;
        let whose = (!principal.may(Permission::ManagePackages)).then(|| owner(principal));
        let most = i64::try_from(self.library.settings().uploads.capacity).unwrap_or(i64::MAX);
        Ok(self.store.uploads_under_way(whose, most).await?)
    }

    /// Progress of an upload.
    ///
    /// # Errors
    /// Forbidden, or there is no such upload that this account may see.
    pub async fn upload(&self, principal: &Principal, id: ApkUploadId) -> Result<ApkUpload, ServiceError> {
        principal.require(Permission::UploadApks)?;
        let sees_all = principal.may(Permission::ManagePackages);
        let row = self.store.upload(id).await?.filter(|row| sees_all || row.owner == owner(principal));
        row.ok_or(ServiceError::NotFound("upload"))
    }

    /// An upload to go on with, which its owner alone does.
    async fn own_upload(&self, principal: &Principal, id: ApkUploadId) -> Result<ApkUpload, ServiceError> {
        let row = self.upload(principal, id).await?;
        if row.owner == owner(principal) { Ok(row) } else { Err(ServiceError::NotFound("upload")) }
    }

    /// Largest part that is taken, in bytes.
    pub fn part_max_bytes(&self) -> usize {
        self.library.settings().part_max_bytes
    }

    /// Adds a part that begins at `offset`, whole or not at all. Returns the number of bytes received so far.
    ///
    /// # Errors
    /// As [`Self::upload_whole`]; or that is not where the upload stands, or the part is too small.
    pub async fn add_part<E: Error + 'static>(
        &self,
        principal: &Principal,
        id: ApkUploadId,
        offset: i64,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<i64, UploadError> {
        let upload = self.own_upload(principal, id).await?;
        if upload.apk.is_some() {
            return Err(ServiceError::WrongState("this upload has finished").into());
        }
        if upload.received != offset {
            return Err(UploadError::Offset { received: upload.received });
        }
        let _permit = self.library.upload_permit(Claim::of(principal))?;
        self.store.touch_upload(id, self.clock.now()).await?;
        let left = upload.size_bytes - offset;
        let limit_bytes = (self.library.settings().part_max_bytes as u64).min(left.unsigned_abs());
        let (mut pieces, mut length) = (Vec::new(), 0_u64);
        let mut body = std::pin::pin!(body);
        let mut patience = Patience::new(self.library.settings().minimum_rate);
        while let Some(piece) = next(&mut patience, &mut body).await? {
            length += piece.len() as u64;
            if length > limit_bytes {
                return Err(UploadError::TooLarge { limit_bytes });
            }
            pieces.push(piece);
        }
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        let least = PART_MIN_BYTES.min(limit_bytes as i64);
        if length < least {
            let problem = format!("{length} bytes; every part except the last must have at least {least}");
            return Err(Invalid::new("body", problem).into());
        }
        if length == 0 {
            return Ok(offset);
        }
        let part = self.library.put_part(id, pieces).await?;
        match self.store.add_part(id, offset, length, &part, self.clock.now()).await? {
            Some(received) => Ok(received),
            // Somebody was faster, through whichever node, or removed the upload: nobody will name the part.
            None => {
                if let Err(cause) = self.library.forget_part(id, &part).await {
                    tracing::warn!(event = "apks.parts_left", upload = %id, %cause);
                }
                Err(UploadError::Offset { received: self.own_upload(principal, id).await?.received })
            }
        }
    }

    /// Abandons an upload: one's own, or anybody's for those who manage packages.
    ///
    /// # Errors
    /// Forbidden, or there is no such upload that this account may see.
    pub async fn abandon_upload(&self, principal: &Principal, id: ApkUploadId) -> Result<(), ServiceError> {
        let upload = self.upload(principal, id).await?;
        let (service, principal) = (self.clone(), principal.clone());
        // To its end, whether or not the caller waits: without its parts an upload cannot be completed.
        run_detached(async move {
            let remove_row = async {
                if upload.owner == owner(&principal) {
                    service.store.delete_upload(id).await?;
                } else {
                    service.store.remove_upload(&upload, &principal, service.clock.now()).await?;
                }
                Ok(())
            };
            service.library.remove_upload(id, remove_row).await
        })
        .await
    }

    /// Joins the parts and adds the APK. The flag: the APK is new. A refused upload can be completed again, once
    /// its package is allowed; what was taken is answered with once more.
    ///
    /// # Errors
    /// Forbidden, no such upload, not all of it is there; not an APK, or one that is not taken.
    pub async fn complete_upload(&self, principal: &Principal, id: ApkUploadId) -> Result<(Apk, bool), UploadError> {
        let upload = self.own_upload(principal, id).await?;
        if let Some(apk) = upload.apk {
            let row = self.store.apk(apk).await?.ok_or(ServiceError::NotFound("APK"))?;
            return Ok((row, false));
        }
        if upload.received != upload.size_bytes {
            return Err(UploadError::Offset { received: upload.received });
        }
        let _permit = self.library.upload_permit(Claim::of(principal))?;
        let joined = match self.library.join(id, &upload.parts).await {
            // Somebody abandons it at the same time.
            Err(_) if self.store.upload(id).await?.is_none() => return Err(ServiceError::NotFound("upload").into()),
            joined => joined?,
        };
        let file = joined.finish().await?;
        let facts = UploadFacts { sha256: upload.sha256, rollback_of: upload.rollback_of, notes: upload.notes };
        let taken = self.taken(principal, file, facts, Some(id)).await?;
        if let Err(cause) = self.library.forget_parts(id).await {
            tracing::warn!(event = "apks.parts_left", upload = %id, %cause);
        }
        Ok(taken)
    }

    /// [`Self::take`], whether or not the caller waits for it: one that hangs up must not leave a file without its row.
    async fn taken(
        &self,
        principal: &Principal,
        file: UploadedFile,
        facts: UploadFacts,
        upload: Option<ApkUploadId>,
    ) -> Result<(Apk, bool), ServiceError> {
        let (service, principal) = (self.clone(), principal.clone());
        let taking = tokio::spawn(async move { service.take(&principal, file, facts, upload).await });
        taking.await.map_err(|_| ServiceError::Internal)?
    }

    /// Reads, verifies and judges a file, and keeps it.
    async fn take(
        &self,
        principal: &Principal,
        file: UploadedFile,
        facts: UploadFacts,
        upload: Option<ApkUploadId>,
    ) -> Result<(Apk, bool), ServiceError> {
        let (digest, size) = (file.sha256().to_owned(), file.size());
        if facts.sha256.as_ref().is_some_and(|reported| *reported != digest) {
            return Err(Invalid::new("sha256", format!("the received file has the SHA-256 {digest}")).into());
        }
        let read = self.library.read(&file).await?;
        let offer = Offer {
            package: read.package,
            version_code: read.version_code,
            sha256: digest,
            signing: read.signing,
            rollback_of: facts.rollback_of,
        };
        let new = NewApk {
            id: ApkId(self.clock.new_id()),
            offer,
            version_name: read.version_name,
            label: read.label,
            min_sdk: read.min_sdk,
            target_sdk: read.target_sdk,
            native_abis: read.native_abis,
            size_bytes: i64::try_from(size).map_err(|_| ServiceError::Internal)?,
            icon: read.icon.map(|(bytes, kind)| (bytes, kind.to_owned())),
            notes: facts.notes,
            upload,
        };
        // Nothing is sent to the store that is refused anyhow.
        if let Verdict::Refused(refusal) = self.store.judge_apk(&new.offer).await? {
            return Err(refused(&refusal));
        }
        // In its place before anybody hears of it; what is not taken leaves it again.
        self.library.keep(new.id, file).await?;
        let added = self.store.add_apk(&new, principal, self.clock.now()).await;
        let (id, refusal) = match added {
            Ok(AddApkOutcome::Added) => (new.id, None),
            Ok(AddApkOutcome::Existing(id)) => (id, None),
            Ok(AddApkOutcome::Refused(refusal)) => (new.id, Some(refusal)),
            // Whether it was committed is not known; the file stays, in case it was.
            Err(error @ (StoreError::Unavailable(_) | StoreError::TimedOut(_))) => return Err(error.into()),
            Err(error) => {
                let _ = self.library.remove(new.id).await;
                return Err(error.into());
            }
        };
        let is_new = id == new.id && refusal.is_none();
        if !is_new {
            self.library.remove(new.id).await?;
        }
        if let Some(refusal) = refusal {
            return Err(refused(&refusal));
        }
        if is_new {
            tracing::info!(event = "apks.uploaded", apk = %id, package = new.offer.package, version_code = new.offer.version_code);
        }
        let row = self.store.apk(id).await?.ok_or(ServiceError::Internal)?;
        Ok((row, is_new))
    }
}

/// The next piece of a body, if it comes in time.
async fn next<E: Error + 'static>(
    patience: &mut Patience,
    body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
) -> Result<Option<Bytes>, UploadError> {
    let requested = Instant::now();
    let Ok(piece) = tokio::time::timeout(patience.left(), body.next()).await else { return Err(UploadError::Stalled) };
    let piece = piece.transpose().map_err(|error| broken_off(&error))?;
    patience.moved(piece.as_ref().map_or(0, Bytes::len), requested.elapsed());
    Ok(piece)
}

/// Reason why a body ended early.
fn broken_off(error: &(dyn Error + 'static)) -> UploadError {
    Revalidation::within(error).map_or(UploadError::CutOff, |lost| lost.refusal().into())
}

fn refused(refusal: &Refusal) -> ServiceError {
    match refusal {
        Refusal::VersionTaken { .. } => ServiceError::Conflict(refusal.to_string()),
        _ => Invalid::new(refusal.field(), refusal.to_string()).into(),
    }
}

/// Most uploads under way, for this caller.
fn uploads_max(limits: &PoolLimits, principal: &Principal) -> UploadsMax {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let reserved = if Class::of(principal) == Class::Essential { 0 } else { limits.reserved };
    UploadsMax { all: number(limits.capacity), reserved: number(reserved), per_owner: number(limits.per_principal) }
}

/// Owner of the upload; the command line on the server has none.
fn owner(principal: &Principal) -> UserId {
    principal.user_id().unwrap_or(UserId(Uuid::nil()))
}
