//! Uploaded files that wait for their page.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::UserId;
use domain::access::Principal;

/// Most waiting files.
const WAITING_MAX: usize = 8;
/// Lifetime of a waiting file.
const WAITS: Duration = Duration::from_secs(60);

struct PendingUpload {
    user: UserId,
    file: Arc<[u8]>,
    since: Instant,
}

/// Uploaded files not yet taken by their page.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, PendingUpload>>);

impl Uploads {
    /// Stores a file of `user` temporarily, in place of an earlier one; `None` when too many wait.
    pub(crate) fn keep(&self, id: String, user: UserId, file: Vec<u8>, now: Instant) -> Option<()> {
        // Every step leaves the map whole, so a poisoned lock guards good data.
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, other| other.user != user && now.saturating_duration_since(other.since) < WAITS);
        if waiting.len() >= WAITING_MAX {
            return None;
        }
        waiting.insert(id, PendingUpload { user, file: file.into(), since: now });
        Some(())
    }

    /// Takes a file for a page of its uploader, once.
    pub(crate) fn take(&self, principal: &Principal, id: &str) -> Option<Arc<[u8]>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = waiting.get(id).is_some_and(|file| Some(file.user) == principal.user_id());
        own.then(|| waiting.remove(id)).flatten().map(|file| file.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::SessionId;
    use domain::access::{Origin, Role};

    fn user(n: u128) -> Principal {
        let user_id = UserId(uuid::Uuid::from_u128(n));
        Principal::User {
            user_id,
            username: "ann".into(),
            role: Role::Operator,
            session_id: SessionId(uuid::Uuid::nil()),
            origin: Origin::default(),
        }
    }

    #[test]
    fn a_file_is_taken_once_and_only_by_who_sent_it() {
        let (uploads, now) = (Uploads::default(), Instant::now());
        uploads.keep("a".into(), user(1).user_id().unwrap(), b"x".to_vec(), now).unwrap();
        assert!(uploads.take(&user(2), "a").is_none() && uploads.take(&user(1), "b").is_none());
        assert_eq!(uploads.take(&user(1), "a").as_deref(), Some(b"x".as_slice()));
        assert!(uploads.take(&user(1), "a").is_none());
    }

    #[test]
    fn few_files_wait_and_none_for_long() {
        let (uploads, now) = (Uploads::default(), Instant::now());
        let keep = |n: usize, now| uploads.keep(n.to_string(), user(n as u128).user_id().unwrap(), b"x".to_vec(), now);
        for n in 0..WAITING_MAX {
            assert!(keep(n, now).is_some());
        }
        assert!(keep(100, now).is_none());
        assert!(keep(0, now).is_some(), "one of the same person makes room");
        assert!(keep(100, now + WAITS).is_some());
    }
}
