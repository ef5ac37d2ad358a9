//! Deployments: preview, creation, transitions and rollback.

use std::collections::HashSet;
use std::sync::Arc;

use actors::deployment::{DeploymentSettings, snapshot_of};
use actors::fleet_view::FleetView;
use actors::router::DeviceRouter;
use chrono::TimeDelta;
use clock::Clock;
use domain::abi::AbiSet;
use domain::access::{Permission, Principal};
use domain::apk::Apk;
use domain::audit::AuditAction;
use domain::deployment::{
    ConflictRule, Deployment, DeploymentState, DeploymentTransition, MaintenanceWindow, NoRollback, Options, OptionsRequest, PauseReason,
    Phase, PlanInput, Run, Task, TaskChange, TaskState, decide, exclusions, rollback,
};
use domain::{ApkId, CommandId, DeploymentId, DeviceId, Invalid, ServiceError, Timestamp, text};
use link::messages::DeviceRequest;
use serde_json::json;
use store::{AuditEntry, CreateOutcome, IdempotencyRecord, NewDeployment, NewTask, StatusThresholds, Store, TransitionOutcome};

use super::commands::IdempotencyKey;
use super::deployment_plan::{DeploymentPlan, PlannedTask};
use super::deployment_target::{DeploymentScope, TargetResolver, aliases, shown};
use super::detached::run_detached;
use super::table_pools::TablePools;

/// Longest name, in characters.
pub const NAME_MAX_CHARS: usize = 200;

/// Request for a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentRequest {
    /// APK to install.
    pub apk: ApkId,
    /// Display name; generated if not given.
    pub name: Option<String>,
    /// Target.
    pub scope: DeploymentScope,
    /// Requested options.
    pub options: OptionsRequest,
    /// Rule for devices that an older deployment has.
    pub conflict: ConflictRule,
}

/// Availability of a rollback, and whether it is recommended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackOffer {
    /// Whether the failures exceed the threshold.
    pub offered: bool,
    /// APK that would be installed and number of devices; or why a rollback is unavailable.
    pub way: Result<(Apk, usize), NoRollback>,
}

/// Service of deployments.
pub struct DeploymentService {
    pub(super) clock: Clock,
    pub(super) store: Store,
    router: DeviceRouter,
    view: Arc<FleetView>,
    policy: domain::device::DevicePolicy,
    settings: DeploymentSettings,
    pub(super) tables: TablePools,
}

impl DeploymentService {
    pub(crate) fn new(
        clock: Clock,
        store: Store,
        router: DeviceRouter,
        view: Arc<FleetView>,
        policy: domain::device::DevicePolicy,
        settings: DeploymentSettings,
        tables: TablePools,
    ) -> Self {
        Self { clock, store, router, view, policy, settings, tables }
    }

