//! The agent's APK on this node: its digest, its signer, its version, and downloads of it.

use std::fs::{File, Metadata};
use std::io::{Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apk::file_sender::send_file;
use apk::reader;
use bytes::Bytes;
use domain::ServiceError;
use domain::permits::Claim;
use domain::transfer::MinimumRate;
use permits::{Permit, Pool};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, mpsc};

use super::location::{ApkLocation, ApkSource};
use crate::how_to_get_one;

/// Bytes read from the file at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// The refusal where there is no APK.
const MISSING: ServiceError = ServiceError::WrongState(concat!(
    "this node has no agent APK: ",
    how_to_get_one!(),
    "; or ask for a script without installation if the agent is on the devices already"
));

/// Properties of an APK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApkFacts {
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Size, bytes.
    pub size: u64,
    /// SHA-256 of the certificate that signed it (APK signature scheme v2, else v3), if that can be read.
    pub signer_sha256: Option<[u8; 32]>,
    /// Version from the manifest of a verified file; else the problem of the file.
    pub version: Result<ApkVersion, String>,
}

/// Package and version of a verified APK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApkVersion {
    /// Package name.
    pub package: String,
    /// Version code.
    pub version_code: i64,
    /// Version name; empty when there is none.
    pub version_name: String,
    /// Whether it is a debug build; `None` where the manifest leaves that to a resource.
    pub debuggable: Option<bool>,
}

/// Identity of a file, to notice a change without reading the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: (i64, i64),
    /// Moves with its permissions too, so that a refusal does not outlive them.
    changed_ns: (i64, i64),
}

impl FileIdentity {
    fn of(metadata: &Metadata) -> Self {
        let (modified_ns, changed_ns) = ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
        Self { device: metadata.dev(), inode: metadata.ino(), size: metadata.len(), modified_ns, changed_ns }
    }
}

/// The newest reading of a file.
struct Reading {
    file: PathBuf,
    /// `None` when there was no such file.
    mark: Option<FileIdentity>,
    facts: Result<Arc<ApkFacts>, Arc<str>>,
}

/// The APK of the node.
pub struct AgentApk {
    locations: Vec<ApkLocation>,
    reading: Mutex<Option<Reading>>,
    downloads: Pool,
    minimum_rate: MinimumRate,
}

/// An opened APK, of which some bytes can be sent.
pub struct ApkDownload {
    /// Properties of the whole file.
    pub facts: Arc<ApkFacts>,
    file: tokio::fs::File,
    permit: Permit,
    minimum_rate: MinimumRate,
}

impl AgentApk {
    /// The first APK found in `locations`, with a pool of downloads.
    pub fn new(locations: Vec<ApkLocation>, downloads: Pool, minimum_rate: MinimumRate) -> Self {
        Self { locations, reading: Mutex::new(None), downloads, minimum_rate }
    }

    /// Location of the APK. It is searched each time, so a file that was just built counts at once.
    pub async fn location(&self) -> Option<&ApkLocation> {
        for location in &self.locations {
            let is_file = async || tokio::fs::metadata(&location.file).await.is_ok_and(|metadata| metadata.is_file());
            if location.source == ApkSource::Setting || is_file().await {
                return Some(location);
            }
        }
        None
    }

    /// Properties of the file at a location; read again only when it has changed.
    ///
    /// # Errors
    /// Reason why it cannot be read, or that it is no APK.
    pub async fn read(&self, location: &ApkLocation) -> Result<Arc<ApkFacts>, Arc<str>> {
        // One at a time: a new file is read once, however many ask for it.
        let mut reading = self.reading.lock().await;
        let metadata = tokio::fs::metadata(&location.file).await;
        let mark = metadata.as_ref().ok().map(FileIdentity::of);
        if let Some(known) = reading.as_ref().filter(|known| known.file == location.file && known.mark == mark) {
            return known.facts.clone();
        }
        let file = location.file.clone();
        let read = match metadata {
            Ok(_) => tokio::task::spawn_blocking(move || read(&file)).await.unwrap_or_else(|cause| Err(std::io::Error::other(cause))),
            Err(cause) => Err(cause),
        };
        let (mark, facts) = match read {
            Ok((mark, facts)) => (Some(mark), Ok(Arc::new(facts))),
            Err(cause) => (mark, Err(cause.to_string().into())),
        };
        note(&location.file, &facts);
        *reading = Some(Reading { file: location.file.clone(), mark, facts: facts.clone() });
        facts
    }

    /// Properties of the APK.
    ///
    /// # Errors
    /// There is none, it cannot be read, or is no APK.
    pub async fn facts(&self) -> Result<Arc<ApkFacts>, ServiceError> {
        Ok(self.located().await?.1)
    }

    async fn located(&self) -> Result<(&ApkLocation, Arc<ApkFacts>), ServiceError> {
        let location = self.location().await.ok_or(MISSING)?;
        let facts = self.read(location).await.map_err(|_| match location.source {
            ApkSource::Setting => {
                ServiceError::WrongState("the file of enrollment.agent_apk_file cannot be read; the Enrollment page says why")
            }
            _ => ServiceError::WrongState("the agent APK on this node cannot be read; the Enrollment page says why"),
        })?;
        Ok((location, facts))
    }

