//! Figure: the last status of a large fleet is compared with its heartbeats while a fleet reports.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use super::setup::{Beside, HistoryEnvironment};
use crate::bench::BenchArgs;
use crate::bench::figure::{Figure, Limit, Value};

/// Interval between two runs, s.
const INTERVAL_S: &str = "60";
/// Time within which a run that is to be measured has ended.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The newest run over all devices that began after a moment.
const RUN: &str = "
    SELECT (extract(epoch FROM started_at) * 1000000)::bigint || ' ' || seconds || ' ' || checked || ' ' || drifted FROM reconciliation_run
     WHERE check_name = 'last_status' AND complete AND started_at > :'since'::timestamptz ORDER BY run_id LIMIT 1";
/// Some heartbeats of each seeded device within the last day; the newest is that of its last status.
const HEARTBEATS: &str = "
    INSERT INTO heartbeats (device_id, bucket_at, received_at, device_time, clock_rejected, battery_pct, charging, battery_temperature_c, app_version,
        agent_version_code, uptime_s, ram_available_mb, ram_pressure_pct, storage_free_mb, transport, net_validated, foreground_recent_s, app_running,
        queue_depth, boot_id, seq, cpu_load_pct)
    SELECT s.device_id, s.bucket_at - k * interval '10 minutes', s.received_at - k * interval '10 minutes', s.device_time - k * interval '10 minutes',
        false, battery_pct, charging, battery_temperature_c, s.app_version, s.agent_version_code, uptime_s, ram_available_mb, ram_pressure_pct,
        storage_free_mb, transport, net_validated, foreground_recent_s, app_running, queue_depth, boot_id, seq - k, cpu_load_pct
      FROM device_last_status s JOIN device d USING (device_id) CROSS JOIN generate_series(0, 5) AS k
     WHERE d.alias LIKE 'seeded-%' ON CONFLICT DO NOTHING";

/// Figure: seconds of a run, and heartbeats meanwhile.
pub(in crate::bench) async fn reconcile(args: &BenchArgs) -> Result<Figure> {
    let (seeded, devices) = if args.quick { (5_000, 200) } else { (100_000, 2_000) };
    let mut history = HistoryEnvironment::build(args, &[("NEXMDM__RECONCILIATION__INTERVAL_SECONDS", INTERVAL_S)]).await?;
    history.database.seed(seeded).await.context("seeding devices")?;
    let psql = history.environment.cluster.psql();
    psql.run(HEARTBEATS, &[]).await.context("heartbeats of seeded devices")?;
    psql.run("ANALYZE heartbeats", &[]).await?;
    let node = history.environment.cluster.members()[0].name().to_owned();
    history.environment.cluster.node_mut(&node)?.restart().await?;
    let fleet = history.fleet(devices).await?;
    // A run that begins from now on has a while before it to be compared with.
    let since = history.database.one("SELECT statement_timestamp()").await?;
    let deadline = Instant::now() + ENDS_WITHIN;
    let run = loop {
        let run = psql.run(RUN, &[("since", &since)]).await?;
        if !run.trim().is_empty() {
            break run.trim().to_owned();
        }
        ensure!(Instant::now() < deadline, "no reconciliation of the last status ended within {ENDS_WITHIN:?}");
        sleep(LOOK_EVERY).await;
    };
    let (summary, record) = fleet.end().await?;
    let parts: Vec<f64> = run.split(' ').map(str::parse).collect::<Result<_, _>>().with_context(|| format!("`{run}`"))?;
    let [began_us, seconds, checked, drifted] = parts[..] else { anyhow::bail!("`{run}`: expected 4 numbers") };
    let beside = Beside::of(&record, began_us as i64, (began_us + seconds * 1e6) as i64);
    let [before, meanwhile, ratio] = beside.values();
    Ok(Figure {
        name: "reconcile",
        how: format!(
            "one node, {seeded} silent devices with 6 heartbeats each of the last day or so, and {devices} on sockets with heartbeats every 10 s; \
             their last status is compared with the newest heartbeat of each"
        ),
        values: vec![
            Value::new("devices compared", checked, ""),
            Value::new("time", seconds, "s").limit(Limit::Below(30.0)),
            Value::new("differences", drifted, "").limit(Limit::Zero),
            before,
            meanwhile,
            ratio,
            Value::new("errors", summary.errors.total() as f64, "").limit(Limit::Zero),
        ],
        notes: vec![beside.note(), format!("errors: {}", summary.errors)],
    })
}
