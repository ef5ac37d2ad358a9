//! Signers of an APK, parsed from its APK Signing Block; written from the format's specification alone, independently of the
//! server.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

/// End of central directory, without its comment.
const ZIP_END_BYTES: usize = 22;
const ZIP_END_MAX_BYTES: u64 = ZIP_END_BYTES as u64 + 65_535;
const ZIP_END_MAGIC: [u8; 4] = *b"PK\x05\x06";
const BLOCK_MAGIC: &[u8; 16] = b"APK Sig Block 42";
/// Largest signing block that is read.
const BLOCK_MAX_BYTES: u64 = 16 << 20;
/// Schemes by id, the newest first: the newest known scheme counts.
const SCHEMES: [(u32, &str); 3] = [(0x1b93_ad61, "v3.1"), (0xf053_68c0, "v3"), (0x7109_871a, "v2")];

/// SHA-256 of the certificates that signed the APK, hex, by the newest scheme that it is signed with.
///
/// # Errors
/// The file cannot be read, is not a ZIP file, or has no signing block of a known scheme.
pub(super) fn signers(file: &mut (impl Read + Seek)) -> Result<Vec<String>, String> {
    let block = signing_block(file).map_err(|error| error.to_string())?.ok_or("it has no APK Signing Block")?;
    for (id, name) in SCHEMES {
        if let Some(value) = pair(&block, id) {
            return certificates(value).ok_or_else(|| format!("unreadable signatures of scheme {name}"));
        }
    }
    Err("it is signed with no known scheme".into())
}

/// Signers of a file on disk, as [`signers`].
///
/// # Errors
/// As [`signers`].
pub fn apk_signers(path: &Path) -> Result<Vec<String>, String> {
    signers(&mut File::open(path).map_err(|error| error.to_string())?)
}

/// The pairs of the signing block; `None` when there is none before the central directory.
fn signing_block(file: &mut (impl Read + Seek)) -> std::io::Result<Option<Vec<u8>>> {
    let length = file.seek(SeekFrom::End(0))?;
    let tail_at = length.saturating_sub(ZIP_END_MAX_BYTES);
    let tail = read_at(file, tail_at, length - tail_at)?;
    // Its comment, whose length comes last, ends with the file.
    let is_end = |at: &usize| {
        let comment = tail.len() - at - ZIP_END_BYTES;
        tail[*at..].starts_with(&ZIP_END_MAGIC) && tail[at + 20..at + 22] == u16::try_from(comment).unwrap_or(u16::MAX).to_le_bytes()
    };
    let Some(end) = (0..(tail.len() + 1).saturating_sub(ZIP_END_BYTES)).rev().find(is_end) else { return Ok(None) };
    let Some(directory_at) = u32_at(&tail, end + 16).map(u64::from) else { return Ok(None) };
    if directory_at < 32 || directory_at > length {
        return Ok(None);
    }
    // The size once more, and the magic.
    let footer = read_at(file, directory_at - 24, 24)?;
    let Some(size) = u64_at(&footer, 0) else { return Ok(None) };
    if &footer[8..] != BLOCK_MAGIC || !(24..=BLOCK_MAX_BYTES).contains(&size) || size + 8 > directory_at {
        return Ok(None);
    }
    Ok(Some(read_at(file, directory_at - size, size - 24)?))
}

fn read_at(file: &mut (impl Read + Seek), at: u64, length: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The value of an id.
fn pair(block: &[u8], wanted: u32) -> Option<&[u8]> {
    let mut rest = block;
    while let Some(length) = u64_at(rest, 0) {
        let pair = rest.get(8..8_usize.checked_add(usize::try_from(length).ok()?)?)?;
        if u32_at(pair, 0)? == wanted {
            return pair.get(4..);
        }
        rest = &rest[8 + pair.len()..];
    }
    None
}

/// The first certificate of each signer; v2 and v3 have the same layout up to there.
fn certificates(value: &[u8]) -> Option<Vec<String>> {
    let (mut signers, _) = prefixed(value)?;
    let mut found = Vec::new();
    while !signers.is_empty() {
        let (signer, rest) = prefixed(signers)?;
        let (signed_data, _) = prefixed(signer)?;
        let (_digests, after) = prefixed(signed_data)?;
        let (certificates, _) = prefixed(after)?;
        let (own, _) = prefixed(certificates)?;
        found.push(hex::encode(Sha256::digest(own)));
        signers = rest;
    }
    (!found.is_empty()).then_some(found)
}

/// Splits off a field with a four-byte length prefix.
fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    bytes.get(4..)?.split_at_checked(length)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use super::*;

    fn with_length(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
    }

    fn scheme(id: u32, certificates: &[&[u8]]) -> Vec<u8> {
        let signer = |certificate: &&[u8]| {
            let chain = [with_length(certificate), with_length(b"issuer")].concat();
            let signed_data = [with_length(b"digests"), with_length(&chain), with_length(b"more")].concat();
            with_length(&[with_length(&signed_data), with_length(b"signature")].concat())
        };
        let value = with_length(&certificates.iter().flat_map(signer).collect::<Vec<_>>());
        [&(value.len() as u64 + 4).to_le_bytes()[..], &id.to_le_bytes(), &value].concat()
    }

    fn apk(pairs: &[u8]) -> Vec<u8> {
        let mut apk = b"entries".to_vec();
        let size = (pairs.len() as u64 + 24).to_le_bytes();
        apk.extend([&size[..], pairs, &size, BLOCK_MAGIC].concat());
        let directory_at = u32::try_from(apk.len()).unwrap();
        apk.extend(b"central directory");
        apk.extend([&ZIP_END_MAGIC[..], &[0; 12], &directory_at.to_le_bytes(), &3_u16.to_le_bytes(), b"abc"].concat());
        apk
    }

    fn read(apk: Vec<u8>) -> Result<Vec<String>, String> {
        signers(&mut Cursor::new(apk))
    }

    fn digest(certificate: &[u8]) -> String {
        hex::encode(Sha256::digest(certificate))
    }

    #[test]
    fn each_signer_is_named_by_its_own_certificate() {
        assert_eq!(read(apk(&scheme(0x7109_871a, &[b"one", b"two"]))).unwrap(), [digest(b"one"), digest(b"two")]);
    }

    #[test]
    fn the_newest_scheme_counts_and_others_are_passed_over() {
        let pairs = [scheme(0x4272_6577, &[b"padding"]), scheme(0x7109_871a, &[b"old"]), scheme(0xf053_68c0, &[b"new"])].concat();
        assert_eq!(read(apk(&pairs)).unwrap(), [digest(b"new")]);
    }

    #[test]
    fn what_is_not_signed_or_cut_off_is_an_error_and_never_a_panic() {
        let good = apk(&scheme(0x7109_871a, &[b"one"]));
        for length in 0..good.len() {
            assert!(read(good[..length].to_vec()).is_err(), "{length}");
        }
        assert!(read(apk(&scheme(0x4272_6577, &[b"padding"]))).unwrap_err().contains("no known scheme"));
        for place in 0..good.len() {
            let mut altered = good.clone();
            altered[place] ^= 0xff;
            let _ = read(altered);
        }
    }
}
