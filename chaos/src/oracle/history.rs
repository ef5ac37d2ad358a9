//! History of a run: the records of devices and operators, the rows of the database, and the injected faults. Times are
//! in microseconds.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use wire::agent::Command;

use super::dump::{AckRow, key_texts, pairs};
use super::{AlertFacts, ArchiveFacts, Deployments, HostAgentFacts, HostAgentFiles};
use crate::agent_command::DeviceKey;
use crate::faults::{Fault, FaultSpan};
use crate::host_agent::state_dirs;
use crate::identity::key_history;

/// String interner: repeated texts as numbers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Names {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    /// The number of a text, assigned on first use.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32;
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    /// The number of a text, if it has one.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    /// The text of a number.
    pub fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("?", String::as_str)
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// Owner of the shard that decided about a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidingOwner {
    /// Number of the node name.
    pub owner: u32,
    /// Epoch of the shard.
    pub epoch: u64,
}

/// Acknowledged heartbeat.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(from = "AckRow", into = "AckRow")]
pub struct Ack {
    /// Number of the device.
    pub device: u32,
    /// Number of the requested URL.
    pub server: u32,
    /// Start of its bucket in seconds; `None` when the server determined the bucket.
    pub bucket_s: Option<i64>,
    /// Time by the clock of the device.
    pub device_time_us: Option<i64>,
    /// Time of sending.
    pub sent_us: i64,
    /// Time of the response.
    pub answered_us: i64,
    /// Deciding owner; `None` when no owner was involved.
    pub decided: Option<DecidingOwner>,
}

/// Failed attempt of a device.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Failure {
    /// Number of the device.
    pub device: u32,
    /// Number of the requested URL.
    pub server: u32,
    /// Time of sending.
    pub sent_us: i64,
    /// Time of the failure.
    pub answered_us: i64,
    /// Number of the kind of error.
    pub error: u32,
}

/// Command received by a device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReceivedCommand {
    /// Number of the device.
    pub device: u32,
    /// Time of arrival.
    pub at_us: i64,
    /// The command as received.
    pub command: Command,
}

/// Command executed by a device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecutedCommand {
    /// Number of the device.
    pub device: u32,
    /// Time of execution.
    pub at_us: i64,
    /// The command as received.
    pub command: Command,
}

/// Command result reported by a device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportedResult {
    /// Number of the device.
    pub device: u32,
    /// Id of the command.
    pub request_id: String,
    /// Reported outcome.
    pub outcome: String,
    /// HTTP status of the response; `None` when none was read.
    pub status: Option<u16>,
    /// Time of sending.
    pub sent_us: i64,
    /// Time of the response.
    pub answered_us: i64,
}

/// Command for one device, requested through the API.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestedCommand {
    /// Number of the device.
    pub device: u32,
    /// Number of the URL of the last request.
    pub server: u32,
    /// Id of the command, when it was accepted outside a batch.
    pub request_id: Option<String>,
    /// Id of its batch.
    pub batch_id: Option<String>,
    /// Whether the response was 201; otherwise it is unknown whether the command exists.
    pub accepted: bool,
    /// Time of the response.
    pub answered_us: i64,
}

/// Keys that a device accepts from a time on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyPeriod {
    /// Start of the period.
    pub since_us: i64,
    /// One key, or two during a rotation.
    #[serde(with = "key_texts")]
    pub keys: Vec<DeviceKey>,
}

/// A row of the table `command`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandRow {
    /// Id of the device.
    pub device_id: String,
    /// Id of the batch.
    pub batch_id: Option<String>,
    /// Action.
    pub action: String,
    /// `queued`, `sent`, `delivered`, `succeeded`, `failed`, `expired` or `canceled`.
    pub state: String,
    /// Final outcome that the device reported.
    pub outcome: Option<String>,
    /// Machine-readable code of the outcome, such as `interrupted`.
    pub code: Option<String>,
    /// Expiry.
    pub expires_us: i64,
}

/// Claim of a shard, from `shard_move`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Claim {
    /// Shard id, 0..255.
    pub shard: u16,
    /// Epoch, raised by each claim.
    pub epoch: u64,
    /// Number of the new owner's name.
    pub owner: u32,
    /// Time by the database clock.
    pub moved_us: i64,
}

