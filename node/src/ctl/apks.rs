//! `ctl apks ...` and `ctl packages ...`.

use reqwest::Method;
use serde_json::json;

use super::api::encoded;
use super::apk_args::{ApkCommand, PackageCommand};
use super::apk_upload::{Upload, upload};
use super::output::{self, Column};
use super::{Ctl, apk_inspect, confirm};

const LIST: &[Column] = &[
    ("PACKAGE", "/package"),
    ("CODE", "/version_code"),
    ("VERSION", "/version_name"),
    ("LABEL", "/label"),
    ("BYTES", "/size_bytes"),
    ("BY", "/uploaded_by"),
    ("UPLOADED", "/uploaded_at"),
    ("ID", "/id"),
];

const UPLOADS: &[Column] = &[
    ("FILE", "/file_name"),
    ("BYTES", "/size_bytes"),
    ("RECEIVED", "/received"),
    ("BY", "/created_by"),
    ("BEGUN", "/created_at"),
    ("LAST PART", "/touched_at"),
    ("ID", "/upload_id"),
];

const ONE: &[Column] = &[
    ("Package", "/package"),
    ("Id", "/id"),
    ("Version code", "/version_code"),
    ("Version", "/version_name"),
    ("Label", "/label"),
    ("Bytes", "/size_bytes"),
    ("SHA-256", "/sha256"),
    ("Min API level", "/min_sdk"),
    ("Target API level", "/target_sdk"),
    ("Native ABIs", "/native_abis"),
    ("Signed by", "/signers_sha256"),
    ("Rotated keys", "/lineage_sha256"),
    ("Rollback build of", "/rollback_of"),
    ("Notes", "/notes"),
    ("Uploaded by", "/uploaded_by"),
    ("Uploaded", "/uploaded_at"),
    ("Deleted", "/deleted_at"),
    ("Used by", "/used_by"),
];

/// `ctl apks ...`.
pub(super) async fn run(ctl: &mut Ctl, command: ApkCommand) -> anyhow::Result<()> {
    match command {
        ApkCommand::List { package, limit } => {
            let query: Vec<_> = package.map(|package| ("package", package)).into_iter().collect();
            let apks = ctl.api.list("/v1/apks", &query, limit).await?;
            output::rows(ctl.format, &apks, LIST)
        }
        ApkCommand::Upload { file, rollback_of, notes, resume } => {
            let apk = upload(&mut ctl.api, Upload { file, rollback_of, notes, resume }).await?;
            output::one(ctl.format, &apk, &ONE[..17])
        }
        ApkCommand::Uploads => {
            let uploads = ctl.api.get("/v1/apk-uploads", &[]).await?;
            output::rows(ctl.format, uploads["items"].as_array().map_or(&[], Vec::as_slice), UPLOADS)
        }
        ApkCommand::RemoveUpload { id, yes } => {
            confirm(&format!("Remove the upload {id}?"), yes)?;
            let answer = ctl.api.call(Method::DELETE, &format!("/v1/apk-uploads/{}", encoded(&id)), None).await?;
            output::done(ctl.format, &answer, &format!("Removed {id}."))
        }
        ApkCommand::Inspect { file } => apk_inspect::run(ctl.format, file).await,
        ApkCommand::Show { id } => {
            let apk = ctl.api.get(&format!("/v1/apks/{}", encoded(&id)), &[]).await?;
            output::one(ctl.format, &apk, ONE)
        }
        ApkCommand::Delete { id, yes } => {
            confirm(&format!("Delete the APK {id}?"), yes)?;
            let answer = ctl.api.call(Method::DELETE, &format!("/v1/apks/{}", encoded(&id)), None).await?;
            output::done(ctl.format, &answer, &format!("Deleted {id}."))
        }
        ApkCommand::DownloadUrl { id } => {
            let answer = ctl.api.call(Method::POST, &format!("/v1/apks/{}/download-url", encoded(&id)), None).await?;
            output::done(ctl.format, &answer, answer["url"].as_str().unwrap_or_default())
        }
    }
}

/// `ctl packages ...`.
pub(super) async fn packages(ctl: &mut Ctl, command: PackageCommand) -> anyhow::Result<()> {
    let path = |package: &str| format!("/v1/packages/{}", encoded(package));
    match command {
        PackageCommand::List => {
            let packages = ctl.api.get("/v1/packages", &[]).await?;
            let columns: &[Column] = &[
                ("PACKAGE", "/package"),
                ("APKS", "/apks"),
                ("SIGNED BY", "/signers_sha256"),
                ("NOTE", "/note"),
                ("BY", "/updated_by"),
                ("CHANGED", "/updated_at"),
            ];
            output::rows(ctl.format, packages["items"].as_array().map_or(&[], Vec::as_slice), columns)
        }
        PackageCommand::Allow { package, signer, note } => {
            let body = json!({"signers_sha256": signer, "note": note});
            let answer = ctl.api.call(Method::PUT, &path(&package), Some(&body)).await?;
            output::done(ctl.format, &answer, &format!("Allowed {package}."))
        }
        PackageCommand::Remove { package, yes } => {
            confirm(&format!("Remove {package} from the managed packages?"), yes)?;
            let answer = ctl.api.call(Method::DELETE, &path(&package), None).await?;
            output::done(ctl.format, &answer, &format!("Removed {package} from the managed packages."))
        }
    }
}
