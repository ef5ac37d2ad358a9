//! Alerts in pages, and the history of one.

use domain::alert::{Acknowledgement, AlertRecord, AlertState, ResolveCause, Rule, Severity, Subject, SubjectLabels, TransitionKind};
use domain::notification::{Notified, Suppression};
use domain::{AlertId, DeviceId, NotificationId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row};

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
    /// Tags, one of which the subject had, in the same way.
    pub tags: Vec<String>,
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
    /// Further messages that say it, to a part of its recipients each.
    pub further: Vec<NotificationId>,
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

const COLUMNS: &str = "SELECT alert_id, rule, subject_kind, subject_id, subject_name, groups, tags, severity, state, reason, opened_at, \
     acknowledged_by, acknowledged_note, acknowledged_at, resolved_at, resolve_cause, revision FROM alert WHERE ";

/// The alert of a row. `None`: of a rule of a later build.
fn read(row: &PgRow) -> Result<Option<AlertRecord>, StoreError> {
    let text = |column: &str| row.try_get::<&str, _>(column);
    let (Some(key), Ok(severity), Ok(state)) = (
        key(text("rule")?, text("subject_kind")?, text("subject_id")?),
        text("severity")?.parse::<Severity>(),
        text("state")?.parse::<AlertState>(),
    ) else {
        return Ok(None);
    };
    let by: Option<String> = row.try_get("acknowledged_by")?;
    let note: Option<String> = row.try_get("acknowledged_note")?;
    let at: Option<Timestamp> = row.try_get("acknowledged_at")?;
    let resolved_at: Option<Timestamp> = row.try_get("resolved_at")?;
    let cause: Option<String> = row.try_get("resolve_cause")?;
    Ok(Some(AlertRecord {
        id: AlertId(row.try_get("alert_id")?),
        key,
        labels: SubjectLabels { name: row.try_get("subject_name")?, groups: row.try_get("groups")?, tags: row.try_get("tags")? },
        severity,
        state,
        reason: row.try_get("reason")?,
        opened_at: row.try_get("opened_at")?,
        acknowledged: match (by, note, at) {
            (Some(by), Some(note), Some(at)) => Some(Acknowledgement { by, note, at }),
            _ => None,
        },
        resolved: resolved_at.zip(cause.as_deref().and_then(ResolveCause::parse)),
        revision: row.try_get::<i32, _>("revision")?.unsigned_abs(),
    }))
}

/// Statement of a page, built at run time: plans are generic, so that one with every condition in it could use none of their indexes.
fn page_query(asked: &AlertQuery, limit: i64) -> QueryBuilder<Postgres> {
    let AlertQuery { states, rule, min_severity, subject, groups, tags, since, until, open_since, after } = asked;
    let mut query = QueryBuilder::new(COLUMNS);
    // Constants: the planner compares them with the conditions of partial indexes.
    let asks = |state: AlertState| states.is_empty() || states.contains(&state);
    let open = [AlertState::Firing, AlertState::Acknowledged];
    match (asks(AlertState::Resolved), open.map(asks)) {
        (true, [true, true]) => query.push("true"),
        (true, [false, false]) => query.push("state = 'resolved'"),
        (false, [true, true]) => query.push("state <> 'resolved'"),
        (resolved, _) => {
            query.push(if resolved { "state = ANY (" } else { "state <> 'resolved' AND state = ANY (" });
            query.push_bind(states.iter().map(|state| state.as_str().to_owned()).collect::<Vec<_>>()).push(")")
        }
    };
    if let Some(least) = min_severity.filter(|least| *least > Severity::Info) {
        let severities: Vec<_> = Severity::ALL.into_iter().filter(|one| *one >= least).map(|one| one.as_str().to_owned()).collect();
        query.push(" AND severity = ANY (").push_bind(severities).push(")");
    }
    if let Some(rule) = rule {
        query.push(" AND rule = ").push_bind(rule.as_str());
    }
    if let Some(subject) = subject {
        query.push(" AND subject_kind = ").push_bind(subject.kind().as_str()).push(" AND subject_id = ").push_bind(subject.id());
    }
    if !groups.is_empty() {
        query.push(" AND groups && ").push_bind(groups.clone());
    }
    if !tags.is_empty() {
        query.push(" AND tags && ").push_bind(tags.clone());
    }
    if let Some(since) = since {
        query.push(" AND opened_at >= ").push_bind(*since);
    }
    if let Some(until) = until {
        query.push(" AND opened_at <= ").push_bind(*until);
    }
    if let Some(open_since) = open_since {
        query.push(" AND (resolved_at IS NULL OR resolved_at >= ").push_bind(*open_since).push(")");
    }
    if let Some((at, id)) = after {
        query.push(" AND (opened_at, alert_id) < (").push_bind(*at).push(", ").push_bind(id.0).push(")");
    }
    query.push(" ORDER BY opened_at DESC, alert_id DESC LIMIT ").push_bind(limit);
    query
}

