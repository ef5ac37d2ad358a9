//! A device's history as evenly spaced points: how far apart, from what, and how they are put together.
//!
//! ```text
//! slots    |a b . c|d . . e|. . . .|f g h i|    sums of what was told, as the store added them up
//! points   |   p   |   p   |  gap  |   p   |    a whole number of slots each
//! ```
//! Sums can be added, averages cannot, so slots carry sums and points are averaged last: it makes
//! no difference how a point was cut into slots.

mod measure;
mod slots;

use chrono::{DateTime, TimeDelta};

pub use measure::{Answers, CHARTS, Chart, Measure, Measures, Shares, Summary};
pub use slots::SlotBuilder;

use crate::invalid::{Invalid, in_range};
use crate::{Timestamp, heartbeat};

/// Most points of one answer.
pub const POINTS_MAX: i64 = 2000;
/// Points when none are asked for.
pub const POINTS_DEFAULT: i64 = 500;
/// Longest range of one answer.
pub const RANGE_MAX: TimeDelta = TimeDelta::days(90);
/// Earliest time of a range: nothing was reported before.
pub const EARLIEST: Timestamp = match DateTime::from_timestamp(946_684_800, 0) {
    Some(at) => at,
    None => DateTime::UNIX_EPOCH,
};
/// Range when none is asked for.
pub const RANGE_DEFAULT: TimeDelta = TimeDelta::hours(24);
/// Up to this range heartbeats are read one by one; beyond, hourly aggregates.
pub const EXACT_RANGE: TimeDelta = TimeDelta::hours(48);
/// Seconds of an hourly aggregate.
pub const HOUR_S: i64 = 3600;
/// Time between the end of a day and its aggregation. Heartbeats of it that come later than that make it
/// be aggregated again.
pub const DAY_SETTLES_AFTER: TimeDelta = TimeDelta::hours(2);
/// How much earlier heartbeats are noted as late than days are aggregated: time for a commit.
pub const SETTLING_MARGIN: TimeDelta = TimeDelta::minutes(5);

/// Distances between points that people can read; all of them divide a day.
const STEPS_S: [i64; 14] = [heartbeat::BUCKET_SECONDS, 20, 30, 60, 120, 300, 600, 900, 1800, HOUR_S, 7200, 10_800, 21_600, 43_200];
const DAY_S: i64 = 86_400;

/// Request for a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryRequest {
    /// From when; 24 hours before the end when absent.
    pub from: Option<Timestamp>,
    /// Until when; now when absent.
    pub to: Option<Timestamp>,
    /// Most points.
    pub points: Option<i64>,
}

/// Plan of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryPlan {
    /// Start of the first point.
    pub from: Timestamp,
    /// End of the last point, or now.
    pub to: Timestamp,
    /// Seconds between points.
    pub step_s: i64,
    /// From hourly aggregates, where they are.
    pub from_aggregates: bool,
}

/// The time, unless it is before [`EARLIEST`].
///
/// # Errors
/// Names the field.
pub fn not_too_early(field: &'static str, at: Timestamp) -> Result<Timestamp, Invalid> {
    if at < EARLIEST { Err(Invalid::new(field, format!("before {}", EARLIEST.date_naive()))) } else { Ok(at) }
}

fn floor(at: Timestamp, step_s: i64) -> Timestamp {
    let seconds = at.timestamp().div_euclid(step_s) * step_s;
    DateTime::from_timestamp(seconds, 0).unwrap_or(at)
}

