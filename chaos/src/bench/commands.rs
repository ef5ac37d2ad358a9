//! Commands to devices on sockets: how long one takes through a node that has to
//! pass it on, and what ten thousand at once cost the heartbeats beside them.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use domain::DeviceId;
use domain::shard::shard_of;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::figure::{Figure, Limit, Value};
use super::figures::WELL_BEHAVED;
use super::generator::RunningGenerator;
use super::{BenchArgs, ClusterEnvironment};
use crate::client::Client;
use crate::clock::now;
use crate::fleet::Summary;
use crate::http::ServerUrl;
use crate::identity::key_history;
use crate::limits::connections_possible;
use crate::load::owners_of;
use crate::measure::Latencies;
use crate::oracle::History;

/// Connections besides the devices' sockets.
const OTHER_CONNECTIONS: u64 = 744;
/// Between two pings: each is alone on its way.
const PING_EVERY: Duration = Duration::from_millis(50);
/// Heartbeats of this long before the batch are what the others are compared with.
const BEFORE: Duration = Duration::from_secs(20);
/// How long everything may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
const BATCH_TAG: &str = "bench";
const ENDED: &str = "SELECT count(*) FROM command WHERE state IN ('succeeded', 'failed', 'expired', 'canceled')";

/// A ping to a device on a socket, requested of a node that does not own it.
pub(super) async fn ping(args: &BenchArgs) -> Result<Figure> {
    let (devices, pings) = if args.quick { (50, 50) } else { (500, 1_000) };
    let environment = ClusterEnvironment::build(args, 2).await?;
    let generator = environment.generator()?;
    let _: Summary = generator.run("fleet", devices, &["--enroll-only", "--sessions-first"]).await?;
    environment.until_balanced().await?;
    let fleet = Fleet::start(&environment, devices, &["--ramp-seconds", "2"]).await?;

    let servers: Vec<String> = environment.cluster.members().iter().map(|member| member.url()).collect();
    let clients = servers.iter().map(|url| Client::new(url)).collect::<Result<Vec<_>>>()?;
    let token = clients[0].access_token("admin", environment.cluster.admin_password()).await?;
    let urls = servers.iter().map(|url| url.parse::<ServerUrl>().map_err(anyhow::Error::msg)).collect::<Result<Vec<_>>>()?;
    let owners = owners_of(&clients[0], &token, &urls).await?;
    let mut ids: Vec<String> = key_history(&environment.folder.path().join("state"))?.into_keys().collect();
    ids.sort();
    let mut requested: HashMap<String, i64> = HashMap::new();
    let mut calls = Latencies::default();
    for device_id in ids.iter().cycle().take(pings) {
        let shard = shard_of(DeviceId(Uuid::parse_str(device_id)?)).0;
        let owner = *owners.get(&shard).with_context(|| format!("shard {shard} has no owner"))?;
        let other = &clients[(owner + 1) % clients.len()];
        let (sent_us, started) = (now().timestamp_micros(), Instant::now());
        let created = create(other, &token, &format!("/v1/devices/{device_id}/commands"), &json!({"action": "ping", "params": {}})).await?;
        calls.record(started.elapsed());
        requested.insert(created["request_id"].as_str().context("a command without request_id")?.to_owned(), sent_us);
        sleep(PING_EVERY).await;
    }
    until_ended(&environment, pings).await?;
    let (summary, history) = fleet.end().await?;
    let mut latencies = Latencies::default();
    for result in history.results.iter().filter(|result| result.status == Some(200) && result.outcome != "received") {
        if let Some(sent_us) = requested.remove(&result.request_id) {
            latencies.record(Duration::from_micros(result.answered_us.saturating_sub(sent_us).unsigned_abs()));
        }
    }
    let (latency, call) = (latencies.percentiles(), calls.percentiles());
    Ok(Figure {
        name: "ping",
        how: format!(
            "2 nodes, {devices} devices on sockets, {pings} pings one after the other, each requested of the node that does not own the \
             device; from the call to the acknowledgement of the device's result"
        ),
        values: vec![
            Value::new("queued to result, p50", latency.p50_ms, "ms"),
            Value::new("queued to result, p99", latency.p99_ms, "ms"),
            Value::new("queued to result, max", latency.max_ms, "ms"),
            Value::new("the call alone, p50", call.p50_ms, "ms"),
            Value::new("the call alone, p99", call.p99_ms, "ms"),
            Value::new("without a result", requested.len() as f64, "").limit(Limit::Zero),
            Value::new("errors", summary.errors.total() as f64, "").limit(Limit::Zero),
        ],
        notes: vec![
            "every other device's socket leads to the node that owns it, or not, as it happens".into(),
            format!("errors: {}", summary.errors),
        ],
    })
}

