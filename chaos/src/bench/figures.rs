//! The figures, each from a fresh node to its numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use super::dashboard::Dashboard;
use super::database::Database;
use super::figure::{Figure, Limit, Value};
use super::generator::Generator;
use super::process::{CpuWatch, cpu_s, resident_bytes};
use super::{BenchArgs, NodeEnvironment};
use crate::client::Client;
use crate::fleet::Summary;
use crate::limits::connections_possible;
use crate::load::LoadSummary;
use crate::measure::Latencies;

const GIB: f64 = (1_u64 << 30) as f64;
/// Connections besides the devices' sockets: enrolling, the database, pages.
const OTHER_CONNECTIONS: u64 = 744;
/// Fleets in figures have no troubles of their own: what fails is the node's.
pub(super) const WELL_BEHAVED: [&str; 8] =
    ["--duplicate-share", "0", "--late-share", "0", "--clock-off-share", "0", "--outages-per-hour", "0"];

/// Durable heartbeats, closed loop.
pub(super) async fn durable(args: &BenchArgs) -> Result<Figure> {
    let (devices, duration) = if args.quick { (500, "5s") } else { (2_000, "25s") };
    let environment = NodeEnvironment::build(args).await?;
    let generator = environment.generator()?;
    // Enrolls, gets sessions and warms caches up, so that the measured run only sends.
    let _: LoadSummary = generator.run("load", devices, &["--duration", "2s"]).await?;
    let running = generator.start("load", devices, &["--duration", duration, "--warm-up", "2s"])?;
    let watch = environment.watch(running.pid());
    let summary: LoadSummary = running.summary().await?;
    let cores = watch.cores().await;
    Ok(Figure {
        name: "durable heartbeats",
        how: format!(
            "closed loop, {} connections, {devices} devices, {:.0} s, every heartbeat a new row",
            summary.connections, summary.measured_s
        ),
        values: vec![
            Value::new("rate", summary.rate_per_s, "/s").limit(Limit::AtLeast(10_000.0)),
            Value::new("p50", summary.latency.p50_ms, "ms"),
            Value::new("p95", summary.latency.p95_ms, "ms"),
            Value::new("p99", summary.latency.p99_ms, "ms"),
            Value::new("max", summary.latency.max_ms, "ms"),
            Value::new("errors", summary.errors.total() as f64, "").limit(Limit::Zero),
        ],
        notes: vec![busy(&cores), format!("errors: {}", summary.errors)],
    })
}

/// A fleet at a steady pace, open loop.
pub(super) async fn steady(args: &BenchArgs) -> Result<Figure> {
    let (devices, duration) = if args.quick { (500, "20s") } else { (2_000, "130s") };
    let environment = NodeEnvironment::build(args).await?;
    let generator = environment.generator()?;
    let _: Summary = generator.run("fleet", devices, &["--enroll-only", "--sessions-first"]).await?;
    let running = generator.start(
        "fleet",
        devices,
        &[&["--interval", "10s", "--duration", duration, "--warm-up", "10s"][..], &WELL_BEHAVED].concat(),
    )?;
    let watch = environment.watch(running.pid());
    let summary: Summary = running.summary().await?;
    let cores = watch.cores().await;
    Ok(Figure {
        name: "steady fleet",
        how: format!("{devices} devices over HTTP at a 10 s interval, {:.0} s, latency from the intended moment", summary.measured_s),
        values: vec![
            Value::new("rate", summary.rate_per_s, "/s"),
            Value::new("p50", summary.latency.p50_ms, "ms"),
            Value::new("p95", summary.latency.p95_ms, "ms").limit(Limit::Below(30.0)),
            Value::new("p99", summary.latency.p99_ms, "ms").limit(Limit::Below(60.0)),
            Value::new("max", summary.latency.max_ms, "ms"),
            Value::new("errors", summary.errors.total() as f64, "").limit(Limit::Zero),
        ],
        notes: vec![busy(&cores), format!("lag of the generator: {}", summary.send_lag), format!("errors: {}", summary.errors)],
    })
}

