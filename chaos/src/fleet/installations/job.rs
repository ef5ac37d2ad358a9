//! One installation attempt, from the command to its final result. It runs in a task of its own and sends its device
//! [`Event`]s to report and to change state.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::constraints::Condition;
use super::download::{Expected, Source, verify};
use super::event::{Event, Step};
use super::install_outcome::{DeployProfile, InstallOutcome, Stage};
use super::installed::Version;
use super::params::DeployParams;
use super::reports::{Report, ReportReply};
use crate::clock::now;
use crate::fleet::Fleet;

/// Time that a restart takes.
const REBOOT: Duration = Duration::from_secs(3);

/// One installation attempt.
pub(super) struct Job {
    pub(super) fleet: Arc<Fleet>,
    pub(super) device_id: String,
    pub(super) params: DeployParams,
    pub(super) outcome: InstallOutcome,
    /// State of the device when the command arrived.
    pub(super) condition: Condition,
    /// Installed version code, if any.
    pub(super) installed: Option<i64>,
    pub(super) events: mpsc::Sender<Event>,
}

/// Final result of a command: outcome, code and message.
pub(in crate::fleet) type FinalResult = (&'static str, Option<&'static str>, Option<String>);

/// Reason why an installation ended early.
enum Abort {
    /// A constraint does not hold; nothing has begun.
    Skipped(&'static str),
    /// Failure with an error code and a message.
    Failed(&'static str, String),
    /// The server refused a report.
    Refused,
    /// No further report: the attempt hangs, or its device has ended.
    Silent,
}

fn fail<T>(code: &'static str, message: impl Into<String>) -> Result<T, Abort> {
    Err(Abort::Failed(code, message.into()))
}

impl Job {
    /// Runs the attempt; the final result of its command, unless it hangs.
    pub(super) async fn run(&self) -> Option<FinalResult> {
        let outcome = self.install().await;
        // A partial download is of no use to the next attempt, whose URL differs.
        let _ = tokio::fs::remove_file(self.file()).await;
        let (status, code, message) = match outcome {
            Ok(()) => return Some(("success", None, None)),
            Err(Abort::Skipped(code)) => ("skipped", code, None),
            Err(Abort::Failed(code, message)) => ("failed", code, Some(message)),
            Err(Abort::Refused) => return Some(("skipped", Some("refused"), None)),
            Err(Abort::Silent) => {
                self.step("hung", None).await.ok()?;
                return None;
            }
        };
        let report = Report { status, error: Some(code), message: message.clone(), ..self.report(status) };
        match self.send_report(report).await {
            // The result stays the same whether the report is refused or not.
            Ok(()) | Err(Abort::Refused) => Some((status, Some(code), message)),
            Err(_) => None,
        }
    }

    async fn install(&self) -> Result<(), Abort> {
        let obstacle = self.condition.obstacle(&self.params, now());
        if let Some(code) = obstacle.or(self.outcome.obstacle()) {
            return Err(Abort::Skipped(code));
        }
        self.send_report(self.report("accepted")).await?;
        if self.fleet.settings.deploy.deploy_profile == DeployProfile::Instant {
            return match self.outcome.error_code {
                Some(code) => fail(code, "as the simulation wants it"),
                None => self.succeed().await,
            };
        }
        self.download().await?;
        self.enter(Stage::Verifying).await?;
        self.send_report(self.report("verifying")).await?;
        self.verify().await?;
        self.enter(Stage::Installing).await?;
        self.recheck_constraints().await?;
        self.send_report(self.report("installing")).await?;
        sleep(self.outcome.install_time).await;
        for code in ["not_permitted", "install_failed", "timeout"] {
            if self.outcome.fails_with(code) {
                return fail(code, "as the simulation wants it");
            }
        }
        self.succeed().await
    }

    async fn download(&self) -> Result<(), Abort> {
        let apk = &self.params.apk;
        self.send_report(Report { progress_pct: Some(0), ..self.report("downloading") }).await?;
        self.enter(Stage::Downloading).await?;
        if self.outcome.fails_with("download_failed") {
            return fail("download_failed", "as the simulation wants it");
        }
        let Some((servers, path)) = self.fleet.download_from(&apk.url) else {
            return fail("download_failed", "the address is none that a simulated device can reach");
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
        let cut_at = self.outcome.connection_lost_at.map(|part| (apk.size as f64 * part) as u64);
        match source.fetch(&self.file(), cut_at).await {
            Ok(fetched) => {
                let step =
                    Step { bytes: Some(fetched.bytes), pieces: Some(fetched.pieces), resumed: Some(fetched.resumed), ..Step::default() };
                self.fleet.stats.downloaded_bytes.add(fetched.bytes);
                self.step_with("downloaded", step).await?;
                self.send_report(Report { progress_pct: Some(100), ..self.report("downloading") }).await
            }
            Err(why) => fail("download_failed", why),
        }
    }

    async fn verify(&self) -> Result<(), Abort> {
        let apk = &self.params.apk;
        let mut expected = Expected { sha256: apk.sha256.clone(), signers: apk.signer_sha256.clone() };
        // The real check finds what is wrong, not the dice.
        if self.outcome.fails_with("checksum_mismatch") {
            let flipped = std::fs::read(self.file()).and_then(|mut bytes| {
                if let Some(byte) = bytes.first_mut() {
                    *byte ^= 1;
                }
                std::fs::write(self.file(), bytes)
            });
            if flipped.is_err() {
                return fail("install_failed", "the device's storage cannot be written");
            }
        }
        if self.outcome.fails_with("signer_mismatch") {
            expected.signers = vec!["00".repeat(32)];
        }
        let file = self.file();
        match tokio::task::spawn_blocking(move || verify(&file, &expected)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((code, why))) => fail(code, why),
            Err(_) => fail("install_failed", "verifying broke off"),
        }
    }

    /// Checks the constraints again after the download.
    async fn recheck_constraints(&self) -> Result<(), Abort> {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Inspect(reply)).await?;
        let condition = answer.await.map_err(|_| Abort::Silent)?;
        if let Some(code) = condition.obstacle(&self.params, now()) {
            return fail(code, "it does not hold any more");
        }
        let apk = &self.params.apk;
        if self.outcome.fails_with("downgrade_refused") || self.installed.is_some_and(|code| code > apk.version_code) {
            return fail("downgrade_refused", "a newer version is installed");
        }
        Ok(())
    }

    async fn succeed(&self) -> Result<(), Abort> {
        let apk = &self.params.apk;
        let version = Version { version_code: apk.version_code, version_name: apk.version_name.clone() };
        self.send(Event::Installed { package: apk.package.clone(), version }).await?;
        self.step("installed", None).await?;
        match self.send_report(Report { installed_version: Some(apk.version_name.clone()), ..self.report("succeeded") }).await {
            // The app is installed even if the server refuses the report.
            Err(Abort::Refused) => Ok(()),
            other => other,
        }
    }

    /// Applies the part of the outcome that concerns this stage.
    async fn enter(&self, stage: Stage) -> Result<(), Abort> {
        if self.outcome.hangs_at == Some(stage) {
            return Err(Abort::Silent);
        }
        if let Some((_, resumes)) = self.outcome.reboots_at.filter(|(at, _)| *at == stage) {
            self.send(Event::Rebooted).await?;
            self.step("rebooted", None).await?;
            sleep(REBOOT).await;
            if !resumes {
                return fail("install_failed", "the device restarted in the middle");
            }
        }
        Ok(())
    }

    fn report(&self, status: &'static str) -> Report {
        Report { status, attempt: self.params.attempt, ..Report::default() }
    }

    /// Has the device report to the server, until the report is acknowledged or refused.
    async fn send_report(&self, report: Report) -> Result<(), Abort> {
        let times = if self.outcome.reports_twice { 2 } else { 1 };
        for _ in 0..times {
            let (reply, answer) = oneshot::channel();
            self.send(Event::Report { deployment_id: self.params.deployment_id.clone(), report: report.clone(), reply }).await?;
            match answer.await {
                Ok(ReportReply::Acknowledged) => {}
                Ok(ReportReply::Refused(_)) => return Err(Abort::Refused),
                Err(_) => return Err(Abort::Silent),
            }
        }
        Ok(())
    }

    async fn step(&self, step: &'static str, error: Option<&'static str>) -> Result<(), Abort> {
        self.step_with(step, Step { error, ..Step::default() }).await
    }

    async fn step_with(&self, step: &'static str, more: Step) -> Result<(), Abort> {
        let step = Step {
            step,
            deployment_id: self.params.deployment_id.clone(),
            attempt: self.params.attempt,
            package: Some(self.params.apk.package.clone()),
            version_code: Some(self.params.apk.version_code),
            ..more
        };
        self.send(Event::Record(step)).await
    }

    async fn send(&self, event: Event) -> Result<(), Abort> {
        self.events.send(event).await.map_err(|_| Abort::Silent)
    }

    fn file(&self) -> PathBuf {
        let attempt = self.params.attempt.unwrap_or(0);
        self.fleet.downloads_dir.join(format!("{}-{}-{attempt}.apk", self.device_id, self.params.deployment_id.replace(['/', '.'], "_")))
    }
}
