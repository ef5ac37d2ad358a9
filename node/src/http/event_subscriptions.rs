//! `/v1/event-subscriptions`: what the audit trail records, sent to channels.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use domain::{Invalid, SubscriptionId};
use services::SubscriptionView;
use wire::alert::{EventSubscription, EventSubscriptionList, NewEventSubscription};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals};
use super::{ApiError, App, body};
use crate::present;

fn shown(view: SubscriptionView) -> EventSubscription {
    EventSubscription {
        id: view.subscription.id.to_string(),
        channel_id: view.subscription.channel.to_string(),
        actions: view.subscription.actions,
        created_by: view.created_by,
        created_at: present::time(view.created_at),
    }
}

/// Lists subscriptions of channels to events.
#[utoipa::path(
    get, path = "/v1/event-subscriptions", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    responses((status = 200, body = EventSubscriptionList), PersonRefusals)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<EventSubscriptionList>, ApiError> {
    let subscriptions = app.system.alerts.subscriptions(&principal).await?;
    Ok(Json(EventSubscriptionList { items: subscriptions.into_iter().map(shown).collect() }))
}

/// Subscribes a channel to actions of the audit trail, from now on.
///
/// Requires `audit:read` as well. Each entry is one message, without the states before and after.
#[utoipa::path(
    post, path = "/v1/event-subscriptions", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    request_body = NewEventSubscription,
    responses((status = 201, body = EventSubscription), ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<EventSubscription>), ApiError> {
    app.system.alerts.authorize_channels(&principal)?;
    let NewEventSubscription { channel_id, actions } = body::json(&app, &headers, body).await?;
    let channel = channel_id.parse().map_err(|_| Invalid::new("channel_id", "not a channel"))?;
    Ok((StatusCode::CREATED, Json(shown(app.system.alerts.subscribe(&principal, channel, actions).await?))))
}

/// Deletes a subscription. What it has put into the outbox is still sent.
#[utoipa::path(
    delete, path = "/v1/event-subscriptions/{id}", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    params(("id" = String, Path, description = "The subscription")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn delete(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: SubscriptionId = present::id("subscription", &id)?;
    app.system.alerts.unsubscribe(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