/// A large fleet on one node.
pub(super) async fn capacity(args: &BenchArgs) -> Result<Figure> {
    let (devices, wanted) = if args.quick { (10_000, 2_000) } else { (100_000, 20_000) };
    // Node and generator inherit this process's limit of open files.
    let possible = usize::try_from(connections_possible().saturating_sub(OTHER_CONNECTIONS)).unwrap_or(usize::MAX);
    let sockets = wanted.min(possible);
    let seeded = devices - sockets;
    let mut environment = NodeEnvironment::build(args).await?;
    let generator = environment.generator()?;
    let _: Summary = generator.run("fleet", sockets, &["--enroll-only", "--sessions-first", "--enroll-concurrency", "64"]).await?;
    Database::of_node(args.database_url.as_deref(), environment.node.data_dir())?.seed(seeded).await.context("seeding devices")?;
    let ready = environment.node.restart().await?;
    let mut running = generator.start(
        "fleet",
        sockets,
        &[&["--transport", "socket", "--interval", "300s", "--ramp-seconds", "40"][..], &WELL_BEHAVED].concat(),
    )?;
    let generator_pid = running.pid().context("the generator exited")?;
    // Sockets open over the ramp, then a while of ordinary life, sampled.
    let lives_until = Instant::now() + Duration::from_secs(if args.quick { 60 } else { 100 });
    let node_pid = environment.pid()?;
    let mut most_bytes = 0;
    while Instant::now() < lives_until {
        ensure!(!running.has_ended(), "the fleet has ended early");
        most_bytes = most_bytes.max(resident_bytes(node_pid).unwrap_or(0));
        sleep(Duration::from_millis(500)).await;
    }
    let list = list_pages(&environment, if args.quick { 50 } else { 300 }).await?;
    let generator_bytes = resident_bytes(generator_pid).unwrap_or(0);
    let online = online(&environment).await?;
    running.terminate()?;
    let summary: Summary = running.summary().await?;
    let list = list.percentiles();
    Ok(Figure {
        name: "large fleet",
        how: format!("{devices} enrolled devices on one node, {sockets} of them on sockets"),
        values: vec![
            Value::new("resident memory of the node, most", most_bytes as f64 / GIB, "GiB").limit(Limit::Below(2.5e9 / GIB)),
            Value::new("resident memory of the generator", generator_bytes as f64 / GIB, "GiB"),
            Value::new("ready after start", ready.as_secs_f64(), "s").limit(Limit::Below(30.0)),
            Value::new("list page of 100, p50", list.p50_ms, "ms"),
            Value::new("list page of 100, p95", list.p95_ms, "ms").limit(Limit::Below(30.0)),
            Value::new("list page of 100, max", list.max_ms, "ms"),
            Value::new("devices online", online, ""),
            Value::new("heartbeats acknowledged", summary.acknowledged as f64, ""),
            Value::new("errors", summary.errors.total() as f64, "").limit(Limit::Zero),
        ],
        notes: [format!("heartbeats: {}", summary.latency), format!("errors: {}", summary.errors)]
            .into_iter()
            .chain(
                (sockets < wanted)
                    .then(|| format!("fewer than the {wanted} sockets intended: the system's hard limit of open files leaves {sockets}")),
            )
            .collect(),
    })
}

