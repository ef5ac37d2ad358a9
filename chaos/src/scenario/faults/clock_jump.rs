//! Jump of the wall clock of one node, as a machine does whose clock was wrong and is set. Its monotonic clock goes on.

use std::fmt;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Healing, InForce, OutOfLimits, Scene, within};
use crate::harness::{CLOCK_OFFSET_MAX_S, ClusterOptions};

/// Jump of a clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockJump {
    /// Node whose clock jumps
    pub node: String,
    /// How far ahead it is then, s, at most ten years; negative: behind
    pub ahead_s: i64,
}

impl fmt::Display for ClockJump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, where_to) = (self.ahead_s.unsigned_abs(), if self.ahead_s < 0 { "behind" } else { "ahead" });
        write!(f, "set the clock of {} {seconds} s {where_to}", self.node)
    }
}

impl Fault for ClockJump {
    fn check(&self) -> Result<(), OutOfLimits> {
        if self.ahead_s == 0 {
            return Err(OutOfLimits { key: "ahead_s", problem: "0 is no jump".into() });
        }
        within("ahead_s", self.ahead_s, -CLOCK_OFFSET_MAX_S, CLOCK_OFFSET_MAX_S)
    }

    fn prepare(&self, options: &mut ClusterOptions) {
        options.movable_clocks = true;
    }

    fn node(&self) -> Option<&str> {
        Some(&self.node)
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            scene.cluster.clock_of(&self.node)?.set(self.ahead_s)?;
            Ok(InForce::until(Set { node: self.node.clone() }))
        }
        .boxed()
    }
}

struct Set {
    node: String,
}

impl Healing for Set {
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move { scene.cluster.clock_of(&self.node)?.set(0) }.boxed()
    }
}
