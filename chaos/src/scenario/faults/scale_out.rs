//! Scaling out: nodes are added one after the other until there are enough, and removed again when it is healed.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use domain::shard::SHARD_COUNT;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Healing, InForce, OutOfLimits, Scene, running, within};

/// Nodes that are added, and removed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleOut {
    /// Number of nodes that there are then, 2 to 13; at most four more than at the beginning
    pub nodes: usize,
    /// Time within which every node has its part of the shards, 1 to 3,600 s
    #[serde(default = "balanced_within_s")]
    pub balanced_within_s: u64,
}

fn balanced_within_s() -> u64 {
    60
}

impl fmt::Display for ScaleOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scale out to {} nodes", self.nodes)
    }
}

impl ScaleOut {
    async fn until_balanced(&self, scene: &mut Scene<'_>) -> Result<()> {
        let nodes = running(scene)?;
        let within = Duration::from_secs(self.balanced_within_s);
        scene.cluster.until_placed(within, |counts| counts.are_balanced(&nodes, usize::from(SHARD_COUNT))).await.map(drop)
    }
}

impl Fault for ScaleOut {
    fn check(&self) -> Result<(), OutOfLimits> {
        within("nodes", self.nodes, 2, 13)?;
        within("balanced_within_s", self.balanced_within_s, 1, 3_600)
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            let before = scene.cluster.members().len();
            ensure!(before < self.nodes, "there are {before} nodes already");
            while scene.cluster.members().len() < self.nodes {
                let name = scene.cluster.add_node().await?;
                self.until_balanced(scene).await?;
                scene.note(format!("{name} has its part"));
            }
            Ok(InForce::until(ScaledOut { fault: self.clone(), before }))
        }
        .boxed()
    }
}

struct ScaledOut {
    fault: ScaleOut,
    before: usize,
}

impl Healing for ScaledOut {
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            while scene.cluster.members().len() > self.before {
                let name = scene.cluster.remove_node().await?;
                self.fault.until_balanced(scene).await?;
                scene.note(format!("{name} is gone, and the others have its part"));
            }
            Ok(())
        }
        .boxed()
    }
}
