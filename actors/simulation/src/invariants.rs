//! Judges the promises over the history of a run and the rows that it left.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::DateTime;
use domain::shard::{ShardId, shard_of};
use domain::{DeviceId, Timestamp};
use link::messages::HeartbeatOutcome;
use uuid::Uuid;

use crate::alerts;
use crate::cluster::Cluster;
use crate::history::{Ack, Fault, FaultKind, Records};
use crate::time::STEP_MAX_MS;

/// Time in which another node acknowledges the devices of one that died, ms.
const TAKEOVER_MS: u64 = 5_000;
/// Time in which another node owns the devices of one that died: the lease, and the placement after it, ms.
const OWNED_MS: u64 = 9_000;
/// Time in which service resumes after an outage of the database, ms.
const RESUME_MS: u64 = 8_000;
/// Time after a fault in which it may still tell, ms.
const REPAIRED_AFTER_MS: u64 = 3_000;

/// Judges everything; what is broken goes to the history.
pub(crate) async fn judge(cluster: &Arc<Cluster>, healed_ms: u64) {
    let records = cluster.history.records();
    stored(cluster, &records).await;
    owners(cluster, &records).await;
    deposed_owners(cluster).await;
    outages(cluster, &records);
    takeovers(cluster, &records);
    service(cluster, &records, healed_ms);
    alerts::notified(cluster).await;
    reconciled(cluster).await;
}

/// Derived rows equal what they are derived from, in every comparison of the run, and there were some.
async fn reconciled(cluster: &Cluster) {
    let runs = "SELECT check_name || ' ' || checked || ' ' || drifted || ' ' || kinds || ' ' || examples FROM public.reconciliation_run";
    for run in cluster.database.texts(runs).await {
        let mut words = run.split(' ');
        let (Some(check), Some(checked), Some(drifted)) = (words.next(), words.next(), words.next()) else { continue };
        // Commands are compared with what actors hold, and none is sent here.
        if check == "last_status" {
            cluster.history.count("statuses reconciled", checked.parse().unwrap_or(0));
        }
        if drifted != "0" {
            cluster.history.broken("reconciliation", format!("rows differ from what they are derived from: {run}"));
        }
    }
}

