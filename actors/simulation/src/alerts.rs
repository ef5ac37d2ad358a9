//! P9: each raise and resolve is notified, or suppressed for a named cause, and none twice within its cooldown.
//!
//! ```text
//! changes of alerts --\
//! messages, outbox  ---> judge
//! what is held      --/
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::TimeDelta;

use crate::cluster::Cluster;
use crate::settings::COOLDOWN;

/// Time after a change in which it may be on its way to its message: the wait for its group, the interval of messages, a poll of the coordinator.
const ON_ITS_WAY: TimeDelta = TimeDelta::seconds(9);

/// Change of an alert, and what the coordinator says of it.
#[derive(Debug, Clone)]
struct Change {
    alert: String,
    /// Rule and subject.
    key: String,
    /// `raised` or `resolved`.
    kind: String,
    at_ms: i64,
    settled: bool,
    cause: Option<String>,
    message: Option<String>,
    /// Why it is held, of one that is neither notified nor suppressed.
    held: Option<String>,
}

/// Message in the outbox.
#[derive(Debug, Clone)]
struct Message {
    id: String,
    kind: String,
    at_ms: i64,
    /// Number of its alerts, of which the first are listed.
    count: usize,
    /// Listed alerts: id, rule and subject, whether it was resolved.
    alerts: Vec<(String, String, bool)>,
    /// Whether it is in the outbox of a channel.
    queued: bool,
}

/// Broken promises.
fn judge(changes: &[Change], messages: &[Message], now_ms: i64) -> Vec<String> {
    let mut broken = Vec::new();
    let by_id: HashMap<&str, &Message> = messages.iter().map(|message| (message.id.as_str(), message)).collect();
    // Rule and subject, direction -> messages about it.
    let mut told: BTreeMap<(&str, &str), BTreeSet<(i64, &str)>> = BTreeMap::new();
    for message in messages {
        if !message.queued {
            broken.push(format!("the message {} ({}) is in no outbox", message.id, message.kind));
        }
        for (_, key, resolved) in &message.alerts {
            let direction = match message.kind.as_str() {
                "raised" => "raised",
                "resolved" => "resolved",
                "overflow" if *resolved => "resolved",
                "overflow" => "raised",
                _ => continue,
            };
            told.entry((key, direction)).or_default().insert((message.at_ms, &message.id));
        }
    }
    for change in changes {
        match (&change.message, &change.cause) {
            (Some(id), _) => match by_id.get(id.as_str()) {
                None => broken.push(format!("the message of {change:?} is lost")),
                Some(message) => {
                    let is_listed = message.count > message.alerts.len() || message.alerts.iter().any(|(alert, ..)| *alert == change.alert);
                    if !is_listed || (message.kind != change.kind && message.kind != "overflow") {
                        broken.push(format!("{change:?} is not in its message, {message:?}"));
                    }
                    told.entry((&change.key, &change.kind)).or_default().insert((message.at_ms, &message.id));
                }
            },
            (None, Some(_)) => {}
            (None, None) if change.settled => broken.push(format!("{change:?} is settled without a message or a cause")),
            (None, None) if change.held.is_some() || now_ms - change.at_ms < ON_ITS_WAY.num_milliseconds() => {}
            (None, None) => broken.push(format!("{change:?} is neither notified nor held")),
        }
    }
    for ((key, direction), messages) in told {
        let messages: Vec<_> = messages.into_iter().collect();
        for pair in messages.windows(2) {
            if pair[1].0 - pair[0].0 < COOLDOWN.num_milliseconds() {
                broken.push(format!("{key} is notified as {direction} twice within its cooldown: {pair:?}"));
            }
        }
    }
    broken
}

fn ms(column: &str) -> String {
    format!("(extract(epoch FROM {column}) * 1000)::bigint")
}

async fn changes(cluster: &Cluster) -> Vec<Change> {
    let statement = format!(
        "SELECT concat_ws('|', t.alert_id, a.rule || ' ' || a.subject_id, t.kind, {}, t.settled_at IS NOT NULL,
             coalesce(t.suppressed_by, '-'), coalesce(t.notification_id::text, '-'), coalesce(n.held, '-'))
         FROM public.alert_transition t JOIN public.alert a USING (alert_id)
         LEFT JOIN public.alert_notice n ON n.unsettled = t.transition_id
         WHERE t.kind IN ('raised', 'resolved') ORDER BY t.transition_id",
        ms("t.at")
    );
    let some = |text: &str| (text != "-").then(|| text.to_owned());
    let parsed = |text: String| {
        let [alert, key, kind, at_ms, settled, cause, message, held]: [&str; 8] = text.split('|').collect::<Vec<_>>().try_into().ok()?;
        Some(Change {
            alert: alert.to_owned(),
            key: key.to_owned(),
            kind: kind.to_owned(),
            at_ms: at_ms.parse().ok()?,
            settled: settled == "t" || settled == "true",
            cause: some(cause),
            message: some(message),
            held: some(held),
        })
    };
    cluster.database.texts(&statement).await.into_iter().filter_map(parsed).collect()
}

