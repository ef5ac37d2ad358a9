//! Verification: a backup is read from its first byte to its last, and whether this build could restore it.

use std::path::Path;

use secrecy::SecretString;
use store::Store;

use crate::manifest::{Digest, Manifest};
use crate::pipe::ReadPipe;
use crate::reader::Event;
use crate::{BackupError, Progress};

/// A backup that is whole.
#[derive(Debug, Clone)]
pub struct Verified {
    /// What it holds.
    pub manifest: Manifest,
    /// What was written, and read again.
    pub digest: Digest,
    /// Size of the file.
    pub file_bytes: u64,
    /// Whether it is encrypted.
    pub is_encrypted: bool,
}

/// Reads a whole backup and compares every digest. Needs no database.
///
/// # Errors
/// The file is no backup, is damaged, its passphrase is another one, or this build could not restore it.
pub async fn verify(file: &Path, passphrase: Option<SecretString>, progress: Progress) -> Result<Verified, BackupError> {
    let input = std::fs::File::open(file).map_err(BackupError::at(file))?;
    let file_bytes = input.metadata().map_err(BackupError::at(file))?.len();
    let is_encrypted = is_encrypted(file)?;
    // The thread that reads ends with this, whoever gives it up.
    let mut pipe = ReadPipe::begin(input, passphrase);
    let (mut entry, mut bytes) = (String::new(), 0);
    while let Some(event) = pipe.next().await {
        match event {
            Event::Manifest(manifest) => check_schema(&manifest)?,
            Event::Member { member } => entry = member.entry(),
            Event::End => {}
            Event::Data(data) => {
                bytes += data.len() as u64;
                progress(&entry, bytes);
            }
        }
    }
    let (manifest, digest) = pipe.end().await?;
    Ok(Verified { manifest, digest, file_bytes, is_encrypted })
}

/// Whether a file is encrypted.
///
/// # Errors
/// It cannot be read.
pub fn is_encrypted(path: &Path) -> Result<bool, BackupError> {
    use std::io::Read;
    let mut head = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(4).read_to_end(&mut head)).map_err(BackupError::at(path))?;
    Ok(head == b"age-")
}

/// Refuses a schema that this build does not know.
pub(crate) fn check_schema(manifest: &Manifest) -> Result<(), BackupError> {
    let known = Store::newest_migration();
    if manifest.schema > known {
        return Err(BackupError::NewerSchema { found: manifest.schema, known, version: manifest.version.clone() });
    }
    Ok(())
}
