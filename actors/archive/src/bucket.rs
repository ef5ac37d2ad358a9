//! The store of archives: each answer has a timeout, and each error names the file it is about.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use domain::Timestamp;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use object_store::path::Path as Key;
use object_store::{Error, GetOptions, GetRange, GetResultPayload, ObjectMeta, ObjectStoreExt, PutPayload, WriteMultipart};
use objects::Objects;
use tokio::io::AsyncReadExt;

use crate::ArchiveError;

/// Bytes of a part of an upload; the least that stores take is 5 MiB.
const PART_BYTES: usize = 8 << 20;
/// Parts that are on their way to the store at a time.
const PARTS_AHEAD: usize = 2;
/// Bytes read from a file at a time.
const PIECE_BYTES: usize = 1 << 20;
/// Folder of files that are not whole yet. Whoever reads `heartbeats/*.parquet` does not see them.
const INCOMING: &str = "incoming";

/// Folder of damaged archives that were set aside.
const DAMAGED: &str = "damaged";

/// A file in pieces.
pub(crate) type Pieces = BoxStream<'static, Result<Bytes, ArchiveError>>;

pub(crate) struct Bucket {
    objects: Objects,
    timeout: Duration,
}

impl Bucket {
    pub(crate) fn new(objects: Objects, timeout: Duration) -> Self {
        Self { objects, timeout }
    }

