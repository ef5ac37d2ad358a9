//! Alerts of a soak: channels, devices that fall silent and return, and sinks that fail for a while.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::alerts::{AlertTimes, Fleets, SINKS, Sinks, until_settled};
use crate::deployment_api::Api;
use crate::harness::{Cluster, Psql};
use crate::oracle::AlertFacts;
use crate::signals::{Stop, stopped};
use crate::sink::SinkMode;

/// Name of the devices that fall silent and return.
const COMING: &str = "coming";
/// One of so many devices is one of them.
const COMING_SHARE: usize = 20;
/// How long they stay, and are silent, s: around the limit.
const STAYS_S: std::ops::Range<u64> = 20..60;
const SILENT_S: std::ops::Range<u64> = 15..80;
/// How long a sink fails, s; short, as each failure doubles the wait for the next attempt.
const FAILS_S: std::ops::Range<u64> = 2..9;
/// How long sinks work in between, s.
const WORKS_S: std::ops::Range<u64> = 10..40;
/// Time within which everything has to be settled when all is healed.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// Running alerts of a soak.
pub(super) struct SoakAlerts {
    stop: watch::Sender<bool>,
    devices: JoinHandle<Result<Fleets>>,
    sinks: RunningSinks,
    psql: Psql,
}

/// Sinks of a soak.
enum RunningSinks {
    /// They fail for a while at random.
    Failing(JoinHandle<Sinks>),
    /// They fail when they are made to.
    Steady(Sinks),
}

/// What the oracle needs to know of them.
#[derive(Default)]
pub(super) struct FinishedAlerts {
    /// Facts about alerts.
    pub(super) facts: AlertFacts,
    /// What has not settled.
    pub(super) left: Option<String>,
    /// Records of the devices that came and went.
    pub(super) records: Vec<PathBuf>,
    /// Their state folder.
    pub(super) state_dir: Option<PathBuf>,
}

impl SoakAlerts {
    /// Makes the channels, and begins.
    pub(super) async fn start(cluster: &Cluster, devices: usize, seed: u64, failing_sinks: bool) -> Result<Self> {
        let api = Api::new(cluster.members().iter().map(|member| member.url()).collect(), cluster.admin_password())?;
        let sinks = Sinks::set_up(&api, cluster.services_address()).await.context("channels of alerts")?;
        let fleets = Fleets::of(cluster, &cluster.folder().join("coming"), seed);
        let (stop, stop_devices) = watch::channel(false);
        let stop_sinks = stop_devices.clone();
        Ok(Self {
            stop,
            devices: tokio::spawn(Box::pin(come_and_go(fleets, (devices / COMING_SHARE).max(5), seed, stop_devices))),
            sinks: match failing_sinks {
                true => RunningSinks::Failing(tokio::spawn(Box::pin(fail_at_times(sinks, seed, stop_sinks)))),
                false => RunningSinks::Steady(sinks),
            },
            psql: cluster.psql(),
        })
    }

    /// Sinks that fail only when they are made to.
    pub(super) fn sinks_mut(&mut self) -> Option<&mut Sinks> {
        match &mut self.sinks {
            RunningSinks::Steady(sinks) => Some(sinks),
            RunningSinks::Failing(_) => None,
        }
    }

    /// Lets everything return and work, and waits until all is settled.
    pub(super) async fn finish(self) -> Result<FinishedAlerts> {
        self.stop.send_replace(true);
        let mut fleets = self.devices.await.context("the devices that come and go")??;
        let sinks = match self.sinks {
            RunningSinks::Failing(sinks) => sinks.await.context("the sinks")?,
            RunningSinks::Steady(sinks) => sinks,
        };
        let left = until_settled(&self.psql, SETTLED_WITHIN).await?;
        fleets.stop_all().await?;
        Ok(FinishedAlerts {
            facts: sinks.facts(AlertTimes::soak()),
            left,
            records: fleets.records().to_vec(),
            state_dir: Some(fleets.state_dir(COMING)),
        })
    }
}

/// Waits; true when the end comes first.
async fn ends_within(stop: &mut Stop, seconds: u64) -> bool {
    tokio::select! {
        biased;
        () = stopped(stop) => true,
        () = sleep(Duration::from_secs(seconds)) => false,
    }
}

/// In the end the devices are there.
async fn come_and_go(mut fleets: Fleets, devices: usize, seed: u64, mut stop: Stop) -> Result<Fleets> {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0xa1e7);
    loop {
        fleets.start(COMING, devices, &["--app-crashes-per-hour", "6"])?;
        if ends_within(&mut stop, rng.random_range(STAYS_S)).await {
            return Ok(fleets);
        }
        fleets.stop(COMING).await?;
        ends_within(&mut stop, rng.random_range(SILENT_S)).await;
    }
}

/// In the end the sinks accept.
async fn fail_at_times(mut sinks: Sinks, seed: u64, mut stop: Stop) -> Sinks {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x51bc);
    while !ends_within(&mut stop, rng.random_range(WORKS_S)).await {
        let sink = SINKS[rng.random_range(0..SINKS.len())];
        let mode = match rng.random_range(0..5) {
            0 => SinkMode::Status { status: 500 },
            1 => SinkMode::TooMany { retry_after_ms: 1_500 },
            2 => SinkMode::Hang,
            3 => SinkMode::Reset,
            _ => SinkMode::Slow { delay_ms: 800 },
        };
        // Mail of this code is refused for good, which no retry mends.
        let mode = if sink == SINKS[2] && matches!(mode, SinkMode::Status { .. }) { SinkMode::TooMany { retry_after_ms: 0 } } else { mode };
        sinks.set_mode(sink, mode);
        ends_within(&mut stop, rng.random_range(FAILS_S)).await;
        sinks.set_mode(sink, SinkMode::Accept);
    }
    sinks
}
