//! Alerts: what judging costs while nothing happens, 10,000 devices that fall silent at once, and how soon a message arrives.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domain::alert::Rule;
use domain::shard::SHARD_COUNT;
use hyper::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::BenchArgs;
use super::database::Database;
use super::figure::{Figure, Limit, Value};
use super::figures::{WELL_BEHAVED, cores_over};
use super::generator::Generator;
use super::process::resident_bytes;
use crate::client::Client;
use crate::clock::now;
use crate::deployment_api::Api;
use crate::fleet::Summary;
use crate::harness::{Node, NodeOptions, TempDir};
use crate::measure::Latencies;
use crate::model;
use crate::sink::{AlertSinks, Arrival};

/// Name of the channel and its sink.
const SINK: &str = "bench";
/// Rules about devices that would fire for seeded ones.
const OTHER_RULES: [Rule; 5] = [Rule::LowBattery, Rule::StorageLow, Rule::NeverSeen, Rule::FleetSilent, Rule::ClusterStarted];
/// Silence after which a device is offline, in the figure of the storm.
const OFFLINE_AFTER: Duration = Duration::from_secs(60);
/// Wait for a group, there.
const GROUP_WAIT: Duration = Duration::from_secs(15);
/// Names of alerts' own times in the environment.
const OFFLINE_AFTER_SECONDS: &str = "NEXMDM__ALERTS__OFFLINE_AFTER_SECONDS";
const GROUP_WAIT_SECONDS: &str = "NEXMDM__ALERTS__GROUP_WAIT_SECONDS";
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A node with a sink as its only channel.
struct AlertEnvironment {
    node: Node,
    folder: TempDir,
    sinks: AlertSinks,
    api: Api,
}

impl AlertEnvironment {
    async fn build(args: &BenchArgs, env: &[(&str, String)]) -> Result<Self> {
        let mut options = NodeOptions::new(args.binary()?).env("NEXMDM__ALERTS__ALLOW_PRIVATE_TARGETS", "true");
        for (name, value) in env {
            options = options.env(name, value);
        }
        options.database_url = args.database_url.clone();
        options.parent_dir = args.work_dir.clone();
        options.ready_within = Duration::from_secs(180);
        options.stop_within = Duration::from_secs(60);
        let node = Node::start(options).await?;
        let api = Api::new(vec![node.url()], node.admin_password())?;
        let sinks = AlertSinks::start().await?;
        let channel = json!({"name": SINK, "kind": "webhook", "url": sinks.webhook_url(SINK)});
        let made = api.json(Method::POST, "/v1/alert-channels", Some(&channel), &[200, 201]).await?;
        let route = json!({"channel_id": made["id"].as_str().context("a channel without id")?, "min_severity": "info"});
        api.json(Method::POST, "/v1/alert-routes", Some(&route), &[200, 201]).await?;
        let parent = args.work_dir.clone().unwrap_or_else(std::env::temp_dir);
        Ok(Self { node, folder: TempDir::below(&parent, "generator")?, sinks, api })
    }

    /// Turns rules on or off.
    async fn switch(&self, rules: &[Rule], on: bool) -> Result<()> {
        for rule in rules {
            let path = format!("/v1/alert-rules/{}", rule.as_str());
            let body = json!({"scope": {"kind": "global"}, "enabled": on});
            self.api.json(Method::PUT, &path, Some(&body), &[200, 201, 204]).await?;
        }
        Ok(())
    }

    fn generator(&self, name: &str) -> Result<Generator> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder)?;
        Generator::new(self.node.url(), self.node.admin_password(), &folder)
    }

    fn database(&self, args: &BenchArgs) -> Result<Database> {
        Database::of_node(args.database_url.as_deref(), self.node.data_dir())
    }
}

