//! Commands: sending, cancellation and outcomes.

use std::sync::Arc;

use actors::fleet_view::FleetView;
use actors::router::DeviceRouter;
use actors::writers::CommandWriter;
use clock::Clock;
use domain::access::{Permission, Principal};
use domain::action::{Action, ActionKind, expiry};
use domain::audit::{AuditAction, Target};
use domain::bulk::DeviceRecord;
use domain::command::{CommandCursor, CommandQuery, CommandState, CommandView, RefusalReason, Report};
use domain::query::{PAGE_DEFAULT, PAGE_MAX};
use domain::{CommandId, DeviceId, Invalid, ServiceError};
use link::messages::DeviceRequest;
use link::messages::PendingCommand;
use serde_json::json;
use sha2::{Digest, Sha256};
use store::{AuditEntry, CommandReport, CommandReportOutcome, IdempotencyRecord, InsertOutcome, NewCommands, Reporter, Store};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::command_params::{ParamsText, params_text};
use super::detached::run_detached;
use super::settings::CommandSettings;
use super::table_pools::TablePools;

const ROTATE_KEY: &str = "rotate_key";
/// Longest key of an idempotent call, in characters.
const KEY_MAX_CHARS: usize = 200;

/// Request for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRequest {
    /// Action.
    pub action: Action,
    /// Expiry, seconds from now; the configured one if not given.
    pub expires_in_s: Option<i64>,
}

/// Idempotency key of a request: a repeated key with the same body gets the first answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Key, chosen by the caller.
    pub key: String,
    /// SHA-256 of the request body.
    pub body_sha256: [u8; 32],
}

impl IdempotencyKey {
    /// A key for this body.
    ///
    /// # Errors
    /// The key is empty, too long, or not of printable ASCII.
    pub fn new(key: &str, body: &[u8]) -> Result<Self, Invalid> {
        if key.is_empty() || key.len() > KEY_MAX_CHARS || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Invalid::new("Idempotency-Key", format!("not 1..{KEY_MAX_CHARS} printable ASCII characters")));
        }
        Ok(Self { key: key.to_owned(), body_sha256: Sha256::digest(body).into() })
    }
}

/// Service of commands.
pub struct CommandService {
    pub(super) clock: Clock,
    pub(super) store: Store,
    router: DeviceRouter,
    pub(super) view: Arc<FleetView>,
    pub(super) policy: domain::device::DevicePolicy,
    writer: CommandWriter,
    pub(super) settings: CommandSettings,
    pub(super) tables: TablePools,
}

impl CommandService {
    #[allow(clippy::too_many_arguments, reason = "each is one thing the service works with, named at the one call")]
    pub(crate) fn new(
        clock: Clock,
        store: Store,
        router: DeviceRouter,
        view: Arc<FleetView>,
        policy: domain::device::DevicePolicy,
        writer: CommandWriter,
        settings: CommandSettings,
        tables: TablePools,
    ) -> Self {
        Self { clock, store, router, view, policy, writer, settings, tables }
    }

    /// The limits in force, for people to see.
    pub fn limits(&self) -> &CommandSettings {
        &self.settings
    }

