//! Mail over SMTP: one connection per message, encrypted as the server's settings say.
//!
//! A recipient that is refused for good does not keep the message from the others. One that may be accepted later keeps it back at first, so that no
//! recipient gets it twice.

use std::time::Duration;

use domain::notification::{AttemptOutcome, judge_smtp};
use domain::push::TransientError;
use lettre::message::{Attachment, Mailbox, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, response::Response};
use lettre::{Address, Message};
use secrecy::ExposeSecret;

use crate::attempt::Attempt;
use crate::settings::{MailServer, MailTls, NotifySettings};
use crate::setup_error::NotifySetupError;
use crate::target::{TargetError, Targets};

/// Attempts that wait for recipients that may be accepted later; further ones are for the others alone.
const WAITING_ATTEMPTS: u32 = 4;
/// Number for an attempt that does not wait for recipients that may be accepted later.
pub(crate) const LAST_ATTEMPT: u32 = u32::MAX;
/// Time to say goodbye, once the message is accepted.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Mail to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    /// Recipients.
    pub(crate) to: Vec<Address>,
    /// Subject.
    pub(crate) subject: String,
    /// Text.
    pub(crate) text: String,
    /// The same as HTML.
    pub(crate) html: String,
    /// Table that is attached: its name as a file, and its text (RFC 4180).
    pub(crate) table: Option<(String, String)>,
    /// `Message-ID`, with its angle brackets.
    pub(crate) message_id: String,
    /// The message that it follows in its thread.
    pub(crate) references: Option<String>,
    /// `Date`.
    pub(crate) date: std::time::SystemTime,
}

/// Sends mail.
pub(crate) struct Mailer {
    targets: Targets,
    /// Limit of the connection.
    connect_timeout: Duration,
    /// Limit of the whole conversation.
    timeout: Duration,
    client_id: ClientId,
    authorities: Vec<Certificate>,
}

/// Step at which a conversation ended early.
enum Failed {
    Smtp(Error),
    Target(TargetError),
    Message(String),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Smtp(error)
    }
}

impl Mailer {
    /// A mailer that greets by the dashboard's name.
    ///
    /// # Errors
    /// The certificates of authorities are none.
    pub(crate) fn new(settings: &NotifySettings) -> Result<Self, NotifySetupError> {
        let authority_error = |_| NotifySetupError::Authorities;
        let pem = settings.authorities_pem.as_deref();
        let authorities = pem.map(Certificate::from_pem).transpose().map_err(authority_error)?;
        let host = reqwest::Url::parse(&settings.public_url).ok().and_then(|url| url.host_str().map(str::to_owned));
        let is_name = |host: &String| host.parse::<std::net::IpAddr>().is_err() && !host.starts_with('[');
        Ok(Self {
            targets: Targets { allow_private: settings.allow_private_targets },
            connect_timeout: settings.timeout.min(settings.mail_timeout),
            timeout: settings.mail_timeout,
            client_id: host.filter(is_name).map_or_else(ClientId::default, ClientId::Domain),
            authorities: authorities.into_iter().collect(),
        })
    }

