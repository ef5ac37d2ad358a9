//! Drill: the archives are in an object store that fails in every way; nothing is dropped that is not in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::HistoryDrillArgs;
use super::drill::{DONE_WITHIN, Drill, PAST_DAYS};
use crate::archives::file_of;
use crate::oracle::Verdict;
use crate::s3::{FakeS3, StoreMode};

/// Where the archives are in the store.
const PLACE: &str = "bucket/nexmdm";
/// Time that the store has for a piece, ms: a store that is slow or gone is given up soon.
const TIMEOUT_MS: &str = "3000";
/// Modes in which no archive can be written and read back.
const MODES: [(&str, StoreMode); 5] = [
    ("full", StoreMode::Full),
    ("read-only", StoreMode::ReadOnly),
    ("slow", StoreMode::Slow { delay_ms: 30_000 }),
    ("gone", StoreMode::Gone),
    ("truncating", StoreMode::Truncating),
];

/// Runs the drill.
pub(super) async fn run(args: &HistoryDrillArgs) -> Result<(String, Verdict)> {
    let store = FakeS3::start().await?;
    let mut env = store.env();
    env.push(("NEXMDM__ARCHIVE__URL".into(), format!("s3://{PLACE}")));
    env.push(("NEXMDM__ARCHIVE__TIMEOUT_MS".into(), TIMEOUT_MS.into()));
    let mut drill = Drill::begin(args, &env, None).await?;
    let outcome = Box::pin(disturbed(&mut drill, &store)).await;
    drill.keep_unless_kept(&outcome);
    outcome
}

async fn disturbed(drill: &mut Drill, store: &FakeS3) -> Result<(String, Verdict)> {
    let filled = drill.fill().await?;
    let (oldest, today) = (drill.day(PAST_DAYS), drill.day(PAST_DAYS - 2));
    let mut shown = vec![format!("{} heartbeats of {PAST_DAYS} past days", filled.acknowledged)];
    for (name, mode) in MODES {
        store.set_mode(mode, None);
        shown.push(format!("{name}: {}", refused(drill, today).await.with_context(|| format!("the store is {name}"))?));
        store.set_mode(StoreMode::Work, None);
    }
    drill.partitions.until_done(today, DONE_WITHIN).await.context("the store works again")?;

    // Late heartbeats make a new version of the archive, and the store goes on answering the old one.
    let late = drill.report(PAST_DAYS).await?;
    ensure!(late.acknowledged > 0, "no late heartbeat was acknowledged");
    store.set_mode(StoreMode::Older, None);
    shown.push(format!("older version: {}", refused(drill, today).await.context("the store answers an older version")?));
    store.set_mode(StoreMode::Work, None);
    drill.partitions.until_done(drill.today, DONE_WITHIN).await?;

    let name = file_of(Path::new(PLACE), oldest).display().to_string();
    let middle = store.object(&name).with_context(|| format!("there is no {name}"))?.len() / 2;
    store.flip_byte(&name, middle)?;
    let verified = drill.partitions.verify(Some(oldest)).await?;
    let said = verified.said();
    ensure!(!verified.status.success() && said.contains(&format!("{oldest}.parquet")), "an altered byte is not named: {said}");
    shown.push(format!("altered byte: {}", last_line(&said)));
    store.flip_byte(&name, middle)?;
    let verified = drill.partitions.verify(None).await?;
    ensure!(verified.status.success(), "verify: {}", verified.said());
    ensure!(store.unfinished_uploads() == 0, "{} uploads were left unfinished", store.unfinished_uploads());

    let verdict = drill.verdict(&fetched(drill.cluster.folder(), store)?).await?;
    Ok((shown.join("; "), verdict))
}

/// One run that must fail and drop nothing; what it said.
async fn refused(drill: &Drill, today: chrono::NaiveDate) -> Result<String> {
    let before = drill.partitions.expired_tables(today).await?;
    let finished = drill.partitions.run_alone(today).await?;
    let after = drill.partitions.expired_tables(today).await?;
    ensure!(!finished.status.success(), "a run succeeded: {}", finished.said());
    ensure!(before.max(1) == after, "{before} tables of expired days before a run, {after} after it");
    Ok(last_line(&finished.said()))
}

/// The last line with a reason.
fn last_line(text: &str) -> String {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing said").trim().to_owned()
}

/// The archives of a store as files in a folder.
fn fetched(folder: &Path, store: &FakeS3) -> Result<PathBuf> {
    let folder = folder.join("fetched");
    for name in store.names() {
        let Some(key) = name.strip_prefix(PLACE) else { continue };
        let path = folder.join(key.trim_start_matches('/'));
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, store.object(&name).unwrap_or_default())?;
    }
    Ok(folder)
}
