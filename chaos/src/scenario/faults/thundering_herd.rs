//! Thundering herd: the connections of all devices to all nodes are reset at once, and every device comes back at its own pace.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{Fault, InForce, OutOfLimits, Scene, within};
use crate::harness::ClusterOptions;

/// Resets of all connections of devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ThunderingHerd {
    /// Number of resets, 1 to 100
    pub times: u32,
    /// Pause between two of them, 500 to 600,000 ms
    pub pause_ms: u64,
}

impl Default for ThunderingHerd {
    fn default() -> Self {
        Self { times: 1, pause_ms: 5_000 }
    }
}

impl fmt::Display for ThunderingHerd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reset every connection of devices at once, {} times", self.times)
    }
}

impl Fault for ThunderingHerd {
    fn check(&self) -> Result<(), OutOfLimits> {
        within("times", self.times, 1, 100)?;
        within("pause_ms", self.pause_ms, 500, 600_000)
    }

    fn prepare(&self, options: &mut ClusterOptions) {
        options.doors = true;
    }

    fn lasts(&self) -> bool {
        false
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            for number in 0..self.times {
                if number > 0 {
                    sleep(Duration::from_millis(self.pause_ms)).await;
                }
                scene.cluster.reset_doors()?;
            }
            Ok(InForce::Over)
        }
        .boxed()
    }
}
