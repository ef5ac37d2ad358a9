//! The database's time, by which every node decides: measured, and handed to the node's clock.

use chrono::TimeDelta;
use clock::{Clock, Correction, Measurement};
use store::{Store, StoreError};

/// Measurements of which the best counts: the first may have to open a connection, or to prepare its statement.
const TRIES: usize = 3;

/// Outcome of a correction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Corrected {
    /// How far the machine's own clock is ahead of the database's.
    pub(crate) machine_offset: TimeDelta,
    /// The measurement.
    pub(crate) measured: Measurement,
}

/// Corrects a clock by the database's. Nothing that counts may be decided before the first time.
///
/// # Errors
/// The database is unavailable; the clock goes on as before.
pub async fn correct(store: &Store, clock: &Clock) -> Result<(), StoreError> {
    correct_and_compare(store, clock).await.map(drop)
}

/// How far the machine's own clock is certainly ahead of the database's; negative: behind.
///
/// # Errors
/// The database is unavailable.
pub async fn machine_offset(store: &Store, clock: &Clock) -> Result<TimeDelta, StoreError> {
    let Corrected { machine_offset: offset, measured } = correct_and_compare(store, clock).await?;
    let certain = (offset.abs() - measured.uncertainty()).max(TimeDelta::zero());
    Ok(if offset < TimeDelta::zero() { -certain } else { certain })
}

/// The same, and compares the machine's clock.
pub(crate) async fn correct_and_compare(store: &Store, clock: &Clock) -> Result<Corrected, StoreError> {
    let mut best: Option<Corrected> = None;
    for _ in 0..TRIES {
        let sent = clock.monotonic();
        let time = store.database_clock().await?;
        let (answered, shown) = (clock.monotonic(), clock.machine());
        let measured = Measurement::new(sent, answered, time);
        if best.is_none_or(|best| measured.uncertainty() < best.measured.uncertainty()) {
            best = Some(Corrected { machine_offset: measured.offset_of(shown), measured });
        }
    }
    // There is one after as many tries.
    let best = best.ok_or(StoreError::Corrupt("clock_timestamp()"))?;
    if let Correction::Stepped(by) = clock.correct(&best.measured) {
        let (by_ms, uncertainty_ms) = (by.num_milliseconds(), best.measured.uncertainty().num_milliseconds());
        tracing::warn!(event = "clock.stepped", by_ms, uncertainty_ms, cause = "the database's clock was set");
    }
    Ok(best)
}
