//! The archive of an APK: stricter than ZIP files are in general, as Android's own checks are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;

use domain::Invalid;
use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::bytes::{index, u16_at, u32_at};
use super::{Deadline, refused};

/// The record at the end of a ZIP file.
const END_BYTES: usize = 22;
/// The longest comment behind it.
const COMMENT_MAX_BYTES: usize = 65_535;
/// An entry of the directory without its name, and the same before the entry's data.
const ENTRY_BYTES: usize = 46;
const LOCAL_BYTES: u64 = 30;
/// Largest directory: 65,535 entries with names of usual length.
const DIRECTORY_MAX_BYTES: usize = 32 << 20;
/// Most that all entries may hold, unpacked.
const UNPACKED_MAX_BYTES: u64 = 8 << 30;
/// How much more that may be than the file: the best that packing does for what programs consist of is far below.
const UNPACKED_MAX_RATIO: u64 = 200;
/// Below this no ratio matters.
const UNPACKED_FREE_BYTES: u64 = 64 << 20;

/// An archive whose directory was read.
pub(super) struct Archive<'a> {
    file: &'a File,
    /// Offset of the directory.
    pub(super) directory_at: u64,
    /// The directory as it stands in the file.
    pub(super) directory: Vec<u8>,
    /// Bytes after the directory, to the end of the file.
    pub(super) end: Vec<u8>,
    /// Offset of the end of the last entry.
    pub(super) entries_end: u64,
    entries: HashMap<Vec<u8>, Entry>,
}

/// Entry, as the directory describes it.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    method: u16,
    encrypted: bool,
    crc: u32,
    packed: u64,
    unpacked: u64,
    at: u64,
    name_length: u64,
}

impl Entry {
    /// Whether it is in the file as is, not packed.
    pub(super) fn is_stored(&self) -> bool {
        self.method == 0
    }
}

impl<'a> Archive<'a> {
    /// Reads the directory.
    ///
    /// # Errors
    /// The file is no ZIP file, is truncated, or unpacks to far more than it should.
    pub(super) fn open(file: &'a File, deadline: Deadline) -> Result<Self, Invalid> {
        let unreadable = |_| refused("the file cannot be read");
        let size = file.metadata().map_err(unreadable)?.len();
        let mut start = [0; 4];
        let begins = size >= END_BYTES as u64 && file.read_exact_at(&mut start, 0).is_ok() && start == *b"PK\x03\x04";
        if !begins {
            return Err(refused("not an APK: no ZIP header"));
        }
        let tail_length = usize::try_from(size).unwrap_or(usize::MAX).min(END_BYTES + COMMENT_MAX_BYTES);
        let mut tail = vec![0; tail_length];
        file.read_exact_at(&mut tail, size - tail_length as u64).map_err(unreadable)?;
        let end_at = (0..=tail_length - END_BYTES).rev().find(|at| {
            let comment = u16_at(&tail, at + 20).map(usize::from);
            tail[*at..].starts_with(b"PK\x05\x06") && comment == Some(tail_length - at - END_BYTES)
        });
        let end_at = end_at.ok_or_else(|| refused("truncated file: the ZIP central directory is missing"))?;
        let end = tail.split_off(end_at);
        let number = |at| u32_at(&end, at).unwrap_or(u32::MAX);
        let (directory_size, directory_at) = (number(12), number(16));
        if directory_size == u32::MAX || directory_at == u32::MAX {
            return Err(refused("a ZIP64 archive, which Android does not support"));
        }
        let end_at = size - end.len() as u64;
        if u64::from(directory_at) + u64::from(directory_size) != end_at {
            return Err(refused("the ZIP central directory is misplaced: the file is truncated or damaged"));
        }
        if index(directory_size) > DIRECTORY_MAX_BYTES {
            return Err(refused(format!("the ZIP central directory is larger than {DIRECTORY_MAX_BYTES} bytes")));
        }
        let mut directory = vec![0; index(directory_size)];
        file.read_exact_at(&mut directory, u64::from(directory_at)).map_err(unreadable)?;
        let count = u16_at(&end, 10).map(usize::from).unwrap_or_default();
        let (entries, entries_end) = entries(&directory, count, size, deadline)?;
        if entries_end > u64::from(directory_at) {
            return Err(refused("ZIP entries overlap"));
        }
        Ok(Self { file, directory_at: u64::from(directory_at), directory, end, entries_end, entries })
    }

    /// An entry by its name.
    pub(super) fn entry(&self, name: &str) -> Option<Entry> {
        self.entries.get(name.as_bytes()).copied()
    }

