//! Classification of the response to one attempt of a command request.

/// Outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptOutcome {
    /// The command exists.
    Accepted,
    /// The access token has expired.
    Unauthorized,
    /// Not processed: to be retried.
    Retry,
    /// The command may exist: to be retried.
    Unknown,
    /// Refused for good.
    Refused,
}

/// Classifies a status; `None` is a missing response.
pub(super) fn classify(status: Option<u16>) -> AttemptOutcome {
    match status {
        Some(200..=299) => AttemptOutcome::Accepted,
        Some(401) => AttemptOutcome::Unauthorized,
        Some(425 | 429) => AttemptOutcome::Retry,
        // A timeout, a lost connection or an internal error; 409 while an attempt with the same key is in progress.
        None | Some(408 | 409 | 500..=599) => AttemptOutcome::Unknown,
        Some(_) => AttemptOutcome::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_command_that_cannot_exist_is_refused() {
        for (status, want) in [
            (Some(201), AttemptOutcome::Accepted),
            (Some(200), AttemptOutcome::Accepted),
            (Some(401), AttemptOutcome::Unauthorized),
            (Some(429), AttemptOutcome::Retry),
            (Some(503), AttemptOutcome::Unknown),
            (Some(409), AttemptOutcome::Unknown),
            (None, AttemptOutcome::Unknown),
            (Some(404), AttemptOutcome::Refused),
            (Some(422), AttemptOutcome::Refused),
        ] {
            assert_eq!(classify(status), want, "{status:?}");
        }
    }
}
