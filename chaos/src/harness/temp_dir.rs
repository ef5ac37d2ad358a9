//! Temporary folders.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder, removed on drop.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// A new folder below the system's temporary one, or below `NEXMDM_TEST_DIR`.
    pub fn new(name: &str) -> std::io::Result<Self> {
        let parent = std::env::var_os("NEXMDM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        Self::below(&parent, name)
    }

    /// A new folder below `parent`, mode 0755: a PostgreSQL that runs as another
    /// user has to get through it.
    pub fn below(parent: &Path, name: &str) -> std::io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(parent)?;
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("nexmdm-{name}-{}-{n}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                    return Ok(Self { path });
                }
                // Left behind by a killed process that had the same pid.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the folder.
    pub fn keep(mut self) -> PathBuf {
        // Drop then removes nothing.
        std::mem::take(&mut self.path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        // A failed removal is ignored.
        let _ = fs::remove_dir_all(&self.path);
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
