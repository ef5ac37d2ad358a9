//! Values of a channel's fields, checked: what is shown of them, and what is sealed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use domain::Invalid;
use domain::notification::{CHANNEL_SETTING_MAX_CHARS, ChannelKind};
use lettre::Address;
use reqwest::Url;

use crate::field::{Field, Input, fields};
use crate::seal::SecretFields;

/// Most recipients of a channel.
const RECIPIENTS_MAX: usize = 50;
/// Shortest key of signatures.
const SIGNING_KEY_MIN_CHARS: usize = 16;
/// Length of an integration key of PagerDuty.
const ROUTING_KEY_CHARS: usize = 32;

/// Secrets that are sent to the target; a URL is the target, and a key of signatures stays here.
const SENT_SECRETS: &[&str] = &["password", "token", "routing_key"];

/// Values of a channel's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelFields {
    /// What is shown, by name; of a secret URL its `host`.
    pub settings: BTreeMap<String, String>,
    /// What is not.
    pub secrets: SecretFields,
}

impl ChannelFields {
    /// Value of a field that is set.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.secrets.get(name).or_else(|| self.settings.get(name).map(String::as_str)).filter(|value| !value.is_empty())
    }
}

/// Checks the fields of a channel of this kind. Of one that is changed, `before` are the fields so far: secrets that are left out stay, an
/// empty one goes. `has_mail_server`: the configuration names a mail server.
///
/// # Errors
/// Names the field, the problem and the limit.
pub fn parse(
    kind: ChannelKind,
    given: BTreeMap<String, String>,
    before: Option<&ChannelFields>,
    has_mail_server: bool,
) -> Result<ChannelFields, Invalid> {
    let declared = fields(kind);
    if let Some(unknown) = given.keys().find(|name| !declared.iter().any(|field| field.name == **name)) {
        let known: Vec<_> = declared.iter().map(|field| field.name).collect();
        return Err(Invalid::new(unknown.clone(), format!("not a field of {}, which has {}", kind.title(), known.join(", "))));
    }
    let mut parsed = ChannelFields::default();
    let mut kept = Vec::new();
    for field in declared {
        let value = given.get(field.name).map(|value| value.trim());
        let value = match value {
            Some(value) => value,
            None if field.secret => {
                let stays = before.and_then(|before| before.secrets.get(field.name));
                kept.extend(stays.map(|_| field.name));
                stays.unwrap_or_default()
            }
            None => "",
        };
        if value.is_empty() {
            if field.required {
                return Err(Invalid::new(field.name, "missing"));
            }
            continue;
        }
        let value = checked(kind, field, value)?;
        if field.secret {
            if field.input == Input::Url {
                parsed.settings.extend(host(&value).map(|host| ("host".to_owned(), host)));
            }
            parsed.secrets.0.insert(field.name.to_owned(), value);
        } else {
            parsed.settings.insert(field.name.to_owned(), value);
        }
    }
    if kind == ChannelKind::Email {
        email(&mut parsed, has_mail_server)?;
    }
    if let (Some(before), Some(name)) = (before, kept.iter().find(|name| SENT_SECRETS.contains(name))) {
        refuse_new_target(before, &parsed, name)?;
    }
    Ok(parsed)
}

/// A secret that stays must not be sent to another server than the one it was entered for.
fn refuse_new_target(before: &ChannelFields, after: &ChannelFields, kept: &str) -> Result<(), Invalid> {
    let target = ["url", "host", "port", "tls", "username"];
    match target.iter().find(|name| before.get(name) != after.get(name)) {
        Some(changed) => {
            Err(Invalid::new(kept, format!("enter it again: {changed} has changed, and it would be sent to where that leads")))
        }
        None => Ok(()),
    }
}

