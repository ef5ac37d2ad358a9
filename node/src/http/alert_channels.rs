//! `/v1/alert-channels`: where notifications go, and what became of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use domain::notification::{Channel, ChannelKind};
use domain::query::PAGE_DEFAULT;
use domain::{ChannelId, NotificationId};
use serde::Deserialize;
use services::{ChannelInput, ChannelRequest, ChannelValues, ChannelView, channel_fields};
use utoipa::IntoParams;
use wire::alert::{
    AlertChannel, AlertChannelField, AlertChannelKindFields, AlertChannelKinds, AlertChannelList, AlertChannelPatch, AlertChannelTest,
    AlertDeliveryList, ChannelValue, NewAlertChannel,
};

use super::extract::{PathId, PathIds, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::table::flag;
use super::{ApiError, App, body};
use crate::{alert_params, present};

/// Query of the deliveries of a channel.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeliveriesQuery {
    /// Only those that were given up.
    #[serde(default, deserialize_with = "flag")]
    dead: bool,
    limit: Option<i64>,
}

/// Values as text. What is null is given as empty: a secret goes.
fn values(fields: BTreeMap<String, Option<ChannelValue>>) -> BTreeMap<String, String> {
    let text = |value| match value {
        Some(ChannelValue::Text(text)) => text,
        Some(ChannelValue::Number(number)) => number.to_string(),
        None => String::new(),
    };
    fields.into_iter().map(|(name, value)| (name, text(value))).collect()
}

fn shown(channel: Channel, secrets: Option<Vec<&'static str>>) -> AlertChannel {
    AlertChannel {
        id: channel.id.to_string(),
        name: channel.name,
        kind: channel.kind.as_str().to_owned(),
        settings: channel.settings,
        has_secret: channel.has_secret,
        secrets: secrets.map(|names| names.into_iter().map(str::to_owned).collect()),
        enabled: channel.enabled,
        changed_at: present::time(channel.changed_at),
    }
}

fn view(view: ChannelView) -> AlertChannel {
    shown(view.channel, view.secrets)
}

