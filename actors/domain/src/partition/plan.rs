//! The steps of the life of partitions: what there is, what is recorded and the time, turned into what is to be done.
//!
//! A plan has all steps of a day up to the end of what is due now, in order. After each of them the plan of what there is then is the rest: a
//! manager that is killed between two steps goes on with the next plan.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{Days, NaiveDate, NaiveTime, TimeDelta};

use super::record::{PartitionRecord, PartitionState};
use super::wanted_days;
use crate::Timestamp;
use crate::history::DAY_SETTLES_AFTER;

/// How long what was read back from the store counts as proof for a drop.
pub const VERIFIED_FOR: TimeDelta = TimeDelta::days(1);

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionSettings {
    /// Days before today whose heartbeats are kept in the database.
    pub kept_days: u32,
    /// Days for which a restored day is kept.
    pub restored_kept_days: u32,
}

/// The table of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableSeen {
    /// A partition of `heartbeats`.
    Attached,
    /// A table of its own: a step was cut off, or somebody detached it.
    Detached,
    /// Something that hands made, which is left alone: why.
    Unusable(String),
}

/// What there is of a day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaySeen {
    /// Its table.
    pub table: Option<TableSeen>,
    /// Whether the default partition has rows of it.
    pub default_rows: bool,
    /// What is recorded.
    pub record: Option<PartitionRecord>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Action {
    /// Makes the partition; rows of the day in the default partition move into it.
    Create,
    /// Attaches the table that is there; rows in the default partition move into it.
    Attach,
    /// Brings the archived rows of a dropped day back into a table, with the rows that came for it since.
    Merge,
    /// Freezes and analyzes the table.
    Analyze,
    /// Writes the archive.
    Archive,
    /// Reads the archive back from the store.
    Verify,
    /// Detaches the table, compares it with the archive, and removes it.
    Drop,
    /// Brings the rows of the archive back into a table.
    Restore,
    /// Records that somebody removed the table.
    NoteGone,
}

named!(pub Action, parse -> Option);

/// Why a step is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The day is today, of the week before or of the week ahead.
    Near,
    /// The default partition has rows of the day.
    DefaultRows,
    /// The table is not attached.
    NotAttached,
    /// New rows came for a day that was dropped.
    RowsAfterDrop,
    /// The day is over.
    Settled,
    /// The day is older than what is kept.
    Expired,
    /// The time for which a restored day is kept is over.
    RestoredLongEnough,
    /// What was archived has not been read back lately.
    NotVerified,
    /// A restore has not come to its end.
    RestoreUnfinished,
    /// The table is gone, and nobody of ours dropped it.
    RemovedByHand,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Near => "the day is within a week of today",
            Self::DefaultRows => "the default partition has rows of the day",
            Self::NotAttached => "the table is not attached",
            Self::RowsAfterDrop => "rows came for a day that was dropped",
            Self::Settled => "the day is over",
            Self::Expired => "the day is older than the days that are kept",
            Self::RestoredLongEnough => "the restored day was kept for its time",
            Self::NotVerified => "the archive was not read back lately",
            Self::RestoreUnfinished => "a restore has not ended",
            Self::RemovedByHand => "the table was removed by hand",
        })
    }
}

/// Step of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub action: Action,
    /// Why it is due.
    pub cause: Cause,
}

/// What a day without a further step waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The end of the day, and the time for its last heartbeats.
    Settles(Timestamp),
    /// The first day on which it is older than what is kept.
    Expires(NaiveDate),
    /// The end of the time for which it was restored.
    RestoredUntil(Timestamp),
    /// Hands: what is in the way.
    Hands(String),
    /// Nothing: the archive has it.
    Gone,
    /// Nothing: its rows are lost.
    Lost,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settles(at) => write!(f, "settles at {}", at.format("%Y-%m-%d %H:%MZ")),
            Self::Expires(on) => write!(f, "is archived and dropped on {on}"),
            Self::RestoredUntil(at) => write!(f, "restored until {}", at.format("%Y-%m-%d %H:%MZ")),
            Self::Hands(why) => f.write_str(why),
            Self::Gone => f.write_str("dropped; the archive has the rows"),
            Self::Lost => f.write_str("removed by hand without an archive"),
        }
    }
}

