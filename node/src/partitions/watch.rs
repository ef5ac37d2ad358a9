//! Progress on standard error, and the fault points of tests.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use actors::partition::{FaultPoint, PartitionError, Watch};
use chrono::NaiveDate;
use domain::partition::Action;
use domain::quantity;

/// Variable that names the point at which the process ends, in debug builds.
const FAULT: &str = "NEXMDM_FAULT_PARTITIONS";

/// Whoever runs the command.
pub(super) struct Terminal {
    is_terminal: bool,
    /// Whether a line is written that the next one takes the place of.
    line: AtomicBool,
    fault: Option<FaultPoint>,
}

impl Terminal {
    pub(super) fn new() -> Self {
        let named = if cfg!(debug_assertions) { std::env::var(FAULT).ok() } else { None };
        Self { is_terminal: std::io::stderr().is_terminal(), line: AtomicBool::new(false), fault: named.and_then(|name| name.parse().ok()) }
    }

    /// Ends the line of the last progress.
    pub(super) fn end(&self) {
        if self.line.swap(false, Ordering::Relaxed) {
            eprintln!();
        }
    }
}

/// A bar of twenty places.
fn bar(done: u64, of: u64) -> String {
    let full = usize::try_from(done.min(of).saturating_mul(20).checked_div(of).unwrap_or(0)).unwrap_or(20);
    format!("[{}{}]", "#".repeat(full), ".".repeat(20 - full))
}

fn line(day: NaiveDate, action: Action, done: u64, of: u64) -> String {
    match of {
        0 => format!("{day} {} {}", action.as_str(), quantity::count(done, "row", "rows")),
        of => format!("{day} {} {} {} of {of}", action.as_str(), bar(done, of), done.min(of)),
    }
}

impl Watch for Terminal {
    fn progress(&self, day: NaiveDate, action: Action, done: u64, of: u64) {
        let line = line(day, action, done, of);
        if self.is_terminal {
            // To the end of the line: a longer one may have been there.
            eprint!("\r{line}\x1b[K");
            let _ = std::io::stderr().flush();
            self.line.store(true, Ordering::Relaxed);
        } else {
            eprintln!("{line}");
        }
    }

    fn pass(&self, point: FaultPoint) -> Result<(), PartitionError> {
        if self.fault == Some(point) {
            // As `kill -9` would: nothing is flushed, no destructor runs.
            std::process::abort();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_up_and_never_overflows() {
        let day = NaiveDate::from_ymd_opt(2026, 9, 1).unwrap();
        for (done, of, wanted) in [
            (5, 10, "2026-09-01 archive [##########..........] 5 of 10"),
            (12, 10, "2026-09-01 archive [####################] 10 of 10"),
            (1, 0, "2026-09-01 archive 1 row"),
        ] {
            assert_eq!(line(day, Action::Archive, done, of), wanted);
        }
    }
}
