//! Records of alerts: raised and resolved by the owner of a subject's shard, acknowledged by people.

use std::collections::{HashMap, HashSet};

use domain::alert::{AlertKey, AlertState, RecordChange, Rule, Severity, Subject, SubjectKind, SubjectLabels, TransitionKind, acknowledge};
use domain::shard::{ShardId, ShardLease};
use domain::{AlertId, Timestamp};
use uuid::Uuid;

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::pool::Transaction;
use crate::{Store, StoreError};

/// Open alert, as its owner judges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAlert {
    /// Id.
    pub id: AlertId,
    /// Rule and subject.
    pub key: AlertKey,
    /// Severity.
    pub severity: Severity,
    /// State.
    pub state: AlertState,
    /// When it was raised.
    pub opened_at: Timestamp,
}

/// Change of an alert by the owner of the subject's shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertChange {
    /// Right to the shard of the subject.
    pub lease: ShardLease,
    /// The alert; of a raise, the id that it is to have.
    pub id: AlertId,
    /// Rule and subject.
    pub key: AlertKey,
    /// Name and labels of the subject.
    pub labels: SubjectLabels,
    /// The change.
    pub change: RecordChange,
    /// Time of the change.
    pub at: Timestamp,
}

/// Outcome of a change of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangedAlert {
    /// It is recorded.
    Changed,
    /// Nothing changed: another alert of the rule and subject is open, or this one is not any more.
    Nothing,
    /// The shard has another owner now.
    NotOwner,
}

/// A row of the history of an alert.
struct Step {
    id: Uuid,
    revision: i32,
    kind: TransitionKind,
    at: Timestamp,
    severity: String,
    actor: Option<String>,
    detail: Option<String>,
}

macro_rules! open_alert {
    ($row:expr) => {{
        let row = $row;
        key(&row.rule, &row.subject_kind, &row.subject_id).and_then(|key| {
            Some(OpenAlert {
                id: AlertId(row.alert_id),
                key,
                severity: row.severity.parse().ok()?,
                state: row.state.parse().ok()?,
                opened_at: row.opened_at,
            })
        })
    }};
}

