//! Connections of PostgreSQL that others use up, so that a node which needs a new one gets none.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Fault, Healing, InForce, OutOfLimits, Scene, running, within};
use crate::harness::{Cluster, ClusterOptions, IdleSession, Network};
use crate::network::{Mode, Modes};

/// Time within which PostgreSQL has noticed that connections have ended.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Most sessions that are opened.
const SESSIONS_MAX: usize = 2_000;

/// Idle sessions of others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsUsedUp {
    /// Connections that are left at first, 0 to 50; the nodes keep those that they have
    pub leave: usize,
    /// Whether the connections of nodes are ended and used up as well, so that nodes have none
    pub also_of_nodes: bool,
}

impl fmt::Display for ConnectionsUsedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "use up the connections of PostgreSQL but {}", self.leave)?;
        if self.also_of_nodes { f.write_str(", those of nodes as well") } else { Ok(()) }
    }
}

/// Opens sessions until none is left.
async fn take_all(cluster: &Cluster, sessions: &mut Vec<IdleSession>) -> Result<()> {
    while let Some(session) = cluster.idle_session().await? {
        sessions.push(session);
        ensure!(sessions.len() < SESSIONS_MAX, "PostgreSQL has more than {SESSIONS_MAX} connections");
    }
    Ok(())
}

/// Ends the connections of all nodes, and takes them before the nodes can make others.
async fn take_those_of_nodes(scene: &mut Scene<'_>, sessions: &mut Vec<IdleSession>) -> Result<()> {
    let nodes = running(scene)?;
    let set = |cluster: &Cluster, mode| nodes.iter().try_for_each(|node| cluster.set_database_link(node, Modes::both(mode)));
    set(scene.cluster, Mode::Cut)?;
    let until = Instant::now() + NOTICED_WITHIN;
    while Instant::now() < until {
        take_all(scene.cluster, sessions).await?;
        sleep(LOOK_EVERY).await;
    }
    set(scene.cluster, Mode::Pass)
}

impl Fault for ConnectionsUsedUp {
    fn check(&self) -> Result<(), OutOfLimits> {
        within("leave", self.leave, 0, 50)
    }

    fn prepare(&self, options: &mut ClusterOptions) {
        if self.also_of_nodes && options.network == Network::Plain {
            options.network = Network::Proxies;
        }
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            let mut sessions = Vec::new();
            take_all(scene.cluster, &mut sessions).await?;
            if self.also_of_nodes {
                take_those_of_nodes(scene, &mut sessions).await?;
            }
            sessions.truncate(sessions.len().saturating_sub(self.leave));
            scene.note(format!("{} sessions of others hold connections", sessions.len()));
            Ok(InForce::until(UsedUp(sessions)))
        }
        .boxed()
    }
}

struct UsedUp(Vec<IdleSession>);

impl Healing for UsedUp {
    fn heal<'a>(self: Box<Self>, _scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            drop(self.0);
            Ok(())
        }
        .boxed()
    }
}
