//! Stand-in for an object store: enough of S3's API for archives, APKs and backups, in memory, path style, without signatures, which fails on
//! demand.
//!
//! In a program: [`FakeS3::start`], whose URL and environment are those of a node's settings. On the command line: `chaos s3`, which
//! takes modes at `POST /fake/modes`.

mod mode;
mod objects;
mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::clock;
use crate::signals::{Stop, stopped};
use mode::Modes;
pub use mode::StoreMode;
use objects::Objects;

/// Most requests that are listed.
const REQUESTS_MAX: usize = 100_000;

/// State of the store.
#[derive(Default)]
struct Store {
    objects: Mutex<Objects>,
    modes: Modes,
    requests: Mutex<Vec<String>>,
}

impl Store {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, writes: bool, method: &Method, name: &str) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() < REQUESTS_MAX {
            requests.push(format!("{} {method} {name}", if writes { "write" } else { "read" }));
        }
    }
}

/// A running store; it ends when dropped.
pub struct FakeS3 {
    store: Arc<Store>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for FakeS3 {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl FakeS3 {
    /// Listens on a free port of this machine.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start() -> io::Result<Self> {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Listens.
    ///
    /// # Errors
    /// The address is taken.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let store = Arc::new(Store::default());
        let serving = tokio::spawn(server::serve(listener, Arc::clone(&store)));
        Ok(Self { store, address, serving })
    }

    /// Variables with which a node reaches it.
    pub fn env(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".into()),
            ("AWS_SKIP_SIGNATURE", "true".into()),
            ("AWS_REGION", "us-east-1".into()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// What the store does from now on, for `times` requests that it concerns or for good.
    pub fn set_mode(&self, mode: StoreMode, times: Option<u32>) {
        self.store.modes.set(mode, times);
    }

    /// Names of the objects, `bucket/key`.
    pub fn names(&self) -> Vec<String> {
        self.store.objects().names("", "").map(|(name, _)| name.to_owned()).collect()
    }

    /// Bytes of an object.
    pub fn object(&self, name: &str) -> Option<Bytes> {
        self.store.objects().get(name, false).map(|version| version.bytes.clone())
    }

    /// Puts an object, as somebody else would.
    pub fn put(&self, name: &str, bytes: impl Into<Bytes>) {
        self.store.objects().put(name, bytes.into(), clock::now());
    }

    /// Alters one byte of an object.
    ///
    /// # Errors
    /// There is no such object, or it is shorter.
    pub fn flip_byte(&self, name: &str, at: usize) -> Result<()> {
        let mut bytes = self.object(name).with_context(|| format!("there is no {name}"))?.to_vec();
        ensure!(at < bytes.len(), "{name} has {} bytes", bytes.len());
        bytes[at] ^= 1;
        self.put(name, bytes);
        Ok(())
    }

    /// Number of unfinished uploads.
    pub fn unfinished_uploads(&self) -> usize {
        self.store.objects().unfinished()
    }

    /// Requests so far, such as `write PUT bucket/key`; the list is bounded.
    pub fn requests(&self) -> Vec<String> {
        self.store.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Arguments of `chaos s3`.
#[derive(Debug, Clone, Args)]
pub struct S3Args {
    /// Listen address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9097")]
    pub listen: SocketAddr,
}

/// Runs the store until it is stopped.
///
/// # Errors
/// The address is taken.
pub async fn run(args: S3Args, mut stop: Stop) -> Result<()> {
    let store = FakeS3::listen(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    println!("any bucket, in memory; a node reaches it with:");
    for (name, value) in store.env() {
        println!("  {name}={value}");
    }
    stopped(&mut stop).await;
    println!("{} requests, {} objects", store.requests().len(), store.names().len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Answer, Call, Http, HttpError, HttpLimits};

    async fn started() -> (FakeS3, Http) {
        let store = FakeS3::start().await.unwrap();
        let http = Http::new(format!("http://{}", store.address).parse().unwrap(), HttpLimits::default());
        (store, http)
    }

    async fn put(http: &Http, path: &str, body: &'static str) -> Result<Answer, HttpError> {
        http.send(Call::post(path, body).method(Method::PUT)).await
    }

    async fn get(http: &Http, path: &str, range: Option<&str>) -> Result<Answer, HttpError> {
        let call = Call::get(path);
        http.send(match range {
            Some(range) => call.header("range", range),
            None => call,
        })
        .await
    }

    #[tokio::test]
    async fn objects_are_written_read_in_ranges_listed_and_deleted() {
        let (store, http) = started().await;
        assert_eq!(put(&http, "/bucket/a/day%201.json", "hello world").await.unwrap().status, 200);
        assert_eq!(put(&http, "/bucket/b", "b").await.unwrap().status, 200);
        let part = get(&http, "/bucket/a/day%201.json", Some("bytes=6-8")).await.unwrap();
        assert_eq!((part.status, &part.body[..]), (206, &b"wor"[..]));
        assert_eq!(part.headers["content-range"], "bytes 6-8/11");
        assert_eq!(get(&http, "/bucket/none", None).await.unwrap().status, 404);
        let listed = get(&http, "/bucket?list-type=2&delimiter=%2F", None).await.unwrap();
        let text = String::from_utf8(listed.body.to_vec()).unwrap();
        assert!(text.contains("<Prefix>a/</Prefix>") && text.contains("<Key>b</Key>") && !text.contains("day"), "{text}");
        http.send(Call::new(Method::DELETE, "/bucket/b")).await.unwrap();
        assert_eq!(store.names(), ["bucket/a/day 1.json"]);
    }

    #[tokio::test]
    async fn an_upload_in_parts_is_whole_or_not_there() {
        let (store, http) = started().await;
        let begun = http.send(Call::post("/bucket/big?uploads", "")).await.unwrap();
        let text = String::from_utf8(begun.body.to_vec()).unwrap();
        let id = text.split_once("<UploadId>").unwrap().1.split_once('<').unwrap().0.to_owned();
        for (number, body) in [(2, "lo"), (1, "hel")] {
            assert_eq!(put(&http, &format!("/bucket/big?partNumber={number}&uploadId={id}"), body).await.unwrap().status, 200);
        }
        assert_eq!((store.names().len(), store.unfinished_uploads()), (0, 1));
        let parts = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part><Part><PartNumber>2</PartNumber></Part></CompleteMultipartUpload>";
        assert_eq!(http.send(Call::post(&format!("/bucket/big?uploadId={id}"), parts)).await.unwrap().status, 200);
        assert_eq!((store.object("bucket/big").unwrap(), store.unfinished_uploads()), (Bytes::from_static(b"hello"), 0));
    }

    #[tokio::test]
    async fn every_mode_fails_in_its_own_way() {
        let (store, http) = started().await;
        put(&http, "/bucket/key", "first").await.unwrap();
        for (mode, status) in [(StoreMode::Full, 507), (StoreMode::ReadOnly, 403)] {
            store.set_mode(mode, Some(1));
            assert_eq!(get(&http, "/bucket/key", None).await.unwrap().status, 200, "reading goes on");
            assert_eq!(put(&http, "/bucket/key", "no").await.unwrap().status, status);
        }
        store.set_mode(StoreMode::Gone, Some(1));
        get(&http, "/bucket/key", None).await.unwrap_err();
        assert_eq!(store.object("bucket/key").unwrap(), "first");

        let modes = br#"{"mode": {"kind": "truncating"}, "times": 1}"#;
        assert_eq!(http.send(Call::post("/fake/modes", modes.to_vec())).await.unwrap().status, 200);
        assert_eq!(put(&http, "/bucket/key", "second").await.unwrap().status, 200);
        assert_eq!(store.object("bucket/key").unwrap(), "sec");
        store.set_mode(StoreMode::Older, Some(1));
        let [older, newest] = [get(&http, "/bucket/key", None).await.unwrap(), get(&http, "/bucket/key", None).await.unwrap()];
        assert_eq!((&older.body[..], &newest.body[..]), (&b"first"[..], &b"sec"[..]));

        store.flip_byte("bucket/key", 0).unwrap();
        assert_eq!(store.object("bucket/key").unwrap(), "rec");
        assert!(store.flip_byte("bucket/key", 3).unwrap_err().to_string().contains("3 bytes"));
    }
}
