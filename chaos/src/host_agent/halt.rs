//! Halt point of a host agent: just before a named event of its log is written.

use std::fmt;
use std::str::FromStr;

/// Event of the agent log by name and occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaltPoint {
    /// Name of the event, such as `command.run`.
    pub event: String,
    /// 1 is the first since the process was started.
    pub occurrence: u32,
}

impl HaltPoint {
    /// At this occurrence of an event.
    pub fn new(event: &str, occurrence: u32) -> Self {
        Self { event: event.to_owned(), occurrence }
    }
}

impl fmt::Display for HaltPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.event, self.occurrence)
    }
}

impl FromStr for HaltPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (event, occurrence) = text.split_once('#').unwrap_or((text, "1"));
        match occurrence.parse() {
            Ok(occurrence) if occurrence > 0 && !event.is_empty() => Ok(Self::new(event, occurrence)),
            _ => Err(format!("`{text}`: expected the form command.run#1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_an_event_and_an_occurrence() {
        assert_eq!("command.run#3".parse::<HaltPoint>().unwrap(), HaltPoint::new("command.run", 3));
        assert_eq!("start".parse::<HaltPoint>().unwrap().to_string(), "start#1");
        for text in ["", "#1", "start#0", "start#x"] {
            assert!(text.parse::<HaltPoint>().is_err(), "{text}");
        }
    }
}
