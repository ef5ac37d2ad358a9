//! Cap on audit entries that anybody can cause, so that a flood of refusals fills no disk, and that of one caller hides no other's.

use std::collections::HashMap;

use chrono::TimeDelta;

use crate::Timestamp;

/// One caller may cause this part of the entries of a minute.
const CALLER_SHARE: u32 = 4;

/// Entries of the present minute, and how many were left out since the last one that was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryCap {
    minute_began: Option<Timestamp>,
    written: u32,
    /// Entries that each caller caused; no more callers than entries.
    by_caller: HashMap<String, u32>,
    left_out: u64,
}

impl EntryCap {
    /// Counts an entry of at most `per_minute`, of which a caller has a quarter. `Some`: it is written, and tells how many were left
    /// out before it.
    pub fn admit(&mut self, caller: &str, per_minute: u32, now: Timestamp) -> Option<u64> {
        // Also when the clock stepped back: a minute lasts no longer than one.
        if self.minute_began.is_none_or(|began| now < began || now - began >= TimeDelta::minutes(1)) {
            (self.minute_began, self.written) = (Some(now), 0);
            self.by_caller.clear();
        }
        let of_caller = self.by_caller.get(caller).copied().unwrap_or(0);
        if self.written >= per_minute || of_caller >= per_minute.div_ceil(CALLER_SHARE) {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        self.by_caller.insert(caller.to_owned(), of_caller + 1);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    #[test]
    fn a_minute_has_so_many_entries_and_the_next_one_tells_of_the_others() {
        let mut cap = EntryCap::default();
        let mut admit = |caller, second| cap.admit(caller, 2, at(second));
        assert_eq!([admit("a", 0), admit("b", 1), admit("c", 2), admit("d", 59)], [Some(0), Some(0), None, None]);
        assert_eq!([admit("a", 60), admit("b", 61), admit("c", 62)], [Some(2), Some(0), None]);
        assert_eq!(admit("a", 10), Some(1), "a clock that stepped back");
        assert_eq!(cap.admit("a", 0, at(200)), None, "none at all");
    }

    #[test]
    fn a_flood_of_one_caller_leaves_room_for_the_others() {
        let mut cap = EntryCap::default();
        let written = (0..100).filter(|_| cap.admit("viewer", 60, at(0)).is_some()).count();
        assert_eq!(written, 15);
        assert_eq!(cap.admit("operator", 60, at(1)), Some(85));
        assert!((0..100).all(|n| cap.admit(&format!("{}", n / 10), 60, at(1)).is_some() || n >= 44));
    }
}
