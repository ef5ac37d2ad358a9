//! The device's side of a command's signature: whether a command that has arrived
//! may run. Written from the agent API alone and shares nothing with the server;
//! the vectors of `actors/wire/fixtures/commands.json` hold for both.

mod legacy;
mod seen;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use wire::agent::Command;

pub use legacy::{LEGACY_LIFETIME_S, judge_legacy, legacy_hmac};
pub use seen::{SEEN_LIMIT, Seen};

/// The only version of a signature there is.
pub const VERSION: &str = "1";

/// A device key: hex text, as enrollment and `rotate_key` hand it over.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceKey {
    text: String,
    bytes: Vec<u8>,
}

// Written by hand: a derived one would print the secret.
impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceKey(…)")
    }
}

impl DeviceKey {
    /// A key from its hex text; `None` when that is no hex, or empty.
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = hex::decode(text).ok().filter(|bytes| !bytes.is_empty())?;
        Some(Self { text: text.to_owned(), bytes })
    }

    /// The text as it was handed over.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Accepted keys of a device: one, or two during a rotation.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Confirmed key.
    pub current: DeviceKey,
    /// Key of a `rotate_key` whose result is not acknowledged yet.
    pub next: Option<DeviceKey>,
}

impl Keys {
    /// A single key.
    pub fn of(current: DeviceKey) -> Self {
        Self { current, next: None }
    }

    /// Makes `key` the only one, unless a newer one is pending.
    pub fn change_over(&mut self, key: DeviceKey) {
        if self.next.as_ref() == Some(&key) {
            self.next = None;
        }
        self.current = key;
    }

    fn iter(&self) -> impl Iterator<Item = &DeviceKey> {
        std::iter::once(&self.current).chain(&self.next)
    }
}

/// Reason for refusing a command; the first one in this order applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Refusal {
    /// `v` is not `1`.
    UnknownVersion,
    /// No key of the device made this signature over these fields.
    BadSignature,
    /// It is signed, but names another device.
    OtherDevice,
    /// Expired, or without a valid expiry.
    Expired,
    /// A command with this `request_id` was run before.
    SeenBefore,
    /// No capacity to store its id; the command is left for later.
    MemoryFull,
}

impl Refusal {
    /// As the vectors and the record spell it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Verdict on a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Run the command; its id is stored already.
    Run,
    /// Refuse the command.
    Refused(Refusal),
}

impl Verdict {
    /// As the vectors and the record spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Refused(refusal) => refusal.name(),
        }
    }
}

/// Whether the device may run `command` at `now`. If so its id is in `seen` from
/// then on, whatever comes of it.
pub fn judge(keys: &Keys, device_id: &str, command: &Command, now: DateTime<Utc>, seen: &mut Seen) -> Verdict {
    let refusal = match () {
        () if command.v != VERSION => Refusal::UnknownVersion,
        // Every key is tried, so that timing reveals nothing.
        () if keys.iter().filter(|key| is_signed(key, command)).count() == 0 => Refusal::BadSignature,
        () if command.device_id != device_id => Refusal::OtherDevice,
        () => match expiry(command) {
            Some(expires_at) if now < expires_at => match seen.remember(&command.request_id, expires_at, now) {
                Ok(()) => return Verdict::Run,
                Err(refusal) => refusal,
            },
            _ => Refusal::Expired,
        },
    };
    Verdict::Refused(refusal)
}

/// When a command must no longer run; `None` when it does not say so in RFC 3339.
pub fn expiry(command: &Command) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(&command.expires_at).ok().map(|at| at.with_timezone(&Utc))
}

/// The text that is signed: every field byte for byte as it is sent, `params` by
/// its SHA-256.
pub fn signed_text(command: &Command) -> String {
    let Command { request_id, device_id, action, ts, expires_at, params, .. } = command;
    let params = hex::encode(Sha256::digest(params.as_bytes()));
    format!("nexmdm-command-v1\n{request_id}\n{device_id}\n{action}\n{ts}\n{expires_at}\n{params}")
}

/// The signature of a command: HMAC-SHA256 (RFC 2104) with the key's bytes, hex.
pub fn sign(key: &DeviceKey, command: &Command) -> String {
    hex::encode(hmac(&key.bytes, &signed_text(command)).finalize().into_bytes())
}

/// Whether `key` made the command's signature; compared in constant time.
pub fn is_signed(key: &DeviceKey, command: &Command) -> bool {
    let signature = hex::decode(&command.signature).unwrap_or_default();
    hmac(&key.bytes, &signed_text(command)).verify_slice(&signature).is_ok()
}

fn hmac(key: &[u8], message: &str) -> Hmac<Sha256> {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
    mac.update(message.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_275_377, 0).unwrap()
    }

    fn key(byte: &str) -> DeviceKey {
        DeviceKey::from_hex(&byte.repeat(32)).unwrap()
    }

    fn command(key: &DeviceKey) -> Command {
        let mut command = Command {
            request_id: "r1".into(),
            device_id: "d1".into(),
            action: "ping".into(),
            ts: "2026-11-21T15:36:00Z".into(),
            expires_at: "2026-11-21T15:46:00Z".into(),
            params: "{}".into(),
            signature: String::new(),
            v: "1".into(),
        };
        command.signature = sign(key, &command);
        command
    }

    #[test]
    fn a_command_runs_once_and_only_as_it_was_signed() {
        let (keys, mut seen) = (Keys::of(key("11")), Seen::default());
        let good = command(&key("11"));
        let mut judged = |command: &Command| judge(&keys, "d1", command, now(), &mut seen);
        let altered = Command { action: "reboot".into(), ..good.clone() };
        assert_eq!(judged(&altered), Verdict::Refused(Refusal::BadSignature));
        assert_eq!(judged(&good), Verdict::Run, "an altered copy does not use up the id");
        assert_eq!(judged(&good), Verdict::Refused(Refusal::SeenBefore));
        assert_eq!(judged(&command(&key("22"))), Verdict::Refused(Refusal::BadSignature));
    }

    #[test]
    fn a_signature_of_another_length_or_no_hex_at_all_is_bad() {
        let good = command(&key("11"));
        for signature in ["", "zz", &good.signature[2..], &format!("{}00", good.signature)] {
            let bad = Command { signature: signature.to_owned(), ..good.clone() };
            assert!(!is_signed(&key("11"), &bad), "{signature}");
        }
    }

    #[test]
    fn both_keys_hold_until_the_device_changes_over() {
        let mut keys = Keys { current: key("11"), next: Some(key("22")) };
        let signed_by = |keys: &Keys, byte| judge(keys, "d1", &command(&key(byte)), now(), &mut Seen::default()) == Verdict::Run;
        assert!(signed_by(&keys, "11") && signed_by(&keys, "22") && !signed_by(&keys, "33"));
        keys.change_over(key("22"));
        assert!(!signed_by(&keys, "11") && signed_by(&keys, "22"));
        keys.next = Some(key("33"));
        keys.change_over(key("22"));
        assert!(signed_by(&keys, "33"), "an older rotation does not end a newer one");
    }

    #[test]
    fn a_key_is_hex_and_does_not_print() {
        assert!(DeviceKey::from_hex("").is_none() && DeviceKey::from_hex("xy").is_none());
        assert!(!format!("{:?}", Keys::of(key("11"))).contains("11"));
    }
}