/// Fields of mail that depend on each other.
fn email(parsed: &mut ChannelFields, has_mail_server: bool) -> Result<(), Invalid> {
    if parsed.get("host").is_none() {
        if !has_mail_server {
            return Err(Invalid::new("host", "missing: the configuration has no [smtp] section with a host either"));
        }
        return match ["port", "tls", "username", "password"].into_iter().find(|name| parsed.get(name).is_some()) {
            Some(name) => Err(Invalid::new(name, "belongs to a server of the channel's own: give its host, too")),
            None => Ok(()),
        };
    }
    if parsed.get("from").is_none() {
        return Err(Invalid::new("from", "missing: a server of its own needs the sender's address"));
    }
    let tls = parsed.get("tls").unwrap_or("starttls").to_owned();
    match (parsed.get("username"), parsed.get("password")) {
        (Some(_), None) => return Err(Invalid::new("password", "missing: a user is given")),
        (None, Some(_)) => return Err(Invalid::new("username", "missing: a password is given")),
        (Some(_), Some(_)) if tls == "none" => return Err(Invalid::new("tls", "a password is sent over starttls or tls only")),
        _ => {}
    }
    let port = match tls.as_str() {
        "tls" => "465",
        "none" => "25",
        _ => "587",
    };
    parsed.settings.entry("port".to_owned()).or_insert_with(|| port.to_owned());
    parsed.settings.entry("tls".to_owned()).or_insert(tls);
    Ok(())
}

fn checked(kind: ChannelKind, field: &Field, value: &str) -> Result<String, Invalid> {
    let wrong = |problem: String| Err(Invalid::new(field.name, problem));
    let chars = value.chars().count();
    if chars > CHANNEL_SETTING_MAX_CHARS {
        return wrong(format!("{chars} characters are more than the {CHANNEL_SETTING_MAX_CHARS} allowed"));
    }
    if value.chars().any(char::is_control) {
        return wrong("has a line break or another control character".into());
    }
    match field.input {
        Input::Url => url(kind, field.name, value).map(|url| url.to_string()),
        Input::Text => Ok(value.to_owned()),
        Input::Host => {
            let is_name = value.len() <= 253 && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
            if is_name || value.parse::<IpAddr>().is_ok() { Ok(value.to_owned()) } else { wrong("not a host name or an address".into()) }
        }
        Input::Port => match value.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port.to_string()),
            _ => wrong(format!("{value:?} is outside 1..65535")),
        },
        Input::Address => address(field.name, value).map(|address| address.to_string()),
        Input::Addresses => {
            let each = value.split(',').map(str::trim).filter(|text| !text.is_empty());
            let addresses = each.map(|text| address(field.name, text)).collect::<Result<Vec<_>, _>>()?;
            match addresses.len() {
                0 => wrong("no address".into()),
                1..=RECIPIENTS_MAX => Ok(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
                many => wrong(format!("{many} addresses are more than the {RECIPIENTS_MAX} allowed")),
            }
        }
        Input::Choice(choices) if choices.contains(&value) => Ok(value.to_owned()),
        Input::Choice(choices) => wrong(format!("not one of {}", choices.join(", "))),
        Input::Password => match (kind, field.name) {
            (ChannelKind::Webhook, "secret") if chars < SIGNING_KEY_MIN_CHARS => {
                wrong(format!("{chars} characters are fewer than the {SIGNING_KEY_MIN_CHARS} needed"))
            }
            (ChannelKind::Pagerduty, "routing_key") if chars != ROUTING_KEY_CHARS || !value.chars().all(|c| c.is_ascii_alphanumeric()) => {
                wrong(format!("not {ROUTING_KEY_CHARS} letters and digits"))
            }
            // It is the value of a header.
            (ChannelKind::Ntfy, "token") if !value.chars().all(|c| c.is_ascii_graphic()) => {
                wrong("has other than visible ASCII characters".into())
            }
            _ => Ok(value.to_owned()),
        },
    }
}

