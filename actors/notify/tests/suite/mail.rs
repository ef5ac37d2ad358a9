//! Mail to a real server, and servers that fail.

use std::time::Duration;

use domain::notification::{AttemptOutcome, ChannelKind};
use notify::{Attempt, MailTls, NotifySettings};
use secrecy::SecretString;

use crate::mail_server::{Encryption, MailServer, Mode, SLOWNESS};
use crate::setup::{channel, notifier, settings};

async fn test_of(server: &MailServer, more: &[(&str, &str)], settings: NotifySettings) -> Attempt {
    let settings = NotifySettings { authorities_pem: Some(server.authority_pem.clone().into_bytes()), ..settings };
    let notifier = notifier(settings);
    let port = server.port.to_string();
    let base = [("to", "ops@example.org, gone@example.org"), ("host", "localhost"), ("port", port.as_str()), ("from", "mdm@example.org")];
    let fields: Vec<_> =
        base.into_iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)).chain(more.iter().copied()).collect();
    notifier.test(&channel(&notifier, 1, ChannelKind::Email, &fields)).await
}

fn later() -> AttemptOutcome {
    AttemptOutcome::Later { retry_after: None }
}

#[tokio::test]
async fn mail_goes_encrypted_and_signed_in() {
    for (encryption, tls) in [(Encryption::Starttls, "starttls"), (Encryption::Tls, "tls")] {
        let server = MailServer::start(encryption, Mode::Accepts, "localhost").await;
        let attempt = test_of(&server, &[("tls", tls), ("username", "mdm"), ("password", "pass word")], settings()).await;
        assert_eq!((attempt.is_delivered(), attempt.answer.as_str()), (true, "250 2.0.0 queued as 1"), "{tls}");
        let mail = server.received().remove(0);
        assert!(mail.encrypted, "{tls}");
        assert_eq!(
            (mail.from.as_str(), &*mail.to),
            ("<mdm@example.org>", &["ops@example.org".to_owned(), "gone@example.org".to_owned()][..])
        );
        // "\0mdm\0pass word".
        assert_eq!(mail.auth.as_deref(), Some("AG1kbQBwYXNzIHdvcmQ="));
        for part in
            ["Subject: [Info] Test of this channel\r\n", "Message-ID: <", "Auto-Submitted: auto-generated", "text/plain", "text/html"]
        {
            assert!(mail.data.contains(part), "{part}: {}", mail.data);
        }
    }
}

