//! The coordinator's decision: who is notified of which changes of alerts.
//!
//! ```text
//! change of an alert --take--> what people ought to be notified of --hold--> held, for a named cause, until some time
//!                                                          \--------> waits for its group --send--> notification
//! ```
//! What people have been notified of is compared with what is: nothing is lost when a coordinator dies, since the next one finds the difference. A raise
//! that was held is notified later if it still fires; one that is over by then is not, and the cause stands on both changes.

mod hold;
mod incidents;
mod send;
mod take;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::Timestamp;
use crate::alert::{AlertKey, FLAP_PERIOD, Rule};

use super::Notification;
use super::state::{AlertEvent, CoordinatorState, Suppression, Surroundings, TransitionId};

/// End of a change of an alert, as far as notifications are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is part of this notification of the decision, by its index.
    Notified(usize),
    /// It is not notified, for this cause.
    Suppressed(Suppression),
    /// It is not the kind that is notified: an acknowledgement, a change of severity.
    Noted,
}

/// Decision of the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// State after it.
    pub state: CoordinatorState,
    /// Messages to send.
    pub notifications: Vec<Notification>,
    /// Changes that are done with: those taken now, and earlier ones.
    pub settled: Vec<(TransitionId, Settled)>,
    /// Further messages that say a change which is settled as notified, by their indexes: recipients of one change may have several.
    pub further: Vec<(TransitionId, usize)>,
    /// When to decide again although nothing happens.
    pub next_wakeup: Option<Timestamp>,
    /// Rules of which an alert was acknowledged, or one that was not is resolved.
    acknowledged: BTreeSet<Rule>,
}

impl Decision {
    fn wake_at(&mut self, at: Timestamp) {
        self.next_wakeup = Some(self.next_wakeup.map_or(at, |earlier| earlier.min(at)));
    }

    fn settle(&mut self, id: Option<TransitionId>, settled: Settled) {
        self.settled.extend(id.map(|id| (id, settled)));
    }
}

/// Decides about events, which come in their order, and about what waits. The state is that after the last decision that was committed.
pub fn decide(state: &CoordinatorState, surroundings: &Surroundings<'_>, events: &[AlertEvent], now: Timestamp) -> Decision {
    let mut decision = Decision {
        state: state.clone(),
        notifications: vec![],
        settled: vec![],
        further: vec![],
        next_wakeup: None,
        acknowledged: BTreeSet::new(),
    };
    // What has run out meanwhile counts no more, whether or not somebody decided when it did.
    forget(&mut decision.state, surroundings, now);
    for event in events {
        take::take(&mut decision, event);
    }
    decision.state.sent.retain(|at| *at + send::MINUTE > now);
    let waiting = hold::hold(&mut decision, surroundings, now);
    send::send(&mut decision, surroundings, waiting, now);
    incidents::acknowledge(&mut decision, surroundings);
    forget(&mut decision.state, surroundings, now);
    decision
}

/// Forgets subjects of which nothing is open and nothing counts any more, and threads without alerts.
fn forget(state: &mut CoordinatorState, surroundings: &Surroundings<'_>, now: Timestamp) {
    let cools = |at: Option<Timestamp>| at.is_some_and(|at| at + surroundings.settings.cooldown > now);
    state.tracked.retain(|_, tracked| {
        if tracked.openings.forgets(now) {
            Arc::make_mut(tracked).openings.forget(now);
        }
        let inhibits = tracked.resolved_at.is_some_and(|at| at + surroundings.settings.inhibition_tail > now);
        tracked.fires()
            || tracked.pending_notice().is_some()
            || tracked.unsettled.is_some()
            || inhibits
            || !tracked.openings.times().is_empty()
            || [tracked.raise_notified_at, tracked.resolve_notified_at].into_iter().any(cools)
            || tracked.flapping_notified_at.is_some_and(|at| at + FLAP_PERIOD.max(surroundings.settings.cooldown) > now)
    });
    let tracked = &state.tracked;
    state.threads.retain(|rule, thread| {
        let notified = tracked.iter().any(|(AlertKey { rule: of, .. }, tracked)| of == rule && tracked.notified == super::Notified::Firing);
        // The interval between messages outlives a thread: many that come and go are not a message each time.
        let paces = |at: Option<Timestamp>| at.is_some_and(|at| at + surroundings.settings.group_interval > now);
        notified || paces(thread.raised_sent_at) || paces(thread.resolved_sent_at)
    });
}