impl HistoryRequest {
    /// The plan of an answer at `now`: the finest step with no more points than asked for.
    ///
    /// # Errors
    /// Names the field that is out of its range.
    pub fn plan(self, now: Timestamp) -> Result<HistoryPlan, Invalid> {
        let points = in_range("points", self.points.unwrap_or(POINTS_DEFAULT), 1, POINTS_MAX)?;
        let to = not_too_early("to", self.to.unwrap_or(now).min(now))?;
        let from = self.from.map_or(Ok(to - RANGE_DEFAULT), |from| not_too_early("from", from))?;
        if from >= to {
            return Err(Invalid::new("from", "not before to, or in the future"));
        }
        if to - from > RANGE_MAX {
            return Err(Invalid::new("from", format!("more than {} days before to", RANGE_MAX.num_days())));
        }
        let from_aggregates = to - from > EXACT_RANGE;
        let least_s = if from_aggregates { HOUR_S } else { heartbeat::BUCKET_SECONDS };
        let fits = |step_s: i64| points_between(floor(from, step_s), to, step_s) <= points;
        let days_s = (1..).map(|days| days * DAY_S);
        let step_s = STEPS_S.into_iter().filter(|step_s| *step_s >= least_s).chain(days_s).find(|step_s| fits(*step_s)).unwrap_or(DAY_S);
        Ok(HistoryPlan { from: floor(from, step_s), to, step_s, from_aggregates })
    }
}

fn points_between(from: Timestamp, to: Timestamp, step_s: i64) -> i64 {
    let seconds = (to - from).num_milliseconds();
    (seconds + step_s * 1000 - 1) / (step_s * 1000)
}

impl HistoryPlan {
    /// How many points the answer has.
    pub fn points(&self) -> usize {
        points_between(self.from, self.to, self.step_s).max(0) as usize
    }

    /// Seconds of the slots that the store counts for it.
    pub fn slot_s(&self) -> i64 {
        if self.from_aggregates { HOUR_S } else { self.step_s }
    }
}

/// The first day that may not be aggregated yet at `now`.
pub fn first_unsettled_day(now: Timestamp) -> chrono::NaiveDate {
    (now - DAY_SETTLES_AFTER).date_naive()
}

/// The first day that heartbeats may still come for at `now`.
pub fn first_open_day(now: Timestamp) -> chrono::NaiveDate {
    (now - heartbeat::CLOCK_LAG_MAX - DAY_SETTLES_AFTER).date_naive()
}

/// Whether a heartbeat of this bucket came so late that its day may be aggregated already.
pub fn is_after_settling(bucket_at: Timestamp, received_at: Timestamp) -> bool {
    bucket_at.date_naive() < (received_at - DAY_SETTLES_AFTER + SETTLING_MARGIN).date_naive()
}

/// Heartbeats by kind of network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transports {
    /// Wi-Fi.
    pub wifi: i64,
    /// Mobile data.
    pub cellular: i64,
    /// Cable.
    pub ethernet: i64,
    /// No network.
    pub none: i64,
    /// Something else.
    pub other: i64,
}

/// Sums of the heartbeats of a device within a slot of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Begin of the slot.
    pub at: Timestamp,
    /// Heartbeats.
    pub heartbeats: i64,
    /// Bucket of the first.
    pub first_at: Timestamp,
    /// Bucket of the last.
    pub last_at: Timestamp,
    /// Seconds between the first and the last in which the device counted as online.
    pub online_s: i64,
    /// The measures of the telemetry table.
    pub measures: Measures<Measure>,
    /// The questions of the telemetry table.
    pub answers: Shares<Answers>,
    /// Kinds of network.
    pub transports: Transports,
}

/// Parts of the heartbeats at a point by kind of network, each 0..1; together 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransportShares {
    /// Wi-Fi.
    pub wifi: f64,
    /// Mobile data.
    pub cellular: f64,
    /// Cable.
    pub ethernet: f64,
    /// No network.
    pub none: f64,
    /// Something else.
    pub other: f64,
}

