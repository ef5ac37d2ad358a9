//! A command's life: what is stored of it, and what a report changes.
//!
//! ```text
//!             given to a path        device has it         device is done
//!  queued ---------------------> sent -------------> delivered ---------> succeeded | failed
//!    |                            |                      |
//!    +------- time is over -------+----------------------+--------------> expired
//!    +------- canceled ---------+----------------------+--------------> canceled
//! ```
//! Whatever the device says of how it ended is the truth, also of a command that ran out or was taken
//! back meanwhile: it had it already. Its word is taken once; another word later is refused.

mod dispatch;

use crate::Timestamp;

pub use dispatch::{Channels, Dispatch, DispatchAction, DispatchEvent, DispatchPolicy};

/// State of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandState {
    /// Not given to any path.
    Queued,
    /// Given to a path at least once.
    Sent,
    /// The device has it.
    Delivered,
    /// The device did it.
    Succeeded,
    /// The device did not do it, or not to the end.
    Failed,
    /// Its time ran out without a word of how it ended.
    Expired,
    /// It was canceled.
    Canceled,
}

impl CommandState {
    /// Every state, in the order of a command's life.
    pub const ALL: [Self; 7] = [Self::Queued, Self::Sent, Self::Delivered, Self::Succeeded, Self::Failed, Self::Expired, Self::Canceled];

    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether its owner still has something to do for it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Sent | Self::Delivered)
    }
}

/// A way to a device, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Path {
    /// Its socket, on whichever node it hangs.
    Socket,
    /// A push message (FCM).
    Push,
    /// The answer to its next heartbeat.
    Heartbeat,
}

impl Path {
    /// Every path, best first.
    pub const ALL: [Self; 3] = [Self::Socket, Self::Push, Self::Heartbeat];

    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Push => "push",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// The path of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.as_str() == name)
    }
}

/// How a command ended, in the device's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It did it.
    Success,
    /// It tried and could not.
    Failed,
    /// It would not.
    Skipped,
    /// It took too long.
    Timeout,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Self; 4] = [Self::Success, Self::Failed, Self::Skipped, Self::Timeout];

    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Timeout => "timeout",
        }
    }

    /// The ending of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.as_str() == name)
    }
}

/// Stored progress of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// State.
    pub state: CommandState,
    /// Times it was given to a path.
    pub attempts: i32,
    /// The path of the last time.
    pub path: Option<Path>,
    /// Time of the first attempt.
    pub sent_at: Option<Timestamp>,
    /// When the device was first known to have it.
    pub delivered_at: Option<Timestamp>,
    /// Time of completion.
    pub finished_at: Option<Timestamp>,
    /// Outcome, as the device reports it.
    pub ending: Option<Ending>,
}

impl Progress {
    /// Of a command that was just made.
    pub fn new() -> Self {
        Self { state: CommandState::Queued, attempts: 0, path: None, sent_at: None, delivered_at: None, finished_at: None, ending: None }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// Change to record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Its owner gave it to a path.
    Sent(Path),
    /// Its owner found that its time is over.
    Expired,
    /// Revoked by a person.
    Canceled,
    /// The device has it.
    Received,
    /// The device said how it ended.
    Ended(Ending),
}

/// Verdict about a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The command changes to this progress.
    Changed(Progress),
    /// The report is stored already, or has become irrelevant.
    Nothing,
    /// It contradicts what the device said before.
    Conflict(Ending),
}

/// Decides what a report changes.
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
                next.state = if ending == Ending::Success { CommandState::Succeeded } else { CommandState::Failed };
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

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    #[test]
    fn the_devices_word_is_the_truth_and_is_taken_once() {
        let ended = |progress, ending| record(progress, Report::Ended(ending), at(9));
        for before in [Report::Sent(Path::Push), Report::Received, Report::Expired, Report::Canceled] {
            let Verdict::Changed(known) = record(Progress::new(), before, at(1)) else { panic!("{before:?}") };
            let Verdict::Changed(done) = ended(known, Ending::Success) else { panic!("after {before:?}") };
            assert_eq!((done.state, done.ending), (CommandState::Succeeded, Some(Ending::Success)));
            assert_eq!(ended(done, Ending::Success), Verdict::Nothing);
            assert_eq!(ended(done, Ending::Failed), Verdict::Conflict(Ending::Success));
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
            proptest::sample::select(&Ending::ALL[..]).prop_map(Report::Ended),
        ]
    }

    proptest! {
        /// Whatever is reported in whatever order: the record holds together as the table demands, never
        /// goes back, and an ending stays.
        #[test]
        fn the_record_holds_together(reports in proptest::collection::vec(any_report(), 0..20)) {
            let mut progress = Progress::new();
            for (n, report) in reports.into_iter().enumerate() {
                let Verdict::Changed(next) = record(progress, report, at(n as i64)) else { continue };
                prop_assert!(progress.ending.is_none() || next.ending == progress.ending);
                let rank = |state| CommandState::ALL.iter().position(|known| *known == state).unwrap();
                prop_assert!(!next.state.is_open() || rank(next.state) >= rank(progress.state));
                prop_assert!(progress.state.is_open() || !next.state.is_open());
                prop_assert_eq!(next.state.is_open(), next.finished_at.is_none());
                prop_assert_eq!(next.state == CommandState::Succeeded, next.ending == Some(Ending::Success));
                prop_assert_eq!(next.state == CommandState::Failed, next.ending.is_some_and(|ending| ending != Ending::Success));
                prop_assert!(next.state != CommandState::Queued || next.attempts == 0);
                progress = next;
            }
        }
    }
}
