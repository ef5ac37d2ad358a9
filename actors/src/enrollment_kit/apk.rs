//! The agent's APK that the operator put on this node: its digest, its signer, and downloads of it.

use std::fs::{File, Metadata};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apksig::{SigningBlock, ValueSigningBlock};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::ServiceError;
use crate::file_sender::send_file;

/// Bytes read from the file at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// The end record of a ZIP file.
const ZIP_END_BYTES: usize = 22;
/// The same with the comment behind it.
const ZIP_END_MAX_BYTES: u64 = ZIP_END_BYTES as u64 + 65_535;
/// Largest signing block that is read; they have a few KiB.
const SIGNING_BLOCK_MAX_BYTES: u64 = 16 << 20;

/// What is known of an APK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApkFacts {
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of the certificate that signed it (APK signature scheme v2, else v3), if that can be read.
    pub signer_sha256: Option<[u8; 32]>,
}

/// Tells a file from its successor without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: (i64, i64),
}

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        let modified_ns = (metadata.mtime(), metadata.mtime_nsec());
        Self { device: metadata.dev(), inode: metadata.ino(), size: metadata.len(), modified_ns }
    }
}

/// The APK of the node.
pub(crate) struct AgentApk {
    file: PathBuf,
    known: Mutex<Option<(Mark, Arc<ApkFacts>)>>,
    downloads: Arc<Semaphore>,
    stall_timeout: Duration,
}

/// An opened APK, of which some bytes can be sent.
pub struct ApkDownload {
    /// What is known of the whole file.
    pub facts: Arc<ApkFacts>,
    file: tokio::fs::File,
    turn: OwnedSemaphorePermit,
    stall_timeout: Duration,
}

impl AgentApk {
    pub(crate) fn new(file: PathBuf, downloads_max: usize, stall_timeout: Duration) -> Self {
        Self { file, known: Mutex::new(None), downloads: Arc::new(Semaphore::new(downloads_max)), stall_timeout }
    }

    /// What is known of the file; it is read only when it changed.
    ///
    /// # Errors
    /// The file cannot be read, or is no APK.
    pub(crate) async fn facts(&self) -> Result<Arc<ApkFacts>, ServiceError> {
        let unreadable = |cause: std::io::Error| {
            tracing::warn!(event = "agent_apk.unreadable", file = %self.file.display(), %cause);
            ServiceError::WrongState("the file of enrollment.agent_apk_file cannot be read; the node's log says why")
        };
        // One at a time: a new file is read once, however many ask for it.
        let mut known = self.known.lock().await;
        let mark = Mark::of(&tokio::fs::metadata(&self.file).await.map_err(unreadable)?);
        if let Some((_, facts)) = known.as_ref().filter(|(of, _)| *of == mark) {
            return Ok(Arc::clone(facts));
        }
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || read(&file)).await;
        let (mark, facts) = read.map_err(|_| ServiceError::Internal)?.map_err(unreadable)?;
        let facts = Arc::new(facts);
        tracing::info!(
            event = "agent_apk.read",
            sha256 = facts.sha256,
            size_bytes = facts.size,
            signer_sha256 = facts.signer_sha256.map(hex::encode).unwrap_or_default()
        );
        *known = Some((mark, Arc::clone(&facts)));
        Ok(facts)
    }

    /// Opens the file for a download.
    ///
    /// # Errors
    /// Overloaded when too many run, or as [`Self::facts`].
    pub(crate) async fn open(&self) -> Result<ApkDownload, ServiceError> {
        let turn = Arc::clone(&self.downloads).try_acquire_owned();
        let turn = turn.map_err(|_| ServiceError::Overloaded("enrollment.agent_apk_downloads_max"))?;
        let facts = self.facts().await?;
        let file = tokio::fs::File::open(&self.file).await.map_err(|cause| {
            tracing::warn!(event = "agent_apk.unreadable", file = %self.file.display(), %cause);
            ServiceError::Unavailable
        })?;
        Ok(ApkDownload { facts, file, turn, stall_timeout: self.stall_timeout })
    }
}

