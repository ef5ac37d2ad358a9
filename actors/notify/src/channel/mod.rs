//! What each kind of channel sends: the words of `domain::notification::render` as bytes, and the meaning of the service's answer.

mod discord;
mod email;
mod ntfy;
mod pagerduty;
mod slack;
mod webhook;

use clock::Clock;
use domain::Timestamp;
use domain::notification::ChannelKind;
use domain::notification::render::Rendering;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::attempt::Attempt;
use crate::http::HttpClient;
use crate::parse::ChannelFields;
use crate::settings::MailServer;
use crate::smtp::Mailer;

/// Content type of JSON.
const JSON: &str = "application/json";

/// Transports, which all channels share.
pub(crate) struct Transports {
    pub(crate) clock: Clock,
    pub(crate) http: HttpClient,
    pub(crate) mailer: Mailer,
    pub(crate) mail_server: Option<MailServer>,
}

/// Message of one attempt.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// The message.
    pub(crate) rendering: Rendering<'a>,
    /// When it was queued.
    pub(crate) queued_at: Timestamp,
    /// Number of the attempt.
    pub(crate) number: u32,
}

/// A way to people.
pub(crate) trait Channel: Send + Sync {
    /// Sends a message once.
    fn send<'a>(&'a self, transports: &'a Transports, fields: &'a ChannelFields, outgoing: Outgoing<'a>) -> BoxFuture<'a, Attempt>;
}

/// The channel of a kind.
pub(crate) fn of(kind: ChannelKind) -> &'static dyn Channel {
    match kind {
        ChannelKind::Discord => &discord::Discord,
        ChannelKind::Email => &email::Email,
        ChannelKind::Ntfy => &ntfy::Ntfy,
        ChannelKind::Pagerduty => &pagerduty::Pagerduty,
        ChannelKind::Slack => &slack::Slack,
        ChannelKind::Webhook => &webhook::Webhook,
    }
}

/// A field that the kind needs, or the refusal that says so.
fn needed<'a>(fields: &'a ChannelFields, name: &str) -> Result<&'a str, Attempt> {
    fields.get(name).ok_or_else(|| Attempt::refused(&format!("the channel has no {name}: enter it")))
}

/// A boxed future of an attempt that may fail early.
fn attempt<'a>(work: impl Future<Output = Result<Attempt, Attempt>> + Send + 'a) -> BoxFuture<'a, Attempt> {
    work.map(|ended| ended.unwrap_or_else(|failed| failed)).boxed()
}
