//! Words of mail to accounts.

/// Kind of a mail to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountMessage {
    /// Somebody asked to set a new password.
    PasswordReset,
    /// The account is new.
    Invitation,
}

impl AccountMessage {
    /// Subject.
    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::PasswordReset => "Set a new password for NexMDM",
            Self::Invitation => "Your account for NexMDM",
        }
    }

    /// Text with the link.
    pub(crate) fn text(self, username: &str, public_url: &str, link: &str) -> String {
        let username: String = username.chars().filter(|c| !c.is_control()).collect();
        match self {
            Self::PasswordReset => format!(
                "Somebody asked to set a new password for the account {username} of {public_url}.\r\n\r\n\
                 To set one, open this address within 30 minutes:\r\n{link}\r\n\r\n\
                 If it was not you, there is nothing to do: the password stays as it is.\r\n"
            ),
            Self::Invitation => format!(
                "There is an account {username} for you at {public_url}.\r\n\r\n\
                 To set its password, open this address within three days:\r\n{link}\r\n"
            ),
        }
    }
}

/// The same text as HTML.
pub(crate) fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    let lines = escaped.split("\r\n").map(|line| match line.starts_with("https://") || line.starts_with("http://") {
        true => format!("<a href=\"{line}\">{line}</a>"),
        false => line.to_owned(),
    });
    format!("<!doctype html><html><body><p>{}</p></body></html>", lines.collect::<Vec<_>>().join("<br>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_adds_no_markup_and_the_link_is_one() {
        let text = AccountMessage::PasswordReset.text("<b>\r\nx", "https://mdm.example", "https://mdm.example/password/new?token=abc");
        assert!(text.contains("account <b>x of https://mdm.example."));
        let html = html(&text);
        assert!(html.contains("&lt;b&gt;x") && !html.contains("<b>"));
        assert!(html.contains("<a href=\"https://mdm.example/password/new?token=abc\">"));
    }
}
