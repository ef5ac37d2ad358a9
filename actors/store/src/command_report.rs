//! Reports about commands by owners, people and devices; each is decided under the lock of the row.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::access::{Origin, Principal};
use domain::audit::{AuditAction, Target};
use domain::command::{CommandOutcome, CommandState, Progress, Report, ResultPayload, Verdict, record};
use domain::shard::ShardLease;
use domain::{CommandId, DeviceId, Timestamp};

use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::command::{columns_of, progress};
use crate::pool::Transaction;
use crate::{Store, StoreError};

/// Author of a report.
#[derive(Debug, Clone, PartialEq)]
pub enum Reporter {
    /// Owner of the device's shard.
    Owner(ShardLease),
    /// The device itself.
    Device(DeviceId, ResultPayload),
    /// Person of this name, with the audit entry unless another one covers it.
    Person(String, Option<Box<AuditEntry>>),
}

/// Report about a command.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandReport {
    /// The command.
    pub id: CommandId,
    /// Author of the report.
    pub by: Reporter,
    /// Reported event.
    pub report: Report,
    /// Time of the report.
    pub at: Timestamp,
}

/// Outcome of a report about a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandReportOutcome {
    /// The report is stored, and the command has changed.
    Changed {
        /// Device of the command.
        device_id: DeviceId,
        /// Name of its action.
        action: String,
        /// When the command was created.
        created_at: Timestamp,
        /// Progress before the report.
        before: Progress,
        /// Progress after the report.
        after: Progress,
    },
    /// The report changes nothing; the command is in this state.
    Nothing(CommandState),
    /// The device has reported another outcome before.
    Conflict(CommandOutcome),
    /// The command does not exist, or belongs to another device.
    Unknown,
    /// The result names another action than the command's.
    OtherAction,
    /// The shard has another owner now.
    NotOwner,
}

struct Row {
    device_id: DeviceId,
    alias: String,
    of_many: bool,
    action: String,
    params: String,
    created_at: Timestamp,
    now: Progress,
    payload: Option<ResultPayload>,
    canceled_by: Option<String>,
    changed: bool,
    trail: Vec<(AuditEntry, Timestamp)>,
}

