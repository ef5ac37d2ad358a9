//! `/v1/fleet/history` and `/v1/fleet/distributions`: the fleet over time, and how it is made up.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use domain::distribution::{BATTERY_BANDS_PCT, Distribution as Counted};
use domain::history::SAMPLE_S;
use serde::Deserialize;
use services::FLEET_HOURS_DEFAULT;
use utoipa::IntoParams;
use wire::devices::{BatteryBand, Distribution, FleetDistributions, FleetHistory, FleetSample, ValueCount};

use super::extract::Person;
use super::openapi::{PersonRefusals, QueryRefusals};
use super::{ApiError, App};
use crate::present;

/// Period of the answer, up to now.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FleetHistoryQuery {
    /// Hours, 1..720; 24 when absent.
    hours: Option<i64>,
}

/// Returns fleet statistics of the last hours, sampled every five minutes.
#[utoipa::path(
    get, path = "/v1/fleet/history", tag = "devices", security(("person" = ["devices:read"])),
    params(FleetHistoryQuery),
    responses((status = 200, body = FleetHistory), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<FleetHistoryQuery>, QueryRejection>,
) -> Result<Json<FleetHistory>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let samples = app.system.history.fleet(&principal, query.hours.unwrap_or(FLEET_HOURS_DEFAULT)).await?;
    let samples = samples.into_iter().map(|sample| FleetSample {
        at: present::time(sample.at),
        devices: sample.devices,
        online: sample.online,
        offline: sample.offline,
        never_seen: sample.never_seen,
        low_battery: sample.low_battery,
        app_down: sample.app_down,
        heartbeats_per_second: sample.heartbeats_per_second,
    });
    Ok(Json(FleetHistory { interval_seconds: SAMPLE_S, samples: samples.collect() }))
}

/// Returns distributions of the fleet, at most one second old.
#[utoipa::path(
    get, path = "/v1/fleet/distributions", tag = "devices", security(("person" = ["devices:read"])),
    responses((status = 200, body = FleetDistributions), PersonRefusals)
)]
pub(crate) async fn distributions(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<FleetDistributions>, ApiError> {
    let counted = app.system.history.distributions(&principal)?;
    // Each band ends where the next begins.
    let ends = BATTERY_BANDS_PCT.into_iter().skip(1).map(|next| next - 1).chain([100]);
    let bands = BATTERY_BANDS_PCT.into_iter().zip(ends).zip(counted.battery);
    Ok(Json(FleetDistributions {
        devices: counted.devices,
        complete: app.system.devices.counts().complete,
        battery: bands.map(|((from_pct, to_pct), devices)| BatteryBand { from_pct, to_pct, devices }).collect(),
        battery_unknown: counted.battery_unknown,
        agent_versions: distribution(&counted.agent_versions),
        app_versions: distribution(&counted.app_versions),
        android_versions: distribution(&counted.android_versions),
        transports: distribution(&counted.transports),
        models: distribution(&counted.models),
    }))
}

fn distribution(counted: &Counted) -> Distribution {
    let values = counted.shares.iter().map(|share| ValueCount { value: share.value.clone(), devices: share.devices });
    Distribution { values: values.collect(), other: counted.other }
}
