//! Channels: where messages are sent, without the secrets of it.

use std::collections::BTreeMap;

use crate::invalid::Invalid;
use crate::text::bounded;
use crate::{ChannelId, Timestamp, name};

use super::ChannelKind;

/// Most channels.
pub const CHANNELS_MAX: usize = 100;
/// Longest name of a channel.
pub const CHANNEL_NAME_MAX_CHARS: usize = 100;
/// Most settings of a channel that are no secret.
pub const CHANNEL_SETTINGS_MAX: usize = 20;
/// Longest value of one.
pub const CHANNEL_SETTING_MAX_CHARS: usize = 1_000;

/// Channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Id.
    pub id: ChannelId,
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: ChannelKind,
    /// What is no secret, by name: addresses of mail, the host of a webhook.
    pub settings: BTreeMap<String, String>,
    /// Whether it has a secret: a URL with its token, a password, a key of signatures.
    pub has_secret: bool,
    /// Whether it is on.
    pub enabled: bool,
    /// When it or its secret was changed last.
    pub changed_at: Timestamp,
}

impl Channel {
    /// Checks names and lengths. What the kind needs is checked where its sender is.
    ///
    /// # Errors
    /// Names the field and its limit.
    pub fn checked(self) -> Result<Self, Invalid> {
        let name = name::displayed("name", &self.name, CHANNEL_NAME_MAX_CHARS)?;
        if self.settings.len() > CHANNEL_SETTINGS_MAX {
            return Err(Invalid::new("settings", format!("{} are more than the {CHANNEL_SETTINGS_MAX} allowed", self.settings.len())));
        }
        for (field, value) in &self.settings {
            bounded("settings", field, CHANNEL_NAME_MAX_CHARS)?;
            bounded(field, value, CHANNEL_SETTING_MAX_CHARS)?;
            if value.contains(['\n', '\t']) {
                return Err(Invalid::new(field.clone(), "has a line break or a tab"));
            }
        }
        Ok(Self { name, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_header_or_a_page_is_refused() {
        let channel = |name: &str, value: &str| Channel {
            id: ChannelId(uuid::Uuid::nil()),
            name: name.into(),
            kind: ChannelKind::Email,
            settings: BTreeMap::from([("to".to_owned(), value.to_owned())]),
            has_secret: false,
            enabled: true,
            changed_at: chrono::DateTime::UNIX_EPOCH,
        };
        assert_eq!(channel(" Ops ", "a@example.org").checked().unwrap().name, "Ops");
        for (name, value, field) in
            [("", "a", "name"), ("Ops", "a\nBcc: b", "to"), ("Ops", "a\rb", "to"), ("Ops", &"x".repeat(1_001), "to")]
        {
            assert_eq!(channel(name, value).checked().unwrap_err().field, field, "{name:?} {value:?}");
        }
    }
}
