//! Midnights of a soak: devices report of one day after the other, and with each midnight a run as of the next day archives and drops, killed
//! at many moments.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{Days, NaiveDate};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::now;
use crate::harness::Cluster;
use crate::history::{Partitions, PastDevices};
use crate::signals::{Stop, stopped};

/// Days kept by the runs: a day is dropped on the second midnight after its end.
const KEPT_DAYS: u64 = 1;
/// Midnights whose days a server still takes heartbeats of.
pub(super) const MIDNIGHTS_MAX: u64 = 6;
/// Devices that report of days gone by.
const DEVICES: usize = 20;
/// Heartbeats of each of them in one report.
const HEARTBEATS: usize = 12;
/// Pause between two reports of a day.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Kills of a run at each midnight.
const KILLS: usize = 4;
/// Life of a run that is killed, ms.
const LIVES_MS: std::ops::Range<u64> = 20..400;
/// One of so many reports is of a day before.
const LATE_SHARE: f64 = 0.25;
/// Time limit of the last run, when all faults are healed.
const DONE_WITHIN: Duration = Duration::from_secs(300);

/// Running midnights of a soak.
pub(super) struct SoakMidnights {
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<Midnights>>,
}

/// What the oracle needs to know of them.
pub(super) struct FinishedMidnights {
    /// Record of what was acknowledged.
    pub(super) record: PathBuf,
    /// What was not done in the end.
    pub(super) left: Option<String>,
    /// Description.
    pub(super) summary: String,
}

/// The work.
struct Midnights {
    devices: PastDevices,
    partitions: Partitions,
    rng: SmallRng,
    /// The day before the first midnight.
    first: NaiveDate,
    count: u64,
    every: Duration,
    passed: u64,
    acknowledged: usize,
    given_up: usize,
    killed: usize,
}

impl SoakMidnights {
    /// Enrolls the devices, and begins; the midnights are spread over `length`, the last of them is that before the real today.
    pub(super) async fn start(cluster: &Cluster, count: u64, length: Duration, seed: u64) -> Result<Self> {
        let servers = cluster.members().iter().map(|member| member.url()).collect();
        let record = cluster.folder().join("past.jsonl");
        let devices =
            PastDevices::enroll(servers, cluster.admin_password(), DEVICES, seed, &record).await.context("devices of days gone by")?;
        let midnights = Midnights {
            devices,
            partitions: Partitions::of(cluster, KEPT_DAYS)?,
            rng: SmallRng::seed_from_u64(seed ^ 0x3a1d),
            first: now().date_naive() - Days::new(count),
            count,
            every: length / u32::try_from(count + 1)?,
            passed: 0,
            acknowledged: 0,
            given_up: 0,
            killed: 0,
        };
        let (stop, stopping) = watch::channel(false);
        Ok(Self { stop, running: tokio::spawn(Box::pin(midnights.run(stopping))) })
    }

    /// Passes the midnights that are left, and lets a last run do what is due.
    pub(super) async fn finish(self) -> Result<FinishedMidnights> {
        self.stop.send_replace(true);
        let mut midnights = self.running.await.context("the midnights")??;
        while midnights.passed < midnights.count {
            midnights.pass().await?;
        }
        let done = midnights.partitions.until_done(midnights.today(), DONE_WITHIN).await;
        let left = match done {
            Err(error) => Some(format!("{error:#}")),
            Ok(()) => {
                let verified = midnights.partitions.verify(None).await?;
                (!verified.status.success()).then(|| format!("partitions verify: {}", verified.said()))
            }
        };
        let Midnights { passed, acknowledged, given_up, killed, .. } = midnights;
        let summary = format!("{passed} midnights, {acknowledged} heartbeats of days gone by ({given_up} given up), {killed} runs killed");
        Ok(FinishedMidnights { record: midnights.devices.record().to_owned(), left, summary })
    }
}

impl Midnights {
    fn today(&self) -> NaiveDate {
        self.first + Days::new(self.passed)
    }

    async fn run(mut self, mut stop: Stop) -> Result<Self> {
        let began = Instant::now();
        while self.passed < self.count {
            let midnight = began + self.every * u32::try_from(self.passed + 1)?;
            while Instant::now() < midnight && !*stop.borrow() {
                self.report().await?;
                let pause = midnight.min(Instant::now() + REPORT_EVERY);
                tokio::select! {
                    () = stopped(&mut stop) => {}
                    () = sleep_until(pause) => {}
                }
            }
            if *stop.borrow() {
                break;
            }
            self.pass().await?;
        }
        while !*stop.borrow() {
            self.report().await?;
            tokio::select! {
                () = stopped(&mut stop) => {}
                () = sleep(REPORT_EVERY) => {}
            }
        }
        Ok(self)
    }

    /// Reports of the day, or of one before.
    async fn report(&mut self) -> Result<()> {
        let days_ago = if self.passed > 0 && self.rng.random_bool(LATE_SHARE) { self.rng.random_range(1..=self.passed) } else { 0 };
        let reported = self.devices.report(self.today() - Days::new(days_ago), HEARTBEATS, &mut self.rng).await?;
        self.acknowledged += reported.acknowledged;
        self.given_up += reported.given_up;
        Ok(())
    }

    /// Passes a midnight, with runs that are killed.
    async fn pass(&mut self) -> Result<()> {
        self.passed += 1;
        println!("midnight {} of {}: it is {}", self.passed, self.count, self.today());
        for _ in 0..KILLS {
            let lives = Duration::from_millis(self.rng.random_range(LIVES_MS));
            self.killed += usize::from(self.partitions.run_killed(self.today(), lives).await?);
            self.report().await?;
        }
        // One that nobody kills, whatever becomes of it: the database may be away just now.
        self.partitions.run(self.today()).await.map(drop)
    }
}
