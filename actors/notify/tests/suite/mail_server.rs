//! A mail server on this machine that records what it accepts, with STARTTLS and TLS, and fails as a test wants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// How long a server that filters takes.
pub(crate) const SLOWNESS: Duration = Duration::from_secs(2);

/// How a server fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It does not.
    Accepts,
    /// Refuses the recipient that begins with `gone` for good.
    RefusesGone,
    /// Refuses everything at first, for a while.
    Greylists,
    /// Refuses everything in its first conversation, for a while.
    GreylistsFirst,
    /// Closes the connection in the middle of the message.
    DropsInData,
    /// Refuses to be spoken to.
    RefusesAll,
    /// Accepts after [`SLOWNESS`], as one that looks into mail first.
    Filters,
    /// Says nothing.
    Hangs,
}

/// Encryption of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    None,
    Starttls,
    Tls,
}

/// Mail that was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) data: String,
    pub(crate) encrypted: bool,
    pub(crate) auth: Option<String>,
}

/// A mail server.
#[derive(Clone)]
pub(crate) struct MailServer {
    pub(crate) port: u16,
    /// The authority of its certificate.
    pub(crate) authority_pem: String,
    mode: Arc<Mutex<Mode>>,
    received: Arc<Mutex<Vec<Received>>>,
    /// Commands that it got.
    commands: Arc<Mutex<Vec<String>>>,
    encryption: Encryption,
    acceptor: TlsAcceptor,
}

impl MailServer {
    /// Starts a server whose certificate is for `name`.
    pub(crate) async fn start(encryption: Encryption, mode: Mode, name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (authority_pem, acceptor) = certificate(name);
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            authority_pem,
            mode: Arc::new(Mutex::new(mode)),
            received: Arc::default(),
            commands: Arc::default(),
            encryption,
            acceptor,
        };
        let own = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(stream));
            }
        });
        server
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn commands(&self) -> Vec<String> {
        self.commands.lock().unwrap().clone()
    }

    async fn serve(self, stream: TcpStream) {
        if self.encryption == Encryption::Tls {
            let Ok(stream) = self.acceptor.accept(stream).await else { return };
            self.converse(BufReader::new(stream), true, true).await;
        } else if let Some(plain) = self.converse(BufReader::new(stream), false, true).await {
            let Ok(stream) = self.acceptor.accept(plain.into_inner()).await else { return };
            self.converse(BufReader::new(stream), true, false).await;
        }
    }

    /// Converses until the end, or until STARTTLS, when the stream is given back.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: BufReader<S>,
        encrypted: bool,
        greet: bool,
    ) -> Option<BufReader<S>> {
        let mode = *self.mode.lock().unwrap();
        if mode == Mode::Hangs {
            std::future::pending::<()>().await;
        }
        if greet {
            let greeting = if mode == Mode::RefusesAll { "554 go away\r\n" } else { "220 mail.test ESMTP\r\n" };
            stream.write_all(greeting.as_bytes()).await.ok()?;
        }
        let mut mail = Received { encrypted, ..Received::default() };
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_owned();
            self.commands.lock().unwrap().push(line.clone());
            let upper = line.to_ascii_uppercase();
            let conversations = self.commands.lock().unwrap().iter().filter(|line| line.starts_with("MAIL FROM:")).count();
            let greylists = mode == Mode::Greylists || (mode == Mode::GreylistsFirst && conversations == 1);
            let answer = if upper.starts_with("EHLO") {
                let starttls = if self.encryption == Encryption::Starttls && !encrypted { "250-STARTTLS\r\n" } else { "" };
                format!("250-mail.test\r\n{starttls}250-8BITMIME\r\n250 AUTH PLAIN LOGIN\r\n")
            } else if upper == "STARTTLS" {
                stream.write_all(b"220 go on\r\n").await.ok()?;
                return Some(stream);
            } else if upper.starts_with("AUTH PLAIN") {
                mail.auth = line.split(' ').nth(2).map(str::to_owned);
                "235 welcome\r\n".into()
            } else if upper.starts_with("MAIL FROM:") {
                mail.from = line[10..].trim().to_owned();
                "250 ok\r\n".into()
            } else if upper.starts_with("RCPT TO:<GONE") && mode == Mode::RefusesGone {
                "550 5.1.1 no such user\r\n".into()
            } else if upper.starts_with("RCPT TO:") && greylists {
                "451 4.7.1 greylisted, try again\r\n".into()
            } else if upper.starts_with("RCPT TO:") {
                mail.to.push(line[8..].trim_matches(['<', '>']).to_owned());
                "250 ok\r\n".into()
            } else if upper == "DATA" {
                stream.write_all(b"354 go on\r\n").await.ok()?;
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.ok()? == 0 || mode == Mode::DropsInData {
                        return None;
                    }
                    if line == ".\r\n" {
                        break;
                    }
                    // RFC 5321, section 4.5.2.
                    mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                }
                if mode == Mode::Filters {
                    tokio::time::sleep(SLOWNESS).await;
                }
                let auth = mail.auth.clone();
                self.received.lock().unwrap().push(std::mem::replace(&mut mail, Received { encrypted, auth, ..Received::default() }));
                "250 2.0.0 queued as 1\r\n".into()
            } else if upper == "QUIT" {
                stream.write_all(b"221 bye\r\n").await.ok()?;
                return None;
            } else {
                "250 ok\r\n".into()
            };
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
    }
}

/// A certificate for a name, by an authority of its own.
fn certificate(name: &str) -> (String, TlsAcceptor) {
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (authority_certificate.pem(), TlsAcceptor::from(Arc::new(config)))
}
