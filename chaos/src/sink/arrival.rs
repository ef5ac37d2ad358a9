//! Message as a sink received it, and what it says.

use domain::alert::Rule;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Alert that a message lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedAlert {
    /// Id; empty where the message has none.
    pub alert_id: String,
    /// Rule; empty where the message has none.
    pub rule: String,
    /// Name of the subject.
    pub name: String,
    /// Reason, or another text about it.
    pub about: String,
    /// Page that it leads to.
    pub link: String,
}

/// Message that has arrived whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Name of the sink.
    pub sink: String,
    /// Time of arrival, µs.
    pub at_us: i64,
    /// Time of the answer, µs; `None`: none was sent.
    pub answered_us: Option<i64>,
    /// Status of the answer as HTTP has it; `None`: none was sent.
    pub status: Option<u16>,
    /// Id of the notification, as far as the message has it.
    pub notification: Option<String>,
    /// Kind: `raised`, `resolved`, ...; as far as the message has it.
    pub kind: Option<String>,
    /// Thread, as far as the message has it.
    pub thread: Option<String>,
    /// Line that says it all.
    pub title: String,
    /// Alerts that are listed.
    pub alerts: Vec<ListedAlert>,
    /// Number of all alerts, as far as the message has it.
    pub count: Option<usize>,
}

