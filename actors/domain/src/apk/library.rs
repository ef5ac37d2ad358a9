//! APKs, uploads and managed packages as they are stored and shown.

use crate::{ApkId, ApkUploadId, Timestamp, UserId};

/// An uploaded APK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apk {
    /// Id of the APK.
    pub id: ApkId,
    /// Package name.
    pub package: String,
    /// Version code.
    pub version_code: i64,
    /// Version name.
    pub version_name: String,
    /// Label of the app.
    pub label: String,
    /// Minimum Android API level.
    pub min_sdk: Option<i32>,
    /// Target Android API level.
    pub target_sdk: Option<i32>,
    /// ABIs that it has native code for.
    pub native_abis: Vec<String>,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Size of the file, bytes.
    pub size_bytes: i64,
    /// Signing certificates, SHA-256 as hex.
    pub signers_sha256: Vec<String>,
    /// Former signing certificates, oldest first.
    pub lineage_sha256: Vec<String>,
    /// Older APK whose code this rollback build contains.
    pub rollback_of: Option<ApkId>,
    /// Internal note.
    pub notes: String,
    /// Whether there is an icon.
    pub has_icon: bool,
    /// Account that uploaded the APK.
    pub uploaded_by: String,
    /// When it was uploaded.
    pub uploaded_at: Timestamp,
    /// Time of deletion of the file.
    pub deleted_at: Option<Timestamp>,
}

/// Stored upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApkUpload {
    /// Id.
    pub id: ApkUploadId,
    /// Owner of the upload.
    pub owner: UserId,
    /// Name of the owner.
    pub created_by: String,
    /// The name of the file, for display.
    pub file_name: String,
    /// The length of the whole file, bytes.
    pub size_bytes: i64,
    /// SHA-256 as hex, if the sender gave it.
    pub sha256: Option<String>,
    /// Older APK whose code this rollback build contains.
    pub rollback_of: Option<ApkId>,
    /// Internal note.
    pub notes: String,
    /// Bytes received.
    pub received: i64,
    /// Names of the received parts, in order.
    pub parts: Vec<String>,
    /// APK, once the upload is complete.
    pub apk: Option<ApkId>,
    /// Begin of the upload.
    pub created_at: Timestamp,
    /// Time of the last part.
    pub touched_at: Timestamp,
}

/// Managed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedPackage {
    /// Package.
    pub package: String,
    /// Allowed signing certificates, SHA-256 as hex.
    pub signers_sha256: Vec<String>,
    /// Internal note.
    pub note: String,
    /// Number of its APKs that are not deleted.
    pub apks: i64,
    /// Account that allowed or changed the package last.
    pub updated_by: String,
    /// Time of the last change.
    pub updated_at: Timestamp,
}
