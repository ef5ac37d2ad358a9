//! Promises that are broken on purpose, so that a verdict is seen to fail.

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::harness::Psql;

/// Promise that is broken in the database of a cluster that was started for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// An acknowledged heartbeat is deleted
    #[value(name = "P1")]
    P1,
    /// A command whose result was acknowledged is said to have failed
    #[value(name = "P2")]
    P2,
}

impl Sabotage {
    /// Breaks it; what was done.
    ///
    /// # Errors
    /// There is nothing to break, or the database is unavailable.
    pub async fn commit(self, psql: &Psql) -> Result<String> {
        let (sql, what) = match self {
            Self::P1 => (
                "WITH one AS (SELECT tableoid, ctid, device_id, bucket_at FROM heartbeats ORDER BY bucket_at LIMIT 1)
                 DELETE FROM heartbeats h USING one WHERE h.tableoid = one.tableoid AND h.ctid = one.ctid
                 RETURNING h.device_id || ' of ' || h.bucket_at",
                "deleted the heartbeat of device",
            ),
            Self::P2 => (
                "UPDATE command SET state = 'failed' WHERE request_id =
                   (SELECT request_id FROM command WHERE state = 'succeeded' ORDER BY request_id LIMIT 1)
                 RETURNING request_id",
                "changed the outcome of command",
            ),
        };
        let row = psql.run(sql, &[]).await?;
        let row = row.lines().next().filter(|row| !row.is_empty()).context("there is nothing to sabotage")?;
        Ok(format!("{what} {row}"))
    }
}
