//! Settings of rules by scope.

use domain::Timestamp;
use domain::alert::{Rule, RuleSetting, Severity, ThresholdScope};
use domain::name::CanonicalName;
use serde_json::{Map, Value, json};

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::{Store, StoreError};

/// The name by which a scope is found.
fn canonical(scope: &ThresholdScope) -> (&'static str, String, String) {
    let (kind, value) = scope.parts();
    let canonical = match scope {
        ThresholdScope::Group(name) | ThresholdScope::Tag(name) => CanonicalName::of(name).into_string(),
        _ => value.clone(),
    };
    (kind, canonical, value)
}

impl Store {
    /// The settings of all rules, at most `limit`. Those of rules of a later build are left out.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn rule_settings(&self, limit: i64) -> Result<Vec<RuleSetting>, StoreError> {
        let rows = sqlx::query!(
            "SELECT rule, scope_kind, scope_value, enabled, severity, thresholds FROM alert_rule_setting
             ORDER BY rule, scope_kind, scope_canonical LIMIT $1",
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let setting = rows.into_iter().filter_map(|row| {
            let values = row.thresholds.as_object().into_iter().flatten();
            Some(RuleSetting {
                rule: row.rule.parse::<Rule>().ok()?,
                scope: ThresholdScope::parse(&row.scope_kind, &row.scope_value)?,
                enabled: row.enabled,
                severity: row.severity.as_deref().and_then(|severity| severity.parse::<Severity>().ok()),
                values: values.filter_map(|(name, value)| Some((name.clone(), value.as_i64()?))).collect(),
            })
        });
        Ok(setting.collect())
    }

    /// Stores the setting of a rule for a scope, in place of the one before, and tells every node.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn put_rule_setting(&self, setting: &RuleSetting, by: &str, entry: &AuditEntry, now: Timestamp) -> Result<(), StoreError> {
        let (kind, canonical, value) = canonical(&setting.scope);
        let thresholds: Map<String, Value> = setting.values.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let mut tx = self.begin().await?;
        sqlx::query!(
            "INSERT INTO alert_rule_setting (rule, scope_kind, scope_canonical, scope_value, enabled, severity, thresholds, changed_by, changed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (rule, scope_kind, scope_canonical) DO UPDATE SET scope_value = excluded.scope_value, enabled = excluded.enabled,
                 severity = excluded.severity, thresholds = excluded.thresholds, changed_by = excluded.changed_by, changed_at = excluded.changed_at",
            setting.rule.as_str(),
            kind,
            canonical,
            value,
            setting.enabled,
            setting.severity.map(Severity::as_str),
            Value::Object(thresholds),
            by,
            now
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!("SELECT pg_notify($1, $2)", channels::ALERT, channels::RULES).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Deletes the setting of a rule for a scope. Returns whether there was one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_rule_setting(
        &self,
        rule: Rule,
        scope: &ThresholdScope,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (kind, canonical, _) = canonical(scope);
        let mut tx = self.begin().await?;
        let deleted = sqlx::query!(
            "DELETE FROM alert_rule_setting WHERE rule = $1 AND scope_kind = $2 AND scope_canonical = $3",
            rule.as_str(),
            kind,
            canonical
        )
        .execute(&mut *tx)
        .await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("SELECT pg_notify($1, $2)", channels::ALERT, channels::RULES).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}
