//! APKs: acceptance of uploads, retention of versions, and uses that prevent deletion.

mod library;

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::{ApkId, Invalid};

pub use library::{Apk, ApkUpload, ManagedPackage};

/// Longest name of a package, in characters.
pub const PACKAGE_MAX_CHARS: usize = 255;
/// Most certificates that may sign one package.
pub const SIGNERS_MAX: usize = 16;
/// Longest notes of an APK, in characters.
pub const NOTES_MAX_CHARS: usize = 4000;
/// Longest note of a managed package, in characters.
pub const PACKAGE_NOTE_MAX_CHARS: usize = 500;
/// Text about an unmanaged package, between its name and the signers.
const UNKNOWN_PACKAGE: &str = "is not a managed package: not allowed yet. This file is signed by ";
/// How many uses are named where there are many.
const USES_NAMED: usize = 5;

/// Checks the name of a package, as Android takes them: at least two parts joined by dots, each a letter and then
/// letters, digits or `_`.
///
/// # Errors
/// Names `field` and what is wrong.
pub fn package(field: &str, name: &str) -> Result<(), Invalid> {
    if name.len() > PACKAGE_MAX_CHARS {
        return Err(Invalid::new(field, format!("{} bytes are more than the {PACKAGE_MAX_CHARS} allowed", name.len())));
    }
    let good =
        |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match name.contains('.') && name.split('.').all(good) {
        true => Ok(()),
        false => Err(Invalid::new(field, "not a package name such as com.example.app")),
    }
}

/// Certificates that may sign a package: SHA-256 as hex, with or without colons; without repeats, in the order given.
///
/// # Errors
/// None, too many, or one that is no SHA-256.
pub fn signers(field: &str, values: &[String]) -> Result<Vec<String>, Invalid> {
    if values.is_empty() || values.len() > SIGNERS_MAX {
        return Err(Invalid::new(field, format!("{} entries are outside 1..{SIGNERS_MAX}", values.len())));
    }
    let mut signers = Vec::with_capacity(values.len());
    for (at, value) in values.iter().enumerate() {
        let signer = sha256(&format!("{field}[{at}]"), value)?;
        if !signers.contains(&signer) {
            signers.push(signer);
        }
    }
    Ok(signers)
}

/// A SHA-256 as 64 digits of lower-case hex; colons between bytes are taken and left out.
///
/// # Errors
/// Names `field`.
pub fn sha256(field: &str, text: &str) -> Result<String, Invalid> {
    let digits: String = text.chars().take(200).filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    match digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        true => Ok(digits),
        false => Err(Invalid::new(field, "not a SHA-256: 64 digits of hex")),
    }
}

/// Verified signers of an APK: SHA-256 of certificates, as hex.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signing {
    /// Present signers; never empty.
    pub signers: Vec<String>,
    /// Former signers, oldest first, each of which was rotated to the next.
    pub lineage: Vec<String>,
}

impl Signing {
    /// Whether an allowed certificate signs the APK, or was rotated to one that does.
    pub fn is_allowed(&self, allowed: &[String]) -> bool {
        self.signers.iter().chain(&self.lineage).any(|signer| allowed.contains(signer))
    }
}

/// Attributes of an uploaded APK that decide about its acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Package name.
    pub package: String,
    /// Version code.
    pub version_code: i64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Signers.
    pub signing: Signing,
    /// Older APK whose code this rollback build contains.
    pub rollback_of: Option<ApkId>,
}

/// APK of the same package in the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryApk {
    /// Id.
    pub id: ApkId,
    /// Version code.
    pub version_code: i64,
    /// SHA-256 of its file, hex.
    pub sha256: String,
}

/// Verdict about an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The upload is accepted.
    New,
    /// The library has the same file.
    Same(ApkId),
    /// The upload is refused.
    Refused(Refusal),
}

/// Reason for refusing an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The package is not managed.
    UnknownPackage {
        /// Package of the app.
        package: String,
        /// Signers of the file.
        signers: Vec<String>,
    },
    /// No allowed certificate signs the file, nor was rotated to one that does.
    WrongSigner {
        /// The package.
        package: String,
        /// Signers of the file.
        signers: Vec<String>,
    },
    /// Another file has this version.
    VersionTaken {
        /// Which.
        version_code: i64,
        /// The other file.
        by: ApkId,
    },
    /// The APK to roll back to is not in the library, or has another package.
    RollbackOfUnknown,
    /// A device would refuse it as a downgrade.
    RollbackTooOld {
        /// Version code.
        version_code: i64,
        /// Newest version code in the library.
        newest: i64,
    },
}

