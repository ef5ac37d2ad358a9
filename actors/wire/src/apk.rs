//! APKs, uploads of them, and managed packages, as the API has them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An APK of the library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Apk {
    /// Id.
    pub id: String,
    /// Package name.
    pub package: String,
    /// Version code, the major part included.
    pub version_code: i64,
    /// Version name.
    pub version_name: String,
    /// Display name.
    pub label: String,
    /// Minimum Android API level.
    pub min_sdk: Option<i32>,
    /// Target Android API level.
    pub target_sdk: Option<i32>,
    /// ABIs that it has native code for, such as `arm64-v8a`; none: it has no native code.
    #[serde(default)]
    pub native_abis: Vec<String>,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Length of the file in bytes.
    pub size_bytes: i64,
    /// Certificates that sign it, SHA-256 as hex.
    pub signers_sha256: Vec<String>,
    /// Signer certificates before key rotation, oldest first. Devices up to Android 8 see the oldest.
    pub lineage_sha256: Vec<String>,
    /// Older APK that this one is the rollback build of.
    pub rollback_of: Option<String>,
    /// Internal note.
    pub notes: String,
    /// Whether `GET /v1/apks/{id}/icon` has a picture.
    pub has_icon: bool,
    /// Account of the uploader.
    pub uploaded_by: String,
    /// Time of the upload.
    pub uploaded_at: String,
    /// Time of deletion of the file.
    pub deleted_at: Option<String>,
}

/// An APK, and what uses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApkDetails {
    /// The APK.
    #[serde(flatten)]
    pub apk: Apk,
    /// Uses of the APK; while there are any, the APK cannot be deleted.
    pub used_by: Vec<ApkUse>,
}

/// Something that uses an APK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApkUse {
    /// Uses of the APK; `rollback`: an APK that brings it back.
    #[schema(value_type = crate::names::ApkUseKind)]
    pub kind: String,
    /// Id.
    pub id: String,
    /// Display name.
    pub name: String,
}

/// An upload in parts that begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BeginUpload {
    /// Display name of the file.
    #[serde(default)]
    pub file_name: String,
    /// Length of the whole file in bytes.
    pub size_bytes: i64,
    /// SHA-256, hex; checked at the end.
    pub sha256: Option<String>,
    /// Older APK that this one is the rollback build of.
    pub rollback_of: Option<String>,
    /// Internal note.
    #[serde(default)]
    pub notes: String,
}

/// An upload in parts, and how far it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    /// Id.
    pub upload_id: String,
    /// Account that began it.
    pub created_by: String,
    /// Display name of the file.
    pub file_name: String,
    /// Length of the whole file in bytes.
    pub size_bytes: i64,
    /// Number of received bytes: offset of the next part.
    pub received: i64,
    /// Maximum size of a part in bytes.
    pub part_limit_bytes: i64,
    /// Resulting APK, after completion.
    pub apk_id: Option<String>,
    /// Start time.
    pub created_at: String,
    /// Time of the last part.
    pub touched_at: String,
}

/// Progress of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Received {
    /// Number of received bytes.
    pub received: i64,
}

/// Signed download URL with a limited lifetime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DownloadUrl {
    /// URL that authorizes the download.
    pub url: String,
    /// Time of expiry.
    pub expires_at: String,
}

/// A package that may be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManagedPackage {
    /// Name.
    pub package: String,
    /// Allowed signer certificates, SHA-256 as hex; their rotated keys are allowed, too.
    pub signers_sha256: Vec<String>,
    /// Internal note.
    pub note: String,
    /// APKs of it in the library.
    pub apks: i64,
    /// Account of the last change.
    pub updated_by: String,
    /// Time of the last change.
    pub updated_at: String,
}

/// Allowed signers of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AllowPackage {
    /// Certificates, SHA-256 as hex, with or without colons; 1..16.
    pub signers_sha256: Vec<String>,
    /// Internal note.
    #[serde(default)]
    pub note: String,
}