impl Store {
    /// Records changes of alerts with their history, each as far as its shard is in the epoch of its lease and its alert in the state that it
    /// starts from. Of changes of the same rule and subject, only the first of a call counts. Outcomes are in the order of the changes.
    ///
    /// # Errors
    /// The database is unavailable; then either nothing is stored, or all of it is.
    pub async fn record_alerts(&self, changes: &[AlertChange]) -> Result<Vec<ChangedAlert>, StoreError> {
        let mut tx = self.begin().await?;
        let shards: Vec<i32> = changes.iter().map(|change| i32::from(change.lease.shard.0)).collect();
        // The rows are locked until the commit: no other node claims a shard in between.
        let owned: HashSet<(i32, i64)> =
            sqlx::query!("SELECT shard_id, epoch FROM shard WHERE shard_id = ANY($1) ORDER BY shard_id FOR SHARE", &shards)
                .fetch_all(&mut *tx)
                .await?
                .into_iter()
                .map(|row| (row.shard_id, row.epoch))
                .collect();
        let is_owned = |change: &AlertChange| owned.contains(&(i32::from(change.lease.shard.0), change.lease.epoch.0));
        let mut seen = HashSet::new();
        let mut mine: Vec<&AlertChange> = changes.iter().filter(|change| is_owned(change) && seen.insert(&change.key)).collect();
        mine.sort_unstable_by_key(|change| change.id);
        // The order in which everybody locks alerts.
        let ids: Vec<_> = mine.iter().map(|change| change.id.0).collect();
        sqlx::query!("SELECT FROM alert WHERE alert_id = ANY($1) ORDER BY alert_id FOR NO KEY UPDATE", &ids).execute(&mut *tx).await?;
        let mut steps = open(&mut tx, &mine).await?;
        steps.extend(set_severity(&mut tx, &mine).await?);
        steps.extend(resolve(&mut tx, &mine).await?);
        let changed: HashSet<Uuid> = steps.iter().map(|step| step.id).collect();
        write_steps(&mut tx, &steps).await?;
        if !steps.is_empty() {
            sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        let first: HashMap<&AlertKey, AlertId> = mine.iter().map(|change| (&change.key, change.id)).collect();
        let outcome = |change: &AlertChange| match is_owned(change) {
            false => ChangedAlert::NotOwner,
            true if changed.contains(&change.id.0) && first.get(&change.key) == Some(&change.id) => ChangedAlert::Changed,
            true => ChangedAlert::Nothing,
        };
        Ok(changes.iter().map(outcome).collect())
    }

    /// At most `limit` open alerts of shards after an id, by id; of one kind of subjects, or of all.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn open_alerts(
        &self,
        shards: &[ShardId],
        kind: Option<SubjectKind>,
        after: Option<AlertId>,
        limit: i64,
    ) -> Result<Vec<OpenAlert>, StoreError> {
        let shards: Vec<i32> = shards.iter().map(|shard| i32::from(shard.0)).collect();
        let rows = sqlx::query!(
            "SELECT alert_id, rule, subject_kind, subject_id, severity, state, opened_at FROM alert
             WHERE shard_id = ANY($1) AND state <> 'resolved' AND alert_id > coalesce($2::uuid, '00000000-0000-0000-0000-000000000000')
               AND ($3::text IS NULL OR subject_kind = $3)
             ORDER BY alert_id LIMIT $4",
            &shards,
            after.map(|id| id.0),
            kind.map(SubjectKind::as_str),
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        // Rules of a later build are left to it.
        Ok(rows.into_iter().filter_map(|row| open_alert!(row)).collect())
    }

    /// At most `limit` open alerts of these shards about devices that are deleted or purged.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn orphaned_alerts(&self, shards: &[ShardId], limit: i64) -> Result<Vec<OpenAlert>, StoreError> {
        let shards: Vec<i32> = shards.iter().map(|shard| i32::from(shard.0)).collect();
        // Only ids of devices are uuids, and conditions are met in any order.
        let rows = sqlx::query!(
            "SELECT alert_id, rule, subject_kind, subject_id, severity, state, opened_at FROM alert a
             WHERE shard_id = ANY($1) AND state <> 'resolved' AND subject_kind = 'device' AND NOT EXISTS (
                 SELECT FROM device d WHERE d.device_id = CASE WHEN a.subject_kind = 'device' THEN a.subject_id::uuid END
                   AND d.deleted_at IS NULL)
             ORDER BY alert_id LIMIT $2",
            &shards,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(|row| open_alert!(row)).collect())
    }

    /// Acknowledges alerts that fire, with a note, and the entry of who does it. Answers for which of them: not for those that are acknowledged
    /// or resolved already.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn acknowledge_alerts(
        &self,
        ids: &[AlertId],
        by: &str,
        note: &str,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<Vec<AlertId>, StoreError> {
        let mut tx = self.begin().await?;
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let from: Vec<String> =
            AlertState::ALL.into_iter().filter(|state| acknowledge(*state).is_some()).map(|state| state.as_str().to_owned()).collect();
        let rows = sqlx::query!(
            "UPDATE alert a SET state = 'acknowledged', acknowledged_by = $2, acknowledged_note = $3, acknowledged_at = $4, revision = a.revision + 1
             FROM (SELECT alert_id FROM alert WHERE alert_id = ANY($1) AND state = ANY($5) ORDER BY alert_id FOR NO KEY UPDATE) f
             WHERE a.alert_id = f.alert_id RETURNING a.alert_id, a.revision, a.severity",
            &ids,
            by,
            note,
            now,
            &from
        )
        .fetch_all(&mut *tx)
        .await?;
        let step = |row: (Uuid, i32, String)| Step {
            id: row.0,
            revision: row.1,
            kind: TransitionKind::Acknowledged,
            at: now,
            severity: row.2,
            actor: Some(by.to_owned()),
            detail: (!note.is_empty()).then(|| note.to_owned()),
        };
        let steps: Vec<_> = rows.into_iter().map(|row| step((row.alert_id, row.revision, row.severity))).collect();
        if steps.is_empty() {
            return Ok(vec![]);
        }
        write_steps(&mut tx, &steps).await?;
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(steps.iter().map(|step| AlertId(step.id)).collect())
    }

