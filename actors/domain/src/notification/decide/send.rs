//! Puts what waits into messages: by rule, kind and channels, within the limit of messages a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::TimeDelta;

use crate::alert::{AlertKey, Rule, Severity};
use crate::notification::message::{Notification, NotificationKind, NotifiedAlert};
use crate::notification::state::{CoordinatorState, Notified, Surroundings, Thread, TransitionId};
use crate::{ChannelId, Timestamp};

use super::hold::Waiting;
use super::{Decision, Settled, incidents};

/// Period of the limit of messages.
pub(super) const MINUTE: TimeDelta = TimeDelta::seconds(60);

type GroupKey = (Rule, NotificationKind, BTreeSet<ChannelId>);

/// Group of what waits: one message.
struct Group {
    kind: NotificationKind,
    channels: BTreeSet<ChannelId>,
    /// Rules and subjects, with the kind of the message of each, and its level of escalation.
    keys: Vec<(AlertKey, NotificationKind, u8)>,
    severity: Severity,
    due: Timestamp,
    /// Whether nothing of the rule is left that its channels were notified of.
    ends: bool,
}

/// Sends every group that is due, as far as the limit allows.
pub(super) fn send(decision: &mut Decision, surroundings: &Surroundings<'_>, waiting: Vec<Waiting>, now: Timestamp) {
    let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
    for Waiting { key, kind, channels, due, level } in waiting {
        let severity = decision.state.tracked.get(&key).map_or(Severity::Info, |tracked| tracked.severity);
        let due = paced(decision.state.threads.get(&key.rule), kind, surroundings, due);
        let group =
            groups.entry((key.rule, kind, channels.clone())).or_insert(Group { kind, channels, keys: vec![], severity, due, ends: false });
        group.severity = group.severity.max(severity);
        group.due = group.due.min(due);
        group.keys.push((key, kind, level));
    }
    let (mut due, later): (Vec<_>, Vec<_>) = groups.into_values().partition(|group| group.due <= now);
    later.iter().for_each(|group| decision.wake_at(group.due));
    if due.is_empty() {
        return;
    }
    let most = usize::try_from(surroundings.settings.per_minute_max.max(1)).unwrap_or(usize::MAX);
    let slots = most.saturating_sub(decision.state.sent.len());
    if slots == 0 {
        if let Some(oldest) = decision.state.sent.first() {
            decision.wake_at(*oldest + MINUTE);
        }
        return;
    }
    // The most severe first, then those that wait the longest; the rest is summed up in the last message of the minute.
    due.sort_by_key(|group| (std::cmp::Reverse(group.severity), group.due));
    let mut due = by_end(due, &decision.state);
    let rest = if due.len() > slots { due.split_off(slots - 1) } else { vec![] };
    let mut noticed = BTreeMap::new();
    for group in due {
        emit(decision, surroundings, group, &mut noticed, now);
    }
    let summed = rest.into_iter().reduce(|mut all, mut group| {
        all.channels.append(&mut group.channels);
        all.keys.append(&mut group.keys);
        all.severity = all.severity.max(group.severity);
        all
    });
    if let Some(summed) = summed {
        emit(decision, surroundings, Group { kind: NotificationKind::Overflow, ..summed }, &mut noticed, now);
    }
    // What was sent is notified; of what fires, the next level may be due some time.
    let escalates = surroundings.setup.escalates_to(1);
    if escalates && decision.notifications.iter().any(|notification| notification.kind != NotificationKind::Resolved) {
        decision.wake_at(now + surroundings.settings.escalate_after);
    }
}

/// Parts the channels of resolves: for some of them the thread ends, others were notified of alerts of the rule that still fire.
fn by_end(groups: Vec<Group>, state: &CoordinatorState) -> Vec<Group> {
    let mut resolved: BTreeSet<AlertKey> = BTreeSet::new();
    let mut parted = Vec::with_capacity(groups.len());
    for group in groups {
        if group.kind != NotificationKind::Resolved {
            parted.push(group);
            continue;
        }
        resolved.extend(group.keys.iter().map(|(key, ..)| key.clone()));
        let rules: BTreeSet<Rule> = group.keys.iter().map(|(key, ..)| key.rule).collect();
        let fires = state
            .tracked
            .iter()
            .filter(|(key, tracked)| rules.contains(&key.rule) && tracked.notified == Notified::Firing && !resolved.contains(*key));
        let fires_for: BTreeSet<ChannelId> = fires.flat_map(|(_, tracked)| tracked.notified_channels.iter().copied()).collect();
        let (goes_on, ends): (BTreeSet<_>, BTreeSet<_>) = group.channels.iter().copied().partition(|channel| fires_for.contains(channel));
        for (channels, ends) in [(goes_on, false), (ends, true)] {
            if !channels.is_empty() {
                parted.push(Group { channels, keys: group.keys.clone(), ends, ..group });
            }
        }
    }
    parted
}

