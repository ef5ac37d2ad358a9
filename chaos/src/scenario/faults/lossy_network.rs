//! Packets that are lost and late, between nodes, their devices and their database.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Healing, InForce, OutOfLimits, Scene, running, within};
use crate::harness::{ClusterOptions, Network, NetworkMeans};
use crate::network::{LATENCY_MAX, LOSS_PCT_MAX};

/// Loss and latency of the network of one node or of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LossyNetwork {
    /// Node whose packets are lost [default: all]
    pub node: Option<String>,
    /// Share of the packets that are lost in each direction, 0 to 50 %
    pub loss_pct: u8,
    /// Time that the way there and back takes longer, 0 to 5,000 ms
    pub latency_ms: u64,
}

impl Default for LossyNetwork {
    fn default() -> Self {
        Self { node: None, loss_pct: 5, latency_ms: 200 }
    }
}

impl fmt::Display for LossyNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.node.as_deref().unwrap_or("all nodes");
        write!(f, "lose {} % of the packets of {of}, and delay all by {} ms there and back", self.loss_pct, self.latency_ms)
    }
}

impl Fault for LossyNetwork {
    fn check(&self) -> Result<(), OutOfLimits> {
        within("loss_pct", self.loss_pct, 0, LOSS_PCT_MAX)?;
        // Seconds: it fits.
        within("latency_ms", self.latency_ms, 0, LATENCY_MAX.as_millis() as u64)
    }

    fn prepare(&self, options: &mut ClusterOptions) {
        options.doors = true;
        if options.network == Network::Plain {
            options.network = Network::Proxies;
        }
    }

    fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            let nodes = match &self.node {
                Some(node) => vec![node.clone()],
                None => running(scene)?,
            };
            for node in &nodes {
                let means = scene.cluster.impair_network(node, self.loss_pct, Duration::from_millis(self.latency_ms))?;
                scene.note(match means {
                    NetworkMeans::Netem => format!("{node}: the kernel loses and delays packets (netem)"),
                    NetworkMeans::NftablesAndProxies => {
                        format!("{node}: the kernel loses packets (nftables); it lacks netem, so that proxies delay what devices and the database send")
                    }
                    NetworkMeans::Proxies => format!("{node}: proxies delay what is sent, and now and then by a retransmission; no packet is lost"),
                });
            }
            Ok(InForce::until(Impaired { nodes }))
        }
        .boxed()
    }
}

struct Impaired {
    nodes: Vec<String>,
}

impl Healing for Impaired {
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move { self.nodes.iter().try_for_each(|node| scene.cluster.repair_network(node)) }.boxed()
    }
}
