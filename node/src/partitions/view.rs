//! What the commands print: JSON for scripts, tables for people.

use std::collections::{BTreeMap, BTreeSet};

use actors::partition::{PartitionError, RunReport};
use chrono::NaiveDate;
use domain::Timestamp;
use domain::partition::{ArchiveRecord, DayPlan, PartitionRecord};
use domain::quantity;
use serde::Serialize;

use crate::cli::Output;

/// A day.
#[derive(Debug, Serialize)]
pub(super) struct DayView {
    pub(super) day: NaiveDate,
    state: &'static str,
    has_table: bool,
    is_attached: bool,
    rows: Option<u64>,
    table_bytes: Option<u64>,
    archive: Option<ArchiveView>,
    archived_at: Option<Timestamp>,
    verified_at: Option<Timestamp>,
    dropped_at: Option<Timestamp>,
    restored_at: Option<Timestamp>,
    restored_until: Option<Timestamp>,
    last_error: Option<String>,
    attempts: u32,
    steps: Vec<StepView>,
    then: Option<String>,
}

#[derive(Debug, Serialize)]
struct ArchiveView {
    url: String,
    sha256: String,
    rows_sha256: String,
    rows: u64,
    bytes: u64,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    schema_version: u32,
}

impl From<ArchiveRecord> for ArchiveView {
    fn from(archive: ArchiveRecord) -> Self {
        let ArchiveRecord { url, sha256, rows_sha256, rows, bytes, first_at, last_at, schema_version } = archive;
        Self { url, sha256, rows_sha256, rows, bytes, first_at, last_at, schema_version }
    }
}

/// A step that is due.
#[derive(Debug, Serialize)]
struct StepView {
    action: &'static str,
    why: String,
}

/// The days of a plan, of the records and of the tables, oldest first.
pub(super) fn day_views(plans: &[DayPlan], records: &[PartitionRecord], tables: &[actors::partition::PartitionTable]) -> Vec<DayView> {
    let plan_of: BTreeMap<_, _> = plans.iter().map(|plan| (plan.day, plan)).collect();
    let record_of: BTreeMap<_, _> = records.iter().map(|record| (record.day, record)).collect();
    let table_of: BTreeMap<_, _> = tables.iter().map(|table| (table.day, table)).collect();
    let days: BTreeSet<NaiveDate> = plan_of.keys().chain(record_of.keys()).chain(table_of.keys()).copied().collect();
    let view = |day: NaiveDate| {
        let (plan, record, table) = (plan_of.get(&day), record_of.get(&day).copied(), table_of.get(&day));
        DayView {
            day,
            state: record.map_or(if table.is_some() { "open" } else { "missing" }, |record| record.state.as_str()),
            has_table: table.is_some(),
            is_attached: table.is_some_and(|table| table.is_attached),
            rows: table.and_then(|table| table.rows).or_else(|| record.and_then(|record| record.rows)),
            table_bytes: table.map(|table| table.bytes),
            archive: record.and_then(|record| record.archive.clone()).map(ArchiveView::from),
            archived_at: record.and_then(|record| record.archived_at),
            verified_at: record.and_then(|record| record.verified_at),
            dropped_at: record.and_then(|record| record.dropped_at),
            restored_at: record.and_then(|record| record.restored_at),
            restored_until: record.and_then(|record| record.restored_until),
            last_error: record.and_then(|record| record.last_error.clone()),
            attempts: record.map_or(0, |record| record.attempts),
            steps: plan.map_or_else(Vec::new, |plan| steps_of(plan)),
            then: plan.and_then(|plan| plan.then.as_ref()).map(ToString::to_string),
        }
    };
    days.into_iter().map(view).collect()
}

fn steps_of(plan: &DayPlan) -> Vec<StepView> {
    plan.steps.iter().map(|step| StepView { action: step.action.as_str(), why: step.cause.to_string() }).collect()
}

/// A run: done, or what one would do.
#[derive(Debug, Serialize)]
pub(super) struct RunView {
    today: NaiveDate,
    dry_run: bool,
    is_cut_short: bool,
    planned: Vec<PlannedView>,
    done: Vec<DoneView>,
    failed: Vec<FailedView>,
}

#[derive(Debug, Serialize)]
struct PlannedView {
    day: NaiveDate,
    steps: Vec<StepView>,
    then: Option<String>,
}

