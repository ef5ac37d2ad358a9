//! Deployments at the edge: what devices say, and what people are shown.

use domain::deployment::{
    DeploymentEvent, ErrorCode, Exclusion, Options, Reason, Stage, TaskReport, TaskState, TaskStatus, TaskView, option_specs,
};
use domain::param::ParamValue;
use domain::{DeploymentId, DeviceId, Invalid};
use serde_json::{Map, Value};
use services::{DeploymentDetails, DeploymentPlan, FlagState, PlannedTask, RollbackOffer};
use wire::deployment as wired;
use wire::device_body::UnusableFields;
use wire::lenient::Int;

use crate::present;

/// Devices that a plan names; the others are counted.
const PLAN_NAMED_MAX: usize = 1_000;

/// A device's report about a deployment. What is unusable beside the status and its error does not cost the report.
///
/// # Errors
/// Names the field.
pub(crate) fn task_report(
    deployment: DeploymentId,
    device: DeviceId,
    reported: wired::DeploymentStatus,
    unusable: &mut UnusableFields,
) -> Result<TaskReport, Invalid> {
    let error = || {
        let code = reported.error.as_deref().ok_or_else(|| Invalid::new("error", "required with failed and skipped"))?;
        domain::names::parse::<ErrorCode>("error", &code.trim().to_ascii_lowercase())
    };
    let status = match reported.status.trim().to_ascii_lowercase().as_str() {
        "succeeded" => TaskStatus::Succeeded,
        "failed" => TaskStatus::Failed(error()?),
        "skipped" => TaskStatus::Skipped(error()?),
        name => TaskStatus::InProgress(Stage::parse(name).ok_or_else(|| {
            Invalid::new("status", "not one of accepted, downloading, verifying, installing, succeeded, failed, skipped")
        })?),
    };
    let attempt = reported.attempt.and_then(|Int(attempt)| u32::try_from(attempt).map_err(|_| unusable.note("attempt")).ok());
    let progress_pct = reported.progress_pct.and_then(|Int(pct)| {
        let pct = domain::invalid::in_range("progress_pct", pct, 0, 100);
        pct.map(|pct| pct as i16).map_err(|invalid| unusable.note(invalid.field)).ok()
    });
    let mut report = TaskReport {
        deployment,
        device,
        status,
        attempt,
        progress_pct,
        message: reported.message,
        installed_version: reported.installed_version,
    };
    unusable.note_all(report.fit());
    Ok(report)
}

/// Preview of a deployment.
pub(crate) fn present_plan(plan: DeploymentPlan) -> wired::DeploymentPlan {
    let mut counts: Vec<wired::PlanCount> = Vec::new();
    for task in &plan.tasks {
        let (state, reason) = (task.state.as_str(), task.reason.map(Reason::as_str));
        match counts.iter_mut().find(|count| count.state == state && count.reason.as_deref() == reason) {
            Some(count) => count.devices += 1,
            None => counts.push(wired::PlanCount { state: state.to_owned(), reason: reason.map(str::to_owned), devices: 1 }),
        }
    }
    let excluded = |(reason, devices): (Reason, usize)| wired::PlanExclusionCount { reason: reason.as_str().to_owned(), devices };
    let exclusion =
        |excluded: &Exclusion| wired::PlanExclusion { reason: excluded.reason.as_str().to_owned(), detail: excluded.detail.clone() };
    let item = |task: &PlannedTask| wired::PlanItem {
        id: task.id.to_string(),
        alias: task.alias.clone(),
        canary: task.canary,
        state: task.state.as_str().to_owned(),
        reason: task.reason.map(|reason| reason.as_str().to_owned()),
        qualifies: task.exclusions.is_empty(),
        exclusions: task.exclusions.iter().map(exclusion).collect(),
    };
    wired::DeploymentPlan {
        qualifying: plan.qualifying(),
        excluded: plan.excluded().into_iter().map(excluded).collect(),
        dry_run: true,
        devices: plan.tasks.len(),
        canary_size: plan.tasks.iter().filter(|task| task.canary).count(),
        counts,
        items: plan.tasks.iter().take(PLAN_NAMED_MAX).map(item).collect(),
    }
}

