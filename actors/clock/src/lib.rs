//! The clock of a node and its source of chance, handed to whatever decides about time.
//!
//! ```text
//! now()         time of the cluster, UTC: the database's, carried on by the monotonic clock
//! monotonic()   for durations and leases: never goes back, goes on while the machine sleeps
//! machine()     wall clock of the machine, to be compared: may be wrong, and jumps when somebody sets it
//! randomness()  for jitter and numbers that name something; secrets come from `crypto`
//! ```
//! Nodes whose machines show different times decide by one clock, the database's. Before the first [`Clock::correct`] there is but the machine's.
//!
//! A simulated clock follows the runtime's timers, which a test pauses, and draws from a seed.

mod anchor;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::TimeDelta;
use domain::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::time::{ClockId, clock_gettime};
use uuid::{ContextV7, Uuid};

use anchor::Anchor;
pub use anchor::{Correction, Measurement, SLEW_MAX, SLEW_OVER};

/// Moment of a monotonic clock, ns. Moments of different clocks do not compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// The moment this many ns after the clock's own beginning.
    pub const fn from_ns(ns: i64) -> Self {
        Self(ns)
    }

    /// Time since the clock's own beginning, ns.
    pub const fn as_ns(self) -> i64 {
        self.0
    }

    /// Time since an earlier moment; zero when that one is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// Clock of a node. Clones are the same clock.
#[derive(Clone)]
pub struct Clock {
    source: Source,
    /// `None` until it is first corrected.
    anchor: Arc<RwLock<Option<Anchor>>>,
    /// Keeps ids of one millisecond in the order of their making.
    ids: Arc<Mutex<ContextV7>>,
    randomness: Randomness,
}

#[derive(Clone)]
enum Source {
    System,
    Simulated(Arc<SimulatedClock>),
}

impl Clock {
    /// The machine's clock, and chance.
    pub fn system() -> Self {
        Self::new(Source::System, Randomness(None))
    }

    fn new(source: Source, randomness: Randomness) -> Self {
        Self { source, anchor: Arc::default(), ids: Arc::new(Mutex::new(ContextV7::new())), randomness }
    }

    /// Time of the cluster, UTC. It steps only when it is corrected by more than [`SLEW_MAX`].
    pub fn now(&self) -> Timestamp {
        // An anchor is whole after each change, so a poisoned lock guards good data.
        let anchor = *self.anchor.read().unwrap_or_else(PoisonError::into_inner);
        match anchor {
            Some(anchor) => anchor.time_at(self.monotonic()),
            None => self.machine(),
        }
    }

    /// Corrects the time by the database's.
    pub fn correct(&self, measured: &Measurement) -> Correction {
        let mut anchor = self.anchor.write().unwrap_or_else(PoisonError::into_inner);
        let (corrected, correction) = match *anchor {
            Some(anchor) => anchor.corrected(measured),
            None => (Anchor::new(measured), Correction::Anchored),
        };
        *anchor = Some(corrected);
        correction
    }

    /// Wall-clock time of the machine, UTC.
    #[allow(clippy::disallowed_methods, reason = "this is the clock that everything else is handed")]
    pub fn machine(&self) -> Timestamp {
        match &self.source {
            Source::System => chrono::Utc::now(),
            Source::Simulated(clock) => clock.now(),
        }
    }

    /// Moment of the monotonic clock.
    pub fn monotonic(&self) -> Moment {
        match &self.source {
            Source::System => {
                let time = clock_gettime(ClockId::Boottime);
                Moment(time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec))
            }
            Source::Simulated(clock) => clock.monotonic(),
        }
    }

    /// Time since a moment of this clock.
    pub fn elapsed(&self, since: Moment) -> Duration {
        self.monotonic().since(since)
    }

    /// Source of chance.
    pub fn randomness(&self) -> &Randomness {
        &self.randomness
    }

    /// New id that sorts by the time of its making.
    pub fn new_id(&self) -> Uuid {
        let now = self.now();
        match &self.source {
            Source::System => {
                let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
                let (made_at, nanos) = (u64::try_from(now.timestamp()).unwrap_or(0), now.timestamp_subsec_nanos());
                Uuid::new_v7(uuid::Timestamp::from_unix(&*ids, made_at, nanos))
            }
            Source::Simulated(_) => {
                let made_at_ms = u64::try_from(now.timestamp_millis()).unwrap_or(0);
                let chance = u128::from(self.randomness.number()) << 64 | u128::from(self.randomness.number());
                let [bytes @ .., _, _, _, _, _, _] = chance.to_be_bytes();
                uuid::Builder::from_unix_timestamp_millis(made_at_ms, &bytes).into_uuid()
            }
        }
    }
}

/// Chance that a decision takes, for example a jitter; either the machine's or that of a seed.
#[derive(Clone)]
pub struct Randomness(Option<Arc<Mutex<StdRng>>>);

impl Randomness {
    fn draw<T>(&self, from_seed: impl FnOnce(&mut StdRng) -> T, from_machine: impl FnOnce() -> T) -> T {
        match &self.0 {
            // A generator is whole after each draw, so a poisoned lock guards good data.
            Some(seeded) => from_seed(&mut seeded.lock().unwrap_or_else(PoisonError::into_inner)),
            None => from_machine(),
        }
    }

    /// Number in `0.0..1.0`.
    pub fn fraction(&self) -> f64 {
        self.draw(|seeded| seeded.random(), || rand::rng().random())
    }

    /// Any number.
    pub fn number(&self) -> u64 {
        self.draw(|seeded| seeded.random(), || rand::rng().random())
    }

