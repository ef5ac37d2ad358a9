//! Verdict of a deployment: whether its canary has passed or failed, and whether the failure rate pauses it.
//!
//! ```text
//! of the canary            done >= min_count and even if all others fail, threshold kept   -> passed
//!                          even if all others succeed, threshold missed                    -> paused: canary_failed
//!                          timeout: judged by those that are done, else                    -> paused: canary_timeout
//! of all, since resumed    done >= min_count and failed / done > threshold                 -> paused: failure_rate
//! ```
//! Done are tasks that succeeded or failed; skipped tasks say nothing about the APK.

use chrono::TimeDelta;

use super::{Options, PauseReason, Phase, Task, TaskState};
use crate::Timestamp;

/// Numbers of tasks by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Installed.
    pub succeeded: u32,
    /// Failed, and not retried.
    pub failed: u32,
    /// Not finished.
    pub open: u32,
}

impl Tally {
    /// Counts tasks.
    pub fn of<'a>(tasks: impl Iterator<Item = &'a Task>) -> Self {
        let mut tally = Self::default();
        for task in tasks {
            match task.state {
                TaskState::Succeeded => tally.succeeded += 1,
                TaskState::Failed => tally.failed += 1,
                state if !state.is_finished() => tally.open += 1,
                _ => {}
            }
        }
        tally
    }

    /// Tasks that succeeded or failed.
    pub fn counted(self) -> u32 {
        self.succeeded + self.failed
    }
}

/// Verdict about a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The deployment continues.
    Continue,
    /// The canary has passed.
    OpenGate,
    /// The deployment pauses.
    Pause(PauseReason),
}

fn reaches(succeeded: u32, of: u32, threshold_pct: u8) -> bool {
    of > 0 && u64::from(succeeded) * 100 >= u64::from(threshold_pct) * u64::from(of)
}

/// Judges a deployment in this phase, whose canary has run for `canary_ran`. Failures from before `judged_since`
/// do not count for the failure rate.
pub fn judge(options: &Options, phase: Phase, canary_ran: TimeDelta, judged_since: Timestamp, tasks: &[Task]) -> Verdict {
    match (phase, options.canary) {
        (Phase::Canary, Some(canary)) => {
            let tally = Tally::of(tasks.iter().filter(|task| task.canary));
            let reaches = |succeeded, of| reaches(succeeded, of, canary.success_threshold_pct);
            if tally.counted() > 0 && !reaches(tally.succeeded + tally.open, tally.counted() + tally.open) {
                return Verdict::Pause(PauseReason::CanaryFailed);
            }
            let enough = tally.counted() >= canary.min_count.max(1);
            if enough && reaches(tally.succeeded, tally.counted() + tally.open) {
                return Verdict::OpenGate;
            }
            let over = tally.open == 0 || canary_ran >= TimeDelta::minutes(canary.timeout_minutes.into());
            match over {
                true if enough && reaches(tally.succeeded, tally.counted()) => Verdict::OpenGate,
                true => Verdict::Pause(PauseReason::CanaryTimeout),
                false => Verdict::Continue,
            }
        }
        // Without first devices there is nothing to wait for.
        (Phase::Canary, None) => Verdict::OpenGate,
        (Phase::Rollout, _) => {
            let recent = tasks.iter().filter(|task| task.finished_at.is_some_and(|at| at >= judged_since));
            let (tally, pause) = (Tally::of(recent), options.failure_pause);
            let too_many = u64::from(tally.failed) * 100 > u64::from(pause.threshold_pct) * u64::from(tally.counted());
            if tally.counted() >= pause.min_count && too_many { Verdict::Pause(PauseReason::FailureRate) } else { Verdict::Continue }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::CanaryOptions;
    use super::*;
    use crate::DeviceId;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
    }

    /// `s` succeeded, `f` failed, `k` skipped, `q` queued; upper case: one of the first.
    fn tasks(states: &str) -> Vec<Task> {
        let task = |(n, c): (usize, char)| {
            let state = match c.to_ascii_lowercase() {
                's' => TaskState::Succeeded,
                'f' => TaskState::Failed,
                'k' => TaskState::Skipped,
                _ => TaskState::Queued,
            };
            let finished_at = state.is_finished().then(|| at(n as i64));
            Task { state, finished_at, ..Task::new(DeviceId(uuid::Uuid::from_u128(n as u128)), c.is_ascii_uppercase()) }
        };
        states.chars().enumerate().map(task).collect()
    }

    #[test]
    fn the_gate_opens_only_on_enough_success() {
        let canary = CanaryOptions { size: 5, success_threshold_pct: 60, min_count: 3, timeout_minutes: 10 };
        let options = Options { canary: Some(canary), ..Options::conservative(20) };
        let table = [
            ("QQQQQqq", 0, Verdict::Continue),
            ("SSQQQqq", 0, Verdict::Continue),
            // Three of five is what is asked for, whatever the others do.
            ("SSSQQqq", 0, Verdict::OpenGate),
            ("SSFFQqq", 0, Verdict::Continue),
            ("SSFFSqq", 0, Verdict::OpenGate),
            ("FFFQQqq", 0, Verdict::Pause(PauseReason::CanaryFailed)),
            ("SSFFFqq", 0, Verdict::Pause(PauseReason::CanaryFailed)),
            // Skipped ones say nothing; too few that say anything do not open it.
            ("SSSKKqq", 0, Verdict::OpenGate),
            ("SSKKKqq", 0, Verdict::Pause(PauseReason::CanaryTimeout)),
            ("KKKKKqq", 0, Verdict::Pause(PauseReason::CanaryTimeout)),
            // Time is over.
            ("SSQQQqq", 10, Verdict::Pause(PauseReason::CanaryTimeout)),
            ("SSFQQqq", 10, Verdict::OpenGate),
            ("SFFQQqq", 10, Verdict::Pause(PauseReason::CanaryTimeout)),
            // Others do not count.
            ("SQQQQss", 0, Verdict::Continue),
            ("SQQQQff", 0, Verdict::Continue),
        ];
        for (states, minutes, want) in table {
            let verdict = judge(&options, Phase::Canary, TimeDelta::minutes(minutes), at(0), &tasks(states));
            assert_eq!(verdict, want, "{states} after {minutes} min");
        }
        let strict = Options::conservative(100);
        assert_eq!(judge(&strict, Phase::Canary, TimeDelta::zero(), at(0), &tasks("SSSSFqq")), Verdict::Pause(PauseReason::CanaryFailed));
        assert_eq!(judge(&strict, Phase::Canary, TimeDelta::zero(), at(0), &tasks("SSSSSqq")), Verdict::OpenGate);
    }

    #[test]
    fn failures_pause_the_rollout_once_there_are_enough() {
        let options = Options::conservative(100);
        let verdict = |states: &str, since| judge(&options, Phase::Rollout, TimeDelta::zero(), at(since), &tasks(states));
        assert_eq!(verdict("SSff", 0), Verdict::Continue, "four are too few");
        assert_eq!(verdict("SSSSf", 0), Verdict::Continue, "one in five is just allowed");
        assert_eq!(verdict("SSSff", 0), Verdict::Pause(PauseReason::FailureRate));
        assert_eq!(verdict("SSSffsssss", 5), Verdict::Continue, "resumed knowing of them");
    }
}
