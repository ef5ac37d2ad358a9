//! Validation of messages, as strict as FCM: unknown, wrongly typed and too large fields are refused.
//!
//! <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>; of the fields there, those that make up a
//! data message to one Android device.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Keys and values together.
const DATA_MAX_BYTES: usize = 4096;
/// 28 days.
const TTL_MAX_S: u32 = 2_419_200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    message: Message,
    #[serde(default)]
    validate_only: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    token: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
    #[serde(default)]
    android: Android,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Android {
    collapse_key: Option<String>,
    #[serde(default)]
    priority: Priority,
    ttl: Option<String>,
    #[allow(dead_code, reason = "known, and of no effect here")]
    restricted_package_name: Option<String>,
}

#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum Priority {
    #[default]
    Normal,
    High,
}

/// A message that FCM would accept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ValidMessage {
    pub(super) token: String,
    pub(super) data: BTreeMap<String, String>,
    pub(super) ttl_s: u32,
    pub(super) high_priority: bool,
    pub(super) collapse_key: Option<String>,
    pub(super) validate_only: bool,
}

/// Parses a request body; the error names the invalid field and the problem.
pub(super) fn parse(body: &[u8]) -> Result<ValidMessage, (&'static str, String)> {
    let request: Request = serde_json::from_slice(body).map_err(|error| ("message", format!("Invalid JSON payload received. {error}")))?;
    let Message { token, data, android } = request.message;
    if token.is_empty() || token.len() > 4096 || token.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(("message.token", "The registration token is not a valid FCM registration token".into()));
    }
    let bytes: usize = data.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > DATA_MAX_BYTES {
        return Err(("message.data", "Message too big".into()));
    }
    let reserved = |key: &&String| matches!(key.as_str(), "from" | "message_type") || key.starts_with("google") || key.starts_with("gcm");
    if let Some(key) = data.keys().find(reserved) {
        return Err(("message.data", format!("Invalid data payload key: {key}")));
    }
    let ttl_s = match android.ttl.as_deref() {
        None => TTL_MAX_S,
        Some(text) => seconds(text).ok_or_else(|| ("message.android.ttl", format!("Illegal duration: {text}")))?,
    };
    let high_priority = android.priority == Priority::High;
    Ok(ValidMessage { token, data, ttl_s, high_priority, collapse_key: android.collapse_key, validate_only: request.validate_only })
}

/// Seconds with up to nine decimals and an `s`, e.g. `3.5s`.
fn seconds(text: &str) -> Option<u32> {
    let (whole, fraction) = text.strip_suffix('s').map(|number| number.split_once('.').unwrap_or((number, "0")))?;
    let digits = |part: &str, most: usize| !part.is_empty() && part.len() <= most && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole, 10) || !digits(fraction, 9) {
        return None;
    }
    whole.parse().ok().filter(|seconds| *seconds <= TTL_MAX_S)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn good() -> Value {
        json!({"message": {"token": "t", "data": {"a": "1"}, "android": {"priority": "HIGH", "ttl": "60s", "collapse_key": "sync"}}})
    }

    #[test]
    fn a_good_message_is_read_in_full() {
        let wanted = ValidMessage {
            token: "t".into(),
            data: BTreeMap::from([("a".into(), "1".into())]),
            ttl_s: 60,
            high_priority: true,
            collapse_key: Some("sync".into()),
            validate_only: false,
        };
        assert_eq!(parse(good().to_string().as_bytes()), Ok(wanted));
    }

    #[test]
    fn what_google_refuses_is_refused() {
        for (pointer, value, field) in [
            ("/message/data/a", json!(1), "message"),
            ("/message/data/a", json!("x".repeat(4096)), "message.data"),
            ("/message/data/from", json!("x"), "message.data"),
            ("/message/data/google.x", json!("x"), "message.data"),
            ("/message/token", json!("t t"), "message.token"),
            ("/message/token", Value::Null, "message"),
            ("/message/text", json!("x"), "message"),
            ("/message/android/ttl", json!("60"), "message.android.ttl"),
            ("/message/android/ttl", json!("-1s"), "message.android.ttl"),
            ("/message/android/ttl", json!("2419201s"), "message.android.ttl"),
            ("/message/android/ttl", json!(60), "message"),
            ("/message/android/priority", json!("high"), "message"),
            ("/message/android/urgency", json!("HIGH"), "message"),
            ("/extra", json!(1), "message"),
        ] {
            let mut body = good();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[key] = value;
            let (refused, problem) = parse(body.to_string().as_bytes()).unwrap_err();
            assert_eq!(refused, field, "{body}: {problem}");
        }
    }
}
