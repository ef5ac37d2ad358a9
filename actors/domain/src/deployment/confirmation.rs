//! Confirmation of a reported success by the heartbeats of the device.
//!
//! ```text
//! reported   --a heartbeat since the start shows the version or a newer one---> confirmed
//!            --one composed after the report shows another, or no installation-> reverted
//!            --one composed after the report does not name the package---------> accepted as reported
//!            --none of these until the time is over----------------------------> unconfirmed
//! succeeded  --a heartbeat shows another version within the same time----------> reverted
//! ```
//! The device holds no slot meanwhile, so others start while a heartbeat is awaited.

use chrono::TimeDelta;

use super::readiness::{DeviceSnapshot, InstalledVersion};
use super::{Task, TaskState};
use crate::Timestamp;

/// A heartbeat is composed before it arrives: one of the bucket in which the report came may be older than the installation.
const COMPOSED_AFTER: TimeDelta = TimeDelta::seconds(10);

/// What the heartbeats say about a reported success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// Nothing yet; undecided until this time at most.
    Pending(Timestamp),
    /// The version is installed.
    Confirmed,
    /// Another version is installed, or none.
    Reverted(InstalledVersion),
    /// The heartbeats do not name the package.
    NotNamed,
    /// No heartbeat came in time.
    Unconfirmed,
}

