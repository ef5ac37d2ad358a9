//! Builds of the agent, for people: adding, promoting, taking back, and how far they got.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actors::agent_updates::AgentUpdateSettings;
use actors::agent_updates::{
    BUILDS_MAX, CheckCounters, CohortCounts, Cohorts, Offers, RunningAgent, cohorts, hour_of, promoted_of, running, versions,
};
use actors::fleet_view::FleetView;
use actors::router::DeviceRouter;
use apk::ApkLibrary;
use chrono::TimeDelta;
use clock::{Clock, Moment};
use domain::access::{Permission, Principal};
use domain::action::Action;
use domain::bulk::BULK_MAX;
use domain::bulk_target::BulkTarget;
use domain::invalid::in_range;
use domain::rollout::{self, AgentBuild, BuildCandidate, BuildState, PromotedBuild, Promotion, UpdateAnswer, UpdateCounts, VersionSample};
use domain::{AgentBuildId, ApkId, DeviceId, Invalid, ServiceError, Timestamp, text};
use store::{AddBuildOutcome, BuildAction, BuildActionOutcome, Store};

use super::command_batches::{BatchDetails, BatchRequest};
use super::commands::{CommandRequest, CommandService, IdempotencyKey};
use super::detached::run_detached;
use crate::metrics::Metrics;

/// Longest release notes, in characters; the same is a CHECK.
const NOTES_MAX_CHARS: usize = 4_000;
/// Most APKs to choose from.
const CANDIDATES_MAX: i64 = 100;
/// Different errors that statistics name.
const ERRORS_MAX: i64 = 20;

/// A promoted build of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentUpdate {
    /// Version code.
    pub version_code: i64,
    /// Version name.
    pub version_name: String,
    /// Share of the devices that are offered it, percent.
    pub rollout_percent: u8,
}
/// How long a count of the fleet is shown again.
const COUNTED_FOR: Duration = Duration::from_secs(1);
/// Default period of the statistics, in hours.
pub const STATS_HOURS_DEFAULT: i64 = 168;
/// Most hours that can be asked for.
pub const STATS_HOURS_MAX: i64 = 744;

/// A build and how far it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildDetails {
    /// Stored row.
    pub build: AgentBuild,
    /// Counters over all hours that are kept.
    pub counts: UpdateCounts,
    /// Cohort in the present fleet; empty while the build is not promoted.
    pub cohort: CohortCounts,
    /// Devices that run it now.
    pub running: u64,
}

/// Statistics of a build, and versions in the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildStats {
    /// The build.
    pub details: BuildDetails,
    /// Counters by hour, oldest first; hours without any are left out.
    pub hours: Vec<(Timestamp, UpdateCounts)>,
    /// Errors that devices report, with their numbers.
    pub errors: Vec<(String, i64)>,
    /// Versions that the fleet ran, by hour, oldest first; the last is the present.
    pub versions: Vec<VersionSample>,
}

/// Whom a nudge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NudgePlan {
    /// Devices that are offered the build and run an older version.
    pub devices: usize,
    /// Online ones among them.
    pub online: usize,
    /// Devices beyond what one call may address.
    pub left_out: usize,
}

/// Dependencies of the service.
pub(crate) struct AgentBuildParts {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) router: DeviceRouter,
    pub(crate) view: Arc<FleetView>,
    pub(crate) commands: Arc<CommandService>,
    pub(crate) offers: Arc<Offers>,
    pub(crate) counters: Arc<CheckCounters>,
    pub(crate) library: Arc<ApkLibrary>,
    pub(crate) settings: AgentUpdateSettings,
    pub(crate) metrics: Metrics,
}

/// A count of the fleet, and when it was made.
type FleetCount = Option<(Moment, Arc<Vec<RunningAgent>>)>;

/// Builds of the agent, for people and devices.
pub struct AgentBuildService {
    pub(super) parts: AgentBuildParts,
    counted: Mutex<FleetCount>,
}

impl AgentBuildService {
    pub(crate) fn new(parts: AgentBuildParts) -> Self {
        Self { parts, counted: Mutex::new(None) }
    }

    /// Package name of the agent.
    pub fn package(&self) -> &str {
        &self.parts.settings.package
    }

