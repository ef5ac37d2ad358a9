//! Writes archives.

use std::sync::Arc;

use bytes::Bytes;
use chrono::TimeDelta;
use domain::Timestamp;
use domain::archive::{RecordBatch, TableSchema};
use futures_util::{Stream, TryStreamExt};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::{Archives, FILES_MAX, Inner, answered};
use crate::bucket::{Bucket, from_file};
use crate::file::{EncodeError, Encoded, FileWriter};
use crate::manifest::{Manifest, ManifestColumn, PRODUCT, SCHEMA_VERSION};
use crate::{ArchiveError, ArchiveName};

/// Batches that wait for the encoder.
const BATCHES_AHEAD: usize = 1;
/// Age at which a file that has not become whole is deleted.
const LEFTOVER_AGE: TimeDelta = TimeDelta::hours(24);

/// Treatment of an archive that is there under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// It stays, and nothing is written.
    Create,
    /// It is replaced, once the new file was read back from the store and is what was written.
    Replace,
}

/// Outcome of writing an archive.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// The archive is in the store.
    Stored(Manifest),
    /// There was one before, which stayed.
    Exists(Manifest),
}

impl Written {
    /// The manifest of the archive that is there now.
    pub fn manifest(&self) -> &Manifest {
        match self {
            Self::Stored(manifest) | Self::Exists(manifest) => manifest,
        }
    }
}

impl Archives {
    /// Writes the rows of a stream, which are in the order of the table's key. `extra` is kept in the manifest.
    ///
    /// # Errors
    /// The rows, the disk or the store fail; what was there before stays.
    pub async fn write<E: Into<ArchiveError>>(
        &self,
        name: &ArchiveName,
        schema: &Arc<TableSchema>,
        batches: impl Stream<Item = Result<RecordBatch, E>>,
        mode: WriteMode,
        extra: Map<String, Value>,
        now: Timestamp,
    ) -> Result<Written, ArchiveError> {
        let inner = &self.inner;
        if mode == WriteMode::Create
            && let Some(manifest) = self.manifest(name).await?
        {
            return Ok(Written::Exists(manifest));
        }
        inner.bucket()?.sweep(now - LEFTOVER_AGE, FILES_MAX).await?;
        let Encoded { file, bytes, sha256, row_groups, footer, rows } = inner.encode(name, schema, batches).await?;
        let manifest = Manifest {
            schema_version: SCHEMA_VERSION,
            product: PRODUCT.to_owned(),
            created_at: now,
            file: name.file_key(),
            bytes,
            sha256,
            rows: rows.rows,
            rows_sha256: rows.sha256,
            first_at: rows.first_at,
            last_at: rows.last_at,
            time: schema.time.to_string(),
            key: schema.key.iter().map(ToString::to_string).collect(),
            columns: schema.columns.iter().map(ManifestColumn::from).collect(),
            row_groups,
            footer,
            extra,
        };
        let incoming = Bucket::incoming(&name.to_string());
        let placed = self.place(name, &incoming, file, &manifest, mode).await;
        inner.footers.invalidate(name);
        if let Err(error) = placed {
            // What cannot be deleted now is deleted by a later write.
            let _ = inner.bucket()?.delete(&incoming).await;
            return Err(error);
        }
        tracing::info!(event = "archive.written", file = manifest.file, rows = manifest.rows, bytes = manifest.bytes);
        Ok(Written::Stored(manifest))
    }

    async fn place(
        &self,
        name: &ArchiveName,
        incoming: &str,
        file: std::fs::File,
        manifest: &Manifest,
        mode: WriteMode,
    ) -> Result<(), ArchiveError> {
        let bucket = self.inner.bucket()?;
        let pieces = from_file(tokio::fs::File::from_std(file)).map_err(|cause| self.inner.disk(cause));
        bucket.upload(incoming, pieces).await?;
        match bucket.head(incoming).await? {
            None => return Err(ArchiveError::Missing { key: incoming.to_owned() }),
            Some(found) if found.size != manifest.bytes => {
                let problem = format!("the store kept {} of {} bytes", found.size, manifest.bytes);
                return Err(ArchiveError::damaged(incoming, problem));
            }
            Some(_) => {}
        }
        if mode == WriteMode::Replace {
            self.check_file(incoming, name.table(), manifest, &|_| {}).await?;
        }
        let json = serde_json::to_vec_pretty(manifest).map_err(|cause| ArchiveError::damaged(&name.manifest_key(), cause.to_string()))?;
        bucket.rename(incoming, &name.file_key()).await?;
        bucket.put(&name.manifest_key(), Bytes::from(json)).await
    }
}

impl Inner {
    /// Writes the rows into a file of this machine. Encoding runs beside the reading of the next batch.
    async fn encode<E: Into<ArchiveError>>(
        self: &Arc<Self>,
        name: &ArchiveName,
        schema: &Arc<TableSchema>,
        batches: impl Stream<Item = Result<RecordBatch, E>>,
    ) -> Result<Encoded, ArchiveError> {
        let (sender, mut received) = mpsc::channel::<RecordBatch>(BATCHES_AHEAD);
        let (inner, schema) = (Arc::clone(self), Arc::clone(schema));
        let thread = self.in_background(move || {
            let mut encode = |file| {
                let mut writer = FileWriter::new(file, &schema, inner.settings.row_group_rows)?;
                // Where the sender is dropped because its rows failed, nobody waits for what was written.
                while let Some(batch) = received.blocking_recv() {
                    writer.add(batch)?;
                }
                writer.finish()
            };
            encode(inner.scratch()?).map_err(|error| match error {
                EncodeError::Rows(invalid) => ArchiveError::Rows(invalid),
                EncodeError::Disk(cause) => inner.disk(cause),
            })
        })?;
        let mut batches = std::pin::pin!(batches);
        while let Some(batch) = batches.try_next().await.map_err(Into::<ArchiveError>::into)? {
            if sender.send(batch).await.is_err() {
                // The encoder gave up; it says why.
                break;
            }
        }
        drop(sender);
        let mut encoded = answered(&name.file_key(), thread).await?;
        std::io::Seek::rewind(&mut encoded.file).map_err(|cause| self.disk(cause))?;
        Ok(encoded)
    }
}