    /// Whether a person may deploy, before the request's body is read.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_changes(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(principal.require(Permission::ManageDeployments)?)
    }

    /// Previews a deployment, without creating it.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn plan(&self, principal: &Principal, request: &DeploymentRequest) -> Result<DeploymentPlan, ServiceError> {
        principal.require(Permission::ManageDeployments)?;
        self.planned(request, self.clock.now()).await
    }

    /// Creates a deployment. `false`: an earlier call with the same idempotency key created it.
    ///
    /// # Errors
    /// Forbidden; no such APK, or its file is gone; an option out of its limits or against another; an id that is no device; no
    /// device at all, or too many; too many deployments are open; or the key was used for something else.
    pub async fn create(
        &self,
        principal: &Principal,
        request: DeploymentRequest,
        idempotency_key: Option<IdempotencyKey>,
    ) -> Result<(Deployment, bool), ServiceError> {
        principal.require(Permission::ManageDeployments)?;
        self.create_with(principal, request, idempotency_key, None).await
    }

    async fn create_with(
        &self,
        principal: &Principal,
        request: DeploymentRequest,
        idempotency_key: Option<IdempotencyKey>,
        rolls_back: Option<DeploymentId>,
    ) -> Result<(Deployment, bool), ServiceError> {
        let now = self.clock.now();
        let plan = self.planned(&request, now).await?;
        let id = DeploymentId(self.clock.new_id());
        let made_up =
            || format!("{} {}", if plan.apk.label.is_empty() { &plan.apk.package } else { &plan.apk.label }, plan.apk.version_name);
        let name = request.name.clone().filter(|name| !name.trim().is_empty()).unwrap_or_else(made_up);
        let target = shown(&request.scope);
        let created = json!({
            "apk_id": plan.apk.id.to_string(), "package": plan.apk.package, "version_code": plan.apk.version_code, "target": target,
            "devices": plan.tasks.len(), "conflict": request.conflict.as_str(), "rolls_back": rolls_back.map(|id| id.to_string()),
        });
        let entry = AuditEntry::new(principal, AuditAction::DeploymentCreated, store::deployment_target(id, &name)).after(created);
        let new = NewDeployment {
            id,
            name,
            apk: plan.apk.id,
            package: plan.apk.package,
            version_code: plan.apk.version_code,
            target: target.to_string(),
            expires_at: now + TimeDelta::hours(plan.options.deadline_h.into()),
            options: plan.options,
            flags: self.store.flags().await?,
            conflict: request.conflict,
            rolls_back,
            open_max: self.settings.open_max,
            tasks: plan.tasks.into_iter().map(begin).collect(),
        };
        let idempotency_key = idempotency_key.map(|idempotency_key| IdempotencyRecord {
            owner: principal.caller(),
            key: idempotency_key.key,
            body_sha256: idempotency_key.body_sha256,
        });
        let (store, by) = (self.store.clone(), principal.clone());
        let outcome =
            run_detached(async move { Ok(store.insert_deployment(&new, idempotency_key.as_ref(), &by, &entry, now).await?) }).await?;
        let (id, new) = match outcome {
            CreateOutcome::New(taken_back) => {
                self.notify_finished(taken_back);
                (id, true)
            }
            CreateOutcome::Existing(id) => (id, false),
            CreateOutcome::OtherBody => return Err(ServiceError::WrongState("this Idempotency-Key was used for another call")),
            CreateOutcome::TooManyOpen => {
                return Err(ServiceError::WrongState("too many unfinished deployments (deployments.open_max)"));
            }
            CreateOutcome::NoApk => return Err(Invalid::new("apk_id", "the file of this APK was deleted").into()),
            CreateOutcome::TakenBackAlready(by) => return Err(ServiceError::NoRollback(NoRollback::UnderWay { by })),
        };
        Ok((self.store.deployment(id).await?.ok_or(ServiceError::NotFound("deployment"))?, new))
    }

    /// Pauses, resumes or cancels a deployment.
    ///
    /// # Errors
    /// Forbidden, no such deployment, or it has finished.
    pub async fn transition(
        &self,
        principal: &Principal,
        id: DeploymentId,
        transition: DeploymentTransition,
    ) -> Result<Deployment, ServiceError> {
        principal.require(Permission::ManageDeployments)?;
        let (store, by) = (self.store.clone(), principal.clone());
        let now = self.clock.now();
        match run_detached(async move { Ok(store.transition_deployment(id, transition, &by, now).await?) }).await? {
            TransitionOutcome::Unknown => return Err(ServiceError::NotFound("deployment")),
            TransitionOutcome::Over => return Err(ServiceError::WrongState("this deployment has finished")),
            TransitionOutcome::Already => {}
            TransitionOutcome::Done(taken_back) => self.notify_finished(taken_back),
        }
        self.store.deployment(id).await?.ok_or(ServiceError::NotFound("deployment"))
    }

    /// Availability of a rollback of a deployment, and whether it is recommended.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn rollback_offer(&self, row: &Deployment, failed: i64, succeeded: i64) -> Result<RollbackOffer, ServiceError> {
        let judged_bad = matches!(row.pause_reason, Some(PauseReason::CanaryFailed | PauseReason::FailureRate));
        let too_many = failed * 100 > i64::from(row.options.failure_pause.threshold_pct) * (failed + succeeded).max(1) && failed > 0;
        let offered = row.options.rollback_allowed && (judged_bad || too_many);
        if !row.options.rollback_allowed {
            return Ok(RollbackOffer { offered, way: Err(NoRollback::NotAllowed) });
        }
        if let Some(by) = self.store.taken_back_by(row.id).await? {
            return Ok(RollbackOffer { offered, way: Err(NoRollback::UnderWay { by }) });
        }
        let devices = self.store.devices_installed_by(row.id).await?.len();
        if devices == 0 {
            return Ok(RollbackOffer { offered, way: Err(NoRollback::NothingInstalled) });
        }
        let (good, library) = tokio::try_join!(self.store.versions_before(row.id), self.store.rollback_candidates(&row.package))?;
        let way = match rollback(row.version_code, &good, &library) {
            Ok(id) => Ok((self.store.apk(id).await?.ok_or(ServiceError::NotFound("apk"))?, devices)),
            Err(none) => Err(none),
        };
        Ok(RollbackOffer { offered, way })
    }

    /// Rolls a deployment back: cancels it, and deploys the last good version to the devices that have installed it.
    ///
    /// # Errors
    /// Forbidden, no such deployment, a rollback is under way, or a rollback is unavailable.
    pub async fn roll_back(&self, principal: &Principal, id: DeploymentId) -> Result<Deployment, ServiceError> {
        principal.require(Permission::ManageDeployments)?;
        let row = self.store.deployment(id).await?.ok_or(ServiceError::NotFound("deployment"))?;
        let offer = self.rollback_offer(&row, 0, 0).await?;
        let (apk, _) = offer.way.map_err(ServiceError::NoRollback)?;
        let devices = self.store.devices_installed_by(id).await?;
        let request = DeploymentRequest {
            apk: apk.id,
            name: Some(text_cut(&format!("Rollback of {}", row.name))),
            scope: DeploymentScope::Ids(devices),
            options: row.options.into(),
            conflict: ConflictRule::Supersede,
        };
        Ok(self.create_with(principal, request, None, Some(id)).await?.0)
    }

    fn notify_finished(&self, taken_back: Vec<(DeviceId, CommandId)>) {
        for (device, id) in taken_back {
            let router = self.router.clone();
            // An owner that misses this message sends the command once more; the device asks before it installs.
            let finished = DeviceRequest::CommandUpdated { id, finished: true, succeeded: None };
            tokio::spawn(async move { router.request(device, finished).await });
        }
    }

    async fn planned(&self, request: &DeploymentRequest, now: Timestamp) -> Result<DeploymentPlan, ServiceError> {
        if let Some(name) = &request.name {
            text::line("name", name, NAME_MAX_CHARS)?;
        }
        let apk = self.store.apk(request.apk).await?.ok_or_else(|| Invalid::new("apk_id", "there is no such APK"))?;
        if apk.deleted_at.is_some() {
            return Err(Invalid::new("apk_id", "the file of this APK was deleted").into());
        }
        let thresholds = StatusThresholds::at(now, &self.policy);
        let resolver = TargetResolver { store: &self.store, thresholds, devices_max: self.settings.devices_max };
        let ids = resolver.ids(&request.scope).await?;
        let fleet = request.scope == DeploymentScope::Fleet;
        let mut options = request.options.clone().over(ids.len(), fleet)?;
        open_in_time(&options, now)?;
        let known = self.store.device_work().await?.device_records(&ids).await?;
        let mut devices = aliases(&request.scope, ids, known)?;
        // By alias, so that the same request has the same targets in the same order.
        devices.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
        let alone = self.preview(&apk, &options_without_limits(&options), &devices, 0, now);
        let fit = alone.iter().filter(|task| !task.state.is_finished()).count() as u32;
        if let Some(canary) = &mut options.canary {
            // Devices that have the version already are no use as a canary.
            canary.size = canary.size.min(fit.max(1));
            canary.min_count = canary.min_count.min(canary.size);
        }
        let size = options.canary.map_or(0, |canary| canary.size as usize);
        let rank = |task: &PlannedTask| match task.state {
            TaskState::Sending => 0,
            state if !state.is_finished() => 1,
            _ => 2,
        };
        let mut order: Vec<usize> = (0..devices.len()).collect();
        order.sort_by_key(|index| rank(&alone[*index]));
        let first: HashSet<usize> = order.into_iter().take(size).collect();
        let (mut canary, mut rest) = (Vec::new(), Vec::new());
        for (index, device) in devices.into_iter().enumerate() {
            if first.contains(&index) { canary.push(device) } else { rest.push(device) }
        }
        let size = canary.len();
        canary.extend(rest);
        let tasks = self.preview(&apk, &options, &canary, size, now);
        Ok(DeploymentPlan { apk, options, tasks })
    }

    /// First plan of the deployment, with every task new.
    fn preview(&self, apk: &Apk, options: &Options, devices: &[(DeviceId, String)], canary: usize, now: Timestamp) -> Vec<PlannedTask> {
        let tasks: Vec<Task> = devices.iter().enumerate().map(|(index, (id, _))| Task::new(*id, index < canary)).collect();
        let run = Run {
            state: DeploymentState::Running,
            phase: if canary > 0 { Phase::Canary } else { Phase::Rollout },
            canary_ran: TimeDelta::zero(),
            judged_since: now,
            expires_at: now + TimeDelta::hours(options.deadline_h.into()),
            version_code: apk.version_code,
            min_sdk: apk.min_sdk,
            target_sdk: apk.target_sdk,
            native_abis: AbiSet::of(apk.native_abis.iter().map(String::as_str)),
        };
        let plan = decide(&PlanInput {
            options,
            run,
            blocked: None,
            accept_within: self.settings.accept_within,
            silent_within: self.settings.silent_within,
            confirm_within: self.settings.confirm_within,
            tasks: &tasks,
            starts: &[],
            snapshot: &|id| snapshot_of(&self.view, &apk.package, id),
            elsewhere: &|_| false,
            now,
        });
        let mut planned: Vec<PlannedTask> = devices
            .iter()
            .zip(&tasks)
            .map(|((id, alias), task)| {
                let snapshot = snapshot_of(&self.view, &apk.package, *id).unwrap_or_default();
                let exclusions = exclusions(options, &run, &snapshot, now);
                let (id, alias) = (*id, alias.clone());
                PlannedTask { id, alias, canary: task.canary, state: task.state, reason: None, detail: None, exclusions }
            })
            .collect();
        let mut details = plan.details;
        for (index, change) in plan.changes {
            let (TaskChange::Wait(state, reason) | TaskChange::Finish(state, reason)) = change else { continue };
            (planned[index].state, planned[index].reason) = (state, Some(reason));
            planned[index].detail = details.remove(&index);
        }
        for index in plan.starts {
            planned[index].state = TaskState::Sending;
        }
        planned
    }
}

