//! Life of a command: its stored progress, and the effect of reports.
//!
//! ```text
//!             given to a path        device has it         device is done
//!  queued ---------------------> sent -------------> delivered ---------> succeeded | failed
//!    |                            |                      |
//!    +------- time is over -------+----------------------+--------------> expired
//!    +------- canceled ---------+----------------------+--------------> canceled
//! ```
//! The outcome that the device reports is the truth, also of a command that ran out or was taken
//! back meanwhile: it had it already. Its word is taken once; another word later is refused.

mod dispatch;
mod view;

use crate::Timestamp;

pub use dispatch::{Channels, Dispatch, DispatchAction, DispatchEvent, DispatchPolicy};
pub use view::{BatchView, CommandCursor, CommandQuery, CommandView, HoldReason, RefusalReason, ResultPayload};

/// State of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CommandState {
    /// Not sent on any path.
    Queued,
    /// Sent on a path at least once.
    Sent,
    /// The device has received the command.
    Delivered,
    /// The device has run the command.
    Succeeded,
    /// The device could not run the command, or not to the end.
    Failed,
    /// The command expired without a result.
    Expired,
    /// The command was canceled.
    Canceled,
}

named!(pub CommandState, parse -> Option);

impl CommandState {
    /// Whether the command has not finished.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Sent | Self::Delivered)
    }
}

/// A way to a device, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Path {
    /// Its socket, attached to whichever node it reached.
    Socket,
    /// A push message (FCM).
    Push,
    /// The answer to its next heartbeat.
    Heartbeat,
}

named!(pub Path, parse -> Option);

/// Outcome of a command, as its device reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CommandOutcome {
    /// The device ran the command.
    Success,
    /// The command failed.
    Failed,
    /// The device did not run the command.
    Skipped,
    /// The command did not end in time.
    Timeout,
}

named!(pub CommandOutcome, parse -> Option);

/// Stored progress of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// State.
    pub state: CommandState,
    /// Number of attempts.
    pub attempts: i32,
    /// Path of the last attempt.
    pub path: Option<Path>,
    /// Time of the first attempt.
    pub sent_at: Option<Timestamp>,
    /// Time of the first receipt.
    pub delivered_at: Option<Timestamp>,
    /// Time of completion.
    pub finished_at: Option<Timestamp>,
    /// Outcome, as the device reports it.
    pub ending: Option<CommandOutcome>,
}

impl Progress {
    /// Progress of a new command.
    pub fn new() -> Self {
        Self { state: CommandState::Queued, attempts: 0, path: None, sent_at: None, delivered_at: None, finished_at: None, ending: None }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// Reported event of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The owner of the device sent the command on a path.
    Sent(Path),
    /// The owner of the device found the command expired.
    Expired,
    /// A person canceled the command.
    Canceled,
    /// The device has received the command.
    Received,
    /// The device reported an outcome.
    Ended(CommandOutcome),
}

/// Verdict about a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The command changes to this progress.
    Changed(Progress),
    /// The report is stored already, or has become irrelevant.
    Nothing,
    /// The report contradicts an earlier outcome of the device.
    Conflict(CommandOutcome),
}

/// Verdict about a report of a command in this progress.
pub fn record(progress: Progress, report: Report, now: Timestamp) -> Verdict {
    let mut next = progress;
    match report {
        Report::Sent(path) => {
            next.attempts = next.attempts.saturating_add(1);
            next.path = Some(path);
            next.sent_at = next.sent_at.or(Some(now));
            if next.state == CommandState::Queued {
                next.state = CommandState::Sent;
            }
        }
        Report::Received if progress.state.is_open() && progress.state != CommandState::Delivered => {
            next.state = CommandState::Delivered;
            next.delivered_at = Some(now);
            // The owner's note of the attempt may come later, or be lost with it.
            next.sent_at = next.sent_at.or(Some(now));
        }
        Report::Received => return Verdict::Nothing,
        Report::Expired | Report::Canceled if progress.state.is_open() => {
            next.state = if report == Report::Expired { CommandState::Expired } else { CommandState::Canceled };
            next.finished_at = Some(now);
        }
        Report::Expired | Report::Canceled => return Verdict::Nothing,
        Report::Ended(ending) => match progress.ending {
            Some(known) if known == ending => return Verdict::Nothing,
            Some(known) => return Verdict::Conflict(known),
            None => {
                next.state = if ending == CommandOutcome::Success { CommandState::Succeeded } else { CommandState::Failed };
                next.ending = Some(ending);
                next.sent_at = next.sent_at.or(Some(now));
                next.delivered_at = next.delivered_at.or(Some(now));
                next.finished_at = Some(now);
            }
        },
    }
    Verdict::Changed(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    #[test]
    fn the_devices_word_is_the_truth_and_is_taken_once() {
        let ended = |progress, ending| record(progress, Report::Ended(ending), at(9));
        for before in [Report::Sent(Path::Push), Report::Received, Report::Expired, Report::Canceled] {
            let Verdict::Changed(known) = record(Progress::new(), before, at(1)) else { panic!("{before:?}") };
            let Verdict::Changed(done) = ended(known, CommandOutcome::Success) else { panic!("after {before:?}") };
            assert_eq!((done.state, done.ending), (CommandState::Succeeded, Some(CommandOutcome::Success)));
            assert_eq!(ended(done, CommandOutcome::Success), Verdict::Nothing);
            assert_eq!(ended(done, CommandOutcome::Failed), Verdict::Conflict(CommandOutcome::Success));
            assert_eq!(record(done, Report::Expired, at(10)), Verdict::Nothing);
            assert_eq!(record(done, Report::Canceled, at(10)), Verdict::Nothing);
            assert_eq!(record(done, Report::Received, at(10)), Verdict::Nothing);
        }
    }

    fn any_report() -> impl Strategy<Value = Report> {
        prop_oneof![
            proptest::sample::select(&Path::ALL[..]).prop_map(Report::Sent),
            Just(Report::Expired),
            Just(Report::Canceled),
            Just(Report::Received),
            proptest::sample::select(&CommandOutcome::ALL[..]).prop_map(Report::Ended),
        ]
    }

    /// Whatever is reported in whatever order: the record holds together as the table demands, never
    /// goes back, and an ending stays.
    #[test]
    fn the_record_holds_together() {
        let changes = Cell::new(0);
        let endings = Cell::new(0);
        proptest!(|(reports in proptest::collection::vec(any_report(), 0..20))| {
            let mut progress = Progress::new();
            for (n, report) in reports.into_iter().enumerate() {
                let Verdict::Changed(next) = record(progress, report, at(n as i64)) else { continue };
                prop_assert!(progress.ending.is_none() || next.ending == progress.ending);
                let rank = |state| CommandState::ALL.iter().position(|known| *known == state).unwrap();
                prop_assert!(!next.state.is_open() || rank(next.state) >= rank(progress.state));
                prop_assert!(progress.state.is_open() || !next.state.is_open());
                prop_assert_eq!(next.state.is_open(), next.finished_at.is_none());
                prop_assert_eq!(next.state == CommandState::Succeeded, next.ending == Some(CommandOutcome::Success));
                prop_assert_eq!(next.state == CommandState::Failed, next.ending.is_some_and(|ending| ending != CommandOutcome::Success));
                prop_assert!(next.state != CommandState::Queued || next.attempts == 0);
                changes.set(changes.get() + 1);
                endings.set(endings.get() + u32::from(!next.state.is_open()));
                progress = next;
            }
        });
        assert!(changes.get() > 0, "no report changed anything");
        assert!(endings.get() > 0, "no command ended");
    }
}
