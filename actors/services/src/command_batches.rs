//! The same command to many devices: what a batch would do, how it is made, how far it got.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{SecondsFormat, TimeDelta};
use domain::access::{Permission, Principal};
use domain::action::expiry;
use domain::audit::{AuditAction, Target};
use domain::bulk_target::BulkTarget;
use domain::command::{BatchView, Channels, CommandCursor, CommandQuery, CommandState, CommandView, Path, RefusalReason, Report};
use domain::device::DeviceListScope;
use domain::query::{PAGE_DEFAULT, PAGE_MAX};
use domain::spreadsheet::neutralised;
use domain::{CommandBatchId, CommandId, DeviceId, Invalid, ServiceError, Timestamp};
use futures_util::{Stream, StreamExt, stream};
use serde_json::json;
use store::{AuditEntry, CommandReport, CommandReportOutcome, InsertOutcome, NewBatch, NewCommands, Reporter};

use super::access_trail::given;
use super::commands::{CommandRequest, CommandService, IdempotencyKey, permission_of, stored};
use super::device_audit::filter_shown;
use super::device_edit::target_ids;

/// Commands that are read at a time for a table.
const TABLE_BATCH: i64 = 500;
/// Commands of a batch that are canceled together.
const CANCELED_TOGETHER: usize = 500;
/// Refused devices that a batch names; the others are counted.
const REFUSED_NAMED_MAX: usize = 1_000;

/// Request for a batch of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRequest {
    /// The device.
    pub target: BulkTarget,
    /// Command.
    pub command: CommandRequest,
    /// Commands that are sent in a second; as configured if not given.
    pub rate_per_second: Option<i32>,
}

/// Expected delivery of a command to one device of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The device.
    pub id: DeviceId,
    /// Alias; `None`: the device does not exist.
    pub alias: Option<String>,
    /// The way that the command would take first, or why it gets none.
    pub outcome: Result<Expected, RefusalReason>,
}

/// First path of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The way that it would take first.
    pub path: Path,
    /// Whether the device is online.
    pub online: bool,
}

/// A batch and how far it got.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchDetails {
    /// Stored row.
    pub batch: BatchView,
    /// Numbers of commands by state.
    pub states: HashMap<CommandState, i64>,
    /// Numbers of sent commands by the path of their last attempt.
    pub paths: HashMap<Path, i64>,
}

impl BatchDetails {
    /// Commands in this state.
    pub fn count(&self, state: CommandState) -> i64 {
        self.states.get(&state).copied().unwrap_or_default()
    }

    /// Commands that are not over.
    pub fn open(&self) -> i64 {
        CommandState::ALL.into_iter().filter(|state| state.is_open()).map(|state| self.count(state)).sum()
    }
}

