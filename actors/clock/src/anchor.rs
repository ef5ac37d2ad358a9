//! The anchor of a clock: the time of the database at one moment of the monotonic clock, from which the time is carried on.
//!
//! ```text
//! corrected time = time of the anchor + monotonic time since
//! ```
//! A measurement tells the database's time at a moment, up to half of its round trip. What the corrected time is certainly off is taken off:
//! a little, slowly, so that no two readings are out of order; more than [`SLEW_MAX`] at once.

use std::time::Duration;

use chrono::TimeDelta;
use domain::Timestamp;

use crate::Moment;

/// Most that is corrected slowly; more is corrected at once.
pub const SLEW_MAX: TimeDelta = TimeDelta::seconds(1);
/// Time over which a small correction is spread.
pub const SLEW_OVER: Duration = Duration::from_secs(30);

/// The database's time, as measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// Half-way between question and answer.
    moment: Moment,
    /// When the answer came.
    answered: Moment,
    /// What the database answered.
    time: Timestamp,
    /// Half of the round trip: the database may have read its clock at either end of it.
    uncertainty: TimeDelta,
}

impl Measurement {
    /// From the moments of question and answer, and the answer.
    pub fn new(sent: Moment, answered: Moment, time: Timestamp) -> Self {
        let half = answered.since(sent) / 2;
        Self { moment: sent + half, answered, time, uncertainty: TimeDelta::from_std(half).unwrap_or(TimeDelta::MAX) }
    }

    /// How far a clock that showed `shown` when the answer came is ahead of the database's.
    pub fn offset_of(&self, shown: Timestamp) -> TimeDelta {
        shown - self.time - self.uncertainty
    }

    /// Half of the round trip.
    pub fn uncertainty(&self) -> TimeDelta {
        self.uncertainty
    }

    /// Whether an offset is more than `max`, however the round trip was divided.
    pub fn exceeds(&self, offset: TimeDelta, max: TimeDelta) -> bool {
        offset.abs() - self.uncertainty > max
    }
}

/// What a measurement did to a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// The clock had no anchor before; it goes from now on by the database's.
    Anchored,
    /// The clock is as right as the measurement.
    None,
    /// It is corrected by this much over [`SLEW_OVER`].
    Slewed(TimeDelta),
    /// It was corrected by this much at once.
    Stepped(TimeDelta),
}

/// The time at a moment, and a correction under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    moment: Moment,
    time: Timestamp,
    /// Correction that is spread over [`SLEW_OVER`] from the moment on.
    slew: TimeDelta,
}

impl Anchor {
    /// The anchor by one measurement alone.
    pub(crate) fn new(measured: &Measurement) -> Self {
        Self { moment: measured.moment, time: measured.time, slew: TimeDelta::zero() }
    }

    /// The corrected time at a moment.
    pub(crate) fn time_at(&self, moment: Moment) -> Timestamp {
        let elapsed_ns = moment.as_ns().saturating_sub(self.moment.as_ns());
        let over_ns = i64::try_from(SLEW_OVER.as_nanos()).unwrap_or(i64::MAX);
        let slewed_ns =
            i128::from(self.slew.num_nanoseconds().unwrap_or(0)) * i128::from(elapsed_ns.clamp(0, over_ns)) / i128::from(over_ns);
        // A slew is less than what it is spread over, so that the sum goes on with the moments.
        let passed = TimeDelta::nanoseconds(elapsed_ns) + TimeDelta::nanoseconds(i64::try_from(slewed_ns).unwrap_or(0));
        self.time.checked_add_signed(passed).unwrap_or(self.time)
    }

