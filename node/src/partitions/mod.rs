//! `nexmdm partitions ...`: the partition manager from a terminal, also beside a running node. Whoever works holds the manager's lock.

mod export;
mod view;
mod watch;

use std::time::Duration;

use actors::partition::{Manager, ManagerSettings, RunReport};
use anyhow::bail;
use archive::Archives;
use chrono::{NaiveDate, NaiveTime};
use domain::Timestamp;
use domain::pace::Pace;

use crate::cli::{Output, PartitionsCommand};
use crate::config::Config;
use crate::database::Database;
use view::{RunView, day_views, print_days, print_json, print_run};
use watch::Terminal;

/// Longest time of a command. A process that ends lets its lock go.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Rows that one statement reads at full speed, at least.
const FULL_SPEED_ROWS: usize = 8192;

/// Runs a subcommand.
///
/// # Errors
/// The database or the store of archives is unavailable, what was asked for is refused, or something that is due failed.
pub(crate) async fn run(config: Config, command: PartitionsCommand) -> anyhow::Result<()> {
    let database = Database::open_existing(&config).await?;
    let result = over(&config, &database, command).await;
    database.close().await?;
    result
}

async fn over(config: &Config, database: &Database, command: PartitionsCommand) -> anyhow::Result<()> {
    let settings = config.settings().runtime;
    let archives = Archives::open(settings.archive.clone())?;
    let mut settings = ManagerSettings { lock_max: LONGEST, ..settings.partition_manager() };
    if matches!(command, PartitionsCommand::Run { full_speed: true, .. }) {
        (settings.pace, settings.chunk_rows) = (Pace::FULL_SPEED, settings.chunk_rows.max(FULL_SPEED_ROWS));
    }
    let manager = Manager::new(database.store.clone(), archives, settings, None);
    let now = database.clock().await?.now();
    let terminal = Terminal::new();
    match command {
        PartitionsCommand::List { output } => {
            let days = day_views(&manager.plan(now).await?, &manager.records().await?, &manager.tables().await?);
            match output {
                Output::Json => print_json(&days),
                Output::Table => print_days(&days),
            }
        }
        PartitionsCommand::Run { dry_run, today, force, full_speed: _, output } => {
            let now = match today {
                None => now,
                Some(today) => {
                    if !force && !dry_run {
                        refuse_live_nodes(database).await?;
                    }
                    noon(today)
                }
            };
            if dry_run {
                let view = RunView::planned(now, &manager.plan(now).await?);
                return print_run(&view, output);
            }
            let report = manager.run(now, &terminal).await;
            terminal.end();
            let report = report?;
            print_run(&RunView::of(now, &report), output)?;
            outcome(&report)
        }
        PartitionsCommand::Archive { day, output } => {
            let archived = manager.archive(day, now, &terminal).await;
            terminal.end();
            shown(&manager, archived?.day, now, output).await
        }
        PartitionsCommand::Verify { day, output } => verify(&manager, day, now, output, &terminal).await,
        PartitionsCommand::Restore { day, output } => {
            let restored = manager.restore(day, now, &terminal).await;
            terminal.end();
            shown(&manager, restored?.day, now, output).await
        }
        PartitionsCommand::Forget { day, output } => {
            let forgotten = manager.forget(day, now, &terminal).await;
            terminal.end();
            shown(&manager, forgotten?.day, now, output).await
        }
        PartitionsCommand::Export { day, devices, output } => export::export(manager.archives(), day, &devices, output).await,
    }
}

/// The time as of which `--today` plans: every earlier day has settled.
fn noon(day: NaiveDate) -> Timestamp {
    (day.and_time(NaiveTime::MIN) + chrono::TimeDelta::hours(12)).and_utc()
}

/// Live nodes go by another day, and would undo it or be misled.
async fn refuse_live_nodes(database: &Database) -> anyhow::Result<()> {
    let nodes = database.store.cluster_nodes().await?;
    let live: Vec<_> = nodes.iter().filter(|node| node.state.is_live() && node.lease_left_ms > 0).map(|node| node.name.as_str()).collect();
    if !live.is_empty() {
        bail!("--today: {} runs with this database and goes by today's date; stop it, or give --force", live.join(", "));
    }
    Ok(())
}

fn outcome(report: &RunReport) -> anyhow::Result<()> {
    match (report.failed.first(), report.failed.len()) {
        (None, _) if report.is_cut_short => bail!("there was no time for everything that is due: run it again"),
        (None, _) => Ok(()),
        (Some(failed), 1) => bail!("{} {}: {}", failed.action.as_str(), failed.day, failed.error),
        (Some(failed), days) => bail!("{days} days failed, the first one: {} {}: {}", failed.action.as_str(), failed.day, failed.error),
    }
}

/// Prints one day.
async fn shown(manager: &Manager, day: NaiveDate, now: Timestamp, output: Output) -> anyhow::Result<()> {
    let days = day_views(&manager.plan(now).await?, &manager.records().await?, &manager.tables().await?);
    let day: Vec<_> = days.into_iter().filter(|view| view.day == day).collect();
    match output {
        Output::Json => day.first().map_or(Ok(()), print_json),
        Output::Table => print_days(&day),
    }
}

/// Verifies one day, or every day that has an archive: all of them are read, whatever is wrong with one.
async fn verify(manager: &Manager, day: Option<NaiveDate>, now: Timestamp, output: Output, terminal: &Terminal) -> anyhow::Result<()> {
    let days = match day {
        Some(day) => vec![day],
        None => manager.records().await?.into_iter().filter(|record| record.archive.is_some()).map(|record| record.day).collect(),
    };
    let (mut verified, mut damaged) = (Vec::new(), Vec::new());
    for day in days {
        match manager.verify(day, now, terminal).await {
            Ok(record) => verified.push(view::VerifiedView::intact(record)),
            Err(error) if error.is_damage() => {
                damaged.push(error.to_string());
                verified.push(view::VerifiedView::damaged(day, &error));
            }
            Err(error) => {
                terminal.end();
                return Err(error.into());
            }
        }
    }
    terminal.end();
    match output {
        Output::Json => print_json(&verified)?,
        Output::Table => view::print_verified(&verified),
    }
    match damaged.as_slice() {
        [] => Ok(()),
        [one] => bail!("{one}"),
        [first, ..] => bail!("{} archives are damaged, the first one: {first}", damaged.len()),
    }
}
