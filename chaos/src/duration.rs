//! Durations as people type them: `500ms`, `300s`, `2m`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Reads a duration; every number needs its unit (`ms`, `s`, `m`, `h`, `d`).
pub fn parse(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("`{text}` is no duration: {error}; write it like 300s, 2m or 500ms"))
}

/// How often a device sends a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// Whenever the server's last answer said (`next_heartbeat_seconds`).
    Server,
    /// Every so often, at a phase of the device's own, whatever the server says.
    Every(Duration),
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "server" {
            return Ok(Self::Server);
        }
        match parse(text)? {
            every if every < Duration::from_millis(10) => Err("an interval below 10ms is not simulated".into()),
            every => Ok(Self::Every(every)),
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Every(every) => write!(f, "{}s", every.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_and_their_sums() {
        for (text, want_ms) in
            [("500ms", 500), ("300s", 300_000), ("2m", 120_000), ("1h30m", 5_400_000), ("1.5s", 1_500), ("7d", 604_800_000)]
        {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(want_ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "300", "s", "-1s", "1x", "1.2.3s", "99999999999999999999d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn intervals_are_the_servers_or_ours() {
        assert_eq!("server".parse::<Interval>().unwrap(), Interval::Server);
        assert_eq!("10s".parse::<Interval>().unwrap(), Interval::Every(Duration::from_secs(10)));
        assert!("0s".parse::<Interval>().is_err());
        assert_eq!(Interval::Every(Duration::from_millis(1500)).to_string(), "1.5s");
    }
}
