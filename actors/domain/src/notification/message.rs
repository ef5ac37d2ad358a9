//! Notifications: what one message says, before it is put into the words and limits of a channel.

use std::collections::BTreeMap;

use crate::alert::{AlertKey, Rule, Severity, Subject};
use crate::quantity;
use crate::{AlertId, ChannelId, SubscriptionId, Timestamp};

use super::state::Tracked;
use super::{AuditedEvent, GIVE_UP_AFTER, ReportMessage};

/// Most alerts that a message lists; the others are counted.
pub const LISTED_MAX: usize = 10;

/// Kind of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum NotificationKind {
    /// Alerts were raised.
    Raised,
    /// Alerts were resolved.
    Resolved,
    /// Nobody has acknowledged alerts.
    Escalated,
    /// Alerts open and clear all the time.
    Flapping,
    /// Sums up what exceeded the limit of messages.
    Overflow,
    /// Sums up a day.
    Digest,
    /// Test of a channel by a person.
    Test,
    /// An event that a channel has subscribed to.
    Event,
    /// A report of the fleet.
    Report,
    /// Every alert of an incident was acknowledged here; for services that keep incidents.
    Acknowledged,
    /// Alerts became more severe, for those who are notified of the greater severity alone.
    Worsened,
    /// Messages became too old while their channel was off or did not answer, and were given up.
    Missed,
}

named!(pub NotificationKind, parse -> Option);

/// Alert of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifiedAlert {
    /// The alert.
    pub alert: AlertId,
    /// Rule.
    pub rule: Rule,
    /// Subject.
    pub subject: Subject,
    /// Name of the subject.
    pub name: String,
    /// Groups of a device.
    pub groups: Vec<String>,
    /// Severity.
    pub severity: Severity,
    /// Reason.
    pub reason: String,
    /// When it was raised.
    pub opened_at: Timestamp,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
}

impl NotifiedAlert {
    /// The alert of a rule and subject.
    pub(super) fn of(key: &AlertKey, tracked: &Tracked) -> Self {
        Self {
            alert: tracked.alert,
            rule: key.rule,
            subject: key.subject.clone(),
            name: tracked.labels.name.clone(),
            groups: tracked.labels.groups.clone(),
            severity: tracked.severity,
            reason: tracked.reason.clone(),
            opened_at: tracked.opened_at,
            resolved_at: tracked.resolved_at,
        }
    }
}

/// Thread of which a message that sums up several tells something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadMark {
    /// Name.
    pub name: String,
    /// Whether nothing of it fires any more that the message's channels were notified of.
    pub ends: bool,
}

/// Notification: one message, for one or several channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Kind.
    pub kind: NotificationKind,
    /// The greatest severity of its alerts.
    pub severity: Severity,
    /// Channels.
    pub channels: Vec<ChannelId>,
    /// Thread that it belongs to: the key by which sinks put messages together.
    pub thread: String,
    /// Whether it is the first message of its thread.
    pub begins_thread: bool,
    /// Whether nothing of the thread fires any more that its channels were notified of.
    pub ends_thread: bool,
    /// Threads of its alerts, where it sums up several for a channel that keeps incidents.
    pub threads: Vec<ThreadMark>,
    /// Alerts, the oldest first.
    pub alerts: Vec<NotifiedAlert>,
}

