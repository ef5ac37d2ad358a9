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
            return Some(from_modified_utf8(data.get(..length.min(STRING_MAX))?));
        }
        let (length, data) = length_16(data)?;
        let units = data.get(..length.min(STRING_MAX).checked_mul(2)?)?;
        let units = units.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        Some(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    }
}

/// Text in UTF-8, or in the modified UTF-8 of aapt2 and Java: a character beyond the basic plane is a surrogate pair there, each half
/// encoded with three bytes, and NUL has two. What is neither becomes a replacement character.
fn from_modified_utf8(bytes: &[u8]) -> String {
    let (mut text, mut rest) = (String::with_capacity(bytes.len()), bytes);
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(valid) => valid.len(),
            Err(error) => error.valid_up_to(),
        };
        let (front, back) = rest.split_at(valid);
        text.push_str(&String::from_utf8_lossy(front));
        let (c, length) = match *back {
            [] => return text,
            [0xed, a @ 0xa0..=0xaf, b @ 0x80..=0xbf, 0xed, c @ 0xb0..=0xbf, d @ 0x80..=0xbf, ..] => {
                let half = |first: u8, second: u8| u32::from(first & 0x0f) << 6 | u32::from(second & 0x3f);
                (char::from_u32(0x1_0000 + (half(a, b) << 10) + (half(c, d) & 0x3ff)), 6)
            }
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => (None, 3),
            [0xc0, 0x80, ..] => (Some('\0'), 2),
            _ => (None, 1),
        };
        text.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = back.get(length..).unwrap_or_default();
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_aapt2_writes_it() {
        for (bytes, text) in [
            (b"Till".as_slice(), "Till"),
            ("Caf\u{e9} \u{20ac}".as_bytes(), "Caf\u{e9} \u{20ac}"),
            (b"a \xed\xa0\xbd\xed\xb8\x80 b", "a \u{1f600} b"),
            (b"\xed\xa0\xbd\xed\xb8\x80\xed\xa0\xbd\xed\xb8\x81", "\u{1f600}\u{1f601}"),
            (b"\xed\xaf\xbf\xed\xbf\xbf", "\u{10ffff}"),
            (b"\xed\xa0\x80\xed\xb0\x80", "\u{10000}"),
            // Encoded as the standard has it: also taken.
            ("\u{1f600}".as_bytes(), "\u{1f600}"),
            (b"a\xc0\x80b", "a\0b"),
            // Halves without the other, and a pair the wrong way round.
            (b"\xed\xa0\xbd!", "\u{fffd}!"),
            (b"\xed\xb8\x80\xed\xa0\xbd", "\u{fffd}\u{fffd}"),
            (b"\xed\xa0\xbd", "\u{fffd}"),
            (b"\xed\xa0", "\u{fffd}\u{fffd}"),
            (b"\xff", "\u{fffd}"),
        ] {
            assert_eq!(from_modified_utf8(bytes), text, "{bytes:x?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_survives_modified_utf8(text in ".*") {
            let units = text.chars().flat_map(|c| {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).to_vec()
            });
            let three = |unit: u16| [0xe0 | (unit >> 12) as u8, 0x80 | (unit >> 6 & 0x3f) as u8, 0x80 | (unit & 0x3f) as u8];
            let encoded: Vec<u8> = units.flat_map(|unit| match char::from_u32(unit.into()) {
                Some('\0') => vec![0xc0, 0x80],
                Some(c) => c.to_string().into_bytes(),
                None => three(unit).to_vec(),
            }).collect();
            proptest::prop_assert_eq!(from_modified_utf8(&encoded), text);
        }
    }
}
