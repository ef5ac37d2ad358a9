//! Locks a name out of signing in after failures in a row, ever longer, and never for good.
//!
//! ```text
//! failures   1 .. after-1   after     after+1    after+2   ...
//! locked     -              base      2 x base   4 x base  ... max
//! ```
//! An attempt while it is locked counts for nothing, or anyone could hold the lock for ever.

use chrono::TimeDelta;

use crate::Timestamp;

/// Policy of locking names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutPolicy {
    /// Failures in a row that lock.
    pub after: u32,
    /// The first lock.
    pub base_s: u32,
    /// The longest lock.
    pub max_s: u32,
    /// Time without an attempt after which failures are forgotten.
    pub forget_after_s: u32,
}

/// The failures of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lockout {
    /// In a row.
    pub failures: u32,
    /// Time of the last failure.
    pub failed_at: Timestamp,
    /// Until when further attempts are refused.
    pub locked_until: Option<Timestamp>,
}

/// Decision about an attempt to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It goes on, and is counted as failed already: attempts side by side must not all slip
    /// through while the first is still being checked. One that succeeds clears the name.
    Allowed(Lockout),
    /// It is refused unseen.
    Locked {
        /// Seconds until the next may be made.
        retry_after_s: u32,
    },
}

/// Decides about an attempt at `now` for a name with these failures.
pub fn attempt(known: Option<Lockout>, policy: LockoutPolicy, now: Timestamp) -> Attempt {
    // A clock that ran ahead elsewhere must not lock anybody for longer than the policy says.
    let lock_left = |lockout: Lockout| {
        let left = lockout.locked_until? - now;
        (left > TimeDelta::zero() && left <= TimeDelta::seconds(i64::from(policy.max_s))).then_some(left)
    };
    if let Some(left) = known.and_then(lock_left) {
        return Attempt::Locked { retry_after_s: (left.num_milliseconds() as f64 / 1000.0).ceil().max(1.0) as u32 };
    }
    let remembered = known.filter(|lockout| now - lockout.failed_at <= TimeDelta::seconds(i64::from(policy.forget_after_s)));
    let failures = remembered.map_or(0, |lockout| lockout.failures).saturating_add(1).min(i32::MAX as u32);
    let locked_until = lock_s(failures, policy).map(|lock_s| now + TimeDelta::seconds(i64::from(lock_s)));
    Attempt::Allowed(Lockout { failures, failed_at: now, locked_until })
}

/// How long that many failures in a row lock.
fn lock_s(failures: u32, policy: LockoutPolicy) -> Option<u32> {
    let doublings = failures.checked_sub(policy.after)?;
    let factor = 1_u64 << doublings.min(31);
    Some((u64::from(policy.base_s) * factor).min(u64::from(policy.max_s)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    const POLICY: LockoutPolicy = LockoutPolicy { after: 3, base_s: 30, max_s: 100, forget_after_s: 1000 };

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    #[test]
    fn the_table_of_locks() {
        let table = [(1, None), (2, None), (3, Some(30)), (4, Some(60)), (5, Some(100)), (6, Some(100)), (u32::MAX, Some(100))];
        for (failures, want) in table {
            assert_eq!(lock_s(failures, POLICY), want, "{failures}");
        }
    }

    #[test]
    fn locks_grow_with_failures_and_attempts_meanwhile_count_for_nothing() {
        let mut known = None;
        let mut now = 0;
        for lock_s in [0, 0, 30, 60, 100, 100] {
            let Attempt::Allowed(counted) = attempt(known, POLICY, at(now)) else { panic!("locked at {now}") };
            known = Some(counted);
            if lock_s > 0 {
                assert_eq!(attempt(known, POLICY, at(now)), Attempt::Locked { retry_after_s: lock_s });
                assert_eq!(attempt(known, POLICY, at(now + i64::from(lock_s) - 1)), Attempt::Locked { retry_after_s: 1 });
                now += i64::from(lock_s);
            }
        }
    }

    #[test]
    fn failures_are_forgotten_in_time() {
        let known = Some(Lockout { failures: 9, failed_at: at(0), locked_until: Some(at(100)) });
        let Attempt::Allowed(counted) = attempt(known, POLICY, at(1001)) else { panic!() };
        assert_eq!(counted, Lockout { failures: 1, failed_at: at(1001), locked_until: None });
    }

    #[test]
    fn a_lock_that_a_wrong_clock_wrote_holds_nobody() {
        let known = Some(Lockout { failures: 9, failed_at: at(1_000_000), locked_until: Some(at(1_000_100)) });
        assert!(matches!(attempt(known, POLICY, at(0)), Attempt::Allowed(_)));
    }

    /// Whatever happened before, everybody may try again within the longest lock.
    #[test]
    fn nobody_is_locked_out_for_good() {
        let locked_out = Cell::new(0);
        let allowed = Cell::new(0);
        proptest!(|(failures in 0u32.., failed_at in -1500i64..500, locked in proptest::option::of(-250i64..250))| {
            let known = Lockout { failures, failed_at: at(failed_at), locked_until: locked.map(at) };
            match attempt(Some(known), POLICY, at(0)) {
                Attempt::Locked { retry_after_s } => {
                    locked_out.set(locked_out.get() + 1);
                    prop_assert!((1..=POLICY.max_s).contains(&retry_after_s));
                    let later = attempt(Some(known), POLICY, at(i64::from(retry_after_s)));
                    prop_assert!(matches!(later, Attempt::Allowed(_)));
                }
                Attempt::Allowed(counted) => {
                    allowed.set(allowed.get() + 1);
                    prop_assert!(counted.failures >= 1);
                    prop_assert!(counted.locked_until.is_none_or(|until| until <= at(i64::from(POLICY.max_s))));
                }
            }
        });
        assert!(locked_out.get() > 0, "nobody was locked out");
        assert!(allowed.get() > 0, "nobody was allowed");
    }
}