    /// Sends a command to a device. The answer says that it is stored; its progress is shown in
    /// its state. `false`: it was made by an earlier call with the same key.
    ///
    /// # Errors
    /// Forbidden, a parameter or the expiry out of its limits, no such device, too many open commands, or the key was
    /// used for something else.
    pub async fn send(
        &self,
        principal: &Principal,
        device: DeviceId,
        request: CommandRequest,
        idempotency_key: Option<IdempotencyKey>,
    ) -> Result<(CommandView, bool), ServiceError> {
        principal.require(request.action.kind().permission())?;
        let now = self.clock.now();
        let (action, params) = self.checked(request.action).await?;
        let expires_at = expiry(now, request.expires_in_s, self.settings.expires_default_s, self.settings.expires_max_s)?;
        let records = self.store.device_work().await?.device_records(&[device]).await?;
        let open = self.store.open_command_counts_of(&[device]).await?;
        match self.refusal(records.get(&device), open.get(&device).copied()) {
            Some(RefusalReason::TooManyOpen) => return Err(too_many_open()),
            Some(_) => return Err(ServiceError::NotFound("device")),
            None => {}
        }
        let id = CommandId(self.clock.new_id());
        let new = NewCommands {
            action: action.kind().as_str().to_owned(),
            params: params.sent.clone(),
            params_shown: params.shown,
            created_by: principal.username().to_owned(),
            created_at: now,
            expires_at,
            devices: vec![(device, id, now)],
            batch: None,
            open_per_device_max: self.settings.open_per_device_max,
        };
        let alias = records.get(&device).map(|record| record.editable.alias.clone()).unwrap_or_default();
        let reported =
            json!({"request_id": id.to_string(), "action": new.action, "params": stored(&new.params_shown), "expires_at": expires_at});
        let entry = AuditEntry::new(principal, AuditAction::CommandSent, Target::Device(device, alias)).after(reported);
        let made = self.insert(principal, new, idempotency_key, entry).await?;
        let (id, new) = match made {
            InsertOutcome::Existing(id) => (CommandId(id), false),
            InsertOutcome::TooManyOpen => return Err(too_many_open()),
            InsertOutcome::New(0) => return Err(ServiceError::NotFound("device")),
            _ => (id, true),
        };
        let row = self.store.command(id).await?.ok_or(ServiceError::NotFound("command"))?;
        Ok((row, new))
    }

    pub(super) async fn insert(
        &self,
        principal: &Principal,
        new: NewCommands,
        idempotency_key: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<InsertOutcome, ServiceError> {
        let idempotency_key = idempotency_key.map(|idempotency_key| IdempotencyRecord {
            owner: principal.caller(),
            key: idempotency_key.key,
            body_sha256: idempotency_key.body_sha256,
        });
        let (store, router) = (self.store.clone(), self.router.clone());
        run_detached(async move {
            let created = store.insert_commands(&new, idempotency_key.as_ref(), &entry).await?;
            match created {
                InsertOutcome::OtherBody => return Err(ServiceError::WrongState("this Idempotency-Key was used for another call")),
                // The owner is told here, which is faster than by the database; a batch is read from there by each owner.
                InsertOutcome::New(1) if new.batch.is_none() => {
                    // Which key is next, the database knows.
                    for (device, id, release_at) in new.devices.iter().copied().filter(|_| new.action != ROTATE_KEY) {
                        let command = PendingCommand {
                            id,
                            action: new.action.clone(),
                            params: new.params.clone(),
                            delivered: false,
                            release_at,
                            expires_at: new.expires_at,
                        };
                        let router = router.clone();
                        let told = async move { router.request(device, DeviceRequest::Command(Box::new(command))).await };
                        tokio::spawn(told.in_current_span());
                    }
                }
                _ => {}
            }
            Ok(created)
        })
        .await
    }

    /// Checks an action, and makes out its parameters.
    pub(super) async fn checked(&self, action: Action) -> Result<(Action, ParamsText), ServiceError> {
        let action = action.checked()?;
        let exec = match &action {
            Action::Exec { name } => {
                let known = self.store.exec_command(name).await?;
                Some(known.ok_or_else(|| Invalid::new("params.name", "not an allowed command"))?)
            }
            _ => None,
        };
        let params = params_text(&action, exec.as_ref());
        if params.sent.len() > self.settings.params_max_bytes {
            return Err(Invalid::new("params", format!("more than {} bytes", self.settings.params_max_bytes)).into());
        }
        Ok((action, params))
    }

    pub(super) fn refusal(&self, record: Option<&DeviceRecord>, open: Option<i64>) -> Option<RefusalReason> {
        match record {
            None => Some(RefusalReason::NotFound),
            Some(record) if record.deleted_at.is_some() => Some(RefusalReason::Deleted),
            Some(_) if open.unwrap_or_default() >= self.settings.open_per_device_max => Some(RefusalReason::TooManyOpen),
            Some(_) => None,
        }
    }

    /// A page of commands, newest first, and where the next one begins.
    ///
    /// # Errors
    /// Forbidden, the page size is out of its limits, or there is no such device.
    pub async fn list(
        &self,
        principal: &Principal,
        query: &CommandQuery,
        after: Option<CommandCursor>,
        limit: Option<i64>,
    ) -> Result<(Vec<CommandView>, Option<CommandCursor>), ServiceError> {
        principal.require(Permission::ViewCommands)?;
        query.checked()?;
        let limit = domain::invalid::in_range("limit", limit.unwrap_or(PAGE_DEFAULT), 1, PAGE_MAX)?;
        if let Some(device) = query.device
            && self.store.device_access(device).await?.is_none()
        {
            return Err(ServiceError::NotFound("device"));
        }
        let _permit = self.tables.read(principal).await?;
        let mut rows = self.store.commands_page(query, after, limit + 1).await?;
        let more = rows.len() as i64 > limit;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|last| CommandCursor { created_at: last.created_at, id: last.id });
        Ok((rows, next))
    }

