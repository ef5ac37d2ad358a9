//! Deployments on a simulated device: handles `deploy_apk` and updates of the agent, runs them beside the heartbeats, and
//! keeps the installed versions.

mod constraints;
mod download;
mod event;
mod install_outcome;
mod installed;
mod job;
mod params;
mod reports;
mod signer;
mod update;
mod window;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::RngExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::agent::{AppVersion, Command, Heartbeat};
use wire::lenient::Int;

pub(in crate::fleet) use event::{Event, Step};
pub use install_outcome::{DeployArgs, DeployProfile, DurationRange, ErrorShares};
pub(in crate::fleet) use installed::{InstalledFile, Packages};
pub(in crate::fleet) use job::FinalResult;
pub(in crate::fleet) use reports::Reports;
pub use signer::apk_signers;
pub use window::Window;

use super::EndReason;
use super::agent::Agent;
use crate::model;
use constraints::Condition;
use install_outcome::InstallOutcome;
use job::Job;
use params::DeployParams;
use reports::{Outgoing, ReportReply};

/// Installations of one device at the same time.
const JOBS: usize = 8;
/// Queued requests of installations to their device.
const EVENTS: usize = 16;

/// Installations of a device: reports, installed versions and running attempts.
pub(super) struct Installations {
    pub(super) reports: Reports,
    installed: Packages,
    /// Present only while attempts run, to keep idle devices small.
    running: Option<Box<Running>>,
    /// Whether the device has restarted and lost its socket.
    restarted: bool,
    /// Time of the next update check.
    next_update: Option<Instant>,
}

struct Running {
    sender: mpsc::Sender<Event>,
    receiver: mpsc::Receiver<Event>,
    /// Tasks of the attempts; dropped with their device.
    tasks: JoinSet<()>,
    count: usize,
}

impl Installations {
    pub(super) fn new(installed: Packages, next_update: Option<Instant>) -> Self {
        Self { reports: Reports::default(), installed, running: None, restarted: false, next_update }
    }

    /// The next request of an installation; pends forever without one.
    pub(super) async fn event(&mut self) -> Event {
        if let Some(running) = &mut self.running
            && let Some(event) = running.receiver.recv().await
        {
            return event;
        }
        std::future::pending().await
    }

    /// Whether a package was installed.
    pub(super) fn has(&self, package: &str) -> bool {
        self.installed.contains_key(package)
    }

    /// Next wake-up time.
    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        self.next_update
    }

    /// Whether the device has restarted since the last call.
    pub(super) fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.restarted)
    }

    fn spawn<F>(&mut self, job: impl FnOnce(mpsc::Sender<Event>) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = self.running.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(EVENTS);
            Box::new(Running { sender, receiver, tasks: JoinSet::new(), count: 0 })
        });
        if running.count >= JOBS {
            return false;
        }
        running.count += 1;
        running.tasks.spawn(job(running.sender.clone()));
        true
    }

    fn attempt_ended(&mut self) {
        if let Some(running) = &mut self.running {
            running.count = running.count.saturating_sub(1);
            if running.count == 0 {
                self.running = None;
            }
        }
    }
}

impl Agent {
    /// A heartbeat of the present state.
    pub(super) fn heartbeat(&self, device_time: DateTime<Utc>) -> Heartbeat {
        let mut heartbeat = model::heartbeat(&self.profile, &self.state, &self.identity.alias, device_time, self.queue.len());
        for (package, version) in &self.installations.installed {
            if *package == self.fleet.settings.deploy.agent_package {
                heartbeat.app_version = Some(version.version_name.clone());
                heartbeat.agent_version_code = Some(Int(version.version_code));
            }
            let app_version = AppVersion {
                installed: Some(true),
                version_name: Some(version.version_name.clone()),
                version_code: Some(Int(version.version_code)),
            };
            heartbeat.app_versions.get_or_insert_default().insert(package.clone(), Some(app_version));
        }
        heartbeat
    }

    /// Starts a long-running command; false when it is not one.
    pub(super) fn begin(&mut self, command: &Command) -> bool {
        let begun = match command.action.as_str() {
            "deploy_apk" => self.begin_deployment(command),
            "update" => self.begin_update(Some(command)),
            _ => return false,
        };
        match begun {
            Ok(()) => self.queue_received(command),
            Err(code) => self.queue_final_result(command, ("failed", Some(code), None)),
        }
        true
    }

