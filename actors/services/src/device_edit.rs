//! Changes of devices by people: edit, revoke, delete, restore; of one or thousands, with preview.
//!
//! Whatever the call, the devices are read, under a lock unless it is a dry run, `domain::bulk` decides about each, and the
//! decisions are written as sets in the same transaction. The store tells every node; the owners read
//! anew and show it.

use std::collections::HashMap;
use std::time::Duration;

use actors::router::DeviceRouter;
use chrono::TimeDelta;
use domain::access::{Permission, Principal};
use domain::bulk::{BULK_MAX, BulkAction, Decision, Refusal, decide, refuse_taken_aliases, wanted_aliases};
use domain::bulk_target::BulkTarget;
use domain::device::{DeviceListScope, DevicePolicy, DeviceView};
use domain::edit::DevicePatch;
use domain::query::DeviceFilter;
use domain::{DeviceId, Invalid, ServiceError, Timestamp, text};
use link::messages::DeviceRequest;
use store::{StatusThresholds, Store};
use tokio::time::Instant;

use super::detached::run_detached;
use super::device_audit::{self, ActionsOutcome, AuditContext};
use super::devices::{DeviceDetails, DeviceService};

/// How long a caller waits for the owner to show an edit that is stored already.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);
/// Aliases that look like another one that are named.
const LOOK_ALIKES_MAX: usize = 3;
/// Between two looks at it.
const SHOWN_CHECK: Duration = Duration::from_millis(10);
/// Rows that are decided about without leaving the runtime's threads: less than a millisecond.
const ROWS_AT_ONCE: usize = 100;

/// A bulk call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkRequest {
    /// Target.
    pub target: BulkTarget,
    /// Action.
    pub action: BulkAction,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Decision about a device, carried out or previewed.
#[derive(Debug, Clone, PartialEq)]
pub struct BulkOutcome {
    /// The device.
    pub id: DeviceId,
    /// The alias that it had before; `None` when there is no such device.
    pub alias: Option<String>,
    /// Decision.
    pub decision: Decision,
}

/// Mode of carrying out actions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// No security.
    DryRun,
    /// Whatever can be done.
    Each,
    /// All of it, or nothing.
    AllOrNothing,
}

/// Decides about each device, and does it.
pub(super) async fn apply_actions(
    store: &Store,
    actions: Vec<(DeviceId, BulkAction)>,
    by: &Principal,
    context: AuditContext,
    mode: Mode,
    restore_within: TimeDelta,
    now: Timestamp,
) -> Result<ActionsOutcome, ServiceError> {
    let mut work = store.device_work().await?;
    let ids: Vec<DeviceId> = actions.iter().map(|(id, _)| *id).collect();
    if mode != Mode::DryRun {
        work.hold(&ids).await?;
    }
    let before = work.device_records(&ids).await?;
    let rows = actions.len();
    let (mut before, mut decisions, aliases) = off_the_runtime(rows, move || {
        let decided = |(id, action): (DeviceId, BulkAction)| (id, decide(&action, before.get(&id), now, restore_within));
        let decisions: Vec<(DeviceId, Decision)> = actions.into_iter().map(decided).collect();
        let aliases = wanted_aliases(&before, &decisions);
        (before, decisions, aliases)
    })
    .await?;
    if !aliases.is_empty() {
        let holders = work.holders(&aliases).await?;
        (before, decisions) = off_the_runtime(rows, move || {
            refuse_taken_aliases(&before, &holders, &mut decisions);
            (before, decisions)
        })
        .await?;
    }
    let refused = decisions.iter().any(|(_, decision)| matches!(decision, Decision::Refused(_)));
    let nothing_to_do = !decisions.iter().any(|(_, decision)| decision.changes());
    let mut outcome = ActionsOutcome { before, decisions, generations: HashMap::new(), written: false };
    if mode == Mode::DryRun || nothing_to_do || (mode == Mode::AllOrNothing && refused) {
        return Ok(outcome);
    }
    let (mut edits, mut revoked, mut deleted, mut restored) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (id, decision) in &outcome.decisions {
        let Some(device) = outcome.before.get(id) else { continue };
        match decision {
            Decision::Edit(next) => edits.push((device, next)),
            Decision::RevokeCredentials => revoked.push(*id),
            Decision::Delete => deleted.push(*id),
            Decision::Restore(alias) => restored.push((device, alias.as_str())),
            Decision::Unchanged | Decision::Refused(_) => {}
        }
    }
    let name = Some(by.username());
    if !edits.is_empty() {
        work.edit(&edits, name, now).await?;
    }
    if !revoked.is_empty() {
        outcome.generations = work.revoke_credentials(&revoked, name, now).await?;
    }
    if !deleted.is_empty() {
        work.delete(&deleted, name, now).await?;
    }
    if !restored.is_empty() {
        work.restore(&restored, name, now).await?;
    }
    let counts = (edits.len(), revoked.len(), deleted.len(), restored.len());
    let (outcome, entry) = off_the_runtime(rows, {
        let by = by.clone();
        move || {
            let entry = device_audit::entry(&by, context, &outcome);
            (outcome, entry)
        }
    })
    .await?;
    if let Some(entry) = entry {
        work.audit(&entry, now).await?;
    }
    work.commit().await?;
    let (edited, revoked, deleted, restored) = counts;
    tracing::info!(event = "devices.changed", by = by.username(), edited, revoked, deleted, restored);
    let outcome = ActionsOutcome { written: true, ..outcome };
    Ok(outcome)
}