impl Store {
    /// At most `limit` alerts, the newest first. Those of rules of a later build are left out.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert_page(&self, query: &AlertQuery, limit: i64) -> Result<Vec<AlertRecord>, StoreError> {
        let most = usize::try_from(limit).unwrap_or_default();
        let (mut page, mut query) = (Vec::new(), query.clone());
        loop {
            let rows = page_query(&query, limit).build().fetch_all(&self.pool).await?;
            for row in &rows {
                page.extend(read(row)?);
            }
            // Those that were left out are no end of the list.
            match rows.last().filter(|_| rows.len() >= most && page.len() < most) {
                Some(last) => query.after = Some((last.try_get("opened_at")?, AlertId(last.try_get("alert_id")?))),
                None => break,
            }
        }
        page.truncate(most);
        Ok(page)
    }

    /// An alert.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert(&self, id: AlertId) -> Result<Option<AlertRecord>, StoreError> {
        let row = QueryBuilder::<Postgres>::new(COLUMNS).push("alert_id = ").push_bind(id.0).build().fetch_optional(&self.pool).await?;
        Ok(row.as_ref().map(read).transpose()?.flatten())
    }

    /// History of an alert, at most its first `limit` changes.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert_history(&self, id: AlertId, limit: i64) -> Result<Vec<AlertTransition>, StoreError> {
        let rows = sqlx::query!(
            "SELECT revision, kind, at, severity, actor, detail, settled_at, suppressed_by, notification_id, further_notifications
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
                further: row.further_notifications.unwrap_or_default().into_iter().map(NotificationId).collect(),
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

    /// How often each rule has fired between these times, by the hour of UTC. The later one is not part of it.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alerts_raised(&self, from: Timestamp, until: Timestamp) -> Result<Vec<(Rule, Timestamp, u64)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT rule, date_trunc('hour', opened_at, 'UTC') AS "hour!", count(*) AS "count!"
               FROM alert WHERE opened_at >= $1 AND opened_at < $2 GROUP BY 1, 2 ORDER BY 2, 1"#,
            from,
            until
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(|row| Some((row.rule.parse().ok()?, row.hour, row.count.unsigned_abs()))).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(asked: AlertQuery) -> String {
        let statement = page_query(&asked, 50).into_string();
        statement.strip_prefix(COLUMNS).unwrap().split(" ORDER BY ").next().unwrap().to_owned()
    }

    #[test]
    fn a_page_has_the_conditions_alone_that_are_asked_for() {
        use AlertState::{Acknowledged, Firing, Resolved};
        let all = AlertQuery::default;
        let states = |states: &[AlertState]| conditions(AlertQuery { states: states.to_vec(), ..all() });
        assert_eq!(states(&[]), "true");
        assert_eq!(states(&[Acknowledged, Firing]), "state <> 'resolved'", "the condition of the index of open ones");
        assert_eq!(states(&[Firing]), "state <> 'resolved' AND state = ANY ($1)");
        assert_eq!(states(&[Resolved]), "state = 'resolved'");
        assert_eq!(states(&[Resolved, Firing]), "state = ANY ($1)");
        assert_eq!(states(&AlertState::ALL), "true");
        assert_eq!(conditions(AlertQuery { rule: Some(Rule::AppDown), min_severity: Some(Severity::Info), ..all() }), "true AND rule = $1");
        assert_eq!(conditions(AlertQuery { min_severity: Some(Severity::Warning), ..all() }), "true AND severity = ANY ($1)");
        let subject = Some(Subject::Node("a".into()));
        assert_eq!(conditions(AlertQuery { subject, ..all() }), "true AND subject_kind = $1 AND subject_id = $2");
    }
}
