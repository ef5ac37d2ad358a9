//! Figure: an archived day is dropped while a fleet reports.

use anyhow::{Result, ensure};

use super::setup::{BUCKETS, Beside, HistoryEnvironment};
use crate::bench::BenchArgs;
use crate::bench::figure::{Figure, Limit, Value};
use crate::clock::now;

/// Figure: the longest wait of a heartbeat while the table of a day is detached, compared with its archive and dropped.
pub(in crate::bench) async fn drop_table(args: &BenchArgs) -> Result<Figure> {
    let devices = if args.quick { 200 } else { 2_000 };
    let history = HistoryEnvironment::build(args, &[]).await?;
    history.database.seed(devices).await?;
    let day = history.day(2);
    let per_device = (args.rows() / 5).div_ceil(devices as u64).clamp(1, BUCKETS);
    let rows = history.fill(day, devices as u64, per_device).await?;
    history.partitions.archive(day).await?;
    let fleet = history.fleet(devices).await?;

    let before = history.partitions.expired_tables(history.today).await?;
    let began_us = now().timestamp_micros();
    let finished = history.partitions.run_alone(history.today).await?;
    let ended_us = now().timestamp_micros();
    ensure!(finished.status.success(), "partitions run: {}", finished.said());
    let after = history.partitions.expired_tables(history.today).await?;
    let (summary, record) = fleet.end().await?;
    let beside = Beside::of(&record, began_us, ended_us);
    Ok(Figure {
        name: "drop",
        how: format!(
            "one node, {devices} devices on sockets with heartbeats every 10 s; {before} tables of expired days, of which one has {rows} rows, are dropped \
             by `nexmdm partitions run` in {:.1} s",
            finished.took.as_secs_f64()
        ),
        values: vec![
            Value::new("heartbeats before, longest", beside.before.max_ms, "ms"),
            Value::new("heartbeats meanwhile, longest", beside.meanwhile.max_ms, "ms").limit(Limit::Below(100.0)),
            Value::new("heartbeats before, p99", beside.before.p99_ms, "ms"),
            Value::new("heartbeats meanwhile, p99", beside.meanwhile.p99_ms, "ms"),
            Value::new("tables dropped", (before - after.min(before)) as f64, ""),
            Value::new("tables of expired days left", after as f64, "").limit(Limit::Zero),
            Value::new("errors", summary.errors.total() as f64, "").limit(Limit::Zero),
        ],
        notes: vec![beside.note(), format!("errors: {}", summary.errors)],
    })
}
