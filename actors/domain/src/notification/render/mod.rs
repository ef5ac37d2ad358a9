//! The words of a notification for each kind of channel: neutralised, and within the limits of the service. The bytes (JSON, MIME) are made
//! where it is sent.

mod discord;
mod email;
mod neutral;
mod ntfy;
mod pagerduty;
mod slack;
mod webhook;

pub use discord::{DiscordEmbed, DiscordField, DiscordMessage, discord};
pub use email::{EmailMessage, email};
pub use ntfy::{NtfyMessage, ntfy};
pub use pagerduty::{PagerdutyAction, PagerdutyEvent, pagerduty};
pub use slack::{SlackMessage, slack};
pub use webhook::{SPEC_VERSION, WebhookEvent, signature_input, webhook};

use crate::NotificationId;
use crate::alert::Subject;
use crate::notification::{Message, NotifiedAlert};

/// What every rendering needs besides the notification.
#[derive(Debug, Clone, Copy)]
pub struct Rendering<'a> {
    /// Id of the notification: stays the same with each attempt, so that sinks know repeats.
    pub id: NotificationId,
    /// Message.
    pub message: &'a Message,
    /// URL of the dashboard, without a slash at its end.
    pub public_url: &'a str,
}

impl Rendering<'_> {
    /// Page of an alert's subject.
    fn link(&self, alert: &NotifiedAlert) -> String {
        match &alert.subject {
            Subject::Device(id) => format!("{}/devices/{id}", self.public_url),
            Subject::Deployment(id) => format!("{}/deployments/{id}", self.public_url),
            Subject::Node(_) => format!("{}/cluster", self.public_url),
            Subject::System(_) => self.overview(),
        }
    }

    /// Page of alerts.
    fn overview(&self) -> String {
        format!("{}/alerts", self.public_url)
    }

    /// Page of the only alert's subject, or of all alerts.
    fn page(&self) -> String {
        match self.message.alerts.as_slice() {
            _ if self.message.report.is_some() => self.report_page(),
            _ if self.message.event.is_some() => match self.message.event.as_ref().and_then(crate::notification::AuditedEvent::device) {
                Some(id) => format!("{}/devices/{id}", self.public_url),
                None => format!("{}/audit", self.public_url),
            },
            [only] => self.link(only),
            _ => self.overview(),
        }
    }

    /// Page of the report.
    fn report_page(&self) -> String {
        format!("{}{}", self.public_url, self.message.report.as_ref().map_or("/reports", |report| &report.path))
    }

    /// Name of an alert's subject, as it is listed.
    fn name<'b>(&self, alert: &'b NotifiedAlert) -> &'b str {
        if alert.name.is_empty() { "cluster" } else { &alert.name }
    }
}
