//! `/v1/agent-builds`: builds of the agent, their rollout and their statistics.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use domain::rollout::{HaltReason, Promotion};
use domain::{AgentBuildId, ApkId, Invalid};
use serde::Deserialize;
use services::{BuildDetails, STATS_HOURS_DEFAULT};
use utoipa::IntoParams;
use wire::admin::Page;
use wire::agent_build::{
    AgentBuild, AgentBuildRollout, AgentBuildStats, CohortCounts, NewAgentBuild, NudgePlan, NudgeRequest, NudgeResponse, PromoteAgentBuild,
    UpdateCounts, UpdateError, UpdateHour, VersionSample,
};

use super::command_batches::present_batch;
use super::commands::idempotency_key;
use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::{ApiError, App, body};
use crate::present;

/// Adds an uploaded agent APK as a build. It is not offered to devices before it is promoted.
#[utoipa::path(
    post, path = "/v1/agent-builds", tag = "agent-builds", security(("person" = ["agent_builds:manage"])),
    request_body = NewAgentBuild,
    responses((status = 201, body = AgentBuild), ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<AgentBuild>), ApiError> {
    app.system.agent_builds.authorize_changes(&principal)?;
    let requested: NewAgentBuild = body::json(&app, &headers, body).await?;
    let apk: ApkId = requested.apk_id.parse().map_err(|_| Invalid::new("apk_id", "there is no such APK"))?;
    let made = app.system.agent_builds.add(&principal, apk, &requested.release_notes).await?;
    Ok((StatusCode::CREATED, Json(present_build(made))))
}

/// Lists builds, newest version first.
#[utoipa::path(
    get, path = "/v1/agent-builds", tag = "agent-builds", security(("person" = ["deployments:read"])),
    responses((status = 200, body = Page<AgentBuild>), PersonRefusals)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<Page<AgentBuild>>, ApiError> {
    let builds = app.system.agent_builds.list(&principal).await?;
    Ok(Json(Page { items: builds.into_iter().map(present_build).collect(), next_cursor: None }))
}

