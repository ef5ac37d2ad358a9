//! Record of a fleet: a JSON line for every response, failed attempt, command, execution and result. The oracle compares
//! it with the database.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;
use wire::agent::Command;
use wire::command::ActionResult;

use super::installations::Step;
use crate::model::timestamp;

/// Seconds of a bucket: the server stores one heartbeat per device in each.
const BUCKET_S: i64 = 10;

/// One line of the record; fields that do not apply to its kind are omitted.
#[derive(Default, Serialize)]
struct Line<'a> {
    device_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_utc: Option<String>,
    /// Null when the device clock is so wrong that the server uses its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket_at: Option<Option<String>>,
    /// Null without a response; `error` then names the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat: Option<bool>,
    /// `heartbeat`, `failure`, `command`, `executed`, `result` or `deployment`.
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<String>,
    answered_at: String,
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<Option<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    /// Of a command: `socket`, `heartbeat` or `push`.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    /// Of a command: `run`, or why the device refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'a str>,
    /// The command as received, to be verified independently.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a Command>,
    /// Of a result: its outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    /// Of a deployment: the step.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    deployment: Option<&'a Step>,
}

/// Device, server and times of one exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchange<'a> {
    pub(super) device_id: &'a str,
    pub(super) server: &'a str,
    pub(super) sent_at: DateTime<Utc>,
    pub(super) answered_at: DateTime<Utc>,
}

/// Writer of the record, buffered; flushed about once a second.
pub(super) struct Recorder {
    writer: Mutex<BufWriter<File>>,
}

impl Recorder {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        drop(File::create(path).with_context(cannot)?);
        // Host agents append to the same file, also in whole lines.
        let file = OpenOptions::new().append(true).open(path).with_context(cannot)?;
        Ok(Self { writer: Mutex::new(BufWriter::with_capacity(1 << 16, file)) })
    }

    /// Records the acknowledgement of the heartbeat with `device_time`; `decided_by` names the owner.
    pub(super) fn acknowledged(
        &self,
        exchange: Exchange<'_>,
        device_time: DateTime<Utc>,
        repeat: bool,
        decided_by: Option<&str>,
    ) -> Result<()> {
        let (owner, epoch) = decided_by.and_then(owner_and_epoch).unzip();
        self.write(&Line {
            timestamp_utc: Some(timestamp(device_time)),
            bucket_at: Some(bucket_at(device_time, exchange.answered_at).map(timestamp)),
            status: Some(200),
            repeat: Some(repeat),
            owner: Some(owner),
            epoch: Some(epoch),
            ..line("heartbeat", exchange)
        })
    }

    /// Records a failed attempt: a session, a socket or heartbeats.
    pub(super) fn failed(&self, exchange: Exchange<'_>, status: Option<u16>, error: &str) -> Result<()> {
        self.write(&Line { status, error: Some(error), ..line("failure", exchange) })
    }

    /// Records a command with its path and the verdict of the device.
    pub(super) fn command(&self, exchange: Exchange<'_>, path: &str, verdict: &str, command: &Command) -> Result<()> {
        let line = line("command", exchange);
        self.write(&Line { sent_at: None, path: Some(path), verdict: Some(verdict), command: Some(command), ..line })
    }

    /// Records the execution of a command.
    pub(super) fn executed(&self, exchange: Exchange<'_>, command: &Command) -> Result<()> {
        self.write(&Line { sent_at: None, command: Some(command), ..line("executed", exchange) })
    }

    /// Records the delivery of a result: acknowledged (200), refused or lost.
    pub(super) fn result(&self, exchange: Exchange<'_>, result: &ActionResult, status: Option<u16>, error: Option<&str>) -> Result<()> {
        let (request_id, outcome) = (Some(result.request_id.as_str()), Some(result.outcome.as_str()));
        self.write(&Line { request_id, outcome, action: result.action.as_deref(), status, error, ..line("result", exchange) })
    }

    /// Records a step of an installation; `status` is the response if it was reported.
    pub(super) fn deployment(&self, exchange: Exchange<'_>, step: &Step, status: Option<u16>) -> Result<()> {
        self.write(&Line { status, deployment: Some(step), ..line("deployment", exchange) })
    }

    fn write(&self, line: &Line<'_>) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        Ok(self.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text)?)
    }

    pub(super) fn flush(&self) -> Result<()> {
        Ok(self.writer.lock().unwrap_or_else(PoisonError::into_inner).flush()?)
    }
}

fn line<'a>(what: &'static str, exchange: Exchange<'a>) -> Line<'a> {
    let Exchange { device_id, server, sent_at, answered_at } = exchange;
    Line { device_id, server, what, sent_at: Some(precise(sent_at)), answered_at: precise(answered_at), ..Line::default() }
}

