//! What a sink answers.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// What a sink does with a message; a mail server says the same by its own codes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SinkMode {
    /// Accepts it.
    #[default]
    Accept,
    /// Refuses it with a status: 500, 404, ...; mail: 550 after the recipient.
    Status {
        /// HTTP status.
        status: u16,
    },
    /// 429 as Discord says it, to be tried again later; mail: 451, as greylisting does.
    TooMany {
        /// Time after which to try again, ms.
        retry_after_ms: u64,
    },
    /// Accepts it, but late.
    Slow {
        /// Delay, ms.
        delay_ms: u64,
    },
    /// Takes it and never answers.
    Hang,
    /// Takes it and drops the connection.
    Reset,
}

/// The modes in force, by sink.
#[derive(Debug, Default)]
pub(super) struct Modes(HashMap<String, (SinkMode, Option<u32>)>);

impl Modes {
    pub(super) fn set(&mut self, sink: &str, mode: SinkMode, times: Option<u32>) {
        self.0.insert(sink.to_owned(), (mode, times));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes the mode for a message and counts it.
    pub(super) fn take(&mut self, sink: &str) -> SinkMode {
        let Some((mode, left)) = self.0.get_mut(sink) else { return SinkMode::Accept };
        let mode = mode.clone();
        match left {
            Some(0 | 1) => drop(self.0.remove(sink)),
            Some(left) => *left -= 1,
            None => {}
        }
        mode
    }
}
