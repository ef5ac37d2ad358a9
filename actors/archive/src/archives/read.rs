//! Reads whole archives, for a restore.

use std::sync::Arc;

use domain::archive::{RecordBatch, TableSchema};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::{Archives, ReadBudget, Recorded};
use crate::manifest::Manifest;
use crate::{ArchiveError, ArchiveName};

/// Batches that wait for whoever reads.
const BATCHES_AHEAD: usize = 2;

/// The rows of an archive.
pub struct ArchiveRows {
    /// Manifest.
    pub manifest: Manifest,
    /// The table, with the columns that the archive has.
    pub schema: Arc<TableSchema>,
    /// Rows in the order of the key.
    pub batches: BoxStream<'static, Result<RecordBatch, ArchiveError>>,
}

impl Archives {
    /// The same as [`Self::rows`] on a budget: the file counts with all of its bytes, before it is fetched.
    ///
    /// # Errors
    /// As there; or the budget does not reach.
    pub async fn rows_within(
        &self,
        name: &ArchiveName,
        recorded: Option<&Recorded>,
        budget: &ReadBudget,
    ) -> Result<ArchiveRows, ArchiveError> {
        budget
            .within(async {
                budget.spend(self.manifest_as(name, recorded).await?.bytes)?;
                self.rows(name, recorded).await
            })
            .await
    }

    /// The rows of an archive. Before the first one the file was compared with its manifest, byte for byte, and that with what is recorded: a store may
    /// answer an earlier version, which lacks rows.
    ///
    /// # Errors
    /// The archive is not there or not what was written; or the store fails.
    pub async fn rows(&self, name: &ArchiveName, recorded: Option<&Recorded>) -> Result<ArchiveRows, ArchiveError> {
        let key = name.file_key();
        let manifest = self.manifest_as(name, recorded).await?;
        let schema = Arc::new(manifest.schema(name.table()).map_err(|problem| ArchiveError::damaged(&name.manifest_key(), problem))?);
        let file = self.inner.fetch(&key, &manifest, &|_| {}).await?;
        let (sender, received) = mpsc::channel(BATCHES_AHEAD);
        let (inner, columns) = (Arc::clone(&self.inner), Arc::clone(&schema));
        // It says in the channel how it ended.
        let _thread = self.inner.in_background(move || {
            let given_up = || ArchiveError::damaged(&key, "nobody reads on");
            let read = inner.each_batch(&key, &file, &columns, |batch| sender.blocking_send(Ok(batch)).map_err(|_| given_up()));
            if let Err(error) = read {
                let _ = sender.blocking_send(Err(error));
            }
            Ok(())
        })?;
        let (file, wanted) = (name.file_key(), manifest.rows);
        let batches = stream::unfold(Some((received, 0)), move |state| {
            let file = file.clone();
            async move {
                let (mut received, rows) = state?;
                match received.recv().await {
                    Some(Ok(batch)) => {
                        let rows = rows + batch.rows() as u64;
                        Some((Ok(batch), Some((received, rows))))
                    }
                    Some(Err(error)) => Some((Err(error), None)),
                    None if rows == wanted => None,
                    // The thread that reads has ended without a word.
                    None => Some((Err(ArchiveError::damaged(&file, format!("{rows} rows instead of {wanted}"))), None)),
                }
            }
        });
        let batches = batches.boxed();
        Ok(ArchiveRows { manifest, schema, batches })
    }
}
