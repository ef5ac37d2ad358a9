//! Deployments: preview, creation, transitions and rollback.

use std::collections::{HashMap, HashSet};
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
use domain::bulk::DeviceRecord;
use domain::deployment::{
    ConflictRule, Deployment, DeploymentState, DeploymentTransition, NoRollback, Options, OptionsRequest, PauseReason, Phase, PlanInput,
    Reason, Run, Task, TaskChange, TaskState, decide, rollback,
};
use domain::device::DeviceListScope;
use domain::query::DeviceFilter;
use domain::{ApkId, CommandId, DeploymentId, DeviceId, Invalid, ServiceError, Timestamp, text};
use link::messages::DeviceRequest;
use serde_json::{Value, json};
use store::{AuditEntry, CreateOutcome, IdempotencyRecord, NewDeployment, NewTask, StatusThresholds, Store, TransitionOutcome};

use super::commands::IdempotencyKey;
use super::device_edit::run_detached;
use super::table_pools::TablePools;

/// Longest name, in characters.
pub const NAME_MAX_CHARS: usize = 200;
/// Most tags or groups of one deployment.
const NAMES_MAX: usize = 100;

/// Target of a deployment; resolved to devices when the deployment is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeploymentScope {
    /// Every device.
    Fleet,
    /// These devices.
    Ids(Vec<DeviceId>),
    /// Devices with any of these tags.
    Tags(Vec<String>),
    /// Devices in any of these groups.
    Groups(Vec<String>),
    /// Devices that match a filter.
    Filter(DeviceFilter),
}

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

/// Preview of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentPlan {
    /// APK to install.
    pub apk: Apk,
    /// Options with their defaults.
    pub options: Options,
    /// Tasks, in the order of the targets.
    pub tasks: Vec<PlannedTask>,
}

