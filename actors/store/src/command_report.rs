//! What happens to commands: reports of owners, people and devices, each decided about under the row's lock.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::access::{Origin, Principal};
use domain::audit::Target;
use domain::command::{CommandState, Ending, Progress, Report, Verdict, record};
use domain::shard::ShardLease;
use domain::{CommandId, DeviceId, Timestamp};

use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::command::{columns_of, progress};
use crate::{Store, StoreError};

/// What a device said beside how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// For people.
    pub message: Option<String>,
    /// For programs.
    pub code: Option<String>,
    /// What the action yields, JSON.
    pub data: Option<String>,
    /// When the device was done, by its clock.
    pub finished_at: Option<Timestamp>,
}

/// Who reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Reporter {
    /// Owner of the device's shard.
    Owner(ShardLease),
    /// The device itself.
    Device(DeviceId, Said),
    /// Somebody by this name, and what the trail says of it unless that is said already.
    Person(String, Option<Box<AuditEntry>>),
}

/// A report.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandReport {
    /// Which command.
    pub id: CommandId,
    /// Who says so.
    pub by: Reporter,
    /// What.
    pub report: Report,
    /// When.
    pub at: Timestamp,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// It is on record: whose command it is, its action, and where it stood and stands.
    Changed {
        /// Whom the command is for.
        device_id: DeviceId,
        /// Name of its action.
        action: String,
        /// When it was made.
        created_at: Timestamp,
        /// Before.
        before: Progress,
        /// From now on.
        after: Progress,
    },
    /// It was on record, or changes nothing any more; this is.
    Nothing(CommandState),
    /// The device said before that it ended otherwise.
    Conflict(Ending),
    /// There is no such command, or it is another device's.
    Unknown,
    /// The shard has another owner by now.
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
    said: Option<Said>,
    canceled_by: Option<String>,
    changed: bool,
    trail: Vec<(AuditEntry, Timestamp)>,
}

impl Store {
    /// Puts reports on record, in their order. Each is answered in its place.
    ///
    /// # Errors
    /// The database is unavailable; nothing is on record then, or all of it.
    pub async fn report_commands(&self, reports: &[CommandReport]) -> Result<Vec<Reported>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let shards: Vec<i32> = reports
            .iter()
            .filter_map(|report| match report.by {
                Reporter::Owner(lease) => Some(i32::from(lease.shard.0)),
                _ => None,
            })
            .collect();
        let mut owned: HashSet<(i32, i64)> = HashSet::new();
        if !shards.is_empty() {
            // Held until this is committed: nobody takes the shard in between.
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
                said: None,
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

fn decide(rows: &mut BTreeMap<CommandId, Row>, owned: &HashSet<(i32, i64)>, told: &CommandReport) -> Reported {
    let Some(row) = rows.get_mut(&told.id) else { return Reported::Unknown };
    match &told.by {
        Reporter::Owner(lease) if !owned.contains(&(i32::from(lease.shard.0), lease.epoch.0)) => return Reported::NotOwner,
        Reporter::Device(device, _) if *device != row.device_id => return Reported::Unknown,
        _ => {}
    }
    match record(row.now, told.report, told.at) {
        Verdict::Nothing => Reported::Nothing(row.now.state),
        Verdict::Conflict(known) => Reported::Conflict(known),
        Verdict::Changed(after) => {
            let before = std::mem::replace(&mut row.now, after);
            row.changed = true;
            match &told.by {
                Reporter::Device(_, said) if matches!(told.report, Report::Ended(_)) => row.said = Some(said.clone()),
                Reporter::Person(name, entry) => {
                    row.canceled_by = Some(name.clone());
                    row.trail.extend(entry.as_ref().map(|entry| ((**entry).clone(), told.at)));
                }
                _ => {}
            }
            // Of a batch or a deployment the trail tells that it was made; what became of each is in its own record.
            if !row.of_many && !matches!(told.by, Reporter::Person(..)) {
                row.trail.extend(ended(told.id, row, before, after).map(|entry| (entry, told.at)));
            }
            Reported::Changed { device_id: row.device_id, action: row.action.clone(), created_at: row.created_at, before, after }
        }
    }
}

/// What the trail says of a command that is over, or ended otherwise than it seemed.
fn ended(id: CommandId, row: &Row, before: Progress, after: Progress) -> Option<AuditEntry> {
    if after.state.is_open() || before.state == after.state {
        return None;
    }
    let target = Target::Device(row.device_id, row.alias.clone());
    let entry = match after.state {
        CommandState::Succeeded => AuditEntry::of_device(row.device_id, &row.alias, Origin::default(), "command.succeeded", target),
        CommandState::Failed => AuditEntry::of_device(row.device_id, &row.alias, Origin::default(), "command.failed", target),
        _ => AuditEntry::new(&Principal::system(), "command.expired", target),
    };
    let (_, path, ending) = columns_of(&after);
    let told = json!({ "request_id": id.to_string(), "action": row.action, "path": path, "outcome": ending, "attempts": after.attempts });
    Some(entry.before(json!({ "state": before.state.as_str() })).after(told))
}

async fn write(tx: &mut sqlx::Transaction<'static, sqlx::Postgres>, rows: &BTreeMap<CommandId, Row>) -> Result<(), StoreError> {
    macro_rules! column {
        ($row:ident => $value:expr) => {
            rows.values().map(|$row| $value).collect::<Vec<_>>()
        };
    }
    fn said<T: Clone>(row: &Row, part: impl Fn(&Said) -> Option<T>) -> Option<T> {
        row.said.as_ref().and_then(part)
    }
    let ids: Vec<_> = rows.keys().map(|id| id.0).collect();
    let states = column!(row => columns_of(&row.now).0);
    let attempts = column!(row => row.now.attempts);
    let paths = column!(row => columns_of(&row.now).1);
    let sent = column!(row => row.now.sent_at);
    let delivered = column!(row => row.now.delivered_at);
    let finished = column!(row => row.now.finished_at);
    let outcomes = column!(row => columns_of(&row.now).2);
    let messages = column!(row => said(row, |said| said.message.clone()));
    let codes = column!(row => said(row, |said| said.code.clone()));
    let data = column!(row => said(row, |said| said.data.clone()));
    let device_finished = column!(row => said(row, |said| said.finished_at));
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

/// A device that has taken its new key is sent everything else under it.
async fn rotate_keys(tx: &mut sqlx::Transaction<'static, sqlx::Postgres>, rows: &BTreeMap<CommandId, Row>) -> Result<(), StoreError> {
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

/// The version of a device's key that a command tells it to take.
pub fn key_version(params: &str) -> Option<i32> {
    serde_json::from_str::<serde_json::Value>(params).ok()?.get("key_version")?.as_i64()?.try_into().ok()
}
