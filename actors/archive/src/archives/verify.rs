//! Checks archives: what the store gives back has to be what the manifest says.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use domain::archive::TableSchema;
use futures_util::TryStreamExt;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{Archives, BATCH_ROWS, Inner, answered};
use crate::digest::{RowsDigest, RowsHasher};
use crate::file::{GroupReader, Sparse, foreign_columns, group_range};
use crate::manifest::Manifest;
use crate::{ArchiveError, ArchiveName};

/// Pieces that wait for the disk.
const PIECES_AHEAD: usize = 4;

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read from the store.
    pub bytes: u64,
    /// Bytes of the file.
    pub bytes_total: u64,
    /// Rows checked.
    pub rows: u64,
    /// Rows of the file.
    pub rows_total: u64,
}

/// What is recorded of an archive elsewhere. An older version that the store answers has another digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of the rows, in hexadecimal.
    pub rows_sha256: String,
    /// Number of rows.
    pub rows: u64,
}

impl From<&Manifest> for Recorded {
    fn from(manifest: &Manifest) -> Self {
        Self { sha256: manifest.sha256.clone(), rows_sha256: manifest.rows_sha256.clone(), rows: manifest.rows }
    }
}

impl Archives {
    /// Reads an archive back from the store and compares it with its manifest, and that with what is recorded.
    ///
    /// # Errors
    /// Names the file and what differs; or the store fails.
    pub async fn verify(
        &self,
        name: &ArchiveName,
        recorded: Option<&Recorded>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Manifest, ArchiveError> {
        let manifest = self.manifest_as(name, recorded).await?;
        self.check_file(&name.file_key(), name.table(), &manifest, progress).await?;
        Ok(manifest)
    }

    /// The manifest of an archive that has to be there, and to be the one that is recorded.
    pub(super) async fn manifest_as(&self, name: &ArchiveName, recorded: Option<&Recorded>) -> Result<Manifest, ArchiveError> {
        let key = name.manifest_key();
        let manifest = self.manifest(name).await?.ok_or_else(|| ArchiveError::Missing { key: key.clone() })?;
        if let Some(recorded) = recorded
            && Recorded::from(&manifest) != *recorded
        {
            let problem = format!(
                "is of another version: {} rows with file digest {} and row digest {}; recorded are {} rows with {} and {}",
                manifest.rows, manifest.sha256, manifest.rows_sha256, recorded.rows, recorded.sha256, recorded.rows_sha256
            );
            return Err(ArchiveError::damaged(&key, problem));
        }
        Ok(manifest)
    }

    /// Compares a file with a manifest.
    pub(super) async fn check_file(
        &self,
        key: &str,
        table: &str,
        manifest: &Manifest,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), ArchiveError> {
        let at = |bytes, rows| Progress { bytes, bytes_total: manifest.bytes, rows, rows_total: manifest.rows };
        let file = self.inner.fetch(key, manifest, &|bytes| progress(at(bytes, 0))).await?;
        let (sender, mut counted) = mpsc::channel(PIECES_AHEAD);
        let schema = manifest.schema(table).map_err(|problem| ArchiveError::damaged(key, problem))?;
        let (inner, schema, name) = (Arc::clone(&self.inner), Arc::new(schema), key.to_owned());
        let thread = self.inner.in_background(move || inner.digest_of(&name, &file, &schema, &sender))?;
        while let Some(rows) = counted.recv().await {
            progress(at(manifest.bytes, rows));
        }
        let found = answered(key, thread).await?;
        match manifest.digest().difference(&found) {
            None => Ok(()),
            Some(difference) => Err(ArchiveError::damaged(key, difference)),
        }
    }
}

impl Inner {
    /// Copies a file of the store into one of this machine, if it has the bytes that the manifest says.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        key: &str,
        manifest: &Manifest,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<File, ArchiveError> {
        let (meta, mut pieces) = self.bucket()?.pieces(key).await?;
        if meta.size != manifest.bytes {
            return Err(ArchiveError::damaged(key, format!("{} bytes instead of {}", meta.size, manifest.bytes)));
        }
        let (sender, mut received) = mpsc::channel::<Bytes>(PIECES_AHEAD);
        let (inner, parts) = (Arc::clone(self), PartHasher::new(manifest));
        let thread = self.in_background(move || {
            let (mut file, mut parts) = (inner.scratch()?, parts);
            while let Some(piece) = received.blocking_recv() {
                file.write_all(&piece).map_err(|cause| inner.disk(cause))?;
                parts.add(&piece);
            }
            Ok((file, parts))
        })?;
        let mut bytes = 0;
        while let Some(piece) = pieces.try_next().await? {
            bytes += piece.len() as u64;
            if bytes > manifest.bytes {
                return Err(ArchiveError::damaged(key, format!("more than {} bytes", manifest.bytes)));
            }
            if sender.send(piece).await.is_err() {
                break;
            }
            progress(bytes);
        }
        drop(sender);
        let (file, parts) = answered(key, thread).await?;
        if bytes != manifest.bytes {
            return Err(ArchiveError::damaged(key, format!("ends after {bytes} of {} bytes", manifest.bytes)));
        }
        match parts.difference(manifest) {
            None => Ok(file),
            Some(difference) => Err(ArchiveError::damaged(key, difference)),
        }
    }