/// When a group may be sent, given the last message of its kind about the rule.
fn paced(thread: Option<&Thread>, kind: NotificationKind, surroundings: &Surroundings<'_>, due: Timestamp) -> Timestamp {
    let last = thread.and_then(|thread| match kind {
        NotificationKind::Raised => thread.raised_sent_at,
        NotificationKind::Resolved => thread.resolved_sent_at,
        _ => None,
    });
    last.map_or(due, |last| due.max(last + surroundings.settings.group_interval))
}

/// Makes the message of a group, and notes that people are notified.
fn emit(
    decision: &mut Decision,
    surroundings: &Surroundings<'_>,
    group: Group,
    noticed: &mut BTreeMap<AlertKey, (TransitionId, usize)>,
    now: Timestamp,
) {
    let index = decision.notifications.len();
    let mut alerts = Vec::with_capacity(group.keys.len());
    let (mut seen, mut says) = (BTreeSet::new(), Vec::new());
    for (key, kind, level) in &group.keys {
        let Some(tracked) = decision.state.tracked.get_mut(key).map(Arc::make_mut) else { continue };
        tracked.waiting_since = None;
        match kind {
            NotificationKind::Raised => {
                (tracked.notified, tracked.raise_notified_at, tracked.level, tracked.level_notified_at) =
                    (Notified::Firing, Some(now), 0, None);
                tracked.notified_channels = group.channels.iter().copied().collect();
                tracked.notified_severity = Some(tracked.severity);
                if tracked.acknowledged {
                    decision.acknowledged.insert(key.rule);
                }
            }
            NotificationKind::Resolved => {
                (tracked.notified, tracked.resolve_notified_at) = (Notified::Resolved, Some(now));
                tracked.notified_channels.clear();
            }
            NotificationKind::Escalated | NotificationKind::Worsened => {
                if *kind == NotificationKind::Escalated {
                    tracked.level = *level;
                    tracked.level_notified_at = Some(now);
                }
                let notified: BTreeSet<_> = tracked.notified_channels.iter().copied().chain(group.channels.iter().copied()).collect();
                tracked.notified_channels = notified.into_iter().collect();
            }
            _ => tracked.flapping_notified_at = Some(now),
        }
        if seen.insert(tracked.alert) {
            alerts.push(NotifiedAlert::of(key, tracked));
        }
        // The first message of a change settles it; another part of its recipients may have one of its own.
        let settles = matches!(kind, NotificationKind::Raised | NotificationKind::Resolved);
        match (tracked.unsettled.take_if(|_| settles), noticed.get(key).filter(|_| settles)) {
            (Some(id), _) => {
                noticed.insert(key.clone(), (id, index));
                decision.settled.push((id, Settled::Notified(index)));
                says.push(id);
            }
            (None, Some((id, first))) if *first != index => {
                decision.further.push((*id, index));
                says.push(*id);
            }
            _ => {}
        }
    }
    alerts.sort_by_key(|alert| (alert.opened_at, alert.alert));
    let mut rules: BTreeMap<Rule, BTreeSet<NotificationKind>> = BTreeMap::new();
    for (key, kind, _) in &group.keys {
        rules.entry(key.rule).or_default().insert(*kind);
    }
    let mut begins_thread = false;
    for (rule, kinds) in &rules {
        let thread = decision.state.threads.entry(*rule).or_insert_with(|| {
            begins_thread = true;
            Thread { began_at: now, raised_sent_at: None, resolved_sent_at: None }
        });
        if kinds.contains(&NotificationKind::Raised) {
            thread.raised_sent_at = Some(now);
        }
        if kinds.contains(&NotificationKind::Resolved) {
            thread.resolved_sent_at = Some(now);
        }
    }
    let is_overflow = group.kind == NotificationKind::Overflow;
    let thread = match rules.first_key_value() {
        Some((rule, _)) if !is_overflow => decision.state.threads.get(rule).map_or_else(String::new, |thread| thread.name(*rule)),
        _ => format!("overflow-{}", now.timestamp_millis()),
    };
    let parts = match is_overflow {
        true => incidents::parted(&decision.state, surroundings, &rules, &group.channels),
        false => vec![(group.channels.iter().copied().collect(), vec![])],
    };
    decision.state.sent.push(now);
    for (part, (channels, threads)) in parts.into_iter().enumerate() {
        if part > 0 {
            decision.further.extend(says.iter().map(|id| (*id, index + part)));
        }
        decision.notifications.push(Notification {
            kind: group.kind,
            severity: group.severity,
            channels,
            thread: thread.clone(),
            begins_thread: begins_thread || is_overflow,
            ends_thread: group.kind == NotificationKind::Resolved && group.ends,
            threads,
            alerts: alerts.clone(),
        });
    }
}
