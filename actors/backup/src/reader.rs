//! The stream of a backup as it is read: every byte is checked on the way, and what is missing is named.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read};

use age::{DecryptError, scrypt};
use bytes::Bytes;
use secrecy::SecretString;

use crate::BackupError;
use crate::keys::KEY_MAX_BYTES;
use crate::manifest::{Digest, JSON_MAX_BYTES, Manifest};
use crate::member::Member;
use crate::tally::Tally;
use crate::writer::{BLOCK, WORK_FACTOR_MAX};

/// Bytes that are handed on at a time.
const PIECE_BYTES: usize = 1 << 20;
/// First bytes of a file of age.
const AGE: &[u8] = b"age-encryption.org/v1";
/// First bytes of a frame of zstd.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Largest window of zstd, as the logarithm of its bytes: 128 MiB.
const WINDOW_LOG_MAX: u32 = 27;

/// Piece of a backup that was read.
#[derive(Debug)]
pub(crate) enum Event {
    /// What it holds; the first.
    Manifest(Box<Manifest>),
    /// A member begins.
    Member { member: Member },
    /// Bytes of it.
    Data(Bytes),
    /// All of it was handed on, and is what was written; the last.
    End,
}

/// Reads a whole backup and hands it on, piece by piece. Only when this returns is it known that what was handed on is what was written.
///
/// # Errors
/// The input is no backup, is damaged, or the passphrase is another one; or `hand_on` failed.
pub(crate) fn read<R: Read + Send>(
    input: R,
    passphrase: Option<&SecretString>,
    hand_on: &mut dyn FnMut(Event) -> Result<(), BackupError>,
) -> Result<(Manifest, Digest), BackupError> {
    let mut input = BufReader::with_capacity(PIECE_BYTES, input);
    let head = peek(&mut input)?;
    let mut stream: Box<dyn Read + '_> = if head.starts_with(AGE) {
        Box::new(decrypted(input, passphrase.ok_or(BackupError::PassphraseNeeded)?)?)
    } else if head.starts_with(ZSTD) {
        Box::new(input)
    } else if head.is_empty() {
        return Err(BackupError::NotABackup("the file is empty".to_owned()));
    } else {
        return Err(BackupError::NotABackup("it begins neither as a file of age nor of zstd".to_owned()));
    };
    let not_zstd = || BackupError::NotABackup("what is encrypted is no zstd".to_owned());
    let mut decoder = zstd::Decoder::new(&mut stream).map_err(|_| not_zstd())?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(|_| not_zstd())?;
    Tar { input: decoder, tally: Tally::default(), table: None }.read(hand_on)
}

fn peek<R: Read>(input: &mut BufReader<R>) -> Result<Vec<u8>, BackupError> {
    use io::BufRead;
    let head = input.fill_buf().map_err(BackupError::file("the backup could not be read"))?;
    Ok(head.iter().copied().take(AGE.len()).collect())
}