    /// A command.
    ///
    /// # Errors
    /// Forbidden, or there is no such command.
    pub async fn one(&self, principal: &Principal, id: CommandId) -> Result<CommandView, ServiceError> {
        principal.require(Permission::ViewCommands)?;
        self.store.command(id).await?.ok_or(ServiceError::NotFound("command"))
    }

    /// Cancels a command. A device that has received it may run it all the same; its result is stored.
    ///
    /// # Errors
    /// Forbidden, there is no such command, or it is over.
    pub async fn cancel(&self, principal: &Principal, id: CommandId) -> Result<CommandView, ServiceError> {
        let known = self.store.command(id).await?;
        principal.require(permission_of(known.as_ref().map(|row| row.action.as_str())))?;
        let entry = known.map(|row| {
            let reported = json!({"request_id": id.to_string(), "action": row.action});
            Box::new(AuditEntry::new(principal, AuditAction::CommandCanceled, Target::Device(row.device_id, row.alias)).after(reported))
        });
        let by = Reporter::Person(principal.username().to_owned(), entry);
        match self.writer.report(CommandReport { id, by, report: Report::Canceled, at: self.clock.now() }).await? {
            // Once the answer is there, nobody is sent it any more.
            CommandReportOutcome::Changed { device_id, .. } => drop(self.notify_finished(device_id, id).await),
            CommandReportOutcome::Nothing(CommandState::Canceled) => {}
            CommandReportOutcome::Nothing(_) => return Err(ServiceError::WrongState("this command has already finished")),
            _ => return Err(ServiceError::NotFound("command")),
        }
        self.store.command(id).await?.ok_or(ServiceError::NotFound("command"))
    }

    /// Notifies the owner of the device, also if nobody waits for that. An owner that does not hear of it sends it once more; the record stays as it is.
    pub(super) fn notify_finished(&self, device: DeviceId, id: CommandId) -> JoinHandle<()> {
        let router = self.router.clone();
        let finished = DeviceRequest::CommandUpdated { id, finished: true, succeeded: None };
        tokio::spawn(async move { drop(router.request(device, finished).await) }.in_current_span())
    }
}

fn too_many_open() -> ServiceError {
    ServiceError::WrongState("too many pending commands for this device")
}

/// JSON that is stored.
pub(super) fn stored(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Permission that canceling a command with this action requires.
pub(super) fn permission_of(action: Option<&str>) -> Permission {
    let kind = action.and_then(|name| ActionKind::parse("action", name).ok());
    kind.map_or(Permission::SendCommands, ActionKind::permission)
}
