//! P9: each raise and each resolve of an alert is notified at least once or suppressed for a named cause, and nothing is notified twice within
//! its cooldown. Judged from what sinks received and from the rows of alerts.

mod facts;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::history::utc_text;
use super::{Check, Evidence, FaultPeriodKind, History, Violation};
use crate::sink::Arrival;
pub use facts::{AlertFacts, ChangeRow, DeliveryRow, NotificationRow, SilentSink};
pub(super) use rows::read;

const PROMISE: &str = "P9";
/// Time around an acknowledgement within which a fault explains that it was not noted: the statement's timeout, and the time that a node takes to die.
const NOTED_WITHIN_US: i64 = 15_000_000;
/// Kind of the test messages, which no alert is behind.
const TEST: &str = "test";

/// Checks P9.
pub(super) fn check(history: &History) -> Check {
    let facts = &history.alerts;
    let judge = Judge::new(history);
    let mut violations = judge.changes();
    violations.extend(judge.deliveries());
    violations.extend(judge.arrivals());
    violations.extend(judge.cooldowns());
    violations.extend(facts.still_open.iter().map(|(device, rule)| violation(device, format!("{rule} is open although it does not hold"))));
    let causes = judge.causes();
    Check {
        promise: PROMISE,
        looked_at: match (facts.changes.len(), facts.arrivals.len()) {
            (0, 0) => "no alerts: nothing to check".into(),
            (changes, arrivals) => {
                format!("{changes} raises and resolves, {} notifications, {arrivals} messages at sinks", facts.notifications.len())
            }
        },
        violations,
        notes: causes.into_iter().map(|(cause, count)| format!("{count} {cause}")).collect(),
    }
}

fn violation(device: &str, what: String) -> Violation {
    Violation::new(PROMISE, device, what)
}

/// The facts, put in order.
struct Judge<'a> {
    history: &'a History,
    facts: &'a AlertFacts,
    /// Changes by the notification that they are part of.
    of_notification: HashMap<&'a str, Vec<&'a ChangeRow>>,
    /// Messages by sink and notification, in the order of their arrival.
    arrived: BTreeMap<(&'a str, &'a str), Vec<&'a Arrival>>,
    /// Messages without a notification in the database.
    unknown: Vec<&'a Arrival>,
}

impl<'a> Judge<'a> {
    fn new(history: &'a History) -> Self {
        let facts = &history.alerts;
        let mut of_notification: HashMap<&str, Vec<&ChangeRow>> = HashMap::new();
        for change in &facts.changes {
            of_notification.entry(change.notification.as_deref().unwrap_or_default()).or_default().push(change);
            for further in &change.further {
                of_notification.entry(further).or_default().push(change);
            }
        }
        // A mail that begins a thread is named by it.
        let begins: HashMap<&str, &str> = facts
            .notifications
            .iter()
            .filter(|(_, row)| row.begins_thread && row.kind == "raised")
            .map(|(id, row)| (row.thread.as_str(), id.as_str()))
            .collect();
        let mut sorted: Vec<&Arrival> = facts.arrivals.iter().filter(|arrival| arrival.kind.as_deref() != Some(TEST)).collect();
        sorted.sort_by_key(|arrival| arrival.at_us);
        let (mut arrived, mut unknown) = (BTreeMap::new(), Vec::new());
        for arrival in sorted {
            let by_thread = || arrival.thread.as_deref().and_then(|thread| begins.get(thread).copied());
            let id = arrival.notification.as_deref().or_else(by_thread);
            match id.and_then(|id| facts.notifications.get_key_value(id)) {
                Some((_, row)) if row.kind == TEST => {}
                Some((id, _)) => arrived.entry((arrival.sink.as_str(), id.as_str())).or_insert_with(Vec::new).push(arrival),
                None => unknown.push(arrival),
            }
        }
        Self { history, facts, of_notification, arrived, unknown }
    }

