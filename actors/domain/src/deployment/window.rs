//! Maintenance window: the hours of every day, in a time zone, or one period in which installations may start.

use std::fmt;

use chrono::{Datelike, NaiveTime, SecondsFormat, TimeDelta, Timelike, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{Invalid, Timestamp, time};

/// Time in which installations may start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MaintenanceWindow {
    /// The same hours of every day.
    Daily(DailyWindow),
    /// One period, and nothing after it.
    Period(WindowPeriod),
}

/// From `start` until `end` in local time; across midnight when `end` is earlier. A change to or from daylight saving time
/// within the window shortens or lengthens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DailyWindow {
    /// Opening time, minutes after midnight.
    start_minute: u16,
    /// Closing time, minutes after midnight.
    end_minute: u16,
    tz: Tz,
}

/// Period from one moment until another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowPeriod {
    /// Opening time.
    pub from: Timestamp,
    /// Closing time.
    pub until: Timestamp,
}

impl MaintenanceWindow {
    /// Parses `HH:MM`, `HH:MM` and a name of the IANA time zone database.
    ///
    /// # Errors
    /// A time is malformed, the window has no length, or there is no such time zone.
    pub fn parse(start: &str, end: &str, tz: &str) -> Result<Self, Invalid> {
        let window = DailyWindow {
            start_minute: minute("options.window.start", start)?,
            end_minute: minute("options.window.end", end)?,
            tz: tz
                .parse()
                .map_err(|_| Invalid::new("options.window.tz", "not a time zone of the IANA database, such as Europe/Berlin or UTC"))?,
        };
        if window.start_minute == window.end_minute {
            return Err(Invalid::new("options.window.end", "equal to start: the window would be empty"));
        }
        Ok(Self::Daily(window))
    }

    /// Parses two times of RFC 3339, each with its offset from UTC.
    ///
    /// # Errors
    /// A time is malformed, or the period has no length.
    pub fn period(from: &str, until: &str) -> Result<Self, Invalid> {
        let time = |field, text: &str| {
            let expected = "not a time with its offset from UTC, as 2026-12-01T22:00:00+01:00";
            time::parse(text).ok_or_else(|| Invalid::new(field, expected))
        };
        let period = WindowPeriod { from: time("options.window.from", from)?, until: time("options.window.until", until)? };
        if period.until <= period.from {
            return Err(Invalid::new("options.window.until", "not after the start: the window would be empty"));
        }
        Ok(Self::Period(period))
    }

    /// The hours of every day, unless it is one period.
    pub fn daily(&self) -> Option<&DailyWindow> {
        if let Self::Daily(window) = self { Some(window) } else { None }
    }

    /// The period, unless it is daily.
    pub fn as_period(&self) -> Option<WindowPeriod> {
        if let Self::Period(period) = self { Some(*period) } else { None }
    }

    /// Hours of the day that a device compares with its own clock: those of a period of less than a day. `None`: of a longer one.
    pub fn hours(&self) -> Option<DailyWindow> {
        match self {
            Self::Daily(window) => Some(window.clone()),
            Self::Period(WindowPeriod { from, until }) if *until - *from < TimeDelta::hours(23) => {
                let of_day = |at: Timestamp| (at.hour() * 60 + at.minute()) as u16;
                // Whole minutes, so up to a minute later than the server closes it.
                let end_minute = (of_day(*until) + u16::from(until.second() > 0)) % (24 * 60);
                Some(DailyWindow { start_minute: of_day(*from), end_minute, tz: Tz::UTC })
            }
            Self::Period(_) => None,
        }
    }

    /// Whether the window is open.
    pub fn is_open(&self, now: Timestamp) -> bool {
        match self {
            Self::Daily(window) => window.is_open(now),
            Self::Period(WindowPeriod { from, until }) => (*from..*until).contains(&now),
        }
    }

    /// Whether the window never opens again.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.as_period().is_some_and(|period| now >= period.until)
    }

    /// Next opening; now, if the window is open. `None`: never again, or not within two days, which no clock change explains.
    pub fn opens_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Daily(window) => window.opens_at(now),
            Self::Period(WindowPeriod { from, until }) => (now < *until).then_some(now.max(*from)),
        }
    }
}

/// The window in words.
impl fmt::Display for MaintenanceWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daily(window) => write!(f, "{} to {}, {}", window.start(), window.end(), window.tz()),
            Self::Period(WindowPeriod { from, until }) => write!(f, "{} to {}", time_text(*from), time_text(*until)),
        }
    }
}

