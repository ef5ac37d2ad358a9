//! Choice of the APK to roll back to. Android installs no older version code over a newer one, so this is an APK built from the
//! old code under a higher version code, uploaded as rollback build of the old one.

use crate::{ApkId, DeploymentId};

/// APK of the package in the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The APK.
    pub id: ApkId,
    /// Version code of the APK.
    pub version_code: i64,
    /// Older APK whose code this rollback build contains.
    pub rollback_of: Option<ApkId>,
}

/// Reason why a rollback is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRollback {
    /// The options do not allow a rollback.
    #[error("this deployment does not allow rollback")]
    NotAllowed,
    /// The deployment has installed nothing.
    #[error("no device has the version that this deployment installs")]
    NothingInstalled,
    /// A rollback of the deployment is under way.
    #[error("deployment {by} is already a rollback of this one")]
    UnderWay {
        /// Deployment that rolls back.
        by: DeploymentId,
    },
    /// No earlier version is known.
    #[error("no earlier version is known to be good: no uploaded version was in use on these devices before")]
    NothingKnown,
    /// No rollback build was uploaded.
    #[error(
        "Android does not go back to version code {good}: build that code again with a version code above {current} and upload it as \
         rollback of version code {good}"
    )]
    NotUploaded {
        /// Version code of the last good version.
        good: i64,
        /// Version code that is installed.
        current: i64,
    },
}

/// Chooses the newest rollback build of the newest known good version.
///
/// `good` are version codes that were in use before, the most used first; `library` the APKs of the package.
///
/// # Errors
/// Reason why there is no rollback build.
pub fn rollback(current: i64, good: &[i64], library: &[Candidate]) -> Result<ApkId, NoRollback> {
    let stored = |code: &i64| library.iter().find(|apk| apk.version_code == *code);
    let known = good.iter().filter(|code| **code < current).find_map(stored).ok_or(NoRollback::NothingKnown)?;
    // A rollback build may itself be what was good: whatever brings the same code back will do.
    let origin = known.rollback_of.unwrap_or(known.id);
    let builds =
        library.iter().filter(|apk| apk.version_code > current && apk.rollback_of.is_some_and(|of| of == known.id || of == origin));
    let newest = builds.max_by_key(|apk| apk.version_code);
    newest.map(|apk| apk.id).ok_or(NoRollback::NotUploaded { good: known.version_code, current })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apk(version_code: i64, rollback_of: Option<i64>) -> Candidate {
        let id = |code: i64| ApkId(uuid::Uuid::from_u128(code as u128));
        Candidate { id: id(version_code), version_code, rollback_of: rollback_of.map(id) }
    }

    #[test]
    fn the_way_back_is_a_higher_version_of_the_old_code() {
        let id = |code: i64| apk(code, None).id;
        let library = [apk(1, None), apk(2, None), apk(3, Some(1)), apk(4, Some(1)), apk(5, None)];
        assert_eq!(rollback(2, &[1], &library), Ok(id(4)));
        assert_eq!(rollback(5, &[2, 1], &library), Err(NoRollback::NotUploaded { good: 2, current: 5 }));
        assert_eq!(rollback(5, &[4], &library), Err(NoRollback::NotUploaded { good: 4, current: 5 }));
        // What was good was a rollback build itself.
        let more = [&library[..], &[apk(6, Some(1))]].concat();
        assert_eq!(rollback(5, &[4], &more), Ok(id(6)));
        assert_eq!(rollback(2, &[], &library), Err(NoRollback::NothingKnown));
        assert_eq!(rollback(2, &[2, 7], &library), Err(NoRollback::NothingKnown), "not newer ones");
    }
}
