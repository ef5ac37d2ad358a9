//! `ctl agent-builds publish`: an APK of the agent from this machine to the devices that are offered it.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use apk::reader;
use domain::ApkId;
use domain::apk::{LibraryApk, Offer, Refusal, Verdict, judge};
use domain::rollout::Promotion;
use reqwest::Method;
use serde_json::{Value, json};

use super::agent_build_args::PromotionArgs;
use super::agent_builds::{offered, path};
use super::api::{Api, encoded};
use super::apk_upload::{Upload, digest, upload};
use super::{Ctl, confirm, output};

/// Build to publish.
pub(super) struct Publish {
    pub(super) file: PathBuf,
    pub(super) package: String,
    pub(super) notes: String,
    pub(super) allow_package: bool,
    pub(super) promotion: PromotionArgs,
}

/// An APK on this machine, read and verified as the server does it.
struct LocalApk {
    offer: Offer,
    version_name: String,
}

/// Existing build on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ExistingBuild {
    id: String,
    apk: String,
    version_code: i64,
    state: String,
    rollout_percent: Option<i64>,
}

/// State of the package on the server.
#[derive(Debug, Default)]
struct ServerPackage {
    /// Allowed signers; `None` when the package is not managed.
    allowed: Option<Vec<String>>,
    apks: Vec<LibraryApk>,
    builds: Vec<ExistingBuild>,
}

/// Remaining steps before the promotion.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// The package has to be allowed.
    allow: bool,
    /// The server's APK of this very file; `None`: it has to be uploaded.
    apk: Option<ApkId>,
    /// The build of it; `None`: it has to be added.
    build: Option<ExistingBuild>,
}

/// Decides what has to be done.
///
/// # Errors
/// The package is not allowed and is not to be, the server would not take the file, its version is a build of another file, or the
/// build was taken out.
fn plan(file: &LocalApk, server: &ServerPackage, allow_package: bool) -> anyhow::Result<Plan> {
    let offer = &file.offer;
    let (package, version_code) = (&offer.package, offer.version_code);
    let allow = server.allowed.is_none();
    let allowed = if allow && allow_package { Some(offer.signing.signers.as_slice()) } else { server.allowed.as_deref() };
    let apk = match judge(offer, allowed, &server.apks) {
        Verdict::New => None,
        Verdict::Same(apk) => Some(apk),
        Verdict::Refused(Refusal::UnknownPackage { signers, .. }) => bail!(
            "{package} is not a managed package, so the server takes no APK of it. Give --allow-package to allow it with the signer of this \
             file, or do it before: nexmdm ctl packages allow {package} --signer {}",
            signers.join(" --signer ")
        ),
        Verdict::Refused(refusal) => bail!("the server would reject the file: {refusal}"),
    };
    let build = server.builds.iter().find(|build| build.version_code == version_code);
    if let Some(ExistingBuild { id, apk: of, state, .. }) = build {
        ensure!(
            apk.is_some_and(|apk| apk.to_string() == *of),
            "version code {version_code} is already a build of another file ({id}); use a higher version code"
        );
        // What was taken out did harm, or somebody thought so: that is not undone by a build that runs again.
        ensure!(
            !["halted", "rolled_back"].contains(&state.as_str()),
            "this build was withdrawn ({state}). To promote it anyway: nexmdm ctl agent-builds promote {id} --percent N"
        );
    }
    Ok(Plan { allow, apk, build: build.cloned() })
}

/// `ctl agent-builds publish ...`.
pub(super) async fn publish(ctl: &mut Ctl, what: Publish) -> anyhow::Result<()> {
    let PromotionArgs { percent, mobile_data, must_install, min_battery, yes } = what.promotion;
    Promotion::new(percent, !mobile_data, must_install, min_battery)?;
    let file = local(&what.file).await.with_context(|| what.file.display().to_string())?;
    let package = &file.offer.package;
    ensure!(*package == what.package, "{} is an APK of {package}, not of the agent {}", what.file.display(), what.package);
    let Plan { allow, apk, build } = plan(&file, &library(&mut ctl.api, package).await?, what.allow_package)?;

    let name = format!("{} ({})", file.version_name, file.offer.version_code);
    let now = build.as_ref().and_then(|build| build.rollout_percent).map(|percent| format!(", {percent} % until now"));
    confirm(&format!("Publish {name} of {package} and offer it to {percent} % of the devices{}?", now.unwrap_or_default()), yes)?;

    let mut done = Vec::new();
    if allow {
        let body = json!({"signers_sha256": file.offer.signing.signers, "note": "The agent"});
        ctl.api.call(Method::PUT, &format!("/v1/packages/{}", encoded(package)), Some(&body)).await?;
        done.push(format!("Allowed {package}, signed by {}.", file.offer.signing.signers.join(", ")));
    }
    let apk = match apk {
        Some(apk) => {
            done.push(format!("The server already has this file: APK {apk}."));
            apk.to_string()
        }
        None => {
            let what = Upload { file: what.file, rollback_of: None, notes: String::new(), resume: None };
            let apk = upload(&mut ctl.api, what).await?;
            let id = apk["id"].as_str().context("the answer names no APK")?.to_owned();
            done.push(format!("Uploaded {} bytes: APK {id}.", apk["size_bytes"]));
            id
        }
    };
    let build = match build {
        Some(build) => {
            done.push(format!("The APK is already a build: {}.", build.id));
            if !what.notes.is_empty() {
                done.push("The release notes are unchanged.".to_owned());
            }
            build.id
        }
        None => {
            let body = json!({"apk_id": apk, "release_notes": what.notes});
            let build = ctl.api.call(Method::POST, "/v1/agent-builds", Some(&body)).await?;
            let id = build["id"].as_str().context("the answer names no build")?.to_owned();
            done.push(format!("Added build {id}."));
            id
        }
    };
    let body = json!({
        "rollout_percent": percent, "wifi_only": !mobile_data, "must_install": must_install, "min_battery": min_battery
    });
    let build = ctl.api.call(Method::POST, &path(&build, "/promote"), Some(&body)).await?;
    done.push(offered(&build));
    output::done(ctl.format, &build, &done.join("\n"))
}

