//! Drill: no space is left where archives are written, then where PostgreSQL writes: nothing acknowledged is lost, and service resumes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use super::HistoryDrillArgs;
use super::drill::{DONE_WITHIN, Drill, PAST_DAYS};
use crate::harness::{SmallDisk, TempDir};
use crate::oracle::Verdict;

/// Size of the disk of PostgreSQL: its tables, and some segments of its log.
const DATABASE_BYTES: u64 = 400 << 20;
/// Size of the disk of archives.
const ARCHIVE_BYTES: u64 = 64 << 20;
/// Time within which heartbeats are refused once there is no space.
const REFUSED_WITHIN: Duration = Duration::from_secs(240);
/// Rounds of heartbeats without space, once one was refused.
const REFUSED_ROUNDS: usize = 5;
/// Time within which every device is acknowledged once there is space again.
const RESUMED_WITHIN: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// Runs the drill.
pub(super) async fn run(args: &HistoryDrillArgs) -> Result<(String, Verdict)> {
    let parent = args.work_dir.clone().unwrap_or_else(std::env::temp_dir);
    // Dropped last: disks are unmounted before their folder is removed, and after the cluster has ended.
    let folder = TempDir::below(&parent, "disk-full")?;
    let cluster_dir = folder.path().join("cluster");
    let database = SmallDisk::mount(&cluster_dir.join("database"), DATABASE_BYTES)?;
    let archives = SmallDisk::mount(&folder.path().join("archives"), ARCHIVE_BYTES)?;
    let place = archives.path().display().to_string();
    let env = [("NEXMDM__ARCHIVE__URL".to_owned(), format!("{place}/store"))];
    let mut drill = Drill::begin(args, &env, Some(cluster_dir)).await?;
    let outcome = Box::pin(disturbed(&mut drill, &database, &archives)).await;
    if !matches!(&outcome, Ok((_, verdict)) if verdict.violations() == 0) {
        for member in drill.cluster.members() {
            println!("end of the log of {}:\n{}", member.name(), end_of(&member.node().log()));
        }
    }
    drop(drill);
    outcome
}

async fn disturbed(drill: &mut Drill, database: &SmallDisk, archives: &SmallDisk) -> Result<(String, Verdict)> {
    let filled = drill.fill().await?;
    let today = drill.day(PAST_DAYS - 2);

    archives.fill()?;
    let finished = drill.partitions.run_alone(today).await?;
    let said = finished.said().lines().last().unwrap_or_default().to_owned();
    ensure!(!finished.status.success(), "a run succeeded without space for archives: {}", finished.said());
    ensure!(drill.partitions.expired_tables(today).await? > 0, "a table was dropped without space for its archive");
    archives.free()?;
    drill.partitions.until_done(today, DONE_WITHIN).await.context("there is space for archives again")?;

    let taken = database.fill()?;
    let refused = until_refused(drill).await?;
    database.free()?;
    let resumed = until_resumed(drill).await?;
    drill.partitions.until_done(drill.today, DONE_WITHIN).await.context("there is space for PostgreSQL again")?;
    let verdict = drill.verdict(&archives.path().join("store")).await?;
    let shown = format!(
        "{} heartbeats of {PAST_DAYS} past days; without space for archives: {said}; without the last {} MiB of PostgreSQL's disk {refused} heartbeats \
         were answered 503; {:.1} s after there was space again every device was acknowledged",
        filled.acknowledged,
        taken >> 20,
        resumed.as_secs_f64()
    );
    Ok((shown, verdict))
}

/// Reports until heartbeats are refused, and some rounds more; the number of refusals.
async fn until_refused(drill: &mut Drill) -> Result<usize> {
    let deadline = Instant::now() + REFUSED_WITHIN;
    let (mut refused, mut rounds) = (0, 0);
    while rounds < REFUSED_ROUNDS {
        ensure!(Instant::now() < deadline, "no heartbeat is refused within {REFUSED_WITHIN:?} without space");
        let statuses = drill.devices.report_now().await?;
        let other = statuses.iter().flatten().find(|status| ![200, 503].contains(*status));
        ensure!(other.is_none(), "without space a heartbeat was answered {other:?}");
        let now = statuses.iter().filter(|status| **status == Some(503)).count();
        (refused, rounds) = (refused + now, rounds + usize::from(now > 0));
        sleep(POLL_INTERVAL).await;
    }
    Ok(refused)
}

/// Reports until every device is acknowledged; how long that took.
async fn until_resumed(drill: &mut Drill) -> Result<Duration> {
    let (started, mut restarted) = (Instant::now(), false);
    loop {
        let statuses = drill.devices.report_now().await?;
        if statuses.iter().all(|status| *status == Some(200)) {
            return Ok(started.elapsed());
        }
        // A server that could not even end its recovery is started again, as whoever runs it would.
        if !restarted && started.elapsed() > RESUMED_WITHIN / 4 && drill.cluster.psql().run("SELECT 1", &[]).await.is_err() {
            restarted = true;
            // It may have ended by itself.
            let _ = drill.cluster.stop_database().await;
            drill.cluster.start_database().await?;
        }
        ensure!(started.elapsed() < RESUMED_WITHIN, "service does not resume within {RESUMED_WITHIN:?}: {statuses:?}");
        sleep(POLL_INTERVAL).await;
    }
}

fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
