//! The first and the last member of a backup: what it holds, and what was written.

use domain::{ApkId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{SnapshotSequence, SnapshotTable};

use crate::BackupError;
use crate::member::is_identifier;

/// Newest format, which this build writes.
pub const FORMAT: u32 = 1;
/// Largest manifest or digest, bytes.
pub(crate) const JSON_MAX_BYTES: u64 = 64 << 20;
const PRODUCT: &str = "nexmdm";

/// Manifest of a backup: versions, time, tables, keys and APKs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the product.
    pub product: String,
    /// Format of the backup.
    pub format: u32,
    /// Version of the product that made it.
    pub version: String,
    /// Time of its snapshot, by the database's clock.
    pub created_at: Timestamp,
    /// Newest migration of its schema.
    pub schema: i64,
    /// Name of the cluster, once a node has started.
    pub cluster: Option<String>,
    /// Devices that were enrolled.
    pub devices: i64,
    /// Tables with rows, in the order in which they follow.
    pub tables: Vec<TableEntry>,
    /// Sequences.
    pub sequences: Vec<SequenceEntry>,
    /// Names of the keys that it holds.
    pub keys: Vec<String>,
    /// APKs that its rows name; `None`: their files were left out.
    pub apks: Option<Vec<ApkEntry>>,
    /// Whether it holds archives.
    pub archives: bool,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    /// Name.
    pub name: String,
    /// Columns, in the order of their values.
    pub columns: Vec<String>,
    /// The table that it is a partition of.
    pub parent: Option<String>,
    /// Its bounds, as the database tells them.
    pub bound: Option<String>,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceEntry {
    /// Name.
    pub name: String,
    /// Last value that was given out; `None`: none was.
    pub last_value: Option<i64>,
}

/// An APK, as its row names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApkEntry {
    /// Id.
    pub id: ApkId,
    /// Size.
    pub bytes: i64,
    /// SHA-256 of the file, as hex.
    pub sha256: String,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Everything but the digest itself, in order.
    pub entries: Vec<DigestEntry>,
    /// Files that the rows name and the stores did not have, or had damaged.
    pub problems: Vec<String>,
}

/// One thing that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestEntry {
    /// Name of the member; of a table, that of the folder of its parts.
    pub name: String,
    /// Members.
    pub parts: u32,
    /// Bytes.
    pub bytes: u64,
    /// Rows; of a table.
    pub rows: Option<u64>,
    /// SHA-256, as hex.
    pub sha256: String,
}

impl Digest {
    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.entries.iter().filter_map(|entry| entry.rows).sum()
    }

    /// Members of a folder.
    pub fn count_in(&self, folder: &str) -> usize {
        self.entries.iter().filter(|entry| entry.name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))).count()
    }
}

impl Manifest {
    pub(crate) fn new(version: &str) -> Self {
        Self {
            product: PRODUCT.to_owned(),
            format: FORMAT,
            version: version.to_owned(),
            created_at: Timestamp::default(),
            schema: 0,
            cluster: None,
            devices: 0,
            tables: Vec::new(),
            sequences: Vec::new(),
            keys: Vec::new(),
            apks: None,
            archives: false,
        }
    }

    /// Reads a manifest, and refuses one of another product or a later format.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BackupError> {
        /// What every format has.
        #[derive(Deserialize)]
        struct Head {
            product: String,
            format: u32,
            version: String,
        }
        let not = |what: &str| BackupError::NotABackup(format!("its manifest.json {what}"));
        let head: Head = serde_json::from_slice(bytes).map_err(|_| not("does not read"))?;
        if head.product != PRODUCT {
            return Err(not("is of another product"));
        }
        if head.format > FORMAT {
            return Err(BackupError::Format { found: head.format, known: FORMAT, version: head.version });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|cause| BackupError::damaged(format!("manifest.json: {cause}")))?;
        for table in &manifest.tables {
            let names = std::iter::once(&table.name).chain(&table.columns).chain(&table.parent);
            if let Some(name) = names.into_iter().find(|name| !is_identifier(name)) {
                return Err(BackupError::damaged(format!("manifest.json: {name:?} is no name of a table or column")));
            }
        }
        if let Some(sequence) = manifest.sequences.iter().find(|sequence| !is_identifier(&sequence.name)) {
            return Err(BackupError::damaged(format!("manifest.json: {:?} is no name of a sequence", sequence.name)));
        }
        Ok(manifest)
    }
}

impl From<SnapshotTable> for TableEntry {
    fn from(table: SnapshotTable) -> Self {
        let SnapshotTable { name, columns, parent, bound } = table;
        Self { name, columns, parent, bound }
    }
}

impl From<&TableEntry> for SnapshotTable {
    fn from(table: &TableEntry) -> Self {
        let TableEntry { name, columns, parent, bound } = table.clone();
        Self { name, columns, parent, bound }
    }
}

impl From<SnapshotSequence> for SequenceEntry {
    fn from(SnapshotSequence { name, last_value }: SnapshotSequence) -> Self {
        Self { name, last_value }
    }
}

impl From<&SequenceEntry> for SnapshotSequence {
    fn from(SequenceEntry { name, last_value }: &SequenceEntry) -> Self {
        Self { name: name.clone(), last_value: *last_value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(manifest: &Manifest) -> Vec<u8> {
        serde_json::to_vec(manifest).unwrap()
    }

    #[test]
    fn a_later_format_and_another_product_are_named() {
        let mut manifest = Manifest::new("1.2.3");
        assert_eq!(Manifest::read(&json(&manifest)).unwrap(), manifest);
        manifest.format = FORMAT + 1;
        let error = Manifest::read(&json(&manifest)).unwrap_err().to_string();
        assert!(error.contains("format 2") && error.contains("1.2.3"), "{error}");
        manifest.product = "other".to_owned();
        assert!(matches!(Manifest::read(&json(&manifest)), Err(BackupError::NotABackup(_))));
        assert!(matches!(Manifest::read(b"{}"), Err(BackupError::NotABackup(_))));
    }

    #[test]
    fn names_that_would_be_statements_are_refused() {
        let mut manifest = Manifest::new("1");
        manifest.tables.push(TableEntry { name: "device\"; DROP".to_owned(), columns: vec![], parent: None, bound: None });
        assert!(matches!(Manifest::read(&json(&manifest)), Err(BackupError::Damaged(_))));
    }
}
