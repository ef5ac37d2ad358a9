//! Open alerts, counted by what they are about.

use domain::alert::{AlertGrouping, AlertState, Rule, Severity};
use sqlx::{Postgres, QueryBuilder, Row};

use crate::{Store, StoreError};

/// Alerts that have something in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertGroup {
    /// Kind of the subject; of groups and tags none.
    pub subject_kind: Option<String>,
    /// Name of the group or tag, or id of the subject; `None`: no group or tag.
    pub key: Option<String>,
    /// Name of the subject.
    pub name: String,
    /// The greatest severity.
    pub severity: Severity,
    /// Number.
    pub alerts: u64,
}

impl Store {
    /// Alerts in an open state, at least of a severity and of a rule if they are given, counted by what they are about: at most `limit`, the most severe
    /// first and the largest of those. Of subjects that have changed their name the newest one stands.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn open_alert_groups(
        &self,
        by: AlertGrouping,
        state: AlertState,
        min_severity: Severity,
        rule: Option<Rule>,
        limit: i64,
    ) -> Result<Vec<AlertGroup>, StoreError> {
        // Those without a label are a group of their own.
        let (columns, from) = match by {
            AlertGrouping::Rule => ("NULL::text AS subject_kind, a.rule AS key, ''", ""),
            AlertGrouping::Group => (
                "NULL::text AS subject_kind, g.key, ''",
                " CROSS JOIN LATERAL UNNEST(CASE cardinality(a.groups) WHEN 0 THEN '{NULL}' ELSE a.groups END) AS g(key)",
            ),
            AlertGrouping::Tag => (
                "NULL::text AS subject_kind, g.key, ''",
                " CROSS JOIN LATERAL UNNEST(CASE cardinality(a.tags) WHEN 0 THEN '{NULL}' ELSE a.tags END) AS g(key)",
            ),
            AlertGrouping::Subject => ("a.subject_kind, a.subject_id AS key, (array_agg(a.subject_name ORDER BY a.opened_at DESC))[1]", ""),
        };
        let mut query = QueryBuilder::<Postgres>::new("SELECT ");
        query.push(columns).push(
            " AS name, max(CASE a.severity WHEN 'critical' THEN 2 WHEN 'warning' THEN 1 ELSE 0 END) AS rank, count(*) AS alerts FROM alert a",
        );
        query.push(from).push(" WHERE a.state <> 'resolved' AND a.state = ").push_bind(state.as_str());
        let severities: Vec<_> = Severity::ALL.into_iter().filter(|one| *one >= min_severity).map(|one| one.as_str().to_owned()).collect();
        query.push(" AND a.severity = ANY (").push_bind(severities).push(")");
        if let Some(rule) = rule {
            query.push(" AND a.rule = ").push_bind(rule.as_str());
        }
        query.push(" GROUP BY 1, 2 ORDER BY rank DESC, alerts DESC, key LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(&self.pool).await?;
        rows.iter()
            .map(|row| {
                Ok(AlertGroup {
                    subject_kind: row.try_get("subject_kind")?,
                    key: row.try_get("key")?,
                    name: row.try_get("name")?,
                    severity: match row.try_get::<i32, _>("rank")? {
                        2 => Severity::Critical,
                        1 => Severity::Warning,
                        _ => Severity::Info,
                    },
                    alerts: row.try_get::<i64, _>("alerts")?.unsigned_abs(),
                })
            })
            .collect()
    }
}
