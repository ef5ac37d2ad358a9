//! Failed sign-ins by name, for locking a name out on every node at once.

use domain::access::{Origin, Principal};
use domain::account::possible_username;
use domain::audit::{AuditAction, Target};
use domain::lockout::{Attempt, Lockout, LockoutPolicy, attempt};
use domain::name::CanonicalName;
use domain::{Timestamp, UserId};
use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::{Store, StoreError};

impl Store {
    /// Decides about an attempt to sign in, and counts it as failed when it goes on. Attempts for
    /// one name, on whichever nodes, are decided about one after the other. One that locks the name
    /// leaves an entry in the audit trail; `username` is told in it only if there is such an account.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn sign_in_attempt(
        &self,
        name_sha256: &[u8],
        username: &str,
        policy: LockoutPolicy,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Attempt, StoreError> {
        let mut tx = self.begin().await?;
        // There has to be a row to lock.
        let is_new = sqlx::query!(
            "INSERT INTO sign_in_failure (name_sha256, failures, failed_at) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING",
            name_sha256,
            now
        )
        .execute(&mut *tx)
        .await?
        .rows_affected()
            == 1;
        let row =
            sqlx::query!("SELECT failures, failed_at, locked_until FROM sign_in_failure WHERE name_sha256 = $1 FOR UPDATE", name_sha256)
                .fetch_optional(&mut *tx)
                .await?;
        let known = row.filter(|_| !is_new).map(|row| Lockout {
            failures: u32::try_from(row.failures).unwrap_or(0),
            failed_at: row.failed_at,
            locked_until: row.locked_until,
        });
        let decided = attempt(known, policy, now);
        if let Attempt::Allowed(Lockout { failures, failed_at, locked_until }) = decided {
            sqlx::query!(
                // Inserted again when the row was cleared in between.
                "INSERT INTO sign_in_failure (name_sha256, failures, failed_at, locked_until) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (name_sha256) DO UPDATE SET failures = $2, failed_at = $3, locked_until = $4",
                name_sha256,
                i32::try_from(failures).unwrap_or(i32::MAX),
                failed_at,
                locked_until
            )
            .execute(&mut *tx)
            .await?;
            if locked_until.is_some() {
                let account = match possible_username(username) {
                    Some(name) => {
                        let account = sqlx::query!(
                            "SELECT user_id, username FROM app_user WHERE username_canonical = $2 OR username = $1
                             ORDER BY username = $1 DESC LIMIT 1",
                            name,
                            CanonicalName::of(name).into_string()
                        );
                        account.fetch_optional(&mut *tx).await?.map(|row| (UserId(row.user_id), row.username))
                    }
                    None => None,
                };
                let entry = AuditEntry::new(&Principal::System { origin }, AuditAction::AccountLocked, Target::SignInName(account));
                append(&mut tx, &entry.after(json!({ "failures": failures, "locked_until": locked_until })), now).await?;
            }
        }
        tx.commit().await?;
        Ok(decided)
    }

    /// Takes back an attempt that counted as the `failures`-th and was never looked at.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn uncount_sign_in_attempt(&self, name_sha256: &[u8], failures: u32) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE sign_in_failure SET failures = greatest(failures - 1, 0),
                 -- Another attempt may have locked the name meanwhile.
                 locked_until = CASE WHEN failures <> $2 THEN locked_until END
             WHERE name_sha256 = $1",
            name_sha256,
            i32::try_from(failures).unwrap_or(i32::MAX)
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Clears the failures of a name after a sign-in or a new password.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn clear_sign_in_failures(&self, name_sha256: &[u8]) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM sign_in_failure WHERE name_sha256 = $1", name_sha256).execute(&self.pool).await?;
        Ok(())
    }

    /// Removes at most `limit` of the failures older than `before` and of the oldest beyond `kept_max`. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_sign_in_failures(&self, before: Timestamp, kept_max: i64, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM sign_in_failure WHERE name_sha256 = ANY(ARRAY(
                 SELECT name_sha256 FROM sign_in_failure WHERE failed_at < $1
                     OR failed_at <= (SELECT failed_at FROM sign_in_failure ORDER BY failed_at DESC OFFSET $2 LIMIT 1)
                 ORDER BY failed_at LIMIT $3))",
            before,
            kept_max,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }
}
