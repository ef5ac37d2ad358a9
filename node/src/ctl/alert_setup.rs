//! `ctl alerts silences`, `windows`, `channels` and `routes`: what people are notified of, and where.

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::alert_args::{
    ChannelCommand, Fields, MatcherArgs, RemediationCommand, RouteCommand, SilenceCommand, SubscriptionCommand, WindowCommand,
};
use super::alerts::{items, pair};
use super::api::{Api, encoded};
use super::args::Format;
use super::devices::id_of;
use super::output::{self, Column};
use super::{Ctl, confirm};

/// Deliveries of a channel or about an alert.
pub(super) const DELIVERIES: &[Column] = &[
    ("QUEUED", "/queued_at"),
    ("CHANNEL", "/channel"),
    ("STATE", "/state"),
    ("ATTEMPTS", "/attempts"),
    ("HEADLINE", "/headline"),
    ("LAST ANSWER", "/last_answer"),
    ("NEXT ATTEMPT", "/next_attempt_at"),
    ("ENDED", "/ended_at"),
    ("ID", "/notification_id"),
];

const SILENCES: &[Column] = &[
    ("ENDS", "/ends_at"),
    ("STARTS", "/starts_at"),
    ("ACTIVE", "/active"),
    ("ALERTS", "/matcher"),
    ("REASON", "/reason"),
    ("BY", "/author"),
    ("ID", "/id"),
];

const WINDOWS: &[Column] = &[
    ("DAYS", "/weekdays"),
    ("FROM", "/start"),
    ("UNTIL", "/end"),
    ("ZONE", "/tz"),
    ("OPEN", "/active"),
    ("ALERTS", "/matcher"),
    ("REASON", "/reason"),
    ("BY", "/author"),
    ("ID", "/id"),
];

const CHANNELS: &[Column] = &[
    ("NAME", "/name"),
    ("KIND", "/kind"),
    ("ON", "/enabled"),
    ("SETTINGS", "/settings"),
    ("SECRET", "/has_secret"),
    ("CHANGED", "/changed_at"),
    ("ID", "/id"),
];

const CHANNEL: &[Column] = &[
    ("Id", "/id"),
    ("Name", "/name"),
    ("Kind", "/kind"),
    ("On", "/enabled"),
    ("Settings", "/settings"),
    ("Secrets", "/secrets"),
    ("Changed", "/changed_at"),
];

const KINDS: &[Column] =
    &[("KIND", "/kind"), ("FIELD", "/name"), ("REQUIRED", "/required"), ("SECRET", "/secret"), ("CHOICES", "/choices"), ("HELP", "/help")];

const ROUTES: &[Column] = &[
    ("CHANNEL", "/channel"),
    ("FROM SEVERITY", "/min_severity"),
    ("RULES", "/rules"),
    ("GROUPS", "/groups"),
    ("LEVEL", "/level"),
    ("HOURS", "/hours"),
    ("DIGEST", "/digest"),
    ("ID", "/id"),
];

const SUBSCRIPTIONS: &[Column] =
    &[("ACTIONS", "/actions"), ("CHANNEL", "/channel_id"), ("CREATED", "/created_at"), ("BY", "/created_by"), ("ID", "/id")];

const REMEDIATION: &[Column] = &[
    ("RULE", "/rule"),
    ("GROUP", "/group"),
    ("ON", "/enabled"),
    ("COMMANDS", "/remedies"),
    ("EXEC", "/exec"),
    ("ATTEMPTS", "/attempts_max"),
    ("BACKOFF S", "/backoff_seconds"),
    ("AT ONCE", "/at_once_max"),
    ("PER HOUR", "/per_hour_max"),
    ("FAILED", "/failures_in_a_row"),
    ("TURNED OFF", "/turned_off_at"),
    ("BY", "/changed_by"),
];

/// Criteria that are given, without the others.
fn without_empty(mut matcher: Value) -> Value {
    if let Some(criteria) = matcher.as_object_mut() {
        criteria.retain(|_, values| values.as_array().is_none_or(|values| !values.is_empty()));
    }
    matcher
}

/// Rows with their criteria as people read them.
fn shown(rows: Vec<Value>, format: Format) -> Vec<Value> {
    if matches!(format, Format::Json) {
        return rows;
    }
    let row = |mut row: Value| {
        row["matcher"] = without_empty(row["matcher"].take());
        row
    };
    rows.into_iter().map(row).collect()
}

async fn matcher(api: &mut Api, given: MatcherArgs) -> anyhow::Result<(Value, String)> {
    let MatcherArgs { rules, severities, groups, tags, devices, nodes, reason } = given;
    let mut ids = Vec::new();
    for device in devices {
        ids.push(id_of(api, &device).await?);
    }
    Ok((json!({ "rules": rules, "severities": severities, "groups": groups, "tags": tags, "devices": ids, "nodes": nodes }), reason))
}

