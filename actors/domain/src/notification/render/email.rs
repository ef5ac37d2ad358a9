//! Mail: subject, text, HTML, and the headers by which a thread is put together.

use crate::notification::NotificationKind;
use crate::quantity;

use super::Rendering;
use super::neutral::{cut, html, line};

/// Longest subject: a header's line has 998 bytes, of which encoding takes up to four for a character.
const SUBJECT_MAX_CHARS: usize = 200;
/// Longest line of an alert.
const LINE_MAX_CHARS: usize = 600;

/// Mail, without sender and recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailMessage {
    /// Subject, on one line.
    pub subject: String,
    /// Text.
    pub text: String,
    /// HTML.
    pub html: String,
    /// `Message-ID`, with its angle brackets: the same with each attempt.
    pub message_id: String,
    /// `References` and `In-Reply-To`: the message that began the thread; `None`: this one.
    pub references: Option<String>,
}

/// Mail about a notification; `domain` is that of the sender's address.
pub fn email(rendering: &Rendering<'_>, domain: &str) -> EmailMessage {
    let message = rendering.message;
    let headline = line(&message.headline);
    // Letters, digits, dots and hyphens: nothing else gets into a header.
    let token = |text: &str| text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')).collect::<String>();
    let domain = token(domain);
    let thread = format!("<{}@{domain}>", token(&message.thread));
    let begins = message.begins_thread && message.kind == NotificationKind::Raised;
    let (mut text, mut rows) = (format!("{headline}\r\n\r\n"), String::new());
    for (alert, about) in message.lines() {
        let (name, about) = (cut(&line(rendering.name(alert)), LINE_MAX_CHARS), cut(&line(&about), LINE_MAX_CHARS));
        let link = rendering.link(alert);
        text.push_str(&format!("- {name}: {about}\r\n  {link}\r\n"));
        rows.push_str(&format!("<li><a href=\"{}\">{}</a>: {}</li>", html(&link), html(&name), html(&about)));
    }
    let more = match message.unlisted() {
        0 => String::new(),
        more => format!("and {} more", quantity::number(more as u64)),
    };
    if !more.is_empty() {
        text.push_str(&format!("{more}\r\n"));
    }
    let (all, overview) = match message.event {
        Some(_) => ("Audit trail", rendering.page()),
        None => ("All alerts", rendering.overview()),
    };
    text.push_str(&format!("\r\n{all}: {overview}\r\n"));
    let html = format!(
        "<!doctype html><html><body><h3>{}</h3><ul>{rows}</ul><p>{more}</p><p><a href=\"{}\">{all}</a></p></body></html>",
        html(&headline),
        html(&overview)
    );
    EmailMessage {
        subject: cut(&format!("[{}] {headline}", message.severity.title()), SUBJECT_MAX_CHARS),
        text,
        html,
        message_id: if begins { thread.clone() } else { format!("<{}@{domain}>", rendering.id) },
        references: (!message.begins_thread).then_some(thread),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NotificationId;
    use crate::notification::message::tests::{notification, offline};
    use crate::notification::{Message, NotifiedAlert};

    fn rendered(message: &Message) -> EmailMessage {
        email(&Rendering { id: NotificationId(uuid::Uuid::from_u128(9)), message, public_url: "https://mdm.example" }, "example.org")
    }

    #[test]
    fn a_thread_is_put_together_by_references() {
        let raised = rendered(&notification(NotificationKind::Raised, vec![offline(1, &["north"], None)]).message());
        assert_eq!(raised.subject, "[Warning] Device offline: till-1, since 10:42 UTC");
        assert_eq!((raised.message_id.as_str(), raised.references), ("<device_offline-1@example.org>", None));
        let mut resolved = notification(NotificationKind::Resolved, vec![offline(1, &["north"], Some(3_600))]).message();
        resolved.begins_thread = false;
        let resolved = rendered(&resolved);
        assert_eq!(resolved.references.as_deref(), Some("<device_offline-1@example.org>"));
        assert_eq!(resolved.message_id, "<00000000-0000-0000-0000-000000000009@example.org>");
        assert!(resolved.text.contains("- till-1: no heartbeat for 12 min, limit 12 min, lasted 1 h\r\n"));
        assert!(resolved.html.contains("<a href=\"https://mdm.example/devices/00000000-0000-0000-0000-000000000001\">till-1</a>"));
    }

    #[test]
    fn names_add_no_header_and_no_markup() {
        let hostile = NotifiedAlert { name: "a\r\nBcc: all@example.org\r\n\r\n<script>".into(), ..offline(1, &[], None) };
        let mut message = notification(NotificationKind::Raised, vec![hostile]).message();
        message.thread = "x\r\nBcc: y".into();
        let mail = rendered(&message);
        assert!(!mail.subject.contains(['\r', '\n']) && !mail.message_id.contains(['\r', '\n', ' ']));
        assert!(!mail.html.contains("<script>") && !mail.text.contains("\r\nBcc"));
        let long =
            notification(NotificationKind::Raised, vec![NotifiedAlert { name: "ä".repeat(5_000), ..offline(1, &[], None) }]).message();
        assert_eq!(rendered(&long).subject.chars().count(), SUBJECT_MAX_CHARS);
    }
}
