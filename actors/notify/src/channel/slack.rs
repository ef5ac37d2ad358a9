//! Incoming webhooks of Slack, and of what takes the same: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>.

use domain::notification::render::slack;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::{Channel, JSON, Outgoing, Transports, attempt, needed};
use crate::attempt::Attempt;
use crate::parse::ChannelFields;

pub(super) struct Slack;

impl Channel for Slack {
    fn send<'a>(&'a self, transports: &'a Transports, fields: &'a ChannelFields, outgoing: Outgoing<'a>) -> BoxFuture<'a, Attempt> {
        attempt(async move {
            let message = slack(&outgoing.rendering);
            let attachment = json!({
                "color": message.color,
                "text": message.attachment,
                "fallback": message.text,
                "mrkdwn_in": ["text"],
                "footer": outgoing.rendering.id.to_string(),
            });
            let body = json!({ "text": message.text, "attachments": [attachment], "unfurl_links": false, "link_names": false });
            let answer = transports.http.post(needed(fields, "url")?, &[], JSON, body.to_string().into_bytes()).await?;
            Ok(answer.judged(None, &transports.clock))
        })
    }
}