impl CommandService {
    /// Whether a person may send commands, before the request's body is read.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_sending(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(principal.require(Permission::SendCommands)?)
    }

    /// Previews a batch.
    ///
    /// # Errors
    /// As [`Self::send_many`].
    pub async fn plan(&self, principal: &Principal, request: BatchRequest) -> Result<Vec<Planned>, ServiceError> {
        principal.require(request.command.action.kind().permission())?;
        self.checked(request.command.action).await?;
        self.rate(request.rate_per_second)?;
        expiry(self.clock.now(), request.command.expires_in_s, self.settings.expires_default_s, self.settings.expires_max_s)?;
        self.planned(request.target).await
    }

    /// Sends a command to many devices, at a rate. `false`: an earlier call with the same idempotency key created the batch.
    ///
    /// # Errors
    /// Forbidden, a parameter, the rate or the expiry out of its limits, too many devices or none at all, or the key was
    /// used for something else.
    pub async fn send_many(
        &self,
        principal: &Principal,
        request: BatchRequest,
        idempotency_key: Option<IdempotencyKey>,
    ) -> Result<(BatchDetails, bool), ServiceError> {
        principal.require(request.command.action.kind().permission())?;
        let now = self.clock.now();
        let (action, params) = self.checked(request.command.action).await?;
        let rate_per_second = self.rate(request.rate_per_second)?;
        let lasts = expiry(now, request.command.expires_in_s, self.settings.expires_default_s, self.settings.expires_max_s)? - now;
        let shown = target_shown(&request.target);
        let planned = self.planned(request.target).await?;
        let (good, refused): (Vec<_>, Vec<_>) = planned.into_iter().partition(|planned| planned.outcome.is_ok());
        // Each device gets its turn: the n-th command of a second is not held back until the next.
        let release = |n: usize| now + TimeDelta::microseconds((n as i64).saturating_mul(1_000_000) / i64::from(rate_per_second));
        let devices: Vec<_> =
            good.iter().enumerate().map(|(n, planned)| (planned.id, CommandId(self.clock.new_id()), release(n))).collect();
        let id = CommandBatchId(self.clock.new_id());
        let named: Vec<_> = refused
            .iter()
            .take(REFUSED_NAMED_MAX)
            .map(|planned| json!({"id": planned.id.to_string(), "alias": planned.alias, "reason": planned.outcome.err().map(RefusalReason::as_str)}))
            .collect();
        let new = NewCommands {
            action: action.kind().as_str().to_owned(),
            params: params.sent,
            params_shown: params.shown,
            created_by: principal.username().to_owned(),
            created_at: now,
            // The last one has as long as the first.
            expires_at: release(devices.len()) + lasts,
            devices,
            batch: Some(NewBatch {
                id,
                target: shown.clone(),
                rate_per_second,
                refused: json!(named).to_string(),
                refused_count: refused.len() as i32,
            }),
            open_per_device_max: self.settings.open_per_device_max,
        };
        let told = json!({
            "batch_id": id.to_string(), "action": new.action, "params": stored(&new.params_shown), "target": stored(&shown),
            "rate_per_second": rate_per_second, "refused": refused.len()
        });
        let entry = AuditEntry::new(principal, AuditAction::CommandBatchSent, Target::Devices(good.len())).after(told);
        let (id, new) = match self.insert(principal, new, idempotency_key, entry).await? {
            InsertOutcome::Existing(id) => (CommandBatchId(id), false),
            _ => (id, true),
        };
        Ok((self.batch_details(id).await?, new))
    }

    fn rate(&self, requested: Option<i32>) -> Result<i32, Invalid> {
        match requested {
            Some(rate) => domain::invalid::in_range("rate_per_second", rate, 1, self.settings.batch_rate_max),
            None => Ok(self.settings.batch_rate_default),
        }
    }

    async fn planned(&self, target: BulkTarget) -> Result<Vec<Planned>, ServiceError> {
        let ids = target_ids(&self.store, &self.policy, target, DeviceListScope::Active, self.clock.now()).await?;
        let records = self.store.device_work().await?.device_records(&ids).await?;
        let open = self.store.open_command_counts_of(&ids).await?;
        let planned = |id: DeviceId| {
            let known = records.get(&id);
            let outcome = match self.refusal(known, open.get(&id).copied()) {
                Some(refused) => Err(refused),
                None => Ok(self.expected(id)),
            };
            Planned { id, alias: known.map(|record| record.editable.alias.clone()), outcome }
        };
        Ok(ids.into_iter().map(planned).collect())
    }

    fn expected(&self, id: DeviceId) -> Expected {
        let (channels, online) = self
            .view
            .device(id)
            .map_or((Channels::default(), false), |view| (view.channels, view.connectivity == domain::device::Connectivity::Online));
        Expected { path: channels.best(), online }
    }

    /// A page of batches, newest first, and where the next one begins.
    ///
    /// # Errors
    /// Forbidden, or the page size is out of its limits.
    pub async fn batches(
        &self,
        principal: &Principal,
        after: Option<(Timestamp, CommandBatchId)>,
        limit: Option<i64>,
    ) -> Result<(Vec<BatchDetails>, Option<(Timestamp, CommandBatchId)>), ServiceError> {
        principal.require(Permission::ViewCommands)?;
        let limit = domain::invalid::in_range("limit", limit.unwrap_or(PAGE_DEFAULT), 1, PAGE_MAX)?;
        let mut rows = self.store.command_batches(None, after, limit + 1).await?;
        let more = rows.len() as i64 > limit;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|last| (last.created_at, last.id));
        Ok((self.counted(rows).await?, next))
    }

    /// A batch.
    ///
    /// # Errors
    /// Forbidden, or there is no such batch.
    pub async fn batch(&self, principal: &Principal, id: CommandBatchId) -> Result<BatchDetails, ServiceError> {
        principal.require(Permission::ViewCommands)?;
        self.batch_details(id).await
    }

    async fn batch_details(&self, id: CommandBatchId) -> Result<BatchDetails, ServiceError> {
        let row = self.store.command_batch(id).await?.ok_or(ServiceError::NotFound("batch"))?;
        self.counted(vec![row]).await?.pop().ok_or(ServiceError::Internal)
    }

    async fn counted(&self, rows: Vec<BatchView>) -> Result<Vec<BatchDetails>, ServiceError> {
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let counts = self.store.batch_counts(&ids).await?;
        let details = |batch: BatchView| {
            let (mut states, mut paths) = (HashMap::new(), HashMap::new());
            for count in counts.iter().filter(|count| count.batch == batch.id) {
                *states.entry(count.state).or_default() += count.commands;
                if let Some(path) = count.path {
                    *paths.entry(path).or_default() += count.commands;
                }
            }
            BatchDetails { batch, states, paths }
        };
        Ok(rows.into_iter().map(details).collect())
    }

    /// Cancels the open commands of a batch.
    ///
    /// # Errors
    /// Forbidden, or there is no such batch.
    pub async fn cancel_batch(&self, principal: &Principal, id: CommandBatchId) -> Result<BatchDetails, ServiceError> {
        let known = self.store.command_batch(id).await?;
        principal.require(permission_of(known.as_ref().map(|batch| batch.action.as_str())))?;
        let target = Target::Devices(known.map_or(0, |batch| batch.devices.max(0) as usize));
        let entry = AuditEntry::new(principal, AuditAction::CommandBatchCanceled, target).after(json!({"batch_id": id.to_string()}));
        let open = self.store.cancel_batch(id, &entry, self.clock.now()).await?.ok_or(ServiceError::NotFound("batch"))?;
        for some in open.chunks(CANCELED_TOGETHER) {
            // The trail has it already.
            let by = || Reporter::Person(principal.username().to_owned(), None);
            let report = |id: &CommandId| CommandReport { id: *id, by: by(), report: Report::Canceled, at: self.clock.now() };
            let reports: Vec<_> = some.iter().map(report).collect();
            for (id, reported) in some.iter().zip(self.store.report_commands(&reports).await?) {
                if let CommandReportOutcome::Changed { device_id, .. } = reported {
                    self.notify_finished(device_id, *id);
                }
            }
        }
        self.batch_details(id).await
    }

    /// The commands of a batch as a table (RFC 4180), newest first.
    ///
    /// # Errors
    /// Forbidden, no such batch, or too many tables are read right now.
    pub async fn batch_table(
        self: &Arc<Self>,
        principal: &Principal,
        id: CommandBatchId,
    ) -> Result<impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static, ServiceError> {
        self.batch(principal, id).await?;
        let permit = self.tables.export(principal)?;
        let head = Bytes::from(super::device_csv::table([TABLE_COLUMNS.map(str::to_owned)])?);
        let target = Target::Other { kind: "command_batch", id: Some(id.to_string()), name: None };
        given(&self.store, principal, AuditAction::CommandBatchExported, target, json!({ "format": "csv" }), self.clock.now()).await?;
        let service = Arc::clone(self);
        let pieces = stream::try_unfold(Some((service, principal.clone(), None::<CommandCursor>)), move |left| async move {
            let Some((service, principal, after)) = left else { return Ok(None) };
            let _permit = service.tables.read(&principal).await?;
            let query = CommandQuery { batch: Some(id), ..CommandQuery::default() };
            let rows = service.store.commands_page(&query, after, TABLE_BATCH).await?;
            let next = rows.last().filter(|_| rows.len() as i64 == TABLE_BATCH);
            let next = next.map(|last| CommandCursor { created_at: last.created_at, id: last.id });
            let piece = Bytes::from(super::device_csv::table(rows.iter().map(cells))?);
            Ok(Some((piece, next.map(|next| (service, principal, Some(next))))))
        });
        Ok(self.tables.stream(permit, principal, stream::iter([Ok(head)]).chain(pieces)))
    }
}

