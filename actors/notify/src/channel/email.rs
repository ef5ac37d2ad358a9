//! Mail about alerts.

use domain::notification::render::email;
use futures_util::future::BoxFuture;
use secrecy::SecretString;

use super::{Channel, Outgoing, Transports, attempt, needed};
use crate::attempt::Attempt;
use crate::parse::ChannelFields;
use crate::settings::MailServer;
use crate::smtp::Mail;

pub(super) struct Email;

impl Channel for Email {
    fn send<'a>(&'a self, transports: &'a Transports, fields: &'a ChannelFields, outgoing: Outgoing<'a>) -> BoxFuture<'a, Attempt> {
        attempt(async move {
            let server = server(transports, fields)?;
            let domain = server.from.rsplit_once('@').map_or("", |(_, domain)| domain);
            let words = email(&outgoing.rendering, domain);
            let to = needed(fields, "to")?.split(',').map(|text| text.trim().parse()).collect::<Result<_, _>>();
            let mail = Mail {
                to: to.map_err(|_| Attempt::refused("a recipient of the channel is not an address of mail"))?,
                subject: words.subject,
                text: words.text,
                html: words.html,
                table: words.table,
                message_id: words.message_id,
                references: words.references,
                date: outgoing.queued_at.into(),
            };
            Ok(transports.mailer.send(&server, &mail, outgoing.number).await)
        })
    }
}

/// The channel's own server, or that of the configuration.
fn server(transports: &Transports, fields: &ChannelFields) -> Result<MailServer, Attempt> {
    let Some(host) = fields.get("host") else {
        let none = || Attempt::refused("the channel has no mail server of its own, and the configuration has none in [smtp]");
        let server = transports.mail_server.clone().ok_or_else(none)?;
        let from = fields.get("from").map_or_else(|| server.from.clone(), str::to_owned);
        return Ok(MailServer { from, ..server });
    };
    let unreadable = |name| move || Attempt::refused(&format!("the channel's {name} is not one"));
    Ok(MailServer {
        host: host.to_owned(),
        port: needed(fields, "port")?.parse().ok().ok_or_else(unreadable("port"))?,
        tls: needed(fields, "tls")?.parse().ok().ok_or_else(unreadable("tls"))?,
        credentials: fields
            .get("username")
            .zip(fields.get("password"))
            .map(|(user, password)| (user.to_owned(), SecretString::from(password))),
        from: needed(fields, "from")?.to_owned(),
        trusted: false,
    })
}