    /// Opens the file for a download.
    ///
    /// # Errors
    /// Overloaded when too many run, of all or of one link or address; not found without an APK, or as [`Self::facts`].
    pub async fn open(&self, claim: Claim) -> Result<ApkDownload, ServiceError> {
        let permit = self.downloads.take(claim)?;
        if self.location().await.is_none() {
            return Err(ServiceError::NotFound("agent APK"));
        }
        let (location, facts) = self.located().await?;
        let file = tokio::fs::File::open(&location.file).await.map_err(|cause| {
            tracing::warn!(event = "agent_apk.unreadable", file = %location.file.display(), %cause);
            ServiceError::Unavailable
        })?;
        Ok(ApkDownload { facts, file, permit, minimum_rate: self.minimum_rate })
    }
}

/// Logs what was read.
fn note(file: &Path, facts: &Result<Arc<ApkFacts>, Arc<str>>) {
    match facts {
        Err(cause) => tracing::warn!(event = "agent_apk.unreadable", file = %file.display(), %cause),
        Ok(facts) => {
            let version = facts.version.as_ref();
            tracing::info!(
                event = "agent_apk.read",
                file = %file.display(),
                sha256 = facts.sha256,
                size_bytes = facts.size,
                signer_sha256 = facts.signer_sha256.map(hex::encode).unwrap_or_default(),
                package = version.map(|version| version.package.as_str()).unwrap_or_default(),
                version_code = version.map(|version| version.version_code).unwrap_or_default(),
                problem = version.err().map(String::as_str).unwrap_or_default()
            );
        }
    }
}

impl ApkDownload {
    /// The bytes `from ..= to`. A reader that is too slow for too long loses its permit.
    pub fn bytes(self, from: u64, to: u64) -> mpsc::Receiver<std::io::Result<Bytes>> {
        send_file(self.file, from, to, self.permit, self.minimum_rate, None)
    }
}

