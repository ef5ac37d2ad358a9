//! What people read of this node at a time: exports, and imports apart from them, so that neither waits for the other; and
//! lists, which take no connection to the database that heartbeats need.

use std::time::Duration;

use bytes::Bytes;
use domain::ServiceError;
use domain::access::Principal;
use domain::permits::{Claim, PoolLimits, PoolName};
use domain::transfer::MinimumRate;
use futures_util::stream::{Stream, TryStreamExt};
use permits::metrics::PoolMetrics;
use permits::{Permit, Pool};

use super::standing::Standing;
use super::throttled_stream::throttled_stream;

/// Limits of tables.
#[derive(Debug, Clone, Copy)]
pub struct TableSettings {
    /// Shares of the exports at a time, and likewise of the imports.
    pub limits: PoolLimits,
    /// How slow the reader of an export may be, and for how long.
    pub minimum_rate: MinimumRate,
}

/// Limits of what lists, searches, history and exports read from the database.
#[derive(Debug, Clone, Copy)]
pub struct ReadSettings {
    /// Shares of the connections that they use at a time.
    pub limits: PoolLimits,
    /// How long a reader waits for one.
    pub patience: Duration,
}

/// Pools of exports, imports and reads, which all services share.
#[derive(Clone)]
pub struct TablePools {
    exports: Pool,
    imports: Pool,
    reads: Pool,
    minimum_rate: MinimumRate,
    patience: Duration,
    standing: Standing,
}

impl TablePools {
    /// Pools of these limits, for callers who are checked again while they read.
    pub(crate) fn new(settings: TableSettings, reads: ReadSettings, standing: Standing, metrics: &PoolMetrics) -> Self {
        Self {
            exports: Pool::new(PoolName::Exports, settings.limits, metrics),
            imports: Pool::new(PoolName::Imports, settings.limits, metrics),
            reads: Pool::new(PoolName::DatabaseReads, reads.limits, metrics),
            minimum_rate: settings.minimum_rate,
            patience: reads.patience,
            standing,
        }
    }

    /// A permit to export a table.
    ///
    /// # Errors
    /// Overloaded when too many run, of all or of one account, API token or address.
    pub(super) fn export(&self, principal: &Principal) -> Result<Permit, ServiceError> {
        self.exports.take(Claim::of(principal))
    }

    /// A permit to import a table.
    ///
    /// # Errors
    /// As [`Self::export`].
    pub(super) fn import(&self, principal: &Principal) -> Result<Permit, ServiceError> {
        self.imports.take(Claim::of(principal))
    }

    /// A permit for a statement that reads many rows.
    ///
    /// # Errors
    /// Overloaded: too many wait, or none came free in time.
    pub(super) async fn read(&self, principal: &Principal) -> Result<Permit, ServiceError> {
        self.reads.wait(Claim::of(principal), self.patience).await
    }

    /// The body of an export, piece by piece, to whoever still has the rights that it began with.
    pub(super) fn stream(
        &self,
        permit: Permit,
        principal: &Principal,
        pieces: impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static {
        let (standing, principal) = (self.standing.clone(), principal.clone());
        let pieces = pieces.and_then(move |piece| {
            let (standing, principal) = (standing.clone(), principal.clone());
            async move { if standing.holds(&principal).await? { Ok(piece) } else { Err(ServiceError::Unauthorized) } }
        });
        throttled_stream(permit, self.minimum_rate, pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::access::{Origin, Role};
    use domain::{SessionId, UserId};

    fn person(n: u128, role: Role) -> Principal {
        Principal::User {
            user_id: UserId(uuid::Uuid::from_u128(n)),
            username: String::new(),
            role,
            session_id: SessionId(uuid::Uuid::nil()),
            origin: Origin { address: Some([192, 0, 2, n as u8].into()), request_id: None },
        }
    }

    fn pools(tables: PoolLimits, reads: PoolLimits) -> TablePools {
        let tables = TableSettings { limits: tables, minimum_rate: MinimumRate { bytes_per_second: 1, patience: Duration::from_secs(1) } };
        let reads = ReadSettings { limits: reads, patience: Duration::from_secs(2) };
        let wait = Duration::from_secs(1);
        // Nothing listens there: none of these tests reads anything.
        let store = store::Store::new(
            "postgres://127.0.0.1:1/none",
            store::PoolOptions { max_connections: 1, acquire_timeout: wait, statement_timeout: wait, answer_grace: wait },
        );
        let ownership = std::sync::Arc::new(actors::ownership::Ownership::new(clock::Clock::system()));
        let credentials = std::sync::Arc::new(crate::credential_cache::CredentialCache::new(wait));
        let standing = Standing::new(clock::Clock::system(), store.unwrap(), credentials, ownership);
        TablePools::new(tables, reads, standing, &PoolMetrics::register(&prometheus::Registry::new()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_all_it_can_leaves_others_and_admins_theirs() {
        let reads = PoolLimits { per_principal: 3, waiting: 10, ..PoolLimits::of_capacity(6) }.with_parts(50, 20);
        let pools = pools(PoolLimits::of_capacity(1), reads);
        let greedy = person(1, Role::Viewer);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(pools.read(&greedy).await.unwrap());
        }
        let refused = pools.read(&greedy).await.err();
        assert!(matches!(refused, Some(ServiceError::Overloaded("database.acquire_timeout_ms"))), "{refused:?}");
        for other in 2..4 {
            held.push(pools.read(&person(other, Role::Viewer)).await.unwrap());
        }
        assert!(pools.read(&person(4, Role::Viewer)).await.is_err(), "what is left is the admins'");
        held.push(pools.read(&person(5, Role::Admin)).await.unwrap());
        let late = person(6, Role::Viewer);
        let (waits, ()) = tokio::join!(pools.read(&late), async { drop(held) });
        assert!(waits.is_ok());
    }

    #[test]
    fn who_exports_all_it_can_leaves_others_and_admins_theirs() {
        let limits = PoolLimits { per_principal: 2, ..PoolLimits::of_capacity(4) }.with_parts(50, 25);
        let pools = pools(limits, PoolLimits::of_capacity(1));
        let refused = |taken: Result<Permit, ServiceError>| match taken {
            Err(ServiceError::Overloaded(limit)) => limit,
            _ => "granted",
        };
        let greedy = [pools.export(&person(1, Role::Viewer)).unwrap(), pools.export(&person(1, Role::Viewer)).unwrap()];
        assert_eq!(refused(pools.export(&person(1, Role::Viewer))), "http.exports_per_principal_max");
        assert!(pools.import(&person(1, Role::Operator)).is_ok(), "imports do not wait for exports");
        let other = pools.export(&person(2, Role::Viewer)).unwrap();
        assert_eq!(refused(pools.export(&person(3, Role::Viewer))), "http.exports_reserved_pct");
        assert!(pools.export(&person(4, Role::Admin)).is_ok());
        drop((greedy, other));
    }
}
