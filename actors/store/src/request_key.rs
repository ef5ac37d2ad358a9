//! Keys of calls that create something: each call is carried out once.

use domain::Timestamp;

use crate::command::IdempotencyRecord;
use crate::{Store, StoreError};

/// What a key stands for, to whoever calls with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyClaim {
    /// Nothing yet: the call is to be carried out.
    New,
    /// The same call, which was carried out with this status and answer; `None`: it is not kept.
    Done(u16, Option<Vec<u8>>),
    /// The same call, which is under way, or of which nobody knows how it ended.
    Open,
    /// Another call.
    OtherCall,
}

impl Store {
    /// Takes a key for a call, or says what it was taken for.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn claim_request(&self, key: &IdempotencyRecord, now: Timestamp) -> Result<KeyClaim, StoreError> {
        let taken = sqlx::query!(
            "INSERT INTO request_idempotency (owner_id, key, body_sha256, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (owner_id, key) DO NOTHING",
            key.owner,
            key.key,
            &key.body_sha256[..],
            now
        );
        if taken.execute(&self.pool).await?.rows_affected() > 0 {
            return Ok(KeyClaim::New);
        }
        let known = sqlx::query!(
            "SELECT body_sha256, status, answer FROM request_idempotency WHERE owner_id = $1 AND key = $2",
            key.owner,
            key.key
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(match known {
            // It was released just now, by a call that was refused.
            None => KeyClaim::Open,
            Some(row) if row.body_sha256 != key.body_sha256 => KeyClaim::OtherCall,
            Some(row) => match row.status.and_then(|status| u16::try_from(status).ok()) {
                Some(status) => KeyClaim::Done(status, row.answer),
                None => KeyClaim::Open,
            },
        })
    }

    /// Notes how the call of a key ended, with its answer unless that is not kept.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn finish_request(&self, key: &IdempotencyRecord, status: u16, answer: Option<&[u8]>) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE request_idempotency SET status = $3, answer = $4 WHERE owner_id = $1 AND key = $2",
            key.owner,
            key.key,
            i16::try_from(status).unwrap_or(i16::MAX),
            answer
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Releases the key of a call that was refused: nothing was done.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn release_request(&self, key: &IdempotencyRecord) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM request_idempotency WHERE owner_id = $1 AND key = $2 AND status IS NULL", key.owner, key.key)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
