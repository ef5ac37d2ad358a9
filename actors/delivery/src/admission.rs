//! Admission control in front of a service: circuit breaker, rate limit and concurrency. Times are of one monotonic clock.

use std::time::Duration;

use domain::push::{CircuitBreaker, TransientError};
use domain::rate::{self, RateLimit};

/// Whether a message may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may, and counts.
    Go,
    /// Once one that is under way has ended.
    Busy,
    /// After this time.
    Wait(Duration),
}

/// Admission control.
#[derive(Debug, Clone)]
pub struct AdmissionControl {
    breaker: CircuitBreaker,
    paused_until_ms: u64,
    rate: Option<RateLimit>,
    arrival_ns: u64,
    concurrency: usize,
}

impl AdmissionControl {
    /// Control that lets through so many at a time, at this rate.
    pub fn new(rate: Option<RateLimit>, concurrency: usize) -> Self {
        Self { breaker: CircuitBreaker::default(), paused_until_ms: 0, rate, arrival_ns: 0, concurrency: concurrency.max(1) }
    }

    /// Lets one more message through, while so many are under way.
    pub fn admit(&mut self, under_way: usize, now_ns: u64) -> Admission {
        if under_way >= self.concurrency || (self.breaker.is_half_open() && under_way > 0) {
            return Admission::Busy;
        }
        if let Some(wait) = self.blocked_for(now_ns / 1_000_000) {
            return Admission::Wait(wait);
        }
        match self.rate.map(|limit| rate::admit(self.arrival_ns, limit, now_ns)) {
            None => Admission::Go,
            Some(Ok(next_ns)) => {
                self.arrival_ns = next_ns;
                Admission::Go
            }
            Some(Err(early_ns)) => Admission::Wait(Duration::from_nanos(early_ns)),
        }
    }

    /// Time for which nothing is let through: the breaker is open, or the service asked for a pause.
    pub fn blocked_for(&self, now_ms: u64) -> Option<Duration> {
        let paused = self.paused_until_ms.checked_sub(now_ms).filter(|left_ms| *left_ms > 0).map(Duration::from_millis);
        self.breaker.open_for(now_ms).max(paused)
    }

    /// The service answered to a message that was sent at `sent_at_ms`: it works.
    pub fn succeeded(&mut self, sent_at_ms: u64) {
        self.breaker = self.breaker.after_success(sent_at_ms);
    }

    /// It failed. Returns how long that message has to wait, and for how long nothing is let through because of it, if that is new.
    pub fn failed(
        &mut self,
        error: TransientError,
        retry_after: Option<Duration>,
        sent_at_ms: u64,
        now_ms: u64,
        draw: f64,
    ) -> (Duration, Option<Duration>) {
        let was_open = self.breaker.open_for(now_ms).is_some();
        let (breaker, wait) = self.breaker.after_failure(error, retry_after, sent_at_ms, now_ms, draw);
        self.breaker = breaker;
        (wait, breaker.open_for(now_ms).filter(|_| !was_open))
    }

    /// Lets nothing through for a while, as the service asks for without having failed.
    pub fn pause(&mut self, wait: Duration, now_ms: u64) {
        let until_ms = now_ms.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self.paused_until_ms = self.paused_until_ms.max(until_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> u64 {
        ms * 1_000_000
    }

    #[test]
    fn as_many_go_as_may_and_at_their_rate() {
        let mut admission = AdmissionControl::new(Some(RateLimit { per_second: 10, burst: 2 }), 3);
        assert_eq!([admission.admit(0, at_ms(1_000)), admission.admit(1, at_ms(1_000))], [Admission::Go, Admission::Go]);
        assert_eq!(admission.admit(2, at_ms(1_000)), Admission::Wait(Duration::from_millis(100)));
        assert_eq!(admission.admit(3, at_ms(9_000)), Admission::Busy);
        assert_eq!(admission.admit(2, at_ms(9_000)), Admission::Go);
    }

    #[test]
    fn an_outage_stops_all_and_one_message_tries_whether_it_is_over() {
        let mut admission = AdmissionControl::new(None, 5);
        let (wait, blocked) = admission.failed(TransientError::Quota, Some(Duration::from_secs(5)), 0, 1_000, 0.0);
        assert_eq!((wait, blocked), (Duration::from_secs(5), Some(Duration::from_secs(5))));
        assert_eq!(admission.failed(TransientError::Quota, Some(Duration::from_secs(5)), 0, 1_000, 0.0).1, None, "said once");
        assert_eq!(admission.admit(0, at_ms(2_000)), Admission::Wait(Duration::from_secs(4)));
        assert_eq!((admission.admit(0, at_ms(6_000)), admission.admit(1, at_ms(6_000))), (Admission::Go, Admission::Busy));
        admission.succeeded(6_100);
        assert_eq!(admission.admit(1, at_ms(6_200)), Admission::Go);
    }

    #[test]
    fn a_pause_is_no_failure() {
        let mut admission = AdmissionControl::new(None, 5);
        admission.pause(Duration::from_secs(2), 1_000);
        admission.pause(Duration::from_secs(1), 1_000);
        assert_eq!(admission.admit(0, at_ms(1_500)), Admission::Wait(Duration::from_millis(1_500)));
        assert_eq!((admission.admit(0, at_ms(3_000)), admission.admit(1, at_ms(3_000))), (Admission::Go, Admission::Go));
    }
}
