//! Log of a host agent: one JSON line per event.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Logged event.
#[derive(Debug, Clone, Deserialize)]
pub struct LogEvent {
    /// When.
    pub ts: DateTime<Utc>,
    /// Name, such as `deliver.ok`.
    pub event: String,
    /// Everything else.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl LogEvent {
    /// A field that is text.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }
}

/// All events of a log; invalid lines, such as one that was truncated by a kill, are skipped.
///
/// # Errors
/// The file cannot be read.
pub fn read_events(path: &Path) -> Result<Vec<LogEvent>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// Reader of a growing log.
pub struct LogFollower {
    path: PathBuf,
    reader: Option<BufReader<File>>,
    /// Beginning of a line whose rest is not written yet.
    partial_line: Vec<u8>,
}

impl LogFollower {
    /// Follows a log from its beginning; the file need not exist yet.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), reader: None, partial_line: Vec::new() }
    }

    /// Reads the events since the last call.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_new_events(&mut self) -> Result<Vec<LogEvent>> {
        if self.reader.is_none() {
            self.reader = File::open(&self.path).ok().map(BufReader::new);
        }
        let Some(reader) = &mut self.reader else { return Ok(Vec::new()) };
        let mut events = Vec::new();
        while reader.read_until(b'\n', &mut self.partial_line)? > 0 {
            if self.partial_line.ends_with(b"\n") {
                events.extend(serde_json::from_slice::<LogEvent>(&self.partial_line).ok());
                self.partial_line.clear();
            }
        }
        Ok(events)
    }

    /// Waits for an event that satisfies a condition, from the last call on.
    ///
    /// # Errors
    /// It does not come in time, or the file cannot be read.
    pub async fn until(&mut self, what: &str, within: Duration, is_wanted: impl Fn(&LogEvent) -> bool) -> Result<LogEvent> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(found) = self.read_new_events()?.into_iter().find(&is_wanted) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!("not within {within:?} in {}: {what}", self.path.display());
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::harness::TempDir;

    #[tokio::test]
    async fn a_growing_log_is_followed_over_half_lines_and_what_is_no_event() {
        let folder = TempDir::new("log").unwrap();
        let path = folder.path().join("agent.log");
        let mut follower = LogFollower::of(&path);
        assert!(follower.read_new_events().unwrap().is_empty());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"{\"ts\":\"2026-11-21T15:36:17.001Z\",\"level\":\"info\",\"event\":\"start\"}\nWARNING: x\n{\"ts\":\"2026-11")
            .unwrap();
        let events: Vec<String> = follower.read_new_events().unwrap().into_iter().map(|event| event.event).collect();
        assert_eq!(events, ["start"]);
        file.write_all(b"-21T15:36:18Z\",\"level\":\"info\",\"event\":\"command.run\",\"action\":\"ping\"}\n").unwrap();
        let found = follower.until("a command", Duration::from_secs(5), |event| event.event == "command.run").await.unwrap();
        assert_eq!(found.text("action"), Some("ping"));
        assert!(follower.until("another", Duration::ZERO, |_| true).await.is_err());
        assert_eq!(read_events(&path).unwrap().len(), 2);
    }
}
