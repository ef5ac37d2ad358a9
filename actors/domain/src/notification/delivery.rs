//! Delivery of a notification to a channel: what an answer means, when to try again, and when to give up.

use std::time::Duration;

use chrono::TimeDelta;

use crate::Timestamp;
use crate::backoff::{Backoff, spread};

/// Greatest age of a message: one that could not be delivered within it becomes a dead letter, whether it was tried or its channel was off.
pub const GIVE_UP_AFTER: TimeDelta = TimeDelta::hours(24);
/// Longest wait that a service may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Waits between attempts.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(5), max: Duration::from_secs(1_800) };
/// Spread of the waits either way.
const SPREAD: f64 = 0.2;

/// Kind of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ChannelKind {
    /// Webhook of Discord.
    Discord,
    /// Mail by SMTP.
    Email,
    /// Webhook in JSON, signed.
    Webhook,
    /// Webhook as Slack's.
    Slack,
    /// PagerDuty, Events API v2.
    Pagerduty,
    /// ntfy.
    Ntfy,
}

named!(pub ChannelKind, parse -> Result);

impl ChannelKind {
    /// Whether the service keeps incidents, which are acknowledged and resolved by name. It has nothing for messages about anything else.
    pub fn keeps_incidents(self) -> bool {
        self == Self::Pagerduty
    }

    /// Title on pages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Discord => "Discord",
            Self::Email => "E-mail",
            Self::Webhook => "Webhook",
            Self::Slack => "Slack",
            Self::Pagerduty => "PagerDuty",
            Self::Ntfy => "ntfy",
        }
    }
}

/// Outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The service took the message.
    Delivered,
    /// It may take it later: no connection, a timeout, an error of its own, too many requests.
    Later {
        /// Wait that it asks for.
        retry_after: Option<Duration>,
    },
    /// It never takes it as it is: an unknown webhook, a refused recipient, a redirect, a target that leads inward.
    Refused,
}

/// Meaning of a status of HTTP. Redirects are not followed: they could lead anywhere.
pub fn judge_status(status: u16, retry_after: Option<Duration>) -> AttemptOutcome {
    match status {
        200..=299 => AttemptOutcome::Delivered,
        408 | 425 | 429 | 500..=599 => AttemptOutcome::Later { retry_after },
        _ => AttemptOutcome::Refused,
    }
}

/// Meaning of a reply of SMTP: 4xx is a transient refusal (RFC 5321, section 4.2.1), as greylisting gives it.
pub fn judge_smtp(code: u16) -> AttemptOutcome {
    match code {
        200..=299 => AttemptOutcome::Delivered,
        500..=599 => AttemptOutcome::Refused,
        _ => AttemptOutcome::Later { retry_after: None },
    }
}

/// What becomes of a message after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryStep {
    /// It is delivered.
    Done,
    /// It is tried again at this time.
    RetryAt(Timestamp),
    /// It is refused, and kept where it is seen and can be sent again.
    DeadLetter,
    /// It is given up for its age, and kept like one that is refused.
    Expired,
}

/// The next step after `attempts` attempts, of a message that waits since `queued_at`. `draw` is uniform in 0..1.
pub fn next_step(outcome: AttemptOutcome, attempts: u32, queued_at: Timestamp, now: Timestamp, draw: f64) -> DeliveryStep {
    let retry_after = match outcome {
        AttemptOutcome::Delivered => return DeliveryStep::Done,
        AttemptOutcome::Refused => return DeliveryStep::DeadLetter,
        AttemptOutcome::Later { retry_after } => retry_after,
    };
    let own = spread(BACKOFF.wait(attempts.max(1)), SPREAD, draw);
    let wait = own.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX));
    let at = now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
    if at > queued_at + GIVE_UP_AFTER { DeliveryStep::Expired } else { DeliveryStep::RetryAt(at) }
}

/// Wait in the answer of a service, in seconds, which may have a fraction, as Discord's: `retry_after` of the body or `Retry-After` of the header.
/// What is no wait, or a date, is none.
pub fn parse_retry_after(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(RETRY_AFTER_MAX.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    #[test]
    fn answers_by_status() {
        let later = AttemptOutcome::Later { retry_after: None };
        for (status, outcome) in [
            (200, AttemptOutcome::Delivered),
            (204, AttemptOutcome::Delivered),
            (301, AttemptOutcome::Refused),
            (307, AttemptOutcome::Refused),
            (400, AttemptOutcome::Refused),
            (404, AttemptOutcome::Refused),
            (408, later),
            (429, later),
            (500, later),
            (503, later),
        ] {
            assert_eq!(judge_status(status, None), outcome, "{status}");
        }
        for (code, outcome) in [(250, AttemptOutcome::Delivered), (451, later), (421, later), (550, AttemptOutcome::Refused)] {
            assert_eq!(judge_smtp(code), outcome, "{code}");
        }
    }

    #[test]
    fn the_wait_that_is_asked_for_is_honoured_within_its_limit() {
        for (asked, waits) in [(None, 5), (Some(2.0), 5), (Some(64.57), 65), (Some(100_000.0), 3_600)] {
            let retry_after = asked.map(Duration::from_secs_f64);
            let step = next_step(AttemptOutcome::Later { retry_after }, 1, at(0), at(0), 0.5);
            let DeliveryStep::RetryAt(next) = step else { panic!("{step:?}") };
            assert_eq!((next - at(0)).as_seconds_f64().round(), f64::from(waits), "{asked:?}");
        }
        assert_eq!(parse_retry_after(" 0.25 "), Some(Duration::from_millis(250)));
        for bad in ["", "-1", "NaN", "inf", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(parse_retry_after(bad), None, "{bad}");
        }
        assert_eq!(parse_retry_after("1e300"), Some(RETRY_AFTER_MAX));
    }

    #[test]
    fn a_refusal_is_a_dead_letter_at_once() {
        assert_eq!(next_step(AttemptOutcome::Refused, 1, at(0), at(0), 0.5), DeliveryStep::DeadLetter);
        assert_eq!(next_step(AttemptOutcome::Delivered, 9, at(0), at(1_000_000), 0.5), DeliveryStep::Done);
    }

    proptest! {
        /// A service that never answers is tried for a day, more than forty times, and not after it.
        #[test]
        fn delivery_is_tried_for_a_day(draw in 0.0..1.0) {
            let (mut now, mut attempts) = (at(0), 0);
            loop {
                attempts += 1;
                match next_step(AttemptOutcome::Later { retry_after: None }, attempts, at(0), now, draw) {
                    DeliveryStep::RetryAt(next) => {
                        prop_assert!(next > now && next <= at(0) + GIVE_UP_AFTER);
                        now = next;
                    }
                    DeliveryStep::Expired => break,
                    DeliveryStep::Done | DeliveryStep::DeadLetter => prop_assert!(false),
                }
            }
            prop_assert!(attempts > 40 && now > at(0) + TimeDelta::hours(23), "{} attempts until {}", attempts, now);
        }
    }
}
