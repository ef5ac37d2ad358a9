//! Statistics of agent builds: counters by hour, reports of devices, and versions in the fleet.

use domain::access::Principal;
use domain::audit::AuditAction;
use domain::rollout::{BuildState, HaltPolicy, HaltReason, RolloutResults, UpdateCounts, UpdateEvent, VersionSample, halt};
use domain::shard::Epoch;
use domain::{AgentBuildId, DeviceId, Timestamp};
use serde_json::json;

use crate::agent_build::{read_state, target};
use crate::audit::{AuditEntry, append};
use crate::{Store, StoreError};

/// Checks of a build within an hour, to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateCheckCount {
    /// The build.
    pub build: AgentBuildId,
    /// Beginning of the hour.
    pub hour: Timestamp,
    /// Update checks that the build was considered for.
    pub checks: i64,
    /// Update checks that were answered with the build.
    pub eligible: i64,
}

/// Report of a device about a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateReport {
    /// The build.
    pub build: AgentBuildId,
    /// The device.
    pub device: DeviceId,
    /// Event.
    pub event: UpdateEvent,
    /// Error of the agent.
    pub error: Option<String>,
    /// Version that the device runs now.
    pub version_code: Option<i64>,
}

/// Outcome of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateReportOutcome {
    /// The report is counted.
    Counted,
    /// The report is counted, and halts the build.
    Halted(HaltReason),
    /// The device sent this report before.
    Repeated,
    /// The build does not exist.
    NotFound,
    /// The build was never offered.
    NeverOffered,
    /// The device installed another version than that of the build.
    OtherVersion(i64),
}

macro_rules! counts {
    ($row:expr) => {
        UpdateCounts {
            checks: $row.checks,
            eligible: $row.eligible,
            downloads: $row.downloads,
            installs: $row.installs,
            failures: $row.failures,
            verify_failures: $row.verify_failures,
        }
    };
}

