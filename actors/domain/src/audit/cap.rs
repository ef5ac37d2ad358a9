//! Cap on audit entries that anybody can cause, so that a flood of refusals fills no disk.

use chrono::TimeDelta;

use crate::Timestamp;

/// Entries of the present minute, and how many were left out since the last one that was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntryCap {
    minute_began: Option<Timestamp>,
    written: u32,
    left_out: u64,
}

impl EntryCap {
    /// Counts an entry of at most `per_minute`. `Some`: it is written, and tells how many were left out before it.
    pub fn admit(&mut self, per_minute: u32, now: Timestamp) -> Option<u64> {
        // Also when the clock stepped back: a minute lasts no longer than one.
        if self.minute_began.is_none_or(|began| now < began || now - began >= TimeDelta::minutes(1)) {
            (self.minute_began, self.written) = (Some(now), 0);
        }
        if self.written >= per_minute {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
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
        let admitted: Vec<_> = [0, 1, 2, 59].map(|second| cap.admit(2, at(second))).into();
        assert_eq!(admitted, [Some(0), Some(0), None, None]);
        assert_eq!(cap.admit(2, at(60)), Some(2));
        assert_eq!(cap.admit(2, at(61)), Some(0));
        assert_eq!(cap.admit(2, at(62)), None);
        assert_eq!(cap.admit(2, at(10)), Some(1), "a clock that stepped back");
        assert_eq!(cap.admit(0, at(200)), None, "none at all");
    }
}
