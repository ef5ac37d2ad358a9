//! Progress line on standard error: rewritten in place on a terminal, a new line every five seconds elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use tokio::time::Instant;

/// Interval of lines without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Interval of rewrites on a terminal.
const REWRITE_EVERY: Duration = Duration::from_secs(1);

/// Progress line.
pub struct Progress {
    terminal: bool,
    shown_at: Option<Instant>,
}

impl Progress {
    /// A new line.
    pub fn new() -> Self {
        Self { terminal: stderr().is_terminal(), shown_at: None }
    }

    /// Shows a line, unless the interval has not passed.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        let every = if self.terminal { REWRITE_EVERY } else { LINE_EVERY };
        if self.shown_at.is_some_and(|at| at.elapsed() + Duration::from_millis(50) < every) {
            return;
        }
        self.shown_at = Some(Instant::now());
        // Errors of standard error are ignored.
        let _ = if self.terminal { write!(stderr(), "\r\x1b[2K{}", line()) } else { writeln!(stderr(), "{}", line()) };
    }

    /// Keeps the last line.
    pub fn finish(&mut self) {
        if self.terminal && self.shown_at.take().is_some() {
            let _ = writeln!(stderr());
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