/// Reads and verifies a file.
async fn local(path: &std::path::Path) -> anyhow::Result<LocalApk> {
    let sha256 = digest(&mut tokio::fs::File::open(path).await?).await?;
    let file = File::open(path)?;
    let read = tokio::task::spawn_blocking(move || reader::read(&file)).await?;
    let reader::ApkFacts { package, version_code, version_name, signing, .. } = read.map_err(|invalid| anyhow::anyhow!(invalid.problem))?;
    Ok(LocalApk { offer: Offer { package, version_code, sha256, signing, rollback_of: None }, version_name })
}

/// Asks the server what it has of a package.
async fn library(api: &mut Api, package: &str) -> anyhow::Result<ServerPackage> {
    let items = |page: &Value| page["items"].as_array().cloned().unwrap_or_default();
    let of_package = |value: &Value| value["package"] == package;
    let packages = items(&api.get("/v1/packages", &[]).await?);
    let apks = api.list("/v1/apks", &[("package", package.to_owned())], 0).await?;
    let builds = items(&api.get("/v1/agent-builds", &[]).await?);
    let allowed = packages.iter().find(|value| of_package(value)).map(|value| texts(&value["signers_sha256"]));
    let known = |apk: &Value| {
        let (id, sha256) = (text(apk, "id").parse().ok()?, text(apk, "sha256"));
        Some(LibraryApk { id, version_code: apk["version_code"].as_i64()?, sha256 })
    };
    let build = |build: &Value| {
        Some(ExistingBuild {
            id: text(build, "id"),
            apk: text(build, "apk_id"),
            version_code: build["version_code"].as_i64()?,
            state: text(build, "state"),
            rollout_percent: build["rollout_percent"].as_i64(),
        })
    };
    Ok(ServerPackage {
        allowed,
        apks: apks.iter().filter_map(known).collect(),
        builds: builds.iter().filter(|value| of_package(value)).filter_map(build).collect(),
    })
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::apk::Signing;
    use uuid::Uuid;

    const APK: ApkId = ApkId(Uuid::from_u128(7));

    fn file() -> LocalApk {
        let signing = Signing { signers: vec!["aa".into()], lineage: Vec::new() };
        let offer = Offer { package: "com.nexmdm".into(), version_code: 121, sha256: "f0".into(), signing, rollback_of: None };
        LocalApk { offer, version_name: "1.0.121".into() }
    }

    fn build(state: &str, of: ApkId) -> ExistingBuild {
        ExistingBuild { id: "b".into(), apk: of.to_string(), version_code: 121, state: state.into(), rollout_percent: None }
    }

    fn library(signer: Option<&str>, sha256: Option<&str>, builds: Vec<ExistingBuild>) -> ServerPackage {
        let apk = |sha256: &str| LibraryApk { id: APK, version_code: 121, sha256: sha256.into() };
        ServerPackage { allowed: signer.map(|signer| vec![signer.into()]), apks: sha256.map(apk).into_iter().collect(), builds }
    }

    fn refusal(server: &ServerPackage, allow_package: bool) -> String {
        plan(&file(), server, allow_package).unwrap_err().to_string()
    }

    #[test]
    fn only_what_is_left_is_done() {
        let new = Plan { allow: false, apk: None, build: None };
        assert_eq!(plan(&file(), &library(Some("aa"), None, vec![]), false).unwrap(), new);
        assert_eq!(plan(&file(), &library(None, None, vec![]), true).unwrap(), Plan { allow: true, ..new });
        let uploaded = Plan { allow: false, apk: Some(APK), build: None };
        assert_eq!(plan(&file(), &library(Some("aa"), Some("f0"), vec![]), true).unwrap(), uploaded);
        for state in ["draft", "promoted"] {
            let added = plan(&file(), &library(Some("aa"), Some("f0"), vec![build(state, APK)]), false).unwrap();
            assert_eq!(added.build, Some(build(state, APK)));
        }
    }

    #[test]
    fn what_the_server_would_refuse_is_refused_before_anything_is_sent() {
        let unknown = refusal(&library(None, None, vec![]), false);
        assert!(unknown.contains("--allow-package") && unknown.contains("packages allow com.nexmdm --signer aa"), "{unknown}");
        // Allowing is for a package that nobody decided about, not for another signer.
        assert!(refusal(&library(Some("bb"), None, vec![]), true).contains("neither an allowed signer of com.nexmdm"));
        assert!(refusal(&library(Some("aa"), Some("0f"), vec![]), false).contains("version code 121 is already used by another file"));
        let other = ApkId(Uuid::from_u128(8));
        assert!(refusal(&library(Some("aa"), None, vec![build("draft", other)]), false).contains("a build of another file"));
        for state in ["halted", "rolled_back"] {
            assert!(refusal(&library(Some("aa"), Some("f0"), vec![build(state, APK)]), false).contains("withdrawn"), "{state}");
        }
    }
}
