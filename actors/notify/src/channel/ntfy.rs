//! ntfy, published as JSON: <https://docs.ntfy.sh/publish/#publish-as-json>.

use domain::notification::render::ntfy;
use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::header::AUTHORIZATION;
use serde_json::json;

use super::{Channel, JSON, Outgoing, Transports, attempt, needed};
use crate::attempt::Attempt;
use crate::parse::{ChannelFields, ntfy_topic};

pub(super) struct Ntfy;

impl Channel for Ntfy {
    fn send<'a>(&'a self, transports: &'a Transports, fields: &'a ChannelFields, outgoing: Outgoing<'a>) -> BoxFuture<'a, Attempt> {
        attempt(async move {
            let url = Url::parse(needed(fields, "url")?).ok();
            let (server, topic) = url.as_ref().and_then(ntfy_topic).ok_or_else(|| Attempt::refused("the channel's URL has no topic"))?;
            let message = ntfy(&outgoing.rendering);
            let body = json!({
                "topic": topic,
                "title": message.title,
                "message": message.message,
                "priority": message.priority,
                "tags": message.tags,
                "click": message.click,
            });
            let authorization = fields.get("token").map(|token| (AUTHORIZATION, format!("Bearer {token}")));
            let headers: Vec<_> = authorization.into_iter().collect();
            let answer = transports.http.post(server.as_str(), &headers, JSON, body.to_string().into_bytes()).await?;
            Ok(answer.judged(None, &transports.clock))
        })
    }
}
