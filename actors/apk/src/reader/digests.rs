//! The digests of a file that schemes v2 and v3 sign: of chunks of 1 MiB, and of their digests
//! (<https://source.android.com/docs/security/features/apksigning/v2#integrity-protected-contents>).

use std::io::Read;

use aws_lc_rs::digest::{Algorithm, Context};
use domain::Invalid;

use super::zip::Archive;
use super::{Deadline, refused};

/// Length of a chunk.
const CHUNK_BYTES: usize = 1 << 20;

/// The digest of an archive whose signing block begins at `block_at`.
///
/// # Errors
/// The file cannot be read, or not in time.
pub(super) fn of(archive: &Archive<'_>, block_at: u64, algorithm: &'static Algorithm, deadline: Deadline) -> Result<Vec<u8>, Invalid> {
    let mut end = archive.end.clone();
    // For whoever signs, the directory begins where the block does.
    let place = u32::try_from(block_at).map_err(|_| refused("the file is larger than Android supports"))?;
    end[16..20].copy_from_slice(&place.to_le_bytes());

    let mut chunks = Chunked { algorithm, digests: Vec::new(), count: 0 };
    let mut front = archive.front(block_at);
    let (mut left, mut buffer) = (block_at, vec![0; CHUNK_BYTES]);
    while left > 0 {
        deadline.check()?;
        let length = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        front.read_exact(&mut buffer[..length]).map_err(|_| refused("the file cannot be read"))?;
        chunks.add(&buffer[..length]);
        left -= length as u64;
    }
    for section in [&archive.directory, &end] {
        section.chunks(CHUNK_BYTES).for_each(|chunk| chunks.add(chunk));
    }
    let mut all = Context::new(algorithm);
    all.update(&[0x5a]);
    all.update(&chunks.count.to_le_bytes());
    all.update(&chunks.digests);
    Ok(all.finish().as_ref().to_vec())
}

struct Chunked {
    algorithm: &'static Algorithm,
    digests: Vec<u8>,
    count: u32,
}

impl Chunked {
    fn add(&mut self, chunk: &[u8]) {
        let mut digest = Context::new(self.algorithm);
        digest.update(&[0xa5]);
        digest.update(&(chunk.len() as u32).to_le_bytes());
        digest.update(chunk);
        self.digests.extend_from_slice(digest.finish().as_ref());
        self.count += 1;
    }
}
