//! What a device does with deployments: takes `deploy_apk` and updates of the agent, runs them beside its heartbeats, and
//! remembers what is installed.

mod constraints;
mod download;
mod event;
mod fate;
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
pub use fate::{Between, DeployArgs, DeployProfile, Failures};
pub(in crate::fleet) use installed::{InstalledFile, Packages};
pub(in crate::fleet) use job::LastWord;
pub(in crate::fleet) use reports::Reports;
pub use signer::apk_signers;
pub use window::Window;

use super::Ending;
use super::agent::Agent;
use crate::model;
use constraints::Condition;
use fate::Fate;
use job::Job;
use params::DeployParams;
use reports::{Outgoing, Said};

/// Installations of one device at the same time.
const JOBS: usize = 8;
/// Wishes of installations that wait for their device.
const EVENTS: usize = 16;

/// What a device knows of deployments.
pub(super) struct Deploys {
    pub(super) reports: Reports,
    installed: Packages,
    /// Only while there is something to do: most devices have nothing most of the time.
    running: Option<Box<Running>>,
    /// The device restarts: its socket is gone.
    restarts: bool,
    /// When it looks for an update of the agent next.
    next_update: Option<Instant>,
}

struct Running {
    sender: mpsc::Sender<Event>,
    receiver: mpsc::Receiver<Event>,
    /// Ended with their device.
    tasks: JoinSet<()>,
    count: usize,
}

impl Deploys {
    pub(super) fn new(installed: Packages, next_update: Option<Instant>) -> Self {
        Self { reports: Reports::default(), installed, running: None, restarts: false, next_update }
    }

    /// The next wish of an installation; never, without one.
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

    /// When there is something to do by itself.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.next_update
    }

    /// Whether the device has restarted since it was asked last.
    pub(super) fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.restarts)
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

    fn one_ended(&mut self) {
        if let Some(running) = &mut self.running {
            running.count = running.count.saturating_sub(1);
            if running.count == 0 {
                self.running = None;
            }
        }
    }
}

impl Agent {
    /// The heartbeat of this moment.
    pub(super) fn heartbeat(&self, device_time: DateTime<Utc>) -> Heartbeat {
        let mut heartbeat = model::heartbeat(&self.profile, &self.state, &self.identity.alias, device_time, self.queue.len());
        for (package, version) in &self.deploys.installed {
            if *package == self.fleet.settings.deploy.agent_package {
                heartbeat.app_version = Some(version.version_name.clone());
                heartbeat.agent_version_code = Some(Int(version.version_code));
            }
            let told = AppVersion {
                installed: Some(true),
                version_name: Some(version.version_name.clone()),
                version_code: Some(Int(version.version_code)),
            };
            heartbeat.app_versions.get_or_insert_default().insert(package.clone(), Some(told));
        }
        heartbeat
    }

    /// Begins what takes a while; false when it is no such command.
    pub(super) fn begin(&mut self, command: &Command) -> bool {
        let begun = match command.action.as_str() {
            "deploy_apk" => self.begin_deployment(command),
            "update" => self.begin_update(Some(command)),
            _ => return false,
        };
        match begun {
            Ok(()) => self.say_received(command),
            Err(code) => self.conclude(command, ("failed", Some(code), None)),
        }
        true
    }

