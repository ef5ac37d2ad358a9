//! The builds that are offered, read again every second, so that no check asks the database.

use std::sync::{Arc, PoisonError, RwLock};

use clock::{Clock, Moment};
use domain::alert::Lasting;
use domain::rollout::{AgentBuild, BuildState, PromotedBuild, offered_since};
use domain::{AgentBuildId, DeviceId, Timestamp};
use prometheus::IntGauge;
use store::{Store, StoreError};

use super::AgentUpdateSettings;

/// Most builds there may be.
pub const BUILDS_MAX: i64 = 500;

/// Builds that were read at a time.
pub struct CirculatingBuilds {
    /// Time of the read.
    asked_at: Moment,
    /// The builds that are promoted.
    pub builds: Vec<AgentBuild>,
}

/// Promoted ones among these builds of a package, each with the last change of its offer.
fn promoted(builds: &[AgentBuild], package: &str) -> impl Iterator<Item = (PromotedBuild, Timestamp)> {
    let promoted = builds.iter().filter(move |build| build.state == BuildState::Promoted && build.package == package);
    promoted.filter_map(|build| {
        let rollout_percent = build.promotion?.rollout_percent;
        Some((PromotedBuild { build: build.id, version_code: build.version_code, rollout_percent }, build.changed_at))
    })
}

/// Promoted ones among these builds of a package.
pub fn promoted_of(builds: &[AgentBuild], package: &str) -> Vec<PromotedBuild> {
    promoted(builds, package).map(|(build, _)| build).collect()
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
    settings: AgentUpdateSettings,
    halted: IntGauge,
}

impl Offers {
    /// Nothing is known yet.
    pub fn new(clock: Clock, settings: AgentUpdateSettings, halted: IntGauge) -> Self {
        Self { clock, known: RwLock::new(None), settings, halted }
    }

    /// The offers, unless they were last read too long ago.
    pub fn known(&self) -> Option<Arc<CirculatingBuilds>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Of older ones a halt may have been missed.
        known.filter(|known| self.clock.elapsed(known.asked_at) < self.settings.stale_after)
    }

    /// Whether a newer build is offered to a device, and since when at least; `None`: the offers or the version are not known.
    pub fn newer(&self, device: DeviceId, version_code: Option<i64>) -> Option<Lasting> {
        let (version_code, known) = (version_code?, self.known()?);
        Some(offered_since(device, version_code, promoted(&known.builds, &self.settings.package)).map_or(Lasting::Not, Lasting::Since))
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

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn without_a_reading_or_a_version_it_is_not_known_whether_a_newer_build_is_offered() {
        let halted = IntGauge::new("halted", "Halted").unwrap();
        let offers = Offers::new(Clock::system(), AgentUpdateSettings::default(), halted);
        let device = DeviceId(Uuid::nil());
        assert_eq!(offers.newer(device, Some(140)), None);
        let nothing = CirculatingBuilds { asked_at: offers.clock.monotonic(), builds: vec![] };
        *offers.known.write().unwrap() = Some(Arc::new(nothing));
        assert_eq!((offers.newer(device, Some(140)), offers.newer(device, None)), (Some(Lasting::Not), None));
    }
}
