//! Death of the primary of several PostgreSQL servers; another takes over, and the one that died comes back as a standby.

use std::fmt;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Healing, InForce, OutOfLimits, Scene};
use crate::harness::{ClusterOptions, DatabaseKind, PrimaryPart};

/// SIGKILL of the primary.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrimaryKilled {
    /// What of it is killed
    pub part: PrimaryPart,
}

impl fmt::Display for PrimaryKilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kill -9 {}", self.part.text())
    }
}

impl Fault for PrimaryKilled {
    fn check(&self) -> Result<(), OutOfLimits> {
        Ok(())
    }

    fn prepare(&self, options: &mut ClusterOptions) {
        if options.database == DatabaseKind::Single {
            options.database = DatabaseKind::Patroni;
        }
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            let killed = scene.cluster.patroni_mut()?.kill_primary(self.part).await?;
            scene.note(format!("{killed} was the primary"));
            Ok(InForce::until(Killed))
        }
        .boxed()
    }
}

struct Killed;

impl Healing for Killed {
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move { scene.cluster.patroni_mut()?.make_whole().await }.boxed()
    }
}
