//! Archives: parts of tables as Parquet files with manifests beside them, in a folder or an object store.
//!
//! ```text
//! database --batches--> file (scratch) --upload--> incoming/... --rename--> heartbeats/2026-09-01.parquet
//!                         |  digests                                        heartbeats/2026-09-01.json, last
//!                         '---------------------------------------------------^
//! ```
//! What is read back is compared with the manifest: the file's SHA-256, each row group's, and the [digest](rows_digest) of the rows, which is the
//! same for rows that come from the database. The rows of one device are read by ranges: a footer, and the pages that hold them.

mod archives;
mod bucket;
mod digest;
mod error;
mod file;
mod low_priority;
mod manifest;
mod name;
mod settings;

pub use archives::{ArchiveRows, Archives, DeviceDay, Listed, Progress, ReadBudget, Recorded, WriteMode, Written};
pub use digest::{RowsDigest, rows_digest};
pub use error::{ArchiveError, StoreProblem};
pub use manifest::{Footer, Manifest, ManifestColumn, RowGroup, SCHEMA_VERSION};
pub use name::ArchiveName;
pub use settings::{ArchiveSettings, default_store};