fn read(path: &Path) -> std::io::Result<(FileIdentity, ApkFacts)> {
    let mut file = File::open(path)?;
    let mark = FileIdentity::of(&file.metadata()?);
    let mut start = [0; 4];
    let is_zip = file.read_exact(&mut start).is_ok() && start == *b"PK\x03\x04";
    if !is_zip {
        return Err(std::io::Error::other("not an APK: no ZIP header"));
    }
    file.rewind()?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            count => digest.update(&chunk[..count]),
        }
    }
    let signer_sha256 = reader::claimed_signer(&file);
    let version = match reader::read(&file) {
        Ok(reader::ApkFacts { package, version_code, version_name, debuggable, .. }) => {
            Ok(ApkVersion { package, version_code, version_name, debuggable })
        }
        Err(invalid) => Err(invalid.problem),
    };
    Ok((mark, ApkFacts { sha256: hex::encode(digest.finalize()), size: mark.size, signer_sha256, version }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::permits::{Class, PoolLimits, PoolName};
    use permits::metrics::PoolMetrics;
    use std::time::Duration;

    fn sized(parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        [&(body.len() as u32).to_le_bytes()[..], &body].concat()
    }

    /// A ZIP file with nothing in it but a signing block of scheme v2, laid out by hand after
    /// <https://source.android.com/docs/security/features/apksigning/v2>.
    fn signed_apk(certificate: &[u8]) -> Vec<u8> {
        let digest = sized(&[&0x0103u32.to_le_bytes(), &sized(&[&[7; 32]])]);
        let signed_data = sized(&[&sized(&[&digest]), &sized(&[&sized(&[certificate])]), &sized(&[])]);
        let signature = sized(&[&0x0103u32.to_le_bytes(), &sized(&[&[9; 64]])]);
        let signer = sized(&[&signed_data, &sized(&[&signature]), &sized(&[&[5; 16]])]);
        let value = sized(&[&signer]);
        let pair = [&(value.len() as u64 + 4).to_le_bytes()[..], &0x7109_871au32.to_le_bytes(), &value].concat();
        let block_size = (pair.len() as u64 + 24).to_le_bytes();
        let entries = [&b"PK\x03\x04"[..], &[0; 26]].concat();
        let block = [&block_size[..], &pair, &block_size, b"APK Sig Block 42"].concat();
        let directory = [&b"PK\x01\x02"[..], &[0; 42]].concat();
        let directory_at = (entries.len() + block.len()) as u32;
        let end =
            [&b"PK\x05\x06"[..], &[0, 0, 0, 0, 1, 0, 1, 0], &(directory.len() as u32).to_le_bytes(), &directory_at.to_le_bytes(), &[0, 0]]
                .concat();
        [entries, block, directory, end].concat()
    }

    fn write(name: &str, bytes: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("nexmdm-apk-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn the_signer_is_read_from_the_signing_block() {
        let path = write("signed", &signed_apk(b"a certificate"));
        let (_, facts) = read(&path).unwrap();
        assert_eq!(facts.signer_sha256, Some(Sha256::digest(b"a certificate").into()));
        assert_eq!(facts.sha256, hex::encode(Sha256::digest(signed_apk(b"a certificate"))));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn damaged_files_have_no_signer_but_do_no_harm() {
        let whole = signed_apk(b"a certificate");
        for length in 4..whole.len() {
            let path = write("cut", &whole[..length]);
            assert_eq!(read(&path).unwrap().1.signer_sha256, None, "cut at {length}");
            std::fs::remove_file(path).unwrap();
        }
        let path = write("text", b"hello");
        assert!(read(&path).unwrap_err().to_string().contains("not an APK"));
        std::fs::remove_file(path).unwrap();
    }

    fn one_at_a_time(locations: Vec<ApkLocation>) -> AgentApk {
        let metrics = PoolMetrics::register(&prometheus::Registry::new()).unwrap();
        let downloads = Pool::new(PoolName::AgentApkDownloads, PoolLimits::of_capacity(1), &metrics);
        AgentApk::new(locations, downloads, MinimumRate { bytes_per_second: 4096, patience: Duration::from_secs(5) })
    }

    fn anybody() -> Claim {
        Claim::new(Class::Regular)
    }

    fn at(source: ApkSource, file: &Path) -> ApkLocation {
        ApkLocation { source, file: file.to_owned() }
    }

    #[tokio::test]
    async fn a_new_file_is_noticed_and_downloads_are_bounded() {
        let path = write("changes", &signed_apk(b"one"));
        let apk = one_at_a_time(vec![at(ApkSource::Setting, &path)]);
        let first = apk.facts().await.unwrap();
        assert!(Arc::ptr_eq(&first, &apk.facts().await.unwrap()), "read once");
        std::fs::write(&path, signed_apk(b"another")).unwrap();
        assert_ne!(apk.facts().await.unwrap().sha256, first.sha256);

        let download = apk.open(anybody()).await.unwrap();
        assert!(matches!(apk.open(anybody()).await, Err(ServiceError::Overloaded(_))));
        let mut bytes = download.bytes(1, 3);
        assert_eq!(bytes.recv().await.unwrap().unwrap(), Bytes::from_static(b"K\x03\x04"));
        assert!(bytes.recv().await.is_none());
        while apk.open(anybody()).await.is_err() {
            tokio::task::yield_now().await;
        }
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn the_first_place_with_a_file_counts_and_is_looked_for_each_time() {
        let (first, second) = (write("first", &signed_apk(b"first")), write("second", &signed_apk(b"second")));
        std::fs::remove_file(&first).unwrap();
        let places = vec![at(ApkSource::DataFolder, &first), at(ApkSource::ReleaseBuild, &second)];
        let apk = one_at_a_time(places);
        let source = async || apk.location().await.map(|location| location.source);
        assert_eq!(source().await, Some(ApkSource::ReleaseBuild));
        assert_eq!(apk.facts().await.unwrap().signer_sha256, Some(Sha256::digest(b"second").into()));
        std::fs::write(&first, signed_apk(b"first")).unwrap();
        assert_eq!(source().await, Some(ApkSource::DataFolder));
        assert_eq!(apk.facts().await.unwrap().signer_sha256, Some(Sha256::digest(b"first").into()));
        std::fs::remove_file(&first).unwrap();
        std::fs::remove_file(&second).unwrap();
        assert_eq!(source().await, None);
        assert!(matches!(apk.facts().await, Err(ServiceError::WrongState(why)) if why.contains("make agent")));
        assert!(matches!(apk.open(anybody()).await, Err(ServiceError::NotFound(_))));
        // What the operator names is not passed over.
        let named = one_at_a_time(vec![at(ApkSource::Setting, &first)]);
        assert!(matches!(named.facts().await, Err(ServiceError::WrongState(why)) if why.contains("agent_apk_file cannot be read")));
    }

    #[tokio::test]
    async fn a_real_apk_tells_its_version_and_a_damaged_one_what_is_wrong() {
        let fixture = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/apks/agent-121.apk")).unwrap();
        let path = write("real", &fixture);
        let apk = one_at_a_time(vec![at(ApkSource::DataFolder, &path)]);
        let version = apk.facts().await.unwrap().version.clone().unwrap();
        let want = ApkVersion { package: "com.nexmdm".into(), version_code: 121, version_name: "1.0.121".into(), debuggable: Some(false) };
        assert_eq!(version, want);
        let half = fixture.len() / 2;
        std::fs::write(&path, [&fixture[..half], &[fixture[half] ^ 1], &fixture[half + 1..]].concat()).unwrap();
        let problem = apk.facts().await.unwrap().version.clone().unwrap_err();
        assert!(!problem.is_empty(), "an altered file is not believed");
        std::fs::remove_file(path).unwrap();
    }
}
