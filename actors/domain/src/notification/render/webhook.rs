//! Events for webhooks: CloudEvents 1.0, and what their signature is over.

use chrono::SecondsFormat;

use crate::Timestamp;
use crate::alert::{Severity, Subject};
use crate::notification::{AuditedEvent, Message, NotificationKind, NotifiedAlert, ReportMessage};

use super::Rendering;

/// Version of the signature, first in its input and its header.
const SIGNATURE_VERSION: &str = "v1";

/// Event: the attributes of CloudEvents, and its data. JSON is made where it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookEvent<'a> {
    /// `id`: the same with each attempt.
    pub id: String,
    /// `source`: the dashboard's URL.
    pub source: String,
    /// `type`: `nexmdm.alert.raised`, ...
    pub kind: String,
    /// `subject`: the only subject's kind and id, else none.
    pub subject: Option<String>,
    /// `time`, RFC 3339.
    pub time: String,
    /// Data: a summary in words.
    pub summary: String,
    /// Data: severity.
    pub severity: Severity,
    /// Data: key by which messages are put together.
    pub thread: &'a str,
    /// Data: alerts that are listed. Texts are as they are: JSON needs no neutralising, and whoever shows them does it.
    pub alerts: Vec<(&'a NotifiedAlert, String)>,
    /// Data: number of all its alerts.
    pub count: usize,
    /// Data of an event that a channel has subscribed to, instead of alerts.
    pub event: Option<&'a AuditedEvent>,
    /// Data of a report, instead of alerts: it, and the address of its page.
    pub report: Option<(&'a ReportMessage, String)>,
}

/// Version of the specification of the attributes.
pub const SPEC_VERSION: &str = "1.0";

/// Event of a webhook, made at `at`.
pub fn webhook<'a>(rendering: &Rendering<'a>, at: Timestamp) -> WebhookEvent<'a> {
    let message: &'a Message = rendering.message;
    let subject = match message.alerts.as_slice() {
        [only] => match &only.subject {
            Subject::System(name) if name.is_empty() => Some("system".to_owned()),
            subject => Some(subject.to_string()),
        },
        _ => None,
    };
    let kind: NotificationKind = message.kind;
    let alerts = message.alerts.iter();
    WebhookEvent {
        id: rendering.id.to_string(),
        source: rendering.public_url.to_owned(),
        kind: match (&message.event, &message.report) {
            (Some(event), _) => format!("nexmdm.{}", event.action),
            (_, Some(_)) => "nexmdm.report".to_owned(),
            _ => format!("nexmdm.alert.{}", kind.as_str()),
        },
        subject: match &message.event {
            Some(event) => event.target_id.as_ref().map(|id| format!("{}:{id}", event.target_kind)),
            None => subject,
        },
        event: message.event.as_ref(),
        report: message.report.as_ref().map(|report| (report, rendering.page())),
        time: message.event.as_ref().map_or(at, |event| event.at).to_rfc3339_opts(SecondsFormat::Millis, true),
        summary: message.headline.clone(),
        severity: message.severity,
        thread: &message.thread,
        alerts: alerts.map(|alert| (alert, rendering.link(alert))).collect(),
        count: message.count,
    }
}

/// Input of the signature, over the exact bytes of the body: `"v1" "." seconds "." body`. The signature is
/// `hex(HMAC-SHA256(secret, input))`, sent as `v1=...`; the time stands in a header of its own, so that a receiver can refuse what is old.
pub fn signature_input(at: Timestamp, body: &[u8]) -> Vec<u8> {
    let mut input = format!("{SIGNATURE_VERSION}.{}.", at.timestamp()).into_bytes();
    input.extend_from_slice(body);
    input
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NotificationId;
    use crate::notification::message::tests::{notification, offline};
    use sha2::{Digest, Sha256};

    fn at() -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap()
    }

    #[test]
    fn attributes_are_those_of_cloudevents() {
        let one = notification(NotificationKind::Raised, vec![offline(1, &[], None)]).message();
        let id = NotificationId(uuid::Uuid::from_u128(9));
        let event = webhook(&Rendering { id, message: &one, public_url: "https://mdm.example" }, at());
        assert_eq!(event.id, "00000000-0000-0000-0000-000000000009");
        assert_eq!((event.source.as_str(), event.kind.as_str()), ("https://mdm.example", "nexmdm.alert.raised"));
        assert_eq!(event.subject.as_deref(), Some("device:00000000-0000-0000-0000-000000000001"));
        assert_eq!((event.time.as_str(), event.count), ("2026-05-28T20:26:40.000Z", 1));
        let many = notification(NotificationKind::Resolved, (0..50).map(|n| offline(n, &[], Some(1))).collect()).message();
        let event = webhook(&Rendering { id, message: &many, public_url: "https://mdm.example" }, at());
        assert_eq!((event.subject, event.alerts.len(), event.count), (None, 10, 50));
    }

    #[test]
    fn a_report_is_an_event_of_its_own() {
        let message = crate::notification::message::tests::report("1");
        let event =
            webhook(&Rendering { id: NotificationId(uuid::Uuid::nil()), message: &message, public_url: "https://mdm.example" }, at());
        assert_eq!((event.kind.as_str(), event.subject), ("nexmdm.report", None));
        let (report, link) = event.report.unwrap();
        assert_eq!((report.lines.len(), link.as_str()), (2, "https://mdm.example/reports?period=daily&date=2026-11-29"));
    }

    /// HMAC-SHA256 as RFC 2104 has it, for keys of up to 64 bytes: what the vectors were made with.
    fn hmac_sha256(key: &[u8], input: &[u8]) -> String {
        let pad = |with: u8| {
            let mut block = [with; 64];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            block
        };
        let inner = Sha256::new().chain_update(pad(0x36)).chain_update(input).finalize();
        let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
        outer.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The vectors that receivers can test with; `printf 'v1.1780000000.{"a":1}' | openssl dgst -sha256 -hmac 'a secret of channels'` says the same.
    #[test]
    fn signatures_are_those_of_the_documented_vectors() {
        // RFC 4231, test case 2: the function above is HMAC.
        let known = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(known, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(signature_input(at(), br#"{"a":1}"#), br#"v1.1780000000.{"a":1}"#);
        for (secret, body, signature) in SIGNATURE_VECTORS {
            assert_eq!(hmac_sha256(secret.as_bytes(), &signature_input(at(), body.as_bytes())), signature, "{body}");
        }
    }

    const SIGNATURE_VECTORS: [(&str, &str, &str); 2] = [
        ("a secret of channels", r#"{"a":1}"#, "6db156495aacf282df1d8be9549a5a05908a54421ae9f779908aa7722756c89b"),
        ("another secret of channels", "", "0e0ebf32738c70fc7922d60904c7ebb75ffe0eb0dc630b06a4fe981496e83cf6"),
    ];
}