/// Cost of one open dashboard.
pub(super) async fn dashboard(args: &BenchArgs) -> Result<Figure> {
    let (devices, seeded, window) = if args.quick { (500, 1_500, Duration::from_secs(8)) } else { (2_000, 8_000, Duration::from_secs(30)) };
    let mut environment = NodeEnvironment::build(args).await?;
    let generator = environment.generator()?;
    let _: Summary = generator.run("fleet", devices, &["--enroll-only", "--sessions-first"]).await?;
    Database::of_node(args.database_url.as_deref(), environment.node.data_dir())?.seed(seeded).await.context("seeding devices")?;
    environment.node.restart().await?;
    let mut running = generator.start("fleet", devices, &[&["--interval", "10s"][..], &WELL_BEHAVED].concat())?;
    sleep(Duration::from_secs(15)).await; // every device has sent one
    ensure!(!running.has_ended(), "the fleet has ended early");
    let pid = environment.pid()?;
    let without = cores_over(pid, window).await?;
    let page = Dashboard::open(&environment.node.url(), "admin", environment.node.admin_password(), "/devices").await?;
    sleep(Duration::from_secs(3)).await; // the first rendering is no running cost
    let with = cores_over(pid, window).await?;
    let received_bytes = page.close().await?;
    let without_again = cores_over(pid, window).await?;
    running.terminate()?;
    let summary: Summary = running.summary().await?;
    let baseline = f64::midpoint(without, without_again);
    Ok(Figure {
        name: "one dashboard",
        how: format!(
            "{} devices, {:.0} heartbeats/s, the devices page open; node's CPU time over {} s each, without before and after",
            devices + seeded,
            summary.rate_per_s,
            window.as_secs()
        ),
        values: vec![
            Value::new("without", 100.0 * baseline, "% of a core"),
            Value::new("with", 100.0 * with, "% of a core"),
            Value::new("difference", 100.0 * (with - baseline), "% of a core").limit(Limit::Below(3.0)),
            Value::new("sent to the page", received_bytes as f64 / 1_024.0 / (window.as_secs_f64() + 3.0), "KiB/s"),
        ],
        notes: vec![
            format!(
                "without, before and after: {:.2} and {:.2} % of a core: their distance is the measurement's own noise",
                100.0 * without,
                100.0 * without_again
            ),
            format!("errors: {}", summary.errors),
        ],
    })
}

/// Cores that a process kept busy over a while.
pub(super) async fn cores_over(pid: u32, window: Duration) -> Result<f64> {
    let gone = "the node is gone";
    let (before_s, started) = (cpu_s(pid).context(gone)?, Instant::now());
    sleep(window).await;
    Ok((cpu_s(pid).context(gone)? - before_s) / started.elapsed().as_secs_f64())
}

/// Pages of the device list, one after the other, through the whole fleet.
async fn list_pages(environment: &NodeEnvironment, requests: usize) -> Result<Latencies> {
    let client = Client::new(&environment.node.url())?;
    let token = client.access_token("admin", environment.node.admin_password()).await?;
    let mut latencies = Latencies::default();
    let mut cursor: Option<String> = None;
    for _ in 0..requests {
        let path = match &cursor {
            Some(cursor) => format!("/v1/devices?limit=100&cursor={cursor}"),
            None => "/v1/devices?limit=100".into(),
        };
        let started = Instant::now();
        let answer = client.get(&path, Some(&token)).await?;
        latencies.record(started.elapsed());
        ensure!(answer.status == 200, "GET {path} answered {}: {}", answer.status, answer.detail());
        cursor = answer.json()["next_cursor"].as_str().map(str::to_owned);
    }
    Ok(latencies)
}

async fn online(environment: &NodeEnvironment) -> Result<f64> {
    let client = Client::new(&environment.node.url())?;
    let token = client.access_token("admin", environment.node.admin_password()).await?;
    Ok(client.get_json("/v1/fleet/stats", &token).await?["online"].as_f64().unwrap_or(f64::NAN))
}

fn busy(cores: &BTreeMap<&'static str, f64>) -> String {
    let parts: Vec<String> = cores.iter().map(|(name, cores)| format!("{name} {cores:.2}")).collect();
    format!("cores busy: {}", parts.join(", "))
}

impl NodeEnvironment {
    fn generator(&self) -> Result<Generator> {
        Generator::new(self.node.url(), self.node.admin_password(), self.folder.path())
    }

    fn pid(&self) -> Result<u32> {
        self.node.pid().context("the node is not running")
    }

    /// Watches node, PostgreSQL and generator.
    fn watch(&self, generator: Option<u32>) -> CpuWatch {
        let postgres = crate::harness::find_postmaster(self.node.data_dir()).and_then(|found| u32::try_from(found.pid).ok());
        let named = [("node", self.node.pid()), ("PostgreSQL", postgres), ("generator", generator)];
        CpuWatch::start(named.into_iter().filter_map(|(name, pid)| Some((name, pid?))).collect())
    }
}
