//! What services and the sender call: secrets sealed and opened, and messages sent once.

use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use domain::alert::Severity;
use domain::notification::render::Rendering;
use domain::notification::{AttemptOutcome, Message, NotificationKind};
use domain::push::TransientError;
use domain::{ChannelId, NotificationId};
use secrecy::SecretBox;
use store::ChannelRow;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::account_message::{self, AccountMessage};
use crate::attempt::Attempt;
use crate::channel::{self, Outgoing, Transports};
use crate::http::HttpClient;
use crate::metrics::Metrics;
use crate::parse::ChannelFields;
use crate::seal::{SealError, Sealer, SecretFields};
use crate::settings::NotifySettings;
use crate::setup_error::NotifySetupError;
use crate::smtp::{LAST_ATTEMPT, Mail, Mailer};

/// Most tests of channels at a time on a node.
const TESTS_MAX: usize = 4;

/// Sends messages over channels, and keeps their secrets. Clones are the same.
#[derive(Clone)]
pub struct Notifier(Arc<Inner>);

struct Inner {
    settings: NotifySettings,
    transports: Transports,
    sealer: Sealer,
    metrics: Metrics,
    wake: Notify,
    tests: Semaphore,
}

impl Notifier {
    /// A notifier whose secrets are sealed under a key derived from the master key.
    ///
    /// # Errors
    /// The HTTP client does not start, or the authorities to trust are not readable.
    pub fn new(
        settings: NotifySettings,
        master_key: &SecretBox<Vec<u8>>,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, NotifySetupError> {
        let transports = Transports {
            clock,
            http: HttpClient::new(&settings)?,
            mailer: Mailer::new(&settings)?,
            mail_server: settings.mail_server.clone(),
        };
        let sealer = Sealer::new(master_key).map_err(|_| NotifySetupError::Key)?;
        Ok(Self(Arc::new(Inner { settings, transports, sealer, metrics, wake: Notify::new(), tests: Semaphore::new(TESTS_MAX) })))
    }

    /// Wakes the sender: something was put into the outbox.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Whether the configuration names a mail server.
    pub fn has_mail_server(&self) -> bool {
        self.0.settings.mail_server.is_some()
    }

    /// Seals the secrets of a channel.
    ///
    /// # Errors
    /// The machine has no randomness.
    pub fn seal(&self, channel: ChannelId, secrets: &SecretFields) -> Result<Vec<u8>, SealError> {
        self.0.sealer.seal(channel, secrets)
    }

    /// Fields of a channel, its secrets opened.
    ///
    /// # Errors
    /// They were sealed under another master key.
    pub fn open(&self, row: &ChannelRow) -> Result<ChannelFields, SealError> {
        let secrets = row.sealed_secret.as_deref().map(|sealed| self.0.sealer.open(row.channel.id, sealed)).transpose()?;
        Ok(ChannelFields { settings: row.channel.settings.clone(), secrets: secrets.unwrap_or_default() })
    }

    /// Sends a test over a channel at once, past its queue, and waits for the answer: no longer than the time limit of an attempt (of mail: its
    /// own), or twice that where a test takes two requests.
    pub async fn test(&self, row: &ChannelRow) -> Attempt {
        let Ok(_permit) = self.0.tests.try_acquire() else {
            return Attempt::later(TransientError::Quota, None, &format!("{TESTS_MAX} tests are under way already: try again in a moment"));
        };
        let id = NotificationId(self.clock().new_id());
        let message = Message {
            kind: NotificationKind::Test,
            severity: Severity::Info,
            thread: format!("test-{id}"),
            begins_thread: true,
            ends_thread: true,
            threads: vec![],
            headline: "Test of this channel".into(),
            count: 0,
            alerts: vec![],
            event: None,
            report: None,
        };
        let rendering = Rendering { id, message: &message, public_url: &self.0.settings.public_url };
        self.send(row, Outgoing { rendering, queued_at: self.clock().now(), number: 1 }).await
    }

    /// Sends a link to an account by the mail server of the configuration. One that may be accepted later, as by a server that greylists, is sent again
    /// after each of `waits`.
    pub async fn send_link(&self, to: &str, username: &str, message: AccountMessage, token: &str, waits: &[Duration]) -> Attempt {
        let Some(server) = &self.0.settings.mail_server else { return Attempt::refused("no mail server is configured") };
        let Ok(to) = to.parse() else { return Attempt::refused("the account's address is not one") };
        let public_url = &self.0.settings.public_url;
        // A token of the server's own making needs no encoding.
        let text = message.text(username, public_url, &format!("{public_url}/password/new?token={token}"));
        let domain = server.from.rsplit_once('@').map_or("nexmdm", |(_, domain)| domain);
        let mail = Mail {
            to: vec![to],
            subject: message.subject().to_owned(),
            html: account_message::html(&text),
            table: None,
            text,
            message_id: format!("<{}@{domain}>", self.clock().new_id()),
            references: None,
            date: self.clock().now().into(),
        };
        let mut waits = waits.iter();
        loop {
            let attempt = self.0.transports.mailer.send(server, &mail, LAST_ATTEMPT).await;
            match (attempt.outcome, waits.next()) {
                (AttemptOutcome::Later { .. }, Some(wait)) => tokio::time::sleep(*wait).await,
                _ => return Attempt { answer: attempt.answer.replace(token, "(hidden)"), ..attempt },
            }
        }
    }

    /// Sends a message once.
    pub(crate) async fn send(&self, row: &ChannelRow, outgoing: Outgoing<'_>) -> Attempt {
        let began = Instant::now();
        let attempt = match self.open(row) {
            Ok(fields) => {
                let sent = channel::of(row.channel.kind).send(&self.0.transports, &fields, outgoing).await;
                Attempt { answer: fields.secrets.scrubbed(&sent.answer), ..sent }
            }
            Err(error) => Attempt::refused(&error.to_string()),
        };
        self.0.metrics.attempts.with_label_values(&[row.channel.kind.as_str(), attempt.outcome_name()]).inc();
        Attempt { took: began.elapsed(), ..attempt }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.transports.clock
    }

    pub(crate) fn settings(&self) -> &NotifySettings {
        &self.0.settings
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Waits until the sender is woken, at most so long.
    pub(crate) async fn woken(&self, most: Duration) {
        let _ = tokio::time::timeout(most, self.0.wake.notified()).await;
    }
}
