//! The public key within an X.509 certificate, and signatures made with it.
//!
//! Certificates of APKs are self-signed and of any age; nothing in them is believed but the key. That is why they are read by own
//! code: a parser of whole certificates (`x509-parser`) would bring a dozen crates for one field, and refuse an APK for a name or
//! date that is encoded in a way which Android takes.

use aws_lc_rs::digest::SHA256;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1,
    ECDSA_P521_SHA512_ASN1, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use dsa::pkcs8::DecodePublicKey;
use dsa::pkcs8::der::Decode;
use dsa::signature::hazmat::PrehashVerifier;

/// Signature algorithm, by the number that the schemes give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Algorithm(pub(super) u32);

/// Kind of the digest of a file's content, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ContentDigest {
    /// SHA-256 of chunks.
    Sha256,
    /// Root of a Merkle tree as dm-verity has it, which the kernel can check while the file is read.
    Verity,
    /// SHA-512 of chunks.
    Sha512,
}

/// Result of verifying a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verification {
    /// The signature is of this key and message.
    Valid,
    /// It is not.
    Invalid,
    /// Nothing is known about it: the key is of a kind or size that is not supported.
    UnsupportedKey(String),
}

/// Kind and size of a public key.
enum Key<'a> {
    Rsa { bits: usize },
    Ec { curve: &'a [u8] },
    Dsa,
}

// Object identifiers, DER without their heads.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
/// Sizes of RSA keys that are verified; those of PSS begin at twice the least.
const RSA_MIN_BITS: usize = 1024;
const RSA_MAX_BITS: usize = 8192;

impl Algorithm {
    /// The digest of the file's content that goes with it; `None` for what is not known here.
    pub(super) fn content_digest(self) -> Option<ContentDigest> {
        match self.0 {
            0x0101 | 0x0103 | 0x0201 | 0x0301 => Some(ContentDigest::Sha256),
            0x0102 | 0x0104 | 0x0202 => Some(ContentDigest::Sha512),
            0x0421 | 0x0423 | 0x0425 => Some(ContentDigest::Verity),
            _ => None,
        }
    }

    /// The first Android API level that knows it, where it is known here.
    pub(super) fn min_sdk(self) -> u32 {
        match self.content_digest() {
            Some(ContentDigest::Verity) => 28,
            _ => 24,
        }
    }

    /// Verifies a signature over a message by this key (SubjectPublicKeyInfo, DER).
    pub(super) fn verify(self, key: &[u8], message: &[u8], signature: &[u8]) -> Verification {
        let unsupported = |problem: &str| Verification::UnsupportedKey(problem.to_owned());
        let Some(kind) = kind_of(key) else { return unsupported("it is neither RSA nor ECDSA nor DSA") };
        let verifier: &dyn VerificationAlgorithm = match (self.0, kind) {
            (0x0101 | 0x0102, Key::Rsa { bits }) if !(2 * RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bits) => {
                return unsupported(&format!("RSA-PSS of {bits} bits"));
            }
            (0x0103 | 0x0104 | 0x0421, Key::Rsa { bits }) if !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bits) => {
                return unsupported(&format!("RSA of {bits} bits"));
            }
            (0x0101, Key::Rsa { .. }) => &RSA_PSS_2048_8192_SHA256,
            (0x0102, Key::Rsa { .. }) => &RSA_PSS_2048_8192_SHA512,
            // Keys of 1,024 bits have signed apps since 2008, and cannot be changed on the oldest devices.
            (0x0103 | 0x0421, Key::Rsa { .. }) => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            (0x0104, Key::Rsa { .. }) => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
            (0x0201 | 0x0423, Key::Ec { curve: P256 }) => &ECDSA_P256_SHA256_ASN1,
            (0x0201 | 0x0423, Key::Ec { curve: P384 }) => &ECDSA_P384_SHA256_ASN1,
            (0x0201 | 0x0423, Key::Ec { curve: P521 }) => &ECDSA_P521_SHA256_ASN1,
            (0x0202, Key::Ec { curve: P256 }) => &ECDSA_P256_SHA512_ASN1,
            (0x0202, Key::Ec { curve: P384 }) => &ECDSA_P384_SHA512_ASN1,
            (0x0202, Key::Ec { curve: P521 }) => &ECDSA_P521_SHA512_ASN1,
            (0x0201 | 0x0202 | 0x0423, Key::Ec { .. }) => return unsupported("ECDSA on a curve other than P-256, P-384 and P-521"),
            (0x0301 | 0x0425, Key::Dsa) => return dsa(key, message, signature),
            _ => return unsupported("it is of another kind than the signature"),
        };
        match UnparsedPublicKey::new(verifier, key).verify(message, signature) {
            Ok(()) => Verification::Valid,
            Err(_) => Verification::Invalid,
        }
    }
}