/// Seconds of a length such as `30m`.
fn seconds(length: &str) -> anyhow::Result<i64> {
    let text = length.trim();
    let unit = text.chars().last().unwrap_or_default();
    let per = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => bail!("{length:?} is not a length such as 30m, 2h or 3d"),
    };
    let number: i64 = text[..text.len() - 1].parse().with_context(|| format!("{length:?} is not a length such as 30m, 2h or 3d"))?;
    number.checked_mul(per).with_context(|| format!("{length:?} is too long"))
}

/// `08:00-17:00@Europe/Berlin`.
fn hours(text: &str) -> anyhow::Result<(&str, &str, &str)> {
    let read = || {
        let (times, tz) = text.split_once('@')?;
        let (start, end) = times.split_once('-')?;
        Some((start, end, tz))
    };
    read().with_context(|| format!("{text:?} is not hours with a time zone, such as 22:00-05:00@Europe/Berlin"))
}

/// `ctl alerts silences ...`.
pub(super) async fn silences(ctl: &mut Ctl, command: SilenceCommand) -> anyhow::Result<()> {
    match command {
        SilenceCommand::List { ended } => {
            let answer = ctl.api.get("/v1/silences", &[("ended", ended.to_string())]).await?;
            output::rows(ctl.format, &shown(items(&answer), ctl.format), SILENCES)
        }
        SilenceCommand::Create { matcher: given, length, until } => {
            let (matcher, reason) = matcher(&mut ctl.api, given).await?;
            let duration = length.as_deref().map(seconds).transpose()?;
            let body = json!({ "matcher": matcher, "reason": reason, "ends_at": until, "duration_seconds": duration });
            let made = ctl.api.call(Method::POST, "/v1/silences", Some(&body)).await?;
            output::done(ctl.format, &made, made["id"].as_str().unwrap_or_default())
        }
        SilenceCommand::End { id } => {
            let answer = ctl.api.call(Method::DELETE, &format!("/v1/silences/{}", encoded(&id)), None::<&Value>).await?;
            output::done(ctl.format, &answer, &format!("Ended {id}."))
        }
    }
}

/// `ctl alerts windows ...`.
pub(super) async fn windows(ctl: &mut Ctl, command: WindowCommand) -> anyhow::Result<()> {
    match command {
        WindowCommand::List => {
            let answer = ctl.api.get("/v1/alert-windows", &[]).await?;
            output::rows(ctl.format, &shown(items(&answer), ctl.format), WINDOWS)
        }
        WindowCommand::Create { matcher: given, hours: window, weekdays } => {
            let (matcher, reason) = matcher(&mut ctl.api, given).await?;
            let (start, end, tz) = hours(&window)?;
            let every = || ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].map(str::to_owned).to_vec();
            let weekdays = if weekdays.is_empty() { every() } else { weekdays };
            let body = json!({ "matcher": matcher, "reason": reason, "weekdays": weekdays, "start": start, "end": end, "tz": tz });
            let made = ctl.api.call(Method::POST, "/v1/alert-windows", Some(&body)).await?;
            output::done(ctl.format, &made, made["id"].as_str().unwrap_or_default())
        }
        WindowCommand::Delete { id } => {
            let answer = ctl.api.call(Method::DELETE, &format!("/v1/alert-windows/{}", encoded(&id)), None::<&Value>).await?;
            output::done(ctl.format, &answer, &format!("Deleted {id}."))
        }
    }
}

/// Id of a channel that is named, or whose id is given.
/// Id of a channel that is named by its name or id.
pub(super) async fn channel_id(api: &mut Api, channel: &str) -> anyhow::Result<String> {
    let channels = items(&api.get("/v1/alert-channels", &[]).await?);
    let is_it = |row: &&Value| row["id"] == channel || row["name"].as_str().is_some_and(|name| domain::name::same(name, channel));
    let found = channels.iter().find(is_it).and_then(|row| row["id"].as_str());
    found.map(str::to_owned).with_context(|| format!("there is no channel {channel:?}"))
}

fn fields(given: Fields) -> anyhow::Result<Map<String, Value>> {
    let mut fields = Map::new();
    for field in &given.fields {
        let (name, value) = pair(field)?;
        fields.insert(name.to_owned(), json!(value));
    }
    for field in &given.files {
        let (name, file) = pair(field)?;
        let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
        fields.insert(name.to_owned(), json!(text.lines().next().unwrap_or_default().trim()));
    }
    Ok(fields)
}

