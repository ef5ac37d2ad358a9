//! A pool of strings, as binary XML and resource tables have them.

use super::bytes::{Chunk, index, u16_at, u32_at};

/// The type of its chunk.
pub(super) const POOL: u16 = 0x0001;
const UTF8: u32 = 0x100;
/// Longest string that is read, in bytes or units; no name or label is longer.
const STRING_MAX: usize = 16 << 10;

/// A pool; strings are read when they are asked for.
#[derive(Clone, Copy, Default)]
pub(super) struct Strings<'a> {
    offsets: &'a [u8],
    data: &'a [u8],
    utf8: bool,
}

impl<'a> Strings<'a> {
    /// The pool of a chunk; an empty one when its numbers do not fit.
    pub(super) fn of(chunk: &Chunk<'a>) -> Self {
        let read = || {
            let count = index(u32_at(chunk.bytes, 8)?);
            let (flags, start) = (u32_at(chunk.bytes, 16)?, index(u32_at(chunk.bytes, 20)?));
            let offsets = chunk.body().get(..count.checked_mul(4)?)?;
            Some(Self { offsets, data: chunk.bytes.get(start..)?, utf8: flags & UTF8 != 0 })
        };
        read().unwrap_or_default()
    }

    /// A string by its number.
    pub(super) fn get(&self, number: u32) -> Option<String> {
        let at = index(u32_at(self.offsets, index(number).checked_mul(4)?)?);
        let data = self.data.get(at..)?;
        if self.utf8 {
            // First its length in UTF-16 units, then in bytes.
            let (_, data) = length_8(data)?;
            let (length, data) = length_8(data)?;
            return Some(String::from_utf8_lossy(data.get(..length.min(STRING_MAX))?).into_owned());
        }
        let (length, data) = length_16(data)?;
        let units = data.get(..length.min(STRING_MAX).checked_mul(2)?)?;
        let units = units.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        Some(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    }
}

fn length_8(data: &[u8]) -> Option<(usize, &[u8])> {
    let first = *data.first()?;
    match first & 0x80 {
        0 => Some((usize::from(first), data.get(1..)?)),
        _ => Some((usize::from(first & 0x7f) << 8 | usize::from(*data.get(1)?), data.get(2..)?)),
    }
}

fn length_16(data: &[u8]) -> Option<(usize, &[u8])> {
    let first = u16_at(data, 0)?;
    match first & 0x8000 {
        0 => Some((usize::from(first), data.get(2..)?)),
        _ => Some((usize::from(first & 0x7fff) << 16 | usize::from(u16_at(data, 2)?), data.get(4..)?)),
    }
}
