//! APK signature schemes v2, v3 and v3.1, verified as Android does it
//! (<https://source.android.com/docs/security/features/apksigning/v2>, and `/v3`).
//!
//! What is signed by several schemes must be signed by one party: what an old device sees is either the present
//! signer or one that handed over to it.

use aws_lc_rs::digest::{SHA256, digest};
use domain::Invalid;
use domain::apk::Signing;

use super::bytes::{Front, u32_at, u64_at};
use super::certificate::{Algorithm, public_key};
use super::zip::Archive;
use super::{Deadline, digests, refused};

const MAGIC: &[u8] = b"APK Sig Block 42";
const V2: u32 = 0x7109_871a;
const V3: u32 = 0xf053_68c0;
const V3_1: u32 = 0x1b93_ad61;
/// Within v2: the file was signed with this scheme, too.
const ALSO_SIGNED_WITH: u32 = 0xbeef_f00d;
/// Within v3: newer devices look at v3.1.
const ROTATED_FOR_NEWER: u32 = 0x559f_8b02;
const PROOF_OF_ROTATION: u32 = 0x3ba0_6f8c;
/// Largest block; they have a few KiB.
const BLOCK_MAX_BYTES: u64 = 16 << 20;
/// Most signers, signatures and certificates, as Android has it; and most keys of a lineage.
const SIGNERS_MAX: usize = 10;
const LINEAGE_MAX: usize = 64;

/// A signer of one scheme, verified.
struct Signer<'a> {
    scheme: u32,
    /// The newest API level that it is for.
    max_sdk: u32,
    certificate: &'a [u8],
    /// Certificates before it and itself; empty when it never changed.
    lineage: Vec<&'a [u8]>,
}

/// Verifies every signature of an archive.
///
/// # Errors
/// There is none, it is v1 only, of an unknown kind, or does not fit to the file.
pub(super) fn verify(archive: &Archive<'_>, deadline: Deadline) -> Result<Signing, Invalid> {
    let (block_at, block) = block(archive)?;
    let values = values(&block)?;
    let value = |id| values.iter().find(|(of, _)| *of == id).map(|(_, value)| *value);
    let mut check = Check { archive, block_at, deadline, known: Vec::new() };
    let mut signers = Vec::new();
    for scheme in [V3_1, V3, V2] {
        if let Some(value) = value(scheme) {
            signers.extend(check.scheme(scheme, value, |id| values.iter().any(|(of, _)| *of == id))?);
        }
    }
    // Schemes stand in their order, the newest first.
    let Some(newest) = signers.iter().map(|signer| signer.scheme).next() else { return Err(unsigned(archive)) };
    if newest == V2 {
        return Ok(Signing { signers: signers.iter().map(|signer| fingerprint(signer.certificate)).collect(), lineage: Vec::new() });
    }
    let present = signers.iter().filter(|signer| signer.scheme == newest).max_by_key(|signer| signer.max_sdk);
    let present = present.ok_or_else(damaged)?;
    let related = |signer: &Signer<'_>| signer.certificate == present.certificate || present.lineage.contains(&signer.certificate);
    if !signers.iter().all(related) {
        return Err(refused("the signature schemes name different signers, without a key rotation between them"));
    }
    let before = present.lineage.len().saturating_sub(1);
    Ok(Signing {
        signers: vec![fingerprint(present.certificate)],
        lineage: present.lineage[..before].iter().map(|certificate| fingerprint(certificate)).collect(),
    })
}

/// The SHA-256 of the certificate that the first signer names, of scheme v2, else v3. Nothing is verified. Scheme v2 comes first: where
/// a key was rotated, it still has the first certificate, which is what every Android compares with.
pub(super) fn claimed(archive: &Archive<'_>) -> Option<[u8; 32]> {
    let (_, block) = block(archive).ok()?;
    let values = values(&block).ok()?;
    let certificate = [V2, V3].into_iter().find_map(|scheme| {
        let (_, value) = values.iter().find(|(id, _)| *id == scheme)?;
        let mut signed = Front(value).sized()?.sized()?.sized()?;
        let _digests = signed.sized()?;
        Some(signed.sized()?.sized()?.0)
    })?;
    digest(&SHA256, certificate).as_ref().try_into().ok()
}

fn fingerprint(certificate: &[u8]) -> String {
    hex::encode(digest(&SHA256, certificate))
}

fn damaged() -> Invalid {
    refused("the APK signing block is damaged")
}

