//! Cursor over the buckets used by earlier runs, so that no (device, bucket) is used twice and every heartbeat is a new row.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::connection::BUCKET_S;

/// Oldest usable bucket; the server accepts clocks up to seven days back, with a margin here.
const HISTORY: TimeDelta = TimeDelta::minutes(9_936); // 6.9 days

#[derive(Serialize, Deserialize)]
struct StoredCursor {
    next_bucket_s: i64,
}

/// File of the cursor.
pub(super) struct Cursor {
    path: PathBuf,
}

impl Cursor {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("load.json") }
    }

    /// The first bucket of a run at `now`: where the last run ended, but never
    /// further back than the server believes.
    pub(super) fn first_bucket_s(&self, now: DateTime<Utc>) -> i64 {
        let kept = fs::read(&self.path).ok().and_then(|bytes| serde_json::from_slice::<StoredCursor>(&bytes).ok());
        let earliest = full((now - HISTORY).timestamp()) + BUCKET_S;
        kept.map_or(earliest, |kept| full(kept.next_bucket_s).max(earliest))
    }

    pub(super) fn keep(&self, next_bucket_s: i64) -> Result<()> {
        let unfinished = self.path.with_extension("json.new");
        fs::write(&unfinished, serde_json::to_vec(&StoredCursor { next_bucket_s })?)?;
        fs::rename(&unfinished, &self.path).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The start of the bucket around a time.
pub(super) fn full(second: i64) -> i64 {
    second.div_euclid(BUCKET_S) * BUCKET_S
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TempDir;

    #[test]
    fn a_second_run_goes_on_where_the_first_ended() {
        let folder = TempDir::new("cursor").unwrap();
        let cursor = Cursor::in_folder(folder.path());
        let now = DateTime::from_timestamp(1_795_275_377, 0).unwrap();
        let first = cursor.first_bucket_s(now);
        assert_eq!(first % BUCKET_S, 0);
        assert!(now.timestamp() - first < 7 * 86_400 && now.timestamp() - first > 6 * 86_400);
        cursor.keep(first + 5_000).unwrap();
        assert_eq!(cursor.first_bucket_s(now), first + 5_000);
        // Ten days on, that is further back than the server believes.
        let later = now + TimeDelta::days(10);
        assert!(cursor.first_bucket_s(later) > later.timestamp() - 7 * 86_400);
    }
}
