//! A command as a device gets it: signed with the device's own key, over the exact bytes that are sent.
//!
//! ```text
//! signature = hex(HMAC-SHA256(key, "nexmdm-command-v1\n" request_id "\n" device_id "\n" action "\n" ts "\n"
//!                                  expires_at "\n" hex(SHA-256(params))))
//! hmac      = hex(HMAC-SHA256(key as hex text, request_id "|" device_id "|" action "|" ts))     for agents in the field
//! ```

use chrono::SecondsFormat;
use domain::{DeviceId, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use link::messages::{PendingCommand, SignedCommand};
use secrecy::{ExposeSecret, SecretBox};
use sha2::{Digest, Sha256};

/// The key of a device's command signatures, hex:
/// `HMAC-SHA256(master key, "nexmdm-device-key-v1\n" device_id "\n" version)`.
pub fn device_key(master_key: &SecretBox<Vec<u8>>, device_id: DeviceId, key_version: i32) -> String {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(master_key.expose_secret()).expect("any key length");
    mac.update(format!("nexmdm-device-key-v1\n{device_id}\n{key_version}").as_bytes());
    hex::encode(mac.finalize().into_bytes())
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

/// A command as this device gets it at `now`, signed with its key of this version.
pub(crate) fn signed_command(
    master_key: &SecretBox<Vec<u8>>,
    key_version: i32,
    device_id: DeviceId,
    command: &PendingCommand,
    now: Timestamp,
) -> SignedCommand {
    let key = device_key(master_key, device_id, key_version);
    let time = |at: Timestamp| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let (ts, expires_at, params) = (time(now), time(command.expires_at), params_sent(master_key, device_id, command));
    let (id, action) = (command.id, command.action.clone());
    let params_sha256 = hex::encode(Sha256::digest(&params));
    let signed = format!("nexmdm-command-v1\n{id}\n{device_id}\n{action}\n{ts}\n{expires_at}\n{params_sha256}");
    SignedCommand {
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

#[cfg(test)]
mod tests {
    use super::*;
    use domain::CommandId;

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
        let signed = signed_command(&master, 1, device, &command("ring", r#"{"duration_s":10}"#), now);
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
        for other in [signed_command(&master, 2, device, &command("ring", r#"{"duration_s":10}"#), now), {
            signed_command(&master, 1, DeviceId(uuid::Uuid::from_u128(8)), &command("ring", r#"{"duration_s":10}"#), now)
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
        let sent = signed_command(&master, 1, device, &stored, now);
        assert!(sent.params.contains(&device_key(&master, device, 2)));
        assert!(!format!("{sent:?} {stored:?}").contains(&device_key(&master, device, 2)));
    }

    fn master(byte: u8) -> SecretBox<Vec<u8>> {
        SecretBox::new(Box::new(vec![byte; 32]))
    }

    #[test]
    fn device_keys_differ_by_device_version_and_master_master() {
        let (a, b) = (DeviceId(uuid::Uuid::from_u128(1)), DeviceId(uuid::Uuid::from_u128(2)));
        let keys = [device_key(&master(1), a, 1), device_key(&master(1), b, 1), device_key(&master(1), a, 2), device_key(&master(2), a, 1)];
        for (i, one) in keys.iter().enumerate() {
            assert_eq!(one.len(), 64);
            assert!(keys[i + 1..].iter().all(|other| other != one));
        }
        assert_eq!(device_key(&master(1), a, 1), keys[0]);
    }
}