/// A point of a plot. What nobody told within it is `None`: a gap, not a zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Begin of the point.
    pub at: Timestamp,
    /// Heartbeats in it.
    pub heartbeats: i64,
    /// Part of the time in which the device counted as online, 0..1.
    pub online_share: f64,
    /// The measures of the telemetry table.
    pub measures: Measures<Option<Summary>>,
    /// Part of the heartbeats with yes, 0..1, of each question of the telemetry table.
    pub shares: Shares<Option<f64>>,
    /// Kinds of network.
    pub transports: Option<TransportShares>,
}

#[derive(Clone, Default)]
struct Bin {
    heartbeats: i64,
    online_ms: i64,
    measures: Measures<Measure>,
    answers: Shares<Answers>,
    transports: Transports,
}

impl Bin {
    fn add(&mut self, slot: &Slot) {
        self.heartbeats += slot.heartbeats;
        self.online_ms += slot.online_s * 1000;
        self.measures.add(&slot.measures);
        self.answers.add(&slot.answers);
        let (to, from) = (&mut self.transports, slot.transports);
        to.wifi += from.wifi;
        to.cellular += from.cellular;
        to.ethernet += from.ethernet;
        to.none += from.none;
        to.other += from.other;
    }

    fn point(&self, at: Timestamp, lasts_ms: i64) -> Point {
        let Transports { wifi, cellular, ethernet, none, other } = self.transports;
        let reported = wifi + cellular + ethernet + none + other;
        let share = |n: i64| n as f64 / reported as f64;
        Point {
            at,
            heartbeats: self.heartbeats,
            online_share: (self.online_ms as f64 / lasts_ms.max(1) as f64).clamp(0.0, 1.0),
            measures: self.measures.map(|measure| measure.summary()),
            shares: self.answers.map(Answers::share),
            transports: (reported > 0).then(|| TransportShares {
                wifi: share(wifi),
                cellular: share(cellular),
                ethernet: share(ethernet),
                none: share(none),
                other: share(other),
            }),
        }
    }
}

/// Puts slots together to points, one for each step of the plan. Slots are in the order of time; those
/// before the first point only tell how long the device was online after them.
pub fn downsample(plan: &HistoryPlan, slots: &[Slot], offline_after: TimeDelta) -> Vec<Point> {
    let mut bins = vec![Bin::default(); plan.points()];
    let step = TimeDelta::seconds(plan.step_s);
    let index = |at: Timestamp| (at - plan.from).num_milliseconds().div_euclid(plan.step_s * 1000);
    let mut last_before: Option<Timestamp> = None;
    for slot in slots {
        if let Some(last) = last_before {
            cover(&mut bins, plan, last, slot.first_at.min(last + offline_after));
        }
        last_before = Some(slot.last_at);
        if let Some(bin) = usize::try_from(index(slot.at)).ok().and_then(|at| bins.get_mut(at)) {
            bin.add(slot);
        }
    }
    if let Some(last) = last_before {
        cover(&mut bins, plan, last, plan.to.min(last + offline_after));
    }
    let starts = (0..).map(|n| plan.from + step * n);
    starts.zip(&bins).map(|(at, bin)| bin.point(at, ((at + step).min(plan.to) - at).num_milliseconds())).collect()
}

/// Counts the time between two moments as online, each part of it where it belongs.
fn cover(bins: &mut [Bin], plan: &HistoryPlan, from: Timestamp, to: Timestamp) {
    let step_ms = plan.step_s * 1000;
    let end_ms = (to.min(plan.to) - plan.from).num_milliseconds();
    let mut at_ms = (from - plan.from).num_milliseconds().max(0);
    while at_ms < end_ms {
        let until_ms = ((at_ms / step_ms + 1) * step_ms).min(end_ms);
        if let Some(bin) = bins.get_mut((at_ms / step_ms) as usize) {
            bin.online_ms += until_ms - at_ms;
        }
        at_ms = until_ms;
    }
}

