//! `/v1/legacy-push/devices`: which devices need push messages that are signed as the earlier server did.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use domain::DeviceId;
use serde::Deserialize;
use utoipa::IntoParams;
use wire::devices::{LegacyPushDevice, LegacyPushDevices};

use super::extract::Person;
use super::openapi::{PersonRefusals, QueryRefusals};
use super::{ApiError, App};
use crate::present;

/// Which page to look at.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct LegacyPushQuery {
    /// `next` of the page before.
    after: Option<String>,
    /// Devices per page, 1..500; 100 when absent.
    limit: Option<i64>,
}

/// Lists the devices whose agent answered its last command in the format of the earlier server.
///
/// Such an agent takes push messages only with the signature of then (`commands.legacy_push`), which does not cover the parameters.
#[utoipa::path(
    get, path = "/v1/legacy-push/devices", tag = "devices", security(("person" = ["devices:read"])),
    params(LegacyPushQuery),
    responses((status = 200, body = LegacyPushDevices), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn devices(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<LegacyPushQuery>, QueryRejection>,
) -> Result<Json<LegacyPushDevices>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let after = query.after.map(|after| after.parse::<DeviceId>().map_err(|_| domain::Invalid::new("after", "not the next of a page")));
    let (devices, next) = app.system.devices.legacy_push(&principal, after.transpose()?, query.limit).await?;
    Ok(Json(LegacyPushDevices {
        enabled: app.config.commands.legacy_push,
        items: devices
            .into_iter()
            .map(|device| LegacyPushDevice {
                device_id: device.id.to_string(),
                alias: device.alias,
                last_result_at: present::time(device.result_at),
            })
            .collect(),
        next: next.map(|next| next.to_string()),
    }))
}