/// A time with whole seconds, or as exact as it was given.
pub(super) fn time_text(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

impl DailyWindow {
    /// Opening time, `HH:MM`.
    pub fn start(&self) -> String {
        clock(self.start_minute)
    }

    /// Closing time, `HH:MM`.
    pub fn end(&self) -> String {
        clock(self.end_minute)
    }

    /// Name of the time zone.
    pub fn tz(&self) -> &'static str {
        self.tz.name()
    }

    fn is_open(&self, now: Timestamp) -> bool {
        self.opened_on(now).is_some()
    }

    /// Local day on which the window that is open now has opened: yesterday, after the midnight that it crosses. `None`: it is shut.
    pub fn opened_on(&self, now: Timestamp) -> Option<Weekday> {
        let local = now.with_timezone(&self.tz);
        let minute = local.hour() * 60 + local.minute();
        let (start, end) = (u32::from(self.start_minute), u32::from(self.end_minute));
        match start < end {
            true => (start..end).contains(&minute).then(|| local.weekday()),
            false if minute >= start => Some(local.weekday()),
            false => (minute < end).then(|| local.weekday().pred()),
        }
    }

    fn opens_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.is_open(now) {
            return Some(now);
        }
        // Windows open on a full minute: every offset in use since 1972 is one of whole minutes.
        let next = now - TimeDelta::nanoseconds(now.timestamp_subsec_nanos().into()) - TimeDelta::seconds(now.timestamp() % 60);
        (1..=2 * 24 * 60).map(|minutes| next + TimeDelta::minutes(minutes)).find(|at| self.is_open(*at))
    }
}

