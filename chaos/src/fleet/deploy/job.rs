//! One try of an installation, from the command to its last word. It runs beside its device and has the device say and
//! change what there is to be said and changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::constraints::Condition;
use super::download::{Expected, Source, verify};
use super::event::{Event, Step};
use super::fate::{DeployProfile, Fate, Stage};
use super::installed::Version;
use super::params::DeployParams;
use super::reports::{Report, Said};
use crate::clock::now;
use crate::fleet::Fleet;

/// How long a device is away that restarts.
const REBOOT: Duration = Duration::from_secs(3);

/// A try of an installation.
pub(super) struct Job {
    pub(super) fleet: Arc<Fleet>,
    pub(super) device_id: String,
    pub(super) params: DeployParams,
    pub(super) fate: Fate,
    /// The device when the command arrived.
    pub(super) condition: Condition,
    /// Version code that is installed, if one is.
    pub(super) installed: Option<i64>,
    pub(super) events: mpsc::Sender<Event>,
}

/// The last word about a command: outcome, code and a text for people.
pub(in crate::fleet) type LastWord = (&'static str, Option<&'static str>, Option<String>);

/// Why an installation does not go on.
enum Halt {
    /// A constraint does not hold: nothing has begun.
    Skips(&'static str),
    /// It failed with this code.
    Fails(&'static str, String),
    /// The server does not want it.
    Refused,
    /// Nothing more is said, or nobody is left to say it.
    Silent,
}

fn fails<T>(code: &'static str, message: impl Into<String>) -> Result<T, Halt> {
    Err(Halt::Fails(code, message.into()))
}

impl Job {
    /// Runs it; the last word about its command, unless it hangs.
    pub(super) async fn run(&self) -> Option<LastWord> {
        let outcome = self.install().await;
        // What is left of a download is no use to the next try: its address is another one.
        let _ = tokio::fs::remove_file(self.file()).await;
        let (status, code, message) = match outcome {
            Ok(()) => return Some(("success", None, None)),
            Err(Halt::Skips(code)) => ("skipped", code, None),
            Err(Halt::Fails(code, message)) => ("failed", code, Some(message)),
            Err(Halt::Refused) => return Some(("skipped", Some("refused"), None)),
            Err(Halt::Silent) => {
                self.step("hung", None).await.ok()?;
                return None;
            }
        };
        let report = Report { status, error: Some(code), message: message.clone(), ..self.report(status) };
        match self.tell(report).await {
            // Refused or not: this is how it was.
            Ok(()) | Err(Halt::Refused) => Some((status, Some(code), message)),
            Err(_) => None,
        }
    }

    async fn install(&self) -> Result<(), Halt> {
        let obstacle = self.condition.obstacle(&self.params, now());
        if let Some(code) = obstacle.or(self.fate.obstacle()) {
            return Err(Halt::Skips(code));
        }
        self.tell(self.report("accepted")).await?;
        if self.fleet.settings.deploy.deploy_profile == DeployProfile::Instant {
            return match self.fate.fails {
                Some(code) => fails(code, "as the simulation wants it"),
                None => self.succeed().await,
            };
        }
        self.download().await?;
        self.at(Stage::Verifying).await?;
        self.tell(self.report("verifying")).await?;
        self.verify().await?;
        self.at(Stage::Installing).await?;
        self.still_possible().await?;
        self.tell(self.report("installing")).await?;
        sleep(self.fate.install_time).await;
        for code in ["not_permitted", "install_failed", "timeout"] {
            if self.fate.fails_with(code) {
                return fails(code, "as the simulation wants it");
            }
        }
        self.succeed().await
    }

    async fn download(&self) -> Result<(), Halt> {
        let apk = &self.params.apk;
        self.tell(Report { progress_pct: Some(0), ..self.report("downloading") }).await?;
        self.at(Stage::Downloading).await?;
        if self.fate.fails_with("download_failed") {
            return fails("download_failed", "as the simulation wants it");
        }
        let Some((servers, path)) = self.fleet.download_from(&apk.url) else {
            return fails("download_failed", "the address is none that a simulated device can reach");
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
        let cut_at = self.fate.drops.map(|part| (apk.size as f64 * part) as u64);
        match source.fetch(&self.file(), cut_at).await {
            Ok(fetched) => {
                let step =
                    Step { bytes: Some(fetched.bytes), pieces: Some(fetched.pieces), resumed: Some(fetched.resumed), ..Step::default() };
                self.fleet.stats.downloaded_bytes.add(fetched.bytes);
                self.step_with("downloaded", step).await?;
                self.tell(Report { progress_pct: Some(100), ..self.report("downloading") }).await
            }
            Err(why) => fails("download_failed", why),
        }
    }

    async fn verify(&self) -> Result<(), Halt> {
        let apk = &self.params.apk;
        let mut expected = Expected { sha256: apk.sha256.clone(), signers: apk.signer_sha256.clone() };
        // The real check finds what is wrong, not the dice.
        if self.fate.fails_with("checksum_mismatch") {
            let flipped = std::fs::read(self.file()).and_then(|mut bytes| {
                if let Some(byte) = bytes.first_mut() {
                    *byte ^= 1;
                }
                std::fs::write(self.file(), bytes)
            });
            if flipped.is_err() {
                return fails("install_failed", "the device's storage cannot be written");
            }
        }
        if self.fate.fails_with("signer_mismatch") {
            expected.signers = vec!["00".repeat(32)];
        }
        let file = self.file();
        match tokio::task::spawn_blocking(move || verify(&file, &expected)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((code, why))) => fails(code, why),
            Err(_) => fails("install_failed", "verifying broke off"),
        }
    }

    /// Whether what held before the download holds still.
    async fn still_possible(&self) -> Result<(), Halt> {
        let (tell, told) = oneshot::channel();
        self.send(Event::Look(tell)).await?;
        let condition = told.await.map_err(|_| Halt::Silent)?;
        if let Some(code) = condition.obstacle(&self.params, now()) {
            return fails(code, "it does not hold any more");
        }
        let apk = &self.params.apk;
        if self.fate.fails_with("downgrade_refused") || self.installed.is_some_and(|code| code > apk.version_code) {
            return fails("downgrade_refused", "a newer version is installed");
        }
        Ok(())
    }

    async fn succeed(&self) -> Result<(), Halt> {
        let apk = &self.params.apk;
        let version = Version { version_code: apk.version_code, version_name: apk.version_name.clone() };
        self.send(Event::Installed { package: apk.package.clone(), version }).await?;
        self.step("installed", None).await?;
        match self.tell(Report { installed_version: Some(apk.version_name.clone()), ..self.report("succeeded") }).await {
            // It is installed, whatever the server makes of it.
            Err(Halt::Refused) => Ok(()),
            other => other,
        }
    }

    /// What fate has in store for this point.
    async fn at(&self, stage: Stage) -> Result<(), Halt> {
        if self.fate.hangs == Some(stage) {
            return Err(Halt::Silent);
        }
        if let Some((_, goes_on)) = self.fate.reboots.filter(|(at, _)| *at == stage) {
            self.send(Event::Rebooted).await?;
            self.step("rebooted", None).await?;
            sleep(REBOOT).await;
            if !goes_on {
                return fails("install_failed", "the device restarted in the middle");
            }
        }
        Ok(())
    }

    fn report(&self, status: &'static str) -> Report {
        Report { status, attempt: self.params.attempt, ..Report::default() }
    }

    /// Has the device tell the server, until it is acknowledged or refused.
    async fn tell(&self, report: Report) -> Result<(), Halt> {
        let times = if self.fate.tells_twice { 2 } else { 1 };
        for _ in 0..times {
            let (tell, told) = oneshot::channel();
            self.send(Event::Tell { deployment_id: self.params.deployment_id.clone(), report: report.clone(), tell }).await?;
            match told.await {
                Ok(Said::Acknowledged) => {}
                Ok(Said::Refused(_)) => return Err(Halt::Refused),
                Err(_) => return Err(Halt::Silent),
            }
        }
        Ok(())
    }

    async fn step(&self, step: &'static str, error: Option<&'static str>) -> Result<(), Halt> {
        self.step_with(step, Step { error, ..Step::default() }).await
    }

    async fn step_with(&self, step: &'static str, more: Step) -> Result<(), Halt> {
        let step = Step {
            step,
            deployment_id: self.params.deployment_id.clone(),
            attempt: self.params.attempt,
            package: Some(self.params.apk.package.clone()),
            version_code: Some(self.params.apk.version_code),
            ..more
        };
        self.send(Event::Note(step)).await
    }

    async fn send(&self, event: Event) -> Result<(), Halt> {
        self.events.send(event).await.map_err(|_| Halt::Silent)
    }

    fn file(&self) -> PathBuf {
        let attempt = self.params.attempt.unwrap_or(0);
        self.fleet.downloads_dir.join(format!("{}-{}-{attempt}.apk", self.device_id, self.params.deployment_id.replace(['/', '.'], "_")))
    }
}
