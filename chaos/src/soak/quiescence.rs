//! Detection of quiescence: whether every device of a fleet is acknowledged again, from the record that the fleet writes.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

/// Time without a failed attempt.
const WITHOUT_FAILURE: Duration = Duration::from_secs(8);
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Reader of a growing record.
pub(super) struct Follower {
    reader: BufReader<File>,
    /// Beginning of a line whose rest is not written yet.
    partial_line: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    what: &'a str,
    device_id: &'a str,
}

impl Follower {
    /// Opens a record at its beginning, once it exists.
    pub(super) async fn of(path: &Path) -> Result<Self> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match File::open(path) {
                Ok(file) => return Ok(Self { reader: BufReader::new(file), partial_line: String::new() }),
                Err(error) if Instant::now() > deadline => return Err(error).with_context(|| format!("no record at {}", path.display())),
                Err(_) => sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// Reads the new lines: acknowledged devices, and the number of failed attempts.
    pub(super) fn read_new_lines(&mut self) -> Result<(HashSet<String>, u64)> {
        let (mut acknowledged, mut failed) = (HashSet::new(), 0);
        loop {
            if self.reader.read_line(&mut self.partial_line)? == 0 {
                return Ok((acknowledged, failed));
            }
            if !self.partial_line.ends_with('\n') {
                continue; // the rest comes with a later call
            }
            let line: Line<'_> = serde_json::from_str(&self.partial_line)?;
            match line.what {
                "heartbeat" => drop(acknowledged.insert(line.device_id.to_owned())),
                "failure" => failed += 1,
                _ => {}
            }
            self.partial_line.clear();
        }
    }

    /// Waits until every device has been acknowledged since the call and no attempt has failed for a while; a description of
    /// what is missing after `within`.
    pub(super) async fn until_quiescent(&mut self, devices: usize, within: Duration) -> Result<Option<String>> {
        self.read_new_lines()?;
        let (started, mut last_failure) = (Instant::now(), Instant::now());
        let (mut heard, mut failures) = (HashSet::new(), 0);
        loop {
            let (acknowledged, failed) = self.read_new_lines()?;
            heard.extend(acknowledged);
            failures += failed;
            if failed > 0 {
                last_failure = Instant::now();
            }
            if heard.len() >= devices && last_failure.elapsed() >= WITHOUT_FAILURE {
                return Ok(None);
            }
            if started.elapsed() > within {
                let silent = devices.saturating_sub(heard.len());
                return Ok(Some(format!(
                    "not quiescent within {within:?}: {silent} of {devices} devices not acknowledged, {failures} attempts failed"
                )));
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::harness::TempDir;

    #[tokio::test]
    async fn a_growing_record_is_followed_over_half_lines() {
        let folder = TempDir::new("calm").unwrap();
        let path = folder.path().join("record.jsonl");
        let mut file = File::create(&path).unwrap();
        let mut follower = Follower::of(&path).await.unwrap();
        file.write_all(b"{\"what\":\"heartbeat\",\"device_id\":\"d1\"}\n{\"what\":\"failure\",\"dev").unwrap();
        assert_eq!(follower.read_new_lines().unwrap(), (HashSet::from(["d1".to_owned()]), 0));
        file.write_all(b"ice_id\":\"d2\"}\n").unwrap();
        assert_eq!(follower.read_new_lines().unwrap(), (HashSet::new(), 1));
        let missing = follower.until_quiescent(2, Duration::from_millis(10)).await.unwrap().unwrap();
        assert!(missing.contains("2 of 2 devices"), "{missing}");
    }
}
