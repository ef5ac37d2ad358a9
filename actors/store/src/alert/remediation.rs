//! Remediation: plans by rule and group, commands that were sent to mend alerts, and how they ended.

use domain::access::{Origin, Principal};
use domain::alert::{RemediationPlan, Remedy, Rule, Severity, SubjectLabels, TransitionKind};
use domain::audit::{AuditAction, Target};
use domain::flag::Flag;
use domain::name::CanonicalName;
use domain::shard::{ShardLease, shard_of};
use domain::{AlertId, CommandId, DeviceId, Timestamp};
use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::cluster_lock::hold_commands;
use crate::pool::Transaction;
use crate::{Store, StoreError};

/// Who sends the commands.
const ACTOR: &str = "system:remediation";

/// Stored plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRemediation {
    /// Plan.
    pub plan: RemediationPlan,
    /// Group; `None`: all devices that have no plan of a group of theirs.
    pub group: Option<String>,
    /// Name of the allowed command of [`Remedy::Exec`].
    pub exec: Option<String>,
    /// Remediations in a row that did not help.
    pub failures_in_a_row: u32,
    /// When it turned itself off.
    pub turned_off_at: Option<Timestamp>,
    /// Who changed it last.
    pub changed_by: String,
    /// When.
    pub changed_at: Timestamp,
}

impl StoredRemediation {
    /// The name by which its group is found; empty: all devices.
    fn canonical(&self) -> String {
        canonical(self.group.as_deref())
    }
}

fn canonical(group: Option<&str>) -> String {
    group.map(|group| CanonicalName::of(group).into_string()).unwrap_or_default()
}

/// Alert that may be remediated, and what has been tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemediationCandidate {
    /// Alert.
    pub alert: AlertId,
    /// When it was raised.
    pub opened_at: Timestamp,
    /// Rule.
    pub rule: Rule,
    /// Device.
    pub device: DeviceId,
    /// Severity.
    pub severity: Severity,
    /// Name, groups and tags of the device when the alert was raised.
    pub labels: SubjectLabels,
    /// Attempts so far.
    pub attempts: u32,
    /// When the last of them was made.
    pub last_attempt_at: Option<Timestamp>,
    /// Whether its outcome is not known yet.
    pub under_way: bool,
    /// Monitored app of the device.
    pub package: Option<String>,
}

/// Commands by the plans of a rule, of all groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemediationUse {
    /// Devices that are remediated at present.
    pub at_once: u32,
    /// Commands of the last hour.
    pub in_last_hour: u32,
    /// When the oldest of them was sent.
    pub oldest_at: Option<Timestamp>,
}

/// Command to send for an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemediationCommand {
    /// Right to the shard of alerts.
    pub lease: ShardLease,
    /// Alert.
    pub alert: AlertId,
    /// Rule.
    pub rule: Rule,
    /// Group of the plan.
    pub group: Option<String>,
    /// Device.
    pub device: DeviceId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Remedy.
    pub remedy: Remedy,
    /// Id of the command.
    pub command: CommandId,
    /// Parameters, JSON without secrets.
    pub params: String,
    /// Expiry of the command.
    pub expires_at: Timestamp,
    /// Most open commands of a device.
    pub open_per_device_max: i64,
    /// Time.
    pub now: Timestamp,
}

macro_rules! plan {
    ($row:expr) => {{
        let row = $row;
        let number = |number: i32| number.unsigned_abs();
        row.rule.parse::<Rule>().ok().map(|rule| StoredRemediation {
            plan: RemediationPlan {
                rule,
                enabled: row.enabled,
                attempts_max: number(row.attempts_max),
                backoff_seconds: number(row.backoff_seconds),
                at_once_max: number(row.at_once_max),
                per_hour_max: number(row.per_hour_max),
                failures_max: number(row.failures_max),
                allow_reboot: row.allow_reboot,
            },
            group: (!row.group_canonical.is_empty()).then_some(row.group_name),
            exec: row.exec_name,
            failures_in_a_row: number(row.failures_in_a_row),
            turned_off_at: row.turned_off_at,
            changed_by: row.changed_by,
            changed_at: row.changed_at,
        })
    }};
}

