//! The store, the cache and addresses, over folders of this machine.

use std::time::Duration;

use domain::DeviceId;
use domain::permits::{Class, PoolLimits};
use prometheus::Registry;
use secrecy::SecretBox;
use uuid::Uuid;

use super::*;

fn open(settings: ApkSettings) -> Arc<ApkLibrary> {
    let metrics = PoolMetrics::register(&Registry::new()).unwrap();
    ApkLibrary::open(settings, &SecretBox::new(Box::new(vec![7; 32])), &metrics).unwrap()
}

fn anybody() -> Claim {
    Claim::new(Class::Regular)
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("nexmdm-library-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn library(&self, store_url: &str, node: &str, cache_max_bytes: u64) -> Arc<ApkLibrary> {
        let settings = ApkSettings {
            store_url: store_url.to_owned(),
            cache_dir: self.0.join(node),
            cache_max_bytes,
            ..ApkSettings::in_folder(&self.0)
        };
        open(settings)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn arrived(library: &ApkLibrary, bytes: &[u8]) -> UploadedFile {
    let mut file = library.begin().await.unwrap();
    file.add(bytes).await.unwrap();
    file.finish().await.unwrap()
}

fn row(id: ApkId, file: &[u8]) -> Apk {
    use sha2::{Digest, Sha256};
    Apk {
        id,
        package: "com.example.till".into(),
        version_code: 1,
        version_name: String::new(),
        label: String::new(),
        min_sdk: None,
        target_sdk: None,
        native_abis: vec![],
        sha256: hex::encode(Sha256::digest(file)),
        size_bytes: file.len() as i64,
        signers_sha256: vec![],
        lineage_sha256: vec![],
        rollback_of: None,
        notes: String::new(),
        has_icon: false,
        uploaded_by: String::new(),
        uploaded_at: chrono::DateTime::UNIX_EPOCH,
        deleted_at: None,
    }
}

async fn fetched(library: &ApkLibrary, row: Apk, from: u64, to: u64) -> Result<Vec<u8>, ServiceError> {
    let mut bytes = library.file(row, library.download_permit(anybody())?).await?.bytes(from, to);
    let mut all = Vec::new();
    while let Some(piece) = bytes.recv().await {
        all.extend_from_slice(&piece.unwrap());
    }
    Ok(all)
}

fn id(n: u128) -> ApkId {
    ApkId(Uuid::from_u128(n))
}

#[tokio::test]
async fn an_upload_that_begins_at_one_node_is_put_together_at_another() {
    let folder = Folder::new();
    for store in [folder.0.join("shared").to_string_lossy().into_owned(), format!("file://{}/remote", folder.0.display())] {
        let (one, other) = (folder.library(&store, "a", 1 << 20), folder.library(&store, "b", 1 << 20));
        let upload = ApkUploadId(Uuid::now_v7());
        let mut parts = vec![one.put_part(upload, vec![Bytes::from_static(b"he"), Bytes::from_static(b"ll")]).await.unwrap()];
        parts.push(other.put_part(upload, vec![Bytes::from_static(b"o")]).await.unwrap());
        let whole = other.join(upload, &parts).await.unwrap().finish().await.unwrap();
        assert_eq!((whole.size(), whole.sha256()), (5, row(id(1), b"hello").sha256.as_str()));
        other.keep(id(1), whole).await.unwrap();
        other.forget_parts(upload).await.unwrap();
        assert!(one.join(upload, &parts).await.is_err(), "the parts are gone");
        for library in [&one, &other] {
            assert_eq!(fetched(library, row(id(1), b"hello"), 1, 3).await.unwrap(), b"ell", "{store}");
            assert!(std::fs::read_dir(&library.incoming).unwrap().next().is_none(), "nothing is left behind");
        }
        one.remove(id(1)).await.unwrap();
        assert!(fetched(&one, row(id(1), b"hello"), 0, 4).await.is_err());
    }
}

#[tokio::test]
async fn parts_go_with_their_upload_and_those_that_came_meanwhile_as_well() {
    let folder = Folder::new();
    for store in [folder.0.join("shared").to_string_lossy().into_owned(), format!("file://{}/remote", folder.0.display())] {
        let library = folder.library(&store, "a", 1 << 20);
        let (gone, stays) = (ApkUploadId(Uuid::now_v7()), ApkUploadId(Uuid::now_v7()));
        let put = async |upload| library.put_part(upload, vec![Bytes::from_static(b"x")]).await.unwrap();
        put(gone).await;
        put(stays).await;
        let soon = chrono::DateTime::from_timestamp(4_000_000_000, 0).unwrap();
        assert_eq!(library.uploads_before(soon, 10).await.unwrap(), [gone, stays]);
        assert_eq!(library.uploads_before(soon, 1).await.unwrap(), [gone]);
        assert!(library.uploads_before(chrono::DateTime::UNIX_EPOCH, 10).await.unwrap().is_empty(), "they are young");
        // A part that another node puts there between the removal of the others and that of the row.
        let removed = library.remove_upload(gone, async { Ok(put(gone).await) }).await.unwrap();
        assert!(library.join(gone, &[removed]).await.is_err());
        assert_eq!(library.uploads_before(soon, 10).await.unwrap(), [stays], "{store}");
        let part = put(stays).await;
        library.forget_part(stays, &part).await.unwrap();
        assert!(library.join(stays, &[part]).await.is_err());
        let failed = library.remove_upload(stays, async { Err::<(), _>(ServiceError::Unavailable) }).await;
        assert!(failed.is_err());
    }
}

#[tokio::test]
async fn a_cache_keeps_what_was_used_last_and_believes_no_damaged_file() {
    let folder = Folder::new();
    let url = format!("file://{}/remote", folder.0.display());
    let source = folder.library(&url, "a", 1 << 20);
    for n in 1..=3 {
        let file = arrived(&source, &[n; 400]).await;
        source.keep(id(n.into()), file).await.unwrap();
    }
    let reader = folder.library(&url, "b", 1000);
    for n in [1_u8, 2, 1, 3] {
        assert_eq!(fetched(&reader, row(id(n.into()), &[n; 400]), 0, 399).await.unwrap(), [n; 400]);
    }
    // From here on the store is gone: what is read is from the cache. The second was used longest ago.
    std::fs::rename(folder.0.join("remote"), folder.0.join("away")).unwrap();
    assert!(fetched(&reader, row(id(2), &[2; 400]), 0, 399).await.is_err());
    assert!(fetched(&reader, row(id(1), &[1; 400]), 0, 399).await.is_ok());
    drop(reader);
    let again = folder.library(&url, "b", 1000);
    assert!(fetched(&again, row(id(3), &[3; 400]), 0, 399).await.is_ok(), "a restart keeps it");

    std::fs::rename(folder.0.join("away"), folder.0.join("remote")).unwrap();
    std::fs::write(folder.0.join("remote/apks").join(format!("{}.apk", id(2))), [9; 400]).unwrap();
    assert!(matches!(fetched(&again, row(id(2), &[2; 400]), 0, 399).await, Err(ServiceError::Unavailable)));
}

#[tokio::test]
async fn downloads_have_a_limit_and_addresses_an_end() {
    let folder = Folder::new();
    let store = folder.0.join("shared").to_string_lossy().into_owned();
    let library = folder.library(&store, "a", 1 << 20);
    let device = |n: u8| {
        let holder = LinkHolder::Device(DeviceId(Uuid::from_u128(n.into())));
        LinkHolder::claim(Some(holder), &n.to_string(), Some([192, 0, 2, n].into()))
    };
    let greedy: Vec<_> = std::iter::from_fn(|| library.download_permit(device(0)).ok()).take(64).collect();
    assert_eq!(greedy.len(), 8);
    let refused = library.download_permit(device(0)).err();
    assert!(matches!(refused, Some(ServiceError::Overloaded("apks.downloads_per_principal_max"))), "{refused:?}");
    let others: Vec<_> = (1..41).map(|n| library.download_permit(device(n)).unwrap()).collect();
    let refused = library.download_permit(device(99)).err();
    assert!(matches!(refused, Some(ServiceError::Overloaded("apks.downloads_reserved_pct"))), "{refused:?}");
    let holds_a_task = LinkHolder::claim(Some(LinkHolder::Task(DeviceId(Uuid::from_u128(99)))), "99", None);
    assert!(library.download_permit(holds_a_task).is_ok());
    drop((greedy, others));
    assert!(library.download_permit(device(99)).is_ok());

    let now = chrono::DateTime::from_timestamp(1_000_000, 0).unwrap();
    let (url, expires_at) = library.download_url(id(7), None, now);
    let (path, query) = url.split_once('?').unwrap();
    assert_eq!(path, format!("{}/v1/apks/{}/file", library.settings.base_url, id(7)));
    let signature = query.split_once("signature=").unwrap().1;
    let expires = expires_at.timestamp();
    assert!(library.holds(id(7), None, expires, signature, now));
    assert!(!library.holds(id(8), None, expires, signature, now), "another APK");
    assert!(!library.holds(id(7), None, expires, signature, expires_at + chrono::TimeDelta::seconds(1)), "expired");
}

#[test]
fn a_store_that_does_not_do_is_named() {
    for wrong in ["ftp://x", "http://bucket", "memory:///", "s3://"] {
        assert_eq!(Objects::open(wrong, &[]).err().unwrap().field, "apks.store_url", "{wrong}");
    }
}

#[tokio::test]
async fn a_reader_that_stalls_loses_its_turn() {
    let folder = Folder::new();
    let settings = ApkSettings {
        downloads: PoolLimits::of_capacity(1),
        minimum_rate: MinimumRate { bytes_per_second: 4096, patience: Duration::from_millis(50) },
        ..ApkSettings::in_folder(&folder.0)
    };
    let library = open(settings);
    let big = vec![1; 4 << 20];
    let file = arrived(&library, &big).await;
    library.keep(id(1), file).await.unwrap();
    let held = library.file(row(id(1), &big), library.download_permit(anybody()).unwrap()).await.unwrap().bytes(0, (4 << 20) - 1);
    tokio::time::timeout(Duration::from_secs(10), async {
        while library.download_permit(anybody()).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    drop(held);
}
