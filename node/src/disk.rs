//! Free space of the data folder, looked at when a node starts.

use crate::config::Config;

const MIB: u64 = 1 << 20;

/// Logs a warning if less than `data_dir_free_min_mb` is left for the node's user.
pub(crate) fn warn_if_low(config: &Config) {
    let path = config.data_dir.display();
    match rustix::fs::statvfs(&config.data_dir) {
        Ok(disk) => {
            let (free_mb, min_mb) = (disk.f_bavail.saturating_mul(disk.f_frsize) / MIB, config.data_dir_free_min_mb);
            if free_mb < min_mb {
                let remedy = "make room, or move data_dir: without any, the private database stops taking writes and uploads fail";
                tracing::warn!(event = "disk.low", setting = "data_dir_free_min_mb", %path, free_mb, min_mb, remedy);
            }
        }
        // Some network disks do not tell.
        Err(cause) => tracing::warn!(event = "disk.unknown", %path, %cause),
    }
}
