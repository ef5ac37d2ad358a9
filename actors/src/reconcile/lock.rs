//! Locks of runs: of all nodes, one at a time holds each.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{Store, StoreError};

/// A lock, held until it is dropped.
pub(crate) type RunLock = Box<dyn Send>;

/// The locks of the cluster.
pub trait RunLocks: Send + Sync {
    /// Takes the lock of this name for at most `longest`; `None`: another node holds it.
    fn try_lock<'a>(&'a self, name: &'a str, longest: Duration) -> BoxFuture<'a, Result<Option<RunLock>, StoreError>>;
}

impl RunLocks for Store {
    fn try_lock<'a>(&'a self, name: &'a str, longest: Duration) -> BoxFuture<'a, Result<Option<RunLock>, StoreError>> {
        async move { Ok(self.try_cluster_lock(name, longest).await?.map(|lock| Box::new(lock) as RunLock)) }.boxed()
    }
}
