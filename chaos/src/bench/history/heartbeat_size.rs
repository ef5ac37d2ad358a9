//! Figure: the size of a stored heartbeat, in the database and in an archive.

use anyhow::Result;

use super::setup::{BUCKETS, HistoryEnvironment};
use crate::bench::BenchArgs;
use crate::bench::figure::{Figure, Limit, Value};

/// Figure: bytes a heartbeat, indexes included.
pub(in crate::bench) async fn heartbeat_size(args: &BenchArgs) -> Result<Figure> {
    let devices = if args.quick { 200 } else { 2_000 };
    let history = HistoryEnvironment::build(args, &[]).await?;
    history.database.seed(devices).await?;
    let day = history.day(2);
    let per_device = (args.rows() / 5).div_ceil(devices as u64).clamp(1, BUCKETS);
    let rows = history.fill(day, devices as u64, per_device).await? as f64;
    let table = format!("heartbeats_p{}", day.format("%Y%m%d"));
    let size = async |function: &str, table: &str| -> Result<f64> {
        Ok(history.database.one(&format!("SELECT {function}('{table}'::regclass)")).await?.parse()?)
    };
    let (whole, indexes) = (size("pg_total_relation_size", &table).await?, size("pg_indexes_size", &table).await?);
    let sessions = size("pg_total_relation_size", "heartbeat_session").await?;
    let status = size("pg_total_relation_size", "device_last_status").await?;
    history.partitions.archive(day).await?;
    let (archived_rows, archived_bytes) = history.archived(day).await?;
    Ok(Figure {
        name: "bytes of a heartbeat",
        how: format!(
            "a day of {rows} rows of {devices} devices, {per_device} of each, written in the order of their times; its table and its sessions, then its archive"
        ),
        values: vec![
            Value::new("in the database, indexes included", (whole + sessions) / rows, "bytes").limit(Limit::Below(120.0)),
            Value::new("of it indexes", indexes / rows, "bytes"),
            Value::new("last status, a device", status / devices as f64, "bytes"),
            Value::new("in the archive", archived_bytes / archived_rows, "bytes").limit(Limit::Below(12.0)),
        ],
        notes: vec![
            "the rows are made by SQL, narrow as nodes write them: readings of which some change all the time and others hardly ever"
                .into(),
        ],
    })
}
