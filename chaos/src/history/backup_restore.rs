//! Drill: a backup while devices report and nodes are killed, and a node that is restored from it into new folders and a new database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use super::HistoryDrillArgs;
use super::drill::{DONE_WITHIN, Drill, PAST_DAYS};
use crate::clock::now;
use crate::faults::Fault;
use crate::harness::{Console, DatabaseServer, Node, NodeOptions, nexmdm_path};
use crate::oracle::{self, Check, RestoredFacts, Verdict};

/// Variable of the passphrase.
const PASSPHRASE: &str = "NEXMDM_BACKUP_PASSPHRASE";
/// Rounds of heartbeats before and after the backup.
const ROUNDS: usize = 3;
/// Pause between two of them.
const ROUND_EVERY: Duration = Duration::from_millis(500);
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
    // Some days are in archives alone, which the backup has to hold as well.
    let today = drill.today;
    drill.partitions.until_done(today, DONE_WITHIN).await?;
    reports(drill).await?;

    let file = drill.cluster.folder().join("nexmdm.backup");
    let console = drill.cluster.console()?.env(PASSPHRASE, passphrase(args.seed));
    let began_us = now().timestamp_micros();
    let (created, meanwhile) = tokio::join!(create(&console, &file)?.finish(), disturb(args, drill));
    let created = created?;
    meanwhile?;
    ensure!(created.status.success(), "backup create: {}", created.said());
    let path = file.display().to_string();
    console.must(&["backup", "verify", &path]).await.context("the backup cannot be verified")?;

    // A backup that is killed half-way leaves nothing under its name.
    let cut = drill.cluster.folder().join("cut.backup");
    let killed = create(&console, &cut)?.kill9_after(Duration::from_millis(30)).await?;
    ensure!(!killed || !cut.exists(), "a backup that was killed left {}", cut.display());

    let restored = Restored::start(args, &file, drill.cluster.folder()).await?;
    let history = drill.history(&drill.archive_dir()).await?;
    let mut facts = RestoredFacts::new(&history, began_us);
    facts.answers.extend(drill.devices.knock(&restored.node.url()).await?);
    oracle::read_rows(&mut facts.rows, &restored.database.psql()).await?;
    oracle::read_archives(&mut facts.rows, &restored.database.psql(), &restored.archive_dir).await?;
    let mut check = oracle::check_restored(&history, &facts);
    if check.violations.is_empty() {
        check.notes.push(planted(&history, &mut facts)?);
    }
    let mut verdict = drill.verdict(&drill.archive_dir()).await?;
    verdict.add(check);
    let shown = format!(
        "{} heartbeats of {PAST_DAYS} past days; a backup of {} KiB in {:.1} s while serving; {} answers of the restored node",
        filled.acknowledged,
        std::fs::metadata(&file)?.len() >> 10,
        created.took.as_secs_f64(),
        facts.answers.len()
    );
    Ok((shown, verdict))
}

/// Devices report, and a node is killed.
async fn disturb(args: &HistoryDrillArgs, drill: &mut Drill) -> Result<()> {
    if args.nodes > 1 {
        let node = drill.cluster.members()[args.nodes - 1].name().to_owned();
        let fault = drill.faults.inject(&mut drill.cluster, Fault::Kill { node }).await?;
        reports(drill).await?;
        sleep(AWAY).await;
        drill.faults.heal(&mut drill.cluster, fault).await?;
    }
    reports(drill).await
}

fn create(console: &Console, file: &Path) -> Result<crate::harness::RunningCommand> {
    console.start(&["backup", "create", &file.display().to_string()])
}

/// Passphrase of a backup that nobody keeps.
fn passphrase(seed: u64) -> String {
    format!("correct horse battery staple {seed}")
}

/// Some rounds of heartbeats of now, whatever comes of each.
async fn reports(drill: &mut Drill) -> Result<()> {
    for _ in 0..ROUNDS {
        drill.devices.report_now().await?;
        sleep(ROUND_EVERY).await;
    }
    Ok(())
}

/// A node that was restored from a backup. The node is dropped before its database.
struct Restored {
    node: Node,
    database: DatabaseServer,
    archive_dir: PathBuf,
}

impl Restored {
    /// Restores into a new database and new folders below `parent`, and starts a node there; its keys are those of the backup.
    async fn start(args: &HistoryDrillArgs, file: &Path, parent: &Path) -> Result<Self> {
        let binary = args.nexmdm.clone().map_or_else(nexmdm_path, Ok)?;
        let folder = parent.join("restored");
        let database = DatabaseServer::start(&binary, &folder.join("database"), &[]).await?;
        let data_dir = folder.join("node").join("data");
        std::fs::create_dir_all(&data_dir)?;
        let archive_dir = data_dir.join("archive");
        let env = [
            ("DATABASE_URL", database.url().to_owned()),
            ("NEXMDM__DATA_DIR", data_dir.display().to_string()),
            (PASSPHRASE, passphrase(args.seed)),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value));
        let console = Console::new(&binary, &folder, env.into());
        console.must(&["backup", "restore", &file.display().to_string()]).await.context("the backup cannot be restored")?;
        let mut options = NodeOptions::new(&binary).database_url(database.url());
        options.kept_dir = Some(folder.join("node"));
        let node = Node::start(options).await.context("the restored node")?;
        Ok(Self { node, database, archive_dir })
    }
}

/// Plants a loss, a duplicate and a refused token into the facts of a restore that kept the promise.
fn planted(history: &oracle::History, facts: &mut RestoredFacts) -> Result<String> {
    let broken = |facts: &RestoredFacts| -> usize {
        let Check { violations, .. } = oracle::check_restored(history, facts);
        violations.len()
    };
    let acknowledged = |bucket: &&(u32, i64)| {
        let before = |ack: &&oracle::Ack| ack.answered_us < facts.began_us && (ack.device, ack.bucket_s) == (bucket.0, Some(bucket.1));
        !facts.rows.archives.heartbeats.contains_key(*bucket) && history.acks.iter().any(|ack| before(&ack))
    };
    let bucket = *facts.rows.stored.heartbeats.keys().find(acknowledged).context("no acknowledged row was restored")?;
    facts.rows.stored.heartbeats.remove(&bucket);
    let loss = broken(facts);
    facts.rows.stored.heartbeats.insert(bucket, 2);
    let duplicate = broken(facts);
    facts.rows.stored.heartbeats.insert(bucket, 1);
    let device = facts.answers.keys().next().context("no device was answered")?.clone();
    facts.answers.insert(device.clone(), 401);
    let refused = broken(facts);
    facts.answers.insert(device, 200);
    for (what, seen) in [("loss", loss), ("duplicate", duplicate), ("refused token", refused)] {
        ensure!(seen > 0, "the judge does not see a planted {what}");
    }
    Ok(format!("planted in this record: a loss is {loss}, a duplicate {duplicate}, a refused token {refused} violations"))
}