/// Devices whose silence is judged while nothing happens.
pub(super) async fn idle(args: &BenchArgs) -> Result<Figure> {
    let (devices, rounds, window) = if args.quick { (5_000, 1, Duration::from_secs(5)) } else { (100_000, 3, Duration::from_secs(30)) };
    // No device has been silent for that long.
    let mut environment = AlertEnvironment::build(args, &[(OFFLINE_AFTER_SECONDS, "604800".into())]).await?;
    environment.database(args)?.seed(devices).await.context("seeding devices")?;
    environment.switch(&OTHER_RULES, false).await?;
    // Housekeeping comes and goes: the least of several rounds by turns is what a setting costs.
    let (mut busy, mut resident) = ([f64::INFINITY; 2], [u64::MAX; 2]);
    for _ in 0..rounds {
        for (place, on) in [(0, false), (1, true)] {
            environment.switch(&[Rule::DeviceOffline], on).await?;
            environment.node.restart().await?;
            // Devices are loaded, and the first judgements made.
            sleep(Duration::from_secs(if args.quick { 5 } else { 45 })).await;
            let pid = environment.node.pid().context("the node is not running")?;
            busy[place] = busy[place].min(cores_over(pid, window).await?);
            resident[place] = resident[place].min(resident_bytes(pid).context("the node is gone")?);
        }
    }
    let more_bytes = resident[1] as f64 - resident[0] as f64;
    Ok(Figure {
        name: "alerts, nothing happens",
        how: format!(
            "{devices} enrolled devices on one node, silent; the rule device_offline off and on by turns, {} s each, the least of {rounds} rounds",
            window.as_secs()
        ),
        values: vec![
            Value::new("off", 100.0 * busy[0], "% of a core"),
            Value::new("on", 100.0 * busy[1], "% of a core"),
            Value::new("difference", 100.0 * (busy[1] - busy[0]), "% of a core").limit(Limit::Below(1.0)),
            Value::new("resident memory, on", resident[1] as f64 / f64::from(1 << 20), "MiB"),
            Value::new("more than off, a device", more_bytes / devices as f64, "bytes").limit(Limit::Below(100.0)),
        ],
        notes: vec![format!("all work of the node is in it: {SHARD_COUNT} shards, reconcilers, the database's pool")],
    })
}

/// Devices fall silent at once while others go on.
pub(super) async fn storm(args: &BenchArgs) -> Result<Figure> {
    let (silent, others) = if args.quick { (300, 200) } else { (10_000, 2_000) };
    let seconds = |time: Duration| time.as_secs().to_string();
    let env = [
        (OFFLINE_AFTER_SECONDS, seconds(OFFLINE_AFTER)),
        (GROUP_WAIT_SECONDS, seconds(GROUP_WAIT)),
        ("NEXMDM__HEARTBEAT__INTERVAL_SECONDS", "10".into()),
        ("NEXMDM__ALERTS__GRACE_SECONDS", "10".into()),
        // The start of the node inhibits, and its rule is turned off below.
        ("NEXMDM__ALERTS__INHIBITION_TAIL_SECONDS", "0".into()),
        ("NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST", "4".into()),
    ];
    let environment = AlertEnvironment::build(args, &env).await?;
    environment.switch(&OTHER_RULES, false).await?;
    let (going, staying) = (environment.generator("going")?, environment.generator("staying")?);
    let enroll = ["--enroll-only", "--sessions-first", "--enroll-concurrency", "64"];
    let _: Summary = going.run("fleet", silent, &[&enroll[..], &["--alias-prefix", "going"]].concat()).await?;
    let _: Summary = staying.run("fleet", others, &[&enroll[..], &["--alias-prefix", "staying"]].concat()).await?;
    let life = [&["--interval", "10s", "--app-crashes-per-hour", "0", "--ramp-seconds", "5"][..], &WELL_BEHAVED].concat();
    let running = going.start("fleet", silent, &life)?;
    sleep(Duration::from_secs(25)).await; // each has reported, and silence means something
    running.terminate()?;
    let _: Summary = running.summary().await?;
    let last_at_us: i64 = environment
        .database(args)?
        .one("SELECT (extract(epoch FROM max(last_seen_at)) * 1000000)::bigint FROM device_last_status JOIN device USING (device_id) WHERE alias LIKE 'going-%'")
        .await?
        .parse()?;
    let threshold_us = last_at_us + i64::try_from(OFFLINE_AFTER.as_micros())?;
    // The others are measured while it happens, and not while they start.
    let mut running = staying.start("fleet", others, &[&life[..], &["--warm-up", "20s"]].concat())?;
    let deadline = Instant::now() + OFFLINE_AFTER + Duration::from_secs(60);
    let first = loop {
        let about = |arrival: &Arrival| arrival.kind.as_deref() == Some("raised") && arrival.is_about(Rule::DeviceOffline);
        if let Some(first) = environment.sinks.arrivals().into_iter().find(about) {
            break first;
        }
        ensure!(Instant::now() < deadline, "no message within {:?} of the threshold", Duration::from_secs(60));
        ensure!(!running.has_ended(), "the fleet has ended early");
        sleep(LOOK_EVERY).await;
    };
    sleep(Duration::from_secs(10)).await;
    running.terminate()?;
    let summary: Summary = running.summary().await?;
    let rows = environment
        .database(args)?
        .one("SELECT count(*) || ' ' || coalesce((extract(epoch FROM max(opened_at)) * 1000000)::bigint, 0) FROM alert WHERE rule = 'device_offline'")
        .await?;
    let (count, written_us) = rows.split_once(' ').context("no count of alerts")?;
    let messages = environment.sinks.arrivals().iter().filter(|arrival| arrival.is_about(Rule::DeviceOffline)).count();
    let after_s = |at_us: i64| (at_us - threshold_us) as f64 / 1_000_000.0;
    Ok(Figure {
        name: "alerts, devices fall silent at once",
        how: format!(
            "one node, {silent} devices at a 10 s interval stop within it, {others} others go on at {:.0} heartbeats/s; limit {} s, group wait {} s",
            summary.rate_per_s,
            OFFLINE_AFTER.as_secs(),
            GROUP_WAIT.as_secs()
        ),
        values: vec![
            Value::new("records", count.parse()?, "").limit(Limit::AtLeast(silent as f64)),
            Value::new("last record, after the last limit", after_s(written_us.parse()?), "s").limit(Limit::Below(10.0)),
            Value::new("messages", messages as f64, "").limit(Limit::Below(2.0)),
            Value::new("devices in the first message", first.count.unwrap_or_default() as f64, "").limit(Limit::AtLeast(silent as f64)),
            Value::new("first message, after the last limit", after_s(first.at_us), "s")
                .limit(Limit::Below(15.0 + GROUP_WAIT.as_secs_f64())),
            Value::new("heartbeats of the others, p99", summary.latency.p99_ms, "ms").limit(Limit::Below(30.0)),
            Value::new("errors", summary.errors.total() as f64, "").limit(Limit::Zero),
        ],
        notes: vec![format!("message: \"{}\"", first.title), format!("heartbeats of the others: {}", summary.latency)],
    })
}