    /// Changes that are neither notified, nor suppressed, nor held for a cause.
    fn changes(&self) -> Vec<Violation> {
        let (facts, mut found) = (self.facts, Vec::new());
        for change in &facts.changes {
            let lost = match (&change.notification, &change.suppressed_by, &change.held) {
                (Some(id), ..) if !facts.notifications.contains_key(id) => Some(format!("is notified by {id}, which is not there")),
                (Some(_), ..) | (_, Some(_), _) | (.., Some(_)) => None,
                _ if facts.read_us - change.at_us <= facts.settled_within_us => None,
                _ => Some(format!("is neither notified nor suppressed after {} s", (facts.read_us - change.at_us) / 1_000_000)),
            };
            found.extend(lost.map(|what| {
                let at = utc_text(change.at_us);
                let evidence = Evidence::of_request(&change.alert).and_at(&change.kind, change.at_us).and_row(
                    "alert_transition",
                    1,
                    &[("alert_id", &change.alert), ("rule", &change.rule), ("kind", &change.kind), ("at", &at)],
                );
                violation(&change.subject, format!("{} {} of alert {}: {what}", change.rule, change.kind, change.alert)).with(evidence)
            }));
        }
        found
    }

    /// Notifications that did not reach a channel they were for.
    fn deliveries(&self) -> Vec<Violation> {
        let (facts, mut found) = (self.facts, Vec::new());
        let mut has_delivery = HashSet::new();
        for delivery in &facts.deliveries {
            has_delivery.insert(delivery.notification.as_str());
            let about = || self.of_notification.get(delivery.notification.as_str()).map_or(0, Vec::len);
            let arrivals = self.arrived.get(&(delivery.channel.as_str(), delivery.notification.as_str()));
            let reached = arrivals.is_some_and(|arrivals| arrivals.iter().any(|arrival| arrival.is_acknowledged()));
            // Channels without a sink of ours cannot be judged.
            if !facts.sinks.contains(&delivery.channel) {
                continue;
            }
            let lost = match delivery.state.as_str() {
                "delivered" if !reached => Some("is recorded as delivered, but never arrived".to_owned()),
                "dead" => Some("was given up".to_owned()),
                "queued" if facts.read_us - self.answers_since(delivery) > facts.delivered_within_us => Some("still waits".to_owned()),
                _ => None,
            };
            found.extend(lost.map(|what| {
                let evidence = Evidence::of_request(&delivery.notification).and_at("queued", delivery.queued_us).and_row(
                    "notification_delivery",
                    1,
                    &[("notification_id", &delivery.notification), ("channel", &delivery.channel), ("state", &delivery.state)],
                );
                violation("", format!("notification {} of {} changes to {}: {what}", delivery.notification, about(), delivery.channel))
                    .with(evidence)
            }));
        }
        for (id, changes) in
            self.of_notification.iter().filter(|(id, _)| facts.notifications.contains_key(**id) && !has_delivery.contains(**id))
        {
            found.push(violation("", format!("notification {id} of {} changes is for no channel", changes.len())));
        }
        found
    }

    /// From when on the sink of a delivery answers.
    fn answers_since(&self, delivery: &DeliveryRow) -> i64 {
        let healed = self.facts.silent_sinks.iter().filter(|silent| silent.sink == delivery.channel).map(|silent| silent.until_us);
        healed.chain([delivery.queued_us]).max().unwrap_or(delivery.queued_us)
    }

    /// Messages without a decision, repeats without a reason, and messages that differ from their decision.
    fn arrivals(&self) -> Vec<Violation> {
        let mut found: Vec<Violation> = self
            .unknown
            .iter()
            .map(|arrival| {
                let id = arrival.notification.as_deref().unwrap_or("without an id");
                violation("", format!("{} received \"{}\" ({id}), which is not in the database", arrival.sink, arrival.title))
            })
            .collect();
        for ((sink, id), arrivals) in &self.arrived {
            for pair in arrivals.windows(2) {
                let [first, again] = pair else { continue };
                if first.is_acknowledged() && !self.may_repeat(first, again) {
                    let after_ms = (again.at_us - first.at_us) / 1_000;
                    let what = format!("{sink} received {id} again after {after_ms} ms, although it had accepted it and nothing failed");
                    let evidence = Evidence::of_request(id).and_at("received", first.at_us).and_at("received again", again.at_us);
                    found.push(violation("", what).with(evidence));
                }
            }
            let (row, changes) = (&self.facts.notifications[*id], self.of_notification.get(id).map_or(&[][..], Vec::as_slice));
            let Some(arrival) = arrivals.first().filter(|_| matches!(row.kind.as_str(), "raised" | "resolved")) else { continue };
            if let Some(count) = arrival.count.filter(|count| *count != changes.len()) {
                found.push(violation("", format!("{sink} received {id} about {count} alerts, the database has {}", changes.len())));
            }
            let alerts: HashSet<&str> = changes.iter().map(|change| change.alert.as_str()).collect();
            for listed in arrival.alerts.iter().filter(|listed| !listed.alert_id.is_empty() && !alerts.contains(listed.alert_id.as_str())) {
                found.push(violation(
                    &listed.name,
                    format!("{sink} received {id}, which lists alert {} that it is not about", listed.alert_id),
                ));
            }
        }
        found
    }