    /// Awaits an answer of the store.
    async fn within<T>(&self, key: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, ArchiveError> {
        within(self.timeout, key, call).await
    }

    /// What the store says of a file; `None` without one.
    pub(crate) async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, ArchiveError> {
        absent(self.within(key, self.objects.store.head(&Key::from(key))).await)
    }

    /// A file of at most `most` bytes; `None` without one.
    pub(crate) async fn get(&self, key: &str, most: u64) -> Result<Option<Bytes>, ArchiveError> {
        let Some((_, mut pieces)) = absent(self.pieces(key).await)? else { return Ok(None) };
        let mut bytes = BytesMut::new();
        while let Some(piece) = pieces.try_next().await? {
            if (bytes.len() + piece.len()) as u64 > most {
                return Err(ArchiveError::damaged(key, format!("larger than {most} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Some(bytes.freeze()))
    }

    /// Part of a file, as long as its tag is this one; with the tag.
    pub(crate) async fn range(&self, key: &str, range: Range<u64>, tag: Option<String>) -> Result<(Bytes, Option<String>), ArchiveError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), if_match: tag, ..GetOptions::default() };
        let call = async {
            let found = self.objects.store.get_opts(&Key::from(key), options).await?;
            let tag = found.meta.e_tag.clone();
            Ok((found.bytes().await?, tag))
        };
        let (bytes, tag) = self.within(key, call).await?;
        let wanted = range.end - range.start;
        if bytes.len() as u64 != wanted {
            let problem = format!("{} bytes from byte {} on instead of {wanted}", bytes.len(), range.start);
            return Err(ArchiveError::damaged(key, problem));
        }
        Ok((bytes, tag))
    }

    /// A file in pieces.
    pub(crate) async fn pieces(&self, key: &str) -> Result<(ObjectMeta, Pieces), ArchiveError> {
        let found = self.within(key, self.objects.store.get(&Key::from(key))).await?;
        let meta = found.meta.clone();
        let (timeout, key) = (self.timeout, key.to_owned());
        let pieces: Pieces = match found.payload {
            // The store would read it in pieces of 8 KiB.
            GetResultPayload::File(file, _) => from_file(tokio::fs::File::from_std(file))
                .map_err(move |cause| ArchiveError::of_store(&key, &Error::Generic { store: "folder", source: cause.into() }))
                .boxed(),
            GetResultPayload::Stream(pieces) => stream::try_unfold(pieces, move |mut pieces| {
                let key = key.clone();
                async move { Ok::<_, ArchiveError>(within(timeout, &key, pieces.try_next()).await?.map(|piece| (piece, pieces))) }
            })
            .boxed(),
        };
        Ok((meta, pieces))
    }

    /// Stores a small file.
    pub(crate) async fn put(&self, key: &str, bytes: Bytes) -> Result<(), ArchiveError> {
        self.within(key, self.objects.store.put(&Key::from(key), PutPayload::from(bytes))).await.map(drop)
    }

    /// Stores a file of any size. It is there whole or not at all.
    pub(crate) async fn upload(&self, key: &str, pieces: impl Stream<Item = Result<Bytes, ArchiveError>>) -> Result<u64, ArchiveError> {
        let upload = self.within(key, self.objects.store.put_multipart(&Key::from(key))).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut pieces = std::pin::pin!(pieces);
        let copied = async {
            let mut bytes = 0;
            while let Some(piece) = pieces.try_next().await? {
                self.within(key, upload.wait_for_capacity(PARTS_AHEAD)).await?;
                bytes += piece.len() as u64;
                upload.put(piece);
            }
            Ok::<u64, ArchiveError>(bytes)
        };
        match copied.await {
            Ok(bytes) => self.within(key, upload.finish()).await.map(|_| bytes),
            Err(error) => {
                let _ = self.within(key, upload.abort()).await;
                Err(error)
            }
        }
    }

    /// Puts a file in the place of another, if there is one.
    pub(crate) async fn rename(&self, from: &str, to: &str) -> Result<(), ArchiveError> {
        self.within(to, self.objects.store.rename(&Key::from(from), &Key::from(to))).await
    }

    /// Deletes a file, if it is there.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), ArchiveError> {
        absent(self.within(key, self.objects.store.delete(&Key::from(key))).await).map(drop)
    }

    /// The files in a folder, at most `most` of them.
    pub(crate) async fn list(&self, folder: &str, most: usize) -> Result<Vec<ObjectMeta>, ArchiveError> {
        let prefix = (!folder.is_empty()).then(|| Key::from(folder));
        let mut files = self.objects.store.list(prefix.as_ref());
        let mut found = Vec::new();
        let key = if folder.is_empty() { "archive" } else { folder };
        while let Some(file) = absent(self.within(key, files.try_next()).await)?.flatten() {
            if found.len() == most {
                return Err(ArchiveError::damaged(key, format!("more than {most} files")));
            }
            found.push(file);
        }
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// A name for a file that is not whole yet.
    pub(crate) fn incoming(name: &str) -> String {
        format!("{INCOMING}/{name}.{}.parquet", uuid::Uuid::now_v7())
    }

    /// A name for a damaged archive that is set aside, without the endings of its files.
    pub(crate) fn damaged(name: &str) -> String {
        format!("{DAMAGED}/{name}.{}", uuid::Uuid::now_v7())
    }

    /// Deletes files that have not become whole since before this time: whoever wrote them was killed.
    pub(crate) async fn sweep(&self, before: Timestamp, most: usize) -> Result<(), ArchiveError> {
        for file in self.list(INCOMING, most).await? {
            if file.last_modified < before {
                tracing::info!(event = "archive.leftover_deleted", key = %file.location);
                self.delete(file.location.as_ref()).await?;
            }
        }
        let Some(folder) = &self.objects.folder else { return Ok(()) };
        // Parts of an upload to a folder are not listed.
        let folder = folder.join(INCOMING);
        tokio::task::spawn_blocking(move || sweep_folder(folder, before)).await.unwrap_or_default();
        Ok(())
    }
}

fn sweep_folder(folder: PathBuf, before: Timestamp) {
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.modified().is_ok_and(|at| Timestamp::from(at) < before) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// The pieces of a file of this machine.
pub(crate) fn from_file(file: tokio::fs::File) -> impl Stream<Item = Result<Bytes, io::Error>> {
    stream::try_unfold(file, |mut file| async move {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        let count = file.read_buf(&mut piece).await?;
        Ok((count > 0).then(|| (piece.freeze(), file)))
    })
}

async fn within<T>(timeout: Duration, key: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, ArchiveError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(answer) => answer.map_err(|cause| ArchiveError::of_store(key, &cause)),
        Err(_) => Err(ArchiveError::TimedOut { key: key.to_owned(), timeout }),
    }
}

fn absent<T>(answer: Result<T, ArchiveError>) -> Result<Option<T>, ArchiveError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(ArchiveError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