/// Rows of the database.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StoredRows {
    /// Heartbeat rows per device and bucket (seconds).
    #[serde(with = "pairs")]
    pub heartbeats: HashMap<(u32, i64), u32>,
    /// Newest time by the clock of the device, per device and bucket (seconds), of rows that have one.
    #[serde(with = "pairs")]
    pub device_times_us: HashMap<(u32, i64), i64>,
    /// Bucket of the last status per device.
    pub last_status_s: HashMap<u32, i64>,
    /// Shard claims; empty for a server without shards.
    pub claims: Vec<Claim>,
    /// Commands by `request_id`; `None` for a server without that table.
    pub commands: Option<HashMap<String, CommandRow>>,
    /// When the commands were read, by the database clock.
    pub read_us: i64,
}

/// Kinds of faults that the promises distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultPeriodKind {
    /// A node was killed.
    Killed,
    /// A node was stopped gracefully.
    Stopped,
    /// PostgreSQL was stopped.
    NoDatabase,
    /// The primary was killed, and comes back or is replaced by itself.
    NoPrimary,
    /// Any other fault.
    Other,
}

/// A fault and the period in which it was in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FaultPeriod {
    /// Kind of the fault.
    pub kind: FaultPeriodKind,
    /// Description.
    pub text: String,
    /// Number of the URL of the affected node.
    pub server: Option<u32>,
    /// Number of the name of the affected node.
    pub node: Option<u32>,
    /// Just before the injection.
    pub began_us: i64,
    /// Just after the injection.
    pub in_force_us: i64,
    /// Just before the healing.
    pub healing_us: i64,
    /// Just after the healing.
    pub healed_us: i64,
}

/// Everything known about a run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// Devices of the run.
    pub devices: Names,
    /// URLs, node names and error kinds.
    pub names: Names,
    /// Acknowledged heartbeats, in record order.
    pub acks: Vec<Ack>,
    /// Failed attempts, in record order.
    pub failures: Vec<Failure>,
    /// Commands received by devices, including refused ones and repeats.
    pub received: Vec<ReceivedCommand>,
    /// Commands executed by devices.
    pub executed: Vec<ExecutedCommand>,
    /// Command results reported by devices.
    pub results: Vec<ReportedResult>,
    /// Commands requested through the API.
    pub requested: Vec<RequestedCommand>,
    /// Whether `requested` is complete, that is, no other commands were requested.
    pub requested_are_all: bool,
    /// Key periods of devices, the oldest first.
    pub keys: HashMap<u32, Vec<KeyPeriod>>,
    /// Rows of the database.
    pub stored: StoredRows,
    /// Injected faults.
    pub fault_periods: Vec<FaultPeriod>,
    /// Deployments and their installations.
    pub deployments: Deployments,
    /// Devices that are host agents.
    pub host_agents: Vec<HostAgentFacts>,
    /// Alerts and what people were notified of.
    pub alerts: AlertFacts,
    /// Days and their archives.
    pub archives: ArchiveFacts,
}

#[derive(Deserialize)]
struct Line<'a> {
    what: &'a str,
    device_id: &'a str,
    server: &'a str,
    sent_at: Option<DateTime<Utc>>,
    answered_at: DateTime<Utc>,
    #[serde(default)]
    bucket_at: Option<DateTime<Utc>>,
    #[serde(default)]
    timestamp_utc: Option<DateTime<Utc>>,
    #[serde(default)]
    owner: Option<&'a str>,
    #[serde(default)]
    epoch: Option<u64>,
    #[serde(default)]
    error: Option<&'a str>,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    batch_id: Option<String>,
    #[serde(default)]
    outcome: Option<String>,
    #[serde(default)]
    command: Option<Command>,
}

impl History {
    /// Rows of a bucket: what archives hold counts where the database has none, and twice is twice wherever it is.
    pub(super) fn copies(&self, bucket: (u32, i64)) -> u32 {
        let of = |rows: &HashMap<(u32, i64), u32>| rows.get(&bucket).copied().unwrap_or(0);
        of(&self.stored.heartbeats).max(of(&self.archives.heartbeats))
    }

    /// Newest time by the clock of the device of the rows of a bucket.
    pub(super) fn stored_device_time_us(&self, bucket: (u32, i64)) -> Option<i64> {
        self.stored.device_times_us.get(&bucket).max(self.archives.device_times_us.get(&bucket)).copied()
    }

