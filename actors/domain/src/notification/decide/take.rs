//! Takes changes of alerts into the state.

use std::sync::Arc;

use crate::alert::TransitionKind;
use crate::notification::state::{AlertEvent, Notified, Suppression, Tracked};

use super::{Decision, Settled};

/// Takes one change.
pub(super) fn take(decision: &mut Decision, event: &AlertEvent) {
    match event.kind {
        TransitionKind::Raised => raised(decision, event),
        TransitionKind::Resolved => resolved(decision, event),
        TransitionKind::SeverityChanged | TransitionKind::Acknowledged | TransitionKind::Remediated => {
            if let Some(tracked) = decision.state.tracked.get_mut(&event.key).filter(|tracked| tracked.alert == event.alert) {
                let tracked = Arc::make_mut(tracked);
                tracked.severity = event.severity;
                if event.kind == TransitionKind::Acknowledged {
                    tracked.acknowledged = true;
                    decision.acknowledged.insert(event.key.rule);
                }
            }
            decision.settle(Some(event.id), Settled::Noted);
        }
    }
}

fn raised(decision: &mut Decision, event: &AlertEvent) {
    let new = || Tracked {
        alert: event.alert,
        severity: event.severity,
        labels: event.labels.clone(),
        reason: String::new(),
        opened_at: event.at,
        resolved_at: None,
        acknowledged: false,
        notified: Notified::Nothing,
        notified_channels: vec![],
        raise_notified_at: None,
        notified_severity: None,
        resolve_notified_at: None,
        flapping_notified_at: None,
        level: 0,
        level_notified_at: None,
        waiting_since: None,
        held: None,
        openings: Default::default(),
        unsettled: None,
    };
    let tracked = Arc::make_mut(decision.state.tracked.entry(event.key.clone()).or_insert_with(|| Arc::new(new())));
    tracked.alert = event.alert;
    tracked.severity = event.severity;
    tracked.labels.clone_from(&event.labels);
    tracked.reason.clone_from(&event.reason);
    tracked.opened_at = event.at;
    tracked.resolved_at = None;
    tracked.acknowledged = false;
    tracked.openings.push(event.at);
    let before = tracked.unsettled.take();
    let cause = Settled::Suppressed(tracked.held.take().unwrap_or(Suppression::Superseded));
    tracked.waiting_since = None;
    // People believe that it fires, and so it does: neither the resolve nor this raise is news.
    let known = tracked.notified == Notified::Firing;
    if !known {
        tracked.unsettled = Some(event.id);
        tracked.level = 0;
        tracked.level_notified_at = None;
    }
    decision.settle(before, cause);
    if known {
        decision.settle(Some(event.id), cause);
    }
}

fn resolved(decision: &mut Decision, event: &AlertEvent) {
    let superseded = Settled::Suppressed(Suppression::Superseded);
    let Some(tracked) = decision.state.tracked.get_mut(&event.key).filter(|tracked| tracked.alert == event.alert && tracked.fires()) else {
        decision.settle(Some(event.id), superseded);
        return;
    };
    let tracked = Arc::make_mut(tracked);
    tracked.resolved_at = Some(event.at);
    let before = tracked.unsettled.take();
    let cause = tracked.held.take().map_or(superseded, Settled::Suppressed);
    tracked.waiting_since = None;
    // People were not notified that it fires: neither the raise nor this resolve is news.
    let known = tracked.notified == Notified::Firing;
    if known {
        tracked.unsettled = Some(event.id);
        if !tracked.acknowledged {
            // Those that are left may all be acknowledged.
            decision.acknowledged.insert(event.key.rule);
        }
    }
    decision.settle(before, cause);
    if !known {
        decision.settle(Some(event.id), cause);
    }
}
