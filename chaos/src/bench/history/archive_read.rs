//! Figure: 30 days of one device out of archives.

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::setup::HistoryEnvironment;
use crate::bench::BenchArgs;
use crate::bench::figure::{Figure, Limit, Value};
use crate::client::Client;
use crate::measure::Latencies;

/// Days that are read.
const DAYS: u64 = 30;
/// The newest of them, days ago: older than what is kept.
const NEWEST: u64 = 2;
/// Rows of a device and day: one every 5 minutes.
const PER_DEVICE: u64 = 288;
/// Last column of a row that was read from an archive.
const FROM_ARCHIVE: &str = ",archive";
/// Calls, each for another device, after the first one.
const CALLS: usize = 20;

/// Figure: the first call after a start, and those after it.
pub(in crate::bench) async fn archive_read(args: &BenchArgs) -> Result<Figure> {
    let rows_a_day = args.rows() / DAYS;
    let devices = (rows_a_day / PER_DEVICE).clamp(20, 100_000);
    let env = [("NEXMDM__HISTORY__HEARTBEATS_KEPT_DAYS", "1")];
    let mut history = HistoryEnvironment::build(args, &env).await?;
    history.database.seed(usize::try_from(devices)?).await?;
    let mut rows = 0;
    for days_ago in (NEWEST..NEWEST + DAYS).rev() {
        rows += history.fill(history.day(days_ago), devices, PER_DEVICE).await?;
    }
    let started = Instant::now();
    history.partitions.until_done(history.today, std::time::Duration::from_secs(1_800)).await?;
    let archived_s = started.elapsed().as_secs_f64();
    let node = history.environment.cluster.members()[0].name().to_owned();
    history.environment.cluster.node_mut(&node)?.restart().await?;

    let client = Client::new(&history.environment.cluster.members()[0].url())?;
    let token = client.access_token("admin", history.environment.cluster.admin_password()).await?;
    let ids = history
        .database
        .one(&format!("SELECT device_id FROM device WHERE alias LIKE 'seeded-%' ORDER BY device_id LIMIT {}", CALLS + 1))
        .await?;
    let (from, to) = (history.day(NEWEST + DAYS - 1), history.day(NEWEST - 1));
    let (mut first_ms, mut latencies, mut archived) = (0.0, Latencies::default(), 0);
    for (number, id) in ids.lines().enumerate() {
        let path = format!("/v1/devices/{id}/heartbeats.csv?from={from}T00:00:00Z&to={to}T00:00:00Z");
        let called = Instant::now();
        let answer = client.get(&path, Some(&token)).await?;
        let took = called.elapsed();
        ensure!(answer.status == 200, "GET {path} answered {}: {}", answer.status, answer.detail());
        if number == 0 {
            first_ms = took.as_secs_f64() * 1_000.0;
        } else {
            latencies.record(took);
        }
        archived = String::from_utf8_lossy(&answer.body).lines().filter(|line| line.ends_with(FROM_ARCHIVE)).count();
        ensure!(archived > 0, "no heartbeat of {DAYS} archived days is in the export of {id}");
    }
    let after = latencies.percentiles();
    let (archived_rows, bytes) = history.archived(history.day(NEWEST)).await?;
    Ok(Figure {
        name: "archive_read",
        how: format!(
            "one node; {DAYS} days of {devices} devices with a heartbeat every 5 minutes, {rows} rows, archived and dropped in {archived_s:.0} s; \
             `GET /v1/devices/{{id}}/heartbeats.csv` over all of them, {CALLS} devices one after the other; {:.1} bytes a row",
            bytes / archived_rows
        ),
        values: vec![
            Value::new("first call after a start", first_ms, "ms").limit(Limit::Below(2_000.0)),
            Value::new("then, p50", after.p50_ms, "ms"),
            Value::new("then, max", after.max_ms, "ms").limit(Limit::Below(2_000.0)),
            Value::new("archived rows in the last answer", archived as f64, "").limit(Limit::AtLeast((DAYS * PER_DEVICE) as f64)),
        ],
        notes: Vec::new(),
    })
}