/// Plan of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayPlan {
    /// The day.
    pub day: NaiveDate,
    /// What is due, in order.
    pub steps: Vec<Step>,
    /// What comes after that, and when.
    pub then: Option<Wait>,
}

/// When the day counts as over.
pub fn settles_at(day: NaiveDate) -> Timestamp {
    (day + Days::new(1)).and_time(NaiveTime::MIN).and_utc() + DAY_SETTLES_AFTER
}

/// Whether the day is older than what is kept.
pub fn is_expired(day: NaiveDate, now: Timestamp, settings: PartitionSettings) -> bool {
    expires_on(day, settings) <= now.date_naive()
}

/// The first day on which this one is older than what is kept.
fn expires_on(day: NaiveDate, settings: PartitionSettings) -> NaiveDate {
    day + Days::new(u64::from(settings.kept_days) + 1)
}

/// The plan of each day that there is or should be, oldest first.
pub fn plan(seen: &BTreeMap<NaiveDate, DaySeen>, now: Timestamp, settings: PartitionSettings) -> Vec<DayPlan> {
    let nothing = DaySeen::default();
    let near = wanted_days(now.date_naive());
    let mut days: Vec<NaiveDate> = seen.keys().copied().chain(near.iter().copied()).collect();
    days.sort_unstable();
    days.dedup();
    let of_day = |day: NaiveDate| {
        let wanted = near.contains(&day) && !is_expired(day, now, settings);
        Planning { day, now, settings, wanted, steps: Vec::new() }.plan(seen.get(&day).unwrap_or(&nothing))
    };
    days.into_iter().map(of_day).filter(|plan| !plan.steps.is_empty() || plan.then.is_some()).collect()
}

/// The plan of one day while it is made.
struct Planning {
    day: NaiveDate,
    now: Timestamp,
    settings: PartitionSettings,
    wanted: bool,
    steps: Vec<Step>,
}

impl Planning {
    fn push(&mut self, action: Action, cause: Cause) {
        self.steps.push(Step { action, cause });
    }

    fn end(self, then: Option<Wait>) -> DayPlan {
        DayPlan { day: self.day, steps: self.steps, then }
    }

    fn plan(mut self, seen: &DaySeen) -> DayPlan {
        let state = seen.record.as_ref().map(|record| record.state);
        match (&seen.table, state) {
            (Some(TableSeen::Unusable(why)), _) => self.end(Some(Wait::Hands(why.clone()))),
            (_, Some(PartitionState::Restoring)) => {
                self.push(Action::Restore, Cause::RestoreUnfinished);
                self.end(None)
            }
            (Some(TableSeen::Attached), Some(PartitionState::Dropped)) => self.merged(),
            (Some(TableSeen::Attached), _) => self.kept(seen.record.as_ref()),
            (Some(TableSeen::Detached), Some(PartitionState::Dropped)) => self.merged(),
            (Some(TableSeen::Detached), _) => self.detached(seen),
            (None, Some(PartitionState::Dropped)) if seen.default_rows => self.merged(),
            // Of what was archived somebody removed the table; the archive has those rows.
            (None, Some(state @ (PartitionState::Archived | PartitionState::Verified | PartitionState::Restored))) if seen.default_rows => {
                self.note_gone(state);
                self.merged()
            }
            (None, _) if seen.default_rows => {
                self.push(Action::Create, Cause::DefaultRows);
                self.fresh()
            }
            (None, state) => self.missing(state),
        }
    }

    /// No table, and no rows of the day.
    fn missing(mut self, state: Option<PartitionState>) -> DayPlan {
        match state {
            Some(PartitionState::Dropped) => self.end(Some(Wait::Gone)),
            Some(state @ (PartitionState::Archived | PartitionState::Verified | PartitionState::Restored)) => {
                self.note_gone(state);
                self.end(Some(Wait::Gone))
            }
            Some(PartitionState::Open | PartitionState::Settled) if self.wanted => {
                self.push(Action::Create, Cause::RemovedByHand);
                self.fresh()
            }
            Some(PartitionState::Open | PartitionState::Settled) => {
                self.push(Action::NoteGone, Cause::RemovedByHand);
                self.end(Some(Wait::Lost))
            }
            None | Some(PartitionState::Lost | PartitionState::Restoring) if self.wanted => {
                self.push(Action::Create, Cause::Near);
                self.fresh()
            }
            Some(PartitionState::Lost) => self.end(Some(Wait::Lost)),
            None | Some(PartitionState::Restoring) => self.end(None),
        }
    }