fn integer(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl Store {
    /// The plans of all rules and groups, at most `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn remediation_plans(&self, limit: i64) -> Result<Vec<StoredRemediation>, StoreError> {
        let rows = sqlx::query!(
            "SELECT rule, group_canonical, group_name, enabled, attempts_max, backoff_seconds, at_once_max, per_hour_max, failures_max, allow_reboot,
                 exec_name, failures_in_a_row, turned_off_at, changed_by, changed_at
             FROM alert_remediation ORDER BY rule, group_canonical LIMIT $1",
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(|row| plan!(row)).collect())
    }

    /// Stores the plan of a rule for a group or all devices, in place of the one before; its failures count anew.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn put_remediation_plan(
        &self,
        plan: &RemediationPlan,
        group: Option<&str>,
        exec: Option<&str>,
        by: &str,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "INSERT INTO alert_remediation (rule, group_canonical, group_name, enabled, attempts_max, backoff_seconds, at_once_max, per_hour_max,
                 failures_max, allow_reboot, exec_name, failures_in_a_row, changed_by, changed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12, $13)
             ON CONFLICT (rule, group_canonical) DO UPDATE SET group_name = excluded.group_name, enabled = excluded.enabled,
                 attempts_max = excluded.attempts_max, backoff_seconds = excluded.backoff_seconds, at_once_max = excluded.at_once_max,
                 per_hour_max = excluded.per_hour_max, failures_max = excluded.failures_max, allow_reboot = excluded.allow_reboot,
                 exec_name = excluded.exec_name, failures_in_a_row = 0, turned_off_at = NULL, changed_by = excluded.changed_by,
                 changed_at = excluded.changed_at",
            plan.rule.as_str(),
            canonical(group),
            group.unwrap_or_default(),
            plan.enabled,
            integer(plan.attempts_max),
            integer(plan.backoff_seconds),
            integer(plan.at_once_max),
            integer(plan.per_hour_max),
            integer(plan.failures_max),
            plan.allow_reboot,
            exec,
            by,
            now
        )
        .execute(&mut *tx)
        .await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Deletes the plan of a rule for a group or all devices. Returns whether there was one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_remediation_plan(
        &self,
        rule: Rule,
        group: Option<&str>,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let deleted =
            sqlx::query!("DELETE FROM alert_remediation WHERE rule = $1 AND group_canonical = $2", rule.as_str(), canonical(group))
                .execute(&mut *tx)
                .await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Whether remediation is stopped for the whole cluster.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn remediation_stopped(&self) -> Result<bool, StoreError> {
        let stop = Flag::RemediationStop.as_str();
        let on = sqlx::query_scalar!("SELECT enabled FROM feature_flag WHERE name = $1", stop).fetch_optional(&self.pool).await?;
        Ok(on == Some(true))
    }

    /// Alerts of these rules that fire and nobody looks after, the oldest first, at most `limit`; those that come after one, by its beginning and id.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn remediation_candidates(
        &self,
        rules: &[Rule],
        after: Option<(Timestamp, AlertId)>,
        limit: i64,
    ) -> Result<Vec<RemediationCandidate>, StoreError> {
        let (after_at, after_id) = after.map_or((Timestamp::UNIX_EPOCH, uuid::Uuid::nil()), |(at, alert)| (at, alert.0));
        let rules: Vec<_> = rules.iter().map(|rule| rule.as_str().to_owned()).collect();
        let rows = sqlx::query!(
            r#"SELECT a.alert_id, a.opened_at, a.rule, a.severity, a.subject_id, a.subject_name, a.groups, a.tags, d.monitored_package, count(t.command_id) AS "attempts!",
                 max(t.made_at) AS last_attempt_at, coalesce(bool_or(t.ended_at IS NULL AND t.command_id IS NOT NULL), false) AS "under_way!"
             FROM alert a
             JOIN device d ON d.device_id = CASE WHEN a.subject_kind = 'device' THEN a.subject_id::uuid END AND d.deleted_at IS NULL
             LEFT JOIN alert_remediation_attempt t ON t.alert_id = a.alert_id
             WHERE a.state = 'firing' AND a.rule = ANY($1) AND a.subject_kind = 'device'
                 AND (a.opened_at, a.alert_id) > ($3::timestamptz, $4::uuid)
             GROUP BY a.alert_id, d.device_id ORDER BY a.opened_at, a.alert_id LIMIT $2"#,
            &rules,
            limit,
            after_at,
            after_id
        )
        .fetch_all(&self.pool)
        .await?;
        let candidate = rows.into_iter().filter_map(|row| {
            Some(RemediationCandidate {
                alert: AlertId(row.alert_id),
                opened_at: row.opened_at,
                rule: row.rule.parse().ok()?,
                device: row.subject_id.parse().ok()?,
                severity: row.severity.parse().ok()?,
                labels: SubjectLabels { name: row.subject_name, groups: row.groups, tags: row.tags },
                attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
                last_attempt_at: row.last_attempt_at,
                under_way: row.under_way,
                package: row.monitored_package,
            })
        });
        Ok(candidate.collect())
    }

    /// Commands of a rule, whatever the plan.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn remediation_use(&self, rule: Rule, now: Timestamp) -> Result<RemediationUse, StoreError> {
        let mut connection = self.pool.acquire().await?;
        in_use(&mut connection, rule, now).await
    }

    /// Sends a command for an alert, as far as the plan is on, its caps allow it, and nothing has changed since it was decided. Returns whether it is
    /// sent.
    ///
    /// # Errors
    /// The database is unavailable; nothing is stored then.
    pub async fn send_remedy(&self, send: &RemediationCommand) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let epoch = sqlx::query_scalar!("SELECT epoch FROM shard WHERE shard_id = $1 FOR SHARE", i32::from(send.lease.shard.0))
            .fetch_optional(&mut *tx)
            .await?;
        if epoch != Some(send.lease.epoch.0) {
            return Ok(false);
        }
        // Whoever stops remediation waits for this transaction, and nothing is sent after.
        let stop = Flag::RemediationStop.as_str();
        let stopped =
            sqlx::query_scalar!("SELECT enabled FROM feature_flag WHERE name = $1 FOR SHARE", stop).fetch_optional(&mut *tx).await?;
        if stopped == Some(true) {
            return Ok(false);
        }
        // The row is locked until the commit: commands of a plan are counted one after the other.
        let plan = sqlx::query!(
            "SELECT at_once_max, per_hour_max FROM alert_remediation WHERE rule = $1 AND group_canonical = $2 AND enabled FOR UPDATE",
            send.rule.as_str(),
            canonical(send.group.as_deref())
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(plan) = plan else { return Ok(false) };
        let used = in_use(&mut tx, send.rule, send.now).await?;
        if used.at_once >= plan.at_once_max.unsigned_abs() || used.in_last_hour >= plan.per_hour_max.unsigned_abs() {
            return Ok(false);
        }
        let fires = sqlx::query!("SELECT FROM alert WHERE alert_id = $1 AND state = 'firing' FOR NO KEY UPDATE", send.alert.0)
            .fetch_optional(&mut *tx)
            .await?;
        let made = sqlx::query_scalar!(r#"SELECT count(*) AS "made!" FROM alert_remediation_attempt WHERE alert_id = $1"#, send.alert.0)
            .fetch_one(&mut *tx)
            .await?;
        if fires.is_none() || made + 1 != i64::from(send.attempt) || !insert_command(&mut tx, send).await? {
            return Ok(false);
        }
        sqlx::query!(
            "INSERT INTO alert_remediation_attempt (command_id, alert_id, rule, group_canonical, device_id, attempt, remedy, made_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            send.command.0,
            send.alert.0,
            send.rule.as_str(),
            canonical(send.group.as_deref()),
            send.device.0,
            integer(send.attempt),
            send.remedy.as_str(),
            send.now
        )
        .execute(&mut *tx)
        .await?;
        let detail = format!("{} sent, attempt {}", send.remedy.as_str(), send.attempt);
        note(&mut tx, send.alert, &detail, send.now).await?;
        let reported = json!({"request_id": send.command.to_string(), "action": send.remedy.as_str(), "alert_id": send.alert.to_string()});
        let alias = sqlx::query_scalar!("SELECT alias FROM device WHERE device_id = $1", send.device.0).fetch_optional(&mut *tx).await?;
        let target = Target::Device(send.device, alias.unwrap_or_default());
        append(
            &mut tx,
            &AuditEntry::new(&Principal::System { origin: Origin::default() }, AuditAction::CommandSent, target).after(reported),
            send.now,
        )
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Ends attempts whose outcome is known by now: the alert is resolved, the command failed, or it succeeded before `since` and the alert still
    /// fires. Counts what did not help with the plan. Answers remedies and outcomes.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn end_remedies(
        &self,
        lease: ShardLease,
        since: Timestamp,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let mut tx = self.begin().await?;
        let epoch = sqlx::query_scalar!("SELECT epoch FROM shard WHERE shard_id = $1 FOR SHARE", i32::from(lease.shard.0))
            .fetch_optional(&mut *tx)
            .await?;
        if epoch != Some(lease.epoch.0) {
            return Ok(vec![]);
        }
        let mut rows = sqlx::query!(
            r#"UPDATE alert_remediation_attempt t SET ended_at = $2, outcome = e.outcome
               FROM (
                   SELECT t.command_id, CASE
                       WHEN a.state = 'resolved' THEN 'helped'
                       WHEN c.request_id IS NULL OR c.state IN ('failed', 'expired', 'canceled') THEN 'command_failed'
                       ELSE 'did_not_help' END AS outcome
                   FROM alert_remediation_attempt t JOIN alert a USING (alert_id) LEFT JOIN command c ON c.request_id = t.command_id
                   WHERE t.ended_at IS NULL AND (a.state = 'resolved' OR c.request_id IS NULL OR c.state IN ('failed', 'expired', 'canceled')
                       OR (c.state = 'succeeded' AND c.finished_at <= $1))
                   ORDER BY t.command_id LIMIT $3 FOR NO KEY UPDATE OF t
               ) e WHERE t.command_id = e.command_id
               RETURNING t.alert_id, t.rule, t.group_canonical, t.attempt, t.remedy, e.outcome AS "outcome!""#,
            since,
            now,
            limit
        )
        .fetch_all(&mut *tx)
        .await?;
        // The order in which everybody locks alerts.
        rows.sort_by_key(|row| row.alert_id);
        let mut ended = Vec::with_capacity(rows.len());
        for row in rows {
            let words = row.outcome.replace('_', " ");
            note(&mut tx, AlertId(row.alert_id), &format!("{}, attempt {}: {words}", row.remedy, row.attempt), now).await?;
            sqlx::query!(
                "UPDATE alert_remediation SET failures_in_a_row = CASE WHEN $3 THEN 0 ELSE failures_in_a_row + 1 END
                 WHERE rule = $1 AND group_canonical = $2",
                row.rule,
                row.group_canonical,
                row.outcome == "helped"
            )
            .execute(&mut *tx)
            .await?;
            ended.push((row.remedy, row.outcome));
        }
        tx.commit().await?;
        Ok(ended)
    }

    /// Turns a plan off that keeps failing, and says so in the audit trail. Returns whether it was on, and still fails as often.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn turn_remediation_off(&self, plan: &StoredRemediation, lease: ShardLease, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let epoch = sqlx::query_scalar!("SELECT epoch FROM shard WHERE shard_id = $1 FOR SHARE", i32::from(lease.shard.0))
            .fetch_optional(&mut *tx)
            .await?;
        if epoch != Some(lease.epoch.0) {
            return Ok(false);
        }
        let off = sqlx::query!(
            "UPDATE alert_remediation SET enabled = false, turned_off_at = $3, changed_by = $4, changed_at = $3
             WHERE rule = $1 AND group_canonical = $2 AND enabled AND failures_in_a_row >= failures_max",
            plan.plan.rule.as_str(),
            plan.canonical(),
            now,
            ACTOR
        )
        .execute(&mut *tx)
        .await?;
        if off.rows_affected() == 0 {
            return Ok(false);
        }
        let target = Target::Other { kind: "alert_remediation", id: None, name: Some(plan.plan.rule.as_str().to_owned()) };
        let after = json!({"enabled": false, "group": plan.group, "failures_in_a_row": plan.failures_in_a_row});
        let entry =
            AuditEntry::new(&Principal::System { origin: Origin::default() }, AuditAction::RemediationTurnedOff, target).after(after);
        append(&mut tx, &entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}

async fn in_use(connection: &mut crate::pool::Connection, rule: Rule, now: Timestamp) -> Result<RemediationUse, StoreError> {
    let row = sqlx::query!(
        r#"SELECT count(DISTINCT device_id) FILTER (WHERE ended_at IS NULL) AS "at_once!",
               count(*) FILTER (WHERE made_at > $2) AS "in_last_hour!", min(made_at) FILTER (WHERE made_at > $2) AS oldest_at
           FROM alert_remediation_attempt WHERE rule = $1 AND (ended_at IS NULL OR made_at > $2)"#,
        rule.as_str(),
        now - chrono::TimeDelta::hours(1)
    )
    .fetch_one(connection)
    .await?;
    let number = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(RemediationUse { at_once: number(row.at_once), in_last_hour: number(row.in_last_hour), oldest_at: row.oldest_at })
}

/// Makes the command. `false`: the device has as many open commands as it may have, or is gone.
async fn insert_command(tx: &mut Transaction, send: &RemediationCommand) -> Result<bool, StoreError> {
    let shard = i32::from(shard_of(send.device).0);
    hold_commands(tx, &[shard]).await?;
    let made = sqlx::query!(
        "INSERT INTO command (request_id, device_id, shard_id, action, params, params_shown, state, created_by, created_at, release_at, expires_at)
         SELECT $1, d.device_id, $3, $4, $5, $5, 'queued', $6, $7, $7, $8 FROM device d
         WHERE d.device_id = $2 AND d.deleted_at IS NULL
           AND (SELECT count(*) FROM command c WHERE c.device_id = $2 AND c.state IN ('queued', 'sent', 'delivered')) < $9",
        send.command.0,
        send.device.0,
        shard,
        send.remedy.as_str(),
        send.params,
        ACTOR,
        send.now,
        send.expires_at,
        send.open_per_device_max
    )
    .execute(&mut **tx)
    .await?;
    if made.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!("SELECT pg_notify($1, $2)", channels::COMMAND, send.device.to_string()).execute(&mut **tx).await?;
    Ok(true)
}

/// Adds a row to the history of an alert.
async fn note(tx: &mut Transaction, alert: AlertId, detail: &str, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH changed AS (UPDATE alert SET revision = revision + 1 WHERE alert_id = $1 RETURNING alert_id, revision, severity)
         INSERT INTO alert_transition (alert_id, revision, kind, at, severity, actor, detail)
         SELECT alert_id, revision, $2, $3, severity, $4, left($5, 500) FROM changed",
        alert.0,
        TransitionKind::Remediated.as_str(),
        now,
        ACTOR,
        detail
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
