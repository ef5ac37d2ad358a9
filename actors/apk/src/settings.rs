//! Settings of the APK library.

use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::permits::PoolLimits;
use domain::transfer::MinimumRate;
use secrecy::SecretString;

/// The APK library.
#[derive(Debug, Clone)]
pub struct ApkSettings {
    /// URL of the server for devices, without a slash at the end.
    pub base_url: String,
    /// Storage of files: a folder, or the URL of an object store.
    pub store_url: String,
    /// Options of an object store, under the names of its environment variables in small letters.
    pub store_options: Vec<(String, SecretString)>,
    /// Folder of this node's own files: files that come in, and those of a store that is far away.
    pub cache_dir: PathBuf,
    /// Most of the latter.
    pub cache_max_bytes: u64,
    /// Largest APK.
    pub upload_max_bytes: u64,
    /// Largest part of an upload.
    pub part_max_bytes: usize,
    /// Shares of the bodies that one node takes in at a time; of the cluster's uploads under way, capacity, reserve and share of one account.
    pub uploads: PoolLimits,
    /// Time without a part after which an upload gives its place to one that begins.
    pub upload_idle: chrono::TimeDelta,
    /// How long an upload is kept that nobody goes on with.
    pub upload_kept: chrono::TimeDelta,
    /// Shares of the downloads at a time.
    pub downloads: PoolLimits,
    /// Rate at which one node sends all files together; 0: unlimited.
    pub download_bytes_per_second: u64,
    /// Life of a download address.
    pub download_url_life: chrono::TimeDelta,
    /// How slow an upload or download may be, and for how long.
    pub minimum_rate: MinimumRate,
    /// Versions of a package that are kept; 0: all.
    pub versions_kept: usize,
}

impl ApkSettings {
    /// The defaults, with everything in one folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            base_url: "http://127.0.0.1:8080".into(),
            store_url: super::default_store(folder),
            store_options: vec![],
            cache_dir: folder.join("apk-cache"),
            cache_max_bytes: 2 << 30,
            upload_max_bytes: 500_000_000,
            part_max_bytes: 8 << 20,
            uploads: PoolLimits { per_principal: 4, ..PoolLimits::of_capacity(16) }.with_parts(50, 25),
            upload_idle: chrono::TimeDelta::minutes(30),
            upload_kept: chrono::TimeDelta::hours(24),
            downloads: PoolLimits { per_principal: 8, per_link: 8, ..PoolLimits::of_capacity(64) }.with_parts(50, 25),
            download_bytes_per_second: 0,
            download_url_life: chrono::TimeDelta::hours(24),
            minimum_rate: MinimumRate { bytes_per_second: 4096, patience: Duration::from_secs(30) },
            versions_kept: 0,
        }
    }
}
