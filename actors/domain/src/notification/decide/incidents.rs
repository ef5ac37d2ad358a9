//! Incidents of services that keep them, such as PagerDuty: one for each thread, which is acknowledged and resolved by its name.

use std::collections::{BTreeMap, BTreeSet};

use crate::ChannelId;
use crate::alert::{Rule, Severity};
use crate::notification::message::{Notification, NotificationKind, NotifiedAlert, ThreadMark};
use crate::notification::state::{CoordinatorState, Notified, Surroundings, Tracked};

use super::Decision;

/// Alerts of a rule that fire and that a channel was notified of.
fn incident(state: &CoordinatorState, rule: Rule, channel: ChannelId) -> impl Iterator<Item = (&crate::alert::AlertKey, &Tracked)> {
    let of = move |(key, tracked): &(&crate::alert::AlertKey, &std::sync::Arc<Tracked>)| {
        key.rule == rule && tracked.notified == Notified::Firing && tracked.notified_channels.contains(&channel)
    };
    state.tracked.iter().filter(of).map(|(key, tracked)| (key, &**tracked))
}

/// Acknowledges the incidents of which every alert that fires is acknowledged, now that one of them was, or that another is resolved: nobody else needs to
/// be called.
pub(super) fn acknowledge(decision: &mut Decision, surroundings: &Surroundings<'_>) {
    for rule in std::mem::take(&mut decision.acknowledged) {
        for channel in &surroundings.setup.channels.incidents {
            let Some(thread) = decision.state.threads.get(&rule) else { continue };
            let alerts: Vec<_> = incident(&decision.state, rule, *channel).filter(|(_, tracked)| tracked.fires()).collect();
            if alerts.is_empty() || alerts.iter().any(|(_, tracked)| !tracked.acknowledged) {
                continue;
            }
            let mut alerts: Vec<_> = alerts.into_iter().map(|(key, tracked)| NotifiedAlert::of(key, tracked)).collect();
            alerts.sort_by_key(|alert| (alert.opened_at, alert.alert));
            decision.notifications.push(Notification {
                kind: NotificationKind::Acknowledged,
                severity: alerts.iter().map(|alert| alert.severity).max().unwrap_or(Severity::Info),
                channels: vec![*channel],
                thread: thread.name(rule),
                begins_thread: false,
                ends_thread: false,
                threads: vec![],
                alerts,
            });
        }
    }
}

/// Parts the channels of a message that sums up several rules: those that keep incidents, each with the threads that it begins, adds to or ends
/// there; and all others.
pub(super) fn parted(
    state: &CoordinatorState,
    surroundings: &Surroundings<'_>,
    rules: &BTreeMap<Rule, BTreeSet<NotificationKind>>,
    channels: &BTreeSet<ChannelId>,
) -> Vec<(Vec<ChannelId>, Vec<ThreadMark>)> {
    let (incidents, others): (Vec<_>, Vec<_>) = channels.iter().copied().partition(|id| surroundings.setup.channels.incidents.contains(id));
    let mark = |rule: Rule, channel: ChannelId| {
        let ends = incident(state, rule, channel).next().is_none();
        state.threads.get(&rule).map(|thread| ThreadMark { name: thread.name(rule), ends })
    };
    let of = |channel: ChannelId| (vec![channel], rules.keys().filter_map(|rule| mark(*rule, channel)).collect());
    let others = (!others.is_empty()).then_some((others, vec![]));
    others.into_iter().chain(incidents.into_iter().map(of)).collect()
}
