//! The digests of a file that schemes v2 and v3 sign: of chunks of 1 MiB, and of their digests
//! (<https://source.android.com/docs/security/features/apksigning/v2#integrity-protected-contents>); or of pages, as dm-verity has it.

use std::io::Read;

use aws_lc_rs::digest::{Algorithm, Context, SHA256, SHA512};
use domain::Invalid;

use super::certificate::ContentDigest;
use super::zip::Archive;
use super::{Deadline, refused};

/// Length of a chunk.
const CHUNK_BYTES: usize = 1 << 20;
/// Length of a page of verity.
const PAGE_BYTES: usize = 4096;
/// What verity of APKs puts before each page.
const SALT: [u8; 8] = [0; 8];

/// The digest of an archive whose signing block begins at `block_at`.
///
/// # Errors
/// The file cannot be read, or not in time.
pub(super) fn of(archive: &Archive<'_>, block_at: u64, kind: ContentDigest, deadline: Deadline) -> Result<Vec<u8>, Invalid> {
    match kind {
        ContentDigest::Sha256 => chunked(archive, block_at, &SHA256, deadline),
        ContentDigest::Sha512 => chunked(archive, block_at, &SHA512, deadline),
        ContentDigest::Verity => verity(archive, block_at, deadline),
    }
}

/// The end of the file as it is signed: for whoever signs, the directory begins where the block does.
fn signed_end(archive: &Archive<'_>, block_at: u64) -> Result<Vec<u8>, Invalid> {
    let mut end = archive.end.clone();
    let place = u32::try_from(block_at).map_err(|_| refused("the file is larger than Android supports"))?;
    end[16..20].copy_from_slice(&place.to_le_bytes());
    Ok(end)
}

/// Hands the file before the signing block over in pieces of [`CHUNK_BYTES`], the last one shorter.
fn front(archive: &Archive<'_>, block_at: u64, deadline: Deadline, mut each: impl FnMut(&[u8])) -> Result<(), Invalid> {
    let mut front = archive.front(block_at);
    let (mut left, mut buffer) = (block_at, vec![0; CHUNK_BYTES]);
    while left > 0 {
        deadline.check()?;
        let length = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        front.read_exact(&mut buffer[..length]).map_err(|_| refused("the file cannot be read"))?;
        each(&buffer[..length]);
        left -= length as u64;
    }
    Ok(())
}

fn chunked(archive: &Archive<'_>, block_at: u64, algorithm: &'static Algorithm, deadline: Deadline) -> Result<Vec<u8>, Invalid> {
    let end = signed_end(archive, block_at)?;
    let mut chunks = Chunked { algorithm, digests: Vec::new(), count: 0 };
    front(archive, block_at, deadline, |chunk| chunks.add(chunk))?;
    for section in [&archive.directory, &end] {
        section.chunks(CHUNK_BYTES).for_each(|chunk| chunks.add(chunk));
    }
    let mut all = Context::new(algorithm);
    all.update(&[0x5a]);
    all.update(&chunks.count.to_le_bytes());
    all.update(&chunks.digests);
    Ok(all.finish().as_ref().to_vec())
}

/// The root of the Merkle tree over the file without its signing block, and the length of that.
fn verity(archive: &Archive<'_>, block_at: u64, deadline: Deadline) -> Result<Vec<u8>, Invalid> {
    // Devices map the tree onto the file page by page; the block must be a hole of whole pages in it.
    let page = PAGE_BYTES as u64;
    if !block_at.is_multiple_of(page) || !(archive.directory_at - block_at).is_multiple_of(page) {
        return Err(refused(format!(
            "the APK signing block does not begin and end at a multiple of {PAGE_BYTES} bytes, which its verity digest requires; sign again \
             with apksigner and keep the file as it is afterwards"
        )));
    }
    let end = signed_end(archive, block_at)?;
    let mut level = Vec::new();
    front(archive, block_at, deadline, |chunk| chunk.chunks(PAGE_BYTES).for_each(|page| level.extend(page_digest(page))))?;
    let rest = [archive.directory.as_slice(), &end].concat();
    rest.chunks(PAGE_BYTES).for_each(|page| level.extend(page_digest(page)));
    while level.len() > PAGE_BYTES {
        level = level.chunks(PAGE_BYTES).flat_map(page_digest).collect();
    }
    let length = block_at + rest.len() as u64;
    Ok([page_digest(&level).as_slice(), &length.to_le_bytes()].concat())
}

/// SHA-256 of a page, filled up with zeros.
fn page_digest(page: &[u8]) -> Vec<u8> {
    let mut digest = Context::new(&SHA256);
    digest.update(&SALT);
    digest.update(page);
    digest.update(&[0; PAGE_BYTES][page.len()..]);
    digest.finish().as_ref().to_vec()
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
