//! Free space of the data folder, looked at when a node starts.

use std::path::Path;

use crate::config::Config;

const MIB: u64 = 1 << 20;

/// Space of the disk of a folder that is left for the node's user, MiB.
///
/// # Errors
/// The folder is not there; some network disks do not tell.
pub(crate) fn free_mb(folder: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize) / MIB)
}

/// What to do where space is short.
pub(crate) const REMEDY: &str = "make room, or move data_dir: without any, the private database stops taking writes and uploads fail";

/// Logs a warning if less than `data_dir_free_min_mb` is left for the node's user.
pub(crate) fn warn_if_low(config: &Config) {
    let path = config.data_dir.display();
    match free_mb(&config.data_dir) {
        Ok(free_mb) => {
            let min_mb = config.data_dir_free_min_mb;
            if free_mb < min_mb {
                tracing::warn!(event = "disk.low", setting = "data_dir_free_min_mb", %path, free_mb, min_mb, remedy = REMEDY);
            }
        }
        // Some network disks do not tell.
        Err(cause) => tracing::warn!(event = "disk.unknown", %path, %cause),
    }
}
