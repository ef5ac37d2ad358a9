//! Drill: a run that archives and drops is killed at many moments, a node beside it as well, and two runs are at work at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::RngExt;
use tokio::time::sleep;

use super::HistoryDrillArgs;
use super::drill::{DONE_WITHIN, Drill, PAST_DAYS};
use crate::faults::Fault;
use crate::oracle::Verdict;

/// Life of a run that is killed, ms: about as long as one takes that nothing disturbs.
const LIVES_MS: std::ops::Range<u64> = 5..160;
/// Points at which a debug build ends itself when told to, in the order in which a day passes them; others go on.
const POINTS: [&str; 7] =
    ["archive_written", "archive_recorded", "verify_read", "verify_recorded", "drop_detached", "drop_compared", "drop_done"];
/// How long a killed node stays away.
const AWAY: Duration = Duration::from_secs(6);

/// Runs the drill.
pub(super) async fn run(args: &HistoryDrillArgs) -> Result<(String, Verdict)> {
    let mut drill = Drill::begin(args, &[], None).await?;
    let outcome = Box::pin(disturbed(args, &mut drill)).await;
    drill.keep_unless_kept(&outcome);
    outcome
}

async fn disturbed(args: &HistoryDrillArgs, drill: &mut Drill) -> Result<(String, Verdict)> {
    let filled = drill.fill().await?;
    // Each step once, with certainty; then at any moment.
    let mut at_points = 0_usize;
    for point in POINTS {
        at_points += usize::from(!drill.partitions.run_until(drill.day(PAST_DAYS - 2), point).await?.status.success());
    }
    let (mut killed, mut ended, mut late) = (0_usize, 0_usize, 0_usize);
    for number in 0..args.kills {
        // One more midnight every few kills, so that each of them finds work.
        let today = drill.day((PAST_DAYS - 2).saturating_sub((number * 5 / args.kills.max(1)) as u64));
        let lives = Duration::from_millis(drill.rng.random_range(LIVES_MS));
        match drill.partitions.run_killed(today, lives).await? {
            true => killed += 1,
            false => ended += 1,
        }
        if number % 4 == 1 {
            // Late heartbeats, also of days that are dropped by now, or about to be.
            let days_ago = drill.rng.random_range(2..=PAST_DAYS);
            late += drill.report(days_ago).await?.acknowledged;
        }
        if number == args.kills / 2 && args.nodes > 1 {
            let node = drill.cluster.members()[0].name().to_owned();
            let fault = drill.faults.inject(&mut drill.cluster, Fault::Kill { node }).await?;
            sleep(AWAY).await;
            drill.faults.heal(&mut drill.cluster, fault).await?;
        }
    }
    ensure!(args.kills == 0 || killed > 0, "every run ended before it could be killed: give more devices or heartbeats");
    // Two at once: one may say that the other is at work.
    let today = drill.today;
    let (first, second) = tokio::join!(drill.partitions.run(today), drill.partitions.run(today));
    let well = [first?, second?].iter().filter(|finished| finished.status.success()).count();
    ensure!(well > 0, "of two runs at once none succeeded");
    drill.partitions.until_done(today, DONE_WITHIN).await?;
    let verified = drill.partitions.verify(None).await?;
    ensure!(verified.status.success(), "verify: {}", verified.said());
    let verdict = drill.verdict(&drill.archive_dir()).await?;
    let shown = format!(
        "{} heartbeats of {PAST_DAYS} past days and {late} late ones; {at_points} runs that ended themselves at {} points, {killed} killed, {ended} ended before; of two runs at once {well} succeeded",
        filled.acknowledged,
        POINTS.len()
    );
    Ok((shown, verdict))
}