const TABLE_COLUMNS: [&str; 12] =
    ["request_id", "device_id", "alias", "action", "state", "outcome", "path", "attempts", "sent_at", "finished_at", "code", "message"];

fn cells(row: &CommandView) -> [String; 12] {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default();
    [
        row.id.to_string(),
        row.device_id.to_string(),
        neutralised(&row.alias),
        row.action.clone(),
        row.progress.state.as_str().to_owned(),
        row.progress.ending.map(|ending| ending.as_str().to_owned()).unwrap_or_default(),
        row.progress.path.map(|path| path.as_str().to_owned()).unwrap_or_default(),
        row.progress.attempts.to_string(),
        time(row.progress.sent_at),
        time(row.progress.finished_at),
        neutralised(row.code.as_deref().unwrap_or_default()),
        neutralised(row.message.as_deref().unwrap_or_default()),
    ]
}

/// Target of a request, for display and the audit trail.
fn target_shown(target: &BulkTarget) -> String {
    match target {
        BulkTarget::Fleet => json!({"fleet": true}).to_string(),
        BulkTarget::Ids(ids) => json!({"ids": ids.len()}).to_string(),
        BulkTarget::Filter(filter) => json!({"filter": filter_shown(filter)}).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::query::DeviceFilter;

    #[test]
    fn the_audit_trail_names_a_filter_as_it_always_did() {
        let filter = DeviceFilter { tag: Some("till".into()), battery_below: Some(20), ..DeviceFilter::default() };
        assert_eq!(target_shown(&BulkTarget::Filter(filter)), r#"{"filter":{"battery_below":"20","tag":"till"}}"#);
        assert_eq!(target_shown(&BulkTarget::Fleet), r#"{"fleet":true}"#);
    }
}
