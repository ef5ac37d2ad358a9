//! What drills of history have in common: a cluster, devices that report of days gone by, and the verdict.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{Days, NaiveDate};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::HistoryDrillArgs;
use super::partitions::Partitions;
use super::past::{PastDevices, Reported};
use super::planted::planted;
use crate::clock::now;
use crate::faults::Faults;
use crate::harness::{Cluster, ClusterOptions, nexmdm_path};
use crate::oracle::{self, History, Verdict};

/// Settings that make hashes cheap, as their cost is not under test.
const CHEAP: [(&str, &str); 2] = [("NEXMDM__AUTH__PASSWORD_BCRYPT_COST", "4"), ("NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST", "4")];
/// Days kept by the runs of drills.
pub(super) const KEPT_DAYS: u64 = 1;
/// Days gone by of which devices report; an older heartbeat counts as of today.
pub(super) const PAST_DAYS: u64 = 6;
/// Time limit of a run that nothing disturbs.
pub(super) const DONE_WITHIN: Duration = Duration::from_secs(180);

/// A drill under way.
pub(super) struct Drill {
    pub(super) cluster: Cluster,
    pub(super) faults: Faults,
    pub(super) devices: PastDevices,
    pub(super) partitions: Partitions,
    pub(super) rng: SmallRng,
    /// The real day on which the drill began.
    pub(super) today: NaiveDate,
    per_day: usize,
}

impl Drill {
    /// Starts a cluster and enrolls devices; `env` are further settings, `data_dir` is a folder for the cluster instead of a temporary one.
    pub(super) async fn begin(args: &HistoryDrillArgs, env: &[(String, String)], data_dir: Option<PathBuf>) -> Result<Self> {
        let mut options = ClusterOptions::new(args.nexmdm.clone().map_or_else(nexmdm_path, Ok)?, args.nodes);
        options.parent_dir.clone_from(&args.work_dir);
        options.data_dir = data_dir;
        for (name, value) in CHEAP {
            options = options.env(name, value);
        }
        options.env.extend(env.iter().cloned());
        let cluster = Cluster::start(options).await?;
        let servers = cluster.members().iter().map(|member| member.url()).collect();
        let record = cluster.folder().join("past.jsonl");
        let devices = PastDevices::enroll(servers, cluster.admin_password(), args.devices, args.seed, &record).await?;
        let partitions = Partitions::of(&cluster, KEPT_DAYS)?;
        let rng = SmallRng::seed_from_u64(args.seed);
        Ok(Self { cluster, faults: Faults::new(), devices, partitions, rng, today: now().date_naive(), per_day: args.per_day })
    }

    /// Day so many days ago.
    pub(super) fn day(&self, days_ago: u64) -> NaiveDate {
        self.today - Days::new(days_ago)
    }

    /// Fills the days gone by, oldest first.
    pub(super) async fn fill(&mut self) -> Result<Reported> {
        let mut all = Reported::default();
        for days_ago in (1..=PAST_DAYS).rev() {
            let reported = self.report(days_ago).await?;
            all.acknowledged += reported.acknowledged;
            all.given_up += reported.given_up;
        }
        Ok(all)
    }

    /// Reports of one day.
    pub(super) async fn report(&mut self, days_ago: u64) -> Result<Reported> {
        let day = self.day(days_ago);
        self.devices.report(day, self.per_day, &mut self.rng).await
    }

    /// What is known in the end, with archives read from `archive_dir`.
    pub(super) async fn history(&self, archive_dir: &Path) -> Result<History> {
        let mut history = History::default();
        history.read_record(self.devices.record())?;
        history.add_faults(self.faults.spans());
        oracle::read_rows(&mut history, &self.cluster.psql()).await?;
        oracle::read_archives(&mut history, &self.cluster.psql(), archive_dir).await?;
        Ok(history)
    }

    /// The verdict over the archives in `archive_dir`; a judge that does not see what is planted is an error.
    pub(super) async fn verdict(&self, archive_dir: &Path) -> Result<Verdict> {
        let mut history = self.history(archive_dir).await?;
        let wanted = ["P1", "P8"];
        let mut verdict = oracle::judge(&history);
        verdict.checks.retain(|check| wanted.contains(&check.promise));
        if verdict.violations() == 0 {
            let note = planted(&mut history)?;
            verdict.checks.last_mut().context("P8 was not judged")?.notes.push(note);
        }
        Ok(verdict)
    }

    /// Leaves the folder behind after a failure, and says where it is.
    pub(super) fn keep_unless_kept(&mut self, outcome: &Result<(String, Verdict)>) {
        if !matches!(outcome, Ok((_, verdict)) if verdict.violations() == 0) {
            println!("logs, record, archives and database stay in {}", self.cluster.folder().display());
            self.cluster.keep_folder();
        }
    }

    /// Folder of the archives of the cluster.
    pub(super) fn archive_dir(&self) -> PathBuf {
        self.cluster.archive_dir()
    }
}
