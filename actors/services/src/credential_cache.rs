//! Remembers for seconds who is behind a sign-in or an API token, until somebody lost something; and for longer which API tokens
//! were valid, so that guesses from the same address do not hold them up.

use std::hash::Hash;
use std::time::Duration;

use domain::{SessionId, Timestamp};
use moka::sync::Cache;
use store::{ApiTokenUser, SessionUser, Store, StoreError};
use tokio::sync::watch;

/// Sign-ins, and API tokens, whose state is remembered.
const REMEMBERED_MAX: u64 = 10_000;

/// How long an API token that is not used stays known as one that was valid.
const VERIFIED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Cache of sign-ins and API tokens. Every node clears it as soon as the database
/// tells that any account lost something, and each entry after its time at the latest.
pub(crate) struct CredentialCache {
    sessions: Cache<SessionId, SessionUser>,
    tokens: Cache<[u8; 32], ApiTokenUser>,
    /// Digests of API tokens that were valid when they were last looked up. They grant nothing.
    verified: Cache<[u8; 32], ()>,
    /// Counts the times that everything was forgotten.
    changes: watch::Sender<u64>,
}

/// Owner of a credential, and whether it was read just now.
pub(crate) struct Cached<T> {
    pub(crate) who: T,
    pub(crate) is_fresh: bool,
}

impl CredentialCache {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            sessions: Cache::builder().max_capacity(REMEMBERED_MAX).time_to_live(ttl).build(),
            tokens: Cache::builder().max_capacity(REMEMBERED_MAX).time_to_live(ttl).build(),
            verified: Cache::builder().max_capacity(REMEMBERED_MAX).time_to_idle(VERIFIED_FOR).build(),
            changes: watch::channel(0).0,
        }
    }

    /// Finds the user of a valid session.
    ///
    /// # Errors
    /// The database is unavailable.
    pub(crate) async fn session(&self, store: &Store, id: SessionId, now: Timestamp) -> Result<Option<Cached<SessionUser>>, StoreError> {
        self.look_up(&self.sessions, id, store.living_session(id, now)).await
    }

    /// Finds the user of a valid API token by its digest.
    ///
    /// # Errors
    /// The database is unavailable.
    pub(crate) async fn token(&self, store: &Store, digest: [u8; 32], now: Timestamp) -> Result<Option<Cached<ApiTokenUser>>, StoreError> {
        let found = self.look_up(&self.tokens, digest, store.living_api_token(&digest, now)).await?;
        match found {
            Some(_) => self.verified.insert(digest, ()),
            None => self.verified.invalidate(&digest),
        }
        Ok(found)
    }

    /// Whether the API token of this digest was valid when it was last looked up, however long ago: it is no guess.
    pub(crate) fn has_verified(&self, digest: &[u8; 32]) -> bool {
        self.verified.get(digest).is_some()
    }

    async fn look_up<K, V>(
        &self,
        cache: &Cache<K, V>,
        key: K,
        read: impl Future<Output = Result<Option<V>, StoreError>>,
    ) -> Result<Option<Cached<V>>, StoreError>
    where
        K: Hash + Eq + Copy + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        if let Some(who) = cache.get(&key) {
            return Ok(Some(Cached { who, is_fresh: false }));
        }
        let before = *self.changes.borrow();
        let Some(who) = read.await? else { return Ok(None) };
        cache.insert(key, who.clone());
        // What was read before something changed must not outlive the change here.
        if *self.changes.borrow() != before {
            cache.invalidate(&key);
        }
        Ok(Some(Cached { who, is_fresh: true }))
    }

    /// Clears the cache.
    pub(crate) fn forget(&self) {
        self.changes.send_modify(|changes| *changes += 1);
        self.sessions.invalidate_all();
        self.tokens.invalidate_all();
    }

    /// Changes whenever everything was forgotten.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