/// Options without limits, to find all eligible devices.
fn options_without_limits(options: &Options) -> Options {
    Options { rate_per_minute: 0, concurrency: u32::MAX, window: None, canary: None, ..options.clone() }
}

/// Checks that a window of one period is not over, and opens before the deadline.
fn open_in_time(options: &Options, now: Timestamp) -> Result<(), Invalid> {
    let Some(period) = options.window.as_ref().and_then(MaintenanceWindow::as_period) else { return Ok(()) };
    if period.until <= now {
        return Err(Invalid::new("options.window.until", "in the past"));
    }
    let deadline_h = options.deadline_h;
    if period.from >= now + TimeDelta::hours(deadline_h.into()) {
        return Err(Invalid::new("options.window.from", format!("after the deadline, {deadline_h} h from now (deadline_hours)")));
    }
    Ok(())
}

/// New task; one that would start at once begins as queued, because the owner starts it.
fn begin(planned: PlannedTask) -> NewTask {
    let PlannedTask { id, alias, canary, state, reason, detail, .. } = planned;
    let state = if state == TaskState::Sending { TaskState::Queued } else { state };
    NewTask { device: id, alias, canary, state, reason, detail }
}

fn text_cut(text: &str) -> String {
    text.chars().take(NAME_MAX_CHARS).collect()
}
