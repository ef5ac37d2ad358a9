//! Events of a run, as they are recorded while it goes on.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Longest text of an event in bytes; what is longer is cut.
const TEXT_BYTES_MAX: usize = 90;
/// Longest name in bytes, where there is a text beside it.
const NAME_BYTES_MAX: usize = 40;

/// Something that happened at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Time in microseconds since the Unix epoch.
    #[serde(rename = "at")]
    pub at_us: i64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// Heartbeats that were answered, or failed, within the second that began then.
    Load(LoadWindow),
    /// A fault is in force from here on.
    FaultBegan {
        /// Name that is unique within the run.
        fault: String,
        /// Description for people.
        text: String,
    },
    /// A fault was healed.
    FaultEnded {
        /// Name of the fault.
        fault: String,
    },
    /// A step of the scenario began.
    StepBegan {
        /// Name of the step.
        step: String,
    },
    /// A step of the scenario ended.
    StepEnded {
        /// Name of the step.
        step: String,
        /// Why it did not do what it should, if so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    },
    /// A node has this many shards from now on; recorded when the number changes.
    Shards {
        /// Name of the node.
        node: String,
        /// Number of its shards.
        shards: u32,
    },
    /// So many alerts of a rule are firing from now on; recorded when the number changes.
    Alerts {
        /// Rule.
        rule: String,
        /// Number of firing alerts.
        firing: u32,
    },
    /// Answer of a probe.
    Probe {
        /// Name of the probe.
        probe: String,
        /// Whether it found what it should.
        ok: bool,
        /// What it measured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<f64>,
    },
    /// Remark for people.
    Note {
        /// Text.
        text: String,
    },
}

/// Heartbeats of one second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadWindow {
    /// Acknowledged heartbeats.
    #[serde(rename = "acks")]
    pub acknowledged: u32,
    /// Median time from sending to the acknowledgement in microseconds; none without an acknowledgement.
    #[serde(rename = "p50", default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u32>,
    /// 99th percentile of the same.
    #[serde(rename = "p99", default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u32>,
    /// Failed attempts by cause.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u32>,
}

impl LoadWindow {
    /// Failed attempts.
    pub fn failed(&self) -> u32 {
        self.errors.values().sum()
    }
}

impl Event {
    /// Event at a time, with its texts cut to what is recorded.
    pub fn new(at: DateTime<Utc>, what: What) -> Self {
        Self { at_us: at.timestamp_micros(), what: what.cut() }
    }
}

impl What {
    fn cut(mut self) -> Self {
        match &mut self {
            Self::FaultBegan { fault, text } => {
                cut(fault, NAME_BYTES_MAX);
                cut(text, TEXT_BYTES_MAX);
            }
            Self::StepEnded { step, problem } => {
                cut(step, NAME_BYTES_MAX);
                problem.iter_mut().for_each(|problem| cut(problem, TEXT_BYTES_MAX));
            }
            Self::FaultEnded { fault: text } | Self::StepBegan { step: text } => cut(text, NAME_BYTES_MAX),
            Self::Shards { node: text, .. } | Self::Alerts { rule: text, .. } | Self::Probe { probe: text, .. } | Self::Note { text } => {
                cut(text, TEXT_BYTES_MAX);
            }
            Self::Load(_) => {}
        }
        self
    }
}

/// Cuts a text at a boundary of characters.
fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_795_275_377_000_000).unwrap()
    }

    #[test]
    fn an_event_is_written_and_read_again() {
        let errors = BTreeMap::from([("http_503".to_owned(), 7), ("timeout".to_owned(), 2)]);
        let window = LoadWindow { acknowledged: 19_999, p50_us: Some(2_100), p99_us: Some(123_456), errors };
        for what in [
            What::Load(window),
            What::Load(LoadWindow::default()),
            What::FaultBegan { fault: "kill".into(), text: "kill -9 node-1".into() },
            What::FaultEnded { fault: "kill".into() },
            What::StepBegan { step: "kill".into() },
            What::StepEnded { step: "kill".into(), problem: None },
            What::StepEnded { step: "kill".into(), problem: Some("node-1 was not ready".into()) },
            What::Shards { node: "node-1".into(), shards: 86 },
            What::Alerts { rule: "device_offline".into(), firing: 3 },
            What::Probe { probe: "readyz".into(), ok: true, value: Some(0.5) },
            What::Note { text: "a remark".into() },
        ] {
            let event = Event::new(at(), what);
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
        }
    }

    #[test]
    fn no_event_is_longer_than_200_bytes() {
        let long = "ä".repeat(500);
        let errors = (0..3).map(|n| (format!("{n}{}", "x".repeat(19)), 100_000)).collect();
        for what in [
            What::Load(LoadWindow { acknowledged: 20_000, p50_us: Some(600_000_000), p99_us: Some(600_000_000), errors }),
            What::FaultBegan { fault: long.clone(), text: long.clone() },
            What::StepEnded { step: long.clone(), problem: Some(long.clone()) },
            What::Shards { node: long.clone(), shards: 256 },
            What::Note { text: long },
        ] {
            let text = serde_json::to_string(&Event::new(at(), what)).unwrap();
            assert!(text.len() < 200, "{} bytes: {text}", text.len());
        }
    }
}
