//! Addresses that something can be fetched from for a while: signed, so that nobody else makes or prolongs one.

use std::fmt;
use std::net::IpAddr;

use domain::access::Principal;
use domain::permits::{Claim, Class, Key};
use domain::{ApiTokenId, DeviceId, Timestamp, UserId};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha2::{Digest, Sha256};

/// The agent's APK. The file is not part of the address: it outlives an update of the APK.
pub const AGENT_APK: (&[u8], &str) = (b"nexmdm-agent-apk-url-v1", "/v1/agent/apk");
/// Files of the APK library; each has an address of its own.
pub const APK_FILES: &[u8] = b"nexmdm-apk-file-url-v1";

/// Whom a download link was made for; it counts against their share, whoever uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkHolder {
    /// A device, for a task of a deployment.
    Task(DeviceId),
    /// A device, for anything else.
    Device(DeviceId),
    /// A person.
    User(UserId),
    /// A script.
    ApiToken(ApiTokenId),
}

impl LinkHolder {
    /// The holder that a person or script is; the command line and the server have no links of their own.
    pub fn of(principal: &Principal) -> Option<Self> {
        match principal {
            Principal::User { user_id, .. } => Some(Self::User(*user_id)),
            Principal::Token { token_id, .. } => Some(Self::ApiToken(*token_id)),
            Principal::Console { .. } | Principal::System { .. } => None,
        }
    }

    /// Parses the holder of a link.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once('.')?;
        Some(match kind {
            "task" => Self::Task(id.parse().ok()?),
            "device" => Self::Device(id.parse().ok()?),
            "user" => Self::User(id.parse().ok()?),
            "token" => Self::ApiToken(id.parse().ok()?),
            _ => return None,
        })
    }

    /// What a download with a link of this holder is counted under.
    pub fn claim(holder: Option<Self>, signature: &str, address: Option<IpAddr>) -> Claim {
        let class = match holder {
            Some(Self::Task(_)) => Class::Essential,
            _ => Class::Regular,
        };
        let principal = holder.map(|holder| match holder {
            Self::Task(device) | Self::Device(device) => Key::Device(device),
            Self::User(user) => Key::User(user),
            Self::ApiToken(token) => Key::ApiToken(token),
        });
        // Hex may be written in either case.
        let link = Key::Link(Sha256::digest(signature.to_ascii_lowercase()).into());
        Claim { principal, link: Some(link), ..Claim::new(class) }.from_address(address)
    }
}

impl fmt::Display for LinkHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(id) => write!(f, "task.{id}"),
            Self::Device(id) => write!(f, "device.{id}"),
            Self::User(id) => write!(f, "user.{id}"),
            Self::ApiToken(id) => write!(f, "token.{id}"),
        }
    }
}

/// Signs a path and until when it holds, with a key derived from the cluster's master key, so that any node checks what
/// another signed: `hex(HMAC-SHA256(key, "GET\n" path "\n" expires))`, with `key = HMAC-SHA256(master key, purpose)`; of a link
/// that was made for somebody, `"\n" holder` follows the expiry.
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
        hex::encode(self.of(path, expires, None).finalize().into_bytes())
    }

    /// The same of an address that was made for somebody.
    pub fn sign_for(&self, holder: LinkHolder, path: &str, expires: i64) -> String {
        hex::encode(self.of(path, expires, Some(holder)).finalize().into_bytes())
    }

    /// Whether an address is ours and still holds. Constant time.
    pub fn holds(&self, path: &str, expires: i64, signature: &str, now: Timestamp) -> bool {
        self.holds_for(None, path, expires, signature, now)
    }

    /// The same of an address that was made for somebody. Constant time.
    pub fn holds_for(&self, holder: Option<LinkHolder>, path: &str, expires: i64, signature: &str, now: Timestamp) -> bool {
        let signature = hex::decode(signature).unwrap_or_default();
        // Compared even when it has expired, so that both refusals take the same time.
        self.of(path, expires, holder).verify_slice(&signature).is_ok() & (now.timestamp() < expires)
    }

    fn of(&self, path: &str, expires: i64, holder: Option<LinkHolder>) -> Hmac<Sha256> {
        let holder = holder.map(|holder| format!("\n{holder}")).unwrap_or_default();
        mac(self.key.expose_secret(), format!("GET\n{path}\n{expires}{holder}").as_bytes())
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

    #[test]
    fn a_link_counts_for_whom_it_was_made_and_for_nobody_else() {
        let signer = UrlSigner::new(&SecretBox::new(Box::new(vec![1; 32])), APK_FILES);
        let id = |n: u128| uuid::Uuid::from_u128(n);
        let holders = [
            LinkHolder::Task(DeviceId(id(1))),
            LinkHolder::Device(DeviceId(id(1))),
            LinkHolder::Device(DeviceId(id(2))),
            LinkHolder::User(UserId(id(1))),
            LinkHolder::ApiToken(ApiTokenId(id(1))),
        ];
        for holder in holders {
            assert_eq!(LinkHolder::parse(&holder.to_string()), Some(holder));
            let signature = signer.sign_for(holder, "/a", 1000);
            for other in holders.into_iter().map(Some).chain([None]) {
                assert_eq!(signer.holds_for(other, "/a", 1000, &signature, at(999)), other == Some(holder), "{holder} {other:?}");
            }
        }
        for wrong in ["", "task", "task.", "task.x", "root.00000000-0000-0000-0000-000000000001"] {
            assert_eq!(LinkHolder::parse(wrong), None, "{wrong}");
        }
        let claim = |holder, signature| LinkHolder::claim(holder, signature, None);
        assert_eq!(claim(Some(holders[0]), "ab").class, Class::Essential);
        assert_eq!(claim(Some(holders[0]), "ab").principal, claim(Some(holders[1]), "cd").principal, "one device, one share");
        assert_eq!(claim(None, "ab").link, claim(None, "AB").link);
        assert_ne!(claim(None, "ab").link, claim(None, "cd").link);
    }
}
