//! State of the coordinator: read by whoever owns its shard, changed in one transaction that checks the epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::alert::{AlertKey, Openings, Rule, SubjectLabels, TransitionKind};
use domain::notification::{
    AlertEvent, CoordinatorState, Decision, Message, Notified, NotifiedAlert, Settled, Thread, ThreadMark, Tracked, TransitionId,
};
use domain::shard::ShardLease;
use domain::{AlertId, ChannelId, NotificationId, Timestamp};
use serde_json::{Value, json};

use crate::alert::key;
use crate::channels;
use crate::pool::Transaction;
use crate::{Store, StoreError};

/// What the coordinator decides from: its state, and the changes of alerts that it has not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorInput {
    /// Number of decisions so far.
    pub decisions: i64,
    /// Number of the changes of what people have set up: routes, channels, silences and maintenance windows.
    pub setup_version: i64,
    /// State after the last decision.
    pub state: CoordinatorState,
    /// Changes in their order, at most as many as were asked for.
    pub events: Vec<AlertEvent>,
}

/// What is new for a coordinator that knows the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorNews {
    /// Number of the changes of what people have set up.
    pub setup_version: i64,
    /// Changes of alerts in their order, at most as many as were asked for.
    pub events: Vec<AlertEvent>,
}

/// Decision that is to be stored.
#[derive(Debug)]
pub struct DecisionWrite<'a> {
    /// Right to the shard of the coordinator.
    pub lease: ShardLease,
    /// What it was decided from.
    pub input: &'a CoordinatorInput,
    /// The decision.
    pub decision: &'a Decision,
    /// Ids of its notifications, in their order.
    pub ids: &'a [NotificationId],
    /// Time of the decision.
    pub now: Timestamp,
}