impl ApkDownload {
    /// The bytes `from ..= to`. A reader that takes nothing for the stall timeout loses its turn.
    pub fn bytes(self, from: u64, to: u64) -> mpsc::Receiver<std::io::Result<Bytes>> {
        send_file(self.file, from, to, self.turn, self.stall_timeout, None)
    }
}

fn read(path: &Path) -> std::io::Result<(Mark, ApkFacts)> {
    let mut file = File::open(path)?;
    let mark = Mark::of(&file.metadata()?);
    let mut start = [0; 4];
    let is_zip = file.read_exact(&mut start).is_ok() && start == *b"PK\x03\x04";
    if !is_zip {
        return Err(std::io::Error::other("not an APK: it does not begin as a ZIP file does"));
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
    let signer_sha256 = signer(&mut file, mark.size);
    Ok((mark, ApkFacts { sha256: hex::encode(digest.finalize()), size: mark.size, signer_sha256 }))
}

/// The APK Signing Block: it ends where the ZIP file's central directory begins
/// (<https://source.android.com/docs/security/features/apksigning/v2#apk-signing-block>).
fn signing_block(file: &mut File, size: u64) -> Option<Vec<u8>> {
    const MAGIC: &[u8] = b"APK Sig Block 42";
    let mut read_at = |at: u64, length: u64| {
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        file.seek(SeekFrom::Start(at)).ok()?;
        file.read_exact(&mut bytes).ok().map(|()| bytes)
    };
    let tail_at = size.saturating_sub(ZIP_END_MAX_BYTES);
    let tail = read_at(tail_at, size - tail_at)?;
    let end = tail.windows(4).rposition(|bytes| bytes == b"PK\x05\x06")?;
    let record = tail.get(end..end + ZIP_END_BYTES)?;
    let directory_at = u64::from(u32::from_le_bytes(record[16..20].try_into().ok()?));
    // Before the directory: the block's size without its first eight bytes, then the magic.
    let footer = read_at(directory_at.checked_sub(24)?, 24)?;
    let block_size = u64::from_le_bytes(footer[..8].try_into().ok()?).checked_add(8)?;
    if footer[8..] != *MAGIC || block_size > SIGNING_BLOCK_MAX_BYTES {
        return None;
    }
    read_at(directory_at.checked_sub(block_size)?, block_size)
}

/// SHA-256 of the first signer's certificate. Scheme v2 comes first: where a key was rotated, v2 still
/// carries the first certificate, which is what every Android compares with.
fn signer(file: &mut File, size: u64) -> Option<[u8; 32]> {
    let bytes = signing_block(file, size)?;
    let length = bytes.len();
    let block = SigningBlock::from_reader(Cursor::new(bytes), length, 0).ok()?;
    let (mut v2, mut v3) = (None, None);
    for value in &block.content {
        match value {
            ValueSigningBlock::SignatureSchemeV2Block(scheme) => {
                v2 = scheme.signers.signers_data.first().and_then(|signer| signer.signed_data.certificates.certificates_data.first());
            }
            ValueSigningBlock::SignatureSchemeV3Block(scheme) => {
                v3 = scheme.signers.signers_data.first().and_then(|signer| signer.signed_data.certificates.certificates_data.first());
            }
            _ => {}
        }
    }
    v2.or(v3).map(|certificate| Sha256::digest(&certificate.certificate).into())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn a_new_file_is_noticed_and_downloads_are_bounded() {
        let path = write("changes", &signed_apk(b"one"));
        let apk = AgentApk::new(path.clone(), 1, Duration::from_secs(5));
        let first = apk.facts().await.unwrap();
        assert!(Arc::ptr_eq(&first, &apk.facts().await.unwrap()), "read once");
        std::fs::write(&path, signed_apk(b"another")).unwrap();
        assert_ne!(apk.facts().await.unwrap().sha256, first.sha256);

        let download = apk.open().await.unwrap();
        assert!(matches!(apk.open().await, Err(ServiceError::Overloaded(_))));
        let mut bytes = download.bytes(1, 3);
        assert_eq!(bytes.recv().await.unwrap().unwrap(), Bytes::from_static(b"K\x03\x04"));
        assert!(bytes.recv().await.is_none());
        while apk.open().await.is_err() {
            tokio::task::yield_now().await;
        }
        std::fs::remove_file(path).unwrap();
    }
}
