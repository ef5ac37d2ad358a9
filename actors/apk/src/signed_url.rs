//! Addresses that something can be fetched from for a while: signed, so that nobody else makes or prolongs one.

use domain::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;

/// The agent's APK. The file is not part of the address: it outlives an update of the APK.
pub const AGENT_APK: (&[u8], &str) = (b"nexmdm-agent-apk-url-v1", "/v1/agent/apk");
/// Files of the APK library; each has an address of its own.
pub const APK_FILES: &[u8] = b"nexmdm-apk-file-url-v1";

/// Signs a path and until when it holds, with a key derived from the cluster's master key, so that any node checks what
/// another signed: `hex(HMAC-SHA256(key, "GET\n" path "\n" expires))`, with `key = HMAC-SHA256(master key, purpose)`.
pub struct UrlSigner {
    key: SecretBox<Vec<u8>>,
}

impl UrlSigner {
    /// A signer of the cluster with this master key, for one purpose.
    pub fn new(master_key: &SecretBox<Vec<u8>>, purpose: &[u8]) -> Self {
        let key = mac(master_key.expose_secret(), purpose).finalize().into_bytes();
        Self { key: SecretBox::new(Box::new(key.to_vec())) }
    }

    /// The signature of an address that holds until `expires`, in seconds since 1970, as hex.
    pub fn sign(&self, path: &str, expires: i64) -> String {
        hex::encode(self.of(path, expires).finalize().into_bytes())
    }

    /// Whether an address is ours and still holds. Constant time.
    pub fn holds(&self, path: &str, expires: i64, signature: &str, now: Timestamp) -> bool {
        let signature = hex::decode(signature).unwrap_or_default();
        // Compared even when it has expired, so that both refusals take the same time.
        self.of(path, expires).verify_slice(&signature).is_ok() & (now.timestamp() < expires)
    }

    fn of(&self, path: &str, expires: i64) -> Hmac<Sha256> {
        mac(self.key.expose_secret(), format!("GET\n{path}\n{expires}").as_bytes())
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
        let signer = |byte: u8, purpose: &[u8]| UrlSigner::new(&SecretBox::new(Box::new(vec![byte; 32])), purpose);
        let ours = || signer(1, APK_FILES);
        let signature = ours().sign("/a", 1000);
        assert!(ours().holds("/a", 1000, &signature, at(999)), "any node with the same key");
        assert!(!ours().holds("/a", 1000, &signature, at(1000)), "expired");
        assert!(!ours().holds("/a", 2000, &signature, at(999)), "prolonged");
        assert!(!ours().holds("/b", 1000, &signature, at(999)), "another file");
        assert!(!signer(2, APK_FILES).holds("/a", 1000, &signature, at(999)), "another cluster");
        assert!(!signer(1, AGENT_APK.0).holds("/a", 1000, &signature, at(999)), "another purpose");
        for wrong in ["", "00", "x", &signature[..62], &format!("{signature}00")] {
            assert!(!ours().holds("/a", 1000, wrong, at(999)), "{wrong:?}");
        }
    }
}
