//! `/v1/alert-remediation`: which alerts are mended by commands.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use domain::alert::{RemediationPlan, Rule};
use serde::Deserialize;
use services::{RemediationRequest, RemediationView};
use utoipa::IntoParams;
use wire::alert::{AlertRemediation, AlertRemediationList, NewAlertRemediation};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::{ApiError, App, body};
use crate::present;

/// Group of a plan.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupQuery {
    /// Group; all devices unless it is given.
    group: Option<String>,
}

fn shown(view: RemediationView) -> AlertRemediation {
    let RemediationView { plan, group, exec, failures_in_a_row, turned_off_at, changed } = view;
    let (changed_by, changed_at) = changed.unzip();
    AlertRemediation {
        rule: plan.rule.as_str().to_owned(),
        group,
        enabled: plan.enabled,
        remedies: plan.rule.remedies().iter().map(|remedy| remedy.as_str().to_owned()).collect(),
        attempts_max: plan.attempts_max,
        backoff_seconds: plan.backoff_seconds,
        at_once_max: plan.at_once_max,
        per_hour_max: plan.per_hour_max,
        failures_max: plan.failures_max,
        allow_reboot: plan.allow_reboot,
        exec,
        failures_in_a_row,
        turned_off_at: turned_off_at.map(present::time),
        changed_by,
        changed_at: changed_at.map(present::time),
    }
}

/// Lists what mends the alerts of each rule that commands can mend; it is off unless somebody has turned it on.
#[utoipa::path(
    get, path = "/v1/alert-remediation", tag = "alerts", security(("person" = ["alerts:read"])),
    responses((status = 200, body = AlertRemediationList), PersonRefusals)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<AlertRemediationList>, ApiError> {
    let plans = app.system.alerts.remediation(&principal).await?;
    Ok(Json(AlertRemediationList { items: plans.into_iter().map(shown).collect() }))
}

/// Sets what mends the alerts of a rule, for all devices or a group. What is left out has its default.
///
/// Requires `commands:send` as well, and `commands:sensitive` for `exec`.
#[utoipa::path(
    put, path = "/v1/alert-remediation/{rule}", tag = "alerts", security(("person" = ["alerts:write"])),
    params(("rule" = String, Path, description = "The rule: `app_down`, `device_offline`, `storage_low` or `agent_outdated`")),
    request_body = NewAlertRemediation,
    responses((status = 200, body = AlertRemediation), NotFoundRefusal, ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(name): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AlertRemediation>, ApiError> {
    app.system.alerts.authorize_changes(&principal)?;
    let rule: Rule = present::id("rule", &name)?;
    let new: NewAlertRemediation = body::json(&app, &headers, body).await?;
    let default = RemediationPlan::default_of(rule);
    let plan = RemediationPlan {
        rule,
        enabled: new.enabled,
        attempts_max: new.attempts_max.unwrap_or(default.attempts_max),
        backoff_seconds: new.backoff_seconds.unwrap_or(default.backoff_seconds),
        at_once_max: new.at_once_max.unwrap_or(default.at_once_max),
        per_hour_max: new.per_hour_max.unwrap_or(default.per_hour_max),
        failures_max: new.failures_max.unwrap_or(default.failures_max),
        allow_reboot: new.allow_reboot,
    };
    let request = RemediationRequest { plan, group: new.group, exec: new.exec };
    Ok(Json(shown(app.system.alerts.set_remediation(&principal, request).await?)))
}

/// Removes what is set of the remediation of a rule, for all devices or a group.
#[utoipa::path(
    delete, path = "/v1/alert-remediation/{rule}", tag = "alerts", security(("person" = ["alerts:write"])),
    params(("rule" = String, Path, description = "The rule"), GroupQuery),
    responses((status = 204), NotFoundRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(name): PathId,
    query: Result<Query<GroupQuery>, QueryRejection>,
) -> Result<StatusCode, ApiError> {
    app.system.alerts.authorize_changes(&principal)?;
    let Query(GroupQuery { group }) = query.map_err(present::query_refused)?;
    let rule: Rule = present::id("rule", &name)?;
    app.system.alerts.remove_remediation(&principal, rule, group.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}