/// `ctl alerts channels ...`.
pub(super) async fn channels(ctl: &mut Ctl, command: ChannelCommand) -> anyhow::Result<()> {
    let path = |id: &str| format!("/v1/alert-channels/{}", encoded(id));
    match command {
        ChannelCommand::List => {
            let answer = ctl.api.get("/v1/alert-channels", &[]).await?;
            output::rows(ctl.format, &items(&answer), CHANNELS)
        }
        ChannelCommand::Kinds => {
            let kinds = items(&ctl.api.get("/v1/alert-channel-kinds", &[]).await?);
            if matches!(ctl.format, Format::Json) {
                return output::rows(ctl.format, &kinds, KINDS);
            }
            let of = |kind: &Value| -> Vec<Value> {
                let mut rows = kind["fields"].as_array().cloned().unwrap_or_default();
                rows.iter_mut().for_each(|row| row["kind"] = kind["kind"].clone());
                rows
            };
            output::rows(ctl.format, &kinds.iter().flat_map(of).collect::<Vec<_>>(), KINDS)
        }
        ChannelCommand::Show { channel } => {
            let id = channel_id(&mut ctl.api, &channel).await?;
            let answer = ctl.api.get(&path(&id), &[]).await?;
            output::one(ctl.format, &answer, CHANNEL)
        }
        ChannelCommand::Create { name, kind, fields: given } => {
            let mut body = fields(given)?;
            body.insert("name".into(), json!(name));
            body.insert("kind".into(), json!(kind));
            let made = ctl.api.call(Method::POST, "/v1/alert-channels", Some(&Value::Object(body))).await?;
            output::done(ctl.format, &made, made["id"].as_str().unwrap_or_default())
        }
        ChannelCommand::Edit { channel, name, on, off, fields: given } => {
            let id = channel_id(&mut ctl.api, &channel).await?;
            let mut body = fields(given)?;
            if let Some(name) = name {
                body.insert("name".into(), json!(name));
            }
            if on || off {
                body.insert("enabled".into(), json!(on));
            }
            let changed = ctl.api.call(Method::PATCH, &path(&id), Some(&Value::Object(body))).await?;
            output::one(ctl.format, &changed, CHANNEL)
        }
        ChannelCommand::Delete { channel, yes } => {
            let id = channel_id(&mut ctl.api, &channel).await?;
            confirm(&format!("Delete the channel {channel} with its routes and what waits for it?"), yes)?;
            let answer = ctl.api.call(Method::DELETE, &path(&id), None::<&Value>).await?;
            output::done(ctl.format, &answer, &format!("Deleted {channel}."))
        }
        ChannelCommand::Test { channel } => {
            let id = channel_id(&mut ctl.api, &channel).await?;
            let test = ctl.api.call(Method::POST, &format!("{}/test", path(&id)), None::<&Value>).await?;
            let answer = test["answer"].as_str().unwrap_or_default();
            if test["delivered"] == json!(true) {
                return output::done(ctl.format, &test, &format!("Delivered: {answer}"));
            }
            if matches!(ctl.format, Format::Json) {
                output::done(ctl.format, &test, "")?;
            }
            bail!("not delivered: {}", domain::text::excerpt(answer, 500))
        }
        ChannelCommand::Deliveries { channel, dead, limit } => {
            let id = channel_id(&mut ctl.api, &channel).await?;
            let query = [("dead", dead.to_string()), ("limit", limit.to_string())];
            let answer = ctl.api.get(&format!("{}/deliveries", path(&id)), &query).await?;
            output::rows(ctl.format, &items(&answer), DELIVERIES)
        }
        ChannelCommand::Resend { channel, notification } => {
            let id = channel_id(&mut ctl.api, &channel).await?;
            let resend = format!("{}/deliveries/{}/resend", path(&id), encoded(&notification));
            let answer = ctl.api.call(Method::POST, &resend, None::<&Value>).await?;
            output::done(ctl.format, &answer, &format!("Queued {notification} again."))
        }
    }
}

