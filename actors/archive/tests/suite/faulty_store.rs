//! A store in memory that fails as stores do.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// What is wrong with the store.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Takes no more bytes.
    Full,
    /// Takes no writes.
    ReadOnly,
    /// Takes its time for each answer.
    Slow(std::time::Duration),
    /// Answers nothing.
    Silent,
    /// Cannot be reached.
    Gone,
    /// Says that it kept what it did not.
    Truncating,
    /// Answers what it held before.
    Older(Arc<InMemory>),
}

/// The store.
#[derive(Debug, Default)]
pub(crate) struct FaultyStore {
    pub(crate) held: InMemory,
    fault: Mutex<Option<Fault>>,
    /// Bytes that were read.
    read: AtomicU64,
}

impl FaultyStore {
    pub(crate) fn begin(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    pub(crate) fn end(&self) {
        *self.fault.lock().unwrap() = None;
    }

    /// Bytes read since the last call.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }

    /// A copy of what it holds now.
    pub(crate) async fn snapshot(&self) -> Arc<InMemory> {
        Arc::new(self.held.fork())
    }

    /// Keys of all files.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.held.list(None).map(|file| file.unwrap().location.to_string()).collect().await;
        keys.sort();
        keys
    }

    /// Changes the bytes of a file.
    pub(crate) async fn alter(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let key = Path::from(key);
        let mut bytes = self.held.get(&key).await.unwrap().bytes().await.unwrap().to_vec();
        change(&mut bytes);
        self.held.put(&key, PutPayload::from(bytes)).await.unwrap();
    }

    fn fault(&self) -> Option<Fault> {
        self.fault.lock().unwrap().clone()
    }

    async fn before_any(&self) -> Result<()> {
        match self.fault() {
            Some(Fault::Slow(each)) => {
                tokio::time::sleep(each).await;
                Ok(())
            }
            Some(Fault::Silent) => std::future::pending().await,
            Some(Fault::Gone) => Err(Error::Generic { store: "test", source: "connection refused".into() }),
            _ => Ok(()),
        }
    }

    async fn before_write(&self, path: &Path) -> Result<()> {
        self.before_any().await?;
        match self.fault() {
            Some(Fault::Full) => Err(full()),
            Some(Fault::ReadOnly) => Err(Error::PermissionDenied { path: path.to_string(), source: "AccessDenied".into() }),
            _ => Ok(()),
        }
    }
}

fn full() -> Error {
    let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
    Error::Generic { store: "test", source: source.into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.before_write(location).await?;
        self.held.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        // A full store notices it when the bytes come.
        match self.fault() {
            Some(Fault::Full) => {}
            _ => self.before_write(location).await?,
        }
        let upload = self.held.put_multipart_opts(location, options).await?;
        Ok(Box::new(FaultyUpload { upload, fault: self.fault() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.before_any().await?;
        let is_read = !options.head;
        let found = match self.fault() {
            Some(Fault::Older(held)) => held.get_opts(location, options).await,
            _ => self.held.get_opts(location, options).await,
        }?;
        if is_read {
            self.read.fetch_add(found.range.end - found.range.start, Ordering::Relaxed);
        }
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.held.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.held.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.held.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.before_write(to).await?;
        self.held.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    upload: Box<dyn MultipartUpload>,
    fault: Option<Fault>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.fault {
            Some(Fault::Full) => Box::pin(async { Err(full()) }),
            Some(Fault::Truncating) => {
                let bytes = Bytes::from(data);
                self.upload.put_part(PutPayload::from(bytes.slice(..bytes.len() / 2)))
            }
            _ => self.upload.put_part(data),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
