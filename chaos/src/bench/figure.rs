//! A measured figure beside the limit it is meant to keep.

use std::fmt;

use serde::Serialize;

/// Target of a value.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Limit {
    /// This or more.
    AtLeast(f64),
    /// Less than this.
    Below(f64),
    /// Nothing at all.
    Zero,
}

/// One number of a figure.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Value {
    label: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

impl Value {
    pub(super) fn new(label: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { label: label.into(), value, unit, limit: None, met: None }
    }

    /// With what it is meant to be; said, never enforced.
    pub(super) fn limit(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self.met = Some(match limit {
            Limit::AtLeast(least) => self.value >= least,
            Limit::Below(most) => self.value < most,
            Limit::Zero => self.value == 0.0,
        });
        self
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, value, unit, .. } = self;
        let digits = if value.abs() >= 1_000.0 || value.fract() == 0.0 { 0 } else { 2 };
        write!(f, "{label:<34} {value:>12.digits$} {unit}")?;
        let verdict = if self.met == Some(true) { "met" } else { "MISSED" };
        match self.limit {
            None => Ok(()),
            Some(Limit::AtLeast(least)) => {
                write!(f, "  (at least {} {unit}: {verdict}, {:.2} times as much)", rounded(least), value / least)
            }
            Some(Limit::Below(most)) => write!(f, "  (below {} {unit}: {verdict}, {:.0} % of it)", rounded(most), 100.0 * value / most),
            Some(Limit::Zero) => write!(f, "  (none: {verdict})"),
        }
    }
}

/// To two places, so that a limit in GB reads well in GiB.
fn rounded(limit: f64) -> f64 {
    (limit * 100.0).round() / 100.0
}

/// One paragraph of the report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    /// How it was measured.
    pub(super) how: String,
    pub(super) values: Vec<Value>,
    /// Kinds of the errors.
    pub(super) notes: Vec<String>,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.how)?;
        for value in &self.values {
            writeln!(f, "  {value}")?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_whether_it_keeps_its_limit() {
        let text = |value: Value| value.to_string();
        assert!(text(Value::new("rate", 12_000.0, "/s").limit(Limit::AtLeast(10_000.0))).contains("met, 1.20 times"));
        assert!(text(Value::new("p95", 45.0, "ms").limit(Limit::Below(30.0))).contains("MISSED, 150 %"));
        assert!(text(Value::new("errors", 0.0, "").limit(Limit::Zero)).contains("none: met"));
        assert!(!text(Value::new("max", 45.0, "ms")).contains('('));
    }
}
