//! Fleets of simulated devices that come and go as a whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::fleet::{self, FleetArgs, Summary};
use crate::harness::{Cluster, Psql};

/// Time limit of enrollment and first heartbeats.
const HEARD_WITHIN: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Parser)]
struct FleetCommandLine {
    #[command(flatten)]
    args: FleetArgs,
}

/// Running fleet.
struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Summary>>,
}

/// Fleets by name; they end when dropped.
pub(crate) struct Fleets {
    servers: String,
    enroll_with: String,
    folder: PathBuf,
    seed: u64,
    running: BTreeMap<String, Running>,
    records: Vec<PathBuf>,
}

impl Drop for Fleets {
    fn drop(&mut self) {
        for running in self.running.values() {
            running.stop.send_replace(true);
        }
    }
}

impl Fleets {
    pub(crate) fn of(cluster: &Cluster, folder: &Path, seed: u64) -> Self {
        let servers: Vec<String> = cluster.members().iter().map(|member| member.url()).collect();
        let enroll_with = format!("admin:{}", cluster.admin_password());
        Self { servers: servers.join(","), enroll_with, folder: folder.to_owned(), seed, running: BTreeMap::new(), records: Vec::new() }
    }

    /// Starts a fleet; its devices are those of its last run.
    pub(crate) fn start(&mut self, name: &str, devices: usize, more: &[&str]) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        // Each run has a record of its own.
        let record = self.folder.join(format!("{name}-{}.jsonl", self.records.len() + 1));
        let words = [
            ("--server", self.servers.clone()),
            ("--devices", devices.to_string()),
            ("--interval", "10s".into()),
            ("--transport", "mix".into()),
            ("--state-dir", self.state_dir(name).display().to_string()),
            ("--record", record.display().to_string()),
            ("--enroll-with", self.enroll_with.clone()),
            ("--alias-prefix", name.to_owned()),
            ("--groups", name.to_owned()),
            ("--tags", name.to_owned()),
            ("--seed", self.seed.to_string()),
            ("--timeout", "5s".into()),
            ("--retry-min", "300ms".into()),
            ("--retry-max", "2s".into()),
            ("--outages-per-hour", "0".into()),
            ("--clock-off-share", "0".into()),
            ("--ramp-seconds", "1".into()),
        ];
        let words = words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        let all = ["fleet".to_owned(), "--sessions-first".into()].into_iter().chain(words);
        let mut all: Vec<String> = all.collect();
        // What is given twice counts as it is given last.
        for pair in more.chunks(2) {
            if let ([_, value], Some(place)) = (pair, pair.first().and_then(|name| all.iter().position(|word| word == name))) {
                (*value).clone_into(&mut all[place + 1]);
            } else {
                all.extend(pair.iter().map(|word| (*word).to_owned()));
            }
        }
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(Box::pin(fleet::run(FleetCommandLine::try_parse_from(all)?.args, stopped)));
        self.records.push(record);
        self.running.insert(name.to_owned(), Running { stop, task });
        Ok(())
    }

    /// Ends a fleet: its devices fall silent.
    pub(crate) async fn stop(&mut self, name: &str) -> Result<Summary> {
        let running = self.running.remove(name).with_context(|| format!("there is no fleet {name}"))?;
        running.stop.send_replace(true);
        running.task.await.context("the fleet has failed")?
    }

    /// Records of all runs, for the oracle.
    pub(crate) fn records(&self) -> &[PathBuf] {
        &self.records
    }

    /// State folder of a fleet.
    pub(crate) fn state_dir(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Ends all fleets.
    pub(crate) async fn stop_all(&mut self) -> Result<()> {
        let names: Vec<String> = self.running.keys().cloned().collect();
        for name in names {
            self.stop(&name).await?;
        }
        Ok(())
    }

    /// Waits until every device of a fleet was heard since a moment, by the database's clock.
    pub(crate) async fn until_heard(&self, psql: &Psql, name: &str, devices: usize, since: &str) -> Result<()> {
        let deadline = Instant::now() + HEARD_WITHIN;
        let sql = format!(
            "SELECT count(*) FROM device d JOIN device_last_status s USING (device_id)
              WHERE d.alias LIKE '{name}-%' AND d.deleted_at IS NULL AND s.last_seen_at >= '{since}'::timestamptz"
        );
        loop {
            let heard: usize = psql.run(&sql, &[]).await?.trim().parse()?;
            if heard >= devices {
                return Ok(());
            }
            let ended = self.running.get(name).is_none_or(|running| running.task.is_finished());
            ensure!(!ended, "the fleet {name} has ended early");
            ensure!(Instant::now() < deadline, "only {heard} of {devices} devices of {name} are heard");
            sleep(POLL_INTERVAL).await;
        }
    }
}