/// Rows of a statement: device, bucket in seconds, number of the heartbeat.
async fn stored_heartbeats(cluster: &Cluster, table: &str) -> Vec<(DeviceId, i64, i64)> {
    let statement = format!("SELECT concat_ws(' ', device_id, extract(epoch FROM bucket_at)::bigint, seq) FROM public.{table}");
    let parsed = |text: String| {
        let mut words = text.split(' ');
        let device = Uuid::parse_str(words.next()?).ok()?;
        Some((DeviceId(device), words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    cluster.database.texts(&statement).await.into_iter().filter_map(parsed).collect()
}

/// P1: what was acknowledged is stored once, the newest of a bucket stands, and the newest status is not older.
async fn stored(cluster: &Cluster, records: &Records) {
    let mut buckets: HashMap<(DeviceId, i64), Vec<i64>> = HashMap::new();
    for (device, bucket_s, seq) in stored_heartbeats(cluster, "heartbeats_unpacked").await {
        buckets.entry((device, bucket_s)).or_default().push(seq);
    }
    let newest: HashMap<DeviceId, (i64, i64)> = stored_heartbeats(cluster, "device_last_status")
        .await
        .into_iter()
        .map(|(device, bucket_s, seq)| (device, (bucket_s, seq)))
        .collect();
    for ack in &records.acks {
        let bucket_s = ack.bucket_at.timestamp();
        match buckets.get(&(ack.device, bucket_s)).map(Vec::as_slice) {
            Some([seq]) if *seq >= ack.seq => {}
            Some([seq]) => cluster.history.broken("P1", format!("of the bucket of {ack:?} the older number {seq} is stored")),
            found => cluster.history.broken("P1", format!("{ack:?} is stored {} times", found.map_or(0, <[i64]>::len))),
        }
        if newest.get(&ack.device).is_none_or(|newest| *newest < (bucket_s, ack.seq)) {
            cluster.history.broken("P1", format!("the newest status is older than {ack:?}"));
        }
    }
    cluster.history.count("acknowledged heartbeats", records.acks.len() as u64);
    let acknowledged: HashSet<_> = records.acks.iter().map(|ack| (ack.device, ack.bucket_at, ack.seq)).collect();
    let in_buckets = acknowledged.iter().map(|(device, bucket_at, _)| (device, bucket_at)).collect::<HashSet<_>>().len();
    cluster.history.count("heartbeats in the bucket of another", (acknowledged.len() - in_buckets) as u64);
}

/// P4: whoever decided as an owner had claimed the shard in that epoch, and nobody had claimed it again.
async fn owners(cluster: &Cluster, records: &Records) {
    let moves: Vec<String> = cluster
        .database
        .texts("SELECT shard_id || ' ' || epoch || ' ' || to_node || ' ' || (extract(epoch FROM moved_at) * 1000)::bigint FROM public.shard_move")
        .await;
    let mut claims: HashMap<(u16, i64), (String, i64)> = HashMap::new();
    for text in &moves {
        let mut words = text.split(' ');
        let (Some(shard), Some(epoch), Some(node), Some(at_ms)) = (words.next(), words.next(), words.next(), words.next()) else {
            continue;
        };
        if let (Ok(shard), Ok(epoch), Ok(at_ms)) = (shard.parse(), epoch.parse(), at_ms.parse()) {
            claims.insert((shard, epoch), (node.to_owned(), at_ms));
        }
    }
    cluster.history.count("claims of shards", claims.len() as u64);
    for ack in &records.acks {
        let Some((owner, epoch)) = &ack.owner else { continue };
        let ShardId(shard) = shard_of(ack.device);
        match claims.get(&(shard, epoch.0)) {
            Some((node, _)) if **node == **owner => {}
            claimed => cluster.history.broken("P4", format!("{ack:?} names an owner that the journal does not: {claimed:?}")),
        }
        // It was decided after it was asked for: by then nobody else may have claimed the shard.
        let next_ms = claims.get(&(shard, epoch.0 + 1)).map(|(_, at_ms)| *at_ms);
        let requested_ms = cluster.began_at().timestamp_millis() + i64::try_from(ack.requested_ms).unwrap_or(i64::MAX);
        if next_ms.is_some_and(|next_ms| requested_ms > next_ms) {
            cluster.history.broken("P4", format!("{ack:?} was decided after the next epoch had begun"));
        }
    }
}

/// P4: no write of an owner is accepted once another node owns the shard.
async fn deposed_owners(cluster: &Cluster) {
    let writes: Vec<String> = cluster
        .database
        .texts("SELECT backend || ' ' || coalesce(owner, '-') || ' ' || device_id || ' ' || at FROM simulated.owner_write")
        .await;
    let starts = cluster.starts();
    cluster.history.count("writes of owners", writes.len() as u64);
    for write in writes {
        let mut words = write.splitn(3, ' ');
        let (Some(backend), Some(owner), Some(what)) = (words.next(), words.next(), words.next()) else { continue };
        let writer = backend.parse().ok().and_then(|backend| starts.iter().find(|node| node.proxy.has_used(backend)));
        match writer {
            // Free since its owner let it go: nobody else acts in between.
            Some(writer) if owner == "-" || owner == writer.url => {}
            Some(writer) => cluster.history.broken("P4", format!("{} wrote for {what}, which {owner} owned", writer.url)),
            None => cluster.history.broken("simulation", format!("nobody wrote {write}")),
        }
    }
}

/// P11: without the database nothing is acknowledged; afterwards service resumes.
fn outages(cluster: &Cluster, records: &Records) {
    let outages = records.faults.iter().filter(|fault| fault.kind == FaultKind::DatabaseDown);
    for outage in outages {
        cluster.history.count("outages judged", 1);
        // It may begin a step of the time late, and all faults end at their time.
        let during = |ack: &&Ack| {
            ack.outcome == HeartbeatOutcome::Stored && ack.requested_ms >= outage.from_ms && ack.at_ms + STEP_MAX_MS < outage.until_ms
        };
        if let Some(ack) = records.acks.iter().find(during) {
            cluster.history.broken("P11", format!("{ack:?} during {outage:?}"));
        }
        let (from_ms, until_ms) = (outage.until_ms, outage.until_ms + RESUME_MS);
        let calm = |fault: &Fault| fault.from_ms == outage.from_ms || !touches(fault, outage.from_ms, until_ms);
        if records.faults.iter().all(calm) {
            cluster.history.count("resumptions judged", 1);
            for device in without_ack(cluster, records, from_ms, until_ms, |_| true) {
                cluster.history.broken("P11", format!("{} is not acknowledged within {RESUME_MS} ms of {outage:?}", device.0));
            }
        }
    }
}

/// P12: when a node dies, its devices are acknowledged by another within 5 s; and later by another as their owner.
fn takeovers(cluster: &Cluster, records: &Records) {
    for death in records.faults.iter().filter(|fault| fault.kind == FaultKind::Death) {
        if is_calm(records, death, TAKEOVER_MS) {
            cluster.history.count("failovers judged", 1);
            let until_ms = death.from_ms + TAKEOVER_MS;
            for device in without_ack(cluster, records, death.from_ms, until_ms, |ack| ack.node != death.what) {
                cluster.history.broken("P12", format!("{} is not acknowledged within {TAKEOVER_MS} ms of {death:?}", device.0));
            }
        }
        if is_calm(records, death, OWNED_MS) {
            cluster.history.count("takeovers judged", 1);
            let until_ms = death.from_ms + OWNED_MS;
            let dead = death.what.as_str();
            for device in without_ack(cluster, records, death.from_ms, until_ms, |ack| ack.node != dead && ack.owner.is_some()) {
                cluster.history.broken("P12", format!("no owner acknowledges {} within {OWNED_MS} ms of {death:?}", device.0));
            }
        }
    }
}

/// Whether nothing disturbs the cluster for so long after a death but joins of others, and jumps of a clock.
fn is_calm(records: &Records, death: &Fault, for_ms: u64) -> bool {
    let its_return = |fault: &Fault| fault.kind == FaultKind::Join && death.what.contains(&fault.what);
    let harmless = |fault: &Fault| {
        (matches!(fault.kind, FaultKind::Join | FaultKind::ClockJump) && !its_return(fault))
            || (fault.kind == FaultKind::Death && fault.from_ms == death.from_ms)
            || !touches(fault, death.from_ms, death.from_ms + for_ms)
    };
    records.faults.iter().all(harmless)
}

/// Once all faults are over, every shard has one owner, and that owner acknowledges.
fn service(cluster: &Cluster, records: &Records, healed_ms: u64) {
    for shard in ShardId::all() {
        let acting = cluster.acting(shard);
        if acting.len() != 1 {
            cluster.history.broken("service", format!("in the end {acting:?} act for shard {}", shard.0));
        }
    }
    for device in &cluster.devices {
        if !records.acks.iter().any(|ack| ack.device == *device && ack.at_ms > healed_ms && ack.owner.is_some()) {
            cluster.history.broken("service", format!("in the end no owner acknowledges {}", device.0));
        }
    }
}

fn touches(fault: &Fault, from_ms: u64, until_ms: u64) -> bool {
    // What a fault has done is not repaired in the moment in which it is over.
    fault.from_ms <= until_ms && fault.until_ms + REPAIRED_AFTER_MS >= from_ms
}

/// Devices that have no such acknowledgement in this time.
fn without_ack(cluster: &Cluster, records: &Records, from_ms: u64, until_ms: u64, counts: impl Fn(&Ack) -> bool) -> Vec<DeviceId> {
    let in_time = |ack: &&Ack| (from_ms..=until_ms).contains(&ack.at_ms) && counts(ack);
    let heard: HashSet<DeviceId> = records.acks.iter().filter(in_time).map(|ack| ack.device).collect();
    cluster.devices.iter().copied().filter(|device| !heard.contains(device)).collect()
}

/// When every simulation begins.
pub(crate) fn beginning() -> Timestamp {
    DateTime::from_timestamp(1_900_000_000, 0).unwrap_or_default()
}
