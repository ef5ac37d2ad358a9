//! `ctl storage` and `ctl partitions`: what history takes, and the life of its days.

use std::time::Duration;

use anyhow::Context;
use chrono::NaiveDate;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::Ctl;
use super::output::{self, Column};

/// How often the progress of work is asked for.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Subcommands for days of heartbeats.
#[derive(Subcommand)]
pub(super) enum PartitionCommand {
    /// List days, newest first
    List {
        /// Only days in these states, comma-separated: open, settled, archived, verified, dropped, restoring, restored, lost
        #[arg(long)]
        state: Option<String>,
        /// Maximum days; 0: all
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show a day: its archive, what is due, and what comes next
    Show {
        /// Day, UTC
        day: NaiveDate,
    },
    /// Do everything that is due now
    Run {
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// Wait for the end, with progress on standard error
        #[arg(long)]
        wait: bool,
    },
    /// Archive a day
    Archive(Day),
    /// Read the archive of a day back and compare it
    Verify(Day),
    /// Bring an archived day back into the database
    Restore(Day),
    /// Drop the table of a restored day before its time
    Forget(Day),
}

/// A day to work on.
#[derive(clap::Args)]
pub(super) struct Day {
    /// Day, UTC
    day: NaiveDate,
    /// Wait for the end, with progress on standard error
    #[arg(long)]
    wait: bool,
}

const STORAGE: &[Column] = &[
    ("Database bytes", "/sizes/database_bytes"),
    ("Heartbeats bytes", "/sizes/heartbeats_bytes"),
    ("Heartbeats rows", "/sizes/heartbeats_rows"),
    ("Bytes per heartbeat", "/sizes/bytes_per_heartbeat"),
    ("Archive bytes", "/sizes/archive_bytes"),
    ("Archive rows", "/sizes/archive_rows"),
    ("Bytes per archived", "/sizes/bytes_per_archived_heartbeat"),
    ("Kept days", "/heartbeats_kept_days"),
    ("Archive", "/archive_url"),
    ("Archive problem", "/archive_problem"),
    ("Disk free bytes", "/disk/free_bytes"),
    ("Growth bytes a day", "/growth/bytes_per_day"),
    ("Forecast", "/forecast/kind"),
    ("Disk full at", "/forecast/full_at"),
    ("Last run", "/manager/last_run_at"),
    ("Next run", "/manager/next_run_at"),
    ("Last error", "/manager/last_error"),
    ("Newest backup", "/backup/finished_at"),
    ("Next backup", "/next_backup_at"),
];

const DAYS: &[Column] = &[
    ("DAY", "/day"),
    ("STATE", "/state"),
    ("ROWS", "/rows"),
    ("BYTES", "/bytes"),
    ("ARCHIVE ROWS", "/archive/rows"),
    ("ARCHIVE BYTES", "/archive/bytes"),
    ("VERIFIED", "/verified_at"),
    ("LAST ERROR", "/last_error"),
];

const ONE_DAY: &[Column] = &[
    ("Day", "/day"),
    ("State", "/state"),
    ("Rows", "/rows"),
    ("Bytes", "/bytes"),
    ("Archive", "/archive/url"),
    ("Archive rows", "/archive/rows"),
    ("Archive bytes", "/archive/bytes"),
    ("SHA-256", "/archive/sha256"),
    ("Rows SHA-256", "/archive/rows_sha256"),
    ("Archived", "/archived_at"),
    ("Verified", "/verified_at"),
    ("Dropped", "/dropped_at"),
    ("Restored", "/restored_at"),
    ("Kept until", "/restored_until"),
    ("Last error", "/last_error"),
    ("Then", "/then"),
];

const STEPS: &[Column] = &[("DAY", "/day"), ("STEP", "/action"), ("CAUSE", "/cause")];

/// `ctl storage`.
pub(super) async fn show(ctl: &mut Ctl) -> anyhow::Result<()> {
    let storage = ctl.api.get("/v1/storage", &[]).await?;
    output::one(ctl.format, &storage, STORAGE)
}

/// `ctl partitions ...`.
pub(super) async fn run(ctl: &mut Ctl, command: PartitionCommand) -> anyhow::Result<()> {
    match command {
        PartitionCommand::List { state, limit } => {
            let query: Vec<_> = state.into_iter().map(|state| ("state", state)).collect();
            let days = ctl.api.list("/v1/partitions", &query, limit).await?;
            output::rows(ctl.format, &days, DAYS)
        }
        PartitionCommand::Show { day } => {
            let details = ctl.api.get(&format!("/v1/partitions/{day}"), &[]).await?;
            output::one(ctl.format, &details, ONE_DAY)
        }
        PartitionCommand::Run { dry_run, wait } => {
            let answer = ctl.api.call(Method::POST, "/v1/partitions/run", Some(&json!({ "dry_run": dry_run }))).await?;
            match dry_run {
                true => output::rows(ctl.format, &steps(&answer["plan"]), STEPS),
                false => started(ctl, &answer["work"], wait).await,
            }
        }
        PartitionCommand::Archive(day) => start(ctl, day, "archive").await,
        PartitionCommand::Verify(day) => start(ctl, day, "verify").await,
        PartitionCommand::Restore(day) => start(ctl, day, "restore").await,
        PartitionCommand::Forget(day) => start(ctl, day, "forget").await,
    }
}

/// The steps of a plan, each with its day.
fn steps(plan: &Value) -> Vec<Value> {
    let mut steps = Vec::new();
    for day in plan.as_array().into_iter().flatten() {
        steps.extend(day["steps"].as_array().into_iter().flatten().map(|step| {
            let mut step = step.clone();
            step["day"] = day["day"].clone();
            step
        }));
    }
    steps
}

async fn start(ctl: &mut Ctl, Day { day, wait }: Day, what: &str) -> anyhow::Result<()> {
    let work = ctl.api.call(Method::POST, &format!("/v1/partitions/{day}/{what}"), None).await?;
    started(ctl, &work, wait).await
}

/// Says that work was started or, with `wait`, follows it to its end; work without success is a failure.
async fn started(ctl: &mut Ctl, work: &Value, wait: bool) -> anyhow::Result<()> {
    if !wait {
        return output::done(ctl.format, work, "Started; `nexmdm ctl partitions list` and the storage page show how far it is.");
    }
    let id = work["id"].as_str().context("the server did not say which work it started")?;
    let mut last = String::new();
    loop {
        let work = ctl.api.get(&format!("/v1/partition-work/{id}"), &[]).await?;
        let progress = progress(&work);
        if progress != last {
            eprintln!("{progress}");
            last = progress;
        }
        match work["state"].as_str() {
            Some("running") => tokio::time::sleep(POLL_INTERVAL).await,
            Some("succeeded") => return output::done(ctl.format, &work, work["summary"].as_str().unwrap_or("Done.")),
            _ => anyhow::bail!("{}", work["summary"].as_str().unwrap_or("it did not succeed")),
        }
    }
}

/// How far work is, in a line.
fn progress(work: &Value) -> String {
    let step = work["step"].as_str().unwrap_or_default();
    match (work["done"].as_i64(), work["total"].as_i64()) {
        (Some(done), Some(total)) if total > 0 => format!("{step}: {done} of {total} rows ({} %)", done.clamp(0, total) * 100 / total),
        (Some(done), _) if done > 0 => format!("{step}: {done} rows"),
        _ => step.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_its_day() {
        let plan =
            json!([{"day": "2026-09-01", "steps": [{"action": "archive"}, {"action": "verify"}]}, {"day": "2026-09-02", "steps": []}]);
        let shown = steps(&plan);
        assert_eq!(shown, [json!({"action": "archive", "day": "2026-09-01"}), json!({"action": "verify", "day": "2026-09-01"})]);
    }

    #[test]
    fn progress_is_a_share_once_the_whole_is_known() {
        assert_eq!(progress(&json!({"step": "Archiving", "done": 250, "total": 1000})), "Archiving: 250 of 1000 rows (25 %)");
        assert_eq!(progress(&json!({"step": "Archiving", "done": 250, "total": null})), "Archiving: 250 rows");
        assert_eq!(progress(&json!({"step": "Beginning", "done": 0, "total": null})), "Beginning");
    }
}
