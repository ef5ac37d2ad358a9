//! Messages for ntfy.

use crate::alert::Severity;
use crate::notification::{NotificationKind, ReportMessage};
use crate::quantity;

use super::Rendering;
use super::neutral::{cut, line};

/// Longest title.
const TITLE_MAX_CHARS: usize = 200;
/// Longest message, bytes; ntfy makes an attachment of what is longer than 4,096.
const MESSAGE_MAX_BYTES: usize = 4_000;

/// Message, published as JSON: nothing of it is a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NtfyMessage {
    /// Title.
    pub title: String,
    /// Message, plain text.
    pub message: String,
    /// Priority, 1..5.
    pub priority: u8,
    /// Tags, which ntfy shows as emoji.
    pub tags: Vec<&'static str>,
    /// Page that a tap leads to.
    pub click: String,
}

/// Message for ntfy.
pub fn ntfy(rendering: &Rendering<'_>) -> NtfyMessage {
    let message = rendering.message;
    let (priority, tag) = match (message.kind, message.severity) {
        (
            NotificationKind::Resolved
            | NotificationKind::Digest
            | NotificationKind::Event
            | NotificationKind::Report
            | NotificationKind::Acknowledged,
            _,
        ) => (2, "white_check_mark"),
        (_, Severity::Critical) => (5, "rotating_light"),
        (_, Severity::Warning) => (4, "warning"),
        (_, Severity::Info) => (3, "information_source"),
    };
    let mut text = String::new();
    for (alert, about) in message.lines() {
        let entry = format!("{}: {}\n", cut(&line(rendering.name(alert)), 100), cut(&line(&about), 250));
        if text.len() + entry.len() > MESSAGE_MAX_BYTES - 50 {
            break;
        }
        text.push_str(&entry);
    }
    for about in message.report.iter().flat_map(ReportMessage::texts) {
        let entry = format!("{}\n", cut(&line(&about), 250));
        if text.len() + entry.len() > MESSAGE_MAX_BYTES - 50 {
            break;
        }
        text.push_str(&entry);
    }
    if message.unlisted() > 0 {
        text.push_str(&format!("and {} more", quantity::number(message.unlisted() as u64)));
    }
    if text.is_empty() {
        text = line(&message.headline);
    }
    let title = cut(&line(&message.headline), TITLE_MAX_CHARS);
    NtfyMessage { title, message: text.trim_end().to_owned(), priority, tags: vec![tag], click: rendering.page() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NotificationId;
    use crate::notification::NotifiedAlert;
    use crate::notification::message::tests::{notification, offline, report};

    #[test]
    fn a_report_is_quiet_and_leads_to_its_page() {
        let message = report("1");
        let sent = ntfy(&Rendering { id: NotificationId(uuid::Uuid::nil()), message: &message, public_url: "https://mdm.example" });
        assert_eq!((sent.priority, sent.message.as_str()), (2, "Online: 98 % (+1 points)\nAgent 1: 3 devices"));
        assert_eq!(sent.click, "https://mdm.example/reports?period=daily&date=2026-11-29");
    }

    #[test]
    fn a_message_is_short_and_its_priority_follows_the_severity() {
        let id = NotificationId(uuid::Uuid::nil());
        let one = notification(NotificationKind::Raised, vec![offline(1, &[], None)]).message();
        let sent = ntfy(&Rendering { id, message: &one, public_url: "https://mdm.example" });
        assert_eq!((sent.title.as_str(), sent.priority), ("Device offline: till-1, since 10:42 UTC", 4));
        assert_eq!(sent.message, "till-1: no heartbeat for 12 min, limit 12 min");
        let long = |n| NotifiedAlert { name: "ä".repeat(5_000), reason: "😀".repeat(5_000), ..offline(n, &[], None) };
        let many = notification(NotificationKind::Raised, (0..100).map(long).collect()).message();
        let sent = ntfy(&Rendering { id, message: &many, public_url: "https://mdm.example" });
        assert!(sent.message.len() <= MESSAGE_MAX_BYTES && sent.message.ends_with("and 90 more"), "{}", sent.message.len());
    }
}
