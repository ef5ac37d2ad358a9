//! Fields of a channel by its kind, declared once: what the API takes, `ctl` asks for, pages show and the documentation lists.

use domain::notification::ChannelKind;

/// Form of a field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// URL.
    Url,
    /// Text on one line.
    Text,
    /// Name or address of a host.
    Host,
    /// TCP port.
    Port,
    /// Address of mail.
    Address,
    /// Addresses of mail, separated by commas.
    Addresses,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Secret text.
    Password,
}

/// Field of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name, as in the API.
    pub name: &'static str,
    /// Label on pages.
    pub label: &'static str,
    /// What to enter.
    pub help: &'static str,
    /// Whether it is kept sealed and never shown.
    pub secret: bool,
    /// Whether it has to be given.
    pub required: bool,
    /// Form of its value.
    pub input: Input,
}

impl Field {
    const fn new(name: &'static str, label: &'static str, input: Input, help: &'static str) -> Self {
        Self { name, label, help, secret: false, required: false, input }
    }

    const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }
}

/// Ways to encrypt a connection to a mail server.
pub(crate) const TLS_CHOICES: &[&str] = &["starttls", "tls", "none"];

/// A URL with its token, which is a secret as a whole.
const fn secret_url(help: &'static str) -> Field {
    Field::new("url", "URL", Input::Url, help).secret().required()
}

static DISCORD: &[Field] = &[secret_url("The webhook's URL: server settings, Integrations, Webhooks, Copy Webhook URL")];
static SLACK: &[Field] = &[secret_url("The incoming webhook's URL; those of Mattermost and Rocket.Chat work, too")];
static WEBHOOK: &[Field] = &[
    secret_url("Receives each message as JSON with the attributes of CloudEvents 1.0"),
    Field::new("secret", "Signing key", Input::Password, "At least 16 characters: requests are signed with HMAC-SHA256").secret(),
];
static PAGERDUTY: &[Field] = &[
    Field::new("routing_key", "Integration key", Input::Password, "The 32 characters of an Events API v2 integration").secret().required(),
    Field::new("url", "URL", Input::Url, "Empty: https://events.pagerduty.com/v2/enqueue"),
];
static NTFY: &[Field] = &[
    secret_url("The topic's URL, for example https://ntfy.sh/our-topic"),
    Field::new("token", "Access token", Input::Password, "For topics that need one").secret(),
];
static EMAIL: &[Field] = &[
    Field::new("to", "To", Input::Addresses, "Recipients, separated by commas").required(),
    Field::new("host", "Mail server", Input::Host, "Empty: the server of the configuration's section [smtp]"),
    Field::new("port", "Port", Input::Port, "Empty: 587 with STARTTLS, 465 with TLS, 25 with none"),
    Field::new("tls", "Encryption", Input::Choice(TLS_CHOICES), "starttls, tls or none"),
    Field::new("username", "User", Input::Text, "Empty: no sign-in"),
    Field::new("password", "Password", Input::Password, "Of the user").secret(),
    Field::new("from", "From", Input::Address, "Sender's address; with a server of its own it is required"),
];

/// Fields of a kind of channel, in the order in which they are shown.
pub fn fields(kind: ChannelKind) -> &'static [Field] {
    match kind {
        ChannelKind::Discord => DISCORD,
        ChannelKind::Slack => SLACK,
        ChannelKind::Webhook => WEBHOOK,
        ChannelKind::Pagerduty => PAGERDUTY,
        ChannelKind::Ntfy => NTFY,
        ChannelKind::Email => EMAIL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::VariantArray;

    #[test]
    fn each_kind_has_fields_and_whatever_holds_a_token_is_secret() {
        for kind in ChannelKind::VARIANTS {
            let fields = fields(*kind);
            assert!(fields.iter().any(|field| field.required), "{kind:?}");
            for field in fields {
                assert!(field.input != Input::Password || field.secret, "{kind:?} {}", field.name);
                assert_eq!(fields.iter().filter(|other| other.name == field.name).count(), 1, "{kind:?} {}", field.name);
            }
        }
    }
}