impl Notification {
    /// One line that says it all: "143 devices offline, 140 of them in group north, since 10:42 UTC".
    pub fn headline(&self) -> String {
        let count = self.alerts.len() as u64;
        let mut by_rule: BTreeMap<Rule, u64> = BTreeMap::new();
        for alert in &self.alerts {
            *by_rule.entry(alert.rule).or_default() += 1;
        }
        match (self.kind, self.alerts.as_slice(), by_rule.len()) {
            (NotificationKind::Test, ..) => "Test of this channel".into(),
            (NotificationKind::Overflow, ..) => format!("Too many messages; in short: {}", rules(&by_rule)),
            (NotificationKind::Digest, [], _) => "No alerts since the last digest".into(),
            (NotificationKind::Digest, ..) => format!("Since the last digest: {}", rules(&by_rule)),
            (_, [], _) => "No alerts".into(),
            (kind, [only], _) => {
                let (label, name) = (only.rule.spec().label, if only.name.is_empty() { "the cluster" } else { &only.name });
                let at = clock(only.opened_at);
                match kind {
                    NotificationKind::Resolved => format!("Resolved: {label}: {name}, after {}", lasted(only)),
                    NotificationKind::Escalated => format!("Not acknowledged: {label}: {name}, since {at}"),
                    NotificationKind::Acknowledged => format!("Acknowledged: {label}: {name}"),
                    NotificationKind::Worsened => format!("Now {}: {label}: {name}, since {at}", self.severity.as_str()),
                    NotificationKind::Flapping => format!("Flapping: {label}: {name}"),
                    _ => format!("{label}: {name}, since {at}"),
                }
            }
            (kind, [first, ..], 1) => {
                let what = format!("{} {}{}", quantity::number(count), first.rule.spec().plural, self.largest_group());
                match kind {
                    NotificationKind::Resolved => {
                        let longest = self.alerts.iter().map(|alert| (seconds(alert), alert)).max_by_key(|(lasted, _)| *lasted);
                        format!("Resolved: {what}, after up to {}", longest.map_or_else(String::new, |(_, alert)| lasted(alert)))
                    }
                    NotificationKind::Escalated => format!("Not acknowledged: {what}, since {}", clock(first.opened_at)),
                    NotificationKind::Flapping => format!("Flapping: {what}"),
                    NotificationKind::Acknowledged => format!("Acknowledged: {what}"),
                    NotificationKind::Worsened => format!("Now {}: {what}, since {}", self.severity.as_str(), clock(first.opened_at)),
                    _ => format!("{what}, since {}", clock(first.opened_at)),
                }
            }
            _ => rules(&by_rule),
        }
    }

    /// ", 140 of them in group north" of several devices, where a group holds more than half of them; ", all in group north".
    fn largest_group(&self) -> String {
        let mut groups: BTreeMap<&str, u64> = BTreeMap::new();
        for group in self.alerts.iter().flat_map(|alert| &alert.groups) {
            *groups.entry(group).or_default() += 1;
        }
        let count = self.alerts.len() as u64;
        match groups.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0))) {
            Some((group, of)) if of == count => format!(", all in group {group}"),
            Some((group, of)) if of * 2 > count => format!(", {} of them in group {group}", quantity::number(of)),
            _ => String::new(),
        }
    }

    /// What is kept of it and sent: one line that says it all, and the first alerts.
    pub fn message(&self) -> Message {
        Message {
            kind: self.kind,
            severity: self.severity,
            thread: self.thread.clone(),
            begins_thread: self.begins_thread,
            ends_thread: self.ends_thread,
            threads: self.threads.clone(),
            headline: self.headline(),
            count: self.alerts.len(),
            alerts: self.alerts.iter().take(LISTED_MAX).cloned().collect(),
            event: None,
            report: None,
        }
    }
}

/// Message: a notification as it is kept until it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Kind.
    pub kind: NotificationKind,
    /// The greatest severity of its alerts.
    pub severity: Severity,
    /// Thread that it belongs to.
    pub thread: String,
    /// Whether it is the first message of its thread.
    pub begins_thread: bool,
    /// Whether nothing of the thread fires any more that its channels were notified of.
    pub ends_thread: bool,
    /// Threads of its alerts, where it sums up several for a channel that keeps incidents.
    pub threads: Vec<ThreadMark>,
    /// One line that says it all.
    pub headline: String,
    /// Number of all its alerts.
    pub count: usize,
    /// The first alerts, at most [`LISTED_MAX`].
    pub alerts: Vec<NotifiedAlert>,
    /// The event, of a message about one.
    pub event: Option<AuditedEvent>,
    /// The report, of a message that is one.
    pub report: Option<ReportMessage>,
}

impl Message {
    /// Message about an event that a channel has subscribed to. Those of a subscription are a thread, so that they keep their order.
    pub fn of_event(subscription: SubscriptionId, event: AuditedEvent) -> Self {
        Self {
            kind: NotificationKind::Event,
            severity: Severity::Info,
            thread: format!("events-{subscription}"),
            begins_thread: false,
            ends_thread: false,
            threads: vec![],
            headline: event.headline(),
            count: 0,
            alerts: vec![],
            event: Some(event),
            report: None,
        }
    }