    /// What was archived is gone: it counts as dropped once the archive was read back.
    fn note_gone(&mut self, state: PartitionState) {
        if state == PartitionState::Archived {
            self.push(Action::Verify, Cause::NotVerified);
        }
        self.push(Action::NoteGone, Cause::RemovedByHand);
    }

    /// A table that is not attached, of a day that was not dropped.
    fn detached(mut self, seen: &DaySeen) -> DayPlan {
        let record = seen.record.as_ref();
        // A drop that was cut off after it detached the table.
        let dropping = record.filter(|record| record.state == PartitionState::Verified || record.state == PartitionState::Restored);
        if !seen.default_rows
            && let Some((record, cause)) = dropping.and_then(|record| Some((record, self.drop_due(record)?)))
        {
            return self.dropped(record, cause);
        }
        self.push(Action::Attach, Cause::NotAttached);
        match record.map(|record| record.state) {
            // The archive lacks the rows that come with it.
            Some(PartitionState::Archived | PartitionState::Verified) if seen.default_rows => self.fresh(),
            _ => self.kept(record),
        }
    }

    /// The rows of the day are in the archive and in a table or the default partition.
    fn merged(mut self) -> DayPlan {
        self.push(Action::Merge, Cause::RowsAfterDrop);
        self.fresh()
    }

    /// Attached, with nothing else done yet.
    fn fresh(self) -> DayPlan {
        let record = PartitionRecord::new(self.day, PartitionState::Open);
        self.kept(Some(&record))
    }

    /// An attached table.
    fn kept(mut self, record: Option<&PartitionRecord>) -> DayPlan {
        let fresh = PartitionRecord::new(self.day, PartitionState::Open);
        let record = record.unwrap_or(&fresh);
        if let Some(cause) = self.drop_due(record) {
            // What is removed at once need not be frozen before.
            if matches!(record.state, PartitionState::Open | PartitionState::Settled | PartitionState::Lost) {
                self.push(Action::Archive, cause);
            }
            return self.dropped(record, cause);
        }
        match record.state {
            PartitionState::Open | PartitionState::Lost if settles_at(self.day) > self.now => {
                let at = settles_at(self.day);
                return self.end(Some(Wait::Settles(at)));
            }
            PartitionState::Open | PartitionState::Lost => self.push(Action::Analyze, Cause::Settled),
            PartitionState::Archived => self.push(Action::Verify, Cause::NotVerified),
            _ => {}
        }
        let then = match (record.state, record.restored_until) {
            (PartitionState::Restored, Some(until)) => Wait::RestoredUntil(until),
            _ => Wait::Expires(expires_on(self.day, self.settings)),
        };
        self.end(Some(then))
    }

    /// Why the table is to be dropped, if it is.
    fn drop_due(&self, record: &PartitionRecord) -> Option<Cause> {
        let expired = is_expired(self.day, self.now, self.settings);
        match record.state {
            PartitionState::Restored => {
                (expired && record.restored_until.is_none_or(|until| until <= self.now)).then_some(Cause::RestoredLongEnough)
            }
            _ => expired.then_some(Cause::Expired),
        }
    }

    /// What is archived is read back and dropped.
    fn dropped(mut self, record: &PartitionRecord, cause: Cause) -> DayPlan {
        let proved = matches!(record.state, PartitionState::Verified | PartitionState::Restored)
            && record.verified_at.is_some_and(|at| at + VERIFIED_FOR > self.now);
        if !proved {
            self.push(Action::Verify, Cause::NotVerified);
        }
        self.push(Action::Drop, cause);
        self.end(Some(Wait::Gone))
    }
}

#[cfg(test)]
mod tests;
