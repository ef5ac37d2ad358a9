//! APK signature schemes v2, v3 and v3.1, verified as Android does it
//! (<https://source.android.com/docs/security/features/apksigning/v2>, and `/v3`).
//!
//! What is signed by several schemes must be signed by one party: what an old device sees is either the present
//! signer or one that handed over to it. Of the signatures of one signer count those that devices look at: the strongest
//! that a version of Android knows. A fault in a weaker one is no device's concern.

use aws_lc_rs::digest::{SHA256, digest};
use domain::Invalid;
use domain::apk::Signing;

use super::bytes::{Front, u32_at, u64_at};
use super::certificate::{Algorithm, ContentDigest, Verification, public_key};
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
/// The first Android that looks at schemes v3 and v3.1 and at digests of verity.
const SDK_OF_V3: u32 = 28;
const SDK_OF_V3_1: u32 = 33;
/// The last API level of a signer that is for all newer ones too.
const SDK_MAX: u32 = i32::MAX as u32;
/// Most signers, signatures and certificates, as Android has it; and most keys of a lineage.
const SIGNERS_MAX: usize = 10;
const LINEAGE_MAX: usize = 64;

/// A signer of one scheme, verified.
struct Signer<'a> {
    scheme: u32,
    /// The oldest API level that it is for.
    min_sdk: u32,
    /// The newest API level that it is for.
    max_sdk: u32,
    certificate: &'a [u8],
    /// Certificates before it and itself; empty when it never changed.
    lineage: Vec<&'a [u8]>,
    /// The API level from which on scheme v3.1 holds instead, where scheme v3 names one.
    rotated_at: Option<u32>,
}

/// What the signatures of an archive say.
pub(super) struct Verified {
    /// Who signed it.
    pub(super) signing: Signing,
    /// Oldest Android API level that finds a signature; `None`: the oldest that looks at any of these schemes.
    pub(super) min_sdk: Option<i32>,
}

/// Verifies the signatures of an archive.
///
/// # Errors
/// There is none, it is v1 only, of an unknown kind, or does not fit to the file.
pub(super) fn verify(archive: &Archive<'_>, deadline: Deadline) -> Result<Verified, Invalid> {
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
    let of_v2 = || signers.iter().filter(|signer| signer.scheme == V2);
    if newest == V2 {
        let signing = Signing { signers: of_v2().map(|signer| fingerprint(signer.certificate)).collect(), lineage: Vec::new() };
        return Ok(Verified { signing, min_sdk: oldest(&signers) });
    }
    if value(V3).is_none() {
        return Err(stripped());
    }
    check_levels(&signers)?;
    let present = signers.iter().filter(|signer| signer.scheme == newest).max_by_key(|signer| signer.max_sdk);
    let present = present.ok_or_else(damaged)?;
    let related = |signer: &Signer<'_>| signer.certificate == present.certificate || present.lineage.contains(&signer.certificate);
    if of_v2().count() > 1 || !signers.iter().all(related) {
        return Err(refused("the signature schemes name different signers, without a key rotation between them"));
    }
    let before = present.lineage.len().saturating_sub(1);
    let signing = Signing {
        signers: vec![fingerprint(present.certificate)],
        lineage: present.lineage[..before].iter().map(|certificate| fingerprint(certificate)).collect(),
    };
    Ok(Verified { signing, min_sdk: oldest(&signers) })
}

