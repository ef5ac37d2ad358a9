//! Finds out what people ought to be notified of, and what of it is held for a cause.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::TimeDelta;

use crate::alert::{AlertKey, FLAP_PERIOD, FoldedAlert, FoldedMatcher, MatchedAlert, Rule};
use crate::notification::state::{PendingNotice, Suppression, Surroundings, Tracked};
use crate::notification::{LEVEL_MAX, NotificationKind};
use crate::{ChannelId, Timestamp};

use super::{Decision, Settled};

/// Time after the loss of a node in which devices that fall silent are put down to it.
const LOST_NODE_INHIBITS_FOR: TimeDelta = TimeDelta::minutes(15);

/// Something to tell that nothing holds.
pub(super) struct Waiting {
    /// Rule and subject.
    pub(super) key: AlertKey,
    /// Kind of the message.
    pub(super) kind: NotificationKind,
    /// Channels.
    pub(super) channels: BTreeSet<ChannelId>,
    /// When it may be sent, with its group.
    pub(super) due: Timestamp,
    /// Level of escalation.
    pub(super) level: u8,
}

/// Silences and windows that hold now, and when any of them changes.
struct Muting<'a> {
    silences: Vec<(&'a FoldedMatcher, Timestamp)>,
    windows: Vec<(&'a FoldedMatcher, Option<Timestamp>)>,
}

impl Muting<'_> {
    /// Cause for which an alert is muted, and until when at least.
    fn of(&self, alert: &FoldedAlert<'_>) -> Option<(Suppression, Option<Timestamp>)> {
        let window = self.windows.iter().find(|(matcher, _)| matcher.matches(alert));
        if let Some((_, until)) = window {
            return Some((Suppression::MaintenanceWindow, *until));
        }
        let silence = self.silences.iter().find(|(matcher, _)| matcher.matches(alert))?;
        Some((Suppression::Silenced, Some(silence.1)))
    }
}

/// Holds what is not to be notified now, and answers what else there is.
pub(super) fn hold(decision: &mut Decision, surroundings: &Surroundings<'_>, now: Timestamp) -> Vec<Waiting> {
    let inhibitors = inhibitors(decision, surroundings, now);
    let muting = Muting { silences: surroundings.setup.silences_at(now), windows: surroundings.setup.windows_at(now) };
    let (mut waiting, mut settled, mut wakeups) = (Vec::new(), Vec::new(), Vec::new());
    for (key, tracked) in &mut decision.state.tracked {
        let Some(pending_notice) = tracked.pending_notice() else {
            set_waiting(tracked, None, None);
            let more = more_severe(key, tracked, &muting, surroundings, now, &mut wakeups);
            waiting.extend(more.or_else(|| escalation(key, tracked, &muting, surroundings, now, &mut wakeups)));
            continue;
        };
        let alert = FoldedAlert::of(MatchedAlert { key, severity: tracked.severity, labels: &tracked.labels });
        let is_raise = pending_notice == PendingNotice::Raise;
        let inhibited = inhibitors.iter().find(|(rule, _)| is_raise && key.rule.is_inhibited_by(*rule)).map(|(_, until)| *until);
        // Matched only where it counts: a thousand silences times ten thousand alerts take long.
        let muted = if inhibited.is_some() { None } else { muting.of(&alert) };
        let flapping = tracked.openings.flapping_until(surroundings.settings.flap_limit, now);
        let last = if is_raise { tracked.raise_notified_at } else { tracked.resolve_notified_at };
        let cools_until = last.map(|at| at + surroundings.settings.cooldown).filter(|until| *until > now);
        let channels = match pending_notice {
            PendingNotice::Raise => surroundings.setup.recipients(&alert, 0, now),
            // Whoever was notified of the raise, whatever the routes say by now; one that is off gets it when it is on again.
            PendingNotice::Resolve => {
                tracked.notified_channels.iter().copied().filter(|channel| surroundings.setup.channels.all.contains(channel)).collect()
            }
        };
        // Each channel that was notified of the raise is deleted: there is nobody to take it back from.
        if !is_raise && channels.is_empty() {
            let tracked = Arc::make_mut(tracked);
            tracked.notified = crate::notification::Notified::Resolved;
            (tracked.waiting_since, tracked.held) = (None, None);
            settled.push((tracked.unsettled.take(), Settled::Suppressed(Suppression::NoRoute)));
            continue;
        }
        let cause = match (inhibited, muted, flapping, cools_until) {
            (Some(until), ..) => Some((Suppression::Inhibited, until)),
            (_, Some((cause, until)), ..) => Some((cause, until)),
            (.., Some(until), _) => Some((Suppression::Flapping, Some(until))),
            (.., Some(until)) => Some((Suppression::Cooldown, Some(until))),
            _ if channels.is_empty() => Some((Suppression::NoRoute, surroundings.setup.opens_at(&alert, 0, now))),
            _ => None,
        };
        match cause {
            Some((cause, until)) => {
                wakeups.extend(until.filter(|until| *until > now));
                if cause == Suppression::Flapping {
                    let channels = surroundings.setup.recipients(&alert, 0, now);
                    let again = tracked
                        .flapping_notified_at
                        .map(|at| at + FLAP_PERIOD.max(surroundings.settings.cooldown))
                        .filter(|again| *again > now);
                    wakeups.extend(again);
                    if again.is_none() && !channels.is_empty() {
                        waiting.push(Waiting { key: key.clone(), kind: NotificationKind::Flapping, channels, due: now, level: 0 });
                    }
                }
                set_waiting(tracked, None, Some(cause));
            }
            None => {
                let since = tracked.waiting_since.unwrap_or(now);
                set_waiting(tracked, Some(since), None);
                let kind = if is_raise { NotificationKind::Raised } else { NotificationKind::Resolved };
                waiting.push(Waiting { key: key.clone(), kind, channels, due: since + surroundings.settings.group_wait, level: 0 });
            }
        }
    }
    for (id, settled) in settled {
        decision.settle(id, settled);
    }
    wakeups.into_iter().for_each(|at| decision.wake_at(at));
    waiting
}