/// A batch to a whole fleet on sockets, heartbeats going on.
pub(super) async fn batch(args: &BenchArgs) -> Result<Figure> {
    let wanted = if args.quick { 1_000 } else { 10_000 };
    // Node and generator inherit this process's limit of open files.
    let possible = usize::try_from(connections_possible().saturating_sub(OTHER_CONNECTIONS)).unwrap_or(usize::MAX);
    let devices = wanted.min(possible);
    let environment = ClusterEnvironment::build(args, 1).await?;
    let generator = environment.generator()?;
    let enroll = ["--enroll-only", "--sessions-first", "--enroll-concurrency", "64", "--tags", BATCH_TAG];
    let _: Summary = generator.run("fleet", devices, &enroll).await?;
    let mut fleet = Fleet::start(&environment, devices, &["--ramp-seconds", "10"]).await?;
    sleep(BEFORE).await;
    ensure!(!fleet.running.has_ended(), "the fleet has ended early");

    let client = Client::new(&environment.cluster.members()[0].url())?;
    let token = client.access_token("admin", environment.cluster.admin_password()).await?;
    let target = json!({"filter": {"tag": BATCH_TAG}});
    let request = json!({"action": "ping", "params": {}, "target": target, "rate_per_second": args.batch_rate});
    let (began_us, started) = (now().timestamp_micros(), Instant::now());
    let created = create(&client, &token, "/v1/command-batches", &request).await?;
    let call = started.elapsed();
    until_ended(&environment, devices).await?;
    let (summary, history) = fleet.end().await?;

    let ends = history
        .results
        .iter()
        .filter(|result| result.status == Some(200) && result.outcome != "received" && result.answered_us >= began_us);
    let mut ends_us: Vec<i64> = ends.map(|result| result.answered_us - began_us).collect();
    ends_us.sort_unstable();
    let seconds = |place: usize| ends_us.get(place).map_or(f64::NAN, |us| *us as f64 / 1_000_000.0);
    let ended_us = began_us + ends_us.last().copied().unwrap_or_default();
    let before = heartbeats(&history, began_us - BEFORE.as_micros() as i64, began_us);
    let meanwhile = heartbeats(&history, began_us, ended_us);
    let (before, meanwhile) = (before.percentiles(), meanwhile.percentiles());
    Ok(Figure {
        name: "batch",
        how: format!(
            "one node, {devices} devices on sockets with heartbeats every 10 s, a ping to all of them in one batch; from the call to the \
             acknowledgement of the last device's result"
        ),
        values: vec![
            Value::new("pace asked for", created["rate_per_second"].as_f64().unwrap_or(f64::NAN), "/s"),
            Value::new("the call alone", call.as_secs_f64(), "s"),
            Value::new("half of the results", seconds(ends_us.len() / 2), "s"),
            Value::new("all results", seconds(ends_us.len().saturating_sub(1)), "s"),
            Value::new("heartbeats meanwhile, p50", meanwhile.p50_ms, "ms"),
            Value::new("heartbeats meanwhile, p99", meanwhile.p99_ms, "ms"),
            Value::new("heartbeats before, p50", before.p50_ms, "ms"),
            Value::new("heartbeats before, p99", before.p99_ms, "ms"),
            Value::new("without a result", devices.saturating_sub(ends_us.len()) as f64, "").limit(Limit::Zero),
            Value::new("errors", summary.errors.total() as f64, "").limit(Limit::Zero),
        ],
        notes: [
            format!(
                "heartbeats: {} meanwhile, {} in the {} s before; from sending to acknowledgement",
                meanwhile.count,
                before.count,
                BEFORE.as_secs()
            ),
            format!("errors: {}", summary.errors),
        ]
        .into_iter()
        .chain((devices < wanted).then(|| format!("fewer than the {wanted} sockets intended: the limit of open files leaves {devices}")))
        .collect(),
    })
}

/// A fleet on sockets that writes a record.
pub(super) struct Fleet {
    pub(super) running: RunningGenerator,
    record: std::path::PathBuf,
}

impl Fleet {
    /// Starts it; every device has sent a heartbeat when this returns.
    pub(super) async fn start(environment: &ClusterEnvironment, devices: usize, more: &[&str]) -> Result<Self> {
        let record = environment.folder.path().join("record.jsonl");
        let record_text = record.display().to_string();
        let words = ["--transport", "socket", "--interval", "10s", "--ping-heartbeat-share", "0", "--record", &record_text];
        let mut running = environment.generator()?.start("fleet", devices, &[&words, more, &WELL_BEHAVED].concat())?;
        sleep(Duration::from_secs(25)).await;
        ensure!(!running.has_ended(), "the fleet has ended early");
        Ok(Self { running, record })
    }

    pub(super) async fn end(self) -> Result<(Summary, History)> {
        self.running.terminate()?;
        let summary = self.running.summary().await?;
        Ok((summary, read(&self.record)?))
    }
}

fn read(record: &Path) -> Result<History> {
    let mut history = History::default();
    history.read_record(record)?;
    Ok(history)
}

async fn create(client: &Client, token: &str, path: &str, request: &Json) -> Result<Json> {
    let answer = client.post(path, Some(token), request).await?;
    ensure!(answer.status == 201, "POST {path} answered {}: {}", answer.status, answer.detail());
    Ok(answer.json())
}

/// Waits until so many commands have ended.
async fn until_ended(environment: &ClusterEnvironment, count: usize) -> Result<()> {
    let deadline = Instant::now() + ENDS_WITHIN;
    loop {
        let ended: usize = environment.cluster.psql().run(ENDED, &[]).await?.trim().parse()?;
        if ended >= count {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("only {ended} of {count} commands finished within {ENDS_WITHIN:?}");
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Heartbeats sent in this time, from sending to acknowledgement.
pub(super) fn heartbeats(history: &History, from_us: i64, until_us: i64) -> Latencies {
    let mut latencies = Latencies::default();
    for ack in history.acks.iter().filter(|ack| (from_us..until_us).contains(&ack.sent_us)) {
        latencies.record(Duration::from_micros((ack.answered_us - ack.sent_us).unsigned_abs()));
    }
    latencies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Ack;

    #[test]
    fn only_heartbeats_of_the_window_count() {
        let mut history = History::default();
        for (sent_us, answered_us) in [(5, 1_005), (10, 2_010), (15, 5_015), (20, 90_020)] {
            history.acks.push(Ack { device: 0, server: 0, bucket_s: None, device_time_us: None, sent_us, answered_us, decided: None });
        }
        let percentiles = heartbeats(&history, 10, 20).percentiles();
        assert_eq!(percentiles.count, 2);
        assert!((percentiles.max_ms - 5.0).abs() < 0.1, "{percentiles}");
    }
}