    fn begin_deployment(&mut self, command: &Command) -> Result<(), &'static str> {
        let params = DeployParams::read(&command.params).ok_or("bad_params")?;
        let apk = &params.apk;
        let settings = &self.fleet.settings;
        let attempt = params.attempt.unwrap_or(1);
        let fate = Fate::draw(&settings.deploy, settings.seed, self.identity.number, &apk.package, apk.version_code, attempt);
        let installed = self.deploys.installed.get(&apk.package).map(|version| version.version_code);
        let (fleet, device_id, condition) = (Arc::clone(&self.fleet), self.device_id().to_owned(), Condition::of(&self.state));
        let command = Box::new(command.clone());
        let begun = self.deploys.spawn(|events| async move {
            let job = Job { fleet, device_id, params, fate, condition, installed, events };
            let last_word = Box::pin(job.run()).await;
            // Nobody hears it when the device has ended.
            let _ = job.events.send(Event::Ended { command: Some(command), last_word }).await;
        });
        if begun { Ok(()) } else { Err("busy") }
    }

    /// Looks for an update of the agent when its time has come.
    pub(super) fn update_due(&mut self, at: Instant) {
        let Some(every) = self.fleet.settings.deploy.update_interval else { return };
        if self.deploys.next_update.is_some_and(|due| due <= at) {
            self.deploys.next_update = Some(at + every.max(Duration::from_millis(100)));
            // Too busy: the next look is soon enough.
            let _ = self.begin_update(None);
        }
    }

    fn begin_update(&mut self, command: Option<&Command>) -> Result<(), &'static str> {
        let package = self.fleet.settings.deploy.agent_package.clone();
        let current = self.deploys.installed.get(&package).map_or(self.profile.agent_version_code, |version| version.version_code);
        let job = update::Look {
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
        let begun = self.deploys.spawn(|events| async move {
            let last_word = Box::pin(job.run(&events)).await;
            let _ = events.send(Event::Ended { command, last_word }).await;
        });
        if begun { Ok(()) } else { Err("busy") }
    }

    /// Does what an installation wants.
    pub(super) fn grant(&mut self, event: Event) {
        match event {
            Event::Tell { deployment_id, report, tell } => {
                let id = self.take_id();
                self.deploys.reports.push(Outgoing { id, deployment_id, report, in_flight_since: None, tell });
            }
            Event::Look(tell) => drop(tell.send(Condition::of(&self.state))),
            Event::Installed { package, version } => {
                if self.fleet.installed.keep(self.device_id(), &package, &version).is_err() {
                    self.fleet.stats.error("installed_not_written");
                }
                self.deploys.installed.insert(package, version);
            }
            Event::Rebooted => {
                model::reboot(&mut self.state, &mut self.rng);
                self.deploys.restarts = true;
                let away = Duration::from_millis(self.rng.random_range(1_000..3_000));
                self.block_for(away);
            }
            Event::Note(step) => self.note_step(Instant::now(), &step, None),
            Event::Ended { command, last_word } => {
                self.deploys.one_ended();
                match (command, last_word) {
                    (Some(command), Some(word)) => self.conclude(&command, word),
                    (Some(command), None) => self.journal_done(&command.request_id),
                    (None, _) => {}
                }
            }
        }
    }

    fn note_step(&self, sent: Instant, step: &Step, status: Option<u16>) {
        self.note(sent, |recorder, exchange| recorder.deployment(exchange, step, status));
    }

    /// The server has acknowledged a report; false when this id is none of a report.
    pub(super) fn report_acknowledged(&mut self, id: u64) -> bool {
        let Some(outgoing) = self.deploys.reports.take(id) else { return false };
        self.answered_well();
        self.report_answered(outgoing, 200);
        true
    }

    /// A report was not taken: for now, or for good; `None` when this id is none of a report.
    pub(super) fn report_refused(&mut self, id: u64, status: u16, retry_after: Option<Duration>) -> Option<Result<(), Ending>> {
        self.deploys.reports.get(id)?;
        self.deploys.reports.land(Some(id));
        self.fleet.stats.error(&format!("deployment_status_{status}"));
        match status {
            401 => return Some(self.unauthorized()),
            410 => return Some(Err(Ending::Deleted)),
            408 | 425 | 429 | 500..=599 => self.block(retry_after),
            _ => {
                if let Some(outgoing) = self.deploys.reports.take(id) {
                    self.report_answered(outgoing, status);
                }
            }
        }
        Some(Ok(()))
    }

    fn report_answered(&self, outgoing: Outgoing, status: u16) {
        let Outgoing { deployment_id, report, in_flight_since, tell, .. } = outgoing;
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
        self.note_step(in_flight_since.unwrap_or_else(Instant::now), &step, Some(status));
        // It may have ended meanwhile.
        let _ = tell.send(if status == 200 { Said::Acknowledged } else { Said::Refused(status) });
    }
}
