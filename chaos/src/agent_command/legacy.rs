//! How agents of the earlier server check push data: an HMAC over four fields,
//! keyed with the device key as text, and a time that must be near.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use hmac::Mac;

use super::{Keys, Refusal, Seen, Verdict, hmac};

/// Push data is taken this many seconds before and after its `ts`.
pub const LEGACY_LIFETIME_S: i64 = 300;
/// The action whose parameters are signed too.
const REMOTE_EXEC: &str = "remote_exec_fcm";
/// Those parameters, in the order they are signed: sorted.
const REMOTE_EXEC_PARAMETERS: [&str; 4] = ["duration", "enable", "package_name", "type"];

/// The `hmac` of push data, hex: `request_id|device_id|action|ts`, and for
/// `remote_exec_fcm` each of its parameters that is there and not empty as
/// `|key:value`.
pub fn legacy_hmac(device_key_text: &str, data: &BTreeMap<String, String>) -> String {
    hex::encode(hmac(device_key_text.as_bytes(), &text(data)).finalize().into_bytes())
}

/// Whether an agent of the earlier server runs push data at `now`.
pub fn judge_legacy(keys: &Keys, device_id: &str, data: &BTreeMap<String, String>, now: DateTime<Utc>, seen: &mut Seen) -> Verdict {
    let given = hex::decode(field(data, "hmac")).unwrap_or_default();
    let signed = keys.iter().filter(|key| hmac(key.text.as_bytes(), &text(data)).verify_slice(&given).is_ok()).count() > 0;
    let lifetime = TimeDelta::seconds(LEGACY_LIFETIME_S);
    let issued_at = DateTime::parse_from_rfc3339(field(data, "ts")).ok().map(|at| at.with_timezone(&Utc));
    let refusal = match issued_at {
        _ if !signed => Refusal::BadSignature,
        _ if field(data, "device_id") != device_id => Refusal::OtherDevice,
        Some(issued_at) if (now - issued_at).abs() <= lifetime => {
            match seen.remember(field(data, "request_id"), issued_at + lifetime + TimeDelta::seconds(1), now) {
                Ok(()) => return Verdict::Run,
                Err(refusal) => refusal,
            }
        }
        _ => Refusal::Expired,
    };
    Verdict::Refused(refusal)
}

fn text(data: &BTreeMap<String, String>) -> String {
    let mut text = ["request_id", "device_id", "action", "ts"].map(|name| field(data, name)).join("|");
    if field(data, "action") == REMOTE_EXEC {
        for name in REMOTE_EXEC_PARAMETERS {
            let value = field(data, name);
            if !value.is_empty() {
                text.push_str(&format!("|{name}:{value}"));
            }
        }
    }
    text
}

fn field<'a>(data: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    data.get(name).map_or("", String::as_str)
}