/// Notes since when something waits, and why it is held; what is so already is not copied.
fn set_waiting(tracked: &mut Arc<Tracked>, waiting_since: Option<Timestamp>, held: Option<Suppression>) {
    if (tracked.waiting_since, tracked.held) != (waiting_since, held) {
        let tracked = Arc::make_mut(tracked);
        (tracked.waiting_since, tracked.held) = (waiting_since, held);
    }
}

/// Rules whose alerts inhibit others now, and until when, if that is known.
fn inhibitors(decision: &Decision, surroundings: &Surroundings<'_>, now: Timestamp) -> Vec<(Rule, Option<Timestamp>)> {
    let inhibits = |(key, tracked): (&AlertKey, &Arc<Tracked>)| {
        Rule::inhibitors().any(|rule| rule == key.rule).then_some(())?;
        let ended = tracked.resolved_at.map(|at| at + surroundings.settings.inhibition_tail);
        // Others take over what a node had within seconds: one that stays away is no reason for silence later.
        let passes = (key.rule == Rule::NodeLost).then(|| tracked.opened_at + LOST_NODE_INHIBITS_FOR);
        let until = ended.into_iter().chain(passes).min();
        until.is_none_or(|until| until > now).then_some((key.rule, until))
    };
    decision.state.tracked.iter().filter_map(inhibits).collect()
}

/// The channels that an alert is for now that it is more severe than people were notified, of those that were not notified of it.
fn more_severe(
    key: &AlertKey,
    tracked: &Tracked,
    muting: &Muting<'_>,
    surroundings: &Surroundings<'_>,
    now: Timestamp,
    wakeups: &mut Vec<Timestamp>,
) -> Option<Waiting> {
    if !tracked.fires() || tracked.severity <= tracked.notified_severity? {
        return None;
    }
    let alert = FoldedAlert::of(MatchedAlert { key, severity: tracked.severity, labels: &tracked.labels });
    if let Some((_, until)) = muting.of(&alert) {
        wakeups.extend(until.filter(|until| *until > now));
        return None;
    }
    // Those of routes that are shut hear of it when they open.
    wakeups.extend(surroundings.setup.opens_at(&alert, 0, now).filter(|at| *at > now));
    let mut channels = surroundings.setup.recipients(&alert, 0, now);
    channels.retain(|channel| !tracked.notified_channels.contains(channel));
    let waits = !channels.is_empty();
    waits.then(|| Waiting { key: key.clone(), kind: NotificationKind::Worsened, channels, due: now, level: tracked.level })
}

/// The next level of routes, if nobody looks after an alert in time.
fn escalation(
    key: &AlertKey,
    tracked: &Tracked,
    muting: &Muting<'_>,
    surroundings: &Surroundings<'_>,
    now: Timestamp,
    wakeups: &mut Vec<Timestamp>,
) -> Option<Waiting> {
    let notified_at = tracked.level_notified_at.or(tracked.raise_notified_at)?;
    let level = tracked.level + 1;
    if !tracked.fires() || tracked.acknowledged || level > LEVEL_MAX || !surroundings.setup.escalates_to(level) {
        return None;
    }
    let due = notified_at + surroundings.settings.escalate_after;
    if due > now {
        wakeups.push(due);
        return None;
    }
    let alert = &FoldedAlert::of(MatchedAlert { key, severity: tracked.severity, labels: &tracked.labels });
    if let Some((_, until)) = muting.of(alert) {
        wakeups.extend(until.filter(|until| *until > now));
        return None;
    }
    // A level without an open route is passed over.
    let next = (level..=LEVEL_MAX).map(|level| (level, surroundings.setup.recipients(alert, level, now)));
    match next.into_iter().find(|(_, channels)| !channels.is_empty()) {
        Some((level, channels)) => Some(Waiting { key: key.clone(), kind: NotificationKind::Escalated, channels, due: now, level }),
        None => {
            wakeups.extend(
                (level..=LEVEL_MAX).filter_map(|level| surroundings.setup.opens_at(alert, level, now)).filter(|at| *at > now).min(),
            );
            None
        }
    }
}
