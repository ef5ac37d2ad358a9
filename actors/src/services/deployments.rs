//! Deployments, for people: what one would do, how it is made, steered and taken back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::TimeDelta;
use domain::access::{Permission, Principal};
use domain::bulk::DeviceFacts as Known;
use domain::deployment::{
    ConflictRule, DeploymentState, NoRollback, Options, OptionsRequest, PauseReason, Phase, Reason, Run, Situation, Task, TaskChange,
    TaskState, decide, rollback,
};
use domain::query::DeviceFilter;
use domain::{ApkId, CommandId, DeploymentId, DeviceId, Invalid, Timestamp, text};
use serde_json::{Value, json};
use store::{ApkRow, AuditEntry, DeploymentRow, Judging, Listed, Made, NewDeployment, NewTask, OnceKey, Steer, Steered, Store};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::commands::Once;
use super::device_edit::to_the_end;
use crate::deployment::{DeploymentSettings, facts_of};
use crate::fleet_view::FleetView;
use crate::messages::DeviceRequest;
use crate::router::DeviceRouter;
use crate::{ServiceError, clock};

/// Longest name, in characters.
const NAME_MAX_CHARS: usize = 200;
/// Most tags or groups of one deployment.
const NAMES_MAX: usize = 100;
/// Tables at a time.
const TABLES_MAX: usize = 4;

/// Which devices a deployment is for; settled when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeploymentScope {
    /// Every device.
    Fleet,
    /// These.
    Ids(Vec<DeviceId>),
    /// Those with any of these tags.
    Tags(Vec<String>),
    /// Those in any of these groups.
    Groups(Vec<String>),
    /// Those that match.
    Filter(DeviceFilter),
}

/// A deployment that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentRequest {
    /// What to install.
    pub apk: ApkId,
    /// For people; made up if not given.
    pub name: Option<String>,
    /// Where.
    pub scope: DeploymentScope,
    /// How.
    pub options: OptionsRequest,
    /// What becomes of devices that an older one has.
    pub conflict: ConflictRule,
}

/// What a deployment would begin with.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentPlan {
    /// What is installed.
    pub apk: ApkRow,
    /// The options, whole.
    pub options: Options,
    /// The set in its order.
    pub tasks: Vec<PlannedTask>,
}

/// What a device of it would begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTask {
    /// The device.
    pub id: DeviceId,
    /// What people know it by.
    pub alias: String,
    /// Whether it is one of the first.
    pub canary: bool,
    /// Where it would stand; [`TaskState::Sending`]: it would start at once.
    pub state: TaskState,
    /// Why.
    pub reason: Option<Reason>,
}

/// Whether there is a way back, and whether it is time for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackOffer {
    /// Failures passed the threshold.
    pub offered: bool,
    /// What would be installed, and where; or why nothing can.
    pub way: Result<(ApkRow, usize), NoRollback>,
}

/// Deployments, for people.
pub struct DeploymentService {
    pub(super) store: Store,
    router: DeviceRouter,
    view: Arc<FleetView>,
    policy: domain::device::DevicePolicy,
    settings: DeploymentSettings,
    pub(super) tables: Arc<Semaphore>,
    pub(super) export_stall_timeout: std::time::Duration,
}

impl DeploymentService {
    pub(crate) fn new(
        store: Store,
        router: DeviceRouter,
        view: Arc<FleetView>,
        policy: domain::device::DevicePolicy,
        settings: DeploymentSettings,
        export_stall_timeout: std::time::Duration,
    ) -> Self {
        Self { store, router, view, policy, settings, tables: Arc::new(Semaphore::new(TABLES_MAX)), export_stall_timeout }
    }