async fn messages(cluster: &Cluster) -> Vec<Message> {
    let statement = format!(
        "SELECT concat_ws('|', n.notification_id, n.kind, {}, n.alert_count,
             EXISTS (SELECT FROM public.notification_delivery d WHERE d.notification_id = n.notification_id),
             (SELECT string_agg(concat_ws(',', a->>'alert_id', (a->>'rule') || ' ' || (a->>'subject_id'), a->>'resolved_at' IS NOT NULL), ';')
              FROM jsonb_array_elements(n.alerts) a))
         FROM public.notification n ORDER BY n.created_at",
        ms("n.created_at")
    );
    let alert = |text: &str| {
        let [alert, key, resolved]: [&str; 3] = text.split(',').collect::<Vec<_>>().try_into().ok()?;
        Some((str::to_owned(alert), str::to_owned(key), resolved == "t" || resolved == "true"))
    };
    let parsed = |text: String| {
        let [id, kind, at_ms, count, queued, alerts]: [&str; 6] = text.split('|').collect::<Vec<_>>().try_into().ok()?;
        Some(Message {
            id: id.to_owned(),
            kind: kind.to_owned(),
            at_ms: at_ms.parse().ok()?,
            count: count.parse().ok()?,
            queued: queued == "t" || queued == "true",
            alerts: alerts.split(';').filter_map(alert).collect(),
        })
    };
    cluster.database.texts(&statement).await.into_iter().filter_map(parsed).collect()
}

/// Sets up a channel that is notified of everything.
pub(crate) async fn set_up(cluster: &Cluster) {
    let at = cluster.began_at().to_rfc3339();
    let channel = uuid::Uuid::from_u128(1);
    let statements = [
        format!(
            "INSERT INTO public.alert_channel (channel_id, name, name_canonical, kind, settings, enabled, created_by, created_at, changed_at)
             VALUES ('{channel}', 'sink', 'sink', 'webhook', '{{}}', true, 'simulation', '{at}', '{at}')"
        ),
        format!(
            "INSERT INTO public.alert_route (route_id, channel_id, min_severity, rules, groups, level, created_by, created_at)
             VALUES ('{channel}', '{channel}', 'info', '{{}}', '{{}}', 0, 'simulation', '{at}')"
        ),
    ];
    for statement in statements {
        cluster.database.execute(&statement).await;
    }
}

/// P9, once devices have reported for a while that all is well.
pub(crate) async fn notified(cluster: &Cluster) {
    let (changes, messages) = (changes(cluster).await, messages(cluster).await);
    for broken in judge(&changes, &messages, cluster.now().timestamp_millis()) {
        cluster.history.broken("P9", broken);
    }
    // By the rules that are judged from heartbeats and silence; whoever reports that all is well is judged to be.
    let open = "SELECT concat_ws(' ', alert_id, rule, subject_id, opened_at) FROM public.alert WHERE state <> 'resolved' AND subject_kind = 'device'";
    for open in cluster.database.texts(open).await {
        cluster.history.broken("P9", format!("an alert is open for a device that is well: {open}"));
    }
    let of = |what: &str, rule: &str| {
        changes.iter().filter(|change| change.kind == what && change.key.starts_with(rule) && change.message.is_some()).count() as u64
    };
    cluster.history.count("raises notified", of("raised", "low_battery"));
    cluster.history.count("resolves notified", of("resolved", "low_battery"));
    cluster.history.count("silence notified", of("raised", "device_offline"));
    cluster.history.count("changes suppressed", changes.iter().filter(|change| change.cause.is_some()).count() as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: &str, at_ms: i64, message: Option<&str>, cause: Option<&str>) -> Change {
        Change {
            alert: "a".into(),
            key: "low_battery d".into(),
            kind: kind.into(),
            at_ms,
            settled: message.is_some() || cause.is_some(),
            cause: cause.map(Into::into),
            message: message.map(Into::into),
            held: None,
        }
    }

    fn message(id: &str, kind: &str, at_ms: i64) -> Message {
        let alerts = vec![("a".to_owned(), "low_battery d".to_owned(), kind == "resolved")];
        Message { id: id.into(), kind: kind.into(), at_ms, count: 1, alerts, queued: true }
    }

    #[test]
    fn what_is_notified_once_or_suppressed_is_well() {
        let changes = [change("raised", 0, Some("m1"), None), change("resolved", 900, None, Some("cooldown"))];
        assert_eq!(judge(&changes, &[message("m1", "raised", 1_000)], 60_000), [""; 0]);
        let held = Change { held: Some("cooldown".into()), ..change("raised", 0, None, None) };
        assert_eq!(judge(&[held], &[], 60_000), [""; 0]);
        assert_eq!(judge(&[change("raised", 55_000, None, None)], &[], 60_000), [""; 0], "it waits for its group");
    }

    #[test]
    fn a_planted_duplicate_is_found() {
        let changes = [change("raised", 0, Some("m1"), None)];
        let twice = [message("m1", "raised", 1_000), message("m2", "raised", 5_900)];
        assert_eq!(judge(&changes, &twice, 60_000).len(), 1);
        let later = [message("m1", "raised", 1_000), message("m2", "raised", 6_000)];
        assert_eq!(judge(&changes, &later, 60_000), [""; 0], "after the cooldown");
    }

    #[test]
    fn a_planted_loss_is_found() {
        let changes = [change("raised", 0, Some("m1"), None)];
        assert_eq!(judge(&changes, &[], 60_000).len(), 1, "no message");
        let unqueued = Message { queued: false, ..message("m1", "raised", 1_000) };
        assert_eq!(judge(&changes, &[unqueued], 60_000).len(), 1, "no channel");
        let of_another = Message { alerts: vec![("b".into(), "low_battery e".into(), false)], ..message("m1", "raised", 1_000) };
        assert_eq!(judge(&changes, &[of_another], 60_000).len(), 1, "a message about another");
        assert_eq!(judge(&[change("raised", 0, None, None)], &[], 60_000).len(), 1, "forgotten");
        let settled = Change { settled: true, ..change("raised", 0, None, None) };
        assert_eq!(judge(&[settled], &[], 60_000).len(), 1, "settled as if it were no news");
    }
}
