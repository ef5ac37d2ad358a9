//! Settings of notifications, and of the mail server.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

/// Settings of channels and of the sender.
#[derive(Debug, Clone)]
pub struct NotifySettings {
    /// URL of the dashboard, without a slash at its end: messages link to it.
    pub public_url: String,
    /// Whether targets may be in this network: their addresses are not judged then, and proxies of the environment are used.
    pub allow_private_targets: bool,
    /// Whether this node empties the outbox.
    pub sends: bool,
    /// How long an attempt may take, from looking its name up to the end of the answer.
    pub timeout: Duration,
    /// How long a conversation with a mail server may take once it is connected: content filters and greeting delays take longer than other services.
    pub mail_timeout: Duration,
    /// Most attempts of a channel at a time.
    pub per_channel: usize,
    /// How often the outbox is looked at, besides being woken.
    pub poll_interval: Duration,
    /// Most bytes of an answer that are read.
    pub answer_max_bytes: usize,
    /// Certificates of authorities that are trusted besides those of the system, PEM.
    pub authorities_pem: Option<Vec<u8>>,
    /// The mail server, if there is one.
    pub mail_server: Option<MailServer>,
}

impl Default for NotifySettings {
    fn default() -> Self {
        Self {
            public_url: "http://127.0.0.1".into(),
            allow_private_targets: false,
            sends: true,
            timeout: Duration::from_secs(10),
            mail_timeout: Duration::from_secs(60),
            per_channel: 2,
            poll_interval: Duration::from_secs(2),
            answer_max_bytes: 16_384,
            authorities_pem: None,
            mail_server: None,
        }
    }
}

/// Encryption of the connection to a mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum MailTls {
    /// Asked for with STARTTLS, and required.
    Starttls,
    /// From the first byte.
    Tls,
    /// None.
    None,
}

/// Mail server.
#[derive(Clone)]
pub struct MailServer {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Encryption.
    pub tls: MailTls,
    /// User and password, if it asks for them.
    pub credentials: Option<(String, SecretString)>,
    /// Sender's address.
    pub from: String,
    /// Whether it may be in this network: one that the configuration names may.
    pub trusted: bool,
}

impl fmt::Debug for MailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailServer").field("host", &self.host).field("port", &self.port).field("tls", &self.tls).finish_non_exhaustive()
    }
}
