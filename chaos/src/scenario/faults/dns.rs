//! DNS that is gone for one node: no name leads anywhere, and its connections to the database end, so that it needs one.

use std::fmt;

use anyhow::{Result, bail};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Healing, InForce, OutOfLimits, Scene};
use crate::harness::{ClusterOptions, Network};

/// Node without DNS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsGone {
    /// Node that resolves no names
    pub node: String,
}

impl fmt::Display for DnsGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "take DNS from {}, and its connections to PostgreSQL", self.node)
    }
}

impl Fault for DnsGone {
    fn check(&self) -> Result<(), OutOfLimits> {
        Ok(())
    }

    fn prepare(&self, options: &mut ClusterOptions) {
        options.names = true;
        if options.network == Network::Plain {
            options.network = Network::Proxies;
        }
    }

    fn node(&self) -> Option<&str> {
        Some(&self.node)
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            if !rustix::process::geteuid().is_root() {
                bail!("a node has names of its own only where this process is root");
            }
            scene.cluster.names_of(&self.node)?.forget()?;
            scene.cluster.reset_database_link(&self.node)?;
            Ok(InForce::until(Forgotten { node: self.node.clone() }))
        }
        .boxed()
    }
}

struct Forgotten {
    node: String,
}

impl Healing for Forgotten {
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move { scene.cluster.names_of(&self.node)?.restore() }.boxed()
    }
}