    /// Builds that a device of this version may update itself to, the newest first; none as long as builds cannot be read.
    pub(super) fn updates_from(&self, version_code: i64) -> Vec<AgentUpdate> {
        let Some(known) = self.parts.offers.known() else { return Vec::new() };
        let newer = rollout::updates_from(version_code, &promoted_of(&known.builds, self.package()));
        let update = |promoted: &PromotedBuild| {
            let build = known.build(promoted.build)?;
            Some(AgentUpdate {
                version_code: build.version_code,
                version_name: build.version_name.clone(),
                rollout_percent: promoted.rollout_percent,
            })
        };
        newer.iter().filter_map(update).collect()
    }

    /// Every build, the newest version first.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn list(&self, principal: &Principal) -> Result<Vec<BuildDetails>, ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        self.detailed(self.parts.store.agent_builds(BUILDS_MAX).await?).await
    }

    /// A build.
    ///
    /// # Errors
    /// Forbidden, or there is no such build.
    pub async fn one(&self, principal: &Principal, id: AgentBuildId) -> Result<BuildDetails, ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        self.details(id).await
    }

    /// Uploaded APKs of the agent that are no build yet, the newest version first.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn candidates(&self, principal: &Principal) -> Result<Vec<BuildCandidate>, ServiceError> {
        principal.require(Permission::ManageAgentBuilds)?;
        Ok(self.parts.store.agent_build_candidates(self.package(), CANDIDATES_MAX).await?)
    }

    /// Whether a person may change builds, before the request's body is read.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_changes(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(principal.require(Permission::ManageAgentBuilds)?)
    }

    /// Adds a build of an APK of the agent, not promoted yet.
    ///
    /// # Errors
    /// Forbidden, the notes are too long, there is no such APK, it is no agent, its version is a build already, or there are
    /// too many builds.
    pub async fn add(&self, principal: &Principal, apk: ApkId, release_notes: &str) -> Result<BuildDetails, ServiceError> {
        principal.require(Permission::ManageAgentBuilds)?;
        text::bounded("release_notes", release_notes, NOTES_MAX_CHARS)?;
        let found = self.parts.store.apk(apk).await?.filter(|apk| apk.deleted_at.is_none());
        let found = found.ok_or_else(|| Invalid::new("apk_id", "there is no such APK"))?;
        if found.package != self.package() {
            let problem = format!("an APK of {}, not of the agent {} (agent_updates.package)", found.package, self.package());
            return Err(Invalid::new("apk_id", problem).into());
        }
        let id = AgentBuildId(self.parts.clock.new_id());
        match self.parts.store.add_agent_build(id, apk, release_notes, BUILDS_MAX, principal, self.parts.clock.now()).await? {
            AddBuildOutcome::New => self.details(id).await,
            AddBuildOutcome::Existing(_) => Err(ServiceError::WrongState("this version is already a build")),
            AddBuildOutcome::NoApk => Err(Invalid::new("apk_id", "there is no such APK").into()),
            AddBuildOutcome::TooMany => Err(ServiceError::WrongState("the limit of 500 builds is reached")),
        }
    }

    /// Offers a build to its cohort, or offers it in another way.
    ///
    /// # Errors
    /// Forbidden, there is no such build, or its APK is deleted.
    pub async fn promote(&self, principal: &Principal, id: AgentBuildId, promotion: Promotion) -> Result<BuildDetails, ServiceError> {
        self.act(principal, id, BuildAction::Promote(promotion), "").await
    }

    /// Changes the percentage of devices that a build is offered to. Less takes nothing back from who has it.
    ///
    /// # Errors
    /// Forbidden, the percentage is out of 1..100, there is no such build, or it is not promoted.
    pub async fn rollout(&self, principal: &Principal, id: AgentBuildId, rollout_percent: i64) -> Result<BuildDetails, ServiceError> {
        principal.require(Permission::ManageAgentBuilds)?;
        let percent = rollout::percent(rollout_percent)?;
        self.act(principal, id, BuildAction::Rollout(percent), "only the rollout of a promoted build can be changed; promote it first")
            .await
    }

    /// Offers a build no longer. Who has it keeps it: Android does not downgrade in place.
    ///
    /// # Errors
    /// Forbidden, there is no such build, or it is neither promoted nor halted.
    pub async fn roll_back(&self, principal: &Principal, id: AgentBuildId) -> Result<BuildDetails, ServiceError> {
        self.act(principal, id, BuildAction::RollBack, "only a promoted or halted build can be rolled back").await
    }

    async fn act(
        &self,
        principal: &Principal,
        id: AgentBuildId,
        act: BuildAction,
        refusal: &'static str,
    ) -> Result<BuildDetails, ServiceError> {
        principal.require(Permission::ManageAgentBuilds)?;
        let (store, offers, by) = (self.parts.store.clone(), Arc::clone(&self.parts.offers), principal.clone());
        let now = self.parts.clock.now();
        let acted = run_detached(async move {
            let acted = store.act_on_agent_build(id, act, &by, now).await?;
            // The other nodes read it within a second.
            if let Err(cause) = offers.refresh(&store).await {
                tracing::warn!(event = "agent_builds.read_failed", %cause);
            }
            Ok(acted)
        })
        .await?;
        match acted {
            BuildActionOutcome::Done => self.details(id).await,
            BuildActionOutcome::NotFound => Err(ServiceError::NotFound("build")),
            BuildActionOutcome::WrongState(_) => Err(ServiceError::WrongState(refusal)),
            BuildActionOutcome::NoApk => Err(ServiceError::WrongState("the APK of this build is deleted")),
        }
    }

    /// Size of the cohort of each percentage.
    ///
    /// # Errors
    /// Forbidden, or there is no such build.
    pub async fn cohorts(&self, principal: &Principal, id: AgentBuildId) -> Result<Cohorts, ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        let build = self.parts.store.agent_build(id).await?.ok_or(ServiceError::NotFound("build"))?;
        Ok(cohorts(&self.fleet().await?, build.version_code))
    }

    /// Previews a notification of devices about a build.
    ///
    /// # Errors
    /// Forbidden, there is no such build, or it is not promoted.
    pub async fn nudge_plan(&self, principal: &Principal, id: AgentBuildId) -> Result<NudgePlan, ServiceError> {
        principal.require(Permission::ManageAgentBuilds)?;
        Ok(self.nudged(id).await?.1)
    }

    /// Notifies devices that are offered the build and run an older version to check for it now. Of more than one call may address,
    /// online ones come first. Takes the permission to send commands as well.
    ///
    /// # Errors
    /// Forbidden, there is no such build, it is not promoted, no device is behind, the rate is out of its limits, or the key was
    /// used for something else.
    pub async fn nudge(
        &self,
        principal: &Principal,
        id: AgentBuildId,
        rate_per_second: Option<i32>,
        idempotency_key: Option<IdempotencyKey>,
    ) -> Result<(BatchDetails, bool), ServiceError> {
        principal.require(Permission::ManageAgentBuilds)?;
        principal.require(Action::Update.kind().permission())?;
        let (ids, _) = self.nudged(id).await?;
        if ids.is_empty() {
            return Err(ServiceError::WrongState("no device that is offered this build runs an older version"));
        }
        let devices = ids.len();
        let command = CommandRequest { action: Action::Update, expires_in_s: None };
        let request = BatchRequest { target: BulkTarget::Ids(ids), command, rate_per_second };
        let (batch, new) = self.parts.commands.send_many(principal, request, idempotency_key).await?;
        if new {
            self.parts.store.note_agent_build_nudge(id, batch.batch.id, devices, principal, self.parts.clock.now()).await?;
        }
        Ok((batch, new))
    }

    async fn nudged(&self, id: AgentBuildId) -> Result<(Vec<DeviceId>, NudgePlan), ServiceError> {
        let builds = self.parts.store.agent_builds(BUILDS_MAX).await?;
        let build = builds.iter().find(|build| build.id == id).ok_or(ServiceError::NotFound("build"))?;
        if build.state != BuildState::Promoted {
            return Err(ServiceError::WrongState("only devices of a promoted build can be notified"));
        }
        let promoted = promoted_of(&builds, &build.package);
        let fleet = self.count_fleet().await?;
        let offered = |device: &&RunningAgent| {
            // A device that does not tell its version cannot be said to be behind.
            device.version_code.is_some_and(|version| rollout::answer(device.id, version, &promoted) == UpdateAnswer::Offer(id))
        };
        let mut devices: Vec<(bool, DeviceId)> = fleet.iter().filter(offered).map(|device| (!device.online, device.id)).collect();
        devices.sort_unstable();
        let left_out = devices.len().saturating_sub(BULK_MAX);
        devices.truncate(BULK_MAX);
        let online = devices.iter().filter(|(offline, _)| !offline).count();
        let plan = NudgePlan { devices: devices.len(), online, left_out };
        Ok((devices.into_iter().map(|(_, id)| id).collect(), plan))
    }

    /// Statistics of a build within the last hours, and versions in the fleet.
    ///
    /// # Errors
    /// Forbidden, the hours are out of 1..744, or there is no such build.
    pub async fn stats(&self, principal: &Principal, id: AgentBuildId, hours: i64) -> Result<BuildStats, ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        let hours = in_range("hours", hours, 1, STATS_HOURS_MAX)?;
        let (details, now) = (self.details(id).await?, self.parts.clock.now());
        let since = hour_of(now) - TimeDelta::hours(hours);
        Ok(BuildStats {
            details,
            hours: self.parts.store.update_hours(id, since).await?,
            errors: self.parts.store.update_errors(id, ERRORS_MAX).await?,
            versions: self.versions_since(since, now).await?,
        })
    }

    /// Versions in the fleet by hour, oldest first; the last is the present.
    ///
    /// # Errors
    /// Forbidden, or the hours are out of 1..744.
    pub async fn adoption(&self, principal: &Principal, hours: i64) -> Result<Vec<VersionSample>, ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        let (hours, now) = (in_range("hours", hours, 1, STATS_HOURS_MAX)?, self.parts.clock.now());
        self.versions_since(hour_of(now) - TimeDelta::hours(hours), now).await
    }

    async fn versions_since(&self, since: Timestamp, now: Timestamp) -> Result<Vec<VersionSample>, ServiceError> {
        let this_hour = hour_of(now);
        let mut samples = self.parts.store.version_samples(since).await?;
        samples.retain(|sample| sample.hour < this_hour);
        let present = versions(&self.fleet().await?).into_iter();
        samples.extend(present.map(|(version_code, devices)| VersionSample { hour: this_hour, version_code, devices: devices as i64 }));
        Ok(samples)
    }

    async fn details(&self, id: AgentBuildId) -> Result<BuildDetails, ServiceError> {
        let build = self.parts.store.agent_build(id).await?.ok_or(ServiceError::NotFound("build"))?;
        self.detailed(vec![build]).await?.pop().ok_or(ServiceError::Internal)
    }

    async fn detailed(&self, builds: Vec<AgentBuild>) -> Result<Vec<BuildDetails>, ServiceError> {
        let ids: Vec<_> = builds.iter().map(|build| build.id).collect();
        let totals: HashMap<_, _> = self.parts.store.update_totals(&ids).await?.into_iter().collect();
        let fleet = self.fleet().await?;
        let details = |build: AgentBuild| {
            let promotion = build.promotion.filter(|_| build.state == BuildState::Promoted);
            let cohort = promotion.map(|promotion| cohorts(&fleet, build.version_code).within(promotion.rollout_percent));
            let running = fleet.iter().filter(|device| device.version_code == Some(build.version_code)).count() as u64;
            let counts = totals.get(&build.id).copied().unwrap_or_default();
            BuildDetails { counts, cohort: cohort.unwrap_or_default(), running, build }
        };
        Ok(builds.into_iter().map(details).collect())
    }

    /// The fleet, counted anew when the last count is a second old: a page that many people look at costs no more than one.
    async fn fleet(&self) -> Result<Arc<Vec<RunningAgent>>, ServiceError> {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match counted.filter(|(at, _)| self.parts.clock.elapsed(*at) < COUNTED_FOR) {
            Some((_, fleet)) => Ok(fleet),
            None => self.count_fleet().await,
        }
    }

    async fn count_fleet(&self) -> Result<Arc<Vec<RunningAgent>>, ServiceError> {
        let (view, at) = (Arc::clone(&self.parts.view), self.parts.clock.monotonic());
        let fleet = tokio::task::spawn_blocking(move || running(&view)).await.map_err(|_| ServiceError::Internal)?;
        let fleet = Arc::new(fleet);
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, Arc::clone(&fleet)));
        Ok(fleet)
    }
}
