//! `[smtp]`: the mail server.

use domain::Invalid;
use notify::{MailServer, MailTls};
use secrecy::SecretString;

use super::Smtp;

impl Smtp {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        if self.host.is_empty() {
            return Ok(());
        }
        let missing = |field: &str| Err(Invalid::new(field, "missing: smtp.host is set"));
        let tls = self.encryption()?;
        if self.port == 0 {
            return Err(Invalid::new("smtp.port", "0 is outside 1..65535"));
        }
        // As where mail is sent: a sender that is refused there makes every mail a dead letter.
        notify::check_address("smtp.from", &self.from)?;
        let (inline, file) = (self.password.get().is_some(), !self.password_file.as_os_str().is_empty());
        match (self.username.is_empty(), inline || file) {
            (_, _) if inline && file => Err(Invalid::new("smtp.password_file", "smtp.password is set as well: give one")),
            (true, true) => missing("smtp.username"),
            (false, false) => missing("smtp.password"),
            (false, true) if tls == MailTls::None => Err(Invalid::new("smtp.tls", "a password is sent over starttls or tls only")),
            _ => Ok(()),
        }
    }

    fn encryption(&self) -> Result<MailTls, Invalid> {
        self.tls.parse().map_err(|_| Invalid::new("smtp.tls", "not one of starttls, tls, none"))
    }

    /// The mail server with this password, if one is configured.
    pub(crate) fn server(&self, password: Option<String>) -> Option<MailServer> {
        (!self.host.is_empty()).then(|| MailServer {
            host: self.host.clone(),
            port: self.port,
            // Checked when it was read.
            tls: self.encryption().unwrap_or(MailTls::Starttls),
            credentials: password.map(|password| (self.username.clone(), SecretString::from(password))),
            from: self.from.clone(),
            trusted: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;

    #[test]
    fn a_mail_server_is_whole_or_none() {
        assert!(parse(&[]).unwrap().smtp.server(None).is_none());
        let base = [("NEXMDM__SMTP__HOST", "mail.example.org"), ("NEXMDM__SMTP__FROM", "mdm@example.org")];
        let server = parse(&base).unwrap().smtp.server(None).unwrap();
        assert_eq!((server.host.as_str(), server.port, server.credentials.is_none()), ("mail.example.org", 587, true));
        for (more, wanted) in [
            (vec![("NEXMDM__SMTP__FROM", "nobody")], "smtp.from"),
            (vec![("NEXMDM__SMTP__FROM", "")], "smtp.from"),
            (vec![("NEXMDM__SMTP__FROM", "Ops <mdm@example.org>")], "smtp.from"),
            (vec![("NEXMDM__SMTP__FROM", "mdm @example.org")], "smtp.from"),
            (vec![("NEXMDM__SMTP__TLS", "ssl")], "smtp.tls"),
            (vec![("NEXMDM__SMTP__USERNAME", "u")], "smtp.password"),
            (vec![("NEXMDM__SMTP__PASSWORD", "secret-word")], "smtp.username"),
            (vec![("NEXMDM__SMTP__USERNAME", "u"), ("NEXMDM__SMTP__PASSWORD", "secret-word"), ("NEXMDM__SMTP__TLS", "none")], "smtp.tls"),
            (vec![("NEXMDM__SMTP__PASSWORD", "secret-word"), ("NEXMDM__SMTP__PASSWORD_FILE", "/x")], "smtp.password_file"),
        ] {
            let all: Vec<_> =
                base.iter().copied().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)).chain(more.clone()).collect();
            let error = parse(&all).unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.contains("secret-word"), "{more:?}: {error}");
        }
    }
}
