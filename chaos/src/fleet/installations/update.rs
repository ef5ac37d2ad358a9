//! Check for an update of the agent: the build that the server offers is downloaded, verified, installed and reported.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::constraints::Condition;
use super::download::{Expected, Source, verify};
use super::event::{Event, Step};
use super::install_outcome::InstallOutcome;
use super::installed::Version;
use super::job::FinalResult;
use super::params::{ApkRef, Constraints, DeployParams};
use crate::backoff::Backoff;
use crate::clock::now;
use crate::fleet::Fleet;
use crate::http::{Call, Http};

/// Attempts to report the result to the server.
const REPORT_TRIES: u32 = 10;

/// One update check of a device.
pub(super) struct UpdateCheck {
    pub(super) fleet: Arc<Fleet>,
    /// Server that the device uses at present.
    pub(super) http: Arc<Http>,
    /// Session or device token.
    pub(super) bearer: String,
    pub(super) device_id: String,
    /// Number of the identity, from which the install outcome is drawn.
    pub(super) number: u64,
    pub(super) package: String,
    /// Version code of the running agent.
    pub(super) current: i64,
    pub(super) condition: Condition,
}

/// 200 of `GET /v1/agent/update`.
#[derive(Debug, Deserialize)]
struct Offer {
    build_id: String,
    version_code: i64,
    version_name: String,
    package_name: String,
    download_url: String,
    sha256: String,
    signer_fingerprint: String,
    file_size: u64,
    #[serde(default)]
    wifi_only: bool,
    #[serde(default)]
    min_battery: Option<f64>,
}

impl UpdateCheck {
    /// Asks for an update and installs the offered build; the final result of the `update` command.
    pub(super) async fn run(&self, events: &mpsc::Sender<Event>) -> Option<FinalResult> {
        let (package, current, device) = (&self.package, self.current, &self.device_id);
        let path = format!("/v1/agent/update?package_name={package}&current_version_code={current}&device_id={device}");
        let answer = match self.http.send(Call::get(&path).bearer(&self.bearer)).await {
            Ok(answer) => answer,
            Err(error) => {
                self.fleet.stats.error(&format!("update_{}", error.kind()));
                return Some(("failed", Some("unreachable"), None));
            }
        };
        if answer.status == 304 {
            return Some(("success", None, answer.header("x-update-reason").map(str::to_owned)));
        }
        let Some(offer) = (answer.status == 200).then(|| answer.read::<Offer>().ok()).flatten() else {
            self.fleet.stats.error(&format!("update_{}", answer.status));
            return Some(("failed", Some("not_understood"), None));
        };
        Some(self.take(offer, events).await)
    }

