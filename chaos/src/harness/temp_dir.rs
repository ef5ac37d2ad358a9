//! Folders that are gone when their user is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A folder, removed on drop.
#[derive(Debug)]
pub struct TempDir(tempfile::TempDir);

impl TempDir {
    /// A new folder below the system's temporary one, or below `NEXMDM_TEST_DIR`.
    pub fn new(name: &str) -> std::io::Result<Self> {
        let parent = std::env::var_os("NEXMDM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        Self::below(&parent, name)
    }

    /// A new folder below `parent`, mode 0755: a PostgreSQL that runs as another
    /// user has to get through it.
    pub fn below(parent: &Path, name: &str) -> std::io::Result<Self> {
        fs::create_dir_all(parent)?;
        let mode = fs::Permissions::from_mode(0o755);
        tempfile::Builder::new().prefix(&format!("nexmdm-{name}-")).permissions(mode).tempdir_in(parent).map(Self)
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves it behind.
    pub fn keep(self) -> PathBuf {
        self.0.keep()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_new_passable_and_gone_in_the_end() {
        let first = TempDir::new("t").unwrap();
        let second = TempDir::new("t").unwrap();
        assert_ne!(first.path(), second.path());
        assert_eq!(fs::metadata(first.path()).unwrap().permissions().mode() & 0o777, 0o755);
        let path = first.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(first);
        assert!(!path.exists());
    }
}