/// Task of a previewed deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTask {
    /// The device.
    pub id: DeviceId,
    /// Alias of the device.
    pub alias: String,
    /// Whether the device belongs to the canary.
    pub canary: bool,
    /// First state of the task; [`TaskState::Sending`]: it would start at once.
    pub state: TaskState,
    /// Reason of the state.
    pub reason: Option<Reason>,
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
            tokio::spawn(async move { router.request(device, DeviceRequest::CommandUpdated { id, finished: true }).await });
        }
    }

    async fn planned(&self, request: &DeploymentRequest, now: Timestamp) -> Result<DeploymentPlan, ServiceError> {
        if let Some(name) = &request.name {
            text::bounded("name", name, NAME_MAX_CHARS)?;
        }
        let apk = self.store.apk(request.apk).await?.ok_or_else(|| Invalid::new("apk_id", "there is no such APK"))?;
        if apk.deleted_at.is_some() {
            return Err(Invalid::new("apk_id", "the file of this APK was deleted").into());
        }
        let ids = self.ids(&request.scope).await?;
        let fleet = request.scope == DeploymentScope::Fleet;
        let mut options = request.options.clone().over(ids.len(), fleet)?;
        let known = self.store.device_work().await?.device_records(&ids).await?;
        let mut devices = self.aliases(&request.scope, ids, known)?;
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
            tasks: &tasks,
            starts: &[],
            snapshot: &|id| snapshot_of(&self.view, &apk.package, id),
            elsewhere: &|_| false,
            now,
        });
        let mut planned: Vec<PlannedTask> = devices
            .iter()
            .zip(&tasks)
            .map(|((id, alias), task)| PlannedTask { id: *id, alias: alias.clone(), canary: task.canary, state: task.state, reason: None })
            .collect();
        for (index, change) in plan.changes {
            let (TaskChange::Wait(state, reason) | TaskChange::Finish(state, reason)) = change else { continue };
            (planned[index].state, planned[index].reason) = (state, Some(reason));
        }
        for index in plan.starts {
            planned[index].state = TaskState::Sending;
        }
        planned
    }

    async fn ids(&self, scope: &DeploymentScope) -> Result<Vec<DeviceId>, ServiceError> {
        let max = self.settings.devices_max;
        let of = |filter: DeviceFilter| async move {
            let thresholds = StatusThresholds::at(self.clock.now(), &self.policy);
            Ok::<_, ServiceError>(self.store.device_ids(&filter.checked()?, DeviceListScope::Active, thresholds, max as i64 + 1).await?)
        };
        let names = |field: &str, names: &[String]| match names.len() {
            0 => Err(Invalid::new(field, "empty")),
            1..=NAMES_MAX => Ok(()),
            _ => Err(Invalid::new(field, format!("more than {NAMES_MAX}"))),
        };
        let mut ids = match scope {
            DeploymentScope::Fleet => of(DeviceFilter::default()).await?,
            DeploymentScope::Ids(ids) if ids.is_empty() => return Err(Invalid::new("target.ids", "empty").into()),
            DeploymentScope::Ids(ids) => ids.clone(),
            DeploymentScope::Filter(filter) => of(filter.clone()).await?,
            DeploymentScope::Tags(tags) => {
                names("target.tags", tags)?;
                let mut ids = Vec::new();
                for tag in tags {
                    ids.extend(of(DeviceFilter { tag: Some(tag.clone()), ..DeviceFilter::default() }).await?);
                }
                ids
            }
            DeploymentScope::Groups(groups) => {
                names("target.groups", groups)?;
                let mut ids = Vec::new();
                for group in groups {
                    ids.extend(of(DeviceFilter { group: Some(group.clone()), ..DeviceFilter::default() }).await?);
                }
                ids
            }
        };
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > max {
            return Err(Invalid::new("target", format!("more than {max} devices")).into());
        }
        if ids.is_empty() {
            return Err(Invalid::new("target", "no device matches").into());
        }
        Ok(ids)
    }

    /// Devices with their aliases.
    ///
    /// # Errors
    /// A requested id is not a device, or the device is deleted.
    fn aliases(
        &self,
        scope: &DeploymentScope,
        ids: Vec<DeviceId>,
        known: HashMap<DeviceId, DeviceRecord>,
    ) -> Result<Vec<(DeviceId, String)>, Invalid> {
        let mut devices = Vec::with_capacity(ids.len());
        for id in ids {
            match known.get(&id).filter(|known| known.deleted_at.is_none()) {
                Some(known) => devices.push((id, known.editable.alias.clone())),
                None => {
                    // An id in the request is an error of the caller; one from a filter was deleted this moment.
                    if let DeploymentScope::Ids(asked) = scope {
                        let index = asked.iter().position(|other| *other == id).unwrap_or_default();
                        return Err(Invalid::new(format!("target.ids[{index}]"), "there is no such device"));
                    }
                }
            }
        }
        if devices.is_empty() { Err(Invalid::new("target", "no device matches")) } else { Ok(devices) }
    }
}

/// Options without limits, to find all eligible devices.
fn options_without_limits(options: &Options) -> Options {
    Options { rate_per_minute: 0, concurrency: u32::MAX, window: None, canary: None, ..options.clone() }
}

/// New task; one that would start at once begins as queued, because the owner starts it.
fn begin(planned: PlannedTask) -> NewTask {
    let PlannedTask { id, alias, canary, state, reason } = planned;
    let state = if state == TaskState::Sending { TaskState::Queued } else { state };
    NewTask { device: id, alias, canary, state, reason }
}

fn text_cut(text: &str) -> String {
    text.chars().take(NAME_MAX_CHARS).collect()
}

/// Target of a request, for display and the audit trail.
fn shown(scope: &DeploymentScope) -> Value {
    match scope {
        DeploymentScope::Fleet => json!({"fleet": true}),
        DeploymentScope::Ids(ids) => json!({"ids": ids.len()}),
        DeploymentScope::Tags(tags) => json!({"tags": tags}),
        DeploymentScope::Groups(groups) => json!({"groups": groups}),
        DeploymentScope::Filter(filter) => json!({"filter": super::device_audit::filter_shown(filter)}),
    }
}
