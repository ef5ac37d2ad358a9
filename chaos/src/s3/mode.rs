//! What the store does with requests.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// How a store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum StoreMode {
    /// It does not.
    #[default]
    Work,
    /// It refuses what is written with 507.
    Full,
    /// It refuses what is written with 403.
    ReadOnly,
    /// It answers late.
    Slow {
        /// Delay of each answer, ms.
        delay_ms: u64,
    },
    /// It resets every connection.
    Gone,
    /// It keeps the first half of what is written, and answers as if it had all.
    Truncating,
    /// It reads the version before the newest, where there is one.
    Older,
}

/// The mode in force.
#[derive(Debug, Default)]
pub(super) struct Modes(Mutex<(StoreMode, Option<u32>)>);

impl Modes {
    /// Sets the mode, for `times` requests that it concerns or for good.
    pub(super) fn set(&self, mode: StoreMode, times: Option<u32>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (mode, times);
    }

    /// Takes the mode for a request, and counts it where it makes a difference.
    pub(super) fn take(&self, writes: bool) -> StoreMode {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mode = held.0;
        let concerned = match mode {
            StoreMode::Work => false,
            StoreMode::Full | StoreMode::ReadOnly | StoreMode::Truncating => writes,
            StoreMode::Older => !writes,
            StoreMode::Slow { .. } | StoreMode::Gone => true,
        };
        if !concerned {
            return StoreMode::Work;
        }
        match &mut held.1 {
            Some(0 | 1) => *held = (StoreMode::Work, None),
            Some(left) => *left -= 1,
            None => {}
        }
        mode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_counts_only_the_requests_that_it_concerns() {
        let modes = Modes::default();
        modes.set(StoreMode::ReadOnly, Some(2));
        assert_eq!([false, true, true, true].map(|writes| modes.take(writes)), {
            use StoreMode::{ReadOnly, Work};
            [Work, ReadOnly, ReadOnly, Work]
        });
        modes.set(StoreMode::Gone, None);
        assert_eq!([true, false, true].map(|writes| modes.take(writes)), [StoreMode::Gone; 3]);
    }
}
