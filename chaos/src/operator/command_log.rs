//! Record of requested commands that exist or may exist, in the format of a fleet's record, for the oracle to look up in the
//! database.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

/// Final outcome of a request.
pub(super) enum RequestOutcome {
    /// Accepted under this `request_id`.
    Command(String),
    /// Accepted as this batch.
    Batch(String),
    /// Neither accepted nor refused by any response.
    Unknown,
}

#[derive(Serialize)]
struct Line<'a> {
    what: &'static str,
    device_id: &'a str,
    server: &'a str,
    sent_at: String,
    answered_at: String,
    /// 201, or null when the outcome is unknown.
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<&'a str>,
}

/// Writer of the record; each line is written at once.
pub(super) struct CommandLog(Mutex<File>);

impl CommandLog {
    pub(super) fn append(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        Ok(Self(Mutex::new(file.with_context(|| format!("cannot write {}", path.display()))?)))
    }

    /// Writes one line for each device that gets a command.
    pub(super) fn write(
        &self,
        devices: &[String],
        server: &str,
        sent_at: DateTime<Utc>,
        answered_at: DateTime<Utc>,
        outcome: &RequestOutcome,
    ) -> Result<()> {
        let (status, request_id, batch_id) = match outcome {
            RequestOutcome::Command(id) => (Some(201), Some(id.as_str()), None),
            RequestOutcome::Batch(id) => (Some(201), None, Some(id.as_str())),
            RequestOutcome::Unknown => (None, None, None),
        };
        let precise = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let mut text = Vec::new();
        for device_id in devices {
            let (sent_at, answered_at) = (precise(sent_at), precise(answered_at));
            let line = Line { what: "requested", device_id, server, sent_at, answered_at, status, request_id, batch_id };
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TempDir;
    use crate::oracle::History;

    #[test]
    fn the_oracle_reads_requested_commands() {
        let folder = TempDir::new("commands").unwrap();
        let path = folder.path().join("requests.jsonl");
        let (log, at) = (CommandLog::append(&path).unwrap(), DateTime::from_timestamp(1_795_275_377, 0).unwrap());
        for (devices, outcome) in [
            (vec!["d1".to_owned()], RequestOutcome::Command("r1".into())),
            (vec!["d1".to_owned(), "d2".to_owned()], RequestOutcome::Batch("b1".into())),
            (vec!["d3".to_owned()], RequestOutcome::Unknown),
        ] {
            log.write(&devices, "http://n1", at, at, &outcome).unwrap();
        }
        let mut history = History::default();
        history.read_record(&path).unwrap();
        let requests =
            history.requested.iter().map(|o| (history.devices.text(o.device), o.request_id.as_deref(), o.batch_id.as_deref(), o.accepted));
        assert_eq!(
            requests.collect::<Vec<_>>(),
            [("d1", Some("r1"), None, true), ("d1", None, Some("b1"), true), ("d2", None, Some("b1"), true), ("d3", None, None, false)]
        );
    }
}