/// The oldest API level that finds a signature, where that is not any.
fn oldest(signers: &[Signer<'_>]) -> Option<i32> {
    // All signers of scheme v2 count at once, of the others each for its API levels.
    let of_v2 = signers.iter().filter(|signer| signer.scheme == V2).map(|signer| signer.min_sdk).max();
    let oldest = of_v2.or_else(|| signers.iter().map(|signer| signer.min_sdk).min())?;
    i32::try_from(oldest).ok().filter(|oldest| *oldest > 0)
}

/// Checks that the signers of schemes v3 and v3.1 are for all newer API levels, without a gap and without an overlap, and that
/// none knows less of the lineage than one before it.
fn check_levels(signers: &[Signer<'_>]) -> Result<(), Invalid> {
    let inconsistent = |problem: &str| refused(format!("the signatures for different versions of Android do not fit together: {problem}"));
    for scheme in [V3, V3_1] {
        let mut of_scheme: Vec<_> = signers.iter().filter(|signer| signer.scheme == scheme).collect();
        of_scheme.sort_unstable_by_key(|signer| signer.max_sdk);
        if of_scheme.iter().any(|signer| signer.min_sdk > signer.max_sdk) {
            return Err(inconsistent("a range of API levels is empty"));
        }
        for two in of_scheme.windows(2) {
            if two[0].max_sdk.checked_add(1) != Some(two[1].min_sdk) {
                return Err(inconsistent("their API levels overlap or leave a gap"));
            }
            if two[1].lineage.len() < two[0].lineage.len() && !two[1].lineage.is_empty() {
                return Err(inconsistent("a newer one knows less of the lineage"));
            }
        }
    }
    let rotated_at = signers.iter().find_map(|signer| signer.rotated_at);
    let newer = signers.iter().filter(|signer| signer.scheme == V3_1).map(|signer| signer.min_sdk).min();
    if rotated_at.is_some() && rotated_at != newer {
        return Err(inconsistent("schemes v3 and v3.1 name different API levels for the rotation"));
    }
    match signers.iter().any(|signer| signer.max_sdk == SDK_MAX) {
        true => Ok(()),
        false => Err(inconsistent("none is for the newest")),
    }
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
    /// Digests of the file that were made already.
    known: Vec<(ContentDigest, Vec<u8>)>,
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
        let relevant = relevant(&signatures);
        let min_sdk = relevant.iter().map(|(algorithm, ..)| algorithm.min_sdk()).min();
        let Some(min_sdk) = min_sdk else {
            return Err(refused("unsupported signature algorithm: sign with RSA or ECDSA and SHA-256 or SHA-512"));
        };
        for (algorithm, _, signature) in &relevant {
            match algorithm.verify(key, message, signature) {
                Verification::Valid => {}
                Verification::Invalid => return Err(altered()),
                Verification::UnsupportedKey(problem) => {
                    return Err(refused(format!(
                        "signed with an unsupported key: {problem}; sign with RSA of 2048 to 4096 bits or ECDSA on P-256"
                    )));
                }
            }
        }

        let digests = signed.sized().and_then(list).and_then(numbered).ok_or_else(damaged)?;
        let same = digests.iter().map(|(algorithm, _)| algorithm).eq(signatures.iter().map(|(algorithm, _)| algorithm));
        if !same {
            return Err(damaged());
        }
        let certificates = signed.sized().and_then(list).ok_or_else(damaged)?;
        let certificate = certificates.first().ok_or_else(damaged)?.0;
        if certificates.iter().any(|certificate| public_key(certificate.0).is_none()) {
            return Err(refused("a certificate of the signer is damaged"));
        }
        if public_key(certificate) != Some(key) {
            return Err(refused("the signature was not made with the key of the certificate"));
        }
        if levels.is_some() && pair(&mut signed) != levels {
            return Err(damaged());
        }
        let attributes = signed.sized().and_then(list).ok_or_else(damaged)?;
        for (algorithm, digest) in &digests {
            if let Some((_, kind, _)) = relevant.iter().find(|(of, ..)| of == algorithm)
                && self.content(*kind)? != *digest
            {
                return Err(altered());
            }
        }

        let (mut lineage, mut rotated_at) = (Vec::new(), None);
        for mut attribute in attributes {
            let id = attribute.u32().ok_or_else(damaged)?;
            match (scheme, id) {
                (V2, ALSO_SIGNED_WITH) if attribute.u32() == Some(3) && !present(V3) => return Err(stripped()),
                (V3, ROTATED_FOR_NEWER) if !present(V3_1) => return Err(stripped()),
                (V3, ROTATED_FOR_NEWER) => rotated_at = Some(attribute.u32().ok_or_else(damaged)?),
                (V3 | V3_1, PROOF_OF_ROTATION) => lineage = rotation(attribute)?,
                _ => {}
            }
        }
        if lineage.last().is_some_and(|last| *last != certificate) {
            return Err(refused("the proof of rotation ends at another certificate than the signer's"));
        }
        // Verity alone, which Android before 9 does not know.
        let of_v2 = if min_sdk >= SDK_OF_V3 { min_sdk } else { 0 };
        let (min_sdk, max_sdk) = match (scheme, levels) {
            (V3, Some((min, max))) => (min.max(SDK_OF_V3), max),
            (_, Some((min, max))) => (min.max(SDK_OF_V3_1), max),
            (_, None) => (of_v2, 0),
        };
        Ok(Signer { scheme, min_sdk, max_sdk, certificate, lineage, rotated_at })
    }

    /// The digest of the file.
    fn content(&mut self, kind: ContentDigest) -> Result<&[u8], Invalid> {
        let at = match self.known.iter().position(|(of, _)| *of == kind) {
            Some(at) => at,
            None => {
                self.known.push((kind, digests::of(self.archive, self.block_at, kind, self.deadline)?));
                self.known.len() - 1
            }
        };
        Ok(&self.known[at].1)
    }
}

/// The signatures that devices look at: of those that a version of Android knows, the first with the strongest digest.
fn relevant<'a>(signatures: &[(Algorithm, &'a [u8])]) -> Vec<(Algorithm, ContentDigest, &'a [u8])> {
    let mut relevant: Vec<(Algorithm, ContentDigest, &[u8])> = Vec::new();
    for (algorithm, signature) in signatures {
        let Some(digest) = algorithm.content_digest() else { continue };
        let candidate = (*algorithm, digest, *signature);
        match relevant.iter_mut().find(|(of, ..)| of.min_sdk() == algorithm.min_sdk()) {
            Some(best) if best.1 < digest => *best = candidate,
            Some(_) => {}
            None => relevant.push(candidate),
        }
    }
    relevant
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
            if signed_with != next || next.verify(key, message, signature) != Verification::Valid {
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
