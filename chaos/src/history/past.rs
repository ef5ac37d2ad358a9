//! Devices that report of days gone by, as agents do that were offline: their heartbeats fill the tables of those days.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::json;
use tokio::time::{Instant, sleep};
use wire::agent::Heartbeat;

use crate::client::{Client, EnrolledDevice};
use crate::clock::now;
use crate::identity::profile_of;
use crate::model::{self, Profile, State};

/// Seconds of a bucket, and of a day.
const BUCKET_S: i64 = 10;
const DAY_S: i64 = 86_400;
/// Heartbeats on their way at a time.
const AT_ONCE: usize = 16;
/// Time within which a heartbeat is acknowledged by one of the nodes, or given up.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two attempts.
const RETRY_AFTER: Duration = Duration::from_millis(300);
/// Probability that a heartbeat is followed by another one in its bucket.
const SECOND_IN_BUCKET: f64 = 0.2;
/// Probability that a heartbeat of a day of which was reported before falls into a bucket of then, as an older or a newer one.
const KNOWN_BUCKET: f64 = 0.3;

/// One device.
struct PastDevice {
    enrolled: EnrolledDevice,
    alias: String,
    profile: Profile,
    state: State,
    /// Moments of which it has reported, by day.
    reported: BTreeMap<NaiveDate, Vec<i64>>,
}

impl PastDevice {
    /// The heartbeat of a moment. Its number follows from the moment, as late heartbeats come out of a queue: a later number with an earlier time
    /// would be that of a clock that was put back.
    fn heartbeat(&self, at: DateTime<Utc>) -> Heartbeat {
        let state = State { seq: at.timestamp().unsigned_abs(), ..self.state.clone() };
        model::heartbeat(&self.profile, &state, &self.alias, at, 0)
    }
}

/// Devices, and the record of what was acknowledged to them.
pub(crate) struct PastDevices {
    clients: Vec<Client>,
    servers: Vec<String>,
    devices: Vec<PastDevice>,
    record_path: PathBuf,
    record: Mutex<File>,
}

/// What became of heartbeats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    /// Acknowledged.
    pub(crate) acknowledged: usize,
    /// Given up after [`ACKNOWLEDGED_WITHIN`]; they may be stored.
    pub(crate) given_up: usize,
}

impl PastDevices {
    /// Enrolls devices at the first of the nodes; the record begins empty.
    pub(crate) async fn enroll(servers: Vec<String>, admin_password: &str, count: usize, seed: u64, record: &Path) -> Result<Self> {
        let clients = servers.iter().map(|server| Client::new(server)).collect::<Result<Vec<_>>>()?;
        let first = clients.first().context("there is no node to enroll at")?;
        let access = first.access_token("admin", admin_password).await?;
        let mut devices = Vec::with_capacity(count);
        for number in 0..count {
            let alias = format!("past-{number}");
            let enrolled = first.enroll(&access, &alias).await?;
            let (profile, mut rng) = profile_of(seed, number as u64 + 1, 0.0);
            let state = State::draw(&profile, &mut rng);
            devices.push(PastDevice { enrolled, alias, profile, state, reported: BTreeMap::new() });
        }
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(record);
        let file = file.with_context(|| format!("cannot write {}", record.display()))?;
        Ok(Self { clients, servers, devices, record_path: record.to_owned(), record: Mutex::new(file) })
    }

    /// Record of what was acknowledged, for the oracle.
    pub(crate) fn record(&self) -> &Path {
        &self.record_path
    }

    /// Reports of a day, `per_device` heartbeats of each device spread over what of it is over.
    pub(crate) async fn report(&mut self, day: NaiveDate, per_device: usize, rng: &mut SmallRng) -> Result<Reported> {
        let span_s = (now() - day.and_time(NaiveTime::MIN).and_utc()).num_seconds().min(DAY_S);
        ensure!(span_s > 0, "{day} has not begun");
        let known = |device: &mut PastDevice| {
            let known = device.reported.entry(day).or_default();
            let moments = moments(span_s, per_device, known, rng);
            known.extend(&moments);
            moments
        };
        let planned: Vec<Vec<i64>> = self.devices.iter_mut().map(known).collect();
        let Self { clients, servers, devices, record, .. } = self;
        let (clients, servers, devices, record) = (&*clients, &*servers, &*devices, &*record);
        let begins = day.and_time(NaiveTime::MIN).and_utc();
        let mut each = Vec::with_capacity(devices.len());
        for (number, (device, moments)) in devices.iter().zip(planned).enumerate() {
            let all = async move {
                let mut reported = Reported::default();
                for moment_s in moments {
                    let at = begins + TimeDelta::seconds(moment_s);
                    match report(clients, servers, number, device, at, record).await? {
                        true => reported.acknowledged += 1,
                        false => reported.given_up += 1,
                    }
                }
                anyhow::Ok(reported)
            };
            each.push(all.boxed());
        }
        let all: Vec<Reported> = stream::iter(each).buffer_unordered(AT_ONCE).try_collect().await?;
        let sum = |of: fn(&Reported) -> usize| all.iter().map(of).sum();
        Ok(Reported { acknowledged: sum(|reported| reported.acknowledged), given_up: sum(|reported| reported.given_up) })
    }

