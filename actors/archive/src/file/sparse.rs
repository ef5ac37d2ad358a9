//! Parts of a file in memory, which a decoder takes for the file.

use std::ops::Range;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// Gap between two parts that is read along with them rather than asked for around it.
const GAP_BYTES: u64 = 16 << 10;

/// A file of which some parts are there.
pub(crate) struct Sparse {
    bytes: u64,
    /// By their start.
    parts: Vec<(u64, Bytes)>,
}

impl Sparse {
    /// A file of this size with these parts, each with its start.
    pub(crate) fn new(bytes: u64, mut parts: Vec<(u64, Bytes)>) -> Self {
        parts.sort_by_key(|(start, _)| *start);
        Self { bytes, parts }
    }

    fn bytes_from(&self, start: u64) -> Result<Bytes> {
        let after = self.parts.partition_point(|(at, _)| *at <= start);
        let part = after.checked_sub(1).map(|before| &self.parts[before]);
        match part.and_then(|(at, bytes)| Some((usize::try_from(start - at).ok()?, bytes))) {
            Some((offset, bytes)) if offset <= bytes.len() => Ok(bytes.slice(offset..)),
            _ => Err(ParquetError::EOF(format!("byte {start} was not read"))),
        }
    }
}

impl Length for Sparse {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Sparse {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self.bytes_from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.bytes_from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!("{length} bytes from byte {start} on were not read")));
        }
        Ok(bytes.slice(..length))
    }
}

/// Ranges that together hold these, without small gaps.
pub(crate) fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end + GAP_BYTES => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_is_read() {
        let file = Sparse::new(100, vec![(50, Bytes::from_static(b"world")), (10, Bytes::from_static(b"hello"))]);
        assert_eq!(file.get_bytes(10, 5).unwrap(), "hello");
        assert_eq!(file.get_bytes(52, 3).unwrap(), "rld");
        for (start, length) in [(9, 1), (10, 6), (20, 1), (60, 1), (0, 0)] {
            assert!(file.get_bytes(start, length).is_err(), "{start} {length}");
        }
    }

    #[test]
    fn small_gaps_are_read_along() {
        let far = 10 + 10 * GAP_BYTES;
        assert_eq!(merged(vec![far..far + 1, 0..5, 7..10]), [0..10, far..far + 1]);
        assert_eq!(merged(vec![0..10, 2..3]), vec![0..10]);
    }
}