/// Lists the kinds of channels with their fields.
#[utoipa::path(
    get, path = "/v1/alert-channel-kinds", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    responses((status = 200, body = AlertChannelKinds), PersonRefusals)
)]
pub(crate) async fn kinds(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<AlertChannelKinds>, ApiError> {
    app.system.alerts.authorize_channels(&principal)?;
    let field = |field: &services::ChannelField| AlertChannelField {
        name: field.name.to_owned(),
        label: field.label.to_owned(),
        help: field.help.to_owned(),
        secret: field.secret,
        required: field.required,
        choices: match field.input {
            ChannelInput::Choice(choices) => choices.iter().map(|choice| (*choice).to_owned()).collect(),
            _ => Vec::new(),
        },
    };
    let kind = |kind: ChannelKind| AlertChannelKindFields {
        kind: kind.as_str().to_owned(),
        title: kind.title().to_owned(),
        fields: channel_fields(kind).iter().map(field).collect(),
    };
    Ok(Json(AlertChannelKinds { items: ChannelKind::ALL.into_iter().map(kind).collect() }))
}

/// Lists channels by name, without their secrets.
#[utoipa::path(
    get, path = "/v1/alert-channels", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    responses((status = 200, body = AlertChannelList), PersonRefusals)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<AlertChannelList>, ApiError> {
    let channels = app.system.alerts.channels(&principal).await?;
    Ok(Json(AlertChannelList { items: channels.into_iter().map(|channel| shown(channel, None)).collect() }))
}

/// Creates a channel. Its secrets are kept sealed and are never returned.
#[utoipa::path(
    post, path = "/v1/alert-channels", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    request_body = NewAlertChannel,
    responses((status = 201, body = AlertChannel), ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<AlertChannel>), ApiError> {
    app.system.alerts.authorize_channels(&principal)?;
    let NewAlertChannel { name, kind, enabled, fields } = body::json(&app, &headers, body).await?;
    let kind = ChannelKind::parse("kind", &kind)?;
    alert_params::checked_names("body", fields.keys())?;
    let request = ChannelRequest { name, kind, fields: ChannelValues(values(fields)), enabled: enabled.unwrap_or(true) };
    Ok((StatusCode::CREATED, Json(view(app.system.alerts.add_channel(&principal, request).await?))))
}

/// Returns a channel with the names of its secrets.
#[utoipa::path(
    get, path = "/v1/alert-channels/{id}", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    params(("id" = String, Path, description = "The channel")),
    responses((status = 200, body = AlertChannel), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<AlertChannel>, ApiError> {
    let id: ChannelId = present::id("channel", &id)?;
    Ok(Json(view(app.system.alerts.channel(&principal, id).await?)))
}

/// Changes a channel; its kind stays. A secret does not stay when it would be sent to another server than before.
#[utoipa::path(
    patch, path = "/v1/alert-channels/{id}", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    params(("id" = String, Path, description = "The channel")),
    request_body = AlertChannelPatch,
    responses((status = 200, body = AlertChannel), NotFoundRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AlertChannel>, ApiError> {
    app.system.alerts.authorize_channels(&principal)?;
    let id: ChannelId = present::id("channel", &id)?;
    let AlertChannelPatch { name, enabled, fields } = body::json(&app, &headers, body).await?;
    alert_params::checked_names("body", fields.keys())?;
    let before = app.system.alerts.channel(&principal, id).await?.channel;
    // What is not secret stays as well when it is left out; `host` beside a secret URL is made of the URL.
    let declared = channel_fields(before.kind);
    let kept = before.settings.into_iter().filter(|(name, _)| declared.iter().any(|field| field.name == name));
    let mut all: BTreeMap<String, String> = kept.collect();
    all.extend(values(fields));
    let request = ChannelRequest {
        name: name.unwrap_or(before.name),
        kind: before.kind,
        fields: ChannelValues(all),
        enabled: enabled.unwrap_or(before.enabled),
    };
    Ok(Json(view(app.system.alerts.change_channel(&principal, id, request).await?)))
}

/// Deletes a channel with its routes and what waits for it.
#[utoipa::path(
    delete, path = "/v1/alert-channels/{id}", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    params(("id" = String, Path, description = "The channel")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn delete(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: ChannelId = present::id("channel", &id)?;
    app.system.alerts.remove_channel(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test over a channel and returns what the service answered.
#[utoipa::path(
    post, path = "/v1/alert-channels/{id}/test", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    params(("id" = String, Path, description = "The channel")),
    responses((status = 200, body = AlertChannelTest), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn test(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<AlertChannelTest>, ApiError> {
    let id: ChannelId = present::id("channel", &id)?;
    let test = app.system.alerts.test_channel(&principal, id).await?;
    let took_ms = u64::try_from(test.took.as_millis()).unwrap_or(u64::MAX);
    Ok(Json(AlertChannelTest { delivered: test.delivered, answer: test.answer, took_ms }))
}

/// Lists what was sent over a channel, newest first.
#[utoipa::path(
    get, path = "/v1/alert-channels/{id}/deliveries", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    params(("id" = String, Path, description = "The channel"), DeliveriesQuery),
    responses((status = 200, body = AlertDeliveryList), NotFoundRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn deliveries(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    query: Result<Query<DeliveriesQuery>, QueryRejection>,
) -> Result<Json<AlertDeliveryList>, ApiError> {
    let Query(DeliveriesQuery { dead, limit }) = query.map_err(present::query_refused)?;
    let id: ChannelId = present::id("channel", &id)?;
    let deliveries = app.system.alerts.deliveries(&principal, id, dead, limit.unwrap_or(PAGE_DEFAULT)).await?;
    Ok(Json(AlertDeliveryList { items: deliveries.into_iter().map(alert_params::delivery).collect() }))
}

/// Sends a message again that was given up.
#[utoipa::path(
    post, path = "/v1/alert-channels/{id}/deliveries/{notification_id}/resend", tag = "alerts",
    security(("person" = ["alert_channels:manage"])),
    params(("id" = String, Path, description = "The channel"), ("notification_id" = String, Path, description = "The message")),
    responses((status = 202), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn resend(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathIds(id, message): PathIds,
) -> Result<StatusCode, ApiError> {
    let id: ChannelId = present::id("channel", &id)?;
    let message: NotificationId = present::id("message", &message)?;
    app.system.alerts.resend(&principal, message, id).await?;
    Ok(StatusCode::ACCEPTED)
}
