//! Attempt to send a message, and what came of it.

use std::time::Duration;

use domain::notification::AttemptOutcome;
use domain::push::TransientError;

/// Longest answer that is handed on, characters.
const ANSWER_MAX_CHARS: usize = 300;

/// Attempt that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Outcome.
    pub outcome: AttemptOutcome,
    /// Answer of the service in its words, or the error; on one line, without secrets.
    pub answer: String,
    /// How long it took.
    pub took: Duration,
    /// Kind of an error that may pass.
    pub(crate) error: Option<TransientError>,
    /// How long the service wants to be left alone after it took this one.
    pub(crate) pause: Option<Duration>,
}

impl Attempt {
    /// Whether the service took the message.
    pub fn is_delivered(&self) -> bool {
        self.outcome == AttemptOutcome::Delivered
    }

    pub(crate) fn new(outcome: AttemptOutcome, answer: &str) -> Self {
        Self { outcome, answer: line(answer), took: Duration::ZERO, error: None, pause: None }
    }

    /// One that is worth trying again.
    pub(crate) fn later(error: TransientError, retry_after: Option<Duration>, answer: &str) -> Self {
        Self { error: Some(error), ..Self::new(AttemptOutcome::Later { retry_after }, answer) }
    }

    /// One that is not.
    pub(crate) fn refused(answer: &str) -> Self {
        Self::new(AttemptOutcome::Refused, answer)
    }

    /// Name of the outcome in metrics.
    pub(crate) fn outcome_name(&self) -> &'static str {
        match (self.outcome, self.error) {
            (AttemptOutcome::Delivered, _) => "delivered",
            (AttemptOutcome::Refused, _) => "refused",
            (AttemptOutcome::Later { .. }, Some(error)) => error.name(),
            (AttemptOutcome::Later { .. }, None) => "later",
        }
    }
}

/// Text on one line of limited length.
pub(crate) fn line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(ANSWER_MAX_CHARS) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_line_of_limited_length() {
        assert_eq!(Attempt::refused("HTTP 404:\r\n{\"message\":\n \"x\"}\0").answer, "HTTP 404: {\"message\": \"x\"}");
        assert_eq!(Attempt::refused(&"ä".repeat(9_999)).answer.chars().count(), ANSWER_MAX_CHARS + 1);
    }
}