/// Errors do not repeat the value: it holds a token.
fn url(kind: ChannelKind, name: &str, value: &str) -> Result<Url, Invalid> {
    let wrong = |problem: &str| Invalid::new(name, problem);
    let url = Url::parse(value).map_err(|_| wrong("not a URL of the form https://host/path"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("not a URL of the form https://host/path"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("has a user or a password before its host: that would reach logs of others"));
    }
    if url.fragment().is_some() {
        return Err(wrong("has a fragment (#...), which is not sent"));
    }
    if kind == ChannelKind::Ntfy && ntfy_topic(&url).is_none() {
        return Err(wrong("does not end with a topic, as in https://ntfy.sh/our-topic"));
    }
    Ok(url)
}

/// URL of the server, and topic, of a topic's URL.
pub(crate) fn ntfy_topic(url: &Url) -> Option<(Url, String)> {
    let topic = url.path_segments()?.next_back().filter(|topic| !topic.is_empty())?.to_owned();
    let mut server = url.clone();
    server.path_segments_mut().ok()?.pop().push("");
    Some((server, topic))
}

/// Checks an address that mail is sent from or to.
///
/// # Errors
/// It is none, or has other than ASCII characters; the error names `field`.
pub fn check_address(field: &str, text: &str) -> Result<(), Invalid> {
    address(field, text).map(drop)
}

fn address(field: &str, text: &str) -> Result<Address, Invalid> {
    if !text.is_ascii() {
        return Err(Invalid::new(field, format!("{text:?} has other than ASCII characters: write its domain as xn--...")));
    }
    text.parse().map_err(|_| Invalid::new(field, format!("{text:?} is not an address of mail")))
}

/// Host and port of a URL.
fn host(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn refused(kind: ChannelKind, fields: &[(&str, &str)]) -> String {
        parse(kind, given(fields), None, false).unwrap_err().to_string()
    }

    #[test]
    fn a_url_is_a_secret_and_its_host_is_shown() {
        let parsed = parse(ChannelKind::Discord, given(&[("url", " https://discord.com/api/webhooks/1/tok ")]), None, false).unwrap();
        assert_eq!(parsed.settings, given(&[("host", "discord.com")]));
        assert_eq!(parsed.get("url"), Some("https://discord.com/api/webhooks/1/tok"));
        assert!(!format!("{parsed:?}").contains("tok"));
    }

    #[test]
    fn bad_values_are_refused_by_name_and_urls_are_not_repeated() {
        use ChannelKind::{Discord, Email, Ntfy, Pagerduty, Webhook};
        let long = format!("https://h/{}", "x".repeat(1_000));
        for (kind, fields, text) in [
            (Discord, vec![], "url: missing"),
            (Discord, vec![("url", "tok")], "url: not a URL of the form https://host/path"),
            (Discord, vec![("url", "file:///etc/passwd")], "url: not a URL of the form https://host/path"),
            (Discord, vec![("url", "https://u:tok@h/")], "url: has a user or a password before its host: that would reach logs of others"),
            (Discord, vec![("url", &long)], "url: 1010 characters are more than the 1000 allowed"),
            (Discord, vec![("url", "https://h/"), ("x", "y")], "x: not a field of Discord, which has url"),
            (Webhook, vec![("url", "https://h/"), ("secret", "short")], "secret: 5 characters are fewer than the 16 needed"),
            (Pagerduty, vec![("routing_key", "x")], "routing_key: not 32 letters and digits"),
            (Ntfy, vec![("url", "https://ntfy.sh")], "url: does not end with a topic, as in https://ntfy.sh/our-topic"),
            (Email, vec![("to", "a@b.c")], "host: missing: the configuration has no [smtp] section with a host either"),
            (Email, vec![("to", "nobody")], "to: \"nobody\" is not an address of mail"),
            (Email, vec![("to", "a@bü.c")], "to: \"a@bü.c\" has other than ASCII characters: write its domain as xn--..."),
            (Email, vec![("to", "a@b.c\r\nBcc: d@e.f")], "to: has a line break or another control character"),
            (Email, vec![("to", "a@b.c"), ("host", "h"), ("port", "0")], "port: \"0\" is outside 1..65535"),
            (Email, vec![("to", "a@b.c"), ("host", "h h")], "host: not a host name or an address"),
            (Email, vec![("to", "a@b.c"), ("host", "h"), ("tls", "ssl")], "tls: not one of starttls, tls, none"),
            (Email, vec![("to", "a@b.c"), ("host", "h")], "from: missing: a server of its own needs the sender's address"),
        ] {
            assert_eq!(refused(kind, &fields), text);
        }
        let plain = [("to", "a@b.c"), ("host", "h"), ("from", "m@b.c"), ("tls", "none"), ("username", "u"), ("password", "p")];
        assert_eq!(refused(Email, &plain), "tls: a password is sent over starttls or tls only");
        let many = vec!["a@b.c"; 51].join(",");
        assert_eq!(refused(Email, &[("to", &many)]), "to: 51 addresses are more than the 50 allowed");
    }

    #[test]
    fn mail_has_its_usual_port_or_the_server_of_the_configuration() {
        let own = |tls| {
            let fields = given(&[("to", "a@b.c,d@e.f"), ("host", "mail.b.c"), ("from", "m@b.c"), ("tls", tls)]);
            parse(ChannelKind::Email, fields, None, false).unwrap()
        };
        assert_eq!((own("").get("port"), own("tls").get("port"), own("none").get("port")), (Some("587"), Some("465"), Some("25")));
        assert_eq!(own("").get("to"), Some("a@b.c, d@e.f"));
        let shared = parse(ChannelKind::Email, given(&[("to", "a@b.c")]), None, true).unwrap();
        assert_eq!(shared.settings, given(&[("to", "a@b.c")]));
        let half = parse(ChannelKind::Email, given(&[("to", "a@b.c"), ("port", "25")]), None, true).unwrap_err();
        assert_eq!(half.field, "port");
    }

    #[test]
    fn a_secret_that_is_left_out_stays_unless_it_would_go_elsewhere() {
        let fields = [("to", "a@b.c"), ("host", "h"), ("from", "m@b.c"), ("username", "u")];
        let with = |more: &[(&str, &str)]| {
            let mut all = given(&fields);
            all.extend(given(more));
            all
        };
        let before = parse(ChannelKind::Email, with(&[("password", "p")]), None, false).unwrap();
        let after = parse(ChannelKind::Email, with(&[("to", "x@y.z")]), Some(&before), false).unwrap();
        assert_eq!((after.get("password"), after.get("to")), (Some("p"), Some("x@y.z")));
        let moved = parse(ChannelKind::Email, with(&[("host", "evil")]), Some(&before), false).unwrap_err();
        assert_eq!(moved.to_string(), "password: enter it again: host has changed, and it would be sent to where that leads");
        let new = parse(ChannelKind::Email, with(&[("host", "evil"), ("password", "q")]), Some(&before), false).unwrap();
        assert_eq!(new.get("password"), Some("q"));
        let signed = parse(ChannelKind::Webhook, given(&[("url", "https://h/x"), ("secret", &"s".repeat(16))]), None, false).unwrap();
        let moved = parse(ChannelKind::Webhook, given(&[("url", "https://h/y")]), Some(&signed), false).unwrap();
        assert_eq!(moved.get("secret"), signed.get("secret"), "a key of signatures is not sent");
        let unsigned = parse(ChannelKind::Webhook, given(&[("secret", "")]), Some(&signed), false).unwrap();
        assert_eq!((unsigned.get("url"), unsigned.get("secret")), (Some("https://h/x"), None));
    }

    #[test]
    fn a_topic_is_the_end_of_its_url() {
        let (server, topic) = ntfy_topic(&Url::parse("https://push.example/ntfy/our-topic").unwrap()).unwrap();
        assert_eq!((server.as_str(), topic.as_str()), ("https://push.example/ntfy/", "our-topic"));
    }
}
