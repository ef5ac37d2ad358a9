//! A file that is being put together on this node's disk, hashed as it grows; gone when it is not wanted.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

/// The file.
pub(super) struct Incoming {
    path: PathBuf,
    file: File,
    digest: Sha256,
    size: u64,
}

/// The whole file, closed; removed when this is dropped, unless it was moved.
pub(super) struct CompleteFile {
    path: PathBuf,
    /// SHA-256, hex.
    pub(super) sha256: String,
    /// Bytes.
    pub(super) size: u64,
}

impl Incoming {
    /// A new one in this folder.
    pub(super) async fn begin(folder: &Path) -> std::io::Result<Self> {
        let path = folder.join(format!("{}.part", Uuid::now_v7()));
        let file = File::options().write(true).create_new(true).open(&path).await?;
        Ok(Self { path, file, digest: Sha256::new(), size: 0 })
    }

    /// Bytes so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes.
    pub(super) async fn add(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).await
    }

    /// Closes it once all of it is on the disk.
    pub(super) async fn finish(mut self) -> std::io::Result<CompleteFile> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let sha256 = hex::encode(std::mem::take(&mut self.digest).finalize());
        // From here on the other removes it.
        let path = std::mem::take(&mut self.path);
        Ok(CompleteFile { path, sha256, size: self.size })
    }
}

impl CompleteFile {
    /// Path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

impl Drop for CompleteFile {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    if !path.as_os_str().is_empty() {
        let _ = std::fs::remove_file(path);
    }
}
