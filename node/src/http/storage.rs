//! `/v1/storage` and `/v1/partitions`: what history takes, and the life of its days.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use chrono::NaiveDate;
use domain::access::Principal;
use domain::partition::PartitionState;
use domain::query::PAGE_DEFAULT;
use domain::{Invalid, PartitionWorkId};
use serde::Deserialize;
use services::WorkRequest;
use utoipa::IntoParams;
use wire::admin::Page;
use wire::storage::{Partition, PartitionDetails, PartitionRun, PartitionRunStarted, PartitionWork, Storage};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::{ApiError, App, body};
use crate::{present, storage_params};

/// Returns sizes, growth, the last runs, and when the disk is full at this rate.
#[utoipa::path(
    get, path = "/v1/storage", tag = "storage", security(("person" = ["cluster:read"])),
    responses((status = 200, body = Storage), PersonRefusals)
)]
pub(crate) async fn overview(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<Storage>, ApiError> {
    Ok(Json(storage_params::overview(app.system.storage.overview(&principal).await?)))
}

/// Query of the partitions.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartitionsQuery {
    /// Only those in these states, with commas between them.
    state: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Lists the days of heartbeats, the newest first.
#[utoipa::path(
    get, path = "/v1/partitions", tag = "storage", security(("person" = ["cluster:read"])),
    params(PartitionsQuery),
    responses((status = 200, body = Page<Partition>), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn partitions(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<PartitionsQuery>, QueryRejection>,
) -> Result<Json<Page<Partition>>, ApiError> {
    let Query(PartitionsQuery { state, limit, cursor }) = query.map_err(present::query_refused)?;
    let states = wanted_states(state.as_deref())?;
    let before =
        cursor.map(|text| text.parse::<NaiveDate>().map_err(|_| Invalid::new("cursor", "not a cursor of this list"))).transpose()?;
    let page = app.system.storage.partitions(&principal, &states, before, limit.unwrap_or(PAGE_DEFAULT)).await?;
    Ok(Json(Page {
        items: page.partitions.into_iter().map(storage_params::partition).collect(),
        next_cursor: page.next.map(|day| day.to_string()),
    }))
}

fn wanted_states(text: Option<&str>) -> Result<Vec<PartitionState>, Invalid> {
    let Some(text) = text else { return Ok(vec![]) };
    text.split(',').map(|name| domain::names::parse("state", name.trim())).collect()
}

/// Returns a day of heartbeats, what is due of it, and what comes next.
#[utoipa::path(
    get, path = "/v1/partitions/{day}", tag = "storage", security(("person" = ["cluster:read"])),
    params(("day" = String, Path, description = "The day, UTC, as in 2026-11-21")),
    responses((status = 200, body = PartitionDetails), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn partition(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(day): PathId,
) -> Result<Json<PartitionDetails>, ApiError> {
    app.system.storage.authorize_reading(&principal)?;
    let (record, plan) = app.system.storage.day(&principal, present::id("partition", &day)?).await?;
    Ok(Json(storage_params::details(record, plan)))
}

/// Starts a run of everything that is due, in the background; with `dry_run` it only says what that is.
#[utoipa::path(
    post, path = "/v1/partitions/run", tag = "storage", security(("person" = ["cluster:manage"])),
    request_body = PartitionRun,
    responses(
        (status = 200, description = "What is due; nothing was started", body = PartitionRunStarted),
        (status = 202, description = "The run was started", body = PartitionRunStarted),
        ConflictRefusal, BodyRefusals, PersonRefusals
    )
)]
pub(crate) async fn run(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<PartitionRunStarted>), ApiError> {
    // Who may not, does not send it all first.
    app.system.storage.authorize_changes(&principal)?;
    let PartitionRun { dry_run } = body::optional_json(&app, &headers, body).await?.unwrap_or_default();
    let plan = storage_params::plan(&app.system.storage.plan(&principal).await?);
    if dry_run {
        return Ok((StatusCode::OK, Json(PartitionRunStarted { plan, work: None })));
    }
    let work = app.system.storage.start(&principal, WorkRequest::Run).await?;
    Ok((StatusCode::ACCEPTED, Json(PartitionRunStarted { plan, work: Some(storage_params::work(work)) })))
}

async fn start(
    app: &App,
    principal: &Principal,
    day: &str,
    request: fn(NaiveDate) -> WorkRequest,
) -> Result<(StatusCode, Json<PartitionWork>), ApiError> {
    // Who may not, is not told what there is.
    app.system.storage.authorize_changes(principal)?;
    let work = app.system.storage.start(principal, request(present::id("partition", day)?)).await?;
    Ok((StatusCode::ACCEPTED, Json(storage_params::work(work))))
}

/// Starts to archive a day, in the background, and reads the archive back; of a day that is archived already only the latter.
#[utoipa::path(
    post, path = "/v1/partitions/{day}/archive", tag = "storage", security(("person" = ["cluster:manage"])),
    params(("day" = String, Path, description = "The day, UTC, as in 2026-11-21")),
    responses((status = 202, body = PartitionWork), ConflictRefusal, NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn archive(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(day): PathId,
) -> Result<(StatusCode, Json<PartitionWork>), ApiError> {
    start(&app, &principal, &day, WorkRequest::Archive).await
}

/// Starts to read the archive of a day back from the store and to compare it, in the background.
#[utoipa::path(
    post, path = "/v1/partitions/{day}/verify", tag = "storage", security(("person" = ["cluster:manage"])),
    params(("day" = String, Path, description = "The day, UTC, as in 2026-11-21")),
    responses((status = 202, body = PartitionWork), ConflictRefusal, NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn verify(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(day): PathId,
) -> Result<(StatusCode, Json<PartitionWork>), ApiError> {
    start(&app, &principal, &day, WorkRequest::Verify).await
}

/// Starts to bring an archived day back into the database, in the background; it is dropped again after `history.restored_kept_days`.
#[utoipa::path(
    post, path = "/v1/partitions/{day}/restore", tag = "storage", security(("person" = ["cluster:manage"])),
    params(("day" = String, Path, description = "The day, UTC, as in 2026-11-21")),
    responses((status = 202, body = PartitionWork), ConflictRefusal, NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn restore(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(day): PathId,
) -> Result<(StatusCode, Json<PartitionWork>), ApiError> {
    start(&app, &principal, &day, WorkRequest::Restore).await
}

/// Starts to drop the table of a restored day before its time, in the background, once its archive was read back.
#[utoipa::path(
    post, path = "/v1/partitions/{day}/forget", tag = "storage", security(("person" = ["cluster:manage"])),
    params(("day" = String, Path, description = "The day, UTC, as in 2026-11-21")),
    responses((status = 202, body = PartitionWork), ConflictRefusal, NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn forget(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(day): PathId,
) -> Result<(StatusCode, Json<PartitionWork>), ApiError> {
    start(&app, &principal, &day, WorkRequest::Forget).await
}

/// Returns work on partitions that was started, with its progress.
#[utoipa::path(
    get, path = "/v1/partition-work/{id}", tag = "storage", security(("person" = ["cluster:read"])),
    params(("id" = String, Path, description = "The work")),
    responses((status = 200, body = PartitionWork), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn work(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<PartitionWork>, ApiError> {
    let id: PartitionWorkId = present::id("work on partitions", &id)?;
    Ok(Json(storage_params::work(app.system.storage.work(&principal, id).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_known_by_name() {
        assert_eq!(wanted_states(Some("open, dropped")).unwrap(), [PartitionState::Open, PartitionState::Dropped]);
        assert!(wanted_states(None).unwrap().is_empty());
        let refused = wanted_states(Some("hot")).unwrap_err();
        assert!(refused.field == "state" && refused.problem.contains("restored"), "{refused:?}");
    }
}
