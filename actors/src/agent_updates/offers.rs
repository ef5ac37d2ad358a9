//! The builds that are offered, read again every second, so that no check asks the database.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use clock::{Clock, Moment};
use domain::AgentBuildId;
use domain::rollout::{AgentBuild, BuildState, PromotedBuild};
use prometheus::IntGauge;
use store::{Store, StoreError};

/// Most builds there may be.
pub const BUILDS_MAX: i64 = 500;

/// Builds that were read at a time.
pub struct CirculatingBuilds {
    /// Time of the read.
    asked_at: Moment,
    /// The builds that are promoted.
    pub builds: Vec<AgentBuild>,
}

/// Promoted ones among these builds of a package.
pub fn promoted_of(builds: &[AgentBuild], package: &str) -> Vec<PromotedBuild> {
    let promoted = builds.iter().filter(|build| build.state == BuildState::Promoted && build.package == package);
    let decides = |build: &AgentBuild| {
        let rollout_percent = build.promotion?.rollout_percent;
        Some(PromotedBuild { build: build.id, version_code: build.version_code, rollout_percent })
    };
    promoted.filter_map(decides).collect()
}

impl CirculatingBuilds {
    /// Circulating build of this id.
    pub fn build(&self, id: AgentBuildId) -> Option<&AgentBuild> {
        self.builds.iter().find(|build| build.id == id)
    }
}

/// The newest reading.
pub struct Offers {
    clock: Clock,
    known: RwLock<Option<Arc<CirculatingBuilds>>>,
    /// Age beyond which offers are not answered with: a halt may have been missed.
    stale_after: Duration,
    halted: IntGauge,
}

impl Offers {
    /// Nothing is known yet.
    pub fn new(clock: Clock, stale_after: Duration, halted: IntGauge) -> Self {
        Self { clock, known: RwLock::new(None), stale_after, halted }
    }

    /// The offers, unless they were last read too long ago.
    pub fn known(&self) -> Option<Arc<CirculatingBuilds>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        known.filter(|known| self.clock.elapsed(known.asked_at) < self.stale_after)
    }

    /// Reads what is offered.
    pub async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let asked_at = self.clock.monotonic();
        let rows = store.circulating_agent_builds(BUILDS_MAX).await?;
        let (builds, halted): (Vec<_>, Vec<_>) = rows.into_iter().partition(|build| build.state == BuildState::Promoted);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Two readings may pass each other; the one that was asked for later knows better.
        if known.as_ref().is_none_or(|known| known.asked_at < asked_at) {
            self.halted.set(halted.len() as i64);
            *known = Some(Arc::new(CirculatingBuilds { asked_at, builds }));
        }
        Ok(())
    }
}
