//! Growth, and the day on which the disk is full.

use chrono::TimeDelta;

use super::StorageSample;
use crate::Timestamp;

/// Samples that growth is judged by: those of this time before now.
pub const GROWTH_SPAN: TimeDelta = TimeDelta::days(14);
/// Time that they have to cover at least; a day has its busy hours.
pub const GROWTH_SPAN_MIN: TimeDelta = TimeDelta::hours(24);
/// Samples at least.
pub const GROWTH_SAMPLES_MIN: usize = 4;
/// Days beyond which a forecast says nothing.
const FORECAST_DAYS_MAX: f64 = 3650.0;
/// Growth below which nothing grows, bytes a day: a disk of any size lasts.
const GROWTH_MIN: f64 = 1024.0;

/// Growth a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// Bytes a day on the disk that is judged; negative where it shrinks.
    pub disk_bytes_per_day: f64,
    /// Bytes a day of the database and the archives together.
    pub bytes_per_day: f64,
    /// Time that it was judged by.
    pub over: TimeDelta,
}

impl Growth {
    /// The slope of the samples of the last two weeks. `None`: there are too few of them, or they are too close.
    pub fn of(samples: &[StorageSample], now: Timestamp) -> Option<Self> {
        let mut recent: Vec<_> = samples.iter().filter(|sample| sample.at <= now && sample.at > now - GROWTH_SPAN).collect();
        recent.sort_by_key(|sample| sample.at);
        let (first, last) = (recent.first()?.at, recent.last()?.at);
        let over = last - first;
        if recent.len() < GROWTH_SAMPLES_MIN || over < GROWTH_SPAN_MIN {
            return None;
        }
        let days = |at: Timestamp| (at - first).num_milliseconds() as f64 / 86_400_000.0;
        let points = |bytes: fn(&StorageSample) -> i64| recent.iter().map(move |sample| (days(sample.at), bytes(sample) as f64));
        Some(Self {
            disk_bytes_per_day: slope(points(|sample| sample.on_disk_bytes)),
            bytes_per_day: slope(points(|sample| sample.database_bytes + sample.archive_bytes)),
            over,
        })
    }
}

/// The slope of the line of least squares.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let n = points.clone().count() as f64;
    let (sum_x, sum_y) = points.clone().fold((0.0, 0.0), |(sum_x, sum_y), (x, y)| (sum_x + x, sum_y + y));
    let (mean_x, mean_y) = (sum_x / n, sum_y / n);
    let (above, below) = points.fold((0.0, 0.0), |(above, below), (x, y)| {
        let dx = x - mean_x;
        (above + dx * (y - mean_y), below + dx * dx)
    });
    if below > 0.0 { above / below } else { 0.0 }
}

/// When the disk is full, if it goes on like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forecast {
    /// Samples are too few, or too close.
    TooLittleData,
    /// The disk of the database is not seen from here.
    UnknownDisk,
    /// Nothing grows.
    NotGrowing,
    /// Not within ten years.
    Distant,
    /// On this day, about.
    FullAt(Timestamp),
}