    /// The digest of a file's rows.
    fn digest_of(
        &self,
        key: &str,
        file: &File,
        schema: &Arc<TableSchema>,
        counted: &mpsc::Sender<u64>,
    ) -> Result<RowsDigest, ArchiveError> {
        let mut hasher = RowsHasher::new(schema)?;
        let mut rows = 0;
        self.each_batch(key, file, schema, |batch| {
            hasher.add(&batch).map_err(|invalid| ArchiveError::damaged(key, invalid.problem))?;
            rows += batch.rows() as u64;
            // Nobody listens once the check was given up.
            counted.blocking_send(rows).map_err(|_| ArchiveError::damaged(key, "the check was given up"))
        })?;
        Ok(hasher.finish())
    }

    /// Hands on the rows of a file, in batches.
    pub(super) fn each_batch(
        &self,
        key: &str,
        file: &File,
        schema: &Arc<TableSchema>,
        mut handle: impl FnMut(domain::archive::RecordBatch) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let metadata = metadata_of(key, file, schema)?;
        for (place, group) in metadata.row_groups().iter().enumerate() {
            let unreadable = |problem: String| ArchiveError::damaged(key, format!("row group {place}: {problem}"));
            let range = group_range(group).map_err(unreadable)?;
            let length = file.metadata().map_err(|cause| self.disk(cause))?.len();
            if range.end > length {
                return Err(unreadable(format!("ends at byte {} of {length}", range.end)));
            }
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut bytes, range.start).map_err(|cause| self.disk(cause))?;
            let bytes = Arc::new(Sparse::new(length, vec![(range.start, bytes.into())]));
            let mut reader = GroupReader::new(&bytes, &metadata, place, schema, None).map_err(|cause| unreadable(cause.to_string()))?;
            while let Some(batch) = reader.next(BATCH_ROWS).map_err(unreadable)? {
                handle(batch)?;
            }
        }
        Ok(())
    }
}

fn metadata_of(key: &str, file: &File, schema: &TableSchema) -> Result<ParquetMetaData, ArchiveError> {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(file);
    let metadata = metadata.map_err(|cause| ArchiveError::damaged(key, format!("the footer cannot be read: {cause}")))?;
    match foreign_columns(&metadata, schema) {
        None => Ok(metadata),
        Some(difference) => Err(ArchiveError::damaged(key, difference)),
    }
}

/// Hashes a file as it comes, whole and by the parts of its manifest.
struct PartHasher {
    whole: Sha256,
    part: Sha256,
    /// Bytes of the parts that are not whole yet, the next one first.
    left: std::vec::IntoIter<u64>,
    left_of_part: u64,
    found: Vec<String>,
}

impl PartHasher {
    fn new(manifest: &Manifest) -> Self {
        let sizes: Vec<_> = manifest.row_groups.iter().map(|group| group.bytes).chain([manifest.footer.bytes]).collect();
        let mut left = sizes.into_iter();
        let left_of_part = left.next().unwrap_or_default();
        Self { whole: Sha256::new(), part: Sha256::new(), left, left_of_part, found: vec![] }
    }

    fn add(&mut self, mut piece: &[u8]) {
        self.whole.update(piece);
        while !piece.is_empty() {
            let count = usize::try_from(self.left_of_part).unwrap_or(usize::MAX).min(piece.len());
            let (now, later) = piece.split_at(count);
            self.part.update(now);
            self.left_of_part -= count as u64;
            piece = later;
            if self.left_of_part == 0 {
                self.found.push(hex::encode(std::mem::take(&mut self.part).finalize()));
                match self.left.next() {
                    Some(bytes) => self.left_of_part = bytes,
                    None => return,
                }
            }
        }
    }

    /// What differs from the manifest, in words that say where.
    fn difference(self, manifest: &Manifest) -> Option<String> {
        let whole = hex::encode(self.whole.finalize());
        if whole == manifest.sha256 {
            return None;
        }
        let mut start = 0;
        let groups =
            manifest.row_groups.iter().enumerate().map(|(place, group)| (format!("row group {place}"), group.bytes, &group.sha256));
        let parts = groups.chain([("the footer".to_owned(), manifest.footer.bytes, &manifest.footer.sha256)]);
        let damaged: Vec<_> = parts
            .enumerate()
            .filter_map(|(place, (part, bytes, sha256))| {
                let from = start;
                start += bytes;
                (self.found.get(place) != Some(sha256)).then(|| format!("{part} (bytes {from} to {}) is damaged", start.saturating_sub(1)))
            })
            .take(5)
            .collect();
        let where_ = if damaged.is_empty() { String::new() } else { format!("; {}", damaged.join(", ")) };
        Some(format!("byte digest differs: {whole} instead of {}{where_}", manifest.sha256))
    }
}