    /// Every entry with its name.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&[u8], Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_slice(), *entry))
    }

    /// Names of entries that end so, in order, as text of one short line each.
    pub(super) fn names_ending(&self, end: &[u8]) -> Vec<String> {
        let mut names: Vec<_> =
            self.entries.keys().filter(|name| name.ends_with(end)).map(|name| super::line(&String::from_utf8_lossy(name))).collect();
        names.sort_unstable();
        names
    }

    /// Whether it has the file of a signature of scheme v1.
    pub(super) fn has_v1_signature(&self) -> bool {
        let kinds: [&[u8]; 3] = [b".RSA", b".DSA", b".EC"];
        self.entries.keys().any(|name| name.starts_with(b"META-INF/") && kinds.iter().any(|kind| name.ends_with(kind)))
    }

    /// The bytes at a place of the file.
    ///
    /// # Errors
    /// The bytes cannot be read.
    pub(super) fn bytes(&self, at: u64, length: usize) -> Result<Vec<u8>, Invalid> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at).map_err(|_| refused("truncated file"))?;
        Ok(bytes)
    }

    /// The file from its beginning, so many bytes.
    pub(super) fn front(&self, length: u64) -> Part<'a> {
        Part { file: self.file, at: 0, left: length }
    }

    /// Offset of an entry's data.
    ///
    /// # Errors
    /// The entry is damaged.
    pub(super) fn data_at(&self, entry: Entry) -> Result<u64, Invalid> {
        let damaged = || refused("a ZIP entry is damaged");
        let local = self.bytes(entry.at, LOCAL_BYTES as usize)?;
        let lengths = (u16_at(&local, 26), u16_at(&local, 28));
        let (Some(name), Some(extra), true) = (lengths.0, lengths.1, local.starts_with(b"PK\x03\x04")) else { return Err(damaged()) };
        let from = entry.at + LOCAL_BYTES + u64::from(name) + u64::from(extra);
        match u64::from(name) == entry.name_length && from + entry.packed <= self.directory_at {
            true => Ok(from),
            false => Err(damaged()),
        }
    }

    /// An entry, unpacked.
    ///
    /// # Errors
    /// The entry is damaged, or larger than `limit` bytes, whatever the directory says.
    pub(super) fn inflate(&self, entry: Entry, limit: usize) -> Result<Vec<u8>, Invalid> {
        let damaged = || refused("a ZIP entry is damaged");
        if entry.encrypted {
            return Err(refused("a ZIP entry is encrypted"));
        }
        if entry.unpacked > limit as u64 {
            return Err(refused(format!("a ZIP entry unpacks to more than {limit} bytes")));
        }
        let from = self.data_at(entry)?;
        let packed = BufReader::new(Part { file: self.file, at: from, left: entry.packed });
        let mut bytes = Vec::new();
        // One more than is allowed tells whether there is more.
        let most = limit as u64 + 1;
        match entry.method {
            0 => packed.take(most).read_to_end(&mut bytes),
            8 => DeflateDecoder::new(packed).take(most).read_to_end(&mut bytes),
            _ => return Err(refused("a ZIP entry uses a compression method that Android does not support")),
        }
        .map_err(|_| damaged())?;
        if bytes.len() > limit {
            return Err(refused(format!("a ZIP entry unpacks to more than {limit} bytes")));
        }
        let mut crc = Crc::new();
        crc.update(&bytes);
        match bytes.len() as u64 == entry.unpacked && crc.sum() == entry.crc {
            true => Ok(bytes),
            false => Err(damaged()),
        }
    }
}

/// Reads the directory of a file of `size` bytes: its entries, and where the last of them ends.
fn entries(directory: &[u8], count: usize, size: u64, deadline: Deadline) -> Result<(HashMap<Vec<u8>, Entry>, u64), Invalid> {
    let damaged = || refused("the ZIP central directory is damaged");
    let mut entries = HashMap::with_capacity(count);
    let (mut at, mut unpacked, mut places) = (0, 0_u64, Vec::with_capacity(count));
    for _ in 0..count {
        let head = directory.get(at..at + ENTRY_BYTES).filter(|head| head.starts_with(b"PK\x01\x02")).ok_or_else(damaged)?;
        let short = |at| u16_at(head, at).unwrap_or_default();
        let long = |at| u32_at(head, at).unwrap_or_default();
        let lengths = [28, 30, 32].map(|at| usize::from(short(at)));
        let name = directory.get(at + ENTRY_BYTES..at + ENTRY_BYTES + lengths[0]).ok_or_else(damaged)?;
        at += ENTRY_BYTES + lengths.iter().sum::<usize>();
        let entry = Entry {
            method: short(10),
            encrypted: short(8) & 1 != 0,
            crc: long(16),
            packed: long(20).into(),
            unpacked: long(24).into(),
            at: long(42).into(),
            name_length: lengths[0] as u64,
        };
        unpacked = unpacked.saturating_add(entry.unpacked);
        places.push((entry.at, entry.at + LOCAL_BYTES + entry.name_length + entry.packed));
        // Two of one name: whoever checks may see the one, and whoever installs the other.
        if entries.insert(name.to_vec(), entry).is_some() {
            return Err(refused("duplicate ZIP entry name"));
        }
    }
    deadline.check()?;
    if at != directory.len() {
        return Err(damaged());
    }
    if unpacked > UNPACKED_MAX_BYTES || unpacked > UNPACKED_FREE_BYTES + size.saturating_mul(UNPACKED_MAX_RATIO) {
        return Err(refused(format!("ZIP bomb: {size} bytes that unpack to {unpacked}")));
    }
    places.sort_unstable();
    if places.windows(2).any(|two| two[0].1 > two[1].0) {
        return Err(refused("ZIP entries overlap"));
    }
    Ok((entries, places.last().map_or(0, |last| last.1)))
}

/// A part of a file, read without moving a position that others share.
pub(super) struct Part<'a> {
    pub(super) file: &'a File,
    pub(super) at: u64,
    pub(super) left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
