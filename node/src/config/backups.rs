//! `[backup]`: the schedule of backups.

use actors::settings::BackupSettings;
use chrono::TimeDelta;
use domain::Invalid;

use super::sections::{Backup, Config};

impl Backup {
    /// Whether the server makes backups.
    pub(crate) fn is_scheduled(&self) -> bool {
        !self.directory.as_os_str().is_empty() && self.every_hours > 0
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        if self.is_scheduled() && self.passphrase_file.as_os_str().is_empty() {
            let problem =
                "empty, and backup.directory is set: a backup holds every key of the cluster, so that it is encrypted with a passphrase";
            return Err(Invalid::new("backup.passphrase_file", problem));
        }
        Ok(())
    }
}

impl Config {
    /// Without keys and version, which `serve` adds.
    pub(super) fn backup_settings(&self) -> BackupSettings {
        let backup = &self.backup;
        BackupSettings {
            directory: Some(backup.directory.clone()).filter(|directory| !directory.as_os_str().is_empty()),
            every: Some(TimeDelta::hours(backup.every_hours)).filter(|every| !every.is_zero()),
            kept: backup.kept,
            passphrase_file: backup.passphrase_file.clone(),
            work_factor: backup.work_factor,
            keys: Vec::new(),
            version: String::new(),
            archives: Some(self.archive_settings()),
        }
    }
}
