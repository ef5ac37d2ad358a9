//! APKs in the library: what is there, what uses it, how it is fetched, and how it goes.

use std::net::IpAddr;
use std::sync::Arc;

use clock::Clock;
use domain::access::{Permission, Principal};
use domain::apk::{Apk, ApkUse, in_use};
use domain::audit::{AuditAction, Target};
use domain::query::{PAGE_DEFAULT, PAGE_MAX};
use domain::{ApkId, ServiceError, Timestamp};
use serde_json::json;
use store::{DeletedApk, Store};

use apk::signed_url::LinkHolder;
use apk::{ApkLibrary, LibraryFile};

use super::access_trail::given;

/// APKs and managed packages, for people; and their files, for whoever has a signed address.
#[derive(Clone)]
pub struct ApkService {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) library: Arc<ApkLibrary>,
}

/// The signed part of a download address.
#[derive(Debug, Clone, Copy)]
pub struct DownloadLink<'a> {
    /// Until when it holds, in seconds since 1970.
    pub expires: i64,
    /// Whom it was made for.
    pub holder: Option<&'a str>,
    /// The signature, hex.
    pub signature: &'a str,
}

/// Cursor of a page of APKs: the last one of the page before.
pub type ApkCursor = (Timestamp, ApkId);

impl ApkService {
    pub(crate) fn new(clock: Clock, store: Store, library: Arc<ApkLibrary>) -> Self {
        Self { clock, store, library }
    }

    /// The files, for whoever hands out their addresses.
    pub fn library(&self) -> &Arc<ApkLibrary> {
        &self.library
    }

    /// A page of APKs, newest first: of one package, or of all; and where the next one begins.
    ///
    /// # Errors
    /// Forbidden, or the page size is out of its limits.
    pub async fn apks(
        &self,
        principal: &Principal,
        package: Option<&str>,
        after: Option<ApkCursor>,
        limit: Option<i64>,
    ) -> Result<(Vec<Apk>, Option<ApkCursor>), ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        let limit = domain::invalid::in_range("limit", limit.unwrap_or(PAGE_DEFAULT), 1, PAGE_MAX)?;
        if let Some(package) = package {
            domain::text::bounded("package", package, domain::apk::PACKAGE_MAX_CHARS)?;
        }
        let mut rows = self.store.apks_page(package, after, limit + 1).await?;
        let more = rows.len() as i64 > limit;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|last| (last.uploaded_at, last.id));
        Ok((rows, next))
    }

    /// An APK, also a deleted one, and what uses it.
    ///
    /// # Errors
    /// Forbidden, or there is no such APK.
    pub async fn apk(&self, principal: &Principal, id: ApkId) -> Result<(Apk, Vec<ApkUse>), ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        let row = self.store.apk(id).await?.ok_or(ServiceError::NotFound("APK"))?;
        Ok((row, self.store.apk_uses(id).await?))
    }

    /// The icon of an APK, and its media type.
    ///
    /// # Errors
    /// Forbidden, there is no such APK, or it has none.
    pub async fn icon(&self, principal: &Principal, id: ApkId) -> Result<(Vec<u8>, String), ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        self.store.apk_icon(id).await?.ok_or(ServiceError::NotFound("icon"))
    }

    /// Deletes an APK. Its row stays for the history that names it.
    ///
    /// # Errors
    /// Forbidden, there is no such APK any more, or something uses it.
    pub async fn delete(&self, principal: &Principal, id: ApkId) -> Result<(), ServiceError> {
        principal.require(Permission::ManagePackages)?;
        match self.store.delete_apk(id, principal, self.clock.now()).await? {
            DeletedApk::Deleted => {}
            DeletedApk::Unknown => return Err(ServiceError::NotFound("APK")),
            DeletedApk::InUse(uses) => return Err(ServiceError::Conflict(in_use(&uses).unwrap_or_default())),
        }
        if let Err(cause) = self.library.remove(id).await {
            // It is deleted for everybody; the keeper comes back for the file.
            tracing::warn!(event = "apks.file_left", apk = %id, %cause);
        }
        Ok(())
    }

    /// An address that the file can be fetched from for a while, and until when.
    ///
    /// # Errors
    /// Forbidden, or there is no such APK any more.
    pub async fn download_url(&self, principal: &Principal, id: ApkId) -> Result<(String, Timestamp), ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        let row = self.store.apk(id).await?.filter(|row| row.deleted_at.is_none());
        let row = row.ok_or(ServiceError::NotFound("APK"))?;
        let (url, expires_at) = self.library.download_url(row.id, LinkHolder::of(principal), self.clock.now());
        let target = Target::Other { kind: "apk", id: Some(row.id.to_string()), name: Some(row.package) };
        let told = json!({ "version_code": row.version_code, "expires_at": expires_at });
        given(&self.store, principal, AuditAction::ApkLinkMade, target, told, self.clock.now()).await?;
        Ok((url, expires_at))
    }

    /// The file, for whoever has a signed address.
    ///
    /// # Errors
    /// Unauthorized when the address is not ours or has expired; not found when the APK was deleted; overloaded when too
    /// many downloads run, of all or of one holder, link or address, or the file is on its way to this node.
    pub async fn file(&self, id: ApkId, link: DownloadLink<'_>, address: IpAddr) -> Result<LibraryFile, ServiceError> {
        let DownloadLink { expires, holder, signature } = link;
        let holder = match holder {
            Some(holder) => Some(LinkHolder::parse(holder).ok_or(ServiceError::Unauthorized)?),
            None => None,
        };
        if !self.library.holds(id, holder, expires, signature, self.clock.now()) {
            return Err(ServiceError::Unauthorized);
        }
        // First: whoever is turned away costs no look into the database.
        let permit = self.library.download_permit(LinkHolder::claim(holder, signature, Some(address)))?;
        if !self.is_entitled(holder).await? {
            return Err(ServiceError::Unauthorized);
        }
        let row = self.store.apk(id).await?.filter(|row| row.deleted_at.is_none());
        self.library.file(row.ok_or(ServiceError::NotFound("APK"))?, permit).await
    }

    /// Whether the holder of a link may still download. Links of earlier builds name nobody.
    async fn is_entitled(&self, holder: Option<LinkHolder>) -> Result<bool, ServiceError> {
        Ok(match holder {
            None => true,
            Some(LinkHolder::User(id)) => self.store.is_account_enabled(id).await?,
            Some(LinkHolder::ApiToken(id)) => self.store.api_token_role(id, self.clock.now()).await?.is_some(),
            Some(LinkHolder::Task(id) | LinkHolder::Device(id)) => self.store.is_device_enrolled(id).await?,
        })
    }
}
