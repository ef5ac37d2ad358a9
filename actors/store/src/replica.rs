//! Reads that may lag, from a standby: what nobody looks at right after having changed it.
//!
//! A standby is asked before each use how old its state is, and is used only within a bound; else, and whenever it does not answer, the primary
//! is. Its age is the time since the last commit that it replayed. Nodes renew their leases every second, so that a primary that is used commits as
//! often, and a standby that shows nothing new for longer lags, or lost its primary.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::connections::ReplicaUse;
use sqlx::Row as _;

use crate::error::UnfitServer;
use crate::pool::{Connection, Pool, PooledConnection, Wanted};
use crate::{PoolOptions, Store, StoreError};

/// Age of a standby's state, ms; negative where its clock is behind that of the primary.
const AGE: &str = "SELECT (extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint::text";
/// How far the clock of a standby may be behind that of the primary, ms. One that is further behind takes old states for new ones.
const CLOCK_BEHIND_MAX_MS: i64 = 1000;
/// Whose database it is.
const CLUSTER: &str = "SELECT name || '/' || encode(key_fingerprint, 'hex') FROM cluster";

/// The standby.
pub(crate) struct Replica {
    pool: Pool,
    max_lag_ms: i64,
    by_replica: AtomicU64,
    too_old: AtomicU64,
    unavailable: AtomicU64,
}

/// Connection for one read.
pub(crate) struct Reader(PooledConnection);

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

/// Whether a state of this age may be read.
fn is_fresh(age_ms: Option<i64>, max_lag_ms: i64) -> bool {
    // A standby that has replayed no commit since its start does not know.
    age_ms.is_some_and(|age_ms| (-CLOCK_BEHIND_MAX_MS..=max_lag_ms).contains(&age_ms))
}

impl Replica {
    /// A connection to a standby that is fresh enough.
    async fn reader(&self) -> Option<Reader> {
        let asked = async {
            let mut connection = self.pool.acquire().await?;
            let age = sqlx::raw_sql(AGE).fetch_one(&mut *connection).await?.try_get::<Option<String>, _>(0)?;
            Ok::<_, sqlx::Error>((connection, age.and_then(|age| age.parse().ok())))
        };
        match asked.await {
            Ok((connection, age_ms)) if is_fresh(age_ms, self.max_lag_ms) => {
                self.by_replica.fetch_add(1, Ordering::Relaxed);
                Some(Reader(connection))
            }
            Ok((_, age_ms)) => {
                self.too_old.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(event = "database.replica_too_old", age_ms, max_ms = self.max_lag_ms);
                None
            }
            Err(cause) => {
                self.unavailable.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(event = "database.replica_unavailable", %cause);
                None
            }
        }
    }
}

impl Store {
    /// The same store with a standby at `url`, which [`Self::for_reading`] uses while it lags no more than `max_lag`.
    ///
    /// # Errors
    /// The URL is not one of PostgreSQL.
    pub fn with_replica(mut self, url: &str, options: PoolOptions, max_lag: Duration) -> Result<Self, StoreError> {
        let pool = crate::pool(url, Wanted::Standby, options, self.pool.given_up_count(), self.pool.lineage())?;
        self.replica = Some(Arc::new(Replica {
            pool,
            max_lag_ms: i64::try_from(max_lag.as_millis()).unwrap_or(i64::MAX),
            by_replica: AtomicU64::new(0),
            too_old: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
        }));
        Ok(self)
    }

    /// The same store for reads that may lag: history, exports and reports come from the standby, if there is one. Not for what somebody has
    /// just changed.
    pub fn for_reading(&self) -> Self {
        Self { reads_by_replica: true, ..self.clone() }
    }

    /// A connection for one read: to the standby where that is meant and can be, else to the primary.
    pub(crate) async fn reader(&self) -> Result<Reader, sqlx::Error> {
        if let (true, Some(replica)) = (self.reads_by_replica, &self.replica)
            && let Some(reader) = replica.reader().await
        {
            return Ok(reader);
        }
        self.pool.acquire().await.map(Reader)
    }

    /// How often reads that may lag went where; `None`: there is no standby for them.
    pub fn replica_use(&self) -> Option<ReplicaUse> {
        let replica = self.replica.as_ref()?;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Some(ReplicaUse {
            by_replica: count(&replica.by_replica),
            too_old: count(&replica.too_old),
            unavailable: count(&replica.unavailable),
        })
    }

    /// Checks that the standby is one of this database, once that was migrated. One that does not answer is no reason to refuse: the primary is used
    /// instead. Answers why it did not.
    ///
    /// # Errors
    /// [`UnfitServer::ForeignReplica`], or the primary is unavailable.
    pub async fn check_replica(&self) -> Result<Option<String>, StoreError> {
        let Some(replica) = &self.replica else { return Ok(None) };
        let ours: Option<String> = sqlx::query_scalar(CLUSTER).fetch_optional(&self.pool).await?;
        let theirs = async {
            let mut connection = replica.pool.acquire().await?;
            sqlx::query_scalar::<_, String>(CLUSTER).fetch_optional(&mut *connection).await
        };
        match theirs.await {
            // A cluster that is only being made has told its standby nothing yet.
            Ok(theirs) if ours.is_none() || theirs == ours => Ok(None),
            Ok(_) => Err(UnfitServer::ForeignReplica.into()),
            Err(sqlx::Error::Database(refused)) if refused.code().is_some_and(|code| code == "42P01") => {
                Err(UnfitServer::ForeignReplica.into())
            }
            Err(cause) => Ok(Some(cause.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_within_the_bound_only() {
        for (age_ms, expected) in [
            (None, false),
            (Some(0), true),
            (Some(5000), true),
            (Some(5001), false),
            (Some(-1000), true),
            (Some(-1001), false),
            (Some(i64::MAX), false),
        ] {
            assert_eq!(is_fresh(age_ms, 5000), expected, "{age_ms:?}");
        }
    }
}
