//! `[apks]`: limits, and where files are kept.

use std::time::Duration;

use apk::ApkSettings;
use apk::default_store;
use chrono::TimeDelta;
use domain::Invalid;
use domain::invalid::in_range;
use domain::permits::PoolLimits;
use domain::transfer::MinimumRate;
use secrecy::SecretString;

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

/// Options of the store at this URL: what an object store goes by is in its usual variables, as its other clients have them.
pub(super) fn store_options(url: &str) -> Vec<(String, SecretString)> {
    if !url.contains("://") {
        return vec![];
    }
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    variables.filter(|(name, _)| name.starts_with("AWS_")).map(|(name, value)| (name.to_ascii_lowercase(), value.into())).collect()
}

impl Config {
    pub(super) fn apk_settings(&self) -> ApkSettings {
        let Apks { store_url, cache_dir, .. } = &self.apks;
        ApkSettings {
            base_url: self.public_url(),
            store_url: if store_url.is_empty() { default_store(&self.data_dir) } else { store_url.clone() },
            store_options: store_options(store_url),
            cache_dir: if cache_dir.as_os_str().is_empty() { self.data_dir.join("apk-cache") } else { cache_dir.clone() },
            cache_max_bytes: self.apks.cache_limit_bytes,
            upload_max_bytes: self.apks.upload_limit_bytes,
            part_max_bytes: self.apks.part_limit_bytes,
            uploads: PoolLimits { per_principal: self.apks.uploads_per_principal_max, ..PoolLimits::of_capacity(self.apks.uploads_max) }
                .with_parts(self.apks.uploads_per_address_pct, self.apks.uploads_reserved_pct),
            upload_idle: TimeDelta::seconds(self.apks.upload_idle_seconds),
            upload_kept: TimeDelta::hours(self.apks.upload_kept_hours),
            downloads: PoolLimits {
                per_principal: self.apks.downloads_per_principal_max,
                per_link: self.apks.downloads_per_link_max,
                ..PoolLimits::of_capacity(self.apks.downloads_max)
            }
            .with_parts(self.apks.downloads_per_address_pct, self.apks.downloads_reserved_pct),
            download_bytes_per_second: self.apks.download_bytes_per_second,
            download_url_life: TimeDelta::seconds(self.apks.download_url_seconds),
            minimum_rate: MinimumRate {
                bytes_per_second: self.apks.transfer_min_bytes_per_second,
                patience: Duration::from_millis(self.apks.stall_timeout_ms),
            },
            versions_kept: self.apks.kept_versions,
        }
    }
}
