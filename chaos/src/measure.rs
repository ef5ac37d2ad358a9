//! Latencies and error counts, and their text form.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Ten minutes; longer latencies count as this.
const LONGEST_US: u64 = 600_000_000;

/// Latencies, microseconds to minutes, to three digits.
#[derive(Clone)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        #[allow(clippy::expect_used, reason = "constant bounds within what the histogram documents as valid")]
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3).expect("valid bounds");
        Self { histogram }
    }
}

impl Latencies {
    /// Records a latency.
    pub fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US);
        self.histogram.saturating_record(us.clamp(1, LONGEST_US));
    }

    /// Adds the values of another one.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can fall outside.
        let _ = self.histogram.add(&other.histogram);
    }

    /// The usual percentiles.
    pub fn percentiles(&self) -> Percentiles {
        let ms = |us: u64| us as f64 / 1_000.0;
        Percentiles {
            count: self.histogram.len(),
            p50_ms: ms(self.histogram.value_at_quantile(0.50)),
            p95_ms: ms(self.histogram.value_at_quantile(0.95)),
            p99_ms: ms(self.histogram.value_at_quantile(0.99)),
            max_ms: ms(self.histogram.max()),
        }
    }
}

/// Percentiles of latencies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Number of values.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 95 of 100 are below.
    pub p95_ms: f64,
    /// 99 of 100 are below.
    pub p99_ms: f64,
    /// Maximum.
    pub max_ms: f64,
}

impl std::fmt::Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, max {:.2} ms", self.p50_ms, self.p95_ms, self.p99_ms, self.max_ms)
    }
}

/// Most distinct error kinds; further ones count as `other`.
const KIND_LIMIT: usize = 64;

/// Errors by kind, such as `connect` or `http_503`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Errors(BTreeMap<String, u64>);

impl Errors {
    /// Counts an error.
    pub fn count(&mut self, kind: &str) {
        self.count_n(kind, 1);
    }

    /// Adds the values of another one.
    pub fn add(&mut self, other: &Self) {
        for (kind, n) in &other.0 {
            self.count_n(kind, *n);
        }
    }

    /// Total.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Count of one kind.
    pub fn of(&self, kind: &str) -> u64 {
        self.0.get(kind).copied().unwrap_or(0)
    }

    fn count_n(&mut self, kind: &str, n: u64) {
        if let Some(known) = self.0.get_mut(kind) {
            *known += n;
        } else {
            let kind = if self.0.len() < KIND_LIMIT { kind } else { "other" };
            *self.0.entry(kind.to_owned()).or_default() += n;
        }
    }
}

impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let mut text = String::new();
        for (kind, n) in &self.0 {
            let separator = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{separator}{kind} {n}");
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::default();
        for ms in 1..=100 {
            latencies.record(Duration::from_millis(ms));
        }
        let p = latencies.percentiles();
        assert_eq!(p.count, 100);
        assert!((p.p50_ms - 50.0).abs() < 0.1 && (p.p95_ms - 95.0).abs() < 0.1 && (p.max_ms - 100.0).abs() < 0.1, "{p}");
    }

    #[test]
    fn what_is_longer_than_the_longest_still_counts() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::from_secs(7_200));
        latencies.record(Duration::ZERO);
        assert_eq!(latencies.percentiles().count, 2);
    }

    #[test]
    fn errors_add_up_by_kind_and_kinds_are_limited() {
        let mut errors = Errors::default();
        errors.count("http_503");
        errors.count("http_503");
        let mut more = Errors::default();
        for n in 0..1_000 {
            more.count(&format!("kind_{n}"));
        }
        errors.add(&more);
        assert_eq!(errors.of("http_503"), 2);
        assert_eq!(errors.total(), 1_002);
        assert!(errors.0.len() <= KIND_LIMIT + 1);
        assert!(errors.to_string().contains("http_503 2"));
    }
}
