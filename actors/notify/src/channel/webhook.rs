//! Webhooks: CloudEvents 1.0 in structured mode, signed.
//!
//! The body is the same with each attempt. `X-NexMDM-Timestamp` is the time of the attempt, seconds; `X-NexMDM-Signature` is `v1=` and the
//! signature over `domain::notification::render::signature_input`.

use aws_lc_rs::hmac;
use chrono::SecondsFormat;
use domain::Timestamp;
use domain::alert::Subject;
use domain::notification::render::{SPEC_VERSION, WebhookEvent, signature_input, webhook};
use futures_util::future::BoxFuture;
use reqwest::header::HeaderName;
use serde_json::{Map, Value, json};

use super::{Channel, Outgoing, Transports, attempt, needed};
use crate::attempt::Attempt;
use crate::parse::ChannelFields;

/// Content type of an event in structured mode.
const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

pub(super) struct Webhook;

impl Channel for Webhook {
    fn send<'a>(&'a self, transports: &'a Transports, fields: &'a ChannelFields, outgoing: Outgoing<'a>) -> BoxFuture<'a, Attempt> {
        attempt(async move {
            let body = event(&webhook(&outgoing.rendering, outgoing.queued_at)).to_string().into_bytes();
            let headers = signed(fields.get("secret"), transports.clock.now(), &body);
            let answer = transports.http.post(needed(fields, "url")?, &headers, CONTENT_TYPE, body).await?;
            Ok(answer.judged(None, &transports.clock))
        })
    }
}

/// Headers of a body, signed if there is a key.
fn signed(key: Option<&str>, at: Timestamp, body: &[u8]) -> Vec<(HeaderName, String)> {
    let mut headers = vec![(HeaderName::from_static("x-nexmdm-timestamp"), at.timestamp().to_string())];
    if let Some(key) = key {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), &signature_input(at, body));
        headers.push((HeaderName::from_static("x-nexmdm-signature"), format!("v1={}", hex::encode(tag.as_ref()))));
    }
    headers
}

fn event(event: &WebhookEvent<'_>) -> Value {
    let time = |at: Timestamp| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let alerts: Vec<_> = event
        .alerts
        .iter()
        .map(|(alert, link)| {
            let device = match &alert.subject {
                Subject::Device(id) => Some(id.to_string()),
                _ => None,
            };
            json!({
                "id": alert.alert.to_string(),
                "rule": alert.rule.as_str(),
                "subject": alert.subject.to_string(),
                "device_id": device,
                "name": alert.name,
                "groups": alert.groups,
                "severity": alert.severity.as_str(),
                "state": if alert.resolved_at.is_some() { "resolved" } else { "firing" },
                "reason": alert.reason,
                "opened_at": time(alert.opened_at),
                "resolved_at": alert.resolved_at.map(time),
                "link": link,
            })
        })
        .collect();
    let data = match (event.event, &event.report) {
        (None, Some((report, link))) => json!({
            "summary": event.summary,
            "lines": report.lines.iter().map(|(label, value, change)| json!({ "label": label, "value": value, "change": change })).collect::<Vec<_>>(),
            "link": link,
        }),
        (Some(audited), _) => json!({
            "summary": event.summary,
            "seq": audited.seq,
            "action": audited.action,
            "actor": { "kind": audited.actor_kind, "name": audited.actor_name },
            "target": { "kind": audited.target_kind, "id": audited.target_id, "name": audited.target_name },
        }),
        (None, None) => json!({
            "summary": event.summary,
            "severity": event.severity.as_str(),
            "thread": event.thread,
            "count": event.count,
            "alerts": alerts,
        }),
    };
    let mut attributes = Map::from_iter([
        ("specversion".to_owned(), json!(SPEC_VERSION)),
        ("id".to_owned(), json!(event.id)),
        ("source".to_owned(), json!(event.source)),
        ("type".to_owned(), json!(event.kind)),
        ("time".to_owned(), json!(event.time)),
        ("datacontenttype".to_owned(), json!("application/json")),
        ("data".to_owned(), data),
    ]);
    // An attribute without a value is left out.
    attributes.extend(event.subject.as_ref().map(|subject| ("subject".to_owned(), json!(subject))));
    Value::Object(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_documented_vectors() {
        let at = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        for (key, body, signature) in [
            ("a secret of channels", r#"{"a":1}"#, "6db156495aacf282df1d8be9549a5a05908a54421ae9f779908aa7722756c89b"),
            ("another secret of channels", "", "0e0ebf32738c70fc7922d60904c7ebb75ffe0eb0dc630b06a4fe981496e83cf6"),
        ] {
            let headers = signed(Some(key), at, body.as_bytes());
            let values: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            assert_eq!(values, [("x-nexmdm-timestamp", "1780000000".to_owned()), ("x-nexmdm-signature", format!("v1={signature}"))]);
        }
        assert_eq!(signed(None, at, b"").len(), 1, "without a key there is no signature");
    }
}
