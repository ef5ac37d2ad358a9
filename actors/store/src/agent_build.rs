//! Agent builds: lists, promotion, and actions of people on them.

use domain::access::Principal;
use domain::audit::{AuditAction, Target};
use domain::rollout::{AgentBuild, BuildCandidate, BuildState, HaltReason, Promotion, RolloutResults};
use domain::{AgentBuildId, ApkId, CommandBatchId, Timestamp};
use serde_json::{Value, json};

use crate::audit::{AuditEntry, append};
use crate::cluster_lock::hold_limit;
use crate::{Store, StoreError};

/// Outcome of adding a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddBuildOutcome {
    /// The build was added.
    New,
    /// This APK, or another of the same version, is a build already.
    Existing(AgentBuildId),
    /// The APK is gone.
    NoApk,
    /// The limit of builds is reached.
    TooMany,
}

/// Action of a person on a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildAction {
    /// Promotes the build, or changes the promotion.
    Promote(Promotion),
    /// Changes the percentage of the cohort.
    Rollout(u8),
    /// Rolls the build back: it is no longer offered.
    RollBack,
}

/// Outcome of an action on a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildActionOutcome {
    /// The action is stored.
    Done,
    /// The build does not exist.
    NotFound,
    /// The state of the build does not allow the action.
    WrongState(BuildState),
    /// The file of its APK was deleted.
    NoApk,
}

macro_rules! agent_build {
    ($row:expr) => {{
        let row = $row;
        AgentBuild {
            id: AgentBuildId(row.build_id),
            apk: ApkId(row.apk_id),
            package: row.package,
            version_code: row.version_code,
            version_name: row.version_name,
            sha256: row.sha256,
            size_bytes: row.size_bytes,
            signers_sha256: row.signers_sha256,
            release_notes: row.release_notes,
            state: read_state(&row.state)?,
            promotion: promotion(row.rollout_percent, row.wifi_only, row.must_install, row.min_battery_pct),
            halt_reason: row.halt_reason.as_deref().and_then(HaltReason::parse),
            judged: RolloutResults {
                installs: row.judged_installs,
                failures: row.judged_failures,
                verify_failures: row.judged_verify_failures,
            },
            created_by: row.created_by,
            created_at: row.created_at,
            promoted_by: row.promoted_by,
            promoted_at: row.promoted_at,
            changed_by: row.changed_by,
            changed_at: row.changed_at,
            nudged_by: row.nudged_by,
            nudged_at: row.nudged_at,
        }
    }};
}

pub(crate) fn read_state(name: &str) -> Result<BuildState, StoreError> {
    BuildState::parse(name).ok_or(StoreError::Corrupt("agent_build.state"))
}

fn promotion(percent: Option<i16>, wifi_only: bool, must_install: bool, min_battery_pct: i16) -> Option<Promotion> {
    let small = |value: i16| u8::try_from(value).unwrap_or_default();
    percent.map(|percent| Promotion { rollout_percent: small(percent), wifi_only, must_install, min_battery_pct: small(min_battery_pct) })
}

