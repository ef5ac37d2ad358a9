//! Limits of sending: circuit breaker with backoff, rate limit per device, life of messages and access tokens.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime};

use super::{TTL_MAX_S, TransientError};
use crate::Timestamp;
use crate::backoff::{Backoff, lengthened};

/// First wait after `QUOTA_EXCEEDED`: "a minimum initial delay of 1 minute" (ErrorCode).
const QUOTA_WAIT: Duration = Duration::from_secs(60);
/// First wait after another transient error: an initial delay of one second (ErrorCode, `UNAVAILABLE`).
const ERROR_WAIT: Duration = Duration::from_secs(1);
/// Waits double up to this.
const WAIT_MAX: Duration = Duration::from_secs(900);
/// A `Retry-After` beyond this is taken to have meant this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// So many failures without a success between them are an outage, not one bad message.
const OUTAGE_AFTER: u32 = 5;
/// The window of the limit per device.
const MINUTE_MS: u64 = 60_000;

/// `Retry-After`: seconds or a date, in any of the three forms of RFC 9110, section 5.6.7. A date in
/// the past is no wait. `None` for anything else.
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs));
    }
    let obsolete = |format| NaiveDateTime::parse_from_str(value, format).map(|date| date.and_utc());
    let date = DateTime::parse_from_rfc2822(value)
        .map(|date| date.to_utc())
        .or_else(|_| obsolete("%A, %d-%b-%y %H:%M:%S GMT"))
        .or_else(|_| obsolete("%a %b %e %H:%M:%S %Y"))
        .ok()?;
    Some((date - now).to_std().unwrap_or_default())
}

/// Wait after the `rounds`-th failure in a row (from 1): what the service asked for, else exponential
/// backoff. Never less than that, and up to half more by `draw` (0..1) as jitter.
fn backoff(error_kind: TransientError, retry_after: Option<Duration>, rounds: u32, draw: f64) -> Duration {
    match retry_after {
        // "Now" would be a loop.
        Some(requested) => lengthened(requested.clamp(ERROR_WAIT, RETRY_AFTER_MAX), 0.1, draw),
        None => {
            let first = if matches!(error_kind, TransientError::Quota | TransientError::DeviceQuota) { QUOTA_WAIT } else { ERROR_WAIT };
            lengthened(Backoff { first, max: WAIT_MAX }.wait(rounds.max(1)), 0.5, draw)
        }
    }
}

/// Circuit breaker of a push service. Times are milliseconds of one monotonic clock.
///
/// The quota is that of the project, so one answer about it opens the breaker for all messages. After the pause it
/// is half-open: messages go one at a time until one is accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CircuitBreaker {
    open_until_ms: u64,
    /// Time of the newest failure. A message that was sent before it says nothing new.
    failed_at_ms: u64,
    /// Failures since the last success.
    in_row: u32,
    /// The same, with failures of messages that were under way together counted as one.
    rounds: u32,
    half_open: bool,
}

impl CircuitBreaker {
    /// Remaining time for which the breaker is open, if it is.
    pub fn open_for(&self, now_ms: u64) -> Option<Duration> {
        self.open_until_ms.checked_sub(now_ms).filter(|left_ms| *left_ms > 0).map(Duration::from_millis)
    }

    /// Whether only one message at a time may be under way.
    pub fn is_half_open(&self) -> bool {
        self.half_open
    }

    /// Breaker after FCM accepted a message that was sent at `sent_at_ms`.
    #[must_use]
    pub fn after_success(self, sent_at_ms: u64) -> Self {
        if sent_at_ms < self.failed_at_ms { self } else { Self { open_until_ms: self.open_until_ms, ..Self::default() } }
    }