    /// Message that is a report, a thread of its own.
    pub fn of_report(thread: String, headline: String, report: ReportMessage) -> Self {
        Self {
            kind: NotificationKind::Report,
            severity: Severity::Info,
            thread,
            begins_thread: true,
            ends_thread: true,
            threads: vec![],
            headline,
            count: 0,
            alerts: vec![],
            event: None,
            report: Some(report),
        }
    }

    /// Message about messages that a channel has missed, `count` of them, the first queued at `since`.
    pub fn of_missed(channel: ChannelId, count: u64, since: Timestamp, now: Timestamp) -> Self {
        let messages = quantity::count(count, "message", "messages");
        let (was, hours) = (if count == 1 { "was" } else { "were" }, GIVE_UP_AFTER.num_hours());
        Self {
            kind: NotificationKind::Missed,
            severity: Severity::Warning,
            thread: format!("missed-{channel}-{}", now.timestamp_millis()),
            begins_thread: true,
            ends_thread: true,
            threads: vec![],
            headline: format!(
                "{messages} {was} left out for this channel since {} UTC: it was off, did not answer for {hours} h, or had too many events",
                since.format("%Y-%m-%d %H:%M")
            ),
            count: usize::try_from(count).unwrap_or(usize::MAX),
            alerts: vec![],
            event: None,
            report: None,
        }
    }

    /// A line for each alert that is listed, and how many are not: name and reason; of a resolved one also how long it lasted.
    pub fn lines(&self) -> Vec<(&NotifiedAlert, String)> {
        let several = self.alerts.windows(2).any(|pair| pair[0].rule != pair[1].rule);
        let line = |alert: &NotifiedAlert| {
            let rule = if several { format!("{}: ", alert.rule.spec().label) } else { String::new() };
            match alert.resolved_at {
                Some(_) => format!("{rule}{}, lasted {}", alert.reason, lasted(alert)),
                None => format!("{rule}{}", alert.reason),
            }
        };
        self.alerts.iter().map(|alert| (alert, line(alert))).collect()
    }

    /// Number of alerts that are not listed.
    pub fn unlisted(&self) -> usize {
        if self.kind == NotificationKind::Missed {
            // It counts messages.
            return 0;
        }
        self.count.saturating_sub(self.alerts.len())
    }
}

