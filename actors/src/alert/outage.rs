//! Outages of the database as this node sees them: what could not be recorded while they lasted is recorded afterwards.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clock::{Clock, Moment};
use domain::Timestamp;
use domain::alert::Lasting;
use store::Store;
use tokio_util::sync::CancellationToken;

/// Time between two questions to the database.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time after its end in which an outage is recorded, by the node that judges then; a node that comes to judge later leaves it.
const COUNTS_FOR: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Seen {
    /// Since when it does not answer.
    away_since: Option<Moment>,
    /// End of the last outage and how long it lasted, until it is recorded.
    ended: Option<(Moment, Duration)>,
}

/// Outages of the database, as this node sees them.
#[derive(Clone, Default)]
pub(crate) struct Outages(Arc<Mutex<Seen>>);

impl Outages {
    /// Asks the database until `stopping`, and calls `on_return` after an outage.
    pub(crate) async fn keep_watching(
        self,
        store: Store,
        clock: Clock,
        on_return: Box<dyn Fn() + Send + Sync>,
        stopping: CancellationToken,
    ) {
        loop {
            let asked_at = clock.monotonic();
            let answered = matches!(tokio::time::timeout(PATIENCE, store.database_clock()).await, Ok(Ok(_)));
            if self.note(answered, asked_at, &clock) {
                on_return();
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    /// Notes whether the database answered; whether an outage is over with it.
    fn note(&self, answered: bool, asked_at: Moment, clock: &Clock) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !answered {
            seen.away_since.get_or_insert(asked_at);
            return false;
        }
        let Some(since) = seen.away_since.take() else { return false };
        let earlier = seen.ended.filter(|(at, _)| clock.elapsed(*at) < COUNTS_FOR).map_or(Duration::ZERO, |(_, lasted)| lasted);
        seen.ended = Some((clock.monotonic(), clock.elapsed(since).max(earlier)));
        true
    }

    /// The outage that ended a moment ago and is not recorded yet, as if it ended now.
    pub(super) fn unrecorded(&self, now: Timestamp, clock: &Clock) -> Lasting {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = seen.ended.filter(|(at, _)| clock.elapsed(*at) < COUNTS_FOR);
        let lasted = ended.and_then(|(_, lasted)| chrono::TimeDelta::from_std(lasted).ok());
        lasted.map_or(Lasting::Not, |lasted| Lasting::Since(now - lasted))
    }

    /// Notes that what had ended by `until` was judged, and recorded where that followed.
    pub(super) fn recorded(&self, until: Moment) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.ended = seen.ended.filter(|(at, _)| *at > until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_counts_after_its_end_until_it_is_recorded() {
        let (clock, outages) = (Clock::system(), Outages::default());
        let now = clock.now();
        let began = clock.monotonic();
        assert!(!outages.note(true, began, &clock));
        assert_eq!(outages.unrecorded(now, &clock), Lasting::Not);
        assert!(!outages.note(false, began, &clock) && !outages.note(false, clock.monotonic(), &clock));
        assert_eq!(outages.unrecorded(now, &clock), Lasting::Not, "nothing can be recorded yet");
        let before = clock.monotonic();
        assert!(outages.note(true, clock.monotonic(), &clock));
        assert!(matches!(outages.unrecorded(now, &clock), Lasting::Since(since) if since <= now));
        outages.recorded(before);
        assert_ne!(outages.unrecorded(now, &clock), Lasting::Not, "what failed or came in between is judged again");
        outages.recorded(clock.monotonic());
        assert_eq!(outages.unrecorded(now, &clock), Lasting::Not, "once");
    }
}