/// Judges a task that is [`TaskState::Confirming`], or that has succeeded, by the last heartbeat of its device.
pub fn confirmation(task: &Task, version_code: i64, snapshot: Option<&DeviceSnapshot>, within: TimeDelta, now: Timestamp) -> Confirmation {
    let reported_at = if task.state == TaskState::Succeeded { task.finished_at } else { task.reported_at };
    let reported_at = reported_at.or(task.started_at).unwrap_or(now);
    let due = reported_at + within;
    let status = snapshot.and_then(|snapshot| Some((snapshot.heartbeat_at?, snapshot.composed_at(reported_at)?, snapshot.installed)));
    if let Some((received_at, composed_at, installed)) = status {
        let later = received_at.min(composed_at) >= reported_at + COMPOSED_AFTER;
        match installed {
            InstalledVersion::Code(code) if code >= version_code && task.started_at.is_none_or(|at| received_at > at) => {
                return Confirmation::Confirmed;
            }
            InstalledVersion::Code(code) if code >= version_code => {}
            InstalledVersion::Code(_) | InstalledVersion::Absent if later => return Confirmation::Reverted(installed),
            InstalledVersion::Unknown if later => return Confirmation::NotNamed,
            _ => {}
        }
    }
    if now < due { Confirmation::Pending(due) } else { Confirmation::Unconfirmed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceId;
    use crate::device::ClockLag;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
    }

    fn reported(at_s: i64) -> Task {
        let (state, started_at, reported_at) = (TaskState::Confirming, Some(at(0)), Some(at(at_s)));
        Task { state, started_at, reported_at, attempts: 1, ..Task::new(DeviceId(uuid::Uuid::nil()), true) }
    }

    fn heartbeat(received_s: i64, composed_s: i64, installed: InstalledVersion) -> DeviceSnapshot {
        DeviceSnapshot { heartbeat_at: Some(at(received_s)), composed_at: Some(at(composed_s)), installed, ..DeviceSnapshot::default() }
    }

    #[test]
    fn a_heartbeat_after_the_report_decides() {
        use Confirmation::{Confirmed, NotNamed, Pending, Reverted, Unconfirmed};
        use InstalledVersion::{Absent, Code, Unknown};
        let pending = Pending(at(1_000));
        // Reported at 100 s, of version 2, to be confirmed within 900 s.
        for (n, (received, composed, installed, now, want)) in [
            (90, 90, Code(2), 100, Confirmed),
            (101, 101, Code(2), 101, Confirmed),
            (101, 101, Code(3), 101, Confirmed),
            (400, 400, Code(2), 400, Confirmed),
            // From before the start: the version of a rollback build can be there already.
            (0, 0, Code(2), 400, pending),
            (-60, -60, Code(1), 400, pending),
            // Composed before the installation, and received after it.
            (105, 95, Code(1), 105, pending),
            (109, 109, Code(1), 109, pending),
            (400, 95, Code(1), 400, pending),
            (111, 111, Code(1), 111, Reverted(Code(1))),
            (400, 400, Absent, 400, Reverted(Absent)),
            (105, 105, Unknown, 105, pending),
            (400, 400, Unknown, 400, NotNamed),
            // A clock that is ahead does not make a heartbeat later than its receipt.
            (101, 500, Code(1), 101, pending),
            (90, 90, Code(1), 999, pending),
            (90, 90, Code(1), 1_000, Unconfirmed),
            (90, 90, Unknown, 1_000, Unconfirmed),
        ]
        .into_iter()
        .enumerate()
        {
            let snapshot = heartbeat(received, composed, installed);
            let found = confirmation(&reported(100), 2, Some(&snapshot), TimeDelta::seconds(900), at(now));
            assert_eq!(found, want, "row {n}");
        }
        assert_eq!(confirmation(&reported(100), 2, None, TimeDelta::seconds(900), at(500)), pending);
        assert_eq!(confirmation(&reported(100), 2, None, TimeDelta::seconds(900), at(1_000)), Unconfirmed);
    }

    #[test]
    fn a_clock_that_is_known_to_be_slow_delays_no_verdict() {
        use Confirmation::{NotNamed, Pending, Reverted};
        use InstalledVersion::{Code, Unknown};
        let pending = Pending(at(1_000));
        // Reported at 100 s; the clock is slow by two minutes, as heartbeats show since this second.
        for (n, (since, received, composed, installed, want)) in [
            (0, 111, -9, Code(1), Reverted(Code(1))),
            (0, 111, -9, Unknown, NotNamed),
            (0, 111, -9, Code(2), Confirmation::Confirmed),
            // It waited on the device.
            (0, 130, -25, Code(1), pending),
            (0, 900, -20, Code(1), pending),
            // All that is known of the clock may have waited.
            (100, 111, -9, Code(1), pending),
            (105, 900, 700, Code(1), Reverted(Code(1))),
        ]
        .into_iter()
        .enumerate()
        {
            let clock_lag = Some(ClockLag { since: at(since), least: TimeDelta::seconds(120) });
            let snapshot = DeviceSnapshot { clock_lag, ..heartbeat(received, composed, installed) };
            let found = confirmation(&reported(100), 2, Some(&snapshot), TimeDelta::seconds(900), at(received));
            assert_eq!(found, want, "row {n}");
        }
    }

    #[test]
    fn a_success_is_watched_for_the_same_time() {
        let done = Task { state: TaskState::Succeeded, finished_at: Some(at(200)), ..reported(100) };
        let judged = |received| {
            let old = heartbeat(received, received, InstalledVersion::Code(1));
            confirmation(&done, 2, Some(&old), TimeDelta::seconds(900), at(received))
        };
        assert_eq!(judged(205), Confirmation::Pending(at(1_100)));
        assert_eq!(judged(500), Confirmation::Reverted(InstalledVersion::Code(1)));
    }

    proptest! {
        /// Without a heartbeat from after the report nothing is reverted; with the version shown nothing fails; and every report
        /// is decided in time.
        #[test]
        fn no_report_is_judged_by_what_came_before_it(
            report in 1_i64..1_000, received in -500_i64..3_000, composed in -500_i64..3_000, code in 1_i64..4, within in 30_i64..1_000,
            now in 0_i64..3_000,
        ) {
            let snapshot = heartbeat(received, composed, InstalledVersion::Code(code));
            let within = TimeDelta::seconds(within);
            let now = at(now.max(report).max(received));
            let found = confirmation(&reported(report), 2, Some(&snapshot), within, now);
            match found {
                Confirmation::Reverted(_) => prop_assert!(received > report && composed > report && code < 2),
                Confirmation::Confirmed => prop_assert!(received > 0 && code >= 2),
                Confirmation::Pending(due) => prop_assert!(now < due && due == at(report) + within),
                Confirmation::Unconfirmed => prop_assert!(now >= at(report) + within && (code < 2 || received <= 0)),
                Confirmation::NotNamed => prop_assert!(false, "it names the package"),
            }
        }
    }
}