/// The fleet at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FleetSample {
    /// Time.
    pub at: Timestamp,
    /// Enrolled devices.
    pub devices: i64,
    /// Heard from within the limit.
    pub online: i64,
    /// Heard from before, not within the limit.
    pub offline: i64,
    /// No heartbeat yet.
    pub never_seen: i64,
    /// Online with a battery below the limit.
    pub low_battery: i64,
    /// Online with the monitored app down.
    pub app_down: i64,
    /// Heartbeats stored per second.
    pub heartbeats_per_second: f64,
}

/// Seconds between two samples of the fleet.
pub const SAMPLE_S: i64 = 300;

/// Time of the sample that is due at `now`.
pub fn sample_time(now: Timestamp) -> Timestamp {
    floor(now, SAMPLE_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        DateTime::from_timestamp(1_780_012_800 + second, 0).unwrap()
    }

    fn plan(from: i64, to: i64, points: i64) -> HistoryPlan {
        HistoryRequest { from: Some(at(from)), to: Some(at(to)), points: Some(points) }.plan(at(to)).unwrap()
    }

    /// Slots of `slot_s` seconds, as the store would count heartbeats at these seconds with these charges.
    fn slots(heartbeats: &[(i64, Option<i64>)], slot_s: i64, offline_after_s: i64) -> Vec<Slot> {
        let mut slots: Vec<Slot> = Vec::new();
        for (second, pct) in heartbeats {
            let start = floor(at(*second), slot_s);
            let measure = pct.map_or(Measure::default(), |pct| Measure { n: 1, min: pct as f64, sum: pct as f64, max: pct as f64 });
            match slots.last_mut().filter(|slot| slot.at == start) {
                Some(slot) => {
                    slot.online_s += (at(*second) - slot.last_at).num_seconds().min(offline_after_s);
                    slot.last_at = at(*second);
                    slot.heartbeats += 1;
                    slot.measures.battery_pct.add(&measure);
                }
                None => slots.push(Slot {
                    at: start,
                    heartbeats: 1,
                    first_at: at(*second),
                    last_at: at(*second),
                    online_s: 0,
                    measures: Measures { battery_pct: measure, ..Default::default() },
                    answers: Shares::default(),
                    transports: Transports { wifi: 1, ..Default::default() },
                }),
            }
        }
        slots
    }

    #[test]
    fn the_finest_step_that_fits() {
        let day = 86_400;
        for (range_s, points, step_s, from_aggregates) in [
            (3600, 2000, 10, false),
            (day, 2000, 60, false),
            (day, 500, 300, false),
            (2 * day, 2000, 120, false),
            (2 * day + 1, 2000, 3600, true),
            (30 * day, 2000, 3600, true),
            (30 * day, 500, 7200, true),
            (30 * day, 10, 4 * day, true),
            (90 * day, 1, 0, true),
        ] {
            let plan = plan(-range_s, 0, points);
            assert!(plan.points() as i64 <= points && plan.from <= at(-range_s), "{plan:?}");
            assert_eq!(plan.from_aggregates, from_aggregates, "{plan:?}");
            if step_s > 0 {
                assert_eq!(plan.step_s, step_s, "{range_s} s in {points} points");
            }
        }
    }

    #[test]
    fn ranges_and_points_have_limits() {
        let field = |request: HistoryRequest| request.plan(at(0)).unwrap_err().field;
        assert_eq!(field(HistoryRequest { points: Some(0), ..Default::default() }), "points");
        assert_eq!(field(HistoryRequest { points: Some(2001), ..Default::default() }), "points");
        assert_eq!(field(HistoryRequest { from: Some(at(10)), ..Default::default() }), "from");
        assert_eq!(field(HistoryRequest { from: Some(at(-91 * 86_400)), ..Default::default() }), "from");
        let (first, last) = (DateTime::<chrono::Utc>::MIN_UTC, DateTime::<chrono::Utc>::MAX_UTC);
        assert_eq!(field(HistoryRequest { from: Some(first), ..Default::default() }), "from", "far off, and no overflow");
        assert_eq!(field(HistoryRequest { to: Some(first), ..Default::default() }), "to");
        assert_eq!(field(HistoryRequest { to: Some(EARLIEST - TimeDelta::seconds(1)), ..Default::default() }), "to");
        assert_eq!(field(HistoryRequest { from: Some(last), to: Some(last), ..Default::default() }), "from");
        assert!(HistoryRequest { to: Some(EARLIEST), ..Default::default() }.plan(at(0)).is_ok());
        let default = HistoryRequest::default().plan(at(0)).unwrap();
        assert_eq!((default.from, default.to, default.step_s), (at(-86_400), at(0), 300));
    }

    #[test]
    fn gaps_are_gaps_and_silence_is_offline() {
        let plan = plan(0, 3600, 4);
        assert_eq!(plan.step_s, 900);
        let reported = [(0, Some(50)), (600, Some(40)), (2700, Some(10))];
        let points = downsample(&plan, &slots(&reported, 900, 900), TimeDelta::seconds(900));
        let average = |n: usize| points[n].measures.battery_pct.map(|summary: Summary| summary.avg);
        assert_eq!((average(0), average(1), average(2), average(3)), (Some(45.0), None, None, Some(10.0)));
        let online: Vec<f64> = points.iter().map(|point| point.online_share).collect();
        assert_eq!(online, [1.0, 600.0 / 900.0, 0.0, 1.0]);
        assert_eq!(points[3].transports.unwrap().wifi, 1.0);
    }

    #[test]
    fn what_was_told_before_the_first_point_keeps_the_device_online_in_it() {
        let plan = plan(900, 1800, 1);
        let points = downsample(&plan, &slots(&[(600, Some(1))], 900, 900), TimeDelta::seconds(900));
        assert_eq!((points.len(), points[0].heartbeats, points[0].online_share), (1, 0, 600.0 / 900.0));
    }

    #[test]
    fn a_heartbeat_is_late_before_its_day_can_have_been_aggregated() {
        let midnight = at(0).date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc();
        let bucket = midnight - TimeDelta::seconds(10);
        let noted = |minutes: i64| is_after_settling(bucket, midnight + TimeDelta::minutes(minutes));
        let counted = |minutes: i64| first_unsettled_day(midnight + TimeDelta::minutes(minutes)) > bucket.date_naive();
        assert!(!noted(0) && !noted(114) && noted(115) && noted(10_000));
        assert!(!counted(119) && counted(120));
    }

    proptest! {
        /// It makes no difference how finely the store counted, and nothing is lost or invented.
        #[test]
        fn points_do_not_depend_on_the_slots_below(
            mut reported in proptest::collection::vec((0i64..30_000, proptest::option::of(0i64..=100)), 0..200), points in 1i64..20,
        ) {
            reported.sort_unstable();
            reported.dedup_by_key(|(second, _)| *second);
            let plan = plan(0, 30_000, points);
            let offline_after = TimeDelta::seconds(900);
            let coarse = downsample(&plan, &slots(&reported, plan.step_s, 900), offline_after);
            prop_assert_eq!(coarse.len(), plan.points());
            prop_assert_eq!(coarse.iter().map(|point| point.heartbeats).sum::<i64>(), reported.len() as i64);
            let fine = downsample(&plan, &slots(&reported, 10, 900), offline_after);
            for (one, other) in coarse.iter().zip(&fine) {
                prop_assert!((one.online_share - other.online_share).abs() < 1e-9);
                prop_assert_eq!(one.measures.battery_pct.map(|s| (s.min, s.max)), other.measures.battery_pct.map(|s| (s.min, s.max)));
                if let (Some(a), Some(b)) = (one.measures.battery_pct, other.measures.battery_pct) {
                    prop_assert!((a.avg - b.avg).abs() < 1e-9 && a.min <= a.avg && a.avg <= a.max);
                }
            }
        }
    }
}