impl Store {
    /// Records reports about commands, in their order. Outcomes are in the same order.
    ///
    /// # Errors
    /// The database is unavailable; then either nothing is stored, or all reports are.
    pub async fn report_commands(&self, reports: &[CommandReport]) -> Result<Vec<CommandReportOutcome>, StoreError> {
        let mut tx = self.begin().await?;
        let shards: Vec<i32> = reports
            .iter()
            .filter_map(|report| match report.by {
                Reporter::Owner(lease) => Some(i32::from(lease.shard.0)),
                _ => None,
            })
            .collect();
        let mut owned: HashSet<(i32, i64)> = HashSet::new();
        if !shards.is_empty() {
            // The rows are locked until the commit: no other node claims a shard in between.
            let rows = sqlx::query!("SELECT shard_id, epoch FROM shard WHERE shard_id = ANY($1) ORDER BY shard_id FOR SHARE", &shards)
                .fetch_all(&mut *tx)
                .await?;
            owned.extend(rows.into_iter().map(|row| (row.shard_id, row.epoch)));
        }
        let ids: Vec<_> = reports.iter().map(|report| report.id.0).collect();
        let found = sqlx::query!(
            "SELECT c.request_id, c.device_id, d.alias, c.batch_id, c.deployment_id, c.action, c.params, c.created_at, c.state, c.attempts, c.path, c.sent_at,
                 c.delivered_at, c.finished_at, c.outcome
             FROM command c JOIN device d USING (device_id) WHERE c.request_id = ANY($1) ORDER BY c.request_id FOR NO KEY UPDATE OF c",
            &ids
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut rows: BTreeMap<CommandId, Row> = BTreeMap::new();
        for row in found {
            let now = progress!(row);
            let row_of = Row {
                device_id: DeviceId(row.device_id),
                alias: row.alias,
                of_many: row.batch_id.is_some() || row.deployment_id.is_some(),
                action: row.action,
                params: row.params,
                created_at: row.created_at,
                now,
                payload: None,
                canceled_by: None,
                changed: false,
                trail: Vec::new(),
            };
            rows.insert(CommandId(row.request_id), row_of);
        }
        let answers = reports.iter().map(|report| decide(&mut rows, &owned, report)).collect();
        rows.retain(|_, row| row.changed);
        if !rows.is_empty() {
            write(&mut tx, &rows).await?;
            rotate_keys(&mut tx, &rows).await?;
            for (entry, at) in rows.values().flat_map(|row| &row.trail) {
                append(&mut tx, entry, *at).await?;
            }
        }
        tx.commit().await?;
        Ok(answers)
    }
}

fn decide(rows: &mut BTreeMap<CommandId, Row>, owned: &HashSet<(i32, i64)>, report: &CommandReport) -> CommandReportOutcome {
    let Some(row) = rows.get_mut(&report.id) else { return CommandReportOutcome::Unknown };
    match &report.by {
        Reporter::Owner(lease) if !owned.contains(&(i32::from(lease.shard.0), lease.epoch.0)) => return CommandReportOutcome::NotOwner,
        Reporter::Device(device, _) if *device != row.device_id => return CommandReportOutcome::Unknown,
        // An agent that mixes its commands up: neither of them is known to have run.
        Reporter::Device(_, payload) if payload.action.as_ref().is_some_and(|action| *action != row.action) => {
            return CommandReportOutcome::OtherAction;
        }
        _ => {}
    }
    match record(row.now, report.report, report.at) {
        Verdict::Nothing => CommandReportOutcome::Nothing(row.now.state),
        Verdict::Conflict(known) => CommandReportOutcome::Conflict(known),
        Verdict::Changed(after) => {
            let before = std::mem::replace(&mut row.now, after);
            row.changed = true;
            match &report.by {
                Reporter::Device(_, payload) if matches!(report.report, Report::Ended(_)) => row.payload = Some(payload.clone()),
                Reporter::Person(name, entry) => {
                    row.canceled_by = Some(name.clone());
                    row.trail.extend(entry.as_ref().map(|entry| ((**entry).clone().unchecked(), report.at)));
                }
                _ => {}
            }
            // A batch or deployment has an audit entry of its creation; the outcome of each command is in its own row.
            if !row.of_many && !matches!(report.by, Reporter::Person(..)) {
                row.trail.extend(ended(report.id, row, before, after).map(|entry| (entry, report.at)));
            }
            CommandReportOutcome::Changed {
                device_id: row.device_id,
                action: row.action.clone(),
                created_at: row.created_at,
                before,
                after,
            }
        }
    }
}

/// Audit entry of a command that has finished, or has another outcome than it seemed.
fn ended(id: CommandId, row: &Row, before: Progress, after: Progress) -> Option<AuditEntry> {
    if after.state.is_open() || before.state == after.state {
        return None;
    }
    let target = Target::Device(row.device_id, row.alias.clone());
    let entry = match after.state {
        CommandState::Succeeded => {
            AuditEntry::of_device(row.device_id, &row.alias, Origin::default(), AuditAction::CommandSucceeded, target)
        }
        CommandState::Failed => AuditEntry::of_device(row.device_id, &row.alias, Origin::default(), AuditAction::CommandFailed, target),
        _ => AuditEntry::new(&Principal::system(), AuditAction::CommandExpired, target),
    };
    let (_, path, ending) = columns_of(&after);
    let report = json!({ "request_id": id.to_string(), "action": row.action, "path": path, "outcome": ending, "attempts": after.attempts });
    Some(entry.before(json!({ "state": before.state.as_str() })).after(report))
}

async fn write(tx: &mut Transaction, rows: &BTreeMap<CommandId, Row>) -> Result<(), StoreError> {
    macro_rules! column {
        ($row:ident => $value:expr) => {
            rows.values().map(|$row| $value).collect::<Vec<_>>()
        };
    }
    fn payload<T: Clone>(row: &Row, part: impl Fn(&ResultPayload) -> Option<T>) -> Option<T> {
        row.payload.as_ref().and_then(part)
    }
    let ids: Vec<_> = rows.keys().map(|id| id.0).collect();
    let states = column!(row => columns_of(&row.now).0);
    let attempts = column!(row => row.now.attempts);
    let paths = column!(row => columns_of(&row.now).1);
    let sent = column!(row => row.now.sent_at);
    let delivered = column!(row => row.now.delivered_at);
    let finished = column!(row => row.now.finished_at);
    let outcomes = column!(row => columns_of(&row.now).2);
    let messages = column!(row => payload(row, |payload| payload.message.clone()));
    let codes = column!(row => payload(row, |payload| payload.code.clone()));
    let data = column!(row => payload(row, |payload| payload.data.clone()));
    let device_finished = column!(row => payload(row, |payload| payload.finished_at));
    let canceled_by = column!(row => row.canceled_by.clone());
    sqlx::query!(
        "UPDATE command c SET state = r.state, attempts = r.attempts, path = r.path, sent_at = r.sent_at, delivered_at = r.delivered_at,
             finished_at = r.finished_at, outcome = r.outcome, message = coalesce(r.message, c.message), code = coalesce(r.code, c.code),
             data = coalesce(r.data, c.data), device_finished_at = coalesce(r.device_finished_at, c.device_finished_at),
             canceled_by = coalesce(r.canceled_by, c.canceled_by),
             -- Secrets are not kept for longer than they are needed.
             params = CASE WHEN r.finished_at IS NULL THEN c.params ELSE c.params_shown END
         FROM UNNEST($1::uuid[], $2::text[], $3::integer[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[],
             $8::text[], $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::text[])
             AS r(request_id, state, attempts, path, sent_at, delivered_at, finished_at, outcome, message, code, data,
                  device_finished_at, canceled_by)
         WHERE c.request_id = r.request_id",
        &ids,
        &states as &[&str],
        &attempts,
        &paths as &[Option<&str>],
        &sent as &[Option<Timestamp>],
        &delivered as &[Option<Timestamp>],
        &finished as &[Option<Timestamp>],
        &outcomes as &[Option<&str>],
        &messages as &[Option<String>],
        &codes as &[Option<String>],
        &data as &[Option<String>],
        &device_finished as &[Option<Timestamp>],
        &canceled_by as &[Option<String>]
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Stores the new key version of devices that have taken it; later commands are signed with that key.
async fn rotate_keys(tx: &mut Transaction, rows: &BTreeMap<CommandId, Row>) -> Result<(), StoreError> {
    let rotated: HashMap<_, _> = rows
        .values()
        .filter(|row| row.action == "rotate_key" && row.now.state == CommandState::Succeeded)
        .filter_map(|row| Some((row.device_id.0, key_version(&row.params)?)))
        .collect();
    if rotated.is_empty() {
        return Ok(());
    }
    let (ids, versions): (Vec<_>, Vec<_>) = rotated.into_iter().unzip();
    sqlx::query!(
        "WITH rotated AS (
             UPDATE device d SET key_version = r.version, changed_at = now() FROM UNNEST($1::uuid[], $2::integer[]) AS r(device_id, version)
             WHERE d.device_id = r.device_id AND d.key_version < r.version RETURNING d.device_id)
         SELECT pg_notify('nexmdm_device', device_id::text) FROM rotated",
        &ids,
        &versions
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Version of the device key in the parameters of a `rotate_key` command.
pub fn key_version(params: &str) -> Option<i32> {
    serde_json::from_str::<serde_json::Value>(params).ok()?.get("key_version")?.as_i64()?.try_into().ok()
}