/// Does work over this many rows where it holds up nobody else, if they are many.
async fn off_the_runtime<T: Send + 'static>(rows: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServiceError> {
    if rows <= ROWS_AT_ONCE {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| ServiceError::Internal)
}

impl DeviceService {
    /// Warning that an alias is easily mistaken for those of other devices; `None` as well for who may not see them.
    pub fn alias_warning(&self, principal: &Principal, alias: &str, own: Option<DeviceId>) -> Option<String> {
        principal.require(Permission::ViewDevices).ok()?;
        let alike = self.view.look_alikes(alias, own, LOOK_ALIKES_MAX);
        (!alike.is_empty()).then(|| format!("the alias {} is easily mistaken for {}", alias.trim(), alike.join(", ")))
    }

    /// Changes a device. Whoever asks for it afterwards, on whichever node, is told the new state; pages
    /// show it within a second.
    ///
    /// # Errors
    /// Forbidden, a value out of its limits, an alias that another device has, or there is no such device.
    pub async fn edit(&self, principal: &Principal, id: DeviceId, patch: DevicePatch) -> Result<DeviceDetails, ServiceError> {
        // It answers with the device, so the caller has to be allowed to see it: known before anything is done.
        principal.require(Permission::ManageDevices)?;
        principal.require(Permission::ViewDevices)?;
        let action = BulkAction::Edit(patch.checked()?);
        self.one(principal, id, action).await?;
        self.details(principal, id).await
    }

    /// Revokes all credentials of a device, at once. The device has to be enrolled again.
    ///
    /// # Errors
    /// Forbidden, or there is no such device.
    pub async fn revoke(&self, principal: &Principal, id: DeviceId) -> Result<(), ServiceError> {
        principal.require(Permission::ManageDevices)?;
        self.one(principal, id, BulkAction::RevokeCredentials).await.map(drop)
    }

    /// Deletes a device: it leaves the fleet, and its agent is told to stop. It can be restored for
    /// as long as configured; then it is removed for good.
    ///
    /// # Errors
    /// Forbidden, or there is no such device.
    pub async fn delete(&self, principal: &Principal, id: DeviceId) -> Result<(), ServiceError> {
        principal.require(Permission::ManageDevices)?;
        match self.one(principal, id, BulkAction::Delete).await? {
            Decision::Unchanged => Err(ServiceError::NotFound("device")),
            _ => Ok(()),
        }
    }

    /// Restores a deleted device, under another alias if one is given. Its credentials
    /// hold again, unless they were revoked: an agent that kept them goes on by itself.
    ///
    /// # Errors
    /// Forbidden, the alias is another device's by now, it was deleted too long ago, or there is no
    /// such device.
    pub async fn restore(&self, principal: &Principal, id: DeviceId, alias: Option<String>) -> Result<DeviceDetails, ServiceError> {
        principal.require(Permission::ManageDevices)?;
        principal.require(Permission::ViewDevices)?;
        let alias = alias.map(|alias| text::alias("alias", &alias)).transpose()?;
        self.one(principal, id, BulkAction::Restore(alias)).await?;
        self.details(principal, id).await
    }