impl Store {
    /// State of the coordinator, and at most `limit` changes of alerts that it has not taken. `minute`: the beginning of the minute in which messages
    /// are counted.
    ///
    /// # Errors
    /// The database is unavailable, or a stored value is one that no code path of ours writes.
    pub async fn coordinator_input(&self, minute: Timestamp, limit: i64) -> Result<CoordinatorInput, StoreError> {
        let mut tx = self.begin().await?;
        // All of it as of one moment.
        sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut *tx).await?;
        let state =
            CoordinatorState { tracked: tracked(&mut tx).await?, threads: threads(&mut tx).await?, sent: sent(&mut tx, minute).await? };
        let events = events(&mut tx, limit).await?;
        let (decisions, setup_version) = versions(&mut tx).await?;
        tx.commit().await?;
        Ok(CoordinatorInput { decisions, setup_version, state, events })
    }

    /// At most `limit` changes of alerts that the coordinator has not taken, for one that knows the state after this many decisions. `None`: there
    /// were others.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn coordinator_news(&self, decisions: i64, limit: i64) -> Result<Option<CoordinatorNews>, StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut *tx).await?;
        let (stored, setup_version) = versions(&mut tx).await?;
        let news = if stored == decisions { Some(CoordinatorNews { setup_version, events: events(&mut tx, limit).await? }) } else { None };
        tx.commit().await?;
        Ok(news)
    }

    /// Stores a decision: what people are notified now, the messages in the outbox, and what each change of an alert has come to. `false`: the shard
    /// has another owner now, or another decision was stored meanwhile; nothing is stored then.
    ///
    /// # Errors
    /// The database is unavailable; nothing is stored then.
    pub async fn apply_decision(&self, write: &DecisionWrite<'_>) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // The row is locked until the commit: no other node claims the shard in between.
        let epoch = sqlx::query_scalar!("SELECT epoch FROM shard WHERE shard_id = $1 FOR SHARE", i32::from(write.lease.shard.0))
            .fetch_optional(&mut *tx)
            .await?;
        if epoch != Some(write.lease.epoch.0) {
            return Ok(false);
        }
        let follows = sqlx::query!("UPDATE alert_coordinator SET decisions = decisions + 1 WHERE decisions = $1", write.input.decisions)
            .execute(&mut *tx)
            .await?;
        if follows.rows_affected() == 0 {
            return Ok(false);
        }
        let taken: Vec<_> = write.input.events.iter().map(|event| event.id.0).collect();
        let took =
            sqlx::query!("UPDATE alert_transition SET taken_at = $2 WHERE transition_id = ANY($1) AND taken_at IS NULL", &taken, write.now)
                .execute(&mut *tx)
                .await?
                .rows_affected();
        if took != taken.len() as u64 {
            return Ok(false);
        }
        write_tracked(&mut tx, write).await?;
        write_threads(&mut tx, write).await?;
        write_notifications(&mut tx, write).await?;
        if !settle(&mut tx, write).await? {
            return Ok(false);
        }
        if !write.decision.notifications.is_empty() {
            sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// Numbers of decisions, and of changes of what people have set up.
async fn versions(tx: &mut Transaction) -> Result<(i64, i64), StoreError> {
    let row = sqlx::query!("SELECT c.decisions, s.version FROM alert_coordinator c CROSS JOIN alert_setup s").fetch_one(&mut **tx).await?;
    Ok((row.decisions, row.version))
}

async fn tracked(tx: &mut Transaction) -> Result<BTreeMap<AlertKey, Arc<Tracked>>, StoreError> {
    let rows = sqlx::query!(
        "SELECT rule, subject_kind, subject_id, alert_id, severity, subject_name, groups, tags, reason, opened_at,
                resolved_at, acknowledged, notified, notified_channels, raise_notified_at, resolve_notified_at, flapping_notified_at, level,
                level_notified_at, waiting_since, held, openings, unsettled, notified_severity
             FROM alert_notice"
    )
    .fetch_all(&mut **tx)
    .await?;
    let mut all = BTreeMap::new();
    for row in rows {
        // What is of a later build is left to it.
        let (Some(key), Ok(severity), Some(notified)) =
            (key(&row.rule, &row.subject_kind, &row.subject_id), row.severity.parse(), Notified::parse(&row.notified))
        else {
            continue;
        };
        let tracked = Tracked {
            alert: AlertId(row.alert_id),
            severity,
            labels: SubjectLabels { name: row.subject_name, groups: row.groups, tags: row.tags },
            reason: row.reason,
            opened_at: row.opened_at,
            resolved_at: row.resolved_at,
            acknowledged: row.acknowledged,
            notified,
            notified_channels: row.notified_channels.into_iter().map(ChannelId).collect(),
            raise_notified_at: row.raise_notified_at,
            resolve_notified_at: row.resolve_notified_at,
            flapping_notified_at: row.flapping_notified_at,
            level: row.level.try_into().unwrap_or_default(),
            level_notified_at: row.level_notified_at,
            waiting_since: row.waiting_since,
            held: row.held.as_deref().and_then(domain::notification::Suppression::parse),
            openings: Openings::stored(row.openings),
            unsettled: row.unsettled.map(TransitionId),
            notified_severity: row.notified_severity.as_deref().and_then(|severity| severity.parse().ok()),
        };
        all.insert(key, Arc::new(tracked));
    }
    Ok(all)
}

async fn threads(tx: &mut Transaction) -> Result<BTreeMap<Rule, Thread>, StoreError> {
    let rows = sqlx::query!("SELECT rule, began_at, raised_sent_at, resolved_sent_at FROM alert_thread").fetch_all(&mut **tx).await?;
    let thread = rows.into_iter().filter_map(|row| {
        let thread = Thread { began_at: row.began_at, raised_sent_at: row.raised_sent_at, resolved_sent_at: row.resolved_sent_at };
        Some((row.rule.parse().ok()?, thread))
    });
    Ok(thread.collect())
}

async fn sent(tx: &mut Transaction, minute: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
    Ok(sqlx::query_scalar!(
        "SELECT created_at FROM notification WHERE created_at > $1 AND kind NOT IN ('test', 'digest', 'event', 'report', 'acknowledged', 'missed') ORDER BY created_at",
        minute
    )
    .fetch_all(&mut **tx)
    .await?)
}

/// Changes of rules and of kinds of a later build are left to it. They are no part of the limit: any number of them would hold up all that follow.
async fn events(tx: &mut Transaction, limit: i64) -> Result<Vec<AlertEvent>, StoreError> {
    let rows = sqlx::query!(
        "SELECT t.transition_id, t.alert_id, t.kind, t.at, t.severity, a.rule, a.subject_kind, a.subject_id, a.subject_name, a.groups, a.tags,
             a.reason
         FROM alert_transition t JOIN alert a USING (alert_id)
         WHERE t.taken_at IS NULL AND a.rule = ANY ($2) AND t.kind = ANY ($3) ORDER BY t.transition_id LIMIT $1",
        limit,
        &Rule::ALL.map(|rule| rule.as_str().to_owned()).to_vec(),
        &TransitionKind::ALL.map(|kind| kind.as_str().to_owned()).to_vec()
    )
    .fetch_all(&mut **tx)
    .await?;
    let event = rows.into_iter().filter_map(|row| {
        Some(AlertEvent {
            id: TransitionId(row.transition_id),
            alert: AlertId(row.alert_id),
            key: key(&row.rule, &row.subject_kind, &row.subject_id)?,
            kind: TransitionKind::parse(&row.kind)?,
            severity: row.severity.parse().ok()?,
            labels: SubjectLabels { name: row.subject_name, groups: row.groups, tags: row.tags },
            reason: row.reason,
            at: row.at,
        })
    });
    Ok(event.collect())
}

async fn write_tracked(tx: &mut Transaction, write: &DecisionWrite<'_>) -> Result<(), StoreError> {
    let (before, after) = (&write.input.state.tracked, &write.decision.state.tracked);
    let gone: Vec<_> = before.keys().filter(|key| !after.contains_key(*key)).collect();
    if !gone.is_empty() {
        sqlx::query!(
            "DELETE FROM alert_notice n USING UNNEST($1::text[], $2::text[], $3::text[]) AS g(rule, kind, subject)
             WHERE n.rule = g.rule AND n.subject_kind = g.kind AND n.subject_id = g.subject",
            &gone.iter().map(|key| key.rule.as_str().to_owned()).collect::<Vec<_>>(),
            &gone.iter().map(|key| key.subject.kind().as_str().to_owned()).collect::<Vec<_>>(),
            &gone.iter().map(|key| key.subject.id()).collect::<Vec<_>>()
        )
        .execute(&mut **tx)
        .await?;
    }
    let changed: Vec<_> = after.iter().filter(|(key, tracked)| before.get(*key) != Some(*tracked)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($key:ident, $row:ident => $value:expr) => {
            changed.iter().map(|($key, $row)| $value).collect::<Vec<_>>()
        };
    }
    let list = |values: Vec<String>| json!(values).to_string();
    sqlx::query!(
        "INSERT INTO alert_notice (rule, subject_kind, subject_id, alert_id, severity, subject_name, groups, tags, reason, opened_at, resolved_at,
             acknowledged, notified, notified_channels, raise_notified_at, resolve_notified_at, flapping_notified_at, level, level_notified_at, waiting_since, held, openings,
             unsettled, notified_severity)
         SELECT n.rule, n.kind, n.subject, n.alert_id, n.severity, n.name, ARRAY(SELECT jsonb_array_elements_text(n.groups::jsonb)),
             ARRAY(SELECT jsonb_array_elements_text(n.tags::jsonb)), n.reason, n.opened_at, n.resolved_at, n.acknowledged, n.notified,
             ARRAY(SELECT jsonb_array_elements_text(n.notified_channels::jsonb)::uuid), n.raise_notified_at, n.resolve_notified_at, n.flapping_notified_at, n.level,
             n.level_notified_at, n.waiting_since, n.held, ARRAY(SELECT jsonb_array_elements_text(n.openings::jsonb)::timestamptz), n.unsettled, n.notified_severity
         FROM UNNEST($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::timestamptz[],
             $11::timestamptz[], $12::boolean[], $13::text[], $14::text[], $15::timestamptz[], $16::timestamptz[], $17::timestamptz[],
             $18::smallint[], $19::timestamptz[], $20::timestamptz[], $21::text[], $22::text[], $23::bigint[], $24::text[])
             AS n(rule, kind, subject, alert_id, severity, name, groups, tags, reason, opened_at, resolved_at, acknowledged, notified, notified_channels,
                  raise_notified_at, resolve_notified_at, flapping_notified_at, level, level_notified_at, waiting_since, held, openings, unsettled,
                  notified_severity)
         ON CONFLICT (rule, subject_kind, subject_id) DO UPDATE SET alert_id = excluded.alert_id, severity = excluded.severity,
             subject_name = excluded.subject_name, groups = excluded.groups, tags = excluded.tags, reason = excluded.reason,
             opened_at = excluded.opened_at, resolved_at = excluded.resolved_at, acknowledged = excluded.acknowledged, notified = excluded.notified,
             notified_channels = excluded.notified_channels, raise_notified_at = excluded.raise_notified_at, resolve_notified_at = excluded.resolve_notified_at,
             flapping_notified_at = excluded.flapping_notified_at, level = excluded.level, level_notified_at = excluded.level_notified_at,
             waiting_since = excluded.waiting_since, held = excluded.held, openings = excluded.openings, unsettled = excluded.unsettled,
             notified_severity = excluded.notified_severity",
        &column!(key, _row => key.rule.as_str().to_owned()),
        &column!(key, _row => key.subject.kind().as_str().to_owned()),
        &column!(key, _row => key.subject.id()),
        &column!(_key, row => row.alert.0),
        &column!(_key, row => row.severity.as_str().to_owned()),
        &column!(_key, row => row.labels.name.clone()),
        &column!(_key, row => list(row.labels.groups.clone())),
        &column!(_key, row => list(row.labels.tags.clone())),
        &column!(_key, row => row.reason.clone()),
        &column!(_key, row => row.opened_at),
        &column!(_key, row => row.resolved_at) as &[Option<Timestamp>],
        &column!(_key, row => row.acknowledged),
        &column!(_key, row => row.notified.as_str().to_owned()),
        &column!(_key, row => list(row.notified_channels.iter().map(ToString::to_string).collect())),
        &column!(_key, row => row.raise_notified_at) as &[Option<Timestamp>],
        &column!(_key, row => row.resolve_notified_at) as &[Option<Timestamp>],
        &column!(_key, row => row.flapping_notified_at) as &[Option<Timestamp>],
        &column!(_key, row => i16::from(row.level)),
        &column!(_key, row => row.level_notified_at) as &[Option<Timestamp>],
        &column!(_key, row => row.waiting_since) as &[Option<Timestamp>],
        &column!(_key, row => row.held.map(|held| held.as_str().to_owned())) as &[Option<String>],
        &column!(_key, row => list(row.openings.times().iter().map(chrono::DateTime::to_rfc3339).collect())),
        &column!(_key, row => row.unsettled.map(|id| id.0)) as &[Option<i64>],
        &column!(_key, row => row.notified_severity.map(|severity| severity.as_str().to_owned())) as &[Option<String>]
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn write_threads(tx: &mut Transaction, write: &DecisionWrite<'_>) -> Result<(), StoreError> {
    let (before, after) = (&write.input.state.threads, &write.decision.state.threads);
    for rule in before.keys().filter(|rule| !after.contains_key(*rule)) {
        sqlx::query!("DELETE FROM alert_thread WHERE rule = $1", rule.as_str()).execute(&mut **tx).await?;
    }
    for (rule, thread) in after.iter().filter(|(rule, thread)| before.get(*rule) != Some(*thread)) {
        sqlx::query!(
            "INSERT INTO alert_thread (rule, began_at, raised_sent_at, resolved_sent_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (rule) DO UPDATE SET began_at = excluded.began_at, raised_sent_at = excluded.raised_sent_at,
                 resolved_sent_at = excluded.resolved_sent_at",
            rule.as_str(),
            thread.began_at,
            thread.raised_sent_at,
            thread.resolved_sent_at
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// An alert of a message, as it is kept with it.
fn to_json(alert: &NotifiedAlert) -> Value {
    json!({
        "alert_id": alert.alert.to_string(),
        "rule": alert.rule.as_str(),
        "subject_kind": alert.subject.kind().as_str(),
        "subject_id": alert.subject.id(),
        "name": alert.name,
        "groups": alert.groups,
        "severity": alert.severity.as_str(),
        "reason": alert.reason,
        "opened_at": alert.opened_at.to_rfc3339(),
        "resolved_at": alert.resolved_at.map(|at| at.to_rfc3339()),
    })
}

/// The alert of a message. `None`: of a rule of a later build.
pub(super) fn from_json(stored: &Value) -> Option<NotifiedAlert> {
    let text = |name: &str| stored.get(name)?.as_str();
    let AlertKey { rule, subject } = key(text("rule")?, text("subject_kind")?, text("subject_id")?)?;
    let groups = stored.get("groups")?.as_array()?.iter();
    Some(NotifiedAlert {
        alert: text("alert_id")?.parse().ok()?,
        rule,
        subject,
        name: text("name")?.to_owned(),
        groups: groups.filter_map(|group| Some(group.as_str()?.to_owned())).collect(),
        severity: text("severity")?.parse().ok()?,
        reason: text("reason")?.to_owned(),
        opened_at: text("opened_at")?.parse().ok()?,
        resolved_at: text("resolved_at").and_then(|at| at.parse().ok()),
    })
}

fn marks_to_json(marks: &[ThreadMark]) -> Value {
    marks.iter().map(|mark| json!({ "name": mark.name, "ends": mark.ends })).collect()
}

/// Threads that a message tells of.
pub(super) fn marks_from_json(stored: &Value) -> Vec<ThreadMark> {
    let mark = |mark: &Value| Some(ThreadMark { name: mark.get("name")?.as_str()?.to_owned(), ends: mark.get("ends")?.as_bool()? });
    stored.as_array().into_iter().flatten().filter_map(mark).collect()
}

/// Puts a message into the outbox of its channels, as far as they still are.
pub(super) async fn queue(
    tx: &mut Transaction,
    id: NotificationId,
    message: &Message,
    to: &BTreeSet<ChannelId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let alerts: Vec<_> = message.alerts.iter().map(to_json).collect();
    sqlx::query!(
        "INSERT INTO notification (notification_id, kind, severity, thread, begins_thread, ends_thread, headline, alert_count, alerts, created_at, event,
             report, threads)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        id.0,
        message.kind.as_str(),
        message.severity.as_str(),
        message.thread,
        message.begins_thread,
        message.ends_thread,
        message.headline,
        i32::try_from(message.count).unwrap_or(i32::MAX),
        json!(alerts),
        now,
        message.event.as_ref().map(super::subscription::to_json),
        message.report.as_ref().map(super::report_schedule::to_json),
        (!message.threads.is_empty()).then(|| marks_to_json(&message.threads))
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "INSERT INTO notification_delivery (notification_id, channel_id, state, attempts, queued_at, next_attempt_at)
         SELECT $1, channel_id, 'queued', 0, $3, $3 FROM alert_channel WHERE channel_id = ANY($2) ORDER BY channel_id FOR KEY SHARE",
        id.0,
        &to.iter().map(|channel| channel.0).collect::<Vec<_>>(),
        now
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn write_notifications(tx: &mut Transaction, write: &DecisionWrite<'_>) -> Result<(), StoreError> {
    if write.ids.len() != write.decision.notifications.len() {
        return Err(StoreError::Corrupt("ids of notifications"));
    }
    for (id, notification) in write.ids.iter().zip(&write.decision.notifications) {
        queue(tx, *id, &notification.message(), &notification.channels.iter().copied().collect(), write.now).await?;
    }
    Ok(())
}

/// Settles changes. `false`: one was settled before.
async fn settle(tx: &mut Transaction, write: &DecisionWrite<'_>) -> Result<bool, StoreError> {
    let settled = &write.decision.settled;
    if settled.is_empty() {
        return Ok(true);
    }
    let cause = |settled: &Settled| if let Settled::Suppressed(cause) = settled { Some(cause.as_str().to_owned()) } else { None };
    let message = |settled: &Settled| if let Settled::Notified(at) = settled { write.ids.get(*at).map(|id| id.0) } else { None };
    let rows = sqlx::query!(
        "UPDATE alert_transition t SET settled_at = $4, suppressed_by = s.cause, notification_id = s.message
         FROM UNNEST($1::bigint[], $2::text[], $3::uuid[]) AS s(id, cause, message)
         WHERE t.transition_id = s.id AND t.settled_at IS NULL",
        &settled.iter().map(|(id, _)| id.0).collect::<Vec<_>>(),
        &settled.iter().map(|(_, settled)| cause(settled)).collect::<Vec<_>>() as &[Option<String>],
        &settled.iter().map(|(_, settled)| message(settled)).collect::<Vec<_>>() as &[Option<uuid::Uuid>],
        write.now
    )
    .execute(&mut **tx)
    .await?
    .rows_affected();
    write_further(tx, write).await?;
    Ok(rows == settled.len() as u64)
}

/// Notes the messages that tell a change besides the one that it was settled with.
async fn write_further(tx: &mut Transaction, write: &DecisionWrite<'_>) -> Result<(), StoreError> {
    let further: Vec<_> = write.decision.further.iter().filter_map(|(id, at)| Some((id.0, write.ids.get(*at)?.0))).collect();
    if further.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE alert_transition t SET further_notifications = f.messages
         FROM (SELECT id, array_agg(DISTINCT message) AS messages FROM UNNEST($1::bigint[], $2::uuid[]) AS g(id, message) GROUP BY id) f
         WHERE t.transition_id = f.id",
        &further.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        &further.iter().map(|(_, message)| *message).collect::<Vec<_>>()
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