    /// Deletes at most `limit` alerts that were resolved before this time and whose changes are settled, with their history. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_alerts(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM alert WHERE alert_id = ANY(ARRAY(
                 SELECT alert_id FROM alert a WHERE state = 'resolved' AND resolved_at < $1
                   AND NOT EXISTS (SELECT FROM alert_transition t WHERE t.alert_id = a.alert_id AND t.settled_at IS NULL) LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }
}

/// Rule and subject as they are stored; `None`: of a later build.
pub(crate) fn key(rule: &str, kind: &str, subject: &str) -> Option<AlertKey> {
    Some(AlertKey { rule: rule.parse::<Rule>().ok()?, subject: Subject::parse(kind, subject)? })
}

async fn open(tx: &mut Transaction, changes: &[&AlertChange]) -> Result<Vec<Step>, StoreError> {
    let opens: Vec<_> = changes
        .iter()
        .filter_map(
            |change| if let RecordChange::Open { severity, reason } = &change.change { Some((change, severity, reason)) } else { None },
        )
        .collect();
    if opens.is_empty() {
        return Ok(vec![]);
    }
    macro_rules! column {
        ($open:ident => $value:expr) => {
            opens.iter().map(|$open| $value).collect::<Vec<_>>()
        };
    }
    // Labels are lists: each alert's are one JSON array.
    let labels = |labels: &[String]| serde_json::json!(labels).to_string();
    let rows = sqlx::query!(
        "INSERT INTO alert (alert_id, shard_id, rule, subject_kind, subject_id, subject_name, groups, tags, severity, state, reason, opened_at, revision)
         SELECT n.alert_id, n.shard_id, n.rule, n.kind, n.subject, left(n.name, 200), ARRAY(SELECT jsonb_array_elements_text(n.groups::jsonb)),
             ARRAY(SELECT jsonb_array_elements_text(n.tags::jsonb)), n.severity, 'firing', n.reason, n.at, 1
         FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
             $11::timestamptz[]) AS n(alert_id, shard_id, rule, kind, subject, name, groups, tags, severity, reason, at)
         ORDER BY n.alert_id ON CONFLICT DO NOTHING RETURNING alert_id, severity, opened_at",
        &column!(open => open.0.id.0),
        &column!(open => i32::from(open.0.lease.shard.0)),
        &column!(open => open.0.key.rule.as_str().to_owned()),
        &column!(open => open.0.key.subject.kind().as_str().to_owned()),
        &column!(open => open.0.key.subject.id()),
        &column!(open => open.0.labels.name.clone()),
        &column!(open => labels(&open.0.labels.groups)),
        &column!(open => labels(&open.0.labels.tags)),
        &column!(open => open.1.as_str().to_owned()),
        &column!(open => open.2.clone()),
        &column!(open => open.0.at)
    )
    .fetch_all(&mut **tx)
    .await?;
    let step = |id, severity, at| Step { id, revision: 1, kind: TransitionKind::Raised, at, severity, actor: None, detail: None };
    Ok(rows.into_iter().map(|row| step(row.alert_id, row.severity, row.opened_at)).collect())
}

