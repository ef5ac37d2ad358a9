//! Limit on warnings and errors from one place of the code, so that a fault which every request meets does not fill the disk with its lines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Time for which lines are counted together.
const PERIOD: Duration = Duration::from_secs(60);

/// Limit of the lines of a place within a minute. Clones count together.
#[derive(Clone)]
pub(crate) struct LogLimit {
    per_minute: u32,
    places: Arc<Mutex<HashMap<Identifier, Place>>>,
}

/// Lines of one place.
struct Place {
    file: &'static str,
    line: u32,
    began: Instant,
    written: u32,
    left_out: u64,
}

impl LogLimit {
    /// A limit of so many lines; 0: none.
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, places: Arc::default() }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Identifier, Place>> {
        // The counters are whole after every statement, so a poisoned lock guards good data.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, place: &'static Metadata<'static>, now: Instant) -> bool {
        if self.per_minute == 0 || *place.level() > Level::WARN {
            return true;
        }
        let (file, line) = (place.file().unwrap_or_default(), place.line().unwrap_or_default());
        let mut places = self.places();
        let fresh = || Place { file, line, began: now, written: 0, left_out: 0 };
        let place = places.entry(place.callsite()).or_insert_with(fresh);
        if now.duration_since(place.began) >= PERIOD {
            (place.began, place.written) = (now, 0);
        }
        let admitted = place.written < self.per_minute;
        place.written += u32::from(admitted);
        place.left_out += u64::from(!admitted);
        admitted
    }

    /// Places that left out lines since the last call, and how many.
    fn take_left_out(&self) -> Vec<(&'static str, u32, u64)> {
        let mut places = self.places();
        let taken = places.values_mut().filter(|place| place.left_out > 0);
        taken.map(|place| (place.file, place.line, std::mem::take(&mut place.left_out))).collect()
    }

    /// Logs every minute how many lines were left out; runs until dropped.
    pub(crate) async fn report(self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            for (file, line, lines) in self.take_left_out() {
                tracing::warn!(event = "log.left_out", file, line, lines, limit = "log.repeats_per_minute_max");
            }
        }
    }
}

impl<S: Subscriber> Filter<S> for LogLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admit(event.metadata(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing_subscriber::layer::{Layer, SubscriberExt};

    use super::*;

    /// Counts the events that reach it.
    #[derive(Clone, Default)]
    struct Counter(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Counter {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_place_has_so_many_warnings_and_others_have_theirs() {
        let (limit, counter) = (LogLimit::new(3), Counter::default());
        let subscriber = tracing_subscriber::registry().with(counter.clone().with_filter(limit.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..10 {
                tracing::warn!(event = "one");
            }
            tracing::error!(event = "another");
            for _ in 0..10 {
                tracing::info!(event = "what is no warning");
            }
        });
        assert_eq!(counter.0.load(Ordering::Relaxed), 3 + 1 + 10);
        let left_out = limit.take_left_out();
        assert_eq!(left_out.iter().map(|(file, _, lines)| (file.ends_with("log_limit.rs"), *lines)).collect::<Vec<_>>(), [(true, 7)]);
        assert!(limit.take_left_out().is_empty(), "counted once");
    }

    #[test]
    fn the_next_minute_has_its_own_and_none_is_no_limit() {
        let count = |limit: &LogLimit, calls: usize, wait: Duration| {
            let counter = Counter::default();
            let subscriber = tracing_subscriber::registry().with(counter.clone().with_filter(limit.clone()));
            tracing::subscriber::with_default(subscriber, || (0..calls).for_each(|_| tracing::warn!(event = "again")));
            limit.places().values_mut().for_each(|place| place.began -= wait);
            counter.0.load(Ordering::Relaxed)
        };
        let limit = LogLimit::new(3);
        assert_eq!([count(&limit, 5, PERIOD), count(&limit, 2, Duration::ZERO), count(&limit, 5, Duration::ZERO)], [3, 2, 1]);
        assert_eq!(count(&LogLimit::new(0), 50, Duration::ZERO), 50);
    }
}
