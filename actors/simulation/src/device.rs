//! Simulated devices: each sends heartbeats to whichever node it reaches, until they are acknowledged; now and then one arrives again.

use std::sync::Arc;
use std::time::Duration;

use actors::messages::DeviceCredentials;
use actors::router::IncomingHeartbeat;
use chrono::TimeDelta;
use domain::device::LastStatus;
use domain::heartbeat::{BUCKET_SECONDS, Heartbeat, Telemetry};
use domain::{DeviceId, Timestamp};
use link::messages::HeartbeatOutcome;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};

use crate::cluster::Cluster;
use crate::history::Ack;
use crate::settings::LOW_BATTERY_PCT;

/// Time between two heartbeats, ms.
const PAUSE_MS: std::ops::Range<u64> = 300..2_000;
/// Time before another node is tried, ms.
const RETRY_MS: std::ops::Range<u64> = 100..500;
/// Time that a device waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Share of the heartbeats that belong to the bucket of the one before, or to the next one if that is over.
const SAME_BUCKET: f64 = 0.5;
/// Share of the heartbeats after which an older one arrives again.
const REPEATED: f64 = 0.3;
/// Heartbeats back from which one arrives again.
const REPEATED_FROM: usize = 4;

/// Chance of a rest before a heartbeat, of devices that rest, and its length, ms: beyond the limit of silence.
const REST: f64 = 0.15;
const REST_MS: std::ops::Range<u64> = 11_000..18_000;

/// Waits, unless devices are to report that all is well.
async fn rest(cluster: &Cluster, for_ms: u64) {
    for _ in 0..for_ms / 100 {
        if cluster.devices_are_well() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// What a device has measured.
#[derive(Clone)]
struct Measured {
    device_time: Timestamp,
    telemetry: Telemetry,
}

/// Sends heartbeats as long as the cluster's devices are to; one that `rests` is silent now and then.
pub(crate) async fn run(cluster: Arc<Cluster>, id: DeviceId, seed: u64, began_at: Timestamp, rests: bool) {
    let mut chance = StdRng::seed_from_u64(seed);
    // Its clock is a day late, and goes fast: no heartbeat is in the future.
    let mut device_time = began_at - TimeDelta::days(1);
    let (mut boot, mut seq) = (0, 0);
    let mut sent: Vec<Measured> = Vec::new();
    while cluster.devices_go_on() {
        sleep(Duration::from_millis(chance.random_range(PAUSE_MS))).await;
        if rests && chance.random_bool(REST) {
            rest(&cluster, chance.random_range(REST_MS)).await;
        }
        device_time += TimeDelta::seconds(if chance.random_bool(SAME_BUCKET) { 1 } else { BUCKET_SECONDS });
        boot += u32::from(chance.random_bool(0.1));
        seq += 1;
        let telemetry = Telemetry {
            seq: Some(seq),
            // Around the limit: events and alerts, which owners write.
            battery_pct: Some(if chance.random_bool(0.5) && !cluster.devices_are_well() {
                LOW_BATTERY_PCT - 10
            } else {
                LOW_BATTERY_PCT + 30
            }),
            boot_id: Some(format!("boot-{boot}")),
            ..Telemetry::default()
        };
        let measured = Measured { device_time, telemetry };
        while cluster.devices_go_on() && !send(&cluster, id, &measured, &mut chance).await {
            sleep(Duration::from_millis(chance.random_range(RETRY_MS))).await;
        }
        sent.push(measured);
        if chance.random_bool(REPEATED) {
            // As a network does that delivers a request twice.
            let again = sent[sent.len() - chance.random_range(1..=REPEATED_FROM.min(sent.len()))].clone();
            cluster.history.count("heartbeats repeated", 1);
            send(&cluster, id, &again, &mut chance).await;
        }
    }
}

/// Sends a heartbeat to some node; whether it was acknowledged.
async fn send(cluster: &Cluster, id: DeviceId, measured: &Measured, chance: &mut StdRng) -> bool {
    let nodes = cluster.running();
    if nodes.is_empty() {
        return false;
    }
    let node = &nodes[chance.random_range(0..nodes.len())];
    let Some(runtime) = node.running() else { return false };
    let status: LastStatus = Heartbeat::new(id, Some(measured.device_time), measured.telemetry.clone(), node.handle().now()).into();
    let (bucket_at, seq) = (status.bucket_at, status.telemetry.seq.unwrap_or_default());
    let heartbeats = [IncomingHeartbeat { status: Arc::new(status), fcm_token: None }];
    let requested_ms = cluster.history.now_ms();
    let credentials = DeviceCredentials { device_id: id, generation: 1 };
    let answered = tokio::select! {
        answered = timeout(PATIENCE, runtime.router.heartbeats(credentials, None, &heartbeats)) => answered.map(|mut answers| answers.pop()),
        // The connection breaks.
        () = node.gone.cancelled() => return false,
    };
    cluster.history.count("heartbeats sent", 1);
    match answered {
        Ok(Some(Ok(acknowledged))) => {
            cluster.history.count(if acknowledged.owner.is_some() { "acknowledged by the owner" } else { "stored without the owner" }, 1);
            if acknowledged.outcome == HeartbeatOutcome::Repeat {
                cluster.history.count("repeats recognized", 1);
            }
            cluster.history.acknowledged(Ack {
                device: id,
                bucket_at,
                seq,
                requested_ms,
                at_ms: cluster.history.now_ms(),
                node: node.url.clone(),
                outcome: acknowledged.outcome,
                owner: acknowledged.owner,
            });
            true
        }
        Ok(Some(Err(_)) | None) => {
            cluster.history.count("refused", 1);
            false
        }
        Err(_) => {
            cluster.history.count("not answered", 1);
            false
        }
    }
}
