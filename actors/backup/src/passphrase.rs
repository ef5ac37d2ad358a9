//! The passphrase of backups.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use crate::BackupError;

/// Shortest passphrase: whoever has a backup can try offline, as often as they like.
pub const PASSPHRASE_MIN_CHARS: usize = 12;
/// Largest file of one.
const FILE_MAX_BYTES: u64 = 4096;

/// Refuses a passphrase that is too short to protect keys.
///
/// # Errors
/// The passphrase has too few characters, or too few that differ.
pub fn check_passphrase(passphrase: &SecretString) -> Result<(), BackupError> {
    const DISTINCT_MIN: usize = 5;
    let text = passphrase.expose_secret();
    let chars = text.chars().count();
    if chars < PASSPHRASE_MIN_CHARS {
        return Err(BackupError::Passphrase(format!(
            "has {chars} characters, fewer than the {PASSPHRASE_MIN_CHARS} needed: who has the backup can try as often as they like"
        )));
    }
    let distinct = text.chars().collect::<std::collections::HashSet<_>>().len();
    if distinct < DISTINCT_MIN {
        return Err(BackupError::Passphrase(format!("has {distinct} different characters, fewer than the {DISTINCT_MIN} needed")));
    }
    Ok(())
}

/// The passphrase in the first line of a file that is for its owner only.
///
/// # Errors
/// The file cannot be read, is open to others, or its line does not do.
pub fn read_passphrase_file(path: &Path) -> Result<SecretString, BackupError> {
    let file = std::fs::File::open(path).map_err(BackupError::at(path))?;
    let metadata = file.metadata().map_err(BackupError::at(path))?;
    if domain::secret_file::is_open_to_others(metadata.mode(), metadata.uid()) {
        return Err(BackupError::Refused(format!("{} is open to other users: chmod 600 it", path.display())));
    }
    let mut text = String::new();
    file.take(FILE_MAX_BYTES).read_to_string(&mut text).map_err(BackupError::at(path))?;
    let passphrase = SecretString::from(text.lines().next().unwrap_or_default());
    check_passphrase(&passphrase)?;
    Ok(passphrase)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn short_passphrases_are_refused_and_never_shown() {
        for (text, is_fit) in
            [("", false), ("elevenchars", false), ("twelve chars", true), ("aaaaaaaaaaaaaaaa", false), ("äöüßäöüßabcd", true)]
        {
            let checked = check_passphrase(&text.into());
            assert_eq!(checked.is_ok(), is_fit, "{text}");
            if let (Err(error), false) = (checked, text.is_empty()) {
                assert!(!error.to_string().contains(text), "{error}");
            }
        }
    }

    #[test]
    fn a_file_is_for_its_owner_and_its_first_line_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "correct horse battery\nnot this\n").unwrap();
        assert_eq!(read_passphrase_file(file.path()).unwrap().expose_secret(), "correct horse battery");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read_passphrase_file(file.path()).unwrap_err().to_string().contains("chmod 600"));
    }
}
