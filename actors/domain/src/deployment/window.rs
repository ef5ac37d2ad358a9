//! Maintenance window: the hours of the day, in a time zone, in which installations may start.

use chrono::{NaiveTime, TimeDelta, Timelike};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{Invalid, Timestamp};

/// From `start` until `end` in local time; across midnight when `end` is earlier. A change to or from daylight saving time
/// within the window shortens or lengthens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceWindow {
    /// Opening time, minutes after midnight.
    start_minute: u16,
    /// Closing time, minutes after midnight.
    end_minute: u16,
    tz: Tz,
}

impl MaintenanceWindow {
    /// Parses `HH:MM`, `HH:MM` and a name of the IANA time zone database.
    ///
    /// # Errors
    /// A time is malformed, the window has no length, or there is no such time zone.
    pub fn parse(start: &str, end: &str, tz: &str) -> Result<Self, Invalid> {
        let window = Self {
            start_minute: minute("options.window.start", start)?,
            end_minute: minute("options.window.end", end)?,
            tz: tz
                .parse()
                .map_err(|_| Invalid::new("options.window.tz", "not a time zone of the IANA database, such as Europe/Berlin or UTC"))?,
        };
        if window.start_minute == window.end_minute {
            return Err(Invalid::new("options.window.end", "equal to start: the window would be empty"));
        }
        Ok(window)
    }

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

    /// Whether the window is open.
    pub fn is_open(&self, now: Timestamp) -> bool {
        let local = now.with_timezone(&self.tz).time();
        let minute = local.hour() * 60 + local.minute();
        let (start, end) = (u32::from(self.start_minute), u32::from(self.end_minute));
        if start < end { (start..end).contains(&minute) } else { minute >= start || minute < end }
    }

    /// Next opening; now, if the window is open. `None`: not within two days, which no clock change explains.
    pub fn opens_at(&self, now: Timestamp) -> Option<Timestamp> {
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
            assert_eq!((window.start().as_str(), window.end().as_str(), window.tz()), (start, end, tz));
        }
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