    /// Breaker after a transient error of a message that was sent at `sent_at_ms`, and the wait of that message.
    #[must_use]
    pub fn after_failure(
        self,
        error_kind: TransientError,
        retry_after: Option<Duration>,
        sent_at_ms: u64,
        now_ms: u64,
        draw: f64,
    ) -> (Self, Duration) {
        if error_kind == TransientError::DeviceQuota {
            return (self, backoff(error_kind, retry_after, 1, draw));
        }
        let is_new = self.in_row == 0 || sent_at_ms >= self.failed_at_ms;
        let (in_row, rounds) = (self.in_row.saturating_add(1), self.rounds.saturating_add(u32::from(is_new)));
        let wait = backoff(error_kind, retry_after, rounds, draw);
        let opens =
            retry_after.is_some() || matches!(error_kind, TransientError::Quota | TransientError::Unavailable) || in_row >= OUTAGE_AFTER;
        let until_ms = now_ms.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let breaker = Self {
            open_until_ms: if opens { self.open_until_ms.max(until_ms) } else { self.open_until_ms },
            failed_at_ms: now_ms,
            in_row,
            rounds,
            half_open: self.half_open || opens,
        };
        (breaker, wait)
    }
}

/// Times of the messages to a device within the last minute.
#[derive(Debug, Clone, Default)]
pub struct RecentSends(VecDeque<u64>);

impl RecentSends {
    /// Admits a message at `now_ms`, unless there were `per_minute` within the minute before it.
    ///
    /// # Errors
    /// Milliseconds until the next message is admitted.
    pub fn admit(&mut self, per_minute: u32, now_ms: u64) -> Result<(), u64> {
        while self.0.front().is_some_and(|sent_ms| sent_ms + MINUTE_MS <= now_ms) {
            self.0.pop_front();
        }
        match self.0.front() {
            Some(oldest_ms) if self.0.len() >= per_minute.max(1) as usize => Err((oldest_ms + MINUTE_MS).saturating_sub(now_ms).max(1)),
            _ => {
                self.0.push_back(now_ms);
                Ok(())
            }
        }
    }
}

/// Remaining life of a message after it has waited here; `None`: it has expired. A life of 0
/// means now or never, and is left to FCM.
pub fn ttl_left_s(ttl_s: u32, waited: Duration) -> Option<u32> {
    let left_s = u64::from(ttl_s).saturating_sub(waited.as_secs());
    let left_s = u32::try_from(left_s).unwrap_or(TTL_MAX_S).min(TTL_MAX_S);
    (ttl_s == 0 || left_s > 0).then_some(left_s)
}