/// `ctl alerts routes ...`.
pub(super) async fn routes(ctl: &mut Ctl, command: RouteCommand) -> anyhow::Result<()> {
    match command {
        RouteCommand::List => {
            let mut routes = items(&ctl.api.get("/v1/alert-routes", &[]).await?);
            if matches!(ctl.format, Format::Table) {
                let channels = items(&ctl.api.get("/v1/alert-channels", &[]).await?);
                for route in &mut routes {
                    let channel = channels.iter().find(|channel| channel["id"] == route["channel_id"]);
                    route["channel"] = channel.map_or_else(|| route["channel_id"].clone(), |channel| channel["name"].clone());
                }
            }
            output::rows(ctl.format, &routes, ROUTES)
        }
        RouteCommand::Create { channel, min_severity, rules, groups, hours: window, level, digest } => {
            let id = channel_id(&mut ctl.api, &channel).await?;
            let mut body = Map::new();
            body.insert("channel_id".into(), json!(id));
            body.insert("rules".into(), json!(rules));
            body.insert("groups".into(), json!(groups));
            body.insert("level".into(), json!(level));
            if let Some(severity) = min_severity {
                body.insert("min_severity".into(), json!(severity));
            }
            if let Some(window) = &window {
                let (start, end, tz) = hours(window)?;
                body.insert("hours".into(), json!({ "start": start, "end": end, "tz": tz }));
            }
            if let Some(digest) = &digest {
                let (at, tz) =
                    digest.split_once('@').with_context(|| format!("{digest:?} is not a time with a time zone, such as 08:00@UTC"))?;
                body.insert("digest".into(), json!({ "at": at, "tz": tz }));
            }
            let made = ctl.api.call(Method::POST, "/v1/alert-routes", Some(&Value::Object(body))).await?;
            output::done(ctl.format, &made, made["id"].as_str().unwrap_or_default())
        }
        RouteCommand::Delete { id } => {
            let answer = ctl.api.call(Method::DELETE, &format!("/v1/alert-routes/{}", encoded(&id)), None::<&Value>).await?;
            output::done(ctl.format, &answer, &format!("Deleted {id}."))
        }
    }
}

/// `ctl alerts subscriptions ...`.
pub(super) async fn subscriptions(ctl: &mut Ctl, command: SubscriptionCommand) -> anyhow::Result<()> {
    match command {
        SubscriptionCommand::List => {
            let answer = ctl.api.get("/v1/event-subscriptions", &[]).await?;
            output::rows(ctl.format, &items(&answer), SUBSCRIPTIONS)
        }
        SubscriptionCommand::Create { channel, actions } => {
            let id = channel_id(&mut ctl.api, &channel).await?;
            let body = json!({ "channel_id": id, "actions": actions });
            let made = ctl.api.call(Method::POST, "/v1/event-subscriptions", Some(&body)).await?;
            output::done(ctl.format, &made, made["id"].as_str().unwrap_or_default())
        }
        SubscriptionCommand::Delete { id } => {
            let answer = ctl.api.call(Method::DELETE, &format!("/v1/event-subscriptions/{}", encoded(&id)), None::<&Value>).await?;
            output::done(ctl.format, &answer, &format!("Deleted {id}."))
        }
    }
}

/// `ctl alerts remediation ...`.
pub(super) async fn remediation(ctl: &mut Ctl, command: RemediationCommand) -> anyhow::Result<()> {
    let path = |rule: &str| format!("/v1/alert-remediation/{}", encoded(rule));
    match command {
        RemediationCommand::List => {
            let answer = ctl.api.get("/v1/alert-remediation", &[]).await?;
            output::rows(ctl.format, &items(&answer), REMEDIATION)
        }
        RemediationCommand::Set { rule, group, on, off: _, attempts, backoff, at_once, per_hour, failures, allow_reboot, exec } => {
            let body = json!({
                "enabled": on, "group": group, "attempts_max": attempts, "backoff_seconds": backoff, "at_once_max": at_once,
                "per_hour_max": per_hour, "failures_max": failures, "allow_reboot": allow_reboot, "exec": exec,
            });
            let set = ctl.api.call(Method::PUT, &path(&rule), Some(&body)).await?;
            output::one(ctl.format, &set, REMEDIATION)
        }
        RemediationCommand::Remove { rule, group } => {
            let query = group.as_deref().map(|group| format!("?group={}", encoded(group))).unwrap_or_default();
            let answer = ctl.api.call(Method::DELETE, &format!("{}{query}", path(&rule)), None::<&Value>).await?;
            output::done(ctl.format, &answer, &format!("Removed what was set for {rule}."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_hours_are_read_as_people_write_them() {
        for (text, length) in [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("3d", 259_200)] {
            assert_eq!(seconds(text).unwrap(), length, "{text}");
        }
        for bad in ["", "2", "h", "2 weeks", "-", "ä", "9223372036854775807d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!(hours("22:00-05:00@Europe/Berlin").unwrap(), ("22:00", "05:00", "Europe/Berlin"));
        for bad in ["", "22:00-05:00", "22:00@UTC"] {
            assert!(hours(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn criteria_that_are_not_given_are_not_shown() {
        let matcher = json!({"rules": ["app_down"], "groups": [], "tags": []});
        assert_eq!(without_empty(matcher), json!({"rules": ["app_down"]}));
    }
}