/// Time in microseconds, the precision of PostgreSQL.
fn precise(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Parses `node-1;epoch=7`; `-` means that no owner decided.
fn owner_and_epoch(text: &str) -> Option<(&str, u64)> {
    let (owner, epoch) = text.split_once(';')?;
    Some((owner.trim(), epoch.trim().strip_prefix("epoch=")?.parse().ok()?))
}

/// Bucket of a plausible device clock.
fn bucket_at(device_time: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let believed = device_time >= now - TimeDelta::days(7) && device_time <= now + TimeDelta::minutes(5);
    let start_s = device_time.timestamp().div_euclid(BUCKET_S) * BUCKET_S;
    believed.then(|| DateTime::from_timestamp(start_s, 0)).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::harness::TempDir;

    #[test]
    fn buckets_begin_at_full_tens_of_seconds_of_a_believable_clock() {
        let now = DateTime::from_timestamp(1_795_275_377, 0).unwrap();
        assert_eq!(bucket_at(now, now).unwrap().timestamp(), 1_795_275_370);
        assert_eq!(bucket_at(now - TimeDelta::days(2), now).unwrap().timestamp() % 10, 0);
        assert!(bucket_at(now - TimeDelta::days(400), now).is_none());
        assert!(bucket_at(now + TimeDelta::hours(1), now).is_none());
    }

    #[test]
    fn an_owner_is_named_with_its_epoch_or_not_at_all() {
        assert_eq!(owner_and_epoch("node-1;epoch=7"), Some(("node-1", 7)));
        for text in ["-", "", "node-1", "node-1;epoch=", "node-1;7"] {
            assert_eq!(owner_and_epoch(text), None, "{text}");
        }
    }

    #[test]
    fn every_answer_failure_and_command_is_a_line_of_json() {
        let folder = TempDir::new("record").unwrap();
        let raw = json!({"request_id": "r1", "device_id": "d1", "action": "ping", "ts": "t", "expires_at": "e", "params": "{\"a\":1}",
            "signature": "s", "v": "1"});
        let path = folder.path().join("record.jsonl");
        let recorder = Recorder::create(&path).unwrap();
        let now = DateTime::from_timestamp(1_795_275_377, 1_000).unwrap();
        let exchange = Exchange { device_id: "d1", server: "http://n1:1", sent_at: now, answered_at: now + TimeDelta::milliseconds(2) };
        recorder.acknowledged(exchange, now, false, Some("node-2;epoch=3")).unwrap();
        recorder.acknowledged(exchange, now - TimeDelta::days(9), true, Some("-")).unwrap();
        recorder.failed(exchange, Some(503), "http_503").unwrap();
        recorder.failed(exchange, None, "timeout").unwrap();
        let command: Command = serde_json::from_value(raw.clone()).unwrap();
        recorder.command(exchange, "socket", "run", &command).unwrap();
        recorder.executed(exchange, &command).unwrap();
        let result = ActionResult { request_id: "r1".into(), outcome: "success".into(), ..ActionResult::default() };
        recorder.result(exchange, &result, Some(200), None).unwrap();
        recorder.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (sent_at, answered_at) = ("2026-11-21T15:36:17.000001Z", "2026-11-21T15:36:17.002001Z");
        assert_eq!(
            lines,
            [
                json!({"device_id": "d1", "timestamp_utc": "2026-11-21T15:36:17Z", "bucket_at": "2026-11-21T15:36:10Z", "status": 200,
                    "repeat": false, "what": "heartbeat", "sent_at": sent_at, "answered_at": answered_at, "server": "http://n1:1",
                    "owner": "node-2", "epoch": 3}),
                json!({"device_id": "d1", "timestamp_utc": "2026-11-12T15:36:17Z", "bucket_at": null, "status": 200, "repeat": true,
                    "what": "heartbeat", "sent_at": sent_at, "answered_at": answered_at, "server": "http://n1:1", "owner": null,
                    "epoch": null}),
                json!({"device_id": "d1", "status": 503, "what": "failure", "sent_at": sent_at, "answered_at": answered_at,
                    "server": "http://n1:1", "error": "http_503"}),
                json!({"device_id": "d1", "what": "failure", "sent_at": sent_at, "answered_at": answered_at, "server": "http://n1:1",
                    "error": "timeout"}),
                json!({"device_id": "d1", "what": "command", "answered_at": answered_at, "server": "http://n1:1", "path": "socket",
                    "verdict": "run", "command": raw}),
                json!({"device_id": "d1", "what": "executed", "answered_at": answered_at, "server": "http://n1:1", "command": raw}),
                json!({"device_id": "d1", "what": "result", "status": 200, "sent_at": sent_at, "answered_at": answered_at,
                    "server": "http://n1:1", "request_id": "r1", "outcome": "success"}),
            ]
        );
    }
}
