//! A line for every acknowledged heartbeat, to compare with what is stored.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::model::timestamp;

/// Seconds of a bucket: the server stores one heartbeat per device in each.
const BUCKET_S: i64 = 10;

#[derive(Serialize)]
struct Line<'a> {
    device_id: &'a str,
    timestamp_utc: String,
    /// Null when the device's clock is so far off that the server goes by its own.
    bucket_at: Option<String>,
    status: u16,
    repeat: bool,
}

/// The file, buffered; whole lines reach it about once a second.
pub(super) struct Recorder {
    writer: Mutex<BufWriter<File>>,
}

impl Recorder {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { writer: Mutex::new(BufWriter::with_capacity(1 << 16, file)) })
    }

    /// Notes that the heartbeat with `device_time`, sent at `now`, was acknowledged.
    pub(super) fn acknowledged(&self, device_id: &str, device_time: DateTime<Utc>, now: DateTime<Utc>, repeat: bool) -> Result<()> {
        let line = Line {
            device_id,
            timestamp_utc: timestamp(device_time),
            bucket_at: bucket_at(device_time, now).map(timestamp),
            status: 200,
            repeat,
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        Ok(self.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text)?)
    }

    pub(super) fn flush(&self) -> Result<()> {
        Ok(self.writer.lock().unwrap_or_else(PoisonError::into_inner).flush()?)
    }
}

/// The bucket that a believable device clock leads to.
fn bucket_at(device_time: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let believed = device_time >= now - TimeDelta::days(7) && device_time <= now + TimeDelta::minutes(5);
    let start_s = device_time.timestamp().div_euclid(BUCKET_S) * BUCKET_S;
    believed.then(|| DateTime::from_timestamp(start_s, 0)).flatten()
}

#[cfg(test)]
mod tests {
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
    fn every_acknowledgement_is_a_line_of_json() {
        let folder = TempDir::new("record").unwrap();
        let path = folder.path().join("record.jsonl");
        let recorder = Recorder::create(&path).unwrap();
        let now = DateTime::from_timestamp(1_795_275_377, 0).unwrap();
        recorder.acknowledged("d1", now, now, false).unwrap();
        recorder.acknowledged("d1", now, now, true).unwrap();
        recorder.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert_eq!(
            text.lines().next().unwrap(),
            r#"{"device_id":"d1","timestamp_utc":"2026-11-21T15:36:17Z","bucket_at":"2026-11-21T15:36:10Z","status":200,"repeat":false}"#
        );
    }
}
