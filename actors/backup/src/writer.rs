//! The stream of a backup as it is written: tar in zstd in age.

use std::io::{self, Write};

use age::scrypt;
use age::stream::StreamWriter;
use secrecy::SecretString;

use crate::BackupError;
use crate::manifest::Digest;
use crate::member::Member;
use crate::tally::Tally;

/// Logarithm of the rounds of scrypt: about a second and 256 MiB for each passphrase that is tried.
pub const WORK_FACTOR: u8 = 18;
/// Most that is accepted of a backup that is read.
pub const WORK_FACTOR_MAX: u8 = 20;
/// Block of a tar file.
pub(crate) const BLOCK: usize = 512;
/// Level of zstd: as fast as a disk, and a fifth of the size.
const LEVEL: i32 = 3;

/// Writer of a backup.
pub(crate) struct Writer<W: Write> {
    out: zstd::Encoder<'static, Sealed<W>>,
    /// Bytes of the member under way that have yet to come, and its size.
    left: u64,
    size: u64,
    tally: Tally,
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Written<W> {
    /// Where.
    pub(crate) out: W,
    /// Digests.
    pub(crate) digest: Digest,
}

enum Sealed<W: Write> {
    Age(StreamWriter<W>),
    Clear(W),
}

impl<W: Write> Write for Sealed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Age(out) => out.write(bytes),
            Self::Clear(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Age(out) => out.flush(),
            Self::Clear(out) => out.flush(),
        }
    }
}

impl<W: Write> Writer<W> {
    /// Begins a backup; without a passphrase in the clear.
    pub(crate) fn begin(out: W, passphrase: Option<&SecretString>, work_factor: u8) -> io::Result<Self> {
        let sealed = match passphrase {
            Some(passphrase) => {
                let mut recipient = scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(work_factor.clamp(1, WORK_FACTOR_MAX));
                let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient));
                Sealed::Age(encryptor.map_err(io::Error::other)?.wrap_output(out)?)
            }
            None => Sealed::Clear(out),
        };
        Ok(Self { out: zstd::Encoder::new(sealed, LEVEL)?, left: 0, size: 0, tally: Tally::default() })
    }

    /// Begins a member of this size.
    pub(crate) fn member(&mut self, member: &Member, size: u64) -> Result<(), BackupError> {
        self.end_member(member)?;
        self.header(member, size)?;
        self.tally.begin(member);
        Ok(())
    }

    fn header(&mut self, member: &Member, size: u64) -> Result<(), BackupError> {
        let failed = || BackupError::file(format!("{member} could not be written"));
        let mut header = tar::Header::new_ustar();
        header.set_path(member.to_string()).map_err(failed())?;
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(failed())?;
        (self.left, self.size) = (size, size);
        Ok(())
    }

    /// Bytes of the member.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return Err(BackupError::damaged("a file grew while it was copied"));
        };
        self.left = left;
        self.tally.add(bytes);
        self.out.write_all(bytes).map_err(BackupError::file("the backup could not be written"))
    }

    /// Bytes of all members so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.tally.bytes
    }

    fn end_member(&mut self, next: &Member) -> Result<(), BackupError> {
        if self.left > 0 {
            return Err(BackupError::damaged(format!("a file shrank while it was copied, before {next}")));
        }
        let padding = (BLOCK - (self.size % BLOCK as u64) as usize) % BLOCK;
        self.size = 0;
        self.out.write_all(&[0; BLOCK][..padding]).map_err(BackupError::file("the backup could not be written"))
    }

    /// Writes the digest, whose problems `judge` finds, and the end.
    pub(crate) fn finish(mut self, judge: impl FnOnce(&mut Digest)) -> Result<Written<W>, BackupError> {
        self.end_member(&Member::Digest)?;
        let mut digest = Digest { entries: self.tally.entries(), problems: Vec::new() };
        judge(&mut digest);
        let json = serde_json::to_vec_pretty(&digest).map_err(|cause| BackupError::damaged(format!("digest.json: {cause}")))?;
        self.header(&Member::Digest, json.len() as u64)?;
        self.left = 0;
        let failed = || BackupError::file("the backup could not be written");
        self.out.write_all(&json).map_err(failed())?;
        self.end_member(&Member::Digest)?;
        self.out.write_all(&[0; 2 * BLOCK]).map_err(failed())?;
        let mut out = match self.out.finish().map_err(failed())? {
            Sealed::Age(out) => out.finish().map_err(failed())?,
            Sealed::Clear(out) => out,
        };
        out.flush().map_err(failed())?;
        Ok(Written { out, digest })
    }
}