    /// Whether a fault explains that an accepted message is sent again: its sender died, or could not note it.
    fn may_repeat(&self, first: &Arrival, again: &Arrival) -> bool {
        let answered_us = first.answered_us.unwrap_or(first.at_us);
        self.history.fault_periods.iter().any(|period| {
            let explains = period.node.is_some() || matches!(period.kind, FaultPeriodKind::NoDatabase | FaultPeriodKind::NoPrimary);
            explains
                && period.began_us <= (answered_us + NOTED_WITHIN_US).min(again.at_us)
                && period.healed_us >= first.at_us - NOTED_WITHIN_US
        })
    }

    /// Notifications of the same to a sink twice within the cooldown. The time of a message is that of its decision: a channel that was down gets them late.
    fn cooldowns(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut notified: BTreeMap<(&str, &str, &str, &str), BTreeMap<&str, i64>> = BTreeMap::new();
        let mut listed: BTreeMap<(&str, &str, &str), BTreeSet<&str>> = BTreeMap::new();
        for ((sink, id), arrivals) in &self.arrived {
            let row = &self.facts.notifications[*id];
            for change in self.of_notification.get(id).into_iter().flatten() {
                notified.entry((*sink, &change.rule, &change.subject, &change.kind)).or_default().insert(*id, row.created_us);
                listed.entry((*sink, &change.alert, &change.kind)).or_default().insert(*id);
            }
            // What the message itself says, whatever the database has of it.
            if matches!(row.kind.as_str(), "raised" | "resolved") {
                for alert in arrivals.iter().flat_map(|arrival| &arrival.alerts).filter(|alert| !alert.alert_id.is_empty()) {
                    listed.entry((*sink, &alert.alert_id, &row.kind)).or_default().insert(*id);
                }
            }
        }
        for ((sink, rule, subject, kind), notifications) in notified {
            let mut times: Vec<i64> = notifications.into_values().collect();
            times.sort_unstable();
            for pair in times.windows(2).filter(|pair| pair[1] - pair[0] < self.facts.cooldown_us) {
                let after_s = (pair[1] - pair[0]) / 1_000_000;
                let what = format!("{sink} was notified twice that {rule} is {kind}, {after_s} s apart: within the cooldown");
                found.push(violation(subject, what).with(Evidence::at("notified", pair[0]).and_at("notified again", pair[1])));
            }
        }
        for ((sink, alert, kind), notifications) in listed.into_iter().filter(|(_, notifications)| notifications.len() > 1) {
            let ids: Vec<&str> = notifications.into_iter().collect();
            found.push(violation("", format!("{sink} was notified twice that alert {alert} is {kind}: by {}", ids.join(" and "))));
        }
        found
    }

    /// How many changes came to what, and repeats that a fault explains.
    fn causes(&self) -> BTreeMap<String, usize> {
        let mut causes = BTreeMap::new();
        for change in &self.facts.changes {
            let cause = match (&change.notification, &change.suppressed_by, &change.held) {
                (Some(_), ..) => "notified".to_owned(),
                (_, Some(cause), _) => format!("suppressed: {cause}"),
                (.., Some(cause)) => format!("held: {cause}"),
                _ => "not settled yet".to_owned(),
            };
            *causes.entry(cause).or_default() += 1;
        }
        let again = |arrivals: &Vec<&Arrival>| {
            arrivals.windows(2).filter(|pair| pair[0].is_acknowledged() && self.may_repeat(pair[0], pair[1])).count()
        };
        let repeats: usize = self.arrived.values().map(again).sum();
        if repeats > 0 {
            causes.insert("repeated after a fault, with the same id".into(), repeats);
        }
        causes
    }
}

#[cfg(test)]
mod tests;
