//! Times as devices and people write them.

use chrono::{DateTime, TimeDelta};

use crate::Timestamp;

/// A nanosecond count beyond this belongs to a leap second.
const SECOND_NS: u32 = 1_000_000_000;

/// The time that a text names (RFC 3339). A second 60, as clocks of leap seconds write it, is the one that follows it.
pub fn parse(text: &str) -> Option<Timestamp> {
    let time = DateTime::parse_from_rfc3339(text.trim()).ok()?.to_utc();
    match time.timestamp_subsec_nanos().checked_sub(SECOND_NS) {
        None => Some(time),
        Some(nanos) => DateTime::from_timestamp(time.timestamp(), nanos)?.checked_add_signed(TimeDelta::seconds(1)),
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
}
