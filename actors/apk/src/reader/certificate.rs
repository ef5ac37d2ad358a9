//! The public key within an X.509 certificate, and signatures made with it.
//!
//! Certificates of APKs are self-signed and of any age; nothing in them is believed but the key. That is why they are read by own
//! code: a parser of whole certificates (`x509-parser`) would bring a dozen crates for one field, and refuse an APK for a name or
//! date that is encoded in a way which Android takes.

use aws_lc_rs::digest::{Algorithm as Digest, SHA256, SHA512};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1,
    ECDSA_P521_SHA512_ASN1, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};

/// Signature algorithm, by the number that the schemes give it. DSA is not among them: no key of it is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Algorithm(pub(super) u32);

impl Algorithm {
    /// The digest of the file's content that goes with it; `None` for what is not known here.
    pub(super) fn content_digest(self) -> Option<&'static Digest> {
        match self.0 {
            0x0101 | 0x0103 | 0x0201 => Some(&SHA256),
            0x0102 | 0x0104 | 0x0202 => Some(&SHA512),
            _ => None,
        }
    }

    fn verifiers(self) -> &'static [&'static dyn VerificationAlgorithm] {
        match self.0 {
            0x0101 => &[&RSA_PSS_2048_8192_SHA256],
            0x0102 => &[&RSA_PSS_2048_8192_SHA512],
            // Keys of 1,024 bits have signed apps since 2008, and cannot be changed on the oldest devices.
            0x0103 => &[&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY],
            0x0104 => &[&RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY],
            0x0201 => &[&ECDSA_P256_SHA256_ASN1, &ECDSA_P384_SHA256_ASN1, &ECDSA_P521_SHA256_ASN1],
            0x0202 => &[&ECDSA_P256_SHA512_ASN1, &ECDSA_P384_SHA512_ASN1, &ECDSA_P521_SHA512_ASN1],
            // With a digest that the kernel can check; the signature itself is one of the above.
            0x0421 => &[&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY],
            0x0423 => &[&ECDSA_P256_SHA256_ASN1, &ECDSA_P384_SHA256_ASN1, &ECDSA_P521_SHA256_ASN1],
            _ => &[],
        }
    }

    /// Whether `signature` over `message` was made with this key (SubjectPublicKeyInfo, DER).
    pub(super) fn verifies(self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        self.verifiers().iter().any(|verifier| UnparsedPublicKey::new(*verifier, key).verify(message, signature).is_ok())
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
