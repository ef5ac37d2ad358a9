//! The disk of the database, of which samples are taken.

use actors::settings::StorageDisk;

use super::Config;

impl Config {
    /// The disk of the private database, which lies in the data folder; of any other, nothing is known.
    pub(crate) fn storage_disk(&self, is_private: bool) -> StorageDisk {
        StorageDisk { folder: is_private.then(|| self.data_dir.clone()), holds_archives: is_private && self.archive.url.is_empty() }
    }
}