/// Returns a build.
#[utoipa::path(
    get, path = "/v1/agent-builds/{id}", tag = "agent-builds", security(("person" = ["deployments:read"])),
    params(("id" = String, Path, description = "The build")),
    responses((status = 200, body = AgentBuild), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<Json<AgentBuild>, ApiError> {
    Ok(Json(present_build(app.system.agent_builds.one(&principal, build_id(&id)?).await?)))
}

/// Promotes a build to a percentage of the fleet, or changes the conditions of a promoted build.
///
/// The automatic halt of a build that was halted or rolled back counts reports from here on.
#[utoipa::path(
    post, path = "/v1/agent-builds/{id}/promote", tag = "agent-builds", security(("person" = ["agent_builds:manage"])),
    params(("id" = String, Path, description = "The build")),
    request_body = PromoteAgentBuild,
    responses((status = 200, body = AgentBuild), NotFoundRefusal, ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn promote(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AgentBuild>, ApiError> {
    app.system.agent_builds.authorize_changes(&principal)?;
    let requested: PromoteAgentBuild = body::json(&app, &headers, body).await?;
    let promotion = Promotion::new(requested.rollout_percent, requested.wifi_only, requested.must_install, requested.min_battery)?;
    Ok(Json(present_build(app.system.agent_builds.promote(&principal, build_id(&id)?, promotion).await?)))
}

/// Changes the rollout percentage of a promoted build. Lowering it does not uninstall the build from devices.
#[utoipa::path(
    post, path = "/v1/agent-builds/{id}/rollout", tag = "agent-builds", security(("person" = ["agent_builds:manage"])),
    params(("id" = String, Path, description = "The build")),
    request_body = AgentBuildRollout,
    responses((status = 200, body = AgentBuild), NotFoundRefusal, ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn rollout(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AgentBuild>, ApiError> {
    app.system.agent_builds.authorize_changes(&principal)?;
    let requested: AgentBuildRollout = body::json(&app, &headers, body).await?;
    Ok(Json(present_build(app.system.agent_builds.rollout(&principal, build_id(&id)?, requested.rollout_percent).await?)))
}

/// Rolls a build back: it is no longer offered. Devices that have installed it keep it.
#[utoipa::path(
    post, path = "/v1/agent-builds/{id}/rollback", tag = "agent-builds", security(("person" = ["agent_builds:manage"])),
    params(("id" = String, Path, description = "The build")),
    responses((status = 200, body = AgentBuild), NotFoundRefusal, ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn rollback(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<AgentBuild>, ApiError> {
    Ok(Json(present_build(app.system.agent_builds.roll_back(&principal, build_id(&id)?).await?)))
}

/// Notifies devices that are offered the build and run an older version to check for updates now.
///
/// `dry_run` only counts them. The body is optional. A repeated `Idempotency-Key` returns the same batch, with 200.
#[utoipa::path(
    post, path = "/v1/agent-builds/{id}/nudge", tag = "agent-builds", security(("person" = ["agent_builds:manage"])),
    params(
        ("id" = String, Path, description = "The build"),
        ("Idempotency-Key" = Option<String>, Header, description = "1..200 printable characters")
    ),
    request_body = NudgeRequest,
    responses(
        (status = 201, body = NudgeResponse), (status = 200, description = "A dry run, or created by an earlier call with this key", body = NudgeResponse),
        NotFoundRefusal, ConflictRefusal, BodyRefusals, PersonRefusals
    )
)]
pub(crate) async fn nudge(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<NudgeResponse>), ApiError> {
    app.system.agent_builds.authorize_changes(&principal)?;
    let id = build_id(&id)?;
    let bytes = body::read(&app, &headers, body, app.config.http.body_limit_bytes).await?;
    let requested: NudgeRequest = if bytes.is_empty() { NudgeRequest::default() } else { body::parse_object(&bytes)? };
    if requested.dry_run {
        let plan = app.system.agent_builds.nudge_plan(&principal, id).await?;
        let plan = NudgePlan { devices: plan.devices, online: plan.online, left_out: plan.left_out };
        return Ok((StatusCode::OK, Json(NudgeResponse::Plan(plan))));
    }
    let idempotency_key = idempotency_key(&headers, &format!("agent-builds/{id}/nudge"), &bytes)?;
    let (batch, new) = app.system.agent_builds.nudge(&principal, id, requested.rate_per_second, idempotency_key).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(NudgeResponse::Batch(Box::new(present_batch(batch))))))
}

/// Period of the answer, up to now.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatsQuery {
    /// Hours, 1..744; 168 when absent.
    hours: Option<i64>,
}

/// Returns statistics of a build, and the fleet's agent versions over time.
#[utoipa::path(
    get, path = "/v1/agent-builds/{id}/stats", tag = "agent-builds", security(("person" = ["deployments:read"])),
    params(("id" = String, Path, description = "The build"), StatsQuery),
    responses((status = 200, body = AgentBuildStats), NotFoundRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn stats(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    query: Result<Query<StatsQuery>, QueryRejection>,
) -> Result<Json<AgentBuildStats>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let stats = app.system.agent_builds.stats(&principal, build_id(&id)?, query.hours.unwrap_or(STATS_HOURS_DEFAULT)).await?;
    let hour = |(hour, counts)| UpdateHour { hour: present::time(hour), counts: present_counts(counts) };
    let version = |sample: domain::rollout::VersionSample| VersionSample {
        hour: present::time(sample.hour),
        version_code: sample.version_code,
        devices: sample.devices,
    };
    Ok(Json(AgentBuildStats {
        build: present_build(stats.details),
        hours: stats.hours.into_iter().map(hour).collect(),
        errors: stats.errors.into_iter().map(|(error, devices)| UpdateError { error, devices }).collect(),
        versions: stats.versions.into_iter().map(version).collect(),
    }))
}

fn build_id(text: &str) -> Result<AgentBuildId, ApiError> {
    present::id("build", text)
}

fn present_counts(counts: domain::rollout::UpdateCounts) -> UpdateCounts {
    UpdateCounts {
        checks: counts.checks,
        eligible: counts.eligible,
        downloads: counts.downloads,
        installs: counts.installs,
        failures: counts.failures,
        verify_failures: counts.verify_failures,
    }
}

fn present_build(details: BuildDetails) -> AgentBuild {
    let BuildDetails { build, counts, cohort, running } = details;
    AgentBuild {
        id: build.id.to_string(),
        apk_id: build.apk.to_string(),
        package: build.package,
        version_code: build.version_code,
        version_name: build.version_name,
        release_notes: build.release_notes,
        state: build.state.as_str().to_owned(),
        rollout_percent: build.promotion.map(|promotion| promotion.rollout_percent),
        wifi_only: build.promotion.map(|promotion| promotion.wifi_only),
        must_install: build.promotion.map(|promotion| promotion.must_install),
        min_battery: build.promotion.map(|promotion| promotion.min_battery_pct),
        halt_reason: build.halt_reason.map(HaltReason::as_str).map(str::to_owned),
        created_by: build.created_by,
        created_at: present::time(build.created_at),
        promoted_by: build.promoted_by,
        promoted_at: build.promoted_at.map(present::time),
        changed_by: build.changed_by,
        changed_at: present::time(build.changed_at),
        nudged_by: build.nudged_by,
        nudged_at: build.nudged_at.map(present::time),
        cohort: CohortCounts { devices: cohort.devices, online: cohort.online, behind: cohort.behind },
        running,
        counts: present_counts(counts),
    }
}