    /// Reads a record file.
    pub fn read_record(&mut self, path: &Path) -> Result<()> {
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        for (number, line) in std::io::BufReader::new(file).lines().enumerate() {
            self.read_line(&line?).with_context(|| format!("line {} of {}", number + 1, path.display()))?;
        }
        Ok(())
    }

    /// Reads one line of a record.
    pub fn read_line(&mut self, text: &str) -> Result<()> {
        let line: Line<'_> = serde_json::from_str(text)?;
        if line.what == "act" {
            return self.deployments.read_action(text);
        }
        let (device, server) = (self.devices.number(line.device_id), self.names.number(line.server));
        let answered_us = line.answered_at.timestamp_micros();
        let sent_us = line.sent_at.map_or(answered_us, |at| at.timestamp_micros());
        match line.what {
            "heartbeat" => {
                let bucket_s = line.bucket_at.map(|at| at.timestamp());
                let decided = line.owner.zip(line.epoch).map(|(owner, epoch)| DecidingOwner { owner: self.names.number(owner), epoch });
                let device_time_us = line.timestamp_utc.map(|at| at.timestamp_micros());
                self.acks.push(Ack { device, server, bucket_s, device_time_us, sent_us, answered_us, decided });
            }
            "failure" => {
                let error = self.names.number(line.error.unwrap_or("unknown"));
                self.failures.push(Failure { device, server, sent_us, answered_us, error });
            }
            "command" => self.received.extend(line.command.map(|command| ReceivedCommand { device, at_us: answered_us, command })),
            "executed" => self.executed.extend(line.command.map(|command| ExecutedCommand { device, at_us: answered_us, command })),
            "result" => {
                let (request_id, outcome) = (line.request_id.unwrap_or_default(), line.outcome.unwrap_or_default());
                self.results.push(ReportedResult { device, request_id, outcome, status: line.status, sent_us, answered_us });
            }
            "requested" => {
                let (request_id, batch_id, accepted) = (line.request_id, line.batch_id, line.status == Some(201));
                self.requested.push(RequestedCommand { device, server, request_id, batch_id, accepted, answered_us });
            }
            "deployment" => self.deployments.read_step(text, device, sent_us, answered_us)?,
            _ => {}
        }
        Ok(())
    }

    /// Reads the state folder of a fleet: the device keys and the files of its host agents.
    pub fn read_state_dir(&mut self, state_dir: &Path) -> Result<()> {
        for host_agent in state_dirs(state_dir) {
            self.read_host_agent(&HostAgentFiles::of_state_dir(&host_agent))?;
        }
        self.read_keys(state_dir)
    }

    /// Reads the device keys.
    pub(super) fn read_keys(&mut self, state_dir: &Path) -> Result<()> {
        for (device_id, periods) in key_history(state_dir)? {
            let Some(device) = self.devices.find(&device_id) else { continue };
            let periods = periods.into_iter().map(|period| KeyPeriod {
                since_us: period.since.map_or(i64::MIN, |since| since.timestamp_micros()),
                keys: [Some(period.device_key), period.next_device_key]
                    .into_iter()
                    .flatten()
                    .filter_map(|key| DeviceKey::from_hex(&key))
                    .collect(),
            });
            self.keys.insert(device, periods.collect());
        }
        Ok(())
    }

    /// Drops all deployments but these; the devices of the others are in other records.
    pub fn keep_deployments(&mut self, ids: &[String]) {
        let facts = &mut self.deployments;
        facts.rows.retain(|id, _| ids.contains(id));
        facts.tasks.retain(|task| ids.contains(&task.deployment));
        facts.attempts.retain(|attempt| ids.contains(&attempt.deployment));
        facts.operator_actions.retain(|action| action.deployment.as_ref().is_none_or(|id| ids.contains(id)));
    }

    /// Adds the faults that were injected into the cluster.
    pub fn add_faults(&mut self, spans: &[FaultSpan]) {
        for span in spans {
            let end = |at: Option<DateTime<Utc>>| at.map_or(i64::MAX, |at| at.timestamp_micros());
            self.fault_periods.push(FaultPeriod {
                kind: match &span.fault {
                    Fault::Kill { .. } => FaultPeriodKind::Killed,
                    Fault::Stop { .. } => FaultPeriodKind::Stopped,
                    Fault::StopDatabase => FaultPeriodKind::NoDatabase,
                    Fault::KillPrimary { .. } => FaultPeriodKind::NoPrimary,
                    _ => FaultPeriodKind::Other,
                },
                text: span.fault.to_string(),
                server: span.server.as_deref().map(|server| self.names.number(server)),
                node: span.fault.node().map(|name| self.names.number(name)),
                began_us: span.began_at.timestamp_micros(),
                in_force_us: span.in_force_at.timestamp_micros(),
                healing_us: end(span.healing_at),
                healed_us: end(span.healed_at),
            });
        }
    }
}

