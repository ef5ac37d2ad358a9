//! `[apks]`: limits, and where files are kept.

use std::time::Duration;

use apk::ApkSettings;
use apk::default_store;
use chrono::TimeDelta;
use domain::Invalid;
use domain::invalid::in_range;

use super::{Apks, Config};

impl Apks {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let rate = self.download_bytes_per_second;
        if rate > 0 {
            in_range("apks.download_bytes_per_second", rate, 1 << 10, 1 << 40)?;
        }
        Ok(())
    }
}

impl Config {
    pub(super) fn apk_settings(&self) -> ApkSettings {
        let Apks { store_url, cache_dir, .. } = &self.apks;
        // What an object store goes by is in its usual variables, as its other clients have them.
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let variables =
            variables.filter(|(name, _)| name.starts_with("AWS_")).map(|(name, value)| (name.to_ascii_lowercase(), value.into()));
        ApkSettings {
            base_url: self.public_url(),
            store_url: if store_url.is_empty() { default_store(&self.data_dir) } else { store_url.clone() },
            store_options: if store_url.contains("://") { variables.collect() } else { vec![] },
            cache_dir: if cache_dir.as_os_str().is_empty() { self.data_dir.join("apk-cache") } else { cache_dir.clone() },
            cache_max_bytes: self.apks.cache_limit_bytes,
            upload_max_bytes: self.apks.upload_limit_bytes,
            part_max_bytes: self.apks.part_limit_bytes,
            uploads_max: self.apks.uploads_max,
            upload_kept: TimeDelta::hours(self.apks.upload_kept_hours),
            downloads_max: self.apks.downloads_max,
            download_bytes_per_second: self.apks.download_bytes_per_second,
            download_url_life: TimeDelta::seconds(self.apks.download_url_seconds),
            stall_timeout: Duration::from_millis(self.apks.stall_timeout_ms),
            versions_kept: self.apks.kept_versions,
        }
    }
}
