//! Ids of executed commands, so that a device runs each command once.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::Refusal;

/// Capacity of one device.
pub const SEEN_LIMIT: usize = 10_000;

/// Ids of executed commands, each kept until its expiry, which prevents execution from then on.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    until: HashMap<String, DateTime<Utc>>,
}

impl Seen {
    /// Stores an id; an error when it is known or the capacity is exhausted.
    pub fn remember(&mut self, request_id: &str, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Refusal> {
        if self.until.contains_key(request_id) {
            return Err(Refusal::SeenBefore);
        }
        if self.until.len() >= SEEN_LIMIT {
            self.until.retain(|_, expires_at| now < *expires_at);
        }
        if self.until.len() >= SEEN_LIMIT {
            return Err(Refusal::MemoryFull);
        }
        self.until.insert(request_id.to_owned(), expires_at);
        Ok(())
    }

    /// Whether an id is known.
    pub fn knows(&self, request_id: &str) -> bool {
        self.until.contains_key(request_id)
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.until.len()
    }

    /// Whether there are no ids.
    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_full_memory_refuses_until_something_has_expired() {
        let now = DateTime::from_timestamp(1_795_275_377, 0).unwrap();
        let later = now + TimeDelta::minutes(1);
        let mut seen = Seen::default();
        for n in 0..SEEN_LIMIT {
            seen.remember(&n.to_string(), later, now).unwrap();
        }
        assert_eq!(seen.remember("one more", later, now), Err(Refusal::MemoryFull));
        assert_eq!(seen.remember("7", later, now), Err(Refusal::SeenBefore));
        assert_eq!(seen.remember("one more", later + TimeDelta::minutes(1), later), Ok(()));
        assert!(seen.knows("one more") && seen.len() == 1 && !seen.is_empty());
    }
}