/// Time of day of a timestamp, for messages.
pub(super) fn clock_text(at_us: i64) -> String {
    DateTime::<Utc>::from_timestamp_micros(at_us).map_or_else(|| "?".into(), |at| at.format("%H:%M:%S%.6f").to_string())
}

/// Date and time of a timestamp, as in a table.
pub(super) fn utc_text(at_us: i64) -> String {
    DateTime::<Utc>::from_timestamp_micros(at_us).map_or_else(|| "?".into(), |at| at.format("%Y-%m-%d %H:%M:%S%.6f UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_record_are_parsed() {
        let mut history = History::default();
        for line in [
            r#"{"device_id":"d1","timestamp_utc":"2026-11-21T15:36:17Z","bucket_at":"2026-11-21T15:36:10Z","status":200,"repeat":false,"what":"heartbeat","sent_at":"2026-11-21T15:36:17.000001Z","answered_at":"2026-11-21T15:36:17.002001Z","server":"http://n1","owner":"node-2","epoch":3}"#,
            r#"{"device_id":"d2","bucket_at":null,"status":200,"repeat":true,"what":"heartbeat","sent_at":"2026-11-21T15:36:17.000001Z","answered_at":"2026-11-21T15:36:17.002001Z","server":"http://n1","owner":null,"epoch":null}"#,
            r#"{"device_id":"d1","status":503,"what":"failure","sent_at":"2026-11-21T15:36:17.000001Z","answered_at":"2026-11-21T15:36:18Z","server":"http://n2","error":"http_503"}"#,
            r#"{"device_id":"d1","what":"command","answered_at":"2026-11-21T15:36:18Z","server":"http://n2","path":"push","verdict":"run","command":{"request_id":"r1","device_id":"d1","action":"ping","ts":"t","expires_at":"e","params":"{\"a\":1}","signature":"s","v":"1"}}"#,
            r#"{"device_id":"d1","what":"executed","answered_at":"2026-11-21T15:36:18Z","server":"http://n2","command":{"request_id":"r1","device_id":"d1","action":"ping","ts":"t","expires_at":"e","params":"{}","signature":"s","v":"1"}}"#,
            r#"{"device_id":"d1","what":"result","status":200,"sent_at":"2026-11-21T15:36:18Z","answered_at":"2026-11-21T15:36:19Z","server":"http://n2","request_id":"r1","action":"ping","outcome":"success"}"#,
            r#"{"device_id":"d1","what":"requested","status":201,"sent_at":"2026-11-21T15:36:17Z","answered_at":"2026-11-21T15:36:18Z","server":"http://n2","request_id":"r1"}"#,
            r#"{"device_id":"d1","what":"requested","error":"timeout","sent_at":"2026-11-21T15:36:17Z","answered_at":"2026-11-21T15:36:18Z","server":"http://n2","batch_id":"b1"}"#,
        ] {
            history.read_line(line).unwrap();
        }
        assert_eq!((history.devices.len(), history.acks.len(), history.failures.len()), (2, 2, 1));
        assert_eq!((history.received[0].command.params.as_str(), history.executed.len()), ("{\"a\":1}", 1));
        assert_eq!((history.results[0].outcome.as_str(), history.results[0].status), ("success", Some(200)));
        let requests: Vec<_> = history
            .requested
            .iter()
            .map(|request| (request.request_id.as_deref(), request.batch_id.as_deref(), request.accepted))
            .collect();
        assert_eq!(requests, [(Some("r1"), None, true), (None, Some("b1"), false)]);
        let [first, second] = history.acks[..] else { panic!() };
        assert_eq!((first.answered_us - first.sent_us, first.bucket_s.unwrap() % 10), (2_000, 0));
        assert_eq!(first.device_time_us, first.bucket_s.map(|bucket_s| (bucket_s + 7) * 1_000_000));
        assert_eq!(first.decided.map(|by| (history.names.text(by.owner), by.epoch)), Some(("node-2", 3)));
        assert_eq!((second.bucket_s, second.decided), (None, None));
        assert!(history.read_line("{}").is_err());
    }
}