impl Arrival {
    /// Whether it was accepted, and the sender has the answer.
    pub fn is_acknowledged(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether it is about alerts of this rule, as far as the message says.
    pub fn is_about(&self, rule: Rule) -> bool {
        self.alerts.iter().any(|alert| alert.rule == rule.as_str())
    }

    /// Message of a generic webhook: an event of CloudEvents 1.0 as JSON. The error names what is wrong.
    pub(super) fn of_webhook(sink: &str, body: &[u8]) -> Result<Self, String> {
        let event: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        for name in ["id", "source", "type", "specversion"] {
            if text(&event, name).is_empty() {
                return Err(format!("no event: {name} is missing"));
            }
        }
        let data = &event["data"];
        let listed = |alert: &Value| {
            let first = |names: &[&str]| names.iter().map(|name| text(alert, name)).find(|text| !text.is_empty()).unwrap_or_default();
            ListedAlert {
                alert_id: first(&["alert_id", "id"]),
                rule: text(alert, "rule"),
                name: first(&["name", "subject_name"]),
                about: text(alert, "reason"),
                link: first(&["url", "link"]),
            }
        };
        Ok(Self {
            sink: sink.to_owned(),
            notification: Some(text(&event, "id")),
            kind: text(&event, "type").rsplit('.').next().map(str::to_owned),
            thread: Some(text(data, "thread")).filter(|thread| !thread.is_empty()),
            title: text(data, "summary"),
            alerts: data["alerts"].as_array().into_iter().flatten().map(listed).collect(),
            count: data["count"].as_u64().and_then(|count| usize::try_from(count).ok()),
            ..Self::default()
        })
    }

    /// Message for Discord: one embed, whose footer is the notification's id. The error names what Discord would refuse.
    pub(super) fn of_discord(sink: &str, body: &[u8]) -> Result<Self, String> {
        let message: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
        let embeds = message["embeds"].as_array().map_or(&[][..], Vec::as_slice);
        let [embed, ..] = embeds else { return Err("embeds: one is required".into()) };
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let fields = embed["fields"].as_array().map_or(&[][..], Vec::as_slice);
        let chars = |text: &str| text.chars().count();
        let title = text(embed, "title");
        let most =
            [("embeds", embeds.len(), 10), ("title", chars(&title), 256), ("description", chars(&text(embed, "description")), 4_096)];
        let of_fields = fields.iter().flat_map(|field| {
            [("fields[].name", chars(&text(field, "name")), 256), ("fields[].value", chars(&text(field, "value")), 1_024)]
        });
        if let Some((field, length, most)) =
            most.into_iter().chain(of_fields).chain([("fields", fields.len(), 25)]).find(|(_, n, most)| n > most)
        {
            return Err(format!("{field}: {length} is more than {most}"));
        }
        // The others are counted: "The first 10 are listed; and 133 more".
        let description = text(embed, "description");
        let more = description.rsplit_once("and ").and_then(|(_, rest)| rest.strip_suffix(" more"));
        let more: usize = more.and_then(|number| number.replace([',', '\u{202f}', '\u{a0}', ' '], "").parse().ok()).unwrap_or(0);
        let listed = |field: &Value| {
            let value = text(field, "value");
            let (about, link) = value.split_once(" [open](").unwrap_or((&value, ""));
            ListedAlert {
                alert_id: String::new(),
                rule: String::new(),
                name: text(field, "name"),
                about: about.to_owned(),
                link: link.trim_end_matches(')').to_owned(),
            }
        };
        Ok(Self {
            sink: sink.to_owned(),
            notification: Some(text(&embed["footer"], "text")).filter(|id| !id.is_empty()),
            title,
            alerts: fields.iter().map(listed).collect(),
            count: Some(fields.len() + more),
            ..Self::default()
        })
    }

    /// Mail, by its lines without the dots that were stuffed.
    pub(super) fn of_mail(sink: &str, lines: &[String]) -> Self {
        let headers = unfolded(lines);
        let header = |name: &str| headers.iter().find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned()));
        let local_part = |id: String| id.trim_start_matches('<').split('@').next().unwrap_or_default().to_owned();
        let id = header("Message-ID").map(local_part);
        let is_uuid = |id: &String| uuid::Uuid::parse_str(id).is_ok();
        Self {
            sink: sink.to_owned(),
            notification: id.clone().filter(is_uuid),
            // The message that begins a thread is named by it.
            thread: header("References").map(local_part).or_else(|| id.filter(|id| !is_uuid(id))),
            title: header("Subject").unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// Headers, with their continued lines put together.
fn unfolded(lines: &[String]) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines.iter().take_while(|line| !line.is_empty()) {
        match (line.starts_with([' ', '\t']), headers.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => value.push_str(line),
            (false, _, Some((name, value))) => headers.push((name.to_owned(), value.to_owned())),
            _ => {}
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_webhook_tells_what_it_is_about() {
        let body = json!({
            "specversion": "1.0", "id": "n1", "source": "https://mdm", "type": "nexmdm.alert.raised",
            "data": {"summary": "2 devices offline", "thread": "device_offline-1", "count": 2,
                     "alerts": [{"alert_id": "a1", "rule": "device_offline", "name": "till-1", "reason": "no heartbeat", "url": "https://mdm/devices/1"}]},
        });
        let arrival = Arrival::of_webhook("hook", body.to_string().as_bytes()).unwrap();
        assert_eq!((arrival.notification.as_deref(), arrival.kind.as_deref()), (Some("n1"), Some("raised")));
        assert_eq!((arrival.count, arrival.alerts[0].alert_id.as_str()), (Some(2), "a1"));
        assert!(arrival.is_about(Rule::DeviceOffline) && !arrival.is_about(Rule::AppDown));
        assert!(Arrival::of_webhook("hook", b"{\"id\":\"n1\"}").unwrap_err().contains("source"));
    }

    #[test]
    fn discord_refuses_what_the_real_one_would() {
        let embed = |fields: usize| {
            json!({"title": "143 devices offline", "description": "The first 10 are listed; and 1,133 more",
            "footer": {"text": "n1"}, "fields": vec![json!({"name": "till", "value": "no heartbeat [open](https://mdm/devices/1)"}); fields]})
        };
        let arrival = Arrival::of_discord("d", json!({"embeds": [embed(10)]}).to_string().as_bytes()).unwrap();
        assert_eq!((arrival.count, arrival.notification.as_deref()), (Some(1_143), Some("n1")));
        assert_eq!(arrival.alerts[0].link, "https://mdm/devices/1");
        let refused = |message: Value| Arrival::of_discord("d", message.to_string().as_bytes()).unwrap_err();
        assert_eq!(refused(json!({"embeds": [embed(26)]})), "fields: 26 is more than 25");
        assert!(refused(json!({"embeds": [{"title": "x".repeat(257)}]})).contains("title"));
        assert!(refused(json!({"content": "x"})).contains("embeds"));
    }

    #[test]
    fn mail_is_put_together_by_its_headers() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let first = Arrival::of_mail("ops", &lines("Subject: [Warning] 2\n  devices\nMessage-ID: <device_offline-1@example.org>\n\nText"));
        assert_eq!((first.thread.as_deref(), first.notification), (Some("device_offline-1"), None));
        assert_eq!(first.title, "[Warning] 2  devices");
        let id = uuid::Uuid::nil();
        let next =
            Arrival::of_mail("ops", &lines(&format!("message-id: <{id}@example.org>\nReferences: <device_offline-1@example.org>\n")));
        assert_eq!((next.thread.as_deref(), next.notification), (Some("device_offline-1"), Some(id.to_string())));
    }
}