    async fn take(&self, offer: Offer, events: &mpsc::Sender<Event>) -> FinalResult {
        let constraints = Constraints { wifi_only: offer.wifi_only, min_battery: offer.min_battery, ..Constraints::default() };
        let apk = ApkRef {
            package: offer.package_name.clone(),
            version_code: offer.version_code,
            version_name: offer.version_name.clone(),
            url: offer.download_url.clone(),
            sha256: offer.sha256.clone(),
            signer_sha256: vec![offer.signer_fingerprint.clone()],
            size: offer.file_size,
        };
        let params = DeployParams { deployment_id: String::new(), attempt: None, apk, constraints };
        let settings = &self.fleet.settings;
        let outcome = InstallOutcome::draw(&settings.deploy, settings.seed, self.number, &offer.package_name, offer.version_code, 1);
        if let Some(code) = self.condition.obstacle(&params, now()).or(outcome.obstacle()) {
            return ("skipped", Some(code), None);
        }
        let note = |step: &'static str, more: Step| {
            let (package, version_code) = (Some(offer.package_name.clone()), Some(offer.version_code));
            events.send(Event::Record(Step { step, package, version_code, ..more }))
        };
        let file = self.fleet.downloads_dir.join(format!("{}-update-{}.apk", self.device_id, offer.version_code));
        let installed = self.install(&offer, &params, &outcome, &file, &note).await;
        let _ = tokio::fs::remove_file(&file).await;
        match installed {
            Ok(()) => {
                let version = Version { version_code: offer.version_code, version_name: offer.version_name.clone() };
                // No receiver is left when the device has ended.
                let _ = events.send(Event::Installed { package: offer.package_name.clone(), version }).await;
                let _ = note("update_installed", Step::default()).await;
                self.report(&offer, "installed", None).await;
                ("success", None, None)
            }
            Err((code, why)) => {
                let _ = note("update_failed", Step { error: Some(code), ..Step::default() }).await;
                let event = if matches!(code, "checksum_mismatch" | "signer_mismatch") { "verify_failed" } else { "failed" };
                self.report(&offer, event, Some(&format!("{code}: {why}"))).await;
                ("failed", Some(code), Some(why))
            }
        }
    }

    async fn install<F>(
        &self,
        offer: &Offer,
        params: &DeployParams,
        outcome: &InstallOutcome,
        file: &std::path::Path,
        note: &impl Fn(&'static str, Step) -> F,
    ) -> Result<(), (&'static str, String)>
    where
        F: Future,
    {
        let apk = &params.apk;
        let simulated = || "as the simulation wants it".to_owned();
        let Some((servers, path)) = self.fleet.download_from(&apk.url).filter(|_| !outcome.fails_with("download_failed")) else {
            return Err(("download_failed", "the address is none that a simulated device can reach".into()));
        };
        let settings = &self.fleet.settings;
        let source = Source {
            servers: &servers,
            path: &path,
            size: apk.size,
            piece: settings.deploy.download_piece,
            retry_min: settings.retry_min,
            retry_max: settings.retry_max,
        };
        let cut_at = outcome.connection_lost_at.map(|part| (apk.size as f64 * part) as u64);
        let fetched = source.fetch(file, cut_at).await.map_err(|why| ("download_failed", why))?;
        self.fleet.stats.downloaded_bytes.add(fetched.bytes);
        let download = Step { bytes: Some(fetched.bytes), pieces: Some(fetched.pieces), resumed: Some(fetched.resumed), ..Step::default() };
        note("update_downloaded", download).await;
        self.report(offer, "downloaded", None).await;
        let altered = |code: &str, given: &str| if outcome.fails_with(code) { "00".repeat(32) } else { given.to_owned() };
        let expected = Expected {
            sha256: altered("checksum_mismatch", &apk.sha256),
            signers: apk.signer_sha256.iter().map(|signer| altered("signer_mismatch", signer)).collect(),
        };
        let path = file.to_owned();
        let verified = tokio::task::spawn_blocking(move || verify(&path, &expected)).await;
        verified.unwrap_or_else(|_| Err(("install_failed", "verifying broke off".into())))?;
        sleep(outcome.install_time).await;
        match outcome.error_code {
            Some(code @ ("not_permitted" | "install_failed" | "timeout" | "downgrade_refused")) => Err((code, simulated())),
            _ => Ok(()),
        }
    }

    /// Reports to the server, until the report is acknowledged or refused.
    async fn report(&self, offer: &Offer, event: &str, error: Option<&str>) {
        let mut body = json!({"build_id": offer.build_id, "event": event, "version_code": offer.version_code});
        if let Some(error) = error {
            body["error"] = error.chars().take(1_000).collect::<String>().into();
        }
        let settings = &self.fleet.settings;
        let mut backoff = Backoff::new(settings.retry_min, settings.retry_max);
        let mut rng = SmallRng::seed_from_u64(self.number);
        while backoff.failures() < REPORT_TRIES {
            let call = Call::post("/v1/agent/update/report", body.to_string()).bearer(&self.bearer);
            let retry_after = match self.http.send(call).await {
                Ok(answer) if answer.status == 200 => return,
                Ok(answer) if matches!(answer.status, 408 | 425 | 429 | 500..=599) => answer.retry_after(),
                Ok(answer) => return self.fleet.stats.error(&format!("update_report_{}", answer.status)),
                Err(_) => None,
            };
            sleep(backoff.next(retry_after, &mut rng)).await;
        }
        self.fleet.stats.error("update_report_given_up");
    }
}