#[tokio::test]
async fn a_server_without_starttls_or_with_another_name_gets_no_password() {
    let plain = MailServer::start(Encryption::None, Mode::Accepts, "localhost").await;
    let user = [("username", "mdm"), ("password", "secret-word")];
    let attempt = test_of(&plain, &user, settings()).await;
    assert!(attempt.outcome == later() && attempt.answer.contains("STARTTLS"), "{}", attempt.answer);
    let foreign = MailServer::start(Encryption::Starttls, Mode::Accepts, "mail.example.net").await;
    let attempt = test_of(&foreign, &user, settings()).await;
    assert_eq!(attempt.outcome, later(), "{}", attempt.answer);
    assert!(attempt.answer.contains("certificate"), "{}", attempt.answer);
    for server in [plain, foreign] {
        assert!(server.received().is_empty() && !server.commands().iter().any(|line| line.starts_with("AUTH")));
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_none() {
    let server = MailServer::start(Encryption::Tls, Mode::Accepts, "localhost").await;
    let notifier = notifier(settings());
    let port = server.port.to_string();
    let fields = [("to", "ops@example.org"), ("host", "localhost"), ("port", &*port), ("from", "mdm@example.org"), ("tls", "tls")];
    let attempt = notifier.test(&channel(&notifier, 1, ChannelKind::Email, &fields)).await;
    assert_eq!(attempt.outcome, later(), "{}", attempt.answer);
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_recipient_that_is_refused_keeps_no_other_from_the_mail() {
    let server = MailServer::start(Encryption::None, Mode::RefusesGone, "localhost").await;
    let attempt = test_of(&server, &[("tls", "none")], settings()).await;
    assert!(attempt.is_delivered() && attempt.answer.contains("; not to gone@example.org: "), "{}", attempt.answer);
    assert_eq!(server.received()[0].to, ["ops@example.org"]);
    let attempt = test_of(&server, &[("tls", "none"), ("to", "gone@example.org")], settings()).await;
    assert!(attempt.outcome == AttemptOutcome::Refused && attempt.answer.contains("no such user"), "{}", attempt.answer);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn greylisting_a_lost_connection_and_silence_are_tried_again() {
    let server = MailServer::start(Encryption::None, Mode::Greylists, "localhost").await;
    let short = NotifySettings { mail_timeout: Duration::from_millis(500), ..settings() };
    for (mode, outcome, words) in [
        (Mode::Greylists, later(), "greylisted"),
        (Mode::DropsInData, later(), ""),
        (Mode::RefusesAll, AttemptOutcome::Refused, "go away"),
        (Mode::Hangs, later(), "did not answer in time"),
    ] {
        server.set(mode);
        let limits = if mode == Mode::Hangs { short.clone() } else { settings() };
        let attempt = test_of(&server, &[("tls", "none")], limits).await;
        assert_eq!(attempt.outcome, outcome, "{mode:?}: {}", attempt.answer);
        assert!(attempt.answer.contains(words), "{mode:?}: {}", attempt.answer);
        assert!(server.received().is_empty(), "{mode:?}");
    }
    server.set(Mode::Accepts);
    assert!(test_of(&server, &[("tls", "none")], settings()).await.is_delivered());
}

#[tokio::test]
async fn a_server_that_is_slow_to_accept_is_waited_for() {
    let server = MailServer::start(Encryption::None, Mode::Filters, "localhost").await;
    let attempt = test_of(&server, &[("tls", "none")], NotifySettings { timeout: SLOWNESS / 2, ..settings() }).await;
    assert!(attempt.is_delivered(), "it would be sent again and again: {}", attempt.answer);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_channel_without_a_server_uses_that_of_the_configuration() {
    let server = MailServer::start(Encryption::Starttls, Mode::Accepts, "localhost").await;
    let notifier = notifier(NotifySettings {
        // The configuration may name a server in its own network.
        allow_private_targets: false,
        authorities_pem: Some(server.authority_pem.clone().into_bytes()),
        mail_server: Some(notify::MailServer {
            host: "localhost".into(),
            port: server.port,
            tls: MailTls::Starttls,
            credentials: Some(("mdm".into(), SecretString::from("p"))),
            from: "mdm@example.org".into(),
            trusted: true,
        }),
        ..settings()
    });
    let attempt = notifier.test(&channel(&notifier, 1, ChannelKind::Email, &[("to", "ops@example.org")])).await;
    assert!(attempt.is_delivered(), "{}", attempt.answer);
    assert_eq!(server.received()[0].from, "<mdm@example.org>");
}

/// A mail server of the configuration.
fn configured(server: &MailServer) -> notify::MailServer {
    notify::MailServer {
        host: "127.0.0.1".into(),
        port: server.port,
        tls: MailTls::None,
        credentials: None,
        from: "mdm@example.org".into(),
        trusted: true,
    }
}

#[tokio::test]
async fn a_link_is_sent_again_to_a_server_that_greylists() {
    let server = MailServer::start(Encryption::None, Mode::GreylistsFirst, "localhost").await;
    let notifier = notifier(NotifySettings { mail_server: Some(configured(&server)), ..settings() });
    let send = async |waits: &[Duration]| {
        notifier.send_link("ann@example.org", "ann", notify::AccountMessage::PasswordReset, "tok_abc", waits).await.outcome
    };
    assert_eq!(send(&[Duration::from_millis(1)]).await, AttemptOutcome::Delivered);
    assert_eq!(server.received().len(), 1);
    server.set(Mode::Greylists);
    assert_eq!(send(&[Duration::from_millis(1)]).await, later(), "given up after the last wait");
    server.set(Mode::RefusesAll);
    assert_eq!(send(&[Duration::from_secs(86_400)]).await, AttemptOutcome::Refused, "not sent again");
}

#[tokio::test]
async fn a_link_to_set_a_password_is_in_the_mail_and_nowhere_else() {
    let server = MailServer::start(Encryption::None, Mode::Accepts, "localhost").await;
    let with_server = notifier(NotifySettings { mail_server: Some(configured(&server)), ..settings() });
    let attempt = with_server.send_link("ann@example.org", "ann", notify::AccountMessage::Invitation, "tok_abc", &[]).await;
    assert!(attempt.is_delivered() && !attempt.answer.contains("tok_abc"), "{}", attempt.answer);
    let mail = server.received().remove(0);
    assert_eq!(mail.to, ["ann@example.org"]);
    // Quoted-printable: the equals sign is encoded, and lines are folded.
    assert!(mail.data.replace("=\r\n", "").contains("https://mdm.example.org/password/new?token=3Dtok_abc"), "{}", mail.data);
    let without = notifier(settings()).send_link("ann@example.org", "ann", notify::AccountMessage::Invitation, "tok_abc", &[]).await;
    assert_eq!(without.outcome, AttemptOutcome::Refused);
}