    /// This duration, up to `share` of it longer or shorter.
    pub fn jittered(&self, duration: Duration, share: f64) -> Duration {
        domain::backoff::spread(duration, share, self.fraction())
    }
}

/// Simulated clock: both of its clocks go on with the timers of the runtime.
pub struct SimulatedClock {
    began: tokio::time::Instant,
    began_at: Timestamp,
    jumped_ms: AtomicI64,
    last_ns: AtomicI64,
}

impl SimulatedClock {
    /// Clock whose wall clock shows `began_at` now.
    pub fn new(began_at: Timestamp) -> Arc<Self> {
        Arc::new(Self { began: tokio::time::Instant::now(), began_at, jumped_ms: AtomicI64::new(0), last_ns: AtomicI64::new(-1) })
    }

    /// Handle of this clock, with randomness from this seed.
    pub fn clock(self: &Arc<Self>, seed: u64) -> Clock {
        let randomness = Randomness(Some(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))));
        Clock::new(Source::Simulated(Arc::clone(self)), randomness)
    }

    /// Sets the wall clock forward, or back.
    pub fn jump(&self, by: TimeDelta) {
        self.jumped_ms.fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }

    fn now(&self) -> Timestamp {
        let elapsed = TimeDelta::from_std(self.began.elapsed()).unwrap_or(TimeDelta::MAX);
        self.began_at + elapsed + TimeDelta::milliseconds(self.jumped_ms.load(Ordering::Relaxed))
    }

    /// No two moments are equal, as with a clock that goes on while one reads it: their order is that of the readings.
    fn monotonic(&self) -> Moment {
        let elapsed_ns = i64::try_from(self.began.elapsed().as_nanos()).unwrap_or(i64::MAX);
        let last_ns = self.last_ns.fetch_max(elapsed_ns, Ordering::Relaxed);
        Moment(if last_ns < elapsed_ns { elapsed_ns } else { self.last_ns.fetch_add(1, Ordering::Relaxed) + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulated() -> (Arc<SimulatedClock>, Timestamp) {
        let began_at = chrono::DateTime::from_timestamp(1_750_000_000, 0).unwrap();
        (SimulatedClock::new(began_at), began_at)
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_follows_the_timers_and_jumps_when_it_is_told_to() {
        let (simulated, began_at) = simulated();
        let (clock, before) = (simulated.clock(1), simulated.monotonic());
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(clock.now(), began_at + TimeDelta::seconds(3));
        assert_eq!(clock.elapsed(before).as_secs(), 3);
        simulated.jump(TimeDelta::hours(-1));
        assert_eq!(clock.now(), began_at + TimeDelta::seconds(3) - TimeDelta::hours(1));
        let after = clock.monotonic();
        assert_eq!(after.since(before).as_secs(), 3, "only the wall clock jumps");
        assert!(after < clock.monotonic(), "no two readings are the same");
    }

    /// A machine whose clock is wrong, and jumps, beside a database whose clock is right.
    #[tokio::test(start_paused = true)]
    async fn a_corrected_clock_goes_by_the_database_whatever_its_machine_shows() {
        let (simulated, began_at) = simulated();
        let clock = simulated.clock(1);
        let of_database = began_at + TimeDelta::days(40);
        let (sent, answered) = (clock.monotonic(), clock.monotonic());
        assert_eq!(clock.correct(&Measurement::new(sent, answered, of_database)), Correction::Anchored);
        for jump in [TimeDelta::days(-3), TimeDelta::hours(5), TimeDelta::days(400), TimeDelta::days(-800)] {
            let before = clock.now();
            simulated.jump(jump);
            tokio::time::sleep(Duration::from_secs(60)).await;
            let passed = clock.now() - before;
            assert!((passed - TimeDelta::seconds(60)).abs() < TimeDelta::milliseconds(1), "{jump}: {passed}");
            let id_at = i64::try_from(clock.new_id().get_timestamp().unwrap().to_unix().0).unwrap();
            assert!((id_at - clock.now().timestamp()).abs() <= 1, "ids too");
        }
        assert!((clock.now() - of_database - TimeDelta::minutes(4)).abs() < TimeDelta::milliseconds(1));
        assert_ne!(clock.machine(), clock.now());
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_draws_the_same() {
        let (simulated, _) = simulated();
        let drawn = |clock: &Clock| (clock.randomness().number(), clock.randomness().fraction().to_bits(), clock.new_id());
        assert_eq!(drawn(&simulated.clock(7)), drawn(&simulated.clock(7)));
        assert_ne!(drawn(&simulated.clock(7)), drawn(&simulated.clock(8)));
        let clock = simulated.clock(7);
        assert_eq!(clock.new_id().get_version_num(), 7);
        assert_ne!(clock.new_id(), clock.new_id());
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let (machine, wait) = (Clock::system(), Duration::from_millis(1000));
        for _ in 0..1000 {
            let jittered = machine.randomness().jittered(wait, 0.2);
            assert!((Duration::from_millis(800)..Duration::from_millis(1200)).contains(&jittered), "{jittered:?}");
        }
    }

    #[test]
    fn the_clock_of_the_machine_goes_on() {
        let clock = Clock::system();
        let (first, second) = (clock.new_id(), clock.new_id());
        assert!(first < second && first.get_version_num() == 7, "ids sort by their making");
        let before = clock.monotonic();
        while clock.monotonic() == before {}
        assert!(clock.monotonic() > before);
        assert_eq!(before.since(clock.monotonic()), Duration::ZERO, "an earlier moment is not after a later one");
    }
}