    /// Says what a deployment would begin with, and does nothing.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn plan(&self, principal: &Principal, request: &DeploymentRequest) -> Result<DeploymentPlan, ServiceError> {
        principal.require(Permission::ManageDeployments)?;
        self.planned(request, clock::now()).await
    }

    /// Makes a deployment. `false`: it was made by an earlier call with the same key.
    ///
    /// # Errors
    /// Forbidden; no such APK, or its file is gone; an option out of its limits or against another; an id that is no device; no
    /// device at all, or too many; too many deployments are open; or the key was used for something else.
    pub async fn create(
        &self,
        principal: &Principal,
        request: DeploymentRequest,
        once: Option<Once>,
    ) -> Result<(DeploymentRow, bool), ServiceError> {
        principal.require(Permission::ManageDeployments)?;
        self.made(principal, request, once, None).await
    }

    async fn made(
        &self,
        principal: &Principal,
        request: DeploymentRequest,
        once: Option<Once>,
        rolls_back: Option<DeploymentId>,
    ) -> Result<(DeploymentRow, bool), ServiceError> {
        let now = clock::now();
        let plan = self.planned(&request, now).await?;
        // The way back is never barred.
        if rolls_back.is_none() && self.store.open_deployment_count().await? >= self.settings.open_max {
            return Err(ServiceError::WrongState("too many unfinished deployments (deployments.open_max)"));
        }
        let id = DeploymentId(Uuid::now_v7());
        let made_up =
            || format!("{} {}", if plan.apk.label.is_empty() { &plan.apk.package } else { &plan.apk.label }, plan.apk.version_name);
        let name = request.name.clone().filter(|name| !name.trim().is_empty()).unwrap_or_else(made_up);
        let target = shown(&request.scope);
        let told = json!({
            "apk_id": plan.apk.id.to_string(), "package": plan.apk.package, "version_code": plan.apk.version_code, "target": target,
            "devices": plan.tasks.len(), "conflict": request.conflict.as_str(), "rolls_back": rolls_back.map(|id| id.to_string()),
        });
        let entry = AuditEntry::new(principal, "deployment.created", store::deployment_target(id, &name)).after(told);
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
            tasks: plan.tasks.into_iter().map(begin).collect(),
        };
        let once = once.map(|once| OnceKey { owner: principal.caller(), key: once.key, body_sha256: once.body_sha256 });
        let (store, by) = (self.store.clone(), principal.clone());
        let made = to_the_end(async move { Ok(store.insert_deployment(&new, once.as_ref(), &by, &entry, now).await?) }).await?;
        let (id, new) = match made {
            Made::New(taken_back) => {
                self.tell_over(taken_back);
                (id, true)
            }
            Made::Known(id) => (id, false),
            Made::OtherBody => return Err(ServiceError::WrongState("this Idempotency-Key was used for another call")),
            Made::NoApk => return Err(Invalid::new("apk_id", "the file of this APK was deleted").into()),
            Made::TakenBackAlready(by) => return Err(ServiceError::NoRollback(NoRollback::UnderWay { by })),
        };
        Ok((self.store.deployment(id).await?.ok_or(ServiceError::NotFound("deployment"))?, new))
    }

    /// Pauses, resumes or calls off a deployment.
    ///
    /// # Errors
    /// Forbidden, no such deployment, or it is over.
    pub async fn steer(&self, principal: &Principal, id: DeploymentId, steer: Steer) -> Result<DeploymentRow, ServiceError> {
        principal.require(Permission::ManageDeployments)?;
        let (store, by) = (self.store.clone(), principal.clone());
        match to_the_end(async move { Ok(store.steer_deployment(id, steer, &by, clock::now()).await?) }).await? {
            Steered::Unknown => return Err(ServiceError::NotFound("deployment")),
            Steered::Over => return Err(ServiceError::WrongState("this deployment has finished")),
            Steered::Already => {}
            Steered::Done(taken_back) => self.tell_over(taken_back),
        }
        self.store.deployment(id).await?.ok_or(ServiceError::NotFound("deployment"))
    }

    /// Whether there is a way back from a deployment, and whether it is time for it.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn rollback_offer(&self, row: &DeploymentRow, failed: i64, succeeded: i64) -> Result<RollbackOffer, ServiceError> {
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

    /// Takes a deployment back: calls it off, and deploys what was good to the devices that have it.
    ///
    /// # Errors
    /// Forbidden, no such deployment, one that takes it back is under way, or there is no way back, and why.
    pub async fn roll_back(&self, principal: &Principal, id: DeploymentId) -> Result<DeploymentRow, ServiceError> {
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
        Ok(self.made(principal, request, None, Some(id)).await?.0)
    }

    fn tell_over(&self, taken_back: Vec<(DeviceId, CommandId)>) {
        for (device, id) in taken_back {
            let router = self.router.clone();
            // An owner that does not hear of it gives it to its device once more, which asks before it installs.
            tokio::spawn(async move { router.request(device, DeviceRequest::CommandTaken { id, over: true }).await });
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
        let known = self.store.device_work().await?.facts(&ids).await?;
        let mut devices = self.aliases(&request.scope, ids, known)?;
        // In the order that people read them; the same call twice has the same set.
        devices.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
        let alone = self.decided(&apk, &options_without_limits(&options), &devices, 0, now);
        let fit = alone.iter().filter(|task| !task.state.is_over()).count() as u32;
        if let Some(canary) = &mut options.canary {
            // Devices that have the version already say nothing about it.
            canary.size = canary.size.min(fit.max(1));
            canary.min_count = canary.min_count.min(canary.size);
        }
        let size = options.canary.map_or(0, |canary| canary.size as usize);
        let rank = |task: &PlannedTask| match task.state {
            TaskState::Sending => 0,
            state if !state.is_over() => 1,
            _ => 2,
        };
        let mut order: Vec<usize> = (0..devices.len()).collect();
        order.sort_by_key(|place| rank(&alone[*place]));
        let first: HashSet<usize> = order.into_iter().take(size).collect();
        let (mut canary, mut rest) = (Vec::new(), Vec::new());
        for (place, device) in devices.into_iter().enumerate() {
            if first.contains(&place) { canary.push(device) } else { rest.push(device) }
        }
        let size = canary.len();
        canary.extend(rest);
        let tasks = self.decided(&apk, &options, &canary, size, now);
        Ok(DeploymentPlan { apk, options, tasks })
    }

    /// What the deployment would decide first: the same function that drives it, with every task new.
    fn decided(&self, apk: &ApkRow, options: &Options, devices: &[(DeviceId, String)], canary: usize, now: Timestamp) -> Vec<PlannedTask> {
        let tasks: Vec<Task> = devices.iter().enumerate().map(|(place, (id, _))| Task::new(*id, place < canary)).collect();
        let run = Run {
            state: DeploymentState::Running,
            phase: if canary > 0 { Phase::Canary } else { Phase::Rollout },
            canary_ran: TimeDelta::zero(),
            judged_since: now,
            expires_at: now + TimeDelta::hours(options.deadline_h.into()),
            version_code: apk.version_code,
            min_sdk: apk.min_sdk,
        };
        let decision = decide(&Situation {
            options,
            run,
            blocked: None,
            accept_within: self.settings.accept_within,
            silent_within: self.settings.silent_within,
            tasks: &tasks,
            starts: &[],
            facts: &|id| facts_of(&self.view, &apk.package, id),
            elsewhere: &|_| false,
            now,
        });
        let mut planned: Vec<PlannedTask> = devices
            .iter()
            .zip(&tasks)
            .map(|((id, alias), task)| PlannedTask { id: *id, alias: alias.clone(), canary: task.canary, state: task.state, reason: None })
            .collect();
        for (place, change) in decision.changes {
            let (TaskChange::Waits(state, reason) | TaskChange::Over(state, reason)) = change else { continue };
            (planned[place].state, planned[place].reason) = (state, Some(reason));
        }
        for place in decision.starts {
            planned[place].state = TaskState::Sending;
        }
        planned
    }

    async fn ids(&self, scope: &DeploymentScope) -> Result<Vec<DeviceId>, ServiceError> {
        let max = self.settings.devices_max;
        let of = |filter: DeviceFilter| async move {
            let judging = Judging::at(clock::now(), &self.policy);
            Ok::<_, ServiceError>(self.store.device_ids(&filter.checked()?, Listed::Active, judging, max as i64 + 1).await?)
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

    /// The devices with their names.
    ///
    /// # Errors
    /// One that was named is no device, or is deleted.
    fn aliases(
        &self,
        scope: &DeploymentScope,
        ids: Vec<DeviceId>,
        known: HashMap<DeviceId, Known>,
    ) -> Result<Vec<(DeviceId, String)>, Invalid> {
        let mut devices = Vec::with_capacity(ids.len());
        for id in ids {
            match known.get(&id).filter(|known| known.deleted_at.is_none()) {
                Some(known) => devices.push((id, known.editable.alias.clone())),
                None => {
                    // Whoever names devices is told of a slip; of a filter's answer it is one that was deleted this moment.
                    if let DeploymentScope::Ids(asked) = scope {
                        let place = asked.iter().position(|other| *other == id).unwrap_or_default();
                        return Err(Invalid::new(format!("target.ids[{place}]"), "there is no such device"));
                    }
                }
            }
        }
        if devices.is_empty() { Err(Invalid::new("target", "no device matches")) } else { Ok(devices) }
    }
}

/// To see which devices are fit, without waiting for turns.
fn options_without_limits(options: &Options) -> Options {
    Options { rate_per_minute: 0, concurrency: u32::MAX, window: None, canary: None, ..options.clone() }
}

/// What would start at once begins as waiting: its owner starts it.
fn begin(planned: PlannedTask) -> NewTask {
    let PlannedTask { id, alias, canary, state, reason } = planned;
    let state = if state == TaskState::Sending { TaskState::Queued } else { state };
    NewTask { device: id, alias, canary, state, reason }
}

fn text_cut(text: &str) -> String {
    text.chars().take(NAME_MAX_CHARS).collect()
}

/// What was asked for, for people and the record.
fn shown(scope: &DeploymentScope) -> Value {
    match scope {
        DeploymentScope::Fleet => json!({"fleet": true}),
        DeploymentScope::Ids(ids) => json!({"ids": ids.len()}),
        DeploymentScope::Tags(tags) => json!({"tags": tags}),
        DeploymentScope::Groups(groups) => json!({"groups": groups}),
        DeploymentScope::Filter(filter) => json!({"filter": super::command_batches::filter_shown(filter)}),
    }
}
