//! Messages for webhooks as Slack's (Mattermost and Rocket.Chat take them, too).

use crate::alert::Severity;
use crate::notification::NotificationKind;
use crate::quantity;

use super::Rendering;
use super::neutral::{cut, slack as neutral};

/// Longest text of a message; Slack cuts at 40,000 and advises 4,000.
const TEXT_MAX_CHARS: usize = 4_000;
/// Longest name or line of an alert.
const LINE_MAX_CHARS: usize = 150;

/// Message: a text, and an attachment with colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackMessage {
    /// Text, also of notifications on phones.
    pub text: String,
    /// Text of the attachment: a line per alert, with links of ours.
    pub attachment: String,
    /// Colour of the attachment, `#rrggbb`.
    pub color: &'static str,
}

/// Message for Slack.
pub fn slack(rendering: &Rendering<'_>) -> SlackMessage {
    let message = rendering.message;
    let color = match (message.kind, message.severity) {
        (NotificationKind::Resolved, _) => "#2ea043",
        (_, Severity::Critical) => "#d1242f",
        (_, Severity::Warning) => "#d29922",
        (_, Severity::Info) => "#1f6feb",
    };
    let mut lines: Vec<String> = message
        .lines()
        .into_iter()
        .map(|(alert, text)| {
            let name = neutral(&cut(rendering.name(alert), LINE_MAX_CHARS));
            // A bar ends the address of a link.
            format!("<{}|{}>: {}", rendering.link(alert), name.replace('|', "¦"), neutral(&cut(&text, LINE_MAX_CHARS)))
        })
        .collect();
    if let Some(report) = &message.report {
        lines.extend(report.texts().map(|text| neutral(&cut(&text, LINE_MAX_CHARS))));
        lines.push(format!("<{}|Open the report>", rendering.page().replace('&', "&amp;")));
    }
    if message.unlisted() > 0 {
        lines.push(format!("and {} more", quantity::number(message.unlisted() as u64)));
    }
    SlackMessage { text: neutral(&cut(&message.headline, 500)), attachment: fit(lines), color }
}

/// Lines within the limit; whole ones, so that no link is cut in two.
fn fit(lines: Vec<String>) -> String {
    let mut text = String::new();
    let mut chars = 0;
    for line in lines {
        chars += line.chars().count() + 1;
        if chars > TEXT_MAX_CHARS {
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NotificationId;
    use crate::notification::NotifiedAlert;
    use crate::notification::message::tests::{notification, offline, report};

    #[test]
    fn a_report_has_its_lines_and_a_link() {
        let message = report("<!channel>");
        let sent = slack(&Rendering { id: NotificationId(uuid::Uuid::nil()), message: &message, public_url: "https://mdm.example" });
        let lines: Vec<_> = sent.attachment.lines().collect();
        assert!(lines.len() == 3 && lines[0].starts_with("Online") && lines[0].ends_with("98 % (+1 points)"), "{lines:?}");
        assert!(!lines[1].contains("<!channel>"));
        assert_eq!(lines[2], "<https://mdm.example/reports?period=daily&amp;date=2026-11-29|Open the report>");
    }

    #[test]
    fn a_message_links_and_mentions_nobody() {
        let hostile = NotifiedAlert { name: "<!channel|x> *b*".into(), ..offline(2, &[], None) };
        let two = notification(NotificationKind::Raised, vec![offline(1, &[], None), hostile]).message();
        let id = NotificationId(uuid::Uuid::nil());
        let sent = slack(&Rendering { id, message: &two, public_url: "https://mdm.example" });
        assert_eq!(sent.color, "#d29922");
        let lines: Vec<_> = sent.attachment.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("<https://mdm.example/devices/00000000-0000-0000-0000-000000000001|till-1>"));
        assert!(!lines[1].contains("<!") && lines[1].matches('|').count() == 1);
        let long = |n| NotifiedAlert { name: "<".repeat(5_000), reason: "&".repeat(5_000), ..offline(n, &[], None) };
        let many = notification(NotificationKind::Raised, (0..100).map(long).collect()).message();
        let sent = slack(&Rendering { id, message: &many, public_url: "https://mdm.example" });
        assert!(sent.attachment.chars().count() <= TEXT_MAX_CHARS && !sent.attachment.is_empty());
        assert!(sent.attachment.lines().all(|line| line.starts_with('<') && line.contains('>')));
    }
}
