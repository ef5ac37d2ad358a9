//! History that a server writes, by which a primary that was deposed is told from the one that came after it.

use std::sync::{Mutex, PoisonError};

/// What a primary writes: a database system (from one `initdb` on), and how often a standby became primary in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Its identifier, which all servers of one cluster share.
    pub(super) system: String,
    /// Number that each promotion raises.
    pub(super) timeline: u32,
}

impl Line {
    /// From what [`super::target`] asks of a server: `system/timeline`, the latter as names of WAL files have it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (system, timeline) = text.split_once('/')?;
        let timeline = u32::from_str_radix(timeline, 16).ok()?;
        (!system.is_empty()).then(|| Self { system: system.to_owned(), timeline })
    }
}

/// Reason why the server of a connection is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsuitable {
    #[error("it only reads, as a standby does")]
    OnlyReads,
    #[error("it was deposed: it is at timeline {timeline}, and a primary at {newest} was seen")]
    Deposed { timeline: u32, newest: u32 },
    #[error("it is of another database system ({found}) than before ({known}): if that is meant, restart this node")]
    OtherSystem { found: String, known: String },
    #[error("it does not tell its timeline")]
    NoLine,
    #[error("it is no standby")]
    NoStandby,
}

/// The newest line that was seen, and how often it was replaced. Pools that lead to one database share it.
#[derive(Debug, Default)]
pub(crate) struct Lineage(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    newest: Option<Line>,
    generation: u64,
}

impl Lineage {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Both fields are written together, so a poisoned lock guards good data.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the newest line was replaced: what was connected before that is connected to a server that was deposed.
    pub(super) fn generation(&self) -> u64 {
        self.known().generation
    }

    /// Takes note of the line of a primary. Answers its generation, and whether it is newer than all before.
    ///
    /// # Errors
    /// The server was deposed, or is of another system.
    pub(super) fn admit(&self, line: &Line) -> Result<(u64, bool), Unsuitable> {
        let mut known = self.known();
        let is_promoted = match &known.newest {
            None => false,
            Some(newest) if newest.system != line.system => {
                return Err(Unsuitable::OtherSystem { found: line.system.clone(), known: newest.system.clone() });
            }
            Some(newest) if newest.timeline > line.timeline => {
                return Err(Unsuitable::Deposed { timeline: line.timeline, newest: newest.timeline });
            }
            Some(newest) => newest.timeline < line.timeline,
        };
        known.generation += u64::from(is_promoted);
        known.newest = Some(line.clone());
        Ok((known.generation, is_promoted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(system: &str, timeline: u32) -> Line {
        Line { system: system.into(), timeline }
    }

    #[test]
    fn a_line_is_read_as_servers_tell_it() {
        assert_eq!(Line::parse("7714130143190052613/0000001F"), Some(line("7714130143190052613", 31)));
        for bad in ["", "/", "1", "/00000001", "1/", "1/x"] {
            assert_eq!(Line::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn who_was_deposed_is_not_admitted_again_and_its_connections_are_of_an_older_generation() {
        let lineage = Lineage::default();
        assert_eq!(lineage.admit(&line("s", 3)), Ok((0, false)), "the first is believed");
        assert_eq!(lineage.admit(&line("s", 3)), Ok((0, false)));
        assert_eq!(lineage.admit(&line("s", 4)), Ok((1, true)));
        assert_eq!(lineage.generation(), 1);
        assert_eq!(lineage.admit(&line("s", 3)), Err(Unsuitable::Deposed { timeline: 3, newest: 4 }));
        assert_eq!(lineage.admit(&line("t", 9)), Err(Unsuitable::OtherSystem { found: "t".into(), known: "s".into() }));
        assert_eq!(lineage.admit(&line("s", 4)), Ok((1, false)), "the one that was refused changed nothing");
        assert_eq!(lineage.admit(&line("s", 7)), Ok((2, true)));
    }
}
