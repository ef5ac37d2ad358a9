//! A command as a device gets it: signed with the device's own key, over the exact bytes that are sent.
//!
//! ```text
//! signature = hex(HMAC-SHA256(key, "nexmdm-command-v1\n" request_id "\n" device_id "\n" action "\n" ts "\n"
//!                                  expires_at "\n" hex(SHA-256(params))))
//! hmac      = hex(HMAC-SHA256(key as hex text, request_id "|" device_id "|" action "|" ts))     for agents in the field
//! ```

use std::collections::BTreeMap;

use chrono::SecondsFormat;
use domain::{CommandId, DeviceId, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::SecretBox;
use sha2::{Digest, Sha256};

use super::command::PendingCommand;
use crate::crypto::device_key;

/// A command as a device gets it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedCommand {
    /// The command.
    pub id: CommandId,
    /// Whom it is for.
    pub device_id: DeviceId,
    /// Name of the action.
    pub action: String,
    /// Time of sending, RFC 3339.
    pub ts: String,
    /// Expiry, RFC 3339.
    pub expires_at: String,
    /// JSON, the bytes that are signed; may hold secrets.
    pub params: String,
    /// Hex.
    pub signature: String,
    /// Hex, for agents in the field.
    pub legacy_hmac: String,
}

/// Omits the parameters, which may be secret.
impl std::fmt::Debug for SignedCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedCommand({}, {})", self.id, self.action)
    }
}

fn mac(key: &[u8], text: &str) -> String {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// The parameters as the device gets them: a new key is made out only now, and kept nowhere.
fn params_sent(master_key: &SecretBox<Vec<u8>>, device_id: DeviceId, command: &PendingCommand) -> String {
    match store::key_version(&command.params).filter(|_| command.action == "rotate_key") {
        Some(version) => serde_json::json!({"key_version": version, "device_key": device_key(master_key, device_id, version)}).to_string(),
        None => command.params.clone(),
    }
}

impl SignedCommand {
    /// An order as this device gets it at `now`, signed with its key of this version.
    pub(crate) fn new(
        master_key: &SecretBox<Vec<u8>>,
        key_version: i32,
        device_id: DeviceId,
        command: &PendingCommand,
        now: Timestamp,
    ) -> Self {
        let key = device_key(master_key, device_id, key_version);
        let time = |at: Timestamp| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let (ts, expires_at, params) = (time(now), time(command.expires_at), params_sent(master_key, device_id, command));
        let (id, action) = (command.id, command.action.clone());
        let params_sha256 = hex::encode(Sha256::digest(&params));
        let signed = format!("nexmdm-command-v1\n{id}\n{device_id}\n{action}\n{ts}\n{expires_at}\n{params_sha256}");
        Self {
            signature: mac(&hex::decode(&key).unwrap_or_default(), &signed),
            legacy_hmac: mac(key.as_bytes(), &format!("{id}|{device_id}|{action}|{ts}")),
            id,
            device_id,
            action,
            ts,
            expires_at,
            params,
        }
    }

    /// As the data of a push message.
    pub(crate) fn push_data(&self) -> BTreeMap<String, String> {
        let (id, device) = (self.id.to_string(), self.device_id.to_string());
        let fields: [(&str, &str); 9] = [
            ("request_id", &id),
            ("device_id", &device),
            ("action", &self.action),
            ("ts", &self.ts),
            ("expires_at", &self.expires_at),
            ("params", &self.params),
            ("signature", &self.signature),
            ("hmac", &self.legacy_hmac),
            ("v", "1"),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(action: &str, params: &str) -> PendingCommand {
        let at = |second: i64| chrono::DateTime::from_timestamp(1_795_275_000 + second, 0).unwrap();
        let id = CommandId(uuid::Uuid::from_u128(5));
        PendingCommand { id, action: action.into(), params: params.into(), delivered: false, release_at: at(0), expires_at: at(600) }
    }

    /// The same, step by step as the agent API tells it.
    #[test]
    fn the_signature_is_that_of_the_agent_api() {
        let master = SecretBox::new(Box::new(vec![7; 32]));
        let device = DeviceId(uuid::Uuid::from_u128(9));
        let now = chrono::DateTime::from_timestamp(1_795_275_100, 0).unwrap();
        let signed = SignedCommand::new(&master, 1, device, &command("ring", r#"{"duration_s":10}"#), now);
        assert_eq!((signed.ts.as_str(), signed.expires_at.as_str()), ("2026-11-21T15:31:40.000Z", "2026-11-21T15:40:00.000Z"));
        let key = device_key(&master, device, 1);
        let text = [
            "nexmdm-command-v1",
            "00000000-0000-0000-0000-000000000005",
            "00000000-0000-0000-0000-000000000009",
            "ring",
            &signed.ts,
            &signed.expires_at,
            &hex::encode(Sha256::digest(br#"{"duration_s":10}"#)),
        ]
        .join("\n");
        assert_eq!(signed.signature, mac(&hex::decode(&key).unwrap(), &text));
        let legacy = format!("00000000-0000-0000-0000-000000000005|00000000-0000-0000-0000-000000000009|ring|{}", signed.ts);
        assert_eq!(signed.push_data()["hmac"], mac(key.as_bytes(), &legacy));
        for other in [SignedCommand::new(&master, 2, device, &command("ring", r#"{"duration_s":10}"#), now), {
            SignedCommand::new(&master, 1, DeviceId(uuid::Uuid::from_u128(8)), &command("ring", r#"{"duration_s":10}"#), now)
        }] {
            assert_ne!(other.signature, signed.signature);
        }
    }

    #[test]
    fn a_new_key_is_made_out_when_it_is_sent_and_signed_with_the_old_one() {
        let master = SecretBox::new(Box::new(vec![7; 32]));
        let device = DeviceId(uuid::Uuid::from_u128(9));
        let now = chrono::DateTime::from_timestamp(1_795_275_100, 0).unwrap();
        let stored = command("rotate_key", r#"{"key_version":2}"#);
        let sent = SignedCommand::new(&master, 1, device, &stored, now);
        assert!(sent.params.contains(&device_key(&master, device, 2)));
        assert!(!format!("{sent:?} {stored:?}").contains(&device_key(&master, device, 2)));
    }
}
