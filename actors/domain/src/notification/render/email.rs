//! Mail: subject, text, HTML, and the headers by which a thread is put together.

use crate::notification::{NotificationKind, ReportMessage};
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
    /// Table that is attached: its name as a file, and its text.
    pub table: Option<(String, String)>,
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
    let cells = message.report.as_ref().map_or_else(String::new, table);
    for about in message.report.iter().flat_map(ReportMessage::texts) {
        text.push_str(&format!("- {}\r\n", cut(&line(&about), LINE_MAX_CHARS)));
    }
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
    let (all, overview) = match (&message.event, &message.report) {
        (Some(_), _) => ("Audit trail", rendering.page()),
        (_, Some(_)) => ("Open the report", rendering.page()),
        _ => ("All alerts", rendering.overview()),
    };
    text.push_str(&format!("\r\n{all}: {overview}\r\n"));
    let list = if rows.is_empty() { String::new() } else { format!("<ul>{rows}</ul>") };
    let html = format!(
        "<!doctype html><html><body><h3>{}</h3>{list}{cells}<p>{more}</p><p><a href=\"{}\">{all}</a></p></body></html>",
        html(&headline),
        html(&overview)
    );
    EmailMessage {
        subject: match message.report {
            Some(_) => cut(&headline, SUBJECT_MAX_CHARS),
            None => cut(&format!("[{}] {headline}", message.severity.title()), SUBJECT_MAX_CHARS),
        },
        text,
        html,
        table: message.report.as_ref().map(|report| (token(&report.file_name), report.csv.clone())),
        message_id: if begins { thread.clone() } else { format!("<{}@{domain}>", rendering.id) },
        references: (!message.begins_thread).then_some(thread),
    }
}

/// The lines of a report as a table.
fn table(report: &ReportMessage) -> String {
    let cell = |text: &str| html(&cut(&line(text), LINE_MAX_CHARS));
    let row = |(label, value, difference): &(String, String, String)| {
        format!(
            "<tr><th align=\"left\">{}</th><td align=\"right\">{}</td><td align=\"right\">{}</td></tr>",
            cell(label),
            cell(value),
            cell(difference)
        )
    };
    let rows: String = report.lines.iter().map(row).collect();
    format!(
        "<table cellpadding=\"4\"><thead><tr><th align=\"left\">Measure</th><th align=\"right\">Value</th><th align=\"right\">Change</th></tr></thead><tbody>{rows}</tbody></table>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NotificationId;
    use crate::notification::message::tests::{notification, offline, report};
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
    fn a_report_is_a_table_with_a_link_and_its_csv() {
        let sent = rendered(&report("north <b>"));
        assert_eq!(sent.subject, "Daily report, 2026-11-29: 98 % online");
        assert!(sent.text.contains("- Online: 98 % (+1 points)\r\n- Agent north <b>: 3 devices\r\n"), "{}", sent.text);
        assert!(sent.text.contains("Open the report: https://mdm.example/reports?period=daily&date=2026-11-29\r\n"));
        assert!(sent.html.contains("<td align=\"right\">98 %</td>") && sent.html.contains("Agent north &#60;b&#62;"), "{}", sent.html);
        assert!(sent.html.contains("<a href=\"https://mdm.example/reports?period=daily&#38;date=2026-11-29\">"), "{}", sent.html);
        assert_eq!(sent.table, Some(("report.csv".into(), "\"a\"\r\n".into())));
        assert_eq!(sent.references, None);
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
