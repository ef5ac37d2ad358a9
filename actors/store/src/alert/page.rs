//! Alerts in pages, and the history of one.

use domain::alert::{Acknowledgement, AlertRecord, AlertState, ResolveCause, Rule, Severity, Subject, SubjectLabels, TransitionKind};
use domain::notification::{Notified, Suppression};
use domain::{AlertId, DeviceId, NotificationId, Timestamp};

use super::record::key;
use crate::{Store, StoreError};

/// Alerts that a page shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertQuery {
    /// States; empty: all.
    pub states: Vec<AlertState>,
    /// Rule.
    pub rule: Option<Rule>,
    /// Least severity.
    pub min_severity: Option<Severity>,
    /// Subject.
    pub subject: Option<Subject>,
    /// Groups, one of which the subject was in, each as it is written; empty: whatever the groups.
    pub groups: Vec<String>,
    /// Earliest raise.
    pub since: Option<Timestamp>,
    /// Latest raise.
    pub until: Option<Timestamp>,
    /// Only those that were open then or later.
    pub open_since: Option<Timestamp>,
    /// The last alert of the page before: when it was raised, and its id.
    pub after: Option<(Timestamp, AlertId)>,
}

/// Change of an alert, and what became of its notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertTransition {
    /// Number of the change.
    pub revision: u32,
    /// Kind.
    pub kind: TransitionKind,
    /// Time.
    pub at: Timestamp,
    /// Severity after it.
    pub severity: Severity,
    /// Person who did it.
    pub actor: Option<String>,
    /// Words to it.
    pub detail: Option<String>,
    /// When it was settled whether it is notified.
    pub settled_at: Option<Timestamp>,
    /// Cause for which it was not.
    pub suppressed_by: Option<Suppression>,
    /// Message that says it.
    pub notification: Option<NotificationId>,
}

/// What people have been notified of the newest alert of a rule and subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertNotice {
    /// What they have been notified of last.
    pub notified: Notified,
    /// Why a notification is held, if one is.
    pub held: Option<Suppression>,
    /// Level of routes that was notified.
    pub level: u8,
}

macro_rules! alert {
    ($row:expr) => {{
        let row = $row;
        key(&row.rule, &row.subject_kind, &row.subject_id).and_then(|key| {
            Some(AlertRecord {
                id: AlertId(row.alert_id),
                key,
                labels: SubjectLabels { name: row.subject_name, groups: row.groups, tags: row.tags },
                severity: row.severity.parse().ok()?,
                state: row.state.parse().ok()?,
                reason: row.reason,
                opened_at: row.opened_at,
                acknowledged: match (row.acknowledged_by, row.acknowledged_note, row.acknowledged_at) {
                    (Some(by), Some(note), Some(at)) => Some(Acknowledgement { by, note, at }),
                    _ => None,
                },
                resolved: row.resolved_at.zip(row.resolve_cause.as_deref().and_then(ResolveCause::parse)),
                revision: row.revision.unsigned_abs(),
            })
        })
    }};
}

impl Store {
    /// At most `limit` alerts, the newest first. Those of rules of a later build are left out.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert_page(&self, query: &AlertQuery, limit: i64) -> Result<Vec<AlertRecord>, StoreError> {
        let states: Vec<_> = query.states.iter().map(|state| state.as_str().to_owned()).collect();
        let least = query.min_severity.unwrap_or(Severity::Info);
        let severities: Vec<_> = Severity::ALL.into_iter().filter(|one| *one >= least).map(|one| one.as_str().to_owned()).collect();
        let rows = sqlx::query!(
            "SELECT alert_id, shard_id, rule, subject_kind, subject_id, subject_name, groups, tags, severity, state, reason,
                opened_at, acknowledged_by, acknowledged_note, acknowledged_at, resolved_at, resolve_cause, revision
             FROM alert
             WHERE (cardinality($1::text[]) = 0 OR state = ANY($1)) AND severity = ANY($2) AND ($3::text IS NULL OR rule = $3)
               AND ($4::text IS NULL OR (subject_kind = $4 AND subject_id = $5))
               AND (cardinality($9::text[]) = 0 OR groups && $9)
               AND opened_at BETWEEN coalesce($10::timestamptz, '-infinity') AND coalesce($11::timestamptz, 'infinity')
               AND ($12::timestamptz IS NULL OR resolved_at IS NULL OR resolved_at >= $12)
               AND (opened_at, alert_id) < (coalesce($6::timestamptz, 'infinity'), coalesce($7::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
             ORDER BY opened_at DESC, alert_id DESC LIMIT $8",
            &states,
            &severities,
            query.rule.map(Rule::as_str),
            query.subject.as_ref().map(|subject| subject.kind().as_str()),
            query.subject.as_ref().map(Subject::id),
            query.after.map(|(at, _)| at),
            query.after.map(|(_, id)| id.0),
            limit,
            &query.groups,
            query.since,
            query.until,
            query.open_since
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(|row| alert!(row)).collect())
    }

    /// An alert.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert(&self, id: AlertId) -> Result<Option<AlertRecord>, StoreError> {
        let row = sqlx::query!(
            "SELECT alert_id, shard_id, rule, subject_kind, subject_id, subject_name, groups, tags, severity, state, reason,
                opened_at, acknowledged_by, acknowledged_note, acknowledged_at, resolved_at, resolve_cause, revision
             FROM alert WHERE alert_id = $1",
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.and_then(|row| alert!(row)))
    }

