//! Addresses that the APK can be fetched from for a while: signed, so that nobody else makes or prolongs one.

use domain::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;

/// Signs `expires` with a key derived from the cluster's master key, so that any node checks what
/// another signed: `hex(HMAC-SHA256(key, "GET\n/v1/agent/apk\n" expires))`, with
/// `key = HMAC-SHA256(master key, "nexmdm-agent-apk-url-v1")`. The file is not part of it: an
/// address outlives an update of the APK.
pub struct UrlSigner {
    key: SecretBox<Vec<u8>>,
}

impl UrlSigner {
    /// A signer of the cluster with this master key.
    pub fn new(master_key: &SecretBox<Vec<u8>>) -> Self {
        let key = mac(master_key.expose_secret(), b"nexmdm-agent-apk-url-v1").finalize().into_bytes();
        Self { key: SecretBox::new(Box::new(key.to_vec())) }
    }

    /// The signature of an address that holds until `expires`, in seconds since 1970, as hex.
    pub fn sign(&self, expires: i64) -> String {
        hex::encode(self.of(expires).finalize().into_bytes())
    }

    /// Whether an address is ours and still holds. Constant time.
    pub fn holds(&self, expires: i64, signature: &str, now: Timestamp) -> bool {
        let signature = hex::decode(signature).unwrap_or_default();
        // Compared even when it has expired, so that both refusals take the same time.
        self.of(expires).verify_slice(&signature).is_ok() & (now.timestamp() < expires)
    }

    fn of(&self, expires: i64) -> Hmac<Sha256> {
        mac(self.key.expose_secret(), format!("GET\n/v1/agent/apk\n{expires}").as_bytes())
    }
}

fn mac(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
    mac.update(message);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn an_address_holds_until_its_time_and_nobody_else_makes_one() {
        let signer = |byte: u8| UrlSigner::new(&SecretBox::new(Box::new(vec![byte; 32])));
        let signature = signer(1).sign(1000);
        assert!(signer(1).holds(1000, &signature, at(999)), "any node with the same key");
        assert!(!signer(1).holds(1000, &signature, at(1000)), "expired");
        assert!(!signer(1).holds(2000, &signature, at(999)), "prolonged");
        assert!(!signer(2).holds(1000, &signature, at(999)), "another cluster");
        for wrong in ["", "00", "x", &signature[..62], &format!("{signature}00")] {
            assert!(!signer(1).holds(1000, wrong, at(999)), "{wrong:?}");
        }
    }
}
