//! `[archive]`: where archives are kept, and what reading and writing them may take; `[pace]`: how fast.

use std::time::Duration;

use archive::{ArchiveSettings, default_store};
use domain::pace::Pace;

use super::apks::store_options;
use super::{Archive, Config};

impl Config {
    /// Settings of archives.
    pub(crate) fn archive_settings(&self) -> ArchiveSettings {
        let Archive { url, scratch_dir, .. } = &self.archive;
        ArchiveSettings {
            url: if url.is_empty() { default_store(&self.data_dir) } else { url.clone() },
            options: store_options(url),
            scratch_dir: if scratch_dir.as_os_str().is_empty() { self.data_dir.join("archive-scratch") } else { scratch_dir.clone() },
            row_group_rows: self.archive.row_group_rows,
            chunk_rows: self.archive.chunk_rows,
            timeout: Duration::from_millis(self.archive.timeout_ms),
            read_bytes_max: self.archive.read_limit_bytes,
            read_timeout: Duration::from_millis(self.archive.read_timeout_ms),
            reads_max: self.archive.reads_max,
            footer_cache_bytes: self.archive.footer_cache_limit_bytes,
        }
    }

    /// Pace of work that goes through many rows.
    pub(super) fn pace_settings(&self) -> Pace {
        Pace {
            share_pct: self.pace.share_of_core_pct,
            unhurried: Duration::from_millis(self.pace.heartbeat_ms),
            rest_max: Duration::from_millis(self.pace.rest_max_ms),
            rows_per_second_min: self.pace.rows_per_second_min,
        }
    }
}
