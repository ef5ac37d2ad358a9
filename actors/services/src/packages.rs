//! Packages that may be deployed: administrators allow them, with who may sign them.

use domain::ServiceError;
use domain::access::{Permission, Principal};
use domain::apk::{ManagedPackage, PACKAGE_NOTE_MAX_CHARS, package, signers};
use domain::quantity::count;
use domain::text::bounded;
use store::RemovePackageOutcome;

use super::ApkService;

/// Most packages that can be managed.
const PACKAGES_MAX: i64 = 1_000;

impl ApkService {
    /// Every managed package, by name.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn packages(&self, principal: &Principal) -> Result<Vec<ManagedPackage>, ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        Ok(self.store.packages().await?)
    }

    /// Allows a package, or changes who may sign it. APKs that are there already stay. The flag: it is new.
    ///
    /// # Errors
    /// Forbidden, a value out of its limits, or there are too many already.
    pub async fn allow_package(
        &self,
        principal: &Principal,
        name: &str,
        signers_sha256: &[String],
        note: &str,
    ) -> Result<(ManagedPackage, bool), ServiceError> {
        principal.require(Permission::ManagePackages)?;
        package("package", name)?;
        let signers = signers("signers_sha256", signers_sha256)?;
        bounded("note", note, PACKAGE_NOTE_MAX_CHARS)?;
        let put = self.store.put_package(name, &signers, note, principal, self.clock.now(), PACKAGES_MAX).await?;
        let new = put.ok_or(ServiceError::WrongState("the limit of 1,000 managed packages is reached; remove one first"))?;
        let row = self.store.package(name).await?.ok_or(ServiceError::NotFound("package"))?;
        Ok((row, new))
    }

    /// Manages a package no longer.
    ///
    /// # Errors
    /// Forbidden, there is no such package, or it has APKs.
    pub async fn remove_package(&self, principal: &Principal, name: &str) -> Result<(), ServiceError> {
        principal.require(Permission::ManagePackages)?;
        match self.store.delete_package(name, principal, self.clock.now()).await? {
            RemovePackageOutcome::Removed => Ok(()),
            RemovePackageOutcome::Unknown => Err(ServiceError::NotFound("package")),
            RemovePackageOutcome::HasApks(apks) => {
                let apks = count(apks.max(0).unsigned_abs(), "APK", "APKs");
                Err(ServiceError::Conflict(format!("{name} still has {apks}, which must be deleted first")))
            }
        }
    }
}