    /// Sends a mail over a server; `number` is that of the attempt.
    pub(crate) async fn send(&self, server: &MailServer, mail: &Mail, number: u32) -> Attempt {
        match tokio::time::timeout(self.timeout, self.converse(server, mail, number)).await {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(failed)) => judged(failed),
            Err(_) => Attempt::later(TransientError::Timeout, None, "the mail server did not answer in time"),
        }
    }

    async fn converse(&self, server: &MailServer, mail: &Mail, number: u32) -> Result<Attempt, Failed> {
        let from: Address = server.from.parse().map_err(|_| Failed::Message(format!("{:?} is not an address of mail", server.from)))?;
        let bytes = formatted(&from, mail).map_err(Failed::Message)?;
        let mut connection = self.signed_in(server).await?;
        connection.command(MailFrom::new(Some(from), vec![])).await?;
        let (mut accepted, mut later, mut refused) = (0, None, Vec::new());
        for recipient in &mail.to {
            match connection.command(Rcpt::new(recipient.clone(), vec![])).await {
                Ok(_) => accepted += 1,
                Err(error) if error.is_permanent() => refused.push((recipient, error)),
                Err(error) if error.is_transient() => later = Some((recipient, error)),
                Err(error) => return Err(error.into()),
            }
        }
        let first_error = later.as_ref().or(refused.first()).map(|(_, error)| judged_reply(error));
        if let Some(attempt) = first_error.filter(|_| accepted == 0) {
            connection.abort().await;
            return Ok(attempt);
        }
        match later {
            Some((recipient, error)) if number < WAITING_ATTEMPTS => {
                connection.abort().await;
                let answer = format!("{recipient} is not accepted yet: {error}");
                return Ok(Attempt { answer: crate::attempt::line(&answer), ..judged_reply(&error) });
            }
            Some(later) => refused.push(later),
            None => {}
        }
        connection.command(Data).await?;
        let reply = connection.message(&bytes).await?;
        // It is accepted; whatever comes of the goodbye.
        let _ = tokio::time::timeout(QUIT_TIMEOUT, connection.quit()).await;
        let mut answer = words(&reply);
        for (recipient, error) in &refused {
            answer.push_str(&format!("; not to {recipient}: {error}"));
        }
        Ok(Attempt::new(AttemptOutcome::Delivered, &answer))
    }

    /// Greets a server, encrypts, signs in and says goodbye: everything but a message.
    pub(crate) async fn greet(&self, server: &MailServer) -> Result<(), String> {
        let greeting = async {
            let mut connection = self.signed_in(server).await?;
            let _ = tokio::time::timeout(QUIT_TIMEOUT, connection.quit()).await;
            Ok::<_, Failed>(())
        };
        match tokio::time::timeout(self.timeout, greeting).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failed)) => Err(judged(failed).answer),
            Err(_) => Err("the mail server did not answer in time".to_owned()),
        }
    }

    /// A connection on which messages are taken.
    async fn signed_in(&self, server: &MailServer) -> Result<AsyncSmtpConnection, Failed> {
        let mut connection = self.connect(server).await?;
        if let Some((user, password)) = &server.credentials {
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await?;
        }
        Ok(connection)
    }

    async fn connect(&self, server: &MailServer) -> Result<AsyncSmtpConnection, Failed> {
        let targets = if server.trusted { Targets { allow_private: true } } else { self.targets };
        let addresses = targets.look_up(&server.host, server.port).await.map_err(Failed::Target)?;
        let tls = match server.tls {
            MailTls::None => None,
            MailTls::Starttls | MailTls::Tls => {
                let builder = TlsParameters::builder(server.host.clone());
                Some(
                    self.authorities
                        .iter()
                        .fold(builder, |builder, authority| builder.add_root_certificate(authority.clone()))
                        .build_rustls()?,
                )
            }
        };
        let wrapped = tls.clone().filter(|_| server.tls == MailTls::Tls);
        let connected =
            AsyncSmtpConnection::connect_tokio1(addresses.as_slice(), Some(self.connect_timeout), &self.client_id, wrapped, None);
        let mut connection = connected.await?;
        if let Some(tls) = tls.filter(|_| server.tls == MailTls::Starttls) {
            connection.starttls(tls, &self.client_id).await?;
        }
        Ok(connection)
    }
}

/// Greets the mail server of the settings, encrypts and signs in, and sends nothing; `None`: there is none.
///
/// # Errors
/// The server's or the network's words.
pub async fn greet_mail_server(settings: &NotifySettings) -> Option<Result<(), String>> {
    let server = settings.mail_server.as_ref()?;
    Some(match Mailer::new(settings) {
        Ok(mailer) => mailer.greet(server).await,
        Err(error) => Err(error.to_string()),
    })
}

/// The bytes of a mail.
fn formatted(from: &Address, mail: &Mail) -> Result<Vec<u8>, String> {
    let sender = Mailbox::new(Some("NexMDM".to_owned()), from.clone());
    let mut builder = Message::builder()
        .from(sender)
        .subject(&mail.subject)
        .message_id(Some(mail.message_id.clone()))
        .date(mail.date)
        .user_agent("NexMDM".into());
    for recipient in &mail.to {
        builder = builder.to(Mailbox::new(None, recipient.clone()));
    }
    if let Some(first) = &mail.references {
        builder = builder.in_reply_to(first.clone()).references(first.clone());
    }
    // RFC 3834: no vacation notes in answer to it.
    let automatic = lettre::message::header::HeaderValue::new(
        lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted"),
        "auto-generated".into(),
    );
    let mut content = MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone());
    if let Some((name, table)) = &mail.table {
        let kind = "text/csv; charset=utf-8; header=present".parse().map_err(|_| "the type of a table is none".to_owned())?;
        content = MultiPart::mixed().multipart(content).singlepart(Attachment::new(name.clone()).body(table.clone(), kind));
    }
    let message = builder.raw_header(automatic).multipart(content);
    message.map(|message| message.formatted()).map_err(|error| error.to_string())
}

fn words(reply: &Response) -> String {
    format!("{} {}", reply.code(), reply.message().collect::<Vec<_>>().join(" "))
}

fn judged(failed: Failed) -> Attempt {
    match failed {
        Failed::Target(error @ TargetError::Inward(_)) => Attempt::refused(&error.to_string()),
        Failed::Target(error) => Attempt::later(TransientError::Network, None, &error.to_string()),
        Failed::Message(problem) => Attempt::refused(&problem),
        Failed::Smtp(error) => judged_reply(&error),
    }
}

/// Meaning of an error: by the reply's code, else it may pass, as a lost connection or a certificate that is renewed.
fn judged_reply(error: &Error) -> Attempt {
    let Some(code) = error.status() else {
        let kind = if error.is_timeout() { TransientError::Timeout } else { TransientError::Network };
        return Attempt::later(kind, None, &chain(error));
    };
    match judge_smtp(code.into()) {
        AttemptOutcome::Later { retry_after } => Attempt::later(TransientError::Unavailable, retry_after, &error.to_string()),
        outcome => Attempt::new(outcome, &error.to_string()),
    }
}

/// An error with its causes.
fn chain(error: &Error) -> String {
    let (mut text, mut cause) = (error.to_string(), std::error::Error::source(error));
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}