async fn set_severity(tx: &mut Transaction, changes: &[&AlertChange]) -> Result<Vec<Step>, StoreError> {
    let set: Vec<_> = changes
        .iter()
        .filter_map(|change| if let RecordChange::SetSeverity(to) = change.change { Some((change, to)) } else { None })
        .collect();
    if set.is_empty() {
        return Ok(vec![]);
    }
    let rows = sqlx::query!(
        r#"UPDATE alert a SET severity = n.severity, revision = a.revision + 1
           FROM UNNEST($1::uuid[], $2::text[], $3::timestamptz[], $4::integer[]) AS n(alert_id, severity, at, shard_id)
           WHERE a.alert_id = n.alert_id AND a.shard_id = n.shard_id AND a.state <> 'resolved' AND a.severity <> n.severity
           RETURNING a.alert_id, a.revision, a.severity, n.at AS "at!""#,
        &set.iter().map(|(change, _)| change.id.0).collect::<Vec<_>>(),
        &set.iter().map(|(_, to)| to.as_str().to_owned()).collect::<Vec<_>>(),
        &set.iter().map(|(change, _)| change.at).collect::<Vec<_>>(),
        &set.iter().map(|(change, _)| i32::from(change.lease.shard.0)).collect::<Vec<_>>()
    )
    .fetch_all(&mut **tx)
    .await?;
    let kind = TransitionKind::SeverityChanged;
    let step = |id, revision, severity, at| Step { id, revision, kind, at, severity, actor: None, detail: None };
    Ok(rows.into_iter().map(|row| step(row.alert_id, row.revision, row.severity, row.at)).collect())
}

async fn resolve(tx: &mut Transaction, changes: &[&AlertChange]) -> Result<Vec<Step>, StoreError> {
    let ends: Vec<_> = changes
        .iter()
        .filter_map(|change| if let RecordChange::Resolve(cause) = change.change { Some((change, cause)) } else { None })
        .collect();
    if ends.is_empty() {
        return Ok(vec![]);
    }
    let rows = sqlx::query!(
        r#"UPDATE alert a SET state = 'resolved', resolved_at = n.at, resolve_cause = n.cause, revision = a.revision + 1
           FROM UNNEST($1::uuid[], $2::text[], $3::timestamptz[], $4::integer[]) AS n(alert_id, cause, at, shard_id)
           WHERE a.alert_id = n.alert_id AND a.shard_id = n.shard_id AND a.state <> 'resolved'
           RETURNING a.alert_id, a.revision, a.severity, n.at AS "at!", n.cause AS "cause!""#,
        &ends.iter().map(|(change, _)| change.id.0).collect::<Vec<_>>(),
        &ends.iter().map(|(_, cause)| cause.as_str().to_owned()).collect::<Vec<_>>(),
        &ends.iter().map(|(change, _)| change.at).collect::<Vec<_>>(),
        &ends.iter().map(|(change, _)| i32::from(change.lease.shard.0)).collect::<Vec<_>>()
    )
    .fetch_all(&mut **tx)
    .await?;
    let kind = TransitionKind::Resolved;
    let step = |id, revision, severity, at, cause| Step { id, revision, kind, at, severity, actor: None, detail: Some(cause) };
    Ok(rows.into_iter().map(|row| step(row.alert_id, row.revision, row.severity, row.at, row.cause)).collect())
}

async fn write_steps(tx: &mut Transaction, steps: &[Step]) -> Result<(), StoreError> {
    if steps.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($step:ident => $value:expr) => {
            steps.iter().map(|$step| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "INSERT INTO alert_transition (alert_id, revision, kind, at, severity, actor, detail)
         SELECT * FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[])",
        &column!(step => step.id),
        &column!(step => step.revision),
        &column!(step => step.kind.as_str().to_owned()),
        &column!(step => step.at),
        &column!(step => step.severity.clone()),
        &column!(step => step.actor.clone()) as &[Option<String>],
        &column!(step => step.detail.clone()) as &[Option<String>]
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
