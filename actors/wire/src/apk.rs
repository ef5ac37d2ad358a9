//! APKs, uploads of them, and managed packages, as the API has them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An APK of the library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Apk {
    /// Its id.
    pub id: String,
    /// Package name.
    pub package: String,
    /// Version code, the major part included.
    pub version_code: i64,
    /// Version name.
    pub version_name: String,
    /// Its name for people.
    pub label: String,
    /// Oldest Android API level that it runs on.
    pub min_sdk: Option<i32>,
    /// Android API level that it was made for.
    pub target_sdk: Option<i32>,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Length of the file in bytes.
    pub size_bytes: i64,
    /// Certificates that sign it, SHA-256 as hex.
    pub signers_sha256: Vec<String>,
    /// Certificates that signed it before and handed over, oldest first. Devices up to Android 8 see the oldest.
    pub lineage_sha256: Vec<String>,
    /// The older APK that it brings back.
    pub rollback_of: Option<String>,
    /// For people.
    pub notes: String,
    /// Whether `GET /v1/apks/{id}/icon` has a picture.
    pub has_icon: bool,
    /// Who uploaded it.
    pub uploaded_by: String,
    /// When.
    pub uploaded_at: String,
    /// When it was deleted; its file is gone.
    pub deleted_at: Option<String>,
}

/// An APK, and what uses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApkDetails {
    /// The APK.
    #[serde(flatten)]
    pub apk: Apk,
    /// What uses it; as long as there is something, it cannot be deleted.
    pub used_by: Vec<ApkUse>,
}

/// Something that uses an APK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApkUse {
    /// `deployment`, `rollback` (an APK that brings it back) or `agent_build`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its name, for people.
    pub name: String,
}

/// An upload in parts that begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BeginUpload {
    /// Name of the file, for people.
    #[serde(default)]
    pub file_name: String,
    /// Length of the whole file in bytes.
    pub size_bytes: i64,
    /// Its SHA-256, hex; checked at the end.
    pub sha256: Option<String>,
    /// The older APK that it brings back.
    pub rollback_of: Option<String>,
    /// For people.
    #[serde(default)]
    pub notes: String,
}

/// An upload in parts, and how far it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    /// Its id.
    pub upload_id: String,
    /// Name of the file, for people.
    pub file_name: String,
    /// Length of the whole file in bytes.
    pub size_bytes: i64,
    /// Bytes that are there: where the next part begins.
    pub received: i64,
    /// Largest part that is taken, in bytes.
    pub part_limit_bytes: i64,
    /// The APK that came of it, once it is over.
    pub apk_id: Option<String>,
    /// When it began.
    pub created_at: String,
    /// When a part came last.
    pub touched_at: String,
}

/// How far an upload is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Received {
    /// Bytes that are there.
    pub received: i64,
}

/// Where a file can be fetched for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DownloadUrl {
    /// The address; whoever has it may fetch the file.
    pub url: String,
    /// Until when.
    pub expires_at: String,
}

/// A package that may be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManagedPackage {
    /// Its name.
    pub package: String,
    /// Certificates that may sign it, SHA-256 as hex; one that such a certificate handed over to may, too.
    pub signers_sha256: Vec<String>,
    /// For people.
    pub note: String,
    /// APKs of it in the library.
    pub apks: i64,
    /// Who allowed it, or changed it last.
    pub updated_by: String,
    /// When.
    pub updated_at: String,
}

/// Who may sign a package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AllowPackage {
    /// Certificates, SHA-256 as hex, with or without colons; 1..16.
    pub signers_sha256: Vec<String>,
    /// For people.
    #[serde(default)]
    pub note: String,
}
