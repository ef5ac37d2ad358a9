//! `/v1/alert-rules`: what is judged, by which thresholds, and for whom.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use domain::DeviceId;
use domain::alert::Rule;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::alert::{AlertRule, AlertRulePreview, AlertRuleSetting, AlertRules, EffectiveRules};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::{ApiError, App, body};
use crate::{alert_params, present};

/// Scope of a setting.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopeQuery {
    /// `global`, `group`, `tag` or `device`; `global` unless it is given.
    scope: Option<String>,
    /// Group, tag, or id of the device.
    scope_value: Option<String>,
}

/// Lists the rules as they are set.
#[utoipa::path(
    get, path = "/v1/alert-rules", tag = "alerts", security(("person" = ["alerts:read"])),
    responses((status = 200, body = AlertRules), PersonRefusals)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<AlertRules>, ApiError> {
    let rules = app.system.alerts.rules(&principal).await?;
    Ok(Json(AlertRules { items: rules.into_iter().map(alert_params::rule).collect() }))
}

/// Returns a rule as it is set.
#[utoipa::path(
    get, path = "/v1/alert-rules/{rule}", tag = "alerts", security(("person" = ["alerts:read"])),
    params(("rule" = String, Path, description = "The rule, such as `device_offline`")),
    responses((status = 200, body = AlertRule), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(State(app): State<Arc<App>>, Person(principal): Person, PathId(name): PathId) -> Result<Json<AlertRule>, ApiError> {
    app.system.alerts.authorize_views(&principal)?;
    let rule: Rule = present::id("rule", &name)?;
    Ok(Json(alert_params::rule(app.system.alerts.rule(&principal, rule).await?)))
}

/// Sets a rule for a scope, in place of what was set for that scope. Every node follows within seconds.
///
/// What is left out comes from the next less specific scope: device, tag, group, all devices, default.
#[utoipa::path(
    put, path = "/v1/alert-rules/{rule}", tag = "alerts", security(("person" = ["alerts:write"])),
    params(("rule" = String, Path, description = "The rule")),
    request_body = AlertRuleSetting,
    responses((status = 200, body = AlertRule), NotFoundRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(name): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AlertRule>, ApiError> {
    app.system.alerts.authorize_changes(&principal)?;
    let rule: Rule = present::id("rule", &name)?;
    let request = alert_params::rule_request(body::json(&app, &headers, body).await?)?;
    Ok(Json(alert_params::rule(app.system.alerts.set_rule(&principal, rule, request).await?)))
}

/// Removes what is set of a rule for a scope.
#[utoipa::path(
    delete, path = "/v1/alert-rules/{rule}", tag = "alerts", security(("person" = ["alerts:write"])),
    params(("rule" = String, Path, description = "The rule"), ScopeQuery),
    responses((status = 200, body = AlertRule), NotFoundRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn reset(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(name): PathId,
    query: Result<Query<ScopeQuery>, QueryRejection>,
) -> Result<Json<AlertRule>, ApiError> {
    app.system.alerts.authorize_changes(&principal)?;
    let Query(ScopeQuery { scope, scope_value }) = query.map_err(present::query_refused)?;
    let rule: Rule = present::id("rule", &name)?;
    let scope = alert_params::scope(scope.as_deref(), scope_value)?;
    Ok(Json(alert_params::rule(app.system.alerts.reset_rule(&principal, rule, &scope).await?)))
}

/// Shows what a setting would mean for the devices of the fleet right now; without a body, what holds now.
///
/// Conditions that take several heartbeats are taken to have lasted as long.
#[utoipa::path(
    post, path = "/v1/alert-rules/{rule}/preview", tag = "alerts", security(("person" = ["alerts:read"])),
    params(("rule" = String, Path, description = "The rule")),
    request_body = Option<AlertRuleSetting>,
    responses((status = 200, body = AlertRulePreview), NotFoundRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn preview(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(name): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AlertRulePreview>, ApiError> {
    app.system.alerts.authorize_views(&principal)?;
    let rule: Rule = present::id("rule", &name)?;
    let setting: Option<AlertRuleSetting> = body::optional_json(&app, &headers, body).await?;
    let preview = match setting {
        Some(setting) => app.system.alerts.preview(&principal, rule, alert_params::rule_request(setting)?).await?,
        None => app.system.alerts.concerned(&principal, rule).await?,
    };
    Ok(Json(alert_params::preview(preview)))
}

/// Returns what holds of each rule about devices for one of them, and the scope that sets it.
#[utoipa::path(
    get, path = "/v1/devices/{id}/alert-rules", tag = "alerts", security(("person" = ["alerts:read"])),
    params(("id" = String, Path, description = "The device")),
    responses((status = 200, body = EffectiveRules), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn of_device(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<EffectiveRules>, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    let rules = app.system.alerts.rules_of_device(&principal, id).await?;
    Ok(Json(EffectiveRules { items: rules.iter().map(|(rule, resolved)| alert_params::effective(*rule, resolved)).collect() }))
}
