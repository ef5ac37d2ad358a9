//! Full disk of PostgreSQL: not a byte is left, and its server may end over it.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Fault, Healing, InForce, OutOfLimits, Scene, within};
use crate::harness::{Cluster, ClusterOptions};

/// Time in which the server recovers by itself, before it is started again as whoever runs it would.
const RECOVERS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// A disk of this size, which is filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiskFull {
    /// Size of the disk that PostgreSQL has for itself, 300 to 16,384 MiB
    pub disk_mib: u64,
}

impl Default for DiskFull {
    fn default() -> Self {
        Self { disk_mib: 400 }
    }
}

impl fmt::Display for DiskFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fill PostgreSQL's disk of {} MiB", self.disk_mib)
    }
}

impl Fault for DiskFull {
    fn check(&self) -> Result<(), OutOfLimits> {
        within("disk_mib", self.disk_mib, 300, 16_384)
    }

    fn prepare(&self, options: &mut ClusterOptions) {
        options.database_disk_bytes = options.database_disk_bytes.max(Some(self.disk_mib << 20));
    }

    fn undo(&self, cluster: &Cluster) -> Result<Vec<Vec<String>>> {
        let disk = cluster.database_disk()?;
        let (ballast, mounted) = (disk.ballast().display().to_string(), disk.path().display().to_string());
        let unmount = ["sh", "-c", "umount --lazy \"$1\" 2>/dev/null || true", "sh", &mounted].map(str::to_owned);
        Ok(vec![vec!["rm".into(), "-f".into(), ballast], unmount.into()])
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            let taken = scene.cluster.database_disk()?.fill()?;
            scene.note(format!("the last {} MiB of PostgreSQL's disk are taken", taken >> 20));
            Ok(InForce::until(Full))
        }
        .boxed()
    }
}

struct Full;

impl Healing for Full {
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            scene.cluster.database_disk()?.free()?;
            let began = Instant::now();
            while scene.cluster.psql().run("SELECT 1", &[]).await.is_err() {
                if began.elapsed() > RECOVERS_WITHIN {
                    // It may have ended by itself.
                    let _ = scene.cluster.stop_database().await;
                    scene.cluster.start_database().await.context("PostgreSQL with space again")?;
                    scene.note("PostgreSQL had ended, and was started again");
                    return Ok(());
                }
                sleep(LOOK_EVERY).await;
            }
            Ok(())
        }
        .boxed()
    }
}