/// Verifies a signature by DSA and SHA-256: what `keytool` made by default until JDK 18.
fn dsa(key: &[u8], message: &[u8], signature: &[u8]) -> Verification {
    let Ok(key) = dsa::VerifyingKey::from_public_key_der(key) else {
        return Verification::UnsupportedKey("DSA with unusual parameters".to_owned());
    };
    let digest = aws_lc_rs::digest::digest(&SHA256, message);
    match dsa::Signature::from_der(signature).is_ok_and(|signature| key.verify_prehash(digest.as_ref(), &signature).is_ok()) {
        true => Verification::Valid,
        false => Verification::Invalid,
    }
}

/// The kind of a key (SubjectPublicKeyInfo, RFC 5280, 4.1).
fn kind_of(key: &[u8]) -> Option<Key<'_>> {
    let (_, algorithm, bits) = element(element(key)?.1)?;
    let (_, id, parameters) = element(algorithm)?;
    match id {
        RSA => {
            // A bit string with no unused bits, of a sequence of modulus and exponent.
            let modulus = element(element(element(bits)?.1.strip_prefix(&[0])?)?.1)?.1;
            let digits = &modulus[modulus.iter().take_while(|digit| **digit == 0).count()..];
            Some(Key::Rsa { bits: digits.len() * 8 - digits.first().map_or(0, |first| first.leading_zeros() as usize) })
        }
        EC => Some(Key::Ec { curve: element(parameters).map_or(&[], |(_, curve, _)| curve) }),
        DSA => Some(Key::Dsa),
        _ => None,
    }
}

/// The SubjectPublicKeyInfo of a certificate (RFC 5280, 4.1), DER.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (_, mut fields, _) = element(element(certificate)?.1)?;
    // The version comes first, tagged [0], where it is not 1.
    if fields.first() == Some(&0xa0) {
        fields = element(fields)?.2;
    }
    // Serial number, signature algorithm, issuer, validity, subject.
    for _ in 0..5 {
        fields = element(fields)?.2;
    }
    let (tag, _, rest) = element(fields)?;
    (tag == 0x30).then(|| &fields[..fields.len() - rest.len()])
}

/// Tag and content of the first element of DER, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().try_fold(0_usize, |length, digit| length.checked_mul(256)?.checked_add(usize::from(*digit)))?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = content.len();
        let head = match length {
            0..=0x7f => vec![tag, length as u8],
            0x80..=0xff => vec![tag, 0x81, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        };
        [head, content].concat()
    }

    fn rsa(bits: usize) -> Vec<u8> {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] >>= (8 - bits % 8) % 8;
        let key = der(0x30, &[&der(0x02, &[&[0], &modulus]), &der(0x02, &[&[1, 0, 1]])]);
        der(0x30, &[&der(0x30, &[&der(0x06, &[RSA]), &[5, 0]]), &der(0x03, &[&[0], &key])])
    }

    fn on_curve(curve: &[u8]) -> Vec<u8> {
        der(0x30, &[&der(0x30, &[&der(0x06, &[EC]), &der(0x06, &[curve])]), &der(0x03, &[&[0, 4]])])
    }

    /// What is not known is not taken for a file that was altered.
    #[test]
    fn keys_that_are_not_supported_are_named() {
        let secp256k1 = [0x2b, 0x81, 0x04, 0x00, 0x0a];
        for (algorithm, key, words) in [
            (0x0103, rsa(512), "RSA of 512 bits"),
            (0x0103, rsa(1023), "RSA of 1023 bits"),
            (0x0104, rsa(16_384), "RSA of 16384 bits"),
            (0x0101, rsa(1024), "RSA-PSS of 1024 bits"),
            (0x0201, on_curve(&secp256k1), "a curve other than"),
            (0x0201, rsa(2048), "of another kind"),
            (0x0301, on_curve(P256), "of another kind"),
            (0x0103, b"none".to_vec(), "neither RSA"),
        ] {
            let Verification::UnsupportedKey(problem) = Algorithm(algorithm).verify(&key, b"", b"") else {
                panic!("{algorithm:x}: {words}")
            };
            assert!(problem.contains(words), "{words}: {problem}");
        }
        for (algorithm, key) in [(0x0103, rsa(1024)), (0x0421, rsa(8192)), (0x0201, on_curve(P384))] {
            assert_eq!(Algorithm(algorithm).verify(&key, b"", b""), Verification::Invalid, "{algorithm:x}");
        }
    }
}
