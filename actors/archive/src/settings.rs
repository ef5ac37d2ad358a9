//! Settings of archives.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::Invalid;
use object_store::ObjectStore;
use objects::Location;
use secrecy::SecretString;

/// Archives: where they are kept, and what reading and writing them may take.
#[derive(Debug, Clone)]
pub struct ArchiveSettings {
    /// Store: a folder, or the URL of an object store.
    pub url: String,
    /// Options of an object store, under the names of its environment variables in small letters.
    pub options: Vec<(String, SecretString)>,
    /// Folder of this node for files that are being written or checked; they have no names there, so that a node that is killed leaves none.
    pub scratch_dir: PathBuf,
    /// Rows of a row group: what is held in memory while a file is written.
    pub row_group_rows: usize,
    /// Rows that one statement reads from the database.
    pub chunk_rows: usize,
    /// Timeout of the store for one piece of a file, and for one answer without.
    pub timeout: Duration,
    /// Most bytes that one read of a device's rows fetches from the store.
    pub read_bytes_max: u64,
    /// Longest that one read of a device's rows takes.
    pub read_timeout: Duration,
    /// Reads of devices' rows at a time on a node.
    pub reads_max: usize,
    /// Most bytes of footers that are kept in memory.
    pub footer_cache_bytes: u64,
}

impl ArchiveSettings {
    /// The defaults, with everything in one folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            url: default_store(folder),
            options: vec![],
            scratch_dir: folder.join("archive-scratch"),
            row_group_rows: 131_072,
            chunk_rows: 1024,
            timeout: Duration::from_secs(60),
            read_bytes_max: 256 << 20,
            read_timeout: Duration::from_secs(10),
            reads_max: 4,
            footer_cache_bytes: 64 << 20,
        }
    }

    /// Checks the store that the settings name, and makes no folder.
    ///
    /// # Errors
    /// Names the setting.
    pub fn check(&self) -> Result<(), Invalid> {
        self.location().check()
    }

    /// Opens the store itself, for whoever copies its files as they are. Those below `incoming/` are not whole.
    ///
    /// # Errors
    /// Names the setting.
    pub fn open_store(&self) -> Result<Arc<dyn ObjectStore>, Invalid> {
        Ok(self.location().open()?.store)
    }

    pub(crate) fn location(&self) -> Location<'_> {
        Location { setting: "archive.url", place: &self.url, options: &self.options, synced: true }
    }
}

/// The folder of archives below a node's data folder.
pub fn default_store(data_dir: &Path) -> String {
    data_dir.join("archive").to_string_lossy().into_owned()
}
