//! Times as devices and people write them.

use chrono::{DateTime, TimeDelta};

use crate::Timestamp;

/// A nanosecond count beyond this belongs to a leap second.
const SECOND_NS: u32 = 1_000_000_000;

/// Forms beside RFC 3339: the offset without a colon, as `SimpleDateFormat` of Java and `strftime` write it.
const OTHER_FORMS: [&str; 2] = ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z"];
/// Counts of seconds since 1970 that are taken for a time: from 2001 on. From a thousand times as many on they are of milliseconds.
const UNIX_MIN: i64 = 1_000_000_000;
const UNIX_MAX: i64 = 99_999_999_999;

/// The time that a text names (RFC 3339, the offset also without a colon). A second 60, as clocks of leap seconds write it, is the one that
/// follows it.
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let other = || OTHER_FORMS.iter().find_map(|form| DateTime::parse_from_str(text, form).ok());
    let time = DateTime::parse_from_rfc3339(text).ok().or_else(other)?.to_utc();
    match time.timestamp_subsec_nanos().checked_sub(SECOND_NS) {
        None => Some(time),
        Some(nanos) => DateTime::from_timestamp(time.timestamp(), nanos)?.checked_add_signed(TimeDelta::seconds(1)),
    }
}

/// The time that a count of seconds or milliseconds since 1970 names.
pub fn of_unix(count: i64) -> Option<Timestamp> {
    match count {
        UNIX_MIN..=UNIX_MAX => DateTime::from_timestamp(count, 0),
        count if (UNIX_MIN..=UNIX_MAX).contains(&(count / 1000)) => DateTime::from_timestamp_millis(count),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_second_is_the_one_that_follows_it() {
        for (text, time) in [
            ("2026-06-30T23:59:59Z", Some("2026-06-30T23:59:59+00:00")),
            ("2026-06-30T23:59:60Z", Some("2026-07-01T00:00:00+00:00")),
            ("2026-06-30T23:59:60.5Z", Some("2026-07-01T00:00:00.500+00:00")),
            ("2026-07-01T01:59:60+02:00", Some("2026-07-01T00:00:00+00:00")),
            (" 2026-06-30t23:59:59z ", Some("2026-06-30T23:59:59+00:00")),
            ("2026-06-30 23:59:59Z", Some("2026-06-30T23:59:59+00:00")),
            ("2026-07-01T01:59:59+0200", Some("2026-06-30T23:59:59+00:00")),
            ("2026-07-01 01:59:59.250+0200", Some("2026-06-30T23:59:59.250+00:00")),
            ("2026-07-01T01:59:60+0200", Some("2026-07-01T00:00:00+00:00")),
            ("2026-07-01T01:59:59 0200", None),
            ("2026-06-30T23:59:61Z", None),
            ("2026-06-30T24:00:00Z", None),
            ("2026-06-30T23:59:59", None),
            ("2026-02-30T00:00:00Z", None),
            ("٢٠٢٦-١١-٢١T15:36:17Z", None),
            ("noon", None),
            ("", None),
        ] {
            assert_eq!(parse(text).map(|time| time.to_rfc3339()).as_deref(), time, "{text}");
        }
    }

    #[test]
    fn counts_since_1970_are_of_seconds_or_milliseconds() {
        let told = |count| of_unix(count).map(|time| time.to_rfc3339());
        assert_eq!(told(1_795_000_000).as_deref(), Some("2026-11-18T11:06:40+00:00"));
        assert_eq!(told(1_795_000_000_250).as_deref(), Some("2026-11-18T11:06:40.250+00:00"));
        for none in [0, 5, -1_795_000_000, 999_999_999, 100_000_000_000, 1_795_000_000_000_000, i64::MIN, i64::MAX] {
            assert_eq!(told(none), None, "{none}");
        }
    }
}