impl Forecast {
    /// The forecast of the newest of these samples.
    pub fn of(samples: &[StorageSample], now: Timestamp) -> Self {
        let newest = samples.iter().filter(|sample| sample.at <= now).max_by_key(|sample| sample.at);
        let Some(newest) = newest else { return Self::TooLittleData };
        let Some(free) = newest.disk_free_bytes else { return Self::UnknownDisk };
        let Some(growth) = Growth::of(samples, now) else { return Self::TooLittleData };
        if growth.disk_bytes_per_day < GROWTH_MIN {
            return Self::NotGrowing;
        }
        let days = free.max(0) as f64 / growth.disk_bytes_per_day;
        if days > FORECAST_DAYS_MAX {
            return Self::Distant;
        }
        Self::FullAt(newest.at + TimeDelta::seconds((days * 86_400.0) as i64))
    }

    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLittleData => "too_little_data",
            Self::UnknownDisk => "unknown_disk",
            Self::NotGrowing => "not_growing",
            Self::Distant => "distant",
            Self::FullAt(_) => "full_at",
        }
    }

    /// Every name in the API.
    pub const NAMES: [&'static str; 5] = ["too_little_data", "unknown_disk", "not_growing", "distant", "full_at"];

    /// The day on which the disk is full.
    pub fn full_at(self) -> Option<Timestamp> {
        match self {
            Self::FullAt(at) => Some(at),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: i64 = 1 << 30;

    fn now() -> Timestamp {
        chrono::DateTime::from_timestamp(1_795_275_000, 0).unwrap()
    }

    /// A sample so many hours ago.
    fn sample(hours_ago: i64, bytes: i64, free: Option<i64>) -> StorageSample {
        StorageSample {
            at: now() - TimeDelta::hours(hours_ago),
            database_bytes: bytes,
            heartbeats_bytes: bytes / 2,
            archive_bytes: bytes / 10,
            on_disk_bytes: bytes,
            disk_free_bytes: free,
            disk_bytes: free.map(|_| 100 * GIB),
        }
    }

    /// Hourly samples of the last hours that grow by this much a day.
    fn line(hours: i64, a_day: i64, free: Option<i64>) -> Vec<StorageSample> {
        (0..=hours).map(|ago| sample(ago, 200 * GIB - a_day * ago / 24, free)).collect()
    }

    #[test]
    fn a_line_tells_its_slope_and_the_day_on_which_it_ends() {
        let samples = line(72, GIB, Some(10 * GIB));
        let growth = Growth::of(&samples, now()).unwrap();
        assert!((growth.disk_bytes_per_day - GIB as f64).abs() < 1000.0, "{growth:?}");
        assert!((growth.bytes_per_day - 1.1 * GIB as f64).abs() < 1000.0, "{growth:?}");
        assert_eq!(growth.over, TimeDelta::hours(72));
        let full = Forecast::of(&samples, now()).full_at().unwrap();
        assert!((full - now() - TimeDelta::days(10)).abs() < TimeDelta::minutes(1), "{full}");
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        for (what, samples, expected) in [
            ("nothing", vec![], Forecast::TooLittleData),
            ("one sample", line(0, GIB, Some(GIB)), Forecast::TooLittleData),
            ("part of a day", line(23, GIB, Some(GIB)), Forecast::TooLittleData),
            ("two samples", vec![sample(0, 9, Some(1)), sample(48, 1, Some(1))], Forecast::TooLittleData),
            ("another machine's disk", line(72, GIB, None), Forecast::UnknownDisk),
            ("a fleet that rests", line(72, 0, Some(GIB)), Forecast::NotGrowing),
            ("a fleet that shrinks", line(72, -GIB, Some(GIB)), Forecast::NotGrowing),
            ("a large disk", line(72, 1 << 20, Some(1000 * GIB)), Forecast::Distant),
            ("a full disk", line(72, GIB, Some(0)), Forecast::FullAt(now())),
        ] {
            assert_eq!(Forecast::of(&samples, now()), expected, "{what}");
        }
    }

    #[test]
    fn samples_of_long_ago_and_of_a_clock_ahead_do_not_count() {
        let mut samples = line(72, GIB, Some(10 * GIB));
        samples.push(sample(24 * 60, 0, Some(GIB)));
        samples.push(sample(-24, 900 * GIB, Some(0)));
        assert_eq!(Growth::of(&samples, now()).unwrap().over, TimeDelta::hours(72));
        let full = Forecast::of(&samples, now()).full_at().unwrap();
        assert!((full - now() - TimeDelta::days(10)).abs() < TimeDelta::minutes(1), "{full}");
    }

    #[test]
    fn each_forecast_has_its_name() {
        let all = [Forecast::TooLittleData, Forecast::UnknownDisk, Forecast::NotGrowing, Forecast::Distant, Forecast::FullAt(now())];
        assert_eq!(all.map(Forecast::as_str), Forecast::NAMES);
    }

    proptest! {
        #[test]
        fn faster_growth_never_ends_later(a_day in 1i64..(50 * GIB), more in 0i64..(50 * GIB), free in 0i64..(1000 * GIB)) {
            let full = |a_day: i64| match Forecast::of(&line(48, a_day, Some(free)), now()) {
                Forecast::FullAt(at) => at,
                _ => Timestamp::MAX_UTC,
            };
            prop_assert!(full(a_day + more) - TimeDelta::seconds(60) <= full(a_day));
        }
    }
}