/// From an acknowledged heartbeat to the message, without a wait for a group.
pub(super) async fn latency(args: &BenchArgs) -> Result<Figure> {
    let times = if args.quick { 5 } else { 60 };
    let env = [
        (GROUP_WAIT_SECONDS, "0".to_owned()),
        ("NEXMDM__ALERTS__GROUP_INTERVAL_SECONDS", "0".into()),
        ("NEXMDM__ALERTS__PER_MINUTE_MAX", "10000".into()),
        ("NEXMDM__ALERTS__APP_DOWN_HEARTBEATS", "1".into()),
    ];
    let environment = AlertEnvironment::build(args, &env).await?;
    let client = Client::new(&environment.node.url())?;
    let admin = client.access_token("admin", environment.node.admin_password()).await?;
    let mut latencies = Latencies::default();
    for number in 0..times {
        let alias = format!("bench-{number}");
        let device = client.enroll(&admin, &alias).await?;
        let (profile, mut rng) = crate::identity::profile_of(1, number + 1, 0.0);
        let down = model::State { app_running: false, ..model::State::draw(&profile, &mut rng) };
        let heartbeat = model::heartbeat(&profile, &down, &alias, now(), 0);
        let answer = client.heartbeat(&device.session_token, &heartbeat).await?;
        ensure!(answer.status == 200, "a heartbeat was answered with {}", answer.status);
        let acknowledged = Instant::now();
        let arrived = |arrival: &Arrival| arrival.is_about(Rule::AppDown) && arrival.alerts.iter().any(|alert| alert.name == alias);
        while !environment.sinks.arrivals().iter().any(arrived) {
            ensure!(acknowledged.elapsed() < Duration::from_secs(60), "no message about {alias} within a minute");
            sleep(Duration::from_millis(2)).await;
        }
        latencies.record(acknowledged.elapsed());
    }
    let measured = latencies.percentiles();
    Ok(Figure {
        name: "alerts, from a heartbeat to the message",
        how: format!("{times} devices, one after the other, each with its app down; no wait for a group; to a webhook on this machine"),
        values: vec![
            Value::new("p50", measured.p50_ms, "ms").limit(Limit::Below(1_000.0)),
            Value::new("p95", measured.p95_ms, "ms"),
            Value::new("max", measured.max_ms, "ms"),
        ],
        notes: vec![],
    })
}
