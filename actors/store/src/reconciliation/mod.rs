//! Reconciliation: derived rows beside what they are derived from, their repair, and the records of it.

mod commands;
mod deployments;
mod hours;
mod status;

use std::collections::BTreeMap;

use domain::Timestamp;
use domain::reconciliation::{Check, Drift, DriftKind, FieldDrift, ReconciliationRun};
use serde_json::{Value, json};

pub use hours::HourDrift;
pub use status::StatusChunk;

use crate::{Store, StoreError};

impl Store {
    /// Keeps the record of a run.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_reconciliation_run(&self, run: &ReconciliationRun) -> Result<(), StoreError> {
        let kinds: serde_json::Map<_, _> = run.kinds.iter().map(|(kind, rows)| (kind.as_str().to_owned(), json!(rows))).collect();
        let examples: Vec<_> = run.examples.iter().map(written).collect();
        sqlx::query!(
            "INSERT INTO reconciliation_run (check_name, node, started_at, seconds, checked, drifted, healed, complete, kinds, examples)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            run.check.as_str(),
            run.node,
            run.started_at,
            run.seconds,
            run.checked as i64,
            run.drifted as i64,
            run.healed as i64,
            run.complete,
            Value::Object(kinds),
            Value::Array(examples)
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// At most `limit` records of runs with their numbers, the newest first, behind the one at `older_than`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn reconciliation_runs(
        &self,
        check: Option<Check>,
        older_than: Option<i64>,
        limit: i64,
    ) -> Result<Vec<(i64, ReconciliationRun)>, StoreError> {
        let rows = sqlx::query_as!(
            RunRow,
            "SELECT run_id, check_name, node, started_at, seconds, checked, drifted, healed, complete, kinds, examples
             FROM reconciliation_run
             WHERE ($1::text IS NULL OR check_name = $1) AND ($2::bigint IS NULL OR run_id < $2)
             ORDER BY run_id DESC LIMIT $3",
            check.map(Check::as_str),
            older_than,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(RunRow::read).collect())
    }

    /// The newest run of each check, and of each node that runs one for itself, since this time.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn newest_reconciliation_runs(&self, since: Timestamp) -> Result<Vec<ReconciliationRun>, StoreError> {
        let rows = sqlx::query_as!(
            RunRow,
            "SELECT DISTINCT ON (check_name, node)
                 run_id, check_name, node, started_at, seconds, checked, drifted, healed, complete, kinds, examples
             FROM reconciliation_run WHERE started_at >= $1 ORDER BY check_name, node, run_id DESC",
            since
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(RunRow::read).map(|(_, run)| run).collect())
    }

    /// Deletes at most `limit` records of runs from before this time. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_reconciliation_runs(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM reconciliation_run WHERE run_id = ANY(ARRAY(
                 SELECT run_id FROM reconciliation_run WHERE started_at < $1 ORDER BY started_at LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }
}

struct RunRow {
    run_id: i64,
    check_name: String,
    node: String,
    started_at: Timestamp,
    seconds: f64,
    checked: i64,
    drifted: i64,
    healed: i64,
    complete: bool,
    kinds: Value,
    examples: Value,
}

impl RunRow {
    /// The record; `None`: a later build compares what this one does not know.
    fn read(self) -> Option<(i64, ReconciliationRun)> {
        let kinds = self.kinds.as_object().into_iter().flatten();
        let kinds: BTreeMap<_, _> = kinds.filter_map(|(kind, rows)| Some((DriftKind::parse(kind)?, rows.as_u64()?))).collect();
        let run = ReconciliationRun {
            check: Check::parse(&self.check_name)?,
            node: self.node,
            started_at: self.started_at,
            seconds: self.seconds,
            checked: self.checked.unsigned_abs(),
            drifted: self.drifted.unsigned_abs(),
            healed: self.healed.unsigned_abs(),
            complete: self.complete,
            kinds,
            examples: self.examples.as_array().into_iter().flatten().filter_map(read).collect(),
        };
        Some((self.run_id, run))
    }
}

fn written(drift: &Drift) -> Value {
    let fields: Vec<_> =
        drift.fields.iter().map(|field| json!({"field": field.field, "stored": field.stored, "expected": field.expected})).collect();
    json!({"kind": drift.kind.as_str(), "subject": drift.subject, "healed": drift.healed, "fields": fields})
}

fn read(written: &Value) -> Option<Drift> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let field = |value: &Value| {
        Some(FieldDrift { field: text(&value["field"])?, stored: text(&value["stored"]), expected: text(&value["expected"]) })
    };
    Some(Drift {
        kind: DriftKind::parse(written["kind"].as_str()?)?,
        subject: text(&written["subject"])?,
        healed: written["healed"].as_bool()?,
        fields: written["fields"].as_array()?.iter().filter_map(field).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_read_back_as_they_were() {
        let drift = Drift {
            kind: DriftKind::StatusBehind,
            subject: "s".into(),
            fields: vec![FieldDrift::new("battery_pct", None, Some("3".into()))],
            healed: true,
        };
        assert_eq!(read(&written(&drift)), Some(drift));
        assert_eq!(read(&json!({"kind": "of a later build", "subject": "", "healed": true, "fields": []})), None);
    }
}