fn minute(field: &str, text: &str) -> Result<u16, Invalid> {
    let well_formed = text.len() == 5 && text.as_bytes().get(2) == Some(&b':');
    let time = NaiveTime::parse_from_str(text, "%H:%M").ok().filter(|_| well_formed);
    let time = time.ok_or_else(|| Invalid::new(field, "not a time of the day as HH:MM, 00:00..23:59"))?;
    Ok((time.hour() * 60 + time.minute()) as u16)
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn windows_open_and_close_by_the_clock_on_the_wall() {
        let table = [
            // (start, end, zone, moment, open)
            ("09:00", "17:00", "UTC", "2026-11-22T08:59:59Z", false),
            ("09:00", "17:00", "UTC", "2026-11-22T09:00:00Z", true),
            ("09:00", "17:00", "UTC", "2026-11-22T16:59:59Z", true),
            ("09:00", "17:00", "UTC", "2026-11-22T17:00:00Z", false),
            // Across midnight.
            ("22:00", "05:00", "Europe/Berlin", "2026-11-22T20:59:59Z", false),
            ("22:00", "05:00", "Europe/Berlin", "2026-11-22T21:00:00Z", true),
            ("22:00", "05:00", "Europe/Berlin", "2026-11-23T03:59:59Z", true),
            ("22:00", "05:00", "Europe/Berlin", "2026-11-23T04:00:00Z", false),
            // Summer time: the same clock, another hour of UTC.
            ("22:00", "05:00", "Europe/Berlin", "2026-07-01T20:00:00Z", true),
            // The night in which 02:00 becomes 03:00: a window in the hour that is left out stays shut.
            ("02:15", "02:45", "Europe/Berlin", "2026-03-29T01:30:00Z", false),
            ("01:30", "03:30", "Europe/Berlin", "2026-03-29T00:59:00Z", true),
            ("01:30", "03:30", "Europe/Berlin", "2026-03-29T01:29:00Z", true),
            ("01:30", "03:30", "Europe/Berlin", "2026-03-29T01:30:00Z", false),
            // The night in which 03:00 becomes 02:00: the hour comes twice.
            ("02:15", "02:45", "Europe/Berlin", "2026-10-25T00:30:00Z", true),
            ("02:15", "02:45", "Europe/Berlin", "2026-10-25T01:30:00Z", true),
            ("02:15", "02:45", "Europe/Berlin", "2026-10-25T00:50:00Z", false),
            // Offsets of half an hour.
            ("00:00", "00:30", "Asia/Kolkata", "2026-11-22T18:45:00Z", true),
        ];
        for (start, end, tz, moment, open) in table {
            let window = MaintenanceWindow::parse(start, end, tz).unwrap();
            assert_eq!(window.is_open(at(moment)), open, "{start}-{end} {tz} at {moment}");
            let daily = window.daily().unwrap();
            assert_eq!((daily.start().as_str(), daily.end().as_str(), daily.tz()), (start, end, tz));
        }
    }

    #[test]
    fn a_window_across_midnight_is_of_the_day_on_which_it_opened() {
        let night = MaintenanceWindow::parse("22:00", "05:00", "Europe/Berlin").unwrap();
        let opened = |moment| night.daily().unwrap().opened_on(at(moment));
        // A Sunday evening, and the Monday morning after it.
        assert_eq!(opened("2026-11-22T21:00:00Z"), Some(Weekday::Sun));
        assert_eq!(opened("2026-11-23T03:59:00Z"), Some(Weekday::Sun));
        assert_eq!(opened("2026-11-23T12:00:00Z"), None);
        let day = MaintenanceWindow::parse("09:00", "17:00", "UTC").unwrap();
        assert_eq!(day.daily().unwrap().opened_on(at("2026-11-22T09:00:00Z")), Some(Weekday::Sun));
    }

    #[test]
    fn what_is_no_window_is_refused_by_name() {
        let field = |start, end, tz| MaintenanceWindow::parse(start, end, tz).unwrap_err().field;
        assert_eq!(field("22:00", "22:00", "UTC"), "options.window.end");
        assert_eq!(field("24:00", "05:00", "UTC"), "options.window.start");
        assert_eq!(field("9:00", "17:00", "UTC"), "options.window.start");
        assert_eq!(field("09:00", "17:60", "UTC"), "options.window.end");
        assert_eq!(field("09:00", "17:00", "Mars/Olympus"), "options.window.tz");
    }

    #[test]
    fn a_window_in_an_hour_that_is_left_out_opens_the_next_day() {
        let window = MaintenanceWindow::parse("02:15", "02:45", "Europe/Berlin").unwrap();
        assert_eq!(window.opens_at(at("2026-03-28T12:00:10Z")), Some(at("2026-03-30T00:15:00Z")));
    }

    #[test]
    fn a_period_opens_once() {
        let window = MaintenanceWindow::period("2026-12-01T22:00:00+01:00", "2026-12-02T05:00:30+01:00").unwrap();
        let table = [
            ("2026-12-01T20:59:59Z", false, false, Some("2026-12-01T21:00:00Z")),
            ("2026-12-01T21:00:00Z", true, false, Some("2026-12-01T21:00:00Z")),
            ("2026-12-02T04:00:29Z", true, false, Some("2026-12-02T04:00:29Z")),
            ("2026-12-02T04:00:30Z", false, true, None),
            ("2026-12-02T21:30:00Z", false, true, None),
        ];
        for (now, open, over, opens) in table {
            let now = at(now);
            assert_eq!((window.is_open(now), window.is_over(now), window.opens_at(now)), (open, over, opens.map(at)), "{now}");
        }
        let hours = window.hours().unwrap();
        assert_eq!((hours.start(), hours.end(), hours.tz()), ("21:00".into(), "04:01".into(), "UTC"));
        assert_eq!(window.to_string(), "2026-12-01T21:00:00Z to 2026-12-02T04:00:30Z");
        let days = MaintenanceWindow::period("2026-12-01T00:00:00Z", "2026-12-03T00:00:00Z").unwrap();
        assert_eq!(days.hours(), None, "no hours of a day");
        for (from, until, field) in [
            ("2026-12-01T22:00:00", "2026-12-02T05:00:00Z", "options.window.from"),
            ("2026-12-01T22:00:00Z", "tomorrow", "options.window.until"),
            ("2026-12-01T22:00:00Z", "2026-12-01T22:00:00Z", "options.window.until"),
        ] {
            assert_eq!(MaintenanceWindow::period(from, until).unwrap_err().field, field);
        }
    }

    proptest! {
        /// The moment it opens is open, and the minute before is not.
        #[test]
        fn it_opens_when_it_says(start in 0_u16..1440, length in 1_u16..1440, second in 1_767_000_000_i64..1_830_000_000, zone in 0_usize..5) {
            let tz = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"][zone];
            let window = MaintenanceWindow::parse(&clock(start), &clock((start + length) % 1440), tz).unwrap();
            let now = chrono::DateTime::from_timestamp(second, 0).unwrap();
            let opens = window.opens_at(now).unwrap();
            prop_assert!(window.is_open(opens) && opens >= now);
            prop_assert!(opens == now || !window.is_open(opens - TimeDelta::minutes(1)));
        }
    }
}
