//! Webhooks of Discord: <https://discord.com/developers/docs/resources/webhook#execute-webhook>, rate limits as in
//! <https://discord.com/developers/docs/topics/rate-limits>.

use std::time::Duration;

use domain::notification::parse_retry_after;
use domain::notification::render::{DiscordMessage, discord};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{Channel, JSON, Outgoing, Transports, attempt, needed};
use crate::attempt::Attempt;
use crate::http::HttpAnswer;
use crate::parse::ChannelFields;

pub(super) struct Discord;

impl Channel for Discord {
    fn send<'a>(&'a self, transports: &'a Transports, fields: &'a ChannelFields, outgoing: Outgoing<'a>) -> BoxFuture<'a, Attempt> {
        attempt(async move {
            let body = body(&discord(&outgoing.rendering), &outgoing);
            let answer = transports.http.post(needed(fields, "url")?, &[], JSON, body.to_string().into_bytes()).await?;
            Ok(Attempt { pause: pause(&answer), ..answer.judged(retry_after(&answer), &transports.clock) })
        })
    }
}

fn body(DiscordMessage { embed }: &DiscordMessage, outgoing: &Outgoing<'_>) -> Value {
    let fields: Vec<_> = embed.fields.iter().map(|field| json!({ "name": field.name, "value": field.value })).collect();
    json!({
        "embeds": [{
            "title": embed.title,
            "url": embed.url,
            "description": embed.description,
            "color": embed.color,
            "fields": fields,
            "footer": { "text": embed.footer },
            "timestamp": outgoing.queued_at.to_rfc3339(),
        }],
        // Nobody is mentioned, whatever a name says.
        "allowed_mentions": { "parse": [] },
    })
}

/// Wait that a 429 asks for: in its body, with a fraction; its header is whole seconds.
fn retry_after(answer: &HttpAnswer) -> Option<Duration> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    body.get("retry_after").filter(|_| answer.status == 429).and_then(|wait| parse_retry_after(&wait.to_string()))
}

/// Wait until the webhook's bucket has room again, once this message took the last of it.
fn pause(answer: &HttpAnswer) -> Option<Duration> {
    let header = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let is_empty = header("x-ratelimit-remaining").is_some_and(|left| left.trim() == "0");
    header("x-ratelimit-reset-after").filter(|_| is_empty).and_then(parse_retry_after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderMap, HeaderValue};

    #[test]
    fn the_bucket_of_a_webhook_says_how_long_to_wait() {
        let answer = |status, left: &'static str, body: &str| HttpAnswer {
            status,
            headers: HeaderMap::from_iter([
                ("x-ratelimit-remaining".parse().unwrap(), HeaderValue::from_static(left)),
                ("x-ratelimit-reset-after".parse().unwrap(), HeaderValue::from_static("1.5")),
            ]),
            body: body.into(),
        };
        assert_eq!(pause(&answer(204, "4", "")), None);
        assert_eq!(pause(&answer(204, "0", "")), Some(Duration::from_millis(1_500)));
        let limited = answer(429, "0", r#"{"message": "You are being rate limited.", "retry_after": 64.57, "global": false}"#);
        assert_eq!(retry_after(&limited), Some(Duration::from_millis(64_570)));
        assert_eq!(retry_after(&answer(200, "0", r#"{"retry_after": 1}"#)), None);
        assert_eq!(retry_after(&answer(429, "0", "<html>")), None);
    }
}
