//! Figure: a day is archived and read back while a fleet reports.

use anyhow::Result;

use super::setup::{BUCKETS, Beside, HistoryEnvironment};
use crate::bench::BenchArgs;
use crate::bench::figure::{Figure, Limit, Value};
use crate::clock::now;

const MIB: f64 = 1_048_576.0;

/// Figure: rows a second, memory, bytes a row, and heartbeats meanwhile.
pub(in crate::bench) async fn archive(args: &BenchArgs) -> Result<Figure> {
    let devices = if args.quick { 200 } else { 2_000 };
    let history = HistoryEnvironment::build(args, &[]).await?;
    history.database.seed(devices).await?;
    let day = history.day(2);
    let per_device = args.rows().div_ceil(devices as u64).clamp(1, BUCKETS);
    let rows = history.fill(day, devices as u64, per_device).await?;
    let idle = history.partitions.console().must(&["partitions", "list"]).await?.resident_bytes as f64;
    let fleet = history.fleet(devices).await?;

    let began_us = now().timestamp_micros();
    let archived = history.partitions.archive(day).await?;
    let ended_us = now().timestamp_micros();
    let (summary, record) = fleet.end().await?;
    let beside = Beside::of(&record, began_us, ended_us);
    let (archived_rows, bytes) = history.archived(day).await?;
    let (most, took_s) = (archived.resident_bytes as f64, archived.took.as_secs_f64());
    let [before, meanwhile, ratio] = beside.values();
    Ok(Figure {
        name: "archive",
        how: format!(
            "one node, {devices} devices on sockets with heartbeats every 10 s; a day of {rows} rows is archived and read back by \
             `nexmdm partitions archive` beside the node"
        ),
        values: vec![
            Value::new("archived and verified", took_s, "s"),
            Value::new("rows archived and verified", archived_rows / took_s, "/s"),
            Value::new("memory of the process, most", most / MIB, "MiB"),
            Value::new("more than of one that lists", (most - idle) / MIB, "MiB").limit(Limit::Below(256.0)),
            Value::new("archived, a row", bytes / archived_rows, "bytes").limit(Limit::Below(12.0)),
            before,
            meanwhile,
            ratio,
            Value::new("rows not archived", rows as f64 - archived_rows, "").limit(Limit::Zero),
            Value::new("errors", summary.errors.total() as f64, "").limit(Limit::Zero),
        ],
        notes: vec![beside.note(), format!("errors: {}", summary.errors)],
    })
}
