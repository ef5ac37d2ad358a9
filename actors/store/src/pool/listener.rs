//! A connection that listens, beside the pool.

use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};
use sqlx::{Acquire as _, AssertSqlSafe, Connection as _};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{CHECK_TIMEOUT, Pool, farewell};

/// Listener for notifications.
pub(crate) struct PoolListener {
    /// There until this is dropped, or the connection is lost.
    listener: Option<PgListener>,
    pool: Pool,
    silences: watch::Receiver<Option<Instant>>,
}

impl Pool {
    /// Listens to these channels.
    pub(crate) async fn listen(&self, channels: &[&str]) -> Result<PoolListener, sqlx::Error> {
        let shared = Arc::clone(&self.0);
        let place = timeout(self.0.limits.acquire, self.place()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        // `sqlx` listens on a pool of its own only. It has this one connection.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.0.limits.acquire)
            .max_lifetime(None)
            .idle_timeout(None)
            .after_connect(move |connection, _| {
                let shared = Arc::clone(&shared);
                Box::pin(async move {
                    let told = sqlx::raw_sql(AssertSqlSafe(shared.settings.as_str())).fetch_one(connection).await?;
                    // What led to the primary a moment ago may lead elsewhere now.
                    shared.target.check(&told)
                })
            })
            .connect_lazy_with(place);
        let silences = self.silences();
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        let mut listener = PoolListener { listener: Some(listener), pool: self.clone(), silences };
        listener.begin(channels).await?;
        Ok(listener)
    }

    /// Where the primary is now: of several servers, the one that a connection has just been made to.
    async fn place(&self) -> Result<PgConnectOptions, sqlx::Error> {
        let target = &self.0.target;
        if let [only] = target.places() {
            return Ok(only.clone());
        }
        let reached = target.connect(&self.0.settings).await?;
        farewell(reached.raw).await;
        target.places().get(reached.place).cloned().ok_or(sqlx::Error::PoolClosed)
    }
}

impl PoolListener {
    async fn begin(&mut self, channels: &[&str]) -> Result<(), sqlx::Error> {
        let Some(listener) = &mut self.listener else { return Err(sqlx::Error::PoolClosed) };
        let patience = self.pool.0.limits.answer;
        timeout(patience, listener.listen_all(channels.iter().copied())).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// Waits for the next notification. `None`: the connection is lost, or cannot be relied on since another one of the pool fell silent.
    pub(crate) async fn next(&mut self) -> Result<Option<PgNotification>, sqlx::Error> {
        let Some(listener) = &mut self.listener else { return Ok(None) };
        let received = tokio::select! {
            received = listener.try_recv() => received?,
            // Its sender is in the pool, which is held here.
            _ = self.silences.changed() => return Ok(None),
        };
        if received.is_none() {
            self.listener = None;
        }
        Ok(received)
    }

    /// A notification that has arrived already.
    pub(crate) fn waiting(&mut self) -> Option<PgNotification> {
        self.listener.as_mut()?.next_buffered()
    }
}

impl Drop for PoolListener {
    fn drop(&mut self) {
        if let (Some(listener), Ok(runtime)) = (self.listener.take(), Handle::try_current()) {
            runtime.spawn(end(listener, self.pool.clone()));
        }
    }
}

/// Drops a listener, which waits for an answer then, for ever if need be: a connection that does not answer is replaced before.
async fn end(mut listener: PgListener, pool: Pool) {
    // It has a connection, so that nothing is waited for here.
    let Ok(connection) = listener.acquire().await else { return };
    if timeout(CHECK_TIMEOUT, connection.ping()).await.is_ok() {
        return;
    }
    pool.0.gave_up();
    while !pool.is_closed() {
        if let Ok(fresh) = pool.connect_alone().await {
            // The silent one is closed at this.
            let silent = std::mem::replace(connection, fresh.into_raw());
            return farewell(silent).await;
        }
        sleep(CHECK_TIMEOUT).await;
    }
}