impl Store {
    /// Every build, the newest version first, at most `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn agent_builds(&self, limit: i64) -> Result<Vec<AgentBuild>, StoreError> {
        let rows = sqlx::query!(
            "SELECT b.build_id, b.apk_id, b.package, b.version_code, b.release_notes, b.state, b.rollout_percent, b.wifi_only, b.must_install,
                 b.min_battery_pct, b.halt_reason, b.judged_installs, b.judged_failures, b.judged_verify_failures, b.created_by, b.created_at,
                 b.promoted_by, b.promoted_at, b.changed_by, b.changed_at, b.nudged_by, b.nudged_at, a.version_name, a.sha256, a.size_bytes, a.signers_sha256
             FROM agent_build b JOIN apk a USING (apk_id) ORDER BY b.version_code DESC, b.build_id DESC LIMIT $1",
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| Ok(agent_build!(row))).collect()
    }

    /// Promoted and halted builds, the newest versions first, at most `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn circulating_agent_builds(&self, limit: i64) -> Result<Vec<AgentBuild>, StoreError> {
        let rows = sqlx::query!(
            "SELECT b.build_id, b.apk_id, b.package, b.version_code, b.release_notes, b.state, b.rollout_percent, b.wifi_only, b.must_install,
                 b.min_battery_pct, b.halt_reason, b.judged_installs, b.judged_failures, b.judged_verify_failures, b.created_by, b.created_at,
                 b.promoted_by, b.promoted_at, b.changed_by, b.changed_at, b.nudged_by, b.nudged_at, a.version_name, a.sha256, a.size_bytes, a.signers_sha256
             FROM agent_build b JOIN apk a USING (apk_id)
             WHERE b.state = 'halted' OR (b.state = 'promoted' AND a.deleted_at IS NULL) ORDER BY b.version_code DESC LIMIT $1",
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| Ok(agent_build!(row))).collect()
    }

    /// A build.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn agent_build(&self, id: AgentBuildId) -> Result<Option<AgentBuild>, StoreError> {
        let row = sqlx::query!(
            "SELECT b.build_id, b.apk_id, b.package, b.version_code, b.release_notes, b.state, b.rollout_percent, b.wifi_only, b.must_install,
                 b.min_battery_pct, b.halt_reason, b.judged_installs, b.judged_failures, b.judged_verify_failures, b.created_by, b.created_at,
                 b.promoted_by, b.promoted_at, b.changed_by, b.changed_at, b.nudged_by, b.nudged_at, a.version_name, a.sha256, a.size_bytes, a.signers_sha256
             FROM agent_build b JOIN apk a USING (apk_id) WHERE b.build_id = $1",
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| Ok(agent_build!(row))).transpose()
    }

    /// APKs of a package that are no build yet, the newest version first, at most `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn agent_build_candidates(&self, package: &str, limit: i64) -> Result<Vec<BuildCandidate>, StoreError> {
        let rows = sqlx::query!(
            "SELECT apk_id, version_code, version_name, size_bytes FROM apk a
             WHERE package = $1 AND deleted_at IS NULL AND NOT EXISTS (
                 SELECT FROM agent_build b WHERE b.apk_id = a.apk_id OR (b.package = a.package AND b.version_code = a.version_code))
             ORDER BY version_code DESC LIMIT $2",
            package,
            limit
        );
        let rows = rows.fetch_all(&self.pool).await?;
        let candidate =
            |id, version_code, version_name, size_bytes| BuildCandidate { id: ApkId(id), version_code, version_name, size_bytes };
        Ok(rows.into_iter().map(|row| candidate(row.apk_id, row.version_code, row.version_name, row.size_bytes)).collect())
    }

    /// Adds a build of an APK, unless there would be more than `most`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn add_agent_build(
        &self,
        id: AgentBuildId,
        apk: ApkId,
        release_notes: &str,
        most: i64,
        by: &Principal,
        now: Timestamp,
    ) -> Result<AddBuildOutcome, StoreError> {
        let mut tx = self.begin().await?;
        hold_limit(&mut tx, "agent_build").await?;
        // Held, so that its file is not deleted meanwhile.
        let found = sqlx::query!("SELECT package, version_code FROM apk WHERE apk_id = $1 AND deleted_at IS NULL FOR SHARE", apk.0);
        let Some(found) = found.fetch_optional(&mut *tx).await? else { return Ok(AddBuildOutcome::NoApk) };
        let added = sqlx::query!(
            "INSERT INTO agent_build (build_id, apk_id, package, version_code, release_notes, state, created_by, created_at, changed_by, changed_at)
             SELECT $1, $2, $3, $4, $5, 'draft', $6, $7, $6, $7 WHERE (SELECT count(*) FROM agent_build) < $8
             ON CONFLICT DO NOTHING",
            id.0,
            apk.0,
            found.package,
            found.version_code,
            release_notes,
            by.username(),
            now,
            most
        );
        if added.execute(&mut *tx).await?.rows_affected() == 0 {
            let known = sqlx::query_scalar!(
                "SELECT build_id FROM agent_build WHERE apk_id = $1 OR (package = $2 AND version_code = $3)",
                apk.0,
                found.package,
                found.version_code
            );
            let known = known.fetch_optional(&mut *tx).await?;
            return Ok(known.map_or(AddBuildOutcome::TooMany, |known| AddBuildOutcome::Existing(AgentBuildId(known))));
        }
        let told = json!({"apk_id": apk.to_string(), "package": found.package, "version_code": found.version_code});
        let entry = AuditEntry::new(by, AuditAction::AgentBuildAdded, target(id, &found.package, found.version_code)).after(told);
        append(&mut tx, &entry, now).await?;
        tx.commit().await?;
        Ok(AddBuildOutcome::New)
    }

    /// Applies an action to a build under the lock of its row, so that a halt and a promotion do not overtake each other.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn act_on_agent_build(
        &self,
        id: AgentBuildId,
        act: BuildAction,
        by: &Principal,
        now: Timestamp,
    ) -> Result<BuildActionOutcome, StoreError> {
        let mut tx = self.begin().await?;
        let found = sqlx::query!(
            "SELECT b.package, b.version_code, b.state, b.rollout_percent, b.wifi_only, b.must_install, b.min_battery_pct, b.halt_reason,
                    a.deleted_at
             FROM agent_build b JOIN apk a USING (apk_id) WHERE b.build_id = $1 FOR NO KEY UPDATE OF b FOR SHARE OF a",
            id.0
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(found) = found else { return Ok(BuildActionOutcome::NotFound) };
        let state = read_state(&found.state)?;
        let before = promotion(found.rollout_percent, found.wifi_only, found.must_install, found.min_battery_pct);
        let (action, after) = match (act, state) {
            (BuildAction::Promote(_), _) if found.deleted_at.is_some() => return Ok(BuildActionOutcome::NoApk),
            (BuildAction::Promote(promotion), _) => (AuditAction::AgentBuildPromoted, (BuildState::Promoted, Some(promotion))),
            (BuildAction::Rollout(percent), BuildState::Promoted) => {
                let changed = before.map(|before| Promotion { rollout_percent: percent, ..before });
                (AuditAction::AgentBuildRolloutChanged, (BuildState::Promoted, changed))
            }
            (BuildAction::RollBack, BuildState::Promoted | BuildState::Halted) => {
                (AuditAction::AgentBuildRolledBack, (BuildState::RolledBack, before))
            }
            _ => return Ok(BuildActionOutcome::WrongState(state)),
        };
        let (new_state, offered) = after;
        let Some(offered) = offered else { return Err(StoreError::Corrupt("agent_build.rollout_percent")) };
        let promotes = matches!(act, BuildAction::Promote(_));
        // Whoever promotes a halted build again has seen the reports about it.
        let judge_anew = promotes && state != BuildState::Promoted;
        sqlx::query!(
            "UPDATE agent_build SET state = $2, rollout_percent = $3, wifi_only = $4, must_install = $5, min_battery_pct = $6, halt_reason = NULL,
                 promoted_by = CASE WHEN $7 THEN $8 ELSE promoted_by END, promoted_at = CASE WHEN $7 THEN $9 ELSE promoted_at END,
                 judged_installs = CASE WHEN $10 THEN 0 ELSE judged_installs END,
                 judged_failures = CASE WHEN $10 THEN 0 ELSE judged_failures END,
                 judged_verify_failures = CASE WHEN $10 THEN 0 ELSE judged_verify_failures END,
                 changed_by = $8, changed_at = $9
             WHERE build_id = $1",
            id.0,
            new_state.as_str(),
            i16::from(offered.rollout_percent),
            offered.wifi_only,
            offered.must_install,
            i16::from(offered.min_battery_pct),
            promotes,
            by.username(),
            now,
            judge_anew
        )
        .execute(&mut *tx)
        .await?;
        let entry = AuditEntry::new(by, action, target(id, &found.package, found.version_code))
            .before(audit_state(state, before, found.halt_reason.as_deref()))
            .after(audit_state(new_state, Some(offered), None));
        append(&mut tx, &entry, now).await?;
        tx.commit().await?;
        Ok(BuildActionOutcome::Done)
    }

    /// Stores that devices were notified of a build.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_agent_build_nudge(
        &self,
        id: AgentBuildId,
        batch: CommandBatchId,
        devices: usize,
        by: &Principal,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let noted = sqlx::query!(
            "UPDATE agent_build SET nudged_by = $2, nudged_at = $3 WHERE build_id = $1 RETURNING package, version_code",
            id.0,
            by.username(),
            now
        );
        let Some(noted) = noted.fetch_optional(&mut *tx).await? else { return Ok(()) };
        let entry = AuditEntry::new(by, AuditAction::AgentBuildNudged, target(id, &noted.package, noted.version_code))
            .after(json!({"batch_id": batch.to_string(), "devices": devices}));
        append(&mut tx, &entry, now).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// A build, as the audit trail names it.
pub(crate) fn target(id: AgentBuildId, package: &str, version_code: i64) -> Target {
    Target::Other { kind: "agent_build", id: Some(id.to_string()), name: Some(format!("{package} {version_code}")) }
}

/// State of a build in audit entries.
pub(crate) fn audit_state(state: BuildState, promotion: Option<Promotion>, halt_reason: Option<&str>) -> Value {
    let mut told = json!({"state": state.as_str()});
    if let (Some(promotion), Value::Object(fields)) = (promotion, &mut told) {
        fields.insert("rollout_percent".into(), json!(promotion.rollout_percent));
        fields.insert("wifi_only".into(), json!(promotion.wifi_only));
        fields.insert("must_install".into(), json!(promotion.must_install));
        fields.insert("min_battery".into(), json!(promotion.min_battery_pct));
        if let Some(reason) = halt_reason {
            fields.insert("halt_reason".into(), json!(reason));
        }
    }
    told
}