    /// The anchor after one more measurement.
    pub(crate) fn corrected(self, measured: &Measurement) -> (Self, Correction) {
        let behind = measured.time - self.time_at(measured.moment);
        let certain = if behind.abs() <= measured.uncertainty {
            TimeDelta::zero()
        } else if behind > TimeDelta::zero() {
            behind - measured.uncertainty
        } else {
            behind + measured.uncertainty
        };
        if certain.is_zero() {
            (self, Correction::None)
        } else if certain.abs() <= SLEW_MAX {
            let time = self.time_at(measured.answered);
            (Self { moment: measured.answered, time, slew: certain }, Correction::Slewed(certain))
        } else {
            (Self::new(measured), Correction::Stepped(behind))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: i64) -> Moment {
        Moment::from_ns(ms * 1_000_000)
    }

    fn time_ms(ms: i64) -> Timestamp {
        chrono::DateTime::from_timestamp_millis(1_780_000_000_000 + ms).unwrap()
    }

    /// The database's clock showed `time` half-way of a round trip around `moment`.
    fn measured(moment: i64, time: i64, round_trip: i64) -> Measurement {
        Measurement::new(at_ms(moment - round_trip / 2), at_ms(moment + round_trip / 2), time_ms(time))
    }

    #[test]
    fn time_is_carried_on_from_the_middle_of_the_round_trip() {
        for round_trip in [0, 10, 800] {
            let anchor = Anchor::new(&measured(1_000, 0, round_trip));
            for (moment, time) in [(1_000, 0), (1_001, 1), (61_000, 60_000), (86_401_000, 86_400_000), (0, -1_000)] {
                assert_eq!(anchor.time_at(at_ms(moment)), time_ms(time), "round trip {round_trip}, {moment}");
            }
        }
    }

    /// Off by, round trip, and what comes of it: a correction by so much, and whether at once.
    #[test]
    fn what_is_certainly_wrong_is_corrected() {
        let (hour, day) = (3_600_000, 86_400_000);
        for (off, round_trip, by, at_once) in [
            (0, 0, 0, false),
            (5, 10, 0, false),
            (-5, 10, 0, false),
            (6, 10, 1, false),
            (-6, 10, -1, false),
            (1_000, 0, 1_000, false),
            (-1_000, 0, -1_000, false),
            (1_001, 0, 1_001, true),
            (-1_001, 0, -1_001, true),
            (1_500, 1_200, 900, false),
            (hour, 100, hour, true),
            (-hour, 100, -hour, true),
            (30 * day, 4, 30 * day, true),
            (-30 * day, 4, -30 * day, true),
            // An answer that took long says little.
            (4_000, 10_000, 0, false),
        ] {
            let before = Anchor::new(&measured(0, 0, 0));
            let (after, correction) = before.corrected(&measured(60_000, 60_000 + off, round_trip));
            let by_delta = TimeDelta::milliseconds(by);
            let expected = match (by, at_once) {
                (0, _) => Correction::None,
                (_, false) => Correction::Slewed(by_delta),
                (_, true) => Correction::Stepped(by_delta),
            };
            assert_eq!(correction, expected, "{off} over {round_trip}");
            let later = 60_000 + round_trip / 2 + 30_000;
            assert_eq!(after.time_at(at_ms(later)), time_ms(later + by), "{off} over {round_trip}, after the correction");
        }
    }

    #[test]
    fn a_small_correction_leaves_the_order_of_readings() {
        for off in [-1_000, -400, 400, 1_000] {
            let before = Anchor::new(&measured(0, 0, 0));
            let (after, _) = before.corrected(&measured(60_000, 60_000 + off, 20));
            let mut last = before.time_at(at_ms(60_010));
            assert_eq!(after.time_at(at_ms(60_010)), last, "no jump where it begins");
            for moment in 60_011..60_011 + 31_000 {
                let now = after.time_at(at_ms(moment));
                assert!(now > last, "{off} at {moment}");
                last = now;
            }
        }
    }

    #[test]
    fn a_correction_that_was_under_way_is_part_of_the_next() {
        let (slewing, _) = Anchor::new(&measured(0, 0, 0)).corrected(&measured(60_000, 60_600, 0));
        // Half of it is done after 15 s.
        let (anchor, correction) = slewing.corrected(&measured(75_000, 75_600, 0));
        assert_eq!(correction, Correction::Slewed(TimeDelta::milliseconds(300)));
        assert_eq!(anchor.time_at(at_ms(105_000)), time_ms(105_600));
        assert_eq!(anchor.time_at(at_ms(205_000)), time_ms(205_600), "and ends");
    }

    #[test]
    fn an_offset_is_told_without_the_way_of_the_answer() {
        for ahead in [-5_000, -1, 0, 1, 5_000] {
            for round_trip in [0, 10, 800] {
                let it = measured(0, 0, round_trip);
                let shown = time_ms(round_trip / 2 + ahead);
                assert_eq!(it.offset_of(shown), TimeDelta::milliseconds(ahead), "{ahead} over {round_trip}");
            }
        }
    }

    #[test]
    fn an_offset_exceeds_the_limit_in_either_direction_and_a_slow_answer_is_none() {
        let max = TimeDelta::seconds(2);
        for (ahead, round_trip, exceeds) in
            [(2_000, 0, false), (2_001, 0, true), (-2_000, 0, false), (-2_001, 0, true), (2_400, 1_000, false), (2_600, 1_000, true)]
        {
            assert_eq!(measured(0, 0, round_trip).exceeds(TimeDelta::milliseconds(ahead), max), exceeds, "{ahead} over {round_trip}");
        }
    }
}