#[derive(Debug, Serialize)]
struct DoneView {
    day: NaiveDate,
    action: &'static str,
    rows: u64,
    bytes: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct FailedView {
    day: NaiveDate,
    action: &'static str,
    error: String,
}

impl RunView {
    pub(super) fn planned(now: Timestamp, plans: &[DayPlan]) -> Self {
        let due = plans.iter().filter(|plan| !plan.steps.is_empty());
        let planned =
            due.map(|plan| PlannedView { day: plan.day, steps: steps_of(plan), then: plan.then.as_ref().map(ToString::to_string) });
        Self { planned: planned.collect(), dry_run: true, ..Self::of(now, &RunReport::default()) }
    }

    pub(super) fn of(now: Timestamp, report: &RunReport) -> Self {
        let done = report.done.iter().map(|done| DoneView {
            day: done.day,
            action: done.action.as_str(),
            rows: done.rows,
            bytes: done.bytes,
            seconds: done.seconds,
        });
        let failed =
            report.failed.iter().map(|failed| FailedView { day: failed.day, action: failed.action.as_str(), error: failed.error.clone() });
        Self {
            today: now.date_naive(),
            dry_run: false,
            is_cut_short: report.is_cut_short,
            planned: Vec::new(),
            done: done.collect(),
            failed: failed.collect(),
        }
    }
}

/// An archive that was read back.
#[derive(Debug, Serialize)]
pub(super) struct VerifiedView {
    day: NaiveDate,
    is_intact: bool,
    rows: Option<u64>,
    bytes: Option<u64>,
    sha256: Option<String>,
    error: Option<String>,
}

impl VerifiedView {
    pub(super) fn intact(record: PartitionRecord) -> Self {
        let archive = record.archive;
        Self {
            day: record.day,
            is_intact: true,
            rows: archive.as_ref().map(|archive| archive.rows),
            bytes: archive.as_ref().map(|archive| archive.bytes),
            sha256: archive.map(|archive| archive.sha256),
            error: None,
        }
    }

    pub(super) fn damaged(day: NaiveDate, error: &PartitionError) -> Self {
        Self { day, is_intact: false, rows: None, bytes: None, sha256: None, error: Some(error.to_string()) }
    }
}

pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

pub(super) fn print_days(days: &[DayView]) -> anyhow::Result<()> {
    println!("{:<10}  {:<9}  {:>12}  {:>9}  {:>9}  NEXT", "DAY", "STATE", "ROWS", "TABLE", "ARCHIVE");
    for view in days {
        let rows = view.rows.or_else(|| view.archive.as_ref().map(|archive| archive.rows));
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), quantity::bytes);
        let next = match (view.steps.as_slice(), &view.then) {
            ([], then) => then.clone().unwrap_or_default(),
            (steps, _) => steps.iter().map(|step| step.action).collect::<Vec<_>>().join(", "),
        };
        println!(
            "{:<10}  {:<9}  {:>12}  {:>9}  {:>9}  {next}",
            view.day,
            view.state,
            rows.map_or_else(|| "-".to_owned(), |rows| rows.to_string()),
            size(view.table_bytes),
            size(view.archive.as_ref().map(|archive| archive.bytes))
        );
        if let Some(error) = &view.last_error {
            println!("            failed {} times, last: {error}", view.attempts);
        }
    }
    Ok(())
}

pub(super) fn print_run(view: &RunView, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return print_json(view);
    }
    for planned in &view.planned {
        for step in &planned.steps {
            println!("{} {:<9} {}", planned.day, step.action, step.why);
        }
    }
    for done in &view.done {
        let rows = quantity::count(done.rows, "row", "rows");
        println!("{} {:<9} {rows}, {}, {:.1} s", done.day, done.action, quantity::bytes(done.bytes), done.seconds);
    }
    for failed in &view.failed {
        println!("{} {:<9} failed: {}", failed.day, failed.action, failed.error);
    }
    if view.planned.is_empty() && view.done.is_empty() && view.failed.is_empty() {
        println!("Nothing is due as of {}.", view.today);
    }
    Ok(())
}

pub(super) fn print_verified(views: &[VerifiedView]) {
    for view in views {
        match (&view.error, view.rows) {
            (Some(error), _) => println!("{} damaged: {error}", view.day),
            (None, rows) => println!("{} intact, {}", view.day, quantity::count(rows.unwrap_or_default(), "row", "rows")),
        }
    }
    if views.is_empty() {
        println!("No archive is recorded.");
    }
}
