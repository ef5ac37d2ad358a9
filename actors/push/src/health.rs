//! Health of the configuration, logged once a minute, and of the quota.

use std::time::Duration;

use domain::push::Misconfiguration;

/// How long nothing is tried after it turned out that nothing can be sent, and how often that is logged; also the period of FCM's quota.
const MINUTE_MS: u64 = 60_000;

/// Whether the configuration is good, as far as answers have told. Times as in [`domain::push::CircuitBreaker`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Health {
    wrong: Option<Misconfiguration>,
    tried_again_at_ms: u64,
    logged_again_at_ms: u64,
    quota_used_up_until_ms: u64,
}

impl Health {
    /// Records a misconfiguration; returns whether it is to be logged now.
    pub(super) fn note(&mut self, reason: Misconfiguration, now_ms: u64) -> bool {
        self.wrong = Some(reason);
        if reason.stops_all() {
            self.tried_again_at_ms = now_ms + MINUTE_MS;
        }
        let due = now_ms >= self.logged_again_at_ms;
        if due {
            self.logged_again_at_ms = now_ms + MINUTE_MS;
        }
        due
    }

    /// A message was accepted.
    pub(super) fn recover(&mut self) {
        (self.wrong, self.tried_again_at_ms) = (None, 0);
    }

    /// FCM answered that the quota is used up, and asks for this wait. Of the messages that are under way, some may be accepted all the same.
    pub(super) fn quota_used_up(&mut self, wait: Duration, now_ms: u64) {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(MINUTE_MS);
        self.quota_used_up_until_ms = self.quota_used_up_until_ms.max(now_ms.saturating_add(wait_ms));
    }

    /// Whether the quota is used up, as far as the answers of the last minute tell.
    pub(super) fn is_quota_used_up(&self, now_ms: u64) -> bool {
        now_ms < self.quota_used_up_until_ms
    }

    /// Problem, if any.
    pub(super) fn wrong(&self) -> Option<Misconfiguration> {
        self.wrong
    }

    /// Reason for sending nothing, while a try would be in vain.
    pub(super) fn blocked(&self, now_ms: u64) -> Option<Misconfiguration> {
        self.wrong.filter(|_| now_ms < self.tried_again_at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stops_all_is_tried_again_after_a_minute_and_logged_once_in_it() {
        let mut health = Health::default();
        assert_eq!(health.blocked(0), None);
        assert!(health.note(Misconfiguration::AccountRefused, 1_000));
        assert!(!health.note(Misconfiguration::PermissionDenied, 2_000), "once a minute");
        assert_eq!(health.blocked(61_999), Some(Misconfiguration::PermissionDenied));
        assert_eq!(health.blocked(62_000), None);
        assert!(health.note(Misconfiguration::PermissionDenied, 62_000));
        health.recover();
        assert_eq!((health.wrong(), health.blocked(62_001)), (None, None));
        assert!(!health.note(Misconfiguration::PermissionDenied, 63_000), "not even when it comes and goes");
    }

    #[test]
    fn a_quota_is_used_up_for_a_minute_or_the_wait_that_is_asked_for() {
        let mut health = Health::default();
        assert!(!health.is_quota_used_up(0));
        health.quota_used_up(Duration::from_secs(5), 1_000);
        health.recover();
        assert!(health.is_quota_used_up(60_999) && !health.is_quota_used_up(61_000));
        health.quota_used_up(Duration::from_secs(300), 61_000);
        health.quota_used_up(Duration::from_secs(5), 62_000);
        assert!(health.is_quota_used_up(360_999) && !health.is_quota_used_up(361_000));
        assert_eq!(health.wrong(), None);
    }

    #[test]
    fn a_device_of_another_project_stops_nobody_else() {
        let mut health = Health::default();
        assert!(health.note(Misconfiguration::SenderIdMismatch, 0));
        assert_eq!((health.blocked(1), health.wrong()), (None, Some(Misconfiguration::SenderIdMismatch)));
    }
}