fn altered() -> Invalid {
    refused("the signature does not match: the file was altered after signing, or is damaged")
}

fn unsigned(archive: &Archive<'_>) -> Invalid {
    match archive.has_v1_signature() {
        true => refused("signed with scheme v1 (JAR) only, which does not protect the whole file; sign with scheme v2 or v3"),
        false => refused("not signed; sign with scheme v2 or v3"),
    }
}

/// The block before the directory, and where it begins.
fn block(archive: &Archive<'_>) -> Result<(u64, Vec<u8>), Invalid> {
    let footer_at = archive.directory_at.checked_sub(24).ok_or_else(|| unsigned(archive))?;
    let footer = archive.bytes(footer_at, 24)?;
    if footer[8..] != *MAGIC {
        return Err(unsigned(archive));
    }
    let size = u64_at(&footer, 0).and_then(|size| size.checked_add(8)).filter(|size| (32..=BLOCK_MAX_BYTES).contains(size));
    let size = size.ok_or_else(damaged)?;
    let at = archive.directory_at.checked_sub(size).filter(|at| archive.entries_end <= *at).ok_or_else(damaged)?;
    let block = archive.bytes(at, usize::try_from(size).map_err(|_| damaged())?)?;
    match u64_at(&block, 0) == u64_at(&footer, 0) {
        true => Ok((at, block)),
        false => Err(damaged()),
    }
}

/// The values of a block by their ids.
fn values(block: &[u8]) -> Result<Vec<(u32, &[u8])>, Invalid> {
    let mut pairs = Front(block.get(8..block.len().saturating_sub(24)).ok_or_else(damaged)?);
    let mut values: Vec<(u32, &[u8])> = Vec::new();
    while !pairs.is_empty() {
        let length = pairs.take(8).and_then(|length| usize::try_from(u64_at(length, 0)?).ok());
        let pair = length.and_then(|length| pairs.take(length)).ok_or_else(damaged)?;
        let (id, value) = (u32_at(pair, 0).ok_or_else(damaged)?, pair.get(4..).ok_or_else(damaged)?);
        if [V2, V3, V3_1].contains(&id) {
            // Which of two would count, nobody could say.
            if values.iter().any(|(of, _)| *of == id) {
                return Err(damaged());
            }
            values.push((id, value));
        }
    }
    Ok(values)
}

/// Everything that is needed to check a signer.
struct Check<'a, 'f> {
    archive: &'a Archive<'f>,
    block_at: u64,
    deadline: Deadline,
    /// Digests of the file that were made already, by their length.
    known: Vec<(usize, Vec<u8>)>,
}

