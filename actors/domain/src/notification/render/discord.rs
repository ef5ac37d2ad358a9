//! Messages for webhooks of Discord: one embed, with colour by severity and a field per alert.

use crate::alert::Severity;
use crate::notification::{LISTED_MAX, NotificationKind, ReportMessage};
use crate::quantity;

use super::Rendering;
use super::neutral::{cut, discord as neutral};

/// Longest title of an embed.
const TITLE_MAX_CHARS: usize = 256;
/// Longest description of an embed; Discord takes 4,096.
const DESCRIPTION_MAX_CHARS: usize = 1_000;
/// Longest name of a field.
const NAME_MAX_CHARS: usize = 256;
/// Longest value of a field that is used; Discord takes 1,024, and 6,000 in one message.
const VALUE_MAX_CHARS: usize = 200;

/// Message of a webhook. The sender allows no mentions (`allowed_mentions: {parse: []}`) besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscordMessage {
    /// The embed.
    pub embed: DiscordEmbed,
}

/// Embed of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscordEmbed {
    /// Title.
    pub title: String,
    /// Page that the title leads to.
    pub url: String,
    /// Description.
    pub description: String,
    /// Colour, 0xRRGGBB.
    pub color: u32,
    /// Fields.
    pub fields: Vec<DiscordField>,
    /// Footer: the id of the notification.
    pub footer: String,
}

/// Field of an embed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscordField {
    /// Name.
    pub name: String,
    /// Value; may have a link, which is ours.
    pub value: String,
}

/// Message for Discord. Within its limits: 256 characters in title and names, 25 fields, 6,000 characters in all.
pub fn discord(rendering: &Rendering<'_>) -> DiscordMessage {
    let message = rendering.message;
    let color = match (message.kind, message.severity) {
        (NotificationKind::Resolved, _) => 0x2e_a0_43,
        (_, Severity::Critical) => 0xd1_24_2f,
        (_, Severity::Warning) => 0xd2_99_22,
        (_, Severity::Info) => 0x1f_6f_eb,
    };
    let field = |(alert, text): (&crate::notification::NotifiedAlert, String)| DiscordField {
        name: escaped(rendering.name(alert), NAME_MAX_CHARS),
        value: format!("{} [open]({})", escaped(&text, VALUE_MAX_CHARS), rendering.link(alert)),
    };
    let description = match (&message.report, message.unlisted()) {
        // Cut before it is escaped, line by line, so that no escape is cut in two.
        (Some(report), _) => report_lines(report),
        (None, 0) => String::new(),
        (None, more) => format!("The first {LISTED_MAX} are listed; and {} more", quantity::number(more as u64)),
    };
    DiscordMessage {
        embed: DiscordEmbed {
            title: escaped(&message.headline, TITLE_MAX_CHARS),
            url: rendering.page(),
            description,
            color,
            fields: message.lines().into_iter().map(field).collect(),
            footer: rendering.id.to_string(),
        },
    }
}

/// Lines of a report, as many as fit.
fn report_lines(report: &ReportMessage) -> String {
    let mut text = String::new();
    for about in report.texts() {
        let line = escaped(&about, VALUE_MAX_CHARS);
        if text.chars().count() + line.chars().count() + 1 > DESCRIPTION_MAX_CHARS {
            break;
        }
        text.push_str(&line);
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// Neutralised text of at most so many characters, cut before it is escaped so that no escape is cut in two.
fn escaped(text: &str, max_chars: usize) -> String {
    let mut most = max_chars;
    loop {
        let safe = neutral(&cut(text, most));
        let over = safe.chars().count().saturating_sub(max_chars);
        if over == 0 || most == 0 {
            return safe;
        }
        most = most.saturating_sub(over.div_ceil(2).max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NotificationId;
    use crate::notification::NotifiedAlert;
    use crate::notification::message::tests::{notification, offline, report};

    #[test]
    fn an_embed_is_within_the_limits_of_discord_whatever_names_say() {
        let hostile =
            |n| NotifiedAlert { name: "@everyone **".repeat(100), reason: "`[x](http://evil)`".repeat(50), ..offline(n, &[], None) };
        let all = notification(NotificationKind::Raised, (0..500).map(hostile).collect()).message();
        let id = NotificationId(uuid::Uuid::nil());
        let embed = discord(&Rendering { id, message: &all, public_url: "https://mdm.example" }).embed;
        assert!(embed.title.chars().count() <= 256 && embed.fields.len() == LISTED_MAX);
        let mut total = embed.title.chars().count() + embed.description.chars().count() + embed.footer.chars().count();
        for field in &embed.fields {
            let (name, value) = (field.name.chars().count(), field.value.chars().count());
            assert!(name <= 256 && value <= 1_024 && !field.name.is_empty());
            assert!(!field.name.contains("@everyone") && !field.value.contains("](http://evil"));
            total += name + value;
        }
        assert!(total <= 6_000, "{total}");
        assert_eq!(embed.description, "The first 10 are listed; and 490 more");
    }

    #[test]
    fn a_report_is_a_description_within_the_limits() {
        let rendered = |message: &crate::notification::Message| {
            discord(&Rendering { id: NotificationId(uuid::Uuid::nil()), message, public_url: "https://mdm.example" }).embed
        };
        let embed = rendered(&report("**1**"));
        assert_eq!(embed.url, "https://mdm.example/reports?period=daily&date=2026-11-29");
        assert!(embed.description.starts_with("Online\\: 98 %") && !embed.description.contains("**1**"), "{}", embed.description);
        let mut long = report("1");
        if let Some(report) = &mut long.report {
            report.lines = vec![("*".repeat(500), "1".into(), String::new()); 100];
        }
        assert!(rendered(&long).description.chars().count() <= DESCRIPTION_MAX_CHARS);
    }

    #[test]
    fn colour_and_link_follow_the_alert() {
        let id = NotificationId(uuid::Uuid::nil());
        let rendered = |kind, resolved| {
            let one = notification(kind, vec![offline(1, &["north"], resolved)]).message();
            discord(&Rendering { id, message: &one, public_url: "https://mdm.example" }).embed
        };
        let raised = rendered(NotificationKind::Raised, None);
        assert_eq!((raised.title.as_str(), raised.color), ("Device offline\\: till\\-1, since 10\\:42 UTC", 0xd2_99_22));
        assert_eq!(raised.url, "https://mdm.example/devices/00000000-0000-0000-0000-000000000001");
        assert_eq!(rendered(NotificationKind::Resolved, Some(60)).color, 0x2e_a0_43);
    }
}
