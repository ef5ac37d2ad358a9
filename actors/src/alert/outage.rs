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

#[derive(Default)]
struct Seen {
    /// Since when it does not answer.
    away_since: Option<Moment>,
    /// How long the last outage lasted, until it was told.
    untold: Option<Duration>,
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
        seen.untold = Some(clock.elapsed(since).max(seen.untold.unwrap_or_default()));
        true
    }

    /// The outage that is over and was not told yet, as if it ended now; each is told once.
    pub(super) fn tell(&self, now: Timestamp) -> Lasting {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lasted = seen.untold.take().and_then(|lasted| chrono::TimeDelta::from_std(lasted).ok());
        lasted.map_or(Lasting::Not, |lasted| Lasting::Since(now - lasted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_after_its_end() {
        let (clock, outages) = (Clock::system(), Outages::default());
        let now = clock.now();
        let began = clock.monotonic();
        assert!(!outages.note(true, began, &clock));
        assert_eq!(outages.tell(now), Lasting::Not);
        assert!(!outages.note(false, began, &clock) && !outages.note(false, clock.monotonic(), &clock));
        assert_eq!(outages.tell(now), Lasting::Not, "nothing can be recorded yet");
        assert!(outages.note(true, clock.monotonic(), &clock));
        assert!(matches!(outages.tell(now), Lasting::Since(since) if since <= now));
        assert_eq!(outages.tell(now), Lasting::Not, "once");
    }
}