impl Refusal {
    /// Field of the request that it is about.
    pub fn field(&self) -> &'static str {
        match self {
            Self::UnknownPackage { .. } => "package",
            Self::WrongSigner { .. } => "signers_sha256",
            Self::VersionTaken { .. } => "version_code",
            Self::RollbackOfUnknown | Self::RollbackTooOld { .. } => "rollback_of",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // `unknown_package` reads it.
            Self::UnknownPackage { package, signers } => write!(f, "{package} {UNKNOWN_PACKAGE}{}", signers.join(", ")),
            Self::WrongSigner { package, signers } => write!(
                f,
                "the file is signed by {}, which is neither an allowed signer of {package} nor the rotated key of one",
                signers.join(", ")
            ),
            Self::VersionTaken { version_code, by } => {
                write!(f, "version code {version_code} is already used by another file: APK {by}")
            }
            Self::RollbackOfUnknown => write!(f, "there is no such APK of this package"),
            Self::RollbackTooOld { version_code, newest } => {
                write!(f, "downgrade: version code {version_code} is not above the newest one, {newest}")
            }
        }
    }
}

/// The package and the signers that a refusal of an unknown package names, for whoever offers to allow it; `None`: that is
/// another refusal.
pub fn unknown_package(problem: &str) -> Option<(String, Vec<String>)> {
    let (package, rest) = problem.split_once(' ')?;
    let signers = rest.strip_prefix(UNKNOWN_PACKAGE)?;
    Some((package.to_owned(), signers.split(", ").map(str::to_owned).collect()))
}

/// Whether an upload is taken. `allowed`: who may sign the package, `None` when it is not managed; `known`: every APK of
/// the package that is not deleted.
pub fn judge(offer: &Offer, allowed: Option<&[String]>, known: &[LibraryApk]) -> Verdict {
    let Some(allowed) = allowed else {
        let (package, signers) = (offer.package.clone(), offer.signing.signers.clone());
        return Verdict::Refused(Refusal::UnknownPackage { package, signers });
    };
    if !offer.signing.is_allowed(allowed) {
        let (package, signers) = (offer.package.clone(), offer.signing.signers.clone());
        return Verdict::Refused(Refusal::WrongSigner { package, signers });
    }
    if let Some(same) = known.iter().find(|known| known.version_code == offer.version_code) {
        return match same.sha256 == offer.sha256 {
            true => Verdict::Same(same.id),
            false => Verdict::Refused(Refusal::VersionTaken { version_code: offer.version_code, by: same.id }),
        };
    }
    if let Some(wanted) = offer.rollback_of {
        if !known.iter().any(|known| known.id == wanted) {
            return Verdict::Refused(Refusal::RollbackOfUnknown);
        }
        let newest = known.iter().map(|known| known.version_code).max().unwrap_or_default();
        if offer.version_code <= newest {
            return Verdict::Refused(Refusal::RollbackTooOld { version_code: offer.version_code, newest });
        }
    }
    Verdict::New
}

/// Use of an APK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApkUse {
    /// Kind of the user: `deployment`, `rollback`, `agent_build`.
    pub kind: String,
    /// Id.
    pub id: String,
    /// Name for display.
    pub name: String,
}

/// Reason why an APK cannot be deleted; `None`: it is unused.
pub fn in_use(uses: &[ApkUse]) -> Option<String> {
    if uses.is_empty() {
        return None;
    }
    let named: Vec<_> = uses.iter().take(USES_NAMED).map(|one| format!("{} {} ({})", one.kind, one.name, one.id)).collect();
    let more = uses.len().saturating_sub(USES_NAMED);
    let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
    Some(format!("in use by {}{rest}", named.join(", ")))
}

/// APK, as far as retention depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionCandidate {
    /// Id.
    pub id: ApkId,
    /// Package.
    pub package: String,
    /// Version code.
    pub version_code: i64,
    /// Whether the APK is in use.
    pub used: bool,
}

/// APKs to delete by retention: of each package those older than its newest `versions`, unless in use. 0 keeps all.
pub fn superfluous(apks: &[RetentionCandidate], versions: usize) -> Vec<ApkId> {
    if versions == 0 {
        return Vec::new();
    }
    let mut by_package: HashMap<&str, Vec<&RetentionCandidate>> = HashMap::new();
    for apk in apks {
        by_package.entry(&apk.package).or_default().push(apk);
    }
    let mut gone = HashSet::new();
    for of_package in by_package.values_mut() {
        of_package.sort_by_key(|apk| std::cmp::Reverse(apk.version_code));
        gone.extend(of_package.iter().skip(versions).filter(|apk| !apk.used).map(|apk| apk.id));
    }
    apks.iter().map(|apk| apk.id).filter(|id| gone.contains(id)).collect()
}

#[cfg(test)]
mod tests;