/// Age at which an access token of this life is renewed: five minutes before its end, but not in the
/// first four fifths of a short one.
pub fn renew_after(lifetime: Duration) -> Duration {
    lifetime.saturating_sub(Duration::from_secs(300)).max(lifetime.mul_f64(0.8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("1994-11-06T08:49:00Z").unwrap().to_utc();
        for (value, wanted_s) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("", None),
            ("-3", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(parse_retry_after(value, now), wanted_s.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn waits_are_as_asked_or_double_from_the_documented_first_one() {
        let wait_s = |error_kind, asked_s: Option<u64>, rounds, draw| {
            backoff(error_kind, asked_s.map(Duration::from_secs), rounds, draw).as_secs_f64()
        };
        for (error_kind, asked_s, rounds, draw, wanted_s) in [
            (TransientError::Quota, None, 1, 0.0, 60.0),
            (TransientError::Quota, None, 1, 1.0, 90.0),
            (TransientError::Quota, None, 2, 0.0, 120.0),
            (TransientError::Quota, None, 40, 0.0, 900.0),
            (TransientError::Unavailable, None, 1, 0.0, 1.0),
            (TransientError::Internal, None, 3, 0.0, 4.0),
            (TransientError::Timeout, None, u32::MAX, 0.0, 900.0),
            (TransientError::Quota, Some(7), 9, 0.0, 7.0),
            (TransientError::Unavailable, Some(100), 1, 1.0, 110.0),
            (TransientError::Unavailable, Some(1 << 40), 1, 0.0, 3600.0),
            (TransientError::Unavailable, Some(0), 5, 0.0, 1.0),
        ] {
            assert_eq!(wait_s(error_kind, asked_s, rounds, draw), wanted_s, "{error_kind:?} {asked_s:?} {rounds} {draw}");
        }
    }

    #[test]
    fn a_quota_answer_closes_the_gate_for_all_and_one_message_opens_it() {
        let (breaker, wait) = CircuitBreaker::default().after_failure(TransientError::Quota, Some(Duration::from_secs(5)), 10, 100, 0.0);
        assert_eq!((wait, breaker.open_for(100)), (Duration::from_secs(5), Some(Duration::from_secs(5))));
        assert_eq!((breaker.open_for(5_099), breaker.open_for(5_100)), (Some(Duration::from_millis(1)), None));
        assert!(breaker.is_half_open());
        // Sent before the trouble: no sign that it is over.
        assert_eq!(breaker.after_success(99), breaker);
        let closed = breaker.after_success(5_200);
        assert!(!closed.is_half_open() && closed.open_for(5_200).is_none());
    }

    #[test]
    fn a_device_quota_or_one_failure_holds_up_nobody_else_and_an_outage_everybody() {
        let (breaker, wait) = CircuitBreaker::default().after_failure(TransientError::DeviceQuota, None, 0, 0, 0.0);
        assert_eq!((breaker, wait), (CircuitBreaker::default(), Duration::from_secs(60)));
        let mut breaker = CircuitBreaker::default();
        for n in 1..=5 {
            assert_eq!(breaker.open_for(n), None, "{n}");
            breaker = breaker.after_failure(TransientError::Network, None, n, n, 0.0).0;
        }
        assert_eq!(breaker.open_for(5), Some(Duration::from_secs(16)), "the fifth in a row");
        let (breaker, _) = CircuitBreaker::default().after_failure(TransientError::Network, None, 0, 0, 0.0);
        assert_eq!(breaker.after_success(1), CircuitBreaker::default());
    }

    #[test]
    fn failures_that_were_on_their_way_together_count_once_for_the_wait() {
        let (mut breaker, mut wait) = (CircuitBreaker::default(), Duration::ZERO);
        for n in 0..64 {
            (breaker, wait) = breaker.after_failure(TransientError::Unavailable, None, 0, 100 + n, 0.0);
        }
        assert_eq!(wait, Duration::from_secs(1));
        let (_, wait) = breaker.after_failure(TransientError::Unavailable, None, 5_000, 5_100, 0.0);
        assert_eq!(wait, Duration::from_secs(2));
    }

    #[test]
    fn a_message_lives_no_longer_for_having_waited() {
        let left = |ttl_s, waited_s| ttl_left_s(ttl_s, Duration::from_secs(waited_s));
        assert_eq!((left(60, 0), left(60, 59), left(60, 60), left(60, 1000)), (Some(60), Some(1), None, None));
        assert_eq!((left(0, 0), left(0, 9)), (Some(0), Some(0)));
        assert_eq!((left(u32::MAX, 0), left(TTL_MAX_S, 1)), (Some(TTL_MAX_S), Some(TTL_MAX_S - 1)));
    }

    #[test]
    fn an_access_token_is_renewed_before_it_ends() {
        for (lifetime_s, wanted_s) in [(3600, 3300), (3599, 3299), (1500, 1200), (600, 480), (10, 8)] {
            assert_eq!(renew_after(Duration::from_secs(lifetime_s)), Duration::from_secs(wanted_s), "{lifetime_s}");
        }
    }

    proptest! {
        #[test]
        fn no_device_gets_more_than_its_limit_in_any_minute(gaps_ms in proptest::collection::vec(0u64..30_000, 1..200), limit in 1u32..6) {
            let (mut recent, mut now, mut sent) = (RecentSends::default(), 0, Vec::new());
            for gap_ms in gaps_ms {
                now += gap_ms;
                match recent.admit(limit, now) {
                    Ok(()) => sent.push(now),
                    Err(wait_ms) => {
                        prop_assert!(recent.clone().admit(limit, now + wait_ms).is_ok());
                        prop_assert!(wait_ms == 1 || recent.clone().admit(limit, now + wait_ms - 1).is_err());
                    }
                }
            }
            for (n, at) in sent.iter().enumerate() {
                let within = sent[n..].iter().take_while(|later| **later < at + MINUTE_MS).count();
                prop_assert!(within <= limit as usize, "{within}");
            }
        }

        #[test]
        fn nobody_is_bothered_earlier_than_asked(asked_s in 0u64..3600, draw in 0.0..1.0) {
            let requested = Duration::from_secs(asked_s);
            let (breaker, wait) = CircuitBreaker::default().after_failure(TransientError::Unavailable, Some(requested), 0, 1000, draw);
            prop_assert!(wait >= requested);
            prop_assert!(breaker.open_for(1000).unwrap_or_default() + Duration::from_millis(1) >= requested);
        }
    }
}