/// A deployment and how far it got.
pub(crate) fn present_deployment(details: DeploymentDetails) -> wired::Deployment {
    let counts = wired::TaskCounts {
        queued: details.count(TaskState::Queued),
        waiting_window: details.count(TaskState::WaitingWindow),
        throttled: details.count(TaskState::Throttled),
        sending: details.count(TaskState::Sending),
        installing: details.count(TaskState::Installing),
        confirming: details.count(TaskState::Confirming),
        succeeded: details.count(TaskState::Succeeded),
        failed: details.count(TaskState::Failed),
        skipped: details.count(TaskState::Skipped),
        canceled: details.count(TaskState::Canceled),
    };
    let (canary, row) = (details.canary, details.deployment);
    let counted = canary.counted();
    wired::Deployment {
        id: row.id.to_string(),
        deployment_id: row.id.to_string(),
        name: row.name,
        apk_id: row.apk.to_string(),
        package: row.package,
        version_code: row.version_code,
        version_name: row.version_name,
        state: row.state.as_str().to_owned(),
        phase: row.phase.as_str().to_owned(),
        pause_reason: row.pause_reason.map(|reason| reason.as_str().to_owned()),
        paused_at: row.paused_at.map(present::time),
        devices: row.devices,
        canary_size: row.canary_size,
        canary: wired::CanaryProgress {
            succeeded: canary.succeeded,
            failed: canary.failed,
            open: canary.open,
            counted,
            success_pct: (counted > 0).then(|| f64::from(canary.succeeded) * 100.0 / f64::from(counted)),
            threshold_pct: row.options.canary.map(|canary| canary.success_threshold_pct),
        },
        options: present_options(&row.options),
        target: serde_json::from_str(&row.target).unwrap_or_default(),
        flags: serde_json::from_str(&row.flags).unwrap_or_default(),
        conflict: row.conflict.as_str().to_owned(),
        counts,
        starts_last_minute: details.starts_last_minute,
        blocked_by: details.blocked.map(|blocked| blocked.as_str().to_owned()),
        rollback: details.rollback.map(present_rollback),
        rolls_back: row.rolls_back.map(|id| id.to_string()),
        created_by: row.created_by,
        created_at: present::time(row.created_at),
        expires_at: present::time(row.expires_at),
        canceled_by: row.canceled_by,
        finished_at: row.finished_at.map(present::time),
    }
}

fn present_rollback(offer: RollbackOffer) -> wired::Rollback {
    let (possible, why_not) = match &offer.way {
        Ok(_) => (true, None),
        Err(none) => (false, Some(none.to_string())),
    };
    let (apk, devices) = offer.way.ok().unzip();
    wired::Rollback {
        offered: offer.offered,
        possible,
        apk_id: apk.as_ref().map(|apk| apk.id.to_string()),
        version_name: apk.map(|apk| apk.version_name),
        devices,
        why_not,
    }
}

pub(crate) fn present_options(options: &Options) -> wired::DeploymentOptions {
    let mut shown = Map::new();
    for spec in option_specs() {
        let Some(value) = spec.value(options) else { continue };
        let value = json_of(value);
        match spec.param.name.split_once('.') {
            None => drop(shown.insert(spec.param.name.to_owned(), value)),
            Some((group, name)) => {
                if let Value::Object(fields) = shown.entry(group).or_insert_with(|| Map::new().into()) {
                    fields.insert(name.to_owned(), value);
                }
            }
        }
    }
    wired::DeploymentOptions(shown)
}