fn decrypted<R: Read>(input: R, passphrase: &SecretString) -> Result<age::stream::StreamReader<R>, BackupError> {
    let unreadable = |error: DecryptError| match error {
        DecryptError::ExcessiveWork { required, .. } => BackupError::TooMuchWork { found: required, most: WORK_FACTOR_MAX },
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => BackupError::WrongPassphrase,
        DecryptError::NoMatchingKeys => BackupError::NotABackup("it is encrypted for a key instead of a passphrase".to_owned()),
        DecryptError::InvalidMac => BackupError::damaged("its header was altered"),
        DecryptError::Io(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => BackupError::damaged("it ends within its header"),
        _ => BackupError::damaged("its header does not read"),
    };
    let decryptor = age::Decryptor::new(input).map_err(unreadable)?;
    let mut identity = scrypt::Identity::new(passphrase.clone());
    identity.set_max_work_factor(WORK_FACTOR_MAX);
    decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(unreadable)
}

/// Reader of members.
struct Tar<R> {
    input: R,
    tally: Tally,
    /// The table whose parts are read, with its columns and the next part.
    table: Option<(String, usize, u32)>,
}

impl<R: Read> Tar<R> {
    fn read(mut self, hand_on: &mut dyn FnMut(Event) -> Result<(), BackupError>) -> Result<(Manifest, Digest), BackupError> {
        let manifest = match self.header() {
            Ok(Some((Member::Manifest, size))) => {
                self.tally.begin(&Member::Manifest);
                let json = self.whole(&Member::Manifest, size, JSON_MAX_BYTES)?;
                self.tally.add(&json);
                Manifest::read(&json)?
            }
            Ok(_) => return Err(BackupError::NotABackup("its first member is no manifest.json".to_owned())),
            // A wrong first block is another kind of file; one that cannot be decrypted is damaged.
            Err(error) => return Err(error),
        };
        hand_on(Event::Manifest(Box::new(manifest.clone())))?;
        let mut tables: VecDeque<_> = manifest.tables.iter().map(|table| (table.name.clone(), table.columns.len())).collect();
        let digest = loop {
            let Some((member, size)) = self.header()? else {
                return Err(BackupError::damaged("it ends without digest.json: it was cut off"));
            };
            match &member {
                Member::Digest => {
                    self.end_table()?;
                    let json = self.whole(&member, size, JSON_MAX_BYTES)?;
                    break serde_json::from_slice::<Digest>(&json)
                        .map_err(|cause| BackupError::damaged(format!("digest.json: {cause}")))?;
                }
                Member::Manifest => return Err(BackupError::damaged("it has a second manifest.json")),
                Member::Key(_) if size > KEY_MAX_BYTES => return Err(too_large(&member, size, KEY_MAX_BYTES)),
                Member::Rows { table, part } => self.check_part(table, *part, &mut tables)?,
                Member::Key(_) | Member::Apk(_) | Member::Archive(_) => self.end_table()?,
            }
            self.tally.begin(&member);
            hand_on(Event::Member { member: member.clone() })?;
            self.pieces(&member, size, hand_on)?;
        };
        if let Some((missing, _)) = tables.pop_front() {
            return Err(BackupError::damaged(format!("the rows of table {missing} are missing")));
        }
        self.end()?;
        compare(&self.tally.entries(), &digest)?;
        hand_on(Event::End)?;
        Ok((manifest, digest))
    }

    /// The tables follow in the order of the manifest, their parts in the order of their numbers.
    fn check_part(&mut self, table: &str, part: u32, tables: &mut VecDeque<(String, usize)>) -> Result<(), BackupError> {
        match &mut self.table {
            Some((name, _, next)) if name.as_str() == table && *next == part => *next += 1,
            Some((name, _, next)) if name.as_str() == table => {
                return Err(BackupError::damaged(format!("part {next} of table {table} is missing")));
            }
            _ => {
                self.end_table()?;
                match tables.pop_front() {
                    Some((name, columns)) if name == table && part == 0 => self.table = Some((name, columns, 1)),
                    Some((name, _)) if name == table => return Err(BackupError::damaged(format!("part 0 of table {table} is missing"))),
                    Some((name, _)) => return Err(BackupError::damaged(format!("the rows of table {name} are missing"))),
                    None => return Err(BackupError::damaged(format!("the table {table} is not in its manifest"))),
                }
            }
        }
        Ok(())
    }

    fn end_table(&mut self) -> Result<(), BackupError> {
        match self.table.take() {
            Some((name, columns, _)) if !self.tally.is_table_of(columns) => {
                Err(BackupError::damaged(format!("the rows of table {name} do not have its {columns} columns each")))
            }
            _ => Ok(()),
        }
    }

    /// The next member, and its size; `None` at the end.
    fn header(&mut self) -> Result<Option<(Member, u64)>, BackupError> {
        let block = self.block()?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = tar::Header::from_byte_slice(&block);
        let sum: u32 = block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
        let is_whole = header.cksum().is_ok_and(|found| found == sum) && header.entry_type().is_file();
        let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        match (is_whole, Member::parse(&name), header.size()) {
            (true, Some(member), Ok(size)) => Ok(Some((member, size))),
            (true, None, _) => Err(BackupError::NotABackup(format!("it has a member {:?}", name.chars().take(100).collect::<String>()))),
            _ => Err(BackupError::NotABackup("a header of its members does not read".to_owned())),
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK], BackupError> {
        let mut block = [0; BLOCK];
        self.input.read_exact(&mut block).map_err(unread)?;
        Ok(block)
    }

    /// The bytes of a small member.
    fn whole(&mut self, member: &Member, size: u64, most: u64) -> Result<Vec<u8>, BackupError> {
        if size > most {
            return Err(too_large(member, size, most));
        }
        let mut bytes = vec![0; size as usize];
        self.input.read_exact(&mut bytes).map_err(unread)?;
        self.skip_padding(size)?;
        Ok(bytes)
    }

    fn pieces(&mut self, member: &Member, size: u64, hand_on: &mut dyn FnMut(Event) -> Result<(), BackupError>) -> Result<(), BackupError> {
        let mut left = size;
        while left > 0 {
            let mut piece = vec![0; left.min(PIECE_BYTES as u64) as usize];
            self.input.read_exact(&mut piece).map_err(|cause| match unread(cause) {
                BackupError::Damaged(why) => BackupError::damaged(format!("{member}: {why}")),
                error => error,
            })?;
            left -= piece.len() as u64;
            self.tally.add(&piece);
            hand_on(Event::Data(piece.into()))?;
        }
        self.skip_padding(size)
    }

    fn skip_padding(&mut self, size: u64) -> Result<(), BackupError> {
        let padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
        self.input.read_exact(&mut [0; BLOCK][..padding]).map_err(unread)
    }

    /// Reads to the end, whose authenticity is only then known.
    fn end(&mut self) -> Result<(), BackupError> {
        let mut rest = vec![0; PIECE_BYTES];
        loop {
            match self.input.read(&mut rest).map_err(unread)? {
                0 => return Ok(()),
                count if rest.iter().take(count).any(|byte| *byte != 0) => {
                    return Err(BackupError::damaged("something follows its end"));
                }
                _ => {}
            }
        }
    }
}

fn too_large(member: &Member, size: u64, most: u64) -> BackupError {
    BackupError::damaged(format!("{member} has {size} bytes, more than the {most} that it may have"))
}

/// The stream could not be read on. What age and zstd say of a changed byte is the same as of one that is missing within a block.
fn unread(cause: io::Error) -> BackupError {
    match cause.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::damaged("it was cut off"),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
            BackupError::damaged(format!("its bytes were altered or cut off ({cause})"))
        }
        _ => BackupError::File { what: "the backup could not be read".to_owned(), cause },
    }
}

/// Compares what was read with what was written.
fn compare(read: &[crate::DigestEntry], digest: &Digest) -> Result<(), BackupError> {
    for (written, read) in digest.entries.iter().zip(read) {
        if written.name != read.name {
            return Err(BackupError::damaged(format!("{} is missing", written.name)));
        }
        if written != read {
            let what = match (written, read) {
                (w, r) if w.rows != r.rows => format!("{} rows instead of {}", r.rows.unwrap_or(0), w.rows.unwrap_or(0)),
                (w, r) if w.bytes != r.bytes => format!("{} bytes instead of {}", r.bytes, w.bytes),
                (w, r) if w.parts != r.parts => format!("{} parts instead of {}", r.parts, w.parts),
                (w, r) => format!("SHA-256 {} instead of {}", r.sha256, w.sha256),
            };
            return Err(BackupError::damaged(format!("{}: {what}", written.name)));
        }
    }
    match (digest.entries.get(read.len()), read.get(digest.entries.len())) {
        (Some(missing), _) => Err(BackupError::damaged(format!("{} is missing", missing.name))),
        (_, Some(more)) => Err(BackupError::damaged(format!("{} is not in its digest.json", more.name))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