    async fn one(&self, principal: &Principal, id: DeviceId, action: BulkAction) -> Result<Decision, ServiceError> {
        let (store, router, restore_within, by) = (self.store.clone(), self.router.clone(), self.restore_within, principal.clone());
        let now = self.clock.now();
        let restores = matches!(action, BulkAction::Restore(_));
        run_detached(async move {
            let mut outcome = apply_actions(&store, vec![(id, action)], &by, AuditContext::One, Mode::Each, restore_within, now).await?;
            let decision = outcome.decisions.pop().map_or(Decision::Refused(Refusal::NotFound), |(_, decision)| decision);
            match &decision {
                Decision::Refused(refusal) => return Err(refusal.clone().into()),
                // Somebody restored it a moment ago: its owner may not show it yet.
                Decision::Unchanged if restores => shown(&router, id, |_| true).await,
                Decision::Unchanged => {}
                Decision::RevokeCredentials => {
                    let generation = outcome.generations.get(&id).copied().unwrap_or_default();
                    notify_owner(&router, id, DeviceRequest::AccessChanged { generation, deleted: false }).await?;
                }
                Decision::Delete => notify_owner(&router, id, DeviceRequest::AccessChanged { generation: 0, deleted: true }).await?,
                Decision::Edit(next) => {
                    let next = next.clone();
                    shown(&router, id, |view| {
                        (&view.identity.alias, &view.identity.tags, &view.identity.groups) == (&next.alias, &next.tags, &next.groups)
                    })
                    .await;
                }
                Decision::Restore(alias) => shown(&router, id, |view| view.identity.alias == *alias).await,
            }
            Ok(decision)
        })
        .await
    }

    /// Whether a person may change devices, before the request's body is read.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_changes(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(principal.require(Permission::ManageDevices)?)
    }

    /// Does the same with many devices at once, or says what would be done. Outcomes are in the order of
    /// the ids. In force on all nodes within about a second.
    ///
    /// # Errors
    /// Forbidden, a value out of its limits, or more devices than allowed; nothing is done then.
    pub async fn bulk(&self, principal: &Principal, request: BulkRequest) -> Result<Vec<BulkOutcome>, ServiceError> {
        principal.require(Permission::ManageDevices)?;
        let BulkRequest { target, action, dry_run } = request;
        let action = match action {
            BulkAction::Edit(patch) => BulkAction::Edit(patch.checked()?),
            BulkAction::Restore(Some(_)) => return Err(Invalid::new("alias", "an alias is unique: restore one device at a time").into()),
            other => other,
        };
        if matches!(&action, BulkAction::Edit(patch) if patch.alias.is_some()) {
            return Err(Invalid::new("alias", "an alias is unique: change it one device at a time, or import a table").into());
        }
        let scope = if matches!(action, BulkAction::Restore(_)) { DeviceListScope::Deleted } else { DeviceListScope::Active };
        let now = self.clock.now();
        let ids = target_ids(&self.store, &self.policy, target, scope, now).await?;
        let actions: Vec<_> = ids.into_iter().map(|id| (id, action.clone())).collect();
        let (store, restore_within, by) = (self.store.clone(), self.restore_within, principal.clone());
        let mode = if dry_run { Mode::DryRun } else { Mode::Each };
        let outcome =
            run_detached(async move { apply_actions(&store, actions, &by, AuditContext::Bulk, mode, restore_within, now).await }).await?;
        let ActionsOutcome { before, decisions, .. } = outcome;
        let outcome = |(id, decision)| BulkOutcome { id, alias: before.get(&id).map(|device| device.editable.alias.clone()), decision };
        Ok(decisions.into_iter().map(outcome).collect())
    }
}

/// The devices of a target, in the order of their ids.
pub(super) async fn target_ids(
    store: &Store,
    policy: &DevicePolicy,
    target: BulkTarget,
    scope: DeviceListScope,
    now: Timestamp,
) -> Result<Vec<DeviceId>, ServiceError> {
    let matching = |filter: DeviceFilter| async move {
        let thresholds = StatusThresholds::at(now, policy);
        store.device_ids(&filter, scope, thresholds, BULK_MAX as i64 + 1).await
    };
    let (field, mut ids) = match target.checked("")? {
        BulkTarget::Fleet => ("fleet", matching(DeviceFilter::default()).await?),
        BulkTarget::Ids(ids) => ("ids", ids),
        BulkTarget::Filter(filter) => ("filter", matching(filter).await?),
    };
    if ids.len() > BULK_MAX {
        return Err(Invalid::new(field, format!("more than {BULK_MAX} devices")).into());
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Notifies the owner of a stored change. The store has notified every node, too, so an owner
/// that cannot be reached over the link learns of it all the same, a moment later.
pub(super) async fn notify_owner(router: &DeviceRouter, id: DeviceId, request: DeviceRequest) -> Result<(), ServiceError> {
    match router.request(id, request).await {
        Ok(_) | Err(ServiceError::NotOwner | ServiceError::Unavailable | ServiceError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits until the owner shows what is stored, so that the caller sees it at its next look. It holds
/// in any case; an owner that is slow, or moving, shows it a moment later.
pub(super) async fn shown(router: &DeviceRouter, id: DeviceId, shows: impl Fn(&DeviceView) -> bool) {
    let until = Instant::now() + SHOWN_WITHIN;
    while Instant::now() < until && !router.view(id).await.is_ok_and(|view| shows(&view)) {
        tokio::time::sleep(SHOWN_CHECK).await;
    }
}