fn json_of(value: ParamValue) -> Value {
    match value {
        ParamValue::Integer(number) => number.into(),
        ParamValue::Flag(on) => on.into(),
        ParamValue::Text(text) => text.into(),
        ParamValue::Texts(texts) => texts.into_iter().map(|(name, text)| (name, text.into())).collect::<Map<_, _>>().into(),
    }
}

/// The task of one device.
pub(crate) fn present_task(row: TaskView) -> wired::DeploymentTask {
    wired::DeploymentTask {
        position: row.position,
        device_id: row.device_id.to_string(),
        alias: row.alias,
        canary: row.canary,
        state: row.state.as_str().to_owned(),
        status: row.state.as_str().to_owned(),
        reason: row.reason.map(|reason| reason.as_str().to_owned()),
        reason_detail: row.detail,
        stage: row.stage.map(|stage| stage.as_str().to_owned()),
        progress_pct: row.progress_pct,
        attempts: row.attempts,
        not_before: row.not_before.map(present::time),
        started_at: row.started_at.map(present::time),
        accepted_at: row.accepted_at.map(present::time),
        finished_at: row.finished_at.map(present::time),
        error: row.error,
        message: row.message,
        version_before: row.version_before,
        installed_version: row.installed_version,
    }
}

/// Event of a deployment.
pub(crate) fn present_event(row: DeploymentEvent) -> wired::DeploymentEvent {
    wired::DeploymentEvent {
        id: row.id,
        at: present::time(row.at),
        kind: row.kind,
        device_id: row.device_id.map(|id| id.to_string()),
        detail: row.detail,
        by: row.by_whom,
    }
}

/// A flag as it is.
pub(crate) fn present_flag(state: FlagState) -> wired::FeatureFlag {
    let (by, at) = state.set.map(|row| (row.updated_by, present::time(row.updated_at))).unzip();
    wired::FeatureFlag {
        name: state.flag.as_str().to_owned(),
        description: state.flag.description().to_owned(),
        enabled: state.enabled,
        updated_by: by,
        updated_at: at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(report: wired::DeploymentStatus) -> (Result<TaskReport, Invalid>, UnusableFields) {
        let (id, mut unusable) = (uuid::Uuid::nil(), UnusableFields::default());
        let report = task_report(DeploymentId(id), DeviceId(id), report, &mut unusable);
        (report, unusable)
    }

    fn status(status: &str, error: Option<&str>) -> Result<TaskStatus, String> {
        let (report, unusable) =
            read(wired::DeploymentStatus { status: status.into(), error: error.map(str::to_owned), ..Default::default() });
        assert_eq!(unusable.iter().count(), 0, "{status} {error:?}");
        report.map(|report| report.status).map_err(|invalid| invalid.field)
    }

    #[test]
    fn the_status_and_its_error_are_required_in_any_case_of_letters() {
        assert_eq!(status("accepted", None), Ok(TaskStatus::InProgress(Stage::Accepted)));
        assert_eq!(status(" Failed", Some("SIGNER_MISMATCH")), Ok(TaskStatus::Failed(ErrorCode::SignerMismatch)));
        assert_eq!(status("skipped", Some("metered")), Ok(TaskStatus::Skipped(ErrorCode::Metered)));
        assert_eq!(status("failed", None), Err("error".into()));
        assert_eq!(status("failed", Some("bad luck")), Err("error".into()));
        assert_eq!(status("queued", None), Err("status".into()));
    }

    #[test]
    fn what_is_unusable_beside_the_status_does_not_cost_the_report() {
        let sent = wired::DeploymentStatus {
            status: "succeeded".into(),
            attempt: Some(Int(-1)),
            progress_pct: Some(Int(101)),
            ..Default::default()
        };
        let (report, unusable) = read(sent);
        let report = report.unwrap();
        assert_eq!((report.status, report.attempt, report.progress_pct), (TaskStatus::Succeeded, None, None));
        assert_eq!(unusable.iter().collect::<Vec<_>>(), ["attempt", "progress_pct"]);
    }
}