impl Store {
    /// Adds checks that were counted in memory, all in one statement. Checks of a removed build are left out.
    ///
    /// # Errors
    /// The database is unavailable; nothing was added.
    pub async fn add_update_checks(&self, counted: &[UpdateCheckCount]) -> Result<(), StoreError> {
        // In one order, so that two nodes that add at once wait for each other instead of locking up.
        let mut counted = counted.to_vec();
        counted.sort_unstable_by_key(|one| (one.build, one.hour));
        let builds: Vec<_> = counted.iter().map(|one| one.build.0).collect();
        let hours: Vec<_> = counted.iter().map(|one| one.hour).collect();
        let checks: Vec<_> = counted.iter().map(|one| one.checks).collect();
        let eligible: Vec<_> = counted.iter().map(|one| one.eligible).collect();
        sqlx::query!(
            "INSERT INTO agent_update_stat AS s (build_id, hour, checks, eligible)
             SELECT t.build_id, t.hour, t.checks, t.eligible
             FROM UNNEST($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[]) AS t (build_id, hour, checks, eligible)
             WHERE EXISTS (SELECT FROM agent_build b WHERE b.build_id = t.build_id)
             ON CONFLICT (build_id, hour) DO UPDATE SET checks = s.checks + excluded.checks, eligible = s.eligible + excluded.eligible",
            &builds,
            &hours,
            &checks,
            &eligible
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Stores a report, counts it unless it is repeated, and halts the build if its results require it.
    /// All of it is decided under the build's row lock, so that no halt is missed and none is told twice.
    ///
    /// # Errors
    /// The database is unavailable; the report does not count.
    pub async fn report_update(
        &self,
        report: &UpdateReport,
        policy: HaltPolicy,
        now: Timestamp,
    ) -> Result<UpdateReportOutcome, StoreError> {
        let mut tx = self.begin().await?;
        let build = sqlx::query!(
            "SELECT package, version_code, state, judged_installs, judged_failures, judged_verify_failures
             FROM agent_build WHERE build_id = $1 FOR NO KEY UPDATE",
            report.build.0
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(build) = build else { return Ok(UpdateReportOutcome::NotFound) };
        let state = read_state(&build.state)?;
        if state == BuildState::Draft {
            return Ok(UpdateReportOutcome::NeverOffered);
        }
        if report.event == UpdateEvent::Installed && report.version_code.is_some_and(|version| version != build.version_code) {
            return Ok(UpdateReportOutcome::OtherVersion(build.version_code));
        }
        let noted = sqlx::query!(
            "INSERT INTO agent_update_outcome (build_id, device_id, event, at, error) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            report.build.0,
            report.device.0,
            report.event.as_str(),
            now,
            report.error
        );
        if noted.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(UpdateReportOutcome::Repeated);
        }
        let is = |event| i64::from(report.event == event);
        sqlx::query!(
            "INSERT INTO agent_update_stat AS s (build_id, hour, downloads, installs, failures, verify_failures)
             VALUES ($1, date_trunc('hour', $2::timestamptz), $3, $4, $5, $6)
             ON CONFLICT (build_id, hour) DO UPDATE SET downloads = s.downloads + excluded.downloads, installs = s.installs + excluded.installs,
                 failures = s.failures + excluded.failures, verify_failures = s.verify_failures + excluded.verify_failures",
            report.build.0,
            now,
            is(UpdateEvent::Downloaded),
            is(UpdateEvent::Installed),
            is(UpdateEvent::Failed),
            is(UpdateEvent::VerifyFailed)
        )
        .execute(&mut *tx)
        .await?;
        let judged = RolloutResults {
            installs: build.judged_installs,
            failures: build.judged_failures,
            verify_failures: build.judged_verify_failures,
        }
        .and(report.event);
        let by = Principal::system();
        let reason = halt(policy, judged).filter(|_| state == BuildState::Promoted);
        sqlx::query!(
            "UPDATE agent_build SET judged_installs = $2, judged_failures = $3, judged_verify_failures = $4,
                 state = CASE WHEN $5::text IS NULL THEN state ELSE 'halted' END, halt_reason = COALESCE($5, halt_reason),
                 changed_by = CASE WHEN $5::text IS NULL THEN changed_by ELSE $6 END,
                 changed_at = CASE WHEN $5::text IS NULL THEN changed_at ELSE $7 END
             WHERE build_id = $1",
            report.build.0,
            judged.installs,
            judged.failures,
            judged.verify_failures,
            reason.map(HaltReason::as_str),
            by.username(),
            now
        )
        .execute(&mut *tx)
        .await?;
        if let Some(reason) = reason {
            let told = json!({
                "state": BuildState::Halted.as_str(), "halt_reason": reason.as_str(), "installs": judged.installs, "failures": judged.failures,
                "verify_failures": judged.verify_failures
            });
            let entry = AuditEntry::new(&by, AuditAction::AgentBuildHalted, target(report.build, &build.package, build.version_code));
            append(&mut tx, &entry.before(json!({"state": state.as_str()})).after(told), now).await?;
        }
        tx.commit().await?;
        Ok(reason.map_or(UpdateReportOutcome::Counted, UpdateReportOutcome::Halted))
    }

    /// Counters of a build over all hours that are kept.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn update_totals(&self, builds: &[AgentBuildId]) -> Result<Vec<(AgentBuildId, UpdateCounts)>, StoreError> {
        let ids: Vec<_> = builds.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"SELECT build_id, sum(checks)::bigint AS "checks!", sum(eligible)::bigint AS "eligible!", sum(downloads)::bigint AS "downloads!",
                   sum(installs)::bigint AS "installs!", sum(failures)::bigint AS "failures!", sum(verify_failures)::bigint AS "verify_failures!"
               FROM agent_update_stat WHERE build_id = ANY($1) GROUP BY build_id"#,
            &ids
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (AgentBuildId(row.build_id), counts!(row))).collect())
    }

    /// Counters of a build by hour since a time, oldest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn update_hours(&self, build: AgentBuildId, since: Timestamp) -> Result<Vec<(Timestamp, UpdateCounts)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT hour, checks, eligible, downloads, installs, failures, verify_failures FROM agent_update_stat
             WHERE build_id = $1 AND hour >= $2 ORDER BY hour",
            build.0,
            since
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.hour, counts!(row))).collect())
    }

    /// Errors of a build as devices report them, most frequent first, at most `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn update_errors(&self, build: AgentBuildId, limit: i64) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT error AS "error!", count(*) AS "devices!" FROM agent_update_outcome
               WHERE build_id = $1 AND error IS NOT NULL GROUP BY error ORDER BY count(*) DESC, error LIMIT $2"#,
            build.0,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.error, row.devices)).collect())
    }

    /// Keeps how many devices run which version, in place of what was counted within this hour before. Only in the epoch of
    /// the first shard, whose owner speaks for all.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn keep_version_sample(&self, hour: Timestamp, versions: &[(i64, i64)], epoch: Epoch) -> Result<(), StoreError> {
        let (codes, devices): (Vec<_>, Vec<_>) = versions.iter().copied().unzip();
        let mut tx = self.begin().await?;
        let held = sqlx::query!("SELECT shard_id FROM shard WHERE shard_id = 0 AND epoch = $1 FOR SHARE", epoch.0);
        if held.fetch_optional(&mut *tx).await?.is_none() {
            return Ok(());
        }
        sqlx::query!("DELETE FROM agent_version_sample WHERE hour = $1 AND NOT version_code = ANY($2)", hour, &codes)
            .execute(&mut *tx)
            .await?;
        sqlx::query!(
            "INSERT INTO agent_version_sample (hour, version_code, devices) SELECT $1, * FROM UNNEST($2::bigint[], $3::bigint[])
             ON CONFLICT (hour, version_code) DO UPDATE SET devices = excluded.devices",
            hour,
            &codes,
            &devices
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Numbers of devices by version since a time, oldest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn version_samples(&self, since: Timestamp) -> Result<Vec<VersionSample>, StoreError> {
        let rows = sqlx::query_as!(
            VersionSample,
            "SELECT hour, version_code, devices FROM agent_version_sample WHERE hour >= $1 ORDER BY hour, version_code",
            since
        );
        Ok(rows.fetch_all(&self.pool).await?)
    }

    /// Deletes counters, samples and what devices told from before these times, at most `limit` of each. Returns how many
    /// rows the largest of them were, so that the caller knows whether there may be more.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_agent_updates(&self, counters_before: Timestamp, outcomes_before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let hours = sqlx::query!(
            "DELETE FROM agent_update_stat WHERE ctid = ANY(ARRAY(SELECT ctid FROM agent_update_stat WHERE hour < $1 LIMIT $2))",
            counters_before,
            limit
        );
        let samples = sqlx::query!(
            "DELETE FROM agent_version_sample WHERE ctid = ANY(ARRAY(SELECT ctid FROM agent_version_sample WHERE hour < $1 LIMIT $2))",
            counters_before,
            limit
        );
        // What a build that is still offered was told keeps a device from counting twice.
        let outcomes = sqlx::query!(
            "DELETE FROM agent_update_outcome WHERE ctid = ANY(ARRAY(
                 SELECT o.ctid FROM agent_update_outcome o JOIN agent_build b USING (build_id)
                 WHERE o.at < $1 AND b.state <> 'promoted' LIMIT $2))",
            outcomes_before,
            limit
        );
        let removed = [
            hours.execute(&self.pool).await?.rows_affected(),
            samples.execute(&self.pool).await?.rows_affected(),
            outcomes.execute(&self.pool).await?.rows_affected(),
        ];
        Ok(removed.into_iter().max().unwrap_or_default())
    }
}
