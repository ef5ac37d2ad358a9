//! The audit trail: entries are inserted in the transaction of the change that they record, read in pages, and
//! checked as a chain.

use chrono::SubsecRound;
use domain::access::{Origin, Principal};
use domain::audit::{Actor, AuditAction, AuditFilter, ChainedEntry, Entry, Head, Target};
use domain::name::{CanonicalName, contains};
use domain::{DeviceId, Timestamp, UserId};
use futures_util::TryStreamExt;
use serde_json::{Map, Value, json};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row};

use crate::in_force::Held;
use crate::pool::Connection;
use crate::{Store, StoreError};

/// Longest name or identity, in characters; the same is a CHECK.
const NAME_MAX_CHARS: usize = 255;
/// Largest `before` and `after`: what is larger is left out, so that no act fails for it.
const STATE_MAX_BYTES: usize = 200 << 10;

/// Entries that a search by text reads with one statement; they are looked at one by one as they come.
const SEARCHED_AT_ONCE: i64 = 1000;

/// Values of an audit entry, without secrets: each field is named explicitly.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    actor: Actor,
    origin: Origin,
    action: AuditAction,
    target: Target,
    before: Option<Value>,
    after: Option<Value>,
    /// What has to hold when the act is committed.
    held: Option<Held>,
}

impl AuditEntry {
    /// Entry of a change by a principal, whose credential has to hold until the change is committed.
    pub fn new(by: &Principal, action: AuditAction, target: Target) -> Self {
        // A refusal is recorded whatever its principal still holds.
        let held = if action == AuditAction::AccessRefused { None } else { Held::of(by) };
        Self { actor: Actor::of(by), origin: by.origin(), action, target, before: None, after: None, held }
    }

    /// The entry of an act that may itself end what its principal holds, if it is done to this account.
    #[must_use]
    pub(crate) fn done_to(self, account: UserId, by: &Principal) -> Self {
        if by.user_id() == Some(account) { self.unchecked() } else { self }
    }

    /// The entry without the check, for acts that are written together with those of others.
    #[must_use]
    pub(crate) fn unchecked(self) -> Self {
        Self { held: None, ..self }
    }

    /// Entry of a change by a device.
    pub fn of_device(id: DeviceId, alias: &str, origin: Origin, action: AuditAction, target: Target) -> Self {
        Self { actor: Actor::device(id, alias), origin, action, target, before: None, after: None, held: None }
    }

    /// Changed values of the target, before.
    #[must_use]
    pub fn before(self, before: Value) -> Self {
        Self { before: Some(before), ..self }
    }

    /// Changed values of the target, after.
    #[must_use]
    pub fn after(self, after: Value) -> Self {
        Self { after: Some(after), ..self }
    }

    fn at(&self, seq: i64, now: Timestamp) -> Entry {
        let (target_kind, target_id, target_name) = self.target.clone().parts();
        let name = |text: String| kept(&text, NAME_MAX_CHARS);
        Entry {
            seq,
            // As PostgreSQL keeps it: what is hashed has to read back the same.
            at: now.trunc_subsecs(6),
            actor_kind: self.actor.kind.to_owned(),
            actor_id: self.actor.id.clone().map(name),
            actor_name: Some(name(self.actor.name.clone())).filter(|name| !name.is_empty()).unwrap_or_else(|| "-".to_owned()),
            action: self.action.as_str().to_owned(),
            target_kind: target_kind.to_owned(),
            target_id: target_id.map(name),
            target_name: target_name.map(name),
            before: self.before.as_ref().map(state),
            after: self.after.as_ref().map(state),
            request_id: self.origin.request_id.as_deref().map(|id| kept(id, 64)),
            address: self.origin.address.map(|address| address.to_canonical().to_string()),
        }
    }
}

/// Stored part of a text. PostgreSQL takes no NUL.
fn kept(text: &str, max_chars: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(max_chars).collect()
}