/// "12 devices offline, 3 low batteries"; the most first.
fn rules(by_rule: &BTreeMap<Rule, u64>) -> String {
    let mut counted: Vec<_> = by_rule.iter().collect();
    counted.sort_by_key(|(rule, count)| (std::cmp::Reverse(**count), **rule));
    let text = |(rule, count): &(&Rule, &u64)| match **count {
        1 => format!("1 alert \"{}\"", rule.spec().label),
        count => format!("{} {}", quantity::number(count), rule.spec().plural),
    };
    counted.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn seconds(alert: &NotifiedAlert) -> i64 {
    alert.resolved_at.map_or(0, |at| (at - alert.opened_at).num_seconds())
}

fn lasted(alert: &NotifiedAlert) -> String {
    quantity::duration(seconds(alert))
}

fn clock(at: Timestamp) -> String {
    format!("{} UTC", at.format("%H:%M"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::DeviceId;

    /// An alert of a device that was raised at 10:42.
    pub(crate) fn offline(number: u128, groups: &[&str], resolved_after_s: Option<i64>) -> NotifiedAlert {
        let opened_at: Timestamp = "2026-11-30T10:42:10Z".parse().unwrap();
        NotifiedAlert {
            alert: AlertId(uuid::Uuid::from_u128(number)),
            rule: Rule::DeviceOffline,
            subject: Subject::Device(DeviceId(uuid::Uuid::from_u128(number))),
            name: format!("till-{number}"),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            severity: Severity::Warning,
            reason: "no heartbeat for 12 min, limit 12 min".into(),
            opened_at,
            resolved_at: resolved_after_s.map(|seconds| opened_at + chrono::TimeDelta::seconds(seconds)),
        }
    }

    /// A report whose second line names this version.
    pub(crate) fn report(version: &str) -> Message {
        let line = |label: &str, value: &str, difference: &str| (label.to_owned(), value.to_owned(), difference.to_owned());
        let report = ReportMessage {
            path: "/reports?period=daily&date=2026-11-29".into(),
            file_name: "report.csv".into(),
            lines: vec![line("Online", "98 %", "+1 points"), line(&format!("Agent {version}"), "3 devices", "")],
            csv: "\"a\"\r\n".into(),
        };
        Message::of_report("report-1".into(), "Daily report, 2026-11-29: 98 % online".into(), report)
    }

    pub(crate) fn notification(kind: NotificationKind, alerts: Vec<NotifiedAlert>) -> Notification {
        Notification {
            kind,
            severity: Severity::Warning,
            channels: vec![],
            thread: "device_offline-1".into(),
            begins_thread: true,
            ends_thread: false,
            threads: vec![],
            alerts,
        }
    }

    #[test]
    fn a_headline_says_how_many_where_and_since_when() {
        use NotificationKind::{Digest, Escalated, Flapping, Overflow, Raised, Resolved, Test};
        let many = |north: u128, others: u128, resolved: Option<i64>| -> Vec<_> {
            (0..north).map(|n| offline(n, &["north"], resolved)).chain((0..others).map(|n| offline(1_000 + n, &[], resolved))).collect()
        };
        let battery = NotifiedAlert { rule: Rule::LowBattery, ..offline(7, &[], None) };
        for (kind, alerts, headline) in [
            (Raised, many(140, 3, None), "143 devices offline, 140 of them in group north, since 10:42 UTC"),
            (Raised, many(2, 0, None), "2 devices offline, all in group north, since 10:42 UTC"),
            (Raised, many(1, 1, None), "2 devices offline, since 10:42 UTC"),
            (Raised, many(1, 0, None), "Device offline: till-0, since 10:42 UTC"),
            (Resolved, many(1, 0, Some(3_700)), "Resolved: Device offline: till-0, after 1 h 2 min"),
            (Resolved, many(300, 0, Some(600)), "Resolved: 300 devices offline, all in group north, after up to 10 min"),
            (Escalated, many(1, 0, None), "Not acknowledged: Device offline: till-0, since 10:42 UTC"),
            (Flapping, many(1, 0, None), "Flapping: Device offline: till-0"),
            (
                Overflow,
                vec![offline(1, &[], None), offline(2, &[], None), battery],
                "Too many messages; in short: 2 devices offline, 1 alert \"Low battery\"",
            ),
            (Digest, vec![], "No alerts since the last digest"),
            (Test, vec![], "Test of this channel"),
        ] {
            assert_eq!(notification(kind, alerts).headline(), headline);
        }
        let system = NotifiedAlert { rule: Rule::DatabaseAway, name: String::new(), ..offline(1, &[], None) };
        assert_eq!(notification(Raised, vec![system]).headline(), "Database away: the cluster, since 10:42 UTC");
    }

    #[test]
    fn missed_messages_are_counted() {
        let (channel, since): (_, Timestamp) = (ChannelId(uuid::Uuid::nil()), "2026-11-28T08:05:00Z".parse().unwrap());
        let missed = |count| Message::of_missed(channel, count, since, since);
        let said = "1,200 messages were left out for this channel since 2026-11-28 08:05 UTC: it was off, did not answer for 24 h, or had too many events";
        assert_eq!(missed(1_200).headline, said);
        assert_eq!((missed(1_200).count, missed(1_200).unlisted()), (1_200, 0));
        assert!(missed(1).headline.starts_with("1 message was left out"));
    }

    #[test]
    fn some_are_listed_and_the_others_counted() {
        let all = notification(NotificationKind::Resolved, (0..143).map(|n| offline(n, &[], Some(60))).collect()).message();
        assert_eq!((all.lines().len(), all.unlisted()), (LISTED_MAX, 133));
        assert_eq!(all.lines()[0].1, "no heartbeat for 12 min, limit 12 min, lasted 1 min");
    }
}
