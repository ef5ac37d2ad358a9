//! Maintenance window: local hours of one time zone.

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// From `start` to `end`, `HH:MM`; across midnight when `end` is the earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    start: String,
    end: String,
    tz: String,
}

impl Window {
    /// A window from `start` to `end` in the time zone `tz`.
    pub fn new(start: String, end: String, tz: String) -> Self {
        Self { start, end, tz }
    }

    /// Whether the window is open; an invalid one never is.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").ok();
        let (Some(start), Some(end), Ok(tz)) = (time(&self.start), time(&self.end), self.tz.parse::<Tz>()) else { return false };
        let local = now.with_timezone(&tz).time();
        if start < end { start <= local && local < end } else { start <= local || local < end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(start: &str, end: &str, tz: &str, at: &str) -> bool {
        Window { start: start.into(), end: end.into(), tz: tz.into() }.is_open(at.parse().unwrap())
    }

    #[test]
    fn a_window_uses_local_time() {
        // Berlin is an hour ahead of UTC in winter, two in summer.
        for (at, is_open) in [
            ("2026-01-10T20:59:59Z", false),
            ("2026-01-10T21:00:00Z", true),
            ("2026-01-11T03:59:59Z", true),
            ("2026-01-11T04:00:00Z", false),
            ("2026-07-10T20:00:00Z", true),
            ("2026-07-11T03:00:00Z", false),
        ] {
            assert_eq!(open("22:00", "05:00", "Europe/Berlin", at), is_open, "{at}");
        }
        assert!(open("09:00", "17:00", "UTC", "2026-01-10T09:00:00Z") && !open("09:00", "17:00", "UTC", "2026-01-10T17:00:00Z"));
    }

    #[test]
    fn an_invalid_window_is_closed() {
        for (start, end, tz) in [("25:00", "05:00", "UTC"), ("22:00", "x", "UTC"), ("00:00", "23:59", "Mars/Olympus")] {
            assert!(!open(start, end, tz, "2026-01-10T12:00:00Z"), "{start} {end} {tz}");
        }
    }
}