/// JSON with sorted keys and no spaces, whatever order the map of this build keeps.
fn state(value: &Value) -> String {
    let text = sorted(value).to_string();
    if text.len() <= STATE_MAX_BYTES { text } else { json!({"left_out_bytes": text.len()}).to_string() }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            Value::Object(fields.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// Adds an entry in the transaction of its act. **The last statement before the commit**: the head's
/// row is locked until then, by one act at a time in the whole cluster. As nobody asks for another
/// lock while holding this one, no deadlock passes through it. Whoever takes rights away is recorded under the same lock, so
/// that an act which comes after it is refused, however long ago its principal was authorized.
///
/// # Errors
/// The database is unavailable, or the principal's credential no longer holds; the act must then not be committed.
pub(crate) async fn append(connection: &mut Connection, entry: &AuditEntry, now: Timestamp) -> Result<(), StoreError> {
    let head = sqlx::query!("SELECT seq, hash FROM audit_head FOR UPDATE").fetch_optional(&mut *connection).await?;
    let head = head.ok_or(StoreError::Corrupt("audit_head"))?;
    if let Some(held) = entry.held
        && !held.holds(&mut *connection).await?
    {
        return Err(StoreError::Unauthorized);
    }
    let entry = entry.at(head.seq + 1, now);
    let hash = entry.hash(&head.hash);
    sqlx::query!(
        "WITH written AS (
             INSERT INTO audit_entry (seq, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, target_name,
                 before, after, request_id, address, prev_hash, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15))
         UPDATE audit_head SET seq = $1, hash = $15",
        entry.seq,
        entry.at,
        entry.actor_kind,
        entry.actor_id,
        entry.actor_name,
        entry.action,
        entry.target_kind,
        entry.target_id,
        entry.target_name,
        entry.before,
        entry.after,
        entry.request_id,
        entry.address,
        head.hash,
        hash.as_slice()
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn read(row: &PgRow) -> Result<ChainedEntry, StoreError> {
    let entry = Entry {
        seq: row.try_get("seq")?,
        at: row.try_get("at")?,
        actor_kind: row.try_get("actor_kind")?,
        actor_id: row.try_get("actor_id")?,
        actor_name: row.try_get("actor_name")?,
        action: row.try_get("action")?,
        target_kind: row.try_get("target_kind")?,
        target_id: row.try_get("target_id")?,
        target_name: row.try_get("target_name")?,
        before: row.try_get("before")?,
        after: row.try_get("after")?,
        request_id: row.try_get("request_id")?,
        address: row.try_get("address")?,
    };
    Ok(ChainedEntry { entry, prev_hash: row.try_get("prev_hash")?, hash: row.try_get("hash")? })
}

/// Adds the conditions of a filter, all but its text.
fn filtered(query: &mut QueryBuilder<Postgres>, filter: &AuditFilter) {
    let AuditFilter { actor, action, target, request_id, text: _, from, to } = filter;
    // By the names that share a canonical form.
    let mut named = |column: &str, name: &str| {
        query.push(format_args!(" AND ({column}_name = ANY(ARRAY(SELECT name FROM audit_name WHERE canonical = "));
        query.push_bind(CanonicalName::of(name).into_string()).push(format_args!(")) OR {column}_id = "));
        query.push_bind(name.to_owned()).push(")");
    };
    if let Some(actor) = actor {
        named("actor", actor);
    }
    if let Some(target) = target {
        named("target", target);
    }
    if let Some(action) = action {
        // A prefix, not a pattern.
        let prefix = action.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_") + "%";
        query.push(" AND action LIKE ").push_bind(prefix);
    }
    if let Some(request_id) = request_id {
        query.push(" AND request_id = ").push_bind(request_id.clone());
    }
    if let Some(from) = from {
        query.push(" AND at >= ").push_bind(*from);
    }
    if let Some(to) = to {
        query.push(" AND at <= ").push_bind(*to);
    }
}

/// Statement of a page, built at run time, so that each question is planned with the index that answers it.
fn page_query(filter: &AuditFilter, older_than: Option<i64>, limit: i64) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "SELECT seq, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, target_name, before, after, request_id, address, \
             prev_hash, hash
         FROM audit_entry WHERE true",
    );
    filtered(&mut query, filter);
    if let Some(seq) = older_than {
        query.push(" AND seq < ").push_bind(seq);
    }
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(limit);
    query
}

impl Store {
    /// Adds an entry of an act that changes nothing: somebody was refused, or was shown something.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn record(&self, entry: &AuditEntry, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// At most `limit` entries that match, the newest first, older than the one at `older_than`.
    ///
    /// # Errors
    /// The database is unavailable, or does not find them within `database.statement_timeout_ms`.
    pub async fn audit_page(&self, filter: &AuditFilter, older_than: Option<i64>, limit: i64) -> Result<Vec<ChainedEntry>, StoreError> {
        if filter.actor.is_some() || filter.target.is_some() {
            self.assign_audit_names().await?;
        }
        let Some(text) = &filter.text else {
            return page_query(filter, older_than, limit).build().fetch_all(&self.pool).await?.iter().map(read).collect();
        };
        let searched = self.audit_search(filter, text, older_than, limit);
        match tokio::time::timeout(self.statement_timeout, searched).await {
            Ok(found) => found,
            Err(_) => Err(StoreError::TimedOut(self.statement_timeout)),
        }
    }

    /// Reads entries until `limit` of them contain the text: which do is decided here, as SQL folds case its own way.
    async fn audit_search(
        &self,
        filter: &AuditFilter,
        text: &str,
        mut older_than: Option<i64>,
        limit: i64,
    ) -> Result<Vec<ChainedEntry>, StoreError> {
        let mut found = Vec::new();
        loop {
            let mut query = page_query(filter, older_than, SEARCHED_AT_ONCE);
            let mut connection = self.pool.acquire().await?;
            let (mut rows, mut read_rows) = (query.build().fetch(&mut *connection), 0);
            while let Some(row) = rows.try_next().await? {
                let entry = read(&row)?;
                (read_rows, older_than) = (read_rows + 1, Some(entry.entry.seq));
                let Entry { actor_name, target_name, before, after, .. } = &entry.entry;
                let texts = [Some(actor_name), target_name.as_ref(), before.as_ref(), after.as_ref()];
                if texts.into_iter().flatten().any(|hay| contains(hay, text)) {
                    found.push(entry);
                    if found.len() as i64 == limit {
                        return Ok(found);
                    }
                }
            }
            if read_rows < SEARCHED_AT_ONCE {
                return Ok(found);
            }
        }
    }

    /// At most `limit` entries behind the one at `after`, in the order of their places.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn audit_batch(&self, after: i64, limit: i64) -> Result<Vec<ChainedEntry>, StoreError> {
        let rows = sqlx::query!(
            "SELECT seq, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, target_name, before, after, request_id, address,
                 prev_hash, hash
             FROM audit_entry WHERE seq > $1 ORDER BY seq LIMIT $2",
            after,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let chained = rows.into_iter().map(|row| ChainedEntry {
            entry: Entry {
                seq: row.seq,
                at: row.at,
                actor_kind: row.actor_kind,
                actor_id: row.actor_id,
                actor_name: row.actor_name,
                action: row.action,
                target_kind: row.target_kind,
                target_id: row.target_id,
                target_name: row.target_name,
                before: row.before,
                after: row.after,
                request_id: row.request_id,
                address: row.address,
            },
            prev_hash: row.prev_hash,
            hash: row.hash,
        });
        Ok(chained.collect())
    }

    /// The newest entry, as the head names it.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn audit_head(&self) -> Result<Head, StoreError> {
        let head = sqlx::query!("SELECT seq, hash FROM audit_head").fetch_optional(&self.pool).await?;
        head.map(|row| Head { seq: row.seq, hash: row.hash }).ok_or(StoreError::Corrupt("audit_head"))
    }

    /// The places of the newest entry that there is and of the one that the head names, at one moment.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn audit_newest(&self) -> Result<(i64, i64), StoreError> {
        let row = sqlx::query!(
            r#"SELECT coalesce((SELECT max(seq) FROM audit_entry), 0) AS "newest!", coalesce((SELECT seq FROM audit_head), 0) AS "head!""#
        );
        let row = row.fetch_one(&self.pool).await?;
        Ok((row.newest, row.head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_written_with_sorted_keys_and_bounded() {
        assert_eq!(state(&json!({"b": 1, "a": {"d": [{"y": 1, "x": 2}], "c": null}})), r#"{"a":{"c":null,"d":[{"x":2,"y":1}]},"b":1}"#);
        let large = json!({"tags": "x".repeat(STATE_MAX_BYTES)});
        assert!(state(&large).starts_with(r#"{"left_out_bytes":"#));
    }

    #[test]
    fn whatever_a_name_is_it_fits() {
        let by = Principal::Console { os_user: String::new() };
        let target = Target::Node(format!("a\0{}", "ä".repeat(300)));
        let entry =
            AuditEntry::new(&by, AuditAction::NodeDrained, target).at(1, Timestamp::from_timestamp_nanos(1_780_000_000_123_456_789));
        assert_eq!((entry.actor_name.as_str(), entry.target_name.map(|name| name.chars().count())), ("-", Some(255)));
        assert_eq!(entry.at.timestamp_subsec_nanos(), 123_456_000);
    }
}
