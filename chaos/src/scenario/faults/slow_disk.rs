//! Slow disk of PostgreSQL; how it is made slow says [`crate::harness::SlowDisk`].

use std::fmt;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Healing, InForce, OutOfLimits, Scene, within};
use crate::harness::{Cluster, FLUSH_MS_MAX, HEAL_SQL, STALL_MS_MAX, SlowDisk, Slowness};

/// How slow the disk is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlowPostgresDisk {
    /// Time that each flush of the log takes longer, 1 to 100 ms
    pub flush_ms: u32,
    /// Length of stalls, in which nothing is read or written, 0 to 10,000 ms; 0: none
    pub stall_ms: u32,
    /// Pause between two stalls, 100 to 600,000 ms
    pub between_stalls_ms: u32,
}

impl Default for SlowPostgresDisk {
    fn default() -> Self {
        Self { flush_ms: 50, stall_ms: 0, between_stalls_ms: 2_000 }
    }
}

impl fmt::Display for SlowPostgresDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slow PostgreSQL's disk: {} ms more per flush", self.flush_ms)?;
        if self.stall_ms > 0 {
            write!(f, ", stalls of {} ms", self.stall_ms)?;
        }
        Ok(())
    }
}

impl Fault for SlowPostgresDisk {
    fn check(&self) -> Result<(), OutOfLimits> {
        within("flush_ms", self.flush_ms, 1, FLUSH_MS_MAX)?;
        within("stall_ms", self.stall_ms, 0, STALL_MS_MAX)?;
        within("between_stalls_ms", self.between_stalls_ms, 100, 600_000)
    }

    fn undo(&self, cluster: &Cluster) -> Result<Vec<Vec<String>>> {
        let first = cluster.postmaster()?.pid;
        // A process that stands still does not even end.
        let wake = format!("kill -CONT $(ps -o pid= --ppid {first}) 2>/dev/null || true");
        let mut psql = vec!["psql", "-X", "-d", cluster.database_url()];
        psql.extend(HEAL_SQL.iter().flat_map(|statement| ["-c", statement]));
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        Ok(vec![owned(&["sh", "-c", &wake]), owned(&psql)])
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            let slowness = Slowness { flush_ms: self.flush_ms, stall_ms: self.stall_ms, between_stalls_ms: self.between_stalls_ms };
            let disk = SlowDisk::begin(scene.cluster.psql(), scene.cluster.postmaster()?, slowness).await?;
            scene.note("flushes wait by commit_delay of PostgreSQL; no device is slowed");
            Ok(InForce::until(Slow(disk)))
        }
        .boxed()
    }
}

struct Slow(SlowDisk);

impl Healing for Slow {
    fn heal<'a>(self: Box<Self>, _scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        self.0.heal().boxed()
    }
}