    /// One heartbeat of now of each device at one of the nodes, without another attempt; the statuses of the answers.
    pub(crate) async fn report_now(&self) -> Result<Vec<Option<u16>>> {
        let Self { clients, servers, devices, record, .. } = self;
        let mut each = Vec::with_capacity(devices.len());
        for (number, device) in devices.iter().enumerate() {
            // The record has full seconds, as heartbeats have.
            let at = DateTime::from_timestamp(now().timestamp(), 0).unwrap_or_default();
            each.push(attempt(clients, servers, number, device, at, record).boxed());
        }
        stream::iter(each).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Status of the answer to one heartbeat of each device at another node, with the token of before.
    pub(crate) async fn knock(&self, server: &str) -> Result<Vec<(String, u16)>> {
        let client = Client::new(server)?;
        let mut answers = Vec::with_capacity(self.devices.len());
        for device in &self.devices {
            let answer = client.heartbeat(&device.enrolled.device_token, &device.heartbeat(now())).await?;
            answers.push((device.enrolled.device_id.clone(), answer.status));
        }
        Ok(answers)
    }
}

/// Ascending moments of a day, s; some share a bucket, also with one of `known`.
fn moments(span_s: i64, count: usize, known: &[i64], rng: &mut SmallRng) -> Vec<i64> {
    let mut moment = || {
        if !known.is_empty() && rng.random_bool(KNOWN_BUCKET) {
            let bucket_s = known[rng.random_range(0..known.len())] / BUCKET_S * BUCKET_S;
            return (bucket_s + rng.random_range(0..BUCKET_S)).min(span_s - 1);
        }
        rng.random_range(0..span_s)
    };
    let mut moments: Vec<i64> = (0..count).map(|_| moment()).collect();
    for place in 0..count.saturating_sub(1) {
        if rng.random_bool(SECOND_IN_BUCKET) {
            let bucket_s = moments[place] / BUCKET_S * BUCKET_S;
            moments[place + 1] = (bucket_s + rng.random_range(0..BUCKET_S)).min(span_s - 1);
        }
    }
    moments.sort_unstable();
    moments.dedup();
    moments
}

/// Sends a heartbeat to the nodes by turns until it is acknowledged; false when it is given up.
async fn report(
    clients: &[Client],
    servers: &[String],
    first: usize,
    device: &PastDevice,
    at: DateTime<Utc>,
    record: &Mutex<File>,
) -> Result<bool> {
    let deadline = Instant::now() + ACKNOWLEDGED_WITHIN;
    for place in first.. {
        match attempt(clients, servers, place, device, at, record).await? {
            Some(200) => return Ok(true),
            Some(status) if (400..500).contains(&status) && ![408, 429].contains(&status) => {
                bail!("a heartbeat of {at} was answered {status}");
            }
            _ if Instant::now() > deadline => break,
            _ => sleep(RETRY_AFTER).await,
        }
    }
    Ok(false)
}

/// Sends a heartbeat to one node, and records its acknowledgement; its status, if it was answered.
async fn attempt(
    clients: &[Client],
    servers: &[String],
    place: usize,
    device: &PastDevice,
    at: DateTime<Utc>,
    record: &Mutex<File>,
) -> Result<Option<u16>> {
    let place = place % clients.len().max(1);
    let heartbeat = device.heartbeat(at);
    let sent_at = now();
    let Ok(answer) = clients[place].heartbeat(&device.enrolled.device_token, &heartbeat).await else { return Ok(None) };
    if answer.status == 200 {
        let bucket_s = at.timestamp().div_euclid(BUCKET_S) * BUCKET_S;
        let line = json!({
            "what": "heartbeat", "device_id": device.enrolled.device_id, "server": servers[place], "status": 200,
            "timestamp_utc": precise(at), "bucket_at": DateTime::from_timestamp(bucket_s, 0).map(precise),
            "sent_at": precise(sent_at), "answered_at": precise(now()),
        });
        let mut file = record.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{line}").context("the record cannot be written")?;
    }
    Ok(Some(answer.status))
}

fn precise(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn moments_lie_in_the_day_ascend_and_share_buckets_at_times() {
        let mut rng = SmallRng::seed_from_u64(1);
        let moments = moments(86_400, 500, &[], &mut rng);
        assert!(moments.len() > 450 && moments.is_sorted_by(|a, b| a < b), "{moments:?}");
        assert!(moments.iter().all(|moment| (0..86_400).contains(moment)));
        let shared = moments.windows(2).filter(|pair| pair[0] / BUCKET_S == pair[1] / BUCKET_S).count();
        assert!(shared > 20, "{shared}");
        assert!(super::moments(3, 10, &[], &mut rng).iter().all(|moment| *moment < 3));
        let again = super::moments(86_400, 500, &moments, &mut rng);
        let is_known = |moment: &&i64| moments.iter().any(|known| known / BUCKET_S == **moment / BUCKET_S && known != *moment);
        assert!(again.iter().filter(is_known).count() > 80);
    }
}
