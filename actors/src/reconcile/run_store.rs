//! What a run takes from the database: its time, and its lock, which one node at a time holds.

use std::time::Duration;

use domain::Timestamp;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{Store, StoreError};

/// A lock, held until it is dropped.
pub(crate) type RunLock = Box<dyn Send>;

/// Time and locks of the cluster.
pub trait RunStore: Send + Sync {
    /// Takes the lock of this name for at most `longest`; `None`: another node holds it.
    fn try_lock<'a>(&'a self, name: &'a str, longest: Duration) -> BoxFuture<'a, Result<Option<RunLock>, StoreError>>;

    /// The database's time: what a run removes for its age is never judged by the clock of a node.
    fn now(&self) -> BoxFuture<'_, Result<Timestamp, StoreError>>;
}

impl RunStore for Store {
    fn try_lock<'a>(&'a self, name: &'a str, longest: Duration) -> BoxFuture<'a, Result<Option<RunLock>, StoreError>> {
        async move { Ok(self.try_cluster_lock(name, longest).await?.map(|lock| Box::new(lock) as RunLock)) }.boxed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, StoreError>> {
        self.database_clock().boxed()
    }
}
