//! Rolling upgrade: each node in turn is drained, stopped and started by another binary, and has its shards again before the next one.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domain::shard::SHARD_COUNT;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Fault, InForce, OutOfLimits, Scene, running, within};
use crate::harness::Cluster;

/// Upgrade of all running nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollingUpgrade {
    /// Binary that the nodes are started by [default: the one that they run]
    #[serde(default)]
    pub binary: Option<PathBuf>,
    /// Time within which shards lie as they should after each stage, 1 to 3,600 s
    #[serde(default = "balanced_within_s")]
    pub balanced_within_s: u64,
}

fn balanced_within_s() -> u64 {
    60
}

/// Stage of the upgrade of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its shards go to the others.
    Drain,
    /// Its process ends.
    Stop,
    /// It runs again, by the other binary.
    Start,
    /// It may have shards again.
    Resume,
    /// Every node has its part.
    Balance,
}

/// Stages of the upgrade of each node, one node after the other.
fn plan(nodes: &[String]) -> impl Iterator<Item = (&str, Stage)> {
    let stages = [Stage::Drain, Stage::Stop, Stage::Start, Stage::Resume, Stage::Balance];
    nodes.iter().flat_map(move |node| stages.map(|stage| (node.as_str(), stage)))
}

impl fmt::Display for RollingUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.binary {
            Some(binary) => write!(f, "upgrade all nodes, one after the other, to {}", binary.display()),
            None => f.write_str("restart all nodes, one after the other, as an upgrade does"),
        }
    }
}

impl RollingUpgrade {
    async fn run(&self, scene: &mut Scene<'_>) -> Result<()> {
        let nodes = running(scene)?;
        ensure!(nodes.len() > 1, "a rolling upgrade needs a second node, which has the shards meanwhile");
        for (node, stage) in plan(&nodes) {
            let began = Instant::now();
            self.step(scene.cluster, &nodes, node, stage).await.with_context(|| format!("{stage:?} of {node}"))?;
            scene.note(format!("{node}: {stage:?} took {:.1} s", began.elapsed().as_secs_f64()));
        }
        Ok(())
    }

    async fn step(&self, cluster: &mut Cluster, nodes: &[String], node: &str, stage: Stage) -> Result<()> {
        let within = Duration::from_secs(self.balanced_within_s);
        match stage {
            Stage::Drain => {
                cluster.drain_or_resume(node, "drain").await?;
                cluster.until_placed(within, |counts| counts.of_node(node) == 0).await.map(drop)
            }
            Stage::Stop => cluster.node_mut(node)?.terminate().await.map(drop),
            Stage::Start => {
                let binary = self.binary.clone().map_or_else(|| anyhow::Ok(cluster.node_mut(node)?.options_mut().binary.clone()), Ok)?;
                cluster.start_with(node, &binary).await
            }
            Stage::Resume => cluster.drain_or_resume(node, "resume").await,
            Stage::Balance => cluster.until_placed(within, |counts| counts.are_balanced(nodes, usize::from(SHARD_COUNT))).await.map(drop),
        }
    }

    /// After a stage that failed: all nodes run, and none is drained.
    async fn give_up(cluster: &mut Cluster) -> Result<()> {
        let names: Vec<String> = cluster.members().iter().map(|member| member.name().to_owned()).collect();
        for name in names {
            let node = cluster.node_mut(&name)?;
            node.start_again()?;
            node.wait_ready().await?;
            cluster.drain_or_resume(&name, "resume").await?;
        }
        Ok(())
    }
}

impl Fault for RollingUpgrade {
    fn check(&self) -> Result<(), OutOfLimits> {
        within("balanced_within_s", self.balanced_within_s, 1, 3_600)
    }

    fn lasts(&self) -> bool {
        false
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            if let Err(error) = self.run(scene).await {
                let given_up = Self::give_up(scene.cluster).await;
                return Err(error.context(format!("the nodes were started again: {given_up:?}")));
            }
            Ok(InForce::Over)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_is_done_before_the_next_begins() {
        let nodes = ["node-1".to_owned(), "node-2".to_owned()];
        let stages: Vec<(&str, Stage)> = plan(&nodes).collect();
        assert_eq!(stages.len(), 10);
        assert!(stages[..5].iter().all(|(node, _)| *node == "node-1") && stages[5..].iter().all(|(node, _)| *node == "node-2"));
        let of_one: Vec<Stage> = stages[..5].iter().map(|(_, stage)| *stage).collect();
        assert_eq!(of_one, [Stage::Drain, Stage::Stop, Stage::Start, Stage::Resume, Stage::Balance]);
    }
}