impl Check<'_, '_> {
    fn scheme<'b>(&mut self, scheme: u32, value: &'b [u8], present: impl Fn(u32) -> bool) -> Result<Vec<Signer<'b>>, Invalid> {
        let listed = Front(value).sized().and_then(list).filter(|signers| (1..=SIGNERS_MAX).contains(&signers.len()));
        let mut signers = Vec::new();
        for signer in listed.ok_or_else(damaged)? {
            self.deadline.check()?;
            signers.push(self.signer(scheme, signer, &present)?);
        }
        Ok(signers)
    }

    fn signer<'b>(&mut self, scheme: u32, mut signer: Front<'b>, present: impl Fn(u32) -> bool) -> Result<Signer<'b>, Invalid> {
        let mut signed = signer.sized().ok_or_else(damaged)?;
        let message = signed.0;
        let levels = if scheme == V2 { None } else { Some(pair(&mut signer).ok_or_else(damaged)?) };
        let signatures = signer.sized().and_then(list).and_then(numbered).ok_or_else(damaged)?;
        let key = signer.sized().ok_or_else(damaged)?.0;

        // The signature first: nothing else is worth a look before.
        let known: Vec<_> = signatures.iter().filter(|(algorithm, _)| algorithm.content_digest().is_some()).collect();
        if known.is_empty() {
            return Err(refused("unsupported signature algorithm: sign with RSA or ECDSA and SHA-256 or SHA-512"));
        }
        if !known.iter().all(|(algorithm, signature)| algorithm.verifies(key, message, signature)) {
            return Err(altered());
        }

        let digests = signed.sized().and_then(list).and_then(numbered).ok_or_else(damaged)?;
        let same = digests.iter().map(|(algorithm, _)| algorithm).eq(signatures.iter().map(|(algorithm, _)| algorithm));
        if !same {
            return Err(damaged());
        }
        let certificates = signed.sized().and_then(list).ok_or_else(damaged)?;
        let certificate = certificates.first().ok_or_else(damaged)?.0;
        if public_key(certificate) != Some(key) {
            return Err(refused("the signature was not made with the key of the certificate"));
        }
        if levels.is_some() && pair(&mut signed) != levels {
            return Err(damaged());
        }
        let attributes = signed.sized().and_then(list).ok_or_else(damaged)?;
        for (algorithm, digest) in &digests {
            if let Some(kind) = algorithm.content_digest()
                && self.content(kind)? != *digest
            {
                return Err(altered());
            }
        }

        let mut lineage = Vec::new();
        for mut attribute in attributes {
            let id = attribute.u32().ok_or_else(damaged)?;
            match (scheme, id) {
                (V2, ALSO_SIGNED_WITH) if attribute.u32() == Some(3) && !present(V3) => return Err(stripped()),
                (V3, ROTATED_FOR_NEWER) if !present(V3_1) => return Err(stripped()),
                (V3 | V3_1, PROOF_OF_ROTATION) => lineage = rotation(attribute)?,
                _ => {}
            }
        }
        if lineage.last().is_some_and(|last| *last != certificate) {
            return Err(refused("the proof of rotation ends at another certificate than the signer's"));
        }
        Ok(Signer { scheme, max_sdk: levels.map_or(0, |(_, max)| max), certificate, lineage })
    }

    /// The digest of the file.
    fn content(&mut self, kind: &'static aws_lc_rs::digest::Algorithm) -> Result<&[u8], Invalid> {
        let length = kind.output_len();
        let at = match self.known.iter().position(|(of, _)| *of == length) {
            Some(at) => at,
            None => {
                self.known.push((length, digests::of(self.archive, self.block_at, kind, self.deadline)?));
                self.known.len() - 1
            }
        };
        Ok(&self.known[at].1)
    }
}

fn stripped() -> Invalid {
    refused("a signature is missing: it was removed after signing")
}

/// The certificates of a proof of rotation, oldest first: each signed by the one before.
fn rotation(mut proof: Front<'_>) -> Result<Vec<&[u8]>, Invalid> {
    let broken = || refused("the proof of rotation is invalid");
    if proof.u32() != Some(1) {
        return Err(refused("unsupported version of the proof of rotation"));
    }
    let nodes = list(proof).filter(|nodes| (1..=LINEAGE_MAX).contains(&nodes.len())).ok_or_else(broken)?;
    let mut certificates: Vec<&[u8]> = Vec::new();
    let mut next = Algorithm(0);
    for mut node in nodes {
        let mut signed = node.sized().ok_or_else(broken)?;
        let message = signed.0;
        // What the older certificate may still be used for does not matter here.
        let _capabilities = node.u32().ok_or_else(broken)?;
        let algorithm = Algorithm(node.u32().ok_or_else(broken)?);
        let signature = node.sized().ok_or_else(broken)?.0;
        let certificate = signed.sized().ok_or_else(broken)?.0;
        let signed_with = Algorithm(signed.u32().ok_or_else(broken)?);
        if let Some(last) = certificates.last() {
            let key = public_key(last).ok_or_else(broken)?;
            if signed_with != next || !next.verifies(key, message, signature) {
                return Err(broken());
            }
        }
        if certificates.contains(&certificate) {
            return Err(broken());
        }
        certificates.push(certificate);
        next = algorithm;
    }
    Ok(certificates)
}

/// Everything with a length before it, to the end.
fn list(mut items: Front<'_>) -> Option<Vec<Front<'_>>> {
    let mut listed = Vec::new();
    while !items.is_empty() && listed.len() < LINEAGE_MAX * 2 {
        listed.push(items.sized()?);
    }
    items.is_empty().then_some(listed)
}

/// Each as the number of an algorithm and bytes of a given length.
fn numbered<'a>(items: Vec<Front<'a>>) -> Option<Vec<(Algorithm, &'a [u8])>> {
    let read = |mut item: Front<'a>| Some((Algorithm(item.u32()?), item.sized()?.0));
    (items.len() <= SIGNERS_MAX).then_some(())?;
    items.into_iter().map(read).collect()
}

/// Two numbers.
fn pair(front: &mut Front<'_>) -> Option<(u32, u32)> {
    Some((front.u32()?, front.u32()?))
}
