//! Whether a fleet is calm again, from the record it is writing.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

/// Without a failed try for this long.
const WITHOUT_FAILURE: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Follows a record as it grows.
pub(super) struct Follower {
    reader: BufReader<File>,
    /// A line of which only the beginning is there.
    begun: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    what: &'a str,
    device_id: &'a str,
}

impl Follower {
    /// From the beginning of a record that exists, or will in a moment.
    pub(super) async fn of(path: &Path) -> Result<Self> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match File::open(path) {
                Ok(file) => return Ok(Self { reader: BufReader::new(file), begun: String::new() }),
                Err(error) if Instant::now() > deadline => return Err(error).with_context(|| format!("no record at {}", path.display())),
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// What has been written since the last look: devices acknowledged, and how many tries failed.
    pub(super) fn look(&mut self) -> Result<(HashSet<String>, u64)> {
        let (mut acknowledged, mut failed) = (HashSet::new(), 0);
        loop {
            if self.reader.read_line(&mut self.begun)? == 0 {
                return Ok((acknowledged, failed));
            }
            if !self.begun.ends_with('\n') {
                continue; // the rest comes with a later look
            }
            let line: Line<'_> = serde_json::from_str(&self.begun)?;
            match line.what {
                "heartbeat" => drop(acknowledged.insert(line.device_id.to_owned())),
                "failure" => failed += 1,
                _ => {}
            }
            self.begun.clear();
        }
    }

    /// Waits until, from now on, every device was acknowledged and for a while
    /// no try has failed; what is missing after `within`.
    pub(super) async fn until_calm(&mut self, devices: usize, within: Duration) -> Result<Option<String>> {
        self.look()?;
        let (started, mut last_failure) = (Instant::now(), Instant::now());
        let (mut heard, mut failures) = (HashSet::new(), 0);
        loop {
            let (acknowledged, failed) = self.look()?;
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
                return Ok(Some(format!("not calm within {within:?}: {silent} of {devices} devices not heard, {failures} tries failed")));
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
    async fn a_growing_record_is_followed_over_half_lines() {
        let folder = TempDir::new("calm").unwrap();
        let path = folder.path().join("record.jsonl");
        let mut file = File::create(&path).unwrap();
        let mut follower = Follower::of(&path).await.unwrap();
        file.write_all(b"{\"what\":\"heartbeat\",\"device_id\":\"d1\"}\n{\"what\":\"failure\",\"dev").unwrap();
        assert_eq!(follower.look().unwrap(), (HashSet::from(["d1".to_owned()]), 0));
        file.write_all(b"ice_id\":\"d2\"}\n").unwrap();
        assert_eq!(follower.look().unwrap(), (HashSet::new(), 1));
        let missing = follower.until_calm(2, Duration::from_millis(10)).await.unwrap().unwrap();
        assert!(missing.contains("2 of 2 devices"), "{missing}");
    }
}
