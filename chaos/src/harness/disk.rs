//! A small filesystem that can be filled to its last byte.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Name of the file that takes the space.
const BALLAST: &str = "ballast";
/// Bytes of one write.
const PIECE: usize = 1 << 16;

/// A filesystem in memory; it is gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts it at a new folder. Needs root.
    ///
    /// # Errors
    /// This process may not mount.
    pub fn mount(path: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let options = format!("size={bytes},mode=0755");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
        let output = output.context("cannot start `mount`")?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.success(), "a small filesystem cannot be mounted, which needs root: {said}");
        Ok(Self { path: path.to_owned() })
    }

    /// Folder of the filesystem.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// File that takes the space: without it the filesystem is not full.
    pub fn ballast(&self) -> PathBuf {
        self.path.join(BALLAST)
    }

    /// Writes until there is no space left; the bytes that it took.
    ///
    /// # Errors
    /// Something else than space is missing.
    pub fn fill(&self) -> Result<u64> {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.ballast())?;
        let (piece, mut size) = (vec![0; PIECE], PIECE);
        while size > 0 {
            match file.write_all(&piece[..size]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => size /= 2,
                Err(error) => return Err(error).context("the filesystem cannot be filled"),
            }
        }
        Ok(file.metadata()?.len())
    }

    /// Gives the space back, unless that is done.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn free(&self) -> Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("the space cannot be given back"),
            _ => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that still has a file open there does not keep it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).output();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TempDir;

    /// Where this process may not mount, the drill says so.
    #[test]
    fn a_small_disk_is_full_until_it_is_freed_or_needs_root() {
        let folder = TempDir::new("disk").unwrap();
        let disk = match SmallDisk::mount(&folder.path().join("disk"), 1 << 20) {
            Ok(disk) => disk,
            Err(error) => return assert!(error.to_string().contains("needs root"), "{error:#}"),
        };
        assert!(disk.fill().unwrap() > 900_000);
        assert_eq!(fs::write(disk.path().join("more"), [1; 4_096]).unwrap_err().kind(), ErrorKind::StorageFull);
        disk.free().unwrap();
        disk.free().unwrap();
        fs::write(disk.path().join("more"), [1; 4_096]).unwrap();
        drop(disk);
        assert!(!folder.path().join("disk/more").exists());
    }
}
