//! Files of the stores of APKs and archives, as they are read for a backup and come back from one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{Error, ObjectStore, ObjectStoreExt, WriteMultipart};
use sha2::{Digest as _, Sha256};

use crate::BackupError;

/// How long the store may take for one piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);
/// Parts of one file that are on their way to the store.
const PARTS_AHEAD: usize = 2;

/// A store of files.
#[derive(Clone)]
pub(crate) struct Files(pub(crate) Arc<dyn ObjectStore>);

async fn within<T>(key: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, BackupError> {
    match tokio::time::timeout(PIECE_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|cause| BackupError::Objects { what: key.to_owned(), cause: cause.to_string() }),
        Err(_) => Err(BackupError::Objects { what: key.to_owned(), cause: format!("no answer of the store within {PIECE_TIMEOUT:?}") }),
    }
}

impl Files {
    /// Keys of all files.
    pub(crate) async fn keys(&self) -> Result<Vec<String>, BackupError> {
        let mut found = self.0.list(None);
        let mut keys = Vec::new();
        while let Some(file) = within("the list of archives", found.try_next()).await? {
            keys.push(file.location.to_string());
        }
        keys.sort();
        Ok(keys)
    }

    /// Opens a file: its size, and its bytes; `None`: it is not there.
    pub(crate) async fn open(&self, key: &str) -> Result<Option<(u64, FileBytes)>, BackupError> {
        let opened = tokio::time::timeout(PIECE_TIMEOUT, self.0.get(&Key::from(key))).await;
        let file = match opened {
            Ok(Err(Error::NotFound { .. })) => return Ok(None),
            Ok(Ok(file)) => file,
            Ok(Err(cause)) => return Err(BackupError::Objects { what: key.to_owned(), cause: cause.to_string() }),
            Err(_) => {
                return Err(BackupError::Objects {
                    what: key.to_owned(),
                    cause: format!("no answer of the store within {PIECE_TIMEOUT:?}"),
                });
            }
        };
        let size = file.meta.size;
        Ok(Some((size, FileBytes { key: key.to_owned(), pieces: file.into_stream() })))
    }

    /// Whether the file is there with these bytes; `None`: it is not there.
    pub(crate) async fn holds(&self, key: &str, bytes: u64, sha256: &str) -> Result<Option<bool>, BackupError> {
        let Some((size, mut pieces)) = self.open(key).await? else { return Ok(None) };
        if size != bytes {
            return Ok(Some(false));
        }
        let mut hash = Sha256::new();
        while let Some(piece) = pieces.next().await? {
            hash.update(&piece);
        }
        Ok(Some(hex::encode(hash.finalize()) == sha256))
    }

    /// Begins to write a file. It is there once it is whole.
    pub(crate) async fn begin(&self, key: &str) -> Result<FileWriter, BackupError> {
        let upload = within(key, self.0.put_multipart(&Key::from(key))).await?;
        Ok(FileWriter { key: key.to_owned(), upload: WriteMultipart::new(upload) })
    }
}

/// Bytes of a file.
pub(crate) struct FileBytes {
    key: String,
    pieces: futures_util::stream::BoxStream<'static, Result<Bytes, Error>>,
}

impl FileBytes {
    /// The next.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BackupError> {
        within(&self.key, self.pieces.try_next()).await
    }
}

/// A file that comes in.
pub(crate) struct FileWriter {
    key: String,
    upload: WriteMultipart,
}

impl FileWriter {
    /// Bytes of it.
    pub(crate) async fn add(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        within(&self.key, self.upload.wait_for_capacity(PARTS_AHEAD)).await?;
        self.upload.write(bytes);
        Ok(())
    }

    /// Puts it in place.
    pub(crate) async fn finish(self) -> Result<(), BackupError> {
        within(&self.key, self.upload.finish()).await.map(drop)
    }

    /// Throws it away.
    pub(crate) async fn abort(self) {
        // What a store keeps of it is never in place.
        let _ = within(&self.key, self.upload.abort()).await;
    }
}
