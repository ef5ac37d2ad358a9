//! The manifest of an archive: what its file has to be, as JSON beside it. It is written last, so that an archive with a manifest is whole.

use domain::Timestamp;
use domain::archive::{Column, ColumnType, TableSchema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::RowsDigest;

/// Version of the manifest and of the file's format.
pub const SCHEMA_VERSION: u32 = 1;
/// The build that writes archives.
pub(crate) const PRODUCT: &str = concat!("nexmdm ", env!("CARGO_PKG_VERSION"));

/// Manifest of an archive: size, digests, rows and columns that its file has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the manifest and of the file's format.
    pub schema_version: u32,
    /// The build that wrote the file.
    pub product: String,
    /// When it was written.
    pub created_at: Timestamp,
    /// Key of the file.
    pub file: String,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Number of rows.
    pub rows: u64,
    /// SHA-256 of the rows in their canonical form, in hexadecimal.
    pub rows_sha256: String,
    /// Time of the earliest row; absent without rows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_at: Option<Timestamp>,
    /// Time of the latest row; absent without rows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_at: Option<Timestamp>,
    /// Column of that time.
    pub time: String,
    /// Columns by which the rows are in strictly ascending order.
    pub key: Vec<String>,
    /// Columns.
    pub columns: Vec<ManifestColumn>,
    /// Row groups, in the order of the file.
    pub row_groups: Vec<RowGroup>,
    /// What follows the row groups: page indexes, metadata, magic number.
    pub footer: Footer,
    /// What the writer wanted to be kept with the archive.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub extra: Map<String, Value>,
}

/// A column of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestColumn {
    /// Name, as in the database.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether every row has a value.
    pub required: bool,
}

/// A row group of the file. The first one's bytes begin with the file's magic number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowGroup {
    /// Number of rows.
    pub rows: u64,
    /// Bytes, behind those of the row group before.
    pub bytes: u64,
    /// SHA-256 of these bytes, in hexadecimal.
    pub sha256: String,
}

/// The end of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// Bytes, up to the end.
    pub bytes: u64,
    /// SHA-256 of these bytes, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Reads a manifest.
    pub(crate) fn read(json: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(json).map_err(|cause| format!("no manifest: {cause}"))?;
        if manifest.schema_version > SCHEMA_VERSION {
            let version = manifest.schema_version;
            return Err(format!("schema version {version} is newer than {SCHEMA_VERSION}, the newest that this build reads"));
        }
        let grouped = manifest
            .row_groups
            .iter()
            .fold((0u64, 0u64), |(bytes, rows), group| (bytes.saturating_add(group.bytes), rows.saturating_add(group.rows)));
        if grouped != (manifest.bytes.wrapping_sub(manifest.footer.bytes), manifest.rows) {
            return Err(format!("row groups of {} rows and {} bytes are not those of the file", grouped.1, grouped.0));
        }
        Ok(manifest)
    }

    /// The table, as the manifest describes it.
    ///
    /// # Errors
    /// Names a column whose type this build does not know.
    pub(crate) fn schema(&self, table: &str) -> Result<TableSchema, String> {
        let columns = self.columns.iter().map(|column| {
            let kind =
                ColumnType::parse(&column.kind).ok_or_else(|| format!("column {} has the unknown type {}", column.name, column.kind))?;
            Ok(Column { name: column.name.clone().into(), kind, required: column.required })
        });
        Ok(TableSchema {
            name: table.to_owned().into(),
            columns: columns.collect::<Result<_, String>>()?,
            key: self.key.iter().map(|name| name.clone().into()).collect(),
            time: self.time.clone().into(),
        })
    }

    /// The digest of the rows.
    pub fn digest(&self) -> RowsDigest {
        RowsDigest { rows: self.rows, sha256: self.rows_sha256.clone(), first_at: self.first_at, last_at: self.last_at }
    }
}

impl From<&Column> for ManifestColumn {
    fn from(column: &Column) -> Self {
        Self { name: column.name.clone().into_owned(), kind: column.kind.as_str().to_owned(), required: column.required }
    }
}
