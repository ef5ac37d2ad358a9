//! The one place of this crate that reads the wall clock.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// The wall clock.
#[allow(clippy::disallowed_methods, reason = "the one reading of the clock that everything else is handed")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Wall time of a monotonic instant: both clocks are read once, together, so
/// that a schedule kept in instants has timestamps that are as even as it is.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    wall: DateTime<Utc>,
    monotonic: Instant,
}

impl RunClock {
    /// Ties `wall` to this very moment.
    pub fn starting_at(wall: DateTime<Utc>) -> Self {
        Self { wall, monotonic: Instant::now() }
    }

    /// The instant both clocks were read at.
    pub fn started(&self) -> Instant {
        self.monotonic
    }

    /// Wall time of `instant`, also of one before the start.
    pub fn wall_at(&self, instant: Instant) -> DateTime<Utc> {
        let delta = |duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::zero());
        match instant.checked_duration_since(self.monotonic) {
            Some(after) => self.wall + delta(after),
            None => self.wall - delta(self.monotonic.duration_since(instant)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn wall_time_follows_the_instants_in_both_directions() {
        let wall = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let clock = RunClock::starting_at(wall);
        assert_eq!(clock.wall_at(clock.started()), wall);
        assert_eq!(clock.wall_at(clock.started() + Duration::from_secs(10)), wall + TimeDelta::seconds(10));
        let before = clock.started().checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(clock.wall_at(before), wall - TimeDelta::seconds(1));
    }
}
