//! Reason for refusing a value, in words that name the field and the limit.

use std::fmt::Display;

/// A refused value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field as the sender knows it, e.g. `battery.pct`.
    pub field: String,
    /// Problem, with the broken limit.
    pub problem: String,
}

impl Invalid {
    /// A refusal of `field` because of `problem`.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The value lies outside `min..=max`.
    pub fn range(field: &str, value: impl Display, min: impl Display, max: impl Display) -> Self {
        Self::new(field, format!("{value} is outside {min}..{max}"))
    }
}

/// Refuses a value outside `min..=max`.
///
/// # Errors
/// Names the field, the value and both limits.
pub fn in_range<T: PartialOrd + Display + Copy>(field: &str, value: T, min: T, max: T) -> Result<T, Invalid> {
    if value < min || value > max { Err(Invalid::range(field, value, min, max)) } else { Ok(value) }
}
