//! PagerDuty, Events API v2: <https://developer.pagerduty.com/docs/send-alert-event>.

use domain::notification::render::{PagerdutyAction, PagerdutyEvent, pagerduty};
use domain::notification::{AttemptOutcome, NotificationKind};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::{Channel, JSON, Outgoing, Transports, attempt, needed};
use crate::attempt::Attempt;
use crate::parse::ChannelFields;

/// The service's own URL.
const URL: &str = "https://events.pagerduty.com/v2/enqueue";

pub(super) struct Pagerduty;

impl Channel for Pagerduty {
    fn send<'a>(&'a self, transports: &'a Transports, fields: &'a ChannelFields, outgoing: Outgoing<'a>) -> BoxFuture<'a, Attempt> {
        attempt(async move {
            let events = pagerduty(&outgoing.rendering);
            let (key, url) = (needed(fields, "routing_key")?, fields.get("url").unwrap_or(URL));
            let post = async |event: &PagerdutyEvent| {
                let body = body(key, event, &outgoing).to_string().into_bytes();
                Ok::<_, Attempt>(transports.http.post(url, &[], JSON, body).await?.judged(None, &transports.clock))
            };
            let mut sent = Attempt::new(AttemptOutcome::Delivered, "nothing that PagerDuty has an event for");
            for event in events {
                // Those that were taken before one that was not are sent again with it: an incident has them once, by its key.
                sent = post(&event).await?;
                if outgoing.rendering.message.kind == NotificationKind::Test && sent.is_delivered() {
                    // A test leaves no incident behind.
                    sent = post(&PagerdutyEvent { action: PagerdutyAction::Resolve, ..event }).await?;
                }
                if !sent.is_delivered() {
                    break;
                }
            }
            Ok(sent)
        })
    }
}

fn body(key: &str, event: &PagerdutyEvent, outgoing: &Outgoing<'_>) -> Value {
    let details: Map<String, Value> = event.details.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    json!({
        "routing_key": key,
        "event_action": event.action.as_str(),
        "dedup_key": event.dedup_key,
        "client": "NexMDM",
        "client_url": outgoing.rendering.public_url,
        "links": [{ "href": event.link, "text": "Open in NexMDM" }],
        "payload": {
            "summary": event.summary,
            "source": event.source,
            "severity": event.severity,
            "timestamp": outgoing.queued_at.to_rfc3339(),
            "custom_details": details,
        },
    })
}
