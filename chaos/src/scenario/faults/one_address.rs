//! Devices behind one address: a router translates the addresses of a part of the fleet, as in a warehouse or a mobile network, and every
//! other device has an address of its own. What a node grants an address must do for all that are behind it.

use std::fmt;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Healing, InForce, OutOfLimits, Scene, within};
use crate::harness::{ClusterOptions, Network};
use crate::network::Sources;

/// Part of the fleet that is behind one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OneAddress {
    /// Share of the connections that come from it, 1 to 100 %
    pub share_pct: u8,
}

impl Default for OneAddress {
    fn default() -> Self {
        Self { share_pct: 50 }
    }
}

impl fmt::Display for OneAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % of the connections of devices come from one address", self.share_pct)
    }
}

impl Fault for OneAddress {
    fn check(&self) -> Result<(), OutOfLimits> {
        within("share_pct", self.share_pct, 1, 100)
    }

    fn prepare(&self, options: &mut ClusterOptions) {
        options.doors = true;
        // Addresses of a loopback interface are as many as one likes; those of a cable are two.
        if options.network == Network::Namespaces {
            options.network = Network::Proxies;
        }
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            scene.cluster.set_sources(Sources::Shared { pct: self.share_pct })?;
            scene.cluster.reset_doors()?;
            Ok(InForce::until(Translated))
        }
        .boxed()
    }
}

struct Translated;

impl Healing for Translated {
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            scene.cluster.set_sources(Sources::Own)?;
            scene.cluster.reset_doors()
        }
        .boxed()
    }
}