    fn begin_deployment(&mut self, command: &Command) -> Result<(), &'static str> {
        let params = DeployParams::parse(&command.params).ok_or("bad_params")?;
        let apk = &params.apk;
        let settings = &self.fleet.settings;
        let attempt = params.attempt.unwrap_or(1);
        let outcome = InstallOutcome::draw(&settings.deploy, settings.seed, self.identity.number, &apk.package, apk.version_code, attempt);
        let installed = self.installations.installed.get(&apk.package).map(|version| version.version_code);
        let (fleet, device_id, condition) = (Arc::clone(&self.fleet), self.device_id().to_owned(), Condition::of(&self.state));
        let command = Box::new(command.clone());
        let begun = self.installations.spawn(|events| async move {
            let job = Job { fleet, device_id, params, outcome, condition, installed, events };
            let result = Box::pin(job.run()).await;
            // No receiver is left when the device has ended.
            let _ = job.events.send(Event::Ended { command: Some(command), result }).await;
        });
        if begun { Ok(()) } else { Err("busy") }
    }

    /// Starts an update check when it is due.
    pub(super) fn update_due(&mut self, at: Instant) {
        let Some(every) = self.fleet.settings.deploy.update_interval else { return };
        if self.installations.next_update.is_some_and(|due| due <= at) {
            self.installations.next_update = Some(at + every.max(Duration::from_millis(100)));
            // When the device is busy, the next check is soon enough.
            let _ = self.begin_update(None);
        }
    }

    fn begin_update(&mut self, command: Option<&Command>) -> Result<(), &'static str> {
        let package = self.fleet.settings.deploy.agent_package.clone();
        let current = self.installations.installed.get(&package).map_or(self.profile.agent_version_code, |version| version.version_code);
        let job = update::UpdateCheck {
            fleet: Arc::clone(&self.fleet),
            http: self.http(),
            bearer: self.bearer(),
            device_id: self.device_id().to_owned(),
            number: self.identity.number,
            package,
            current,
            condition: Condition::of(&self.state),
        };
        let command = command.cloned().map(Box::new);
        let begun = self.installations.spawn(|events| async move {
            let result = Box::pin(job.run(&events)).await;
            let _ = events.send(Event::Ended { command, result }).await;
        });
        if begun { Ok(()) } else { Err("busy") }
    }

    /// Carries out a request of an installation.
    pub(super) fn handle_install_event(&mut self, event: Event) {
        match event {
            Event::Report { deployment_id, report, reply } => {
                let id = self.take_id();
                self.installations.reports.push(Outgoing { id, deployment_id, report, in_flight_since: None, reply });
            }
            Event::Inspect(reply) => drop(reply.send(Condition::of(&self.state))),
            Event::Installed { package, version } => {
                if self.fleet.installed.keep(self.device_id(), &package, &version).is_err() {
                    self.fleet.stats.error("installed_not_written");
                }
                self.installations.installed.insert(package, version);
            }
            Event::Rebooted => {
                model::reboot(&mut self.state, &mut self.rng);
                self.installations.restarted = true;
                let away = Duration::from_millis(self.rng.random_range(1_000..3_000));
                self.pause_for(away);
            }
            Event::Record(step) => self.record_step(Instant::now(), &step, None),
            Event::Ended { command, result } => {
                self.installations.attempt_ended();
                match (command, result) {
                    (Some(command), Some(result)) => self.queue_final_result(&command, result),
                    (Some(command), None) => self.journal_done(&command.request_id),
                    (None, _) => {}
                }
            }
        }
    }

    fn record_step(&self, sent: Instant, step: &Step, status: Option<u16>) {
        self.record(sent, |recorder, exchange| recorder.deployment(exchange, step, status));
    }

    /// Handles the acknowledgement of a report; false when the id does not belong to one.
    pub(super) fn report_acknowledged(&mut self, id: u64) -> bool {
        let Some(outgoing) = self.installations.reports.take(id) else { return false };
        self.reset_failures();
        self.report_answered(outgoing, 200);
        true
    }

    /// Handles the refusal of a report, temporary or final; `None` when the id does not belong to one.
    pub(super) fn report_refused(&mut self, id: u64, status: u16, retry_after: Option<Duration>) -> Option<Result<(), EndReason>> {
        self.installations.reports.get(id)?;
        self.installations.reports.requeue(Some(id));
        self.fleet.stats.error(&format!("deployment_status_{status}"));
        match status {
            401 => return Some(self.unauthorized()),
            410 => return Some(Err(EndReason::Deleted)),
            408 | 425 | 429 | 500..=599 => self.back_off(retry_after),
            _ => {
                if let Some(outgoing) = self.installations.reports.take(id) {
                    self.report_answered(outgoing, status);
                }
            }
        }
        Some(Ok(()))
    }

    fn report_answered(&self, outgoing: Outgoing, status: u16) {
        let Outgoing { deployment_id, report, in_flight_since, reply, .. } = outgoing;
        let counted = &self.fleet.stats.deployments;
        match (status, report.status) {
            (200, "accepted") => counted.accepted.add(1),
            (200, "succeeded") => counted.succeeded.add(1),
            (200, "failed") => counted.failed.add(1),
            (200, "skipped") => counted.skipped.add(1),
            (200, _) => {}
            _ => counted.refused.add(1),
        }
        let step = Step { step: report.status, deployment_id, attempt: report.attempt, error: report.error, ..Step::default() };
        self.record_step(in_flight_since.unwrap_or_else(Instant::now), &step, Some(status));
        // The attempt may have ended meanwhile.
        let _ = reply.send(if status == 200 { ReportReply::Acknowledged } else { ReportReply::Refused(status) });
    }
}