    /// History of an alert, at most its first `limit` changes.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert_history(&self, id: AlertId, limit: i64) -> Result<Vec<AlertTransition>, StoreError> {
        let rows = sqlx::query!(
            "SELECT revision, kind, at, severity, actor, detail, settled_at, suppressed_by, notification_id
             FROM alert_transition WHERE alert_id = $1 ORDER BY revision LIMIT $2",
            id.0,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let transition = rows.into_iter().filter_map(|row| {
            Some(AlertTransition {
                revision: row.revision.unsigned_abs(),
                kind: TransitionKind::parse(&row.kind)?,
                at: row.at,
                severity: row.severity.parse().ok()?,
                actor: row.actor,
                detail: row.detail,
                settled_at: row.settled_at,
                suppressed_by: row.suppressed_by.as_deref().and_then(Suppression::parse),
                notification: row.notification_id.map(NotificationId),
            })
        });
        Ok(transition.collect())
    }

    /// States of these alerts; of those that there are.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert_states(&self, ids: &[AlertId]) -> Result<Vec<(AlertId, AlertState)>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!("SELECT alert_id, state FROM alert WHERE alert_id = ANY($1)", &ids).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().filter_map(|row| Some((AlertId(row.alert_id), row.state.parse().ok()?))).collect())
    }

    /// What people have been notified of the rule and subject of an alert, if it is the newest of them.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert_notice(&self, id: AlertId) -> Result<Option<AlertNotice>, StoreError> {
        let row = sqlx::query!(
            "SELECT n.notified, n.held, n.level FROM alert a JOIN alert_notice n USING (rule, subject_kind, subject_id)
             WHERE a.alert_id = $1 AND n.alert_id = $1",
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.and_then(|row| {
            Some(AlertNotice {
                notified: Notified::parse(&row.notified)?,
                held: row.held.as_deref().and_then(Suppression::parse),
                level: row.level.try_into().unwrap_or_default(),
            })
        }))
    }

    /// Devices of which an alert of the rule is open, at most `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn devices_alerted(&self, rule: Rule, limit: i64) -> Result<Vec<DeviceId>, StoreError> {
        let rows = sqlx::query_scalar!(
            "SELECT subject_id FROM alert WHERE rule = $1 AND subject_kind = 'device' AND state <> 'resolved' LIMIT $2",
            rule.as_str(),
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// How often each rule has fired since then.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alerts_raised(&self, since: Timestamp) -> Result<Vec<(Rule, u64)>, StoreError> {
        let rows = sqlx::query!(r#"SELECT rule, count(*) AS "count!" FROM alert WHERE opened_at >= $1 GROUP BY rule"#, since)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().filter_map(|row| Some((row.rule.parse().ok()?, row.count.unsigned_abs()))).collect())
    }

    /// Number of open alerts by rule, severity and state.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn open_alert_counts(&self) -> Result<Vec<(Rule, Severity, AlertState, u64)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT rule, severity, state, count(*) AS "count!" FROM alert WHERE state <> 'resolved' GROUP BY rule, severity, state"#
        )
        .fetch_all(&self.pool)
        .await?;
        let count = rows.into_iter().filter_map(|row| {
            Some((row.rule.parse().ok()?, row.severity.parse().ok()?, row.state.parse().ok()?, row.count.unsigned_abs()))
        });
        Ok(count.collect())
    }
}
