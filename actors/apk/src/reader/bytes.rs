//! Little-endian numbers and slices of a stranger's bytes: each may not be there.

/// The number at `at`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// The number at `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The number at `at`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// A number as an index.
pub(super) fn index(number: u32) -> usize {
    // No platform of ours has less than 32 bits.
    number as usize
}

/// Reads from the front.
#[derive(Clone, Copy)]
pub(super) struct Front<'a>(pub(super) &'a [u8]);

impl<'a> Front<'a> {
    /// So many bytes.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of four bytes.
    pub(super) fn u32(&mut self) -> Option<u32> {
        u32_at(self.take(4)?, 0)
    }

    /// Bytes after a length of four bytes.
    pub(super) fn sized(&mut self) -> Option<Front<'a>> {
        let length = index(self.u32()?);
        self.take(length).map(Front)
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// The chunks of Android's resource formats: type, length of the header, all of the chunk.
pub(super) struct Chunks<'a>(pub(super) &'a [u8]);

/// Chunk of binary XML or resources.
pub(super) struct Chunk<'a> {
    /// Type of the chunk.
    pub(super) kind: u16,
    /// Length of its header.
    pub(super) header: usize,
    /// All of it, the header included.
    pub(super) bytes: &'a [u8],
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let (kind, header, size) = (u16_at(self.0, 0)?, usize::from(u16_at(self.0, 2)?), index(u32_at(self.0, 4)?));
        // Shorter than its own head, it would be met again for ever.
        if header < 8 || size < header {
            return None;
        }
        let (bytes, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(Chunk { kind, header, bytes })
    }
}

impl<'a> Chunk<'a> {
    /// Bytes after the header.
    pub(super) fn body(&self) -> &'a [u8] {
        self.bytes.get(self.header..).unwrap_or_default()
    }
}
