//! Names, times and retention of the backups of a schedule.

use std::fs;
use std::path::Path;

use chrono::{NaiveDateTime, TimeDelta};
use domain::Timestamp;

use crate::BackupError;
use crate::create::{UNFINISHED_PREFIX, UNFINISHED_SUFFIX};

/// Time in the name of a file.
const TIME: &str = "nexmdm-%Y%m%dT%H%M%SZ.backup";

/// Name of a backup that is made now. Names sort by time.
pub fn file_name(now: Timestamp) -> String {
    now.format(TIME).to_string()
}

/// Whether another backup is due; `newest` is the newest that was made until now.
pub fn is_due(newest: Option<Timestamp>, every: TimeDelta, now: Timestamp) -> bool {
    newest.is_none_or(|newest| now - newest >= every)
}

fn is_ours(name: &str) -> bool {
    NaiveDateTime::parse_from_str(name, TIME).is_ok()
}

/// Removes the oldest backups of the schedule from a folder until `kept` are left, at least one. Other files stay, and so do names from the future,
/// by a clock that was wrong: they neither count nor push out good ones. Answers the names that went.
///
/// # Errors
/// The folder cannot be read, or a file not be removed.
pub fn remove_old(folder: &Path, kept: usize, now: Timestamp) -> Result<Vec<String>, BackupError> {
    let newest = file_name(now);
    let mut names: Vec<String> = names(folder)?.into_iter().filter(|name| is_ours(name) && *name <= newest).collect();
    names.sort();
    let excess = names.len().saturating_sub(kept.max(1));
    names.truncate(excess);
    for name in &names {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(BackupError::at(&path))?;
    }
    Ok(names)
}

/// Removes what was left by backups that were killed, if nothing has been written to it since `before`. Answers how many.
///
/// # Errors
/// The folder cannot be read, or a file not be removed.
pub fn remove_unfinished(folder: &Path, before: Timestamp) -> Result<usize, BackupError> {
    let mut removed = 0;
    for name in names(folder)?.into_iter().filter(|name| name.starts_with(UNFINISHED_PREFIX) && name.ends_with(UNFINISHED_SUFFIX)) {
        let path = folder.join(&name);
        let written_at = fs::metadata(&path).and_then(|metadata| metadata.modified()).map(Timestamp::from);
        // One that is gone has been put in place; one that is being read back is locked.
        if written_at.is_ok_and(|at| at < before) && !is_locked(&path) {
            fs::remove_file(&path).map_err(BackupError::at(&path))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn is_locked(path: &Path) -> bool {
    fs::File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

fn names(folder: &Path) -> Result<Vec<String>, BackupError> {
    let entries = fs::read_dir(folder).map_err(BackupError::at(folder))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<Result<_, _>>().map_err(BackupError::at(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_timestamp(1_780_315_200 + hour * 3600, 0).unwrap()
    }

    #[test]
    fn a_backup_is_due_once_the_last_is_old() {
        let every = TimeDelta::hours(24);
        assert!(is_due(None, every, at(0)));
        assert!(!is_due(Some(at(0)), every, at(23)));
        assert!(is_due(Some(at(0)), every, at(24)));
    }

    #[test]
    fn names_from_the_future_neither_count_nor_push_out_the_one_just_made() {
        let folder = tempfile::tempdir().unwrap();
        for hour in [0, 1, 500] {
            fs::write(folder.path().join(file_name(at(hour))), "x").unwrap();
        }
        assert_eq!(remove_old(folder.path(), 1, at(1)).unwrap(), [file_name(at(0))]);
        assert!(remove_old(folder.path(), 1, at(1)).unwrap().is_empty(), "the good one stays");
        assert_eq!(remove_old(folder.path(), 1, at(500)).unwrap(), [file_name(at(1))], "once its time has come it counts");
    }

    #[test]
    fn the_oldest_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for hour in 0..5 {
            fs::write(folder.path().join(file_name(at(hour))), "x").unwrap();
        }
        for other in ["nexmdm.backup", "nexmdm-before-upgrade.backup", "notes.txt", ".nexmdm-backup-x.partial"] {
            fs::write(folder.path().join(other), "x").unwrap();
        }
        assert_eq!(remove_old(folder.path(), 2, at(4)).unwrap(), [file_name(at(0)), file_name(at(1)), file_name(at(2))]);
        assert_eq!(remove_old(folder.path(), 0, at(4)).unwrap(), [file_name(at(3))], "one always stays");
        assert!(remove_old(folder.path(), 1, at(4)).unwrap().is_empty());
        assert_eq!(remove_unfinished(folder.path(), at(0)).unwrap(), 0, "somebody may be writing it");
        let reading = fs::File::open(folder.path().join(".nexmdm-backup-x.partial")).unwrap();
        reading.lock_shared().unwrap();
        assert_eq!(remove_unfinished(folder.path(), Timestamp::MAX_UTC).unwrap(), 0, "somebody reads it back");
        drop(reading);
        assert_eq!(remove_unfinished(folder.path(), Timestamp::MAX_UTC).unwrap(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
        assert!(remove_old(&folder.path().join("absent"), 1, at(4)).unwrap_err().to_string().contains("absent"));
    }
}
