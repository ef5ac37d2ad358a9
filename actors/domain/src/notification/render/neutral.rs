//! Text of people and devices made harmless: it says in each channel what it says, and does nothing.

use std::fmt::Write;

/// Text on one line: line breaks and other control characters are spaces, invisible marks that reorder text are left out.
pub(super) fn line(text: &str) -> String {
    let cleaned =
        text.chars().filter(|c| !reorders(*c)).map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c });
    cleaned.collect::<String>().trim().to_owned()
}

/// Marks that change the direction of the text after them, by which a name can be made to read as another.
fn reorders(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
}

/// Text of at most so many characters; what is cut ends with an ellipsis.
pub(super) fn cut(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(max_chars.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

/// Text that Discord's Markdown shows as it is, and that mentions nobody: a mark is escaped, and after each @ is a character without width.
pub(super) fn discord(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in line(text).chars() {
        match c {
            '@' => safe.push_str("@\u{200b}"),
            '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '#' | '[' | ']' | '(' | ')' | '-' | ':' => {
                safe.push('\\');
                safe.push(c);
            }
            // Numbered lists begin with one.
            '.' => safe.push_str("\\."),
            c => safe.push(c),
        }
    }
    safe
}

/// Text that Slack shows as it is: its three special characters are entities, marks of its Markdown are parted by characters without width.
pub(super) fn slack(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in line(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '*' | '_' | '~' | '`' | '@' | '#' | ':' => {
                safe.push('\u{200b}');
                safe.push(c);
                safe.push('\u{200b}');
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Text within HTML, also within a quoted attribute.
pub(super) fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in line(text).chars() {
        match c {
            '&' | '<' | '>' | '"' | '\'' | '`' => {
                // Writing to a string does not fail.
                let _ = write!(safe, "&#{};", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn marks_are_shown_and_do_nothing() {
        assert_eq!(line("a\r\nBcc: x@y\u{202e}z\0"), "a  Bcc: x@yz");
        assert_eq!(
            discord("@everyone **x** [a](http://b) <@1>"),
            "@\u{200b}everyone \\*\\*x\\*\\* \\[a\\]\\(http\\://b\\) \\<@\u{200b}1\\>"
        );
        assert_eq!(slack("<!channel> & *x*"), "&lt;!channel&gt; &amp; \u{200b}*\u{200b}x\u{200b}*\u{200b}");
        assert_eq!(html("<img src=x onerror='a()'>"), "&#60;img src=x onerror=&#39;a()&#39;&#62;");
        assert_eq!([cut("abc", 3), cut("abcd", 3), cut("ä  d", 3)], ["abc", "ab…", "ä…"]);
    }

    proptest! {
        #[test]
        fn nothing_harmful_is_left(text in "\\PC{0,40}|[@<>*&'\"`\r\n\\[\\]()everyonh]{0,40}") {
            prop_assert!(!line(&text).contains(['\r', '\n', '\0']));
            let discord = discord(&text);
            // A mention begins with an @ and goes on at once.
            prop_assert!(discord.split('@').skip(1).all(|after| after.starts_with('\u{200b}')), "{}", discord);
            let slack = slack(&text);
            prop_assert!(!slack.contains(['<', '>']));
            let html = html(&text);
            prop_assert!(!html.contains(['<', '>', '"', '\'']));
            prop_assert!(cut(&text, 10).chars().count() <= 10);
        }
    }
}
