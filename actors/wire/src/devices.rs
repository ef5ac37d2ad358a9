//! What people and scripts do with devices: edits, bulk calls, tables, filters, history and events.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::admin::Device;

/// Tells `null` from what was not given.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A device with what is watched of it, and its end if it has one.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct DeviceDetails {
    /// The device.
    #[serde(flatten)]
    pub device: Device,
    /// The app that it is there to run.
    pub monitored_app: Option<MonitoredApp>,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
    /// Until when it can be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restorable_until: Option<String>,
}

/// The app that a device is there to run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MonitoredApp {
    /// Package name.
    pub package: String,
    /// Seconds out of the foreground after which it counts as down, 10..604800; null: as configured for all.
    #[serde(default)]
    pub stale_after_s: Option<i32>,
}

/// Body of `PATCH /v1/devices/{id}`. What is not given stays as it is, and null clears.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DevicePatch {
    /// Another alias, unique; it cannot be cleared.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub alias: Option<Option<String>>,
    /// These tags and no others.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub tags: Option<Option<Vec<String>>>,
    /// These groups and no others.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub groups: Option<Option<Vec<String>>>,
    /// The app that it is there to run.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MonitoredApp>)]
    pub monitored_app: Option<Option<MonitoredApp>>,
}

/// Body of `POST /v1/devices/{id}/restore`.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestoreDevice {
    /// Another alias, where its own was taken meanwhile.
    pub alias: Option<String>,
}

/// Which devices; an empty one means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// `online`, `offline` or `never_seen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// With this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// In this group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whose alias, model, hardware id or id contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// With a charge below this, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_below: Option<i16>,
    /// With this agent version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// Of this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `up`, `down` or `unknown`: the monitored app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_status: Option<String>,
}

/// Body of `POST /v1/devices/bulk`: either `ids` or `filter`, and what its action needs.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BulkRequest {
    /// These devices, at most 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// All that match, at most 10,000; deleted ones for `restore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// `set_tags`, `add_tags`, `remove_tags`, `set_groups`, `add_groups`, `remove_groups`,
    /// `set_monitored_app`, `revoke`, `delete` or `restore`.
    pub action: String,
    /// For the actions on tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// For the actions on groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// For `set_monitored_app`; null clears it.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MonitoredApp>)]
    pub monitored_app: Option<Option<MonitoredApp>>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// 200 of `POST /v1/devices/bulk`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct BulkResponse {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Devices that were changed, or would be.
    pub changed: usize,
    /// Devices that are already as they should be.
    pub unchanged: usize,
    /// Devices with which nothing is done, each with its reason.
    pub refused: usize,
    /// One for each device, in the order of ids.
    pub outcomes: Vec<BulkOutcome>,
}

/// What was done with a device, or would be.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct BulkOutcome {
    /// The device.
    pub id: String,
    /// The alias that it had before; null when there is no such device.
    pub alias: Option<String>,
    /// `changed`, `unchanged` or `refused`.
    pub outcome: String,
    /// Why it is refused: `not_found`, `deleted`, `too_late`, `alias_in_use` or `invalid_value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// 200 of `POST /v1/devices/import.csv`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ImportReport {
    /// Whether the changes were made: all of them, or none.
    pub applied: bool,
    /// Rows of the table, without its head.
    pub rows: usize,
    /// Rows that leave their device as it is.
    pub unchanged: usize,
    /// Rows that change their device.
    pub changes: Vec<RowChange>,
    /// What is wrong; the first thousand.
    pub problems: Vec<RowProblem>,
    /// How many problems there are.
    pub problems_total: usize,
}

/// What a row changes.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct RowChange {
    /// Its line in the file, counted from one.
    pub line: u64,
    /// The device.
    pub device_id: String,
    /// The alias that it has before.
    pub alias: String,
    /// Field by field.
    pub fields: Vec<FieldChange>,
}

/// A change of one field; an alias is a list of one.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct FieldChange {
    /// `alias`, `tags` or `groups`.
    pub field: String,
    /// As it was.
    pub before: Vec<String>,
    /// As it becomes.
    pub after: Vec<String>,
}

/// What is wrong with a row.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct RowProblem {
    /// Its line in the file, counted from one.
    pub line: u64,
    /// The column.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}

/// One row of `GET /v1/devices/{id}/events`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct DeviceEvent {
    /// When it happened.
    pub at: String,
    /// What happened: `enrolled`, `came_online`, `went_offline`, `rebooted`, `agent_version_changed`,
    /// `app_version_changed`, `low_battery_began`, `low_battery_ended`, `app_down_began`, `app_down_ended`,
    /// `edited`, `credentials_revoked`, `deleted` or `restored`.
    pub kind: String,
    /// Who did it; null where nobody did.
    pub actor: Option<String>,
    /// What there is to know about it.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// 200 of `GET /v1/devices/{id}/history`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct DeviceHistory {
    /// Start of the first point.
    pub from: String,
    /// End of the last.
    pub to: String,
    /// Seconds between points.
    pub step_seconds: i64,
    /// Oldest first. A measure that nobody told within a point is null: a gap.
    pub points: Vec<HistoryPoint>,
}

/// A point. Measures that were not asked for are left out.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct HistoryPoint {
    /// When it begins.
    pub at: String,
    /// Heartbeats in it.
    pub heartbeats: i64,
    /// Part of the time in which the device was online, 0..1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online_share: Option<f64>,
    /// Charge, percent.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Summary>)]
    pub battery_pct: Option<Option<Summary>>,
    /// Battery temperature, degrees Celsius.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Summary>)]
    pub battery_temperature_c: Option<Option<Summary>>,
    /// Available memory, MiB.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Summary>)]
    pub ram_available_mb: Option<Option<Summary>>,
    /// Memory pressure, percent.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Summary>)]
    pub ram_pressure_pct: Option<Option<Summary>>,
    /// Free storage, MiB.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Summary>)]
    pub storage_free_mb: Option<Option<Summary>>,
    /// Part of the heartbeats in which it charged, 0..1.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub charging_share: Option<Option<f64>>,
    /// Part of the heartbeats in which Android had validated the network, 0..1.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub net_validated_share: Option<Option<f64>>,
    /// Parts of the heartbeats by kind of network.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TransportShares>)]
    pub transport_shares: Option<Option<TransportShares>>,
}

/// A measure at a point.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
pub struct Summary {
    /// The least.
    pub min: f64,
    /// The average.
    pub avg: f64,
    /// The most.
    pub max: f64,
}

/// Parts by kind of network, each 0..1.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
pub struct TransportShares {
    /// Wi-Fi.
    pub wifi: f64,
    /// Mobile data.
    pub cellular: f64,
    /// Cable.
    pub ethernet: f64,
    /// No network.
    pub none: f64,
    /// Something else.
    pub other: f64,
}

/// 200 of `GET /v1/fleet/history`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct FleetHistory {
    /// Seconds between samples. Where nobody took one there is none.
    pub interval_seconds: i64,
    /// Oldest first.
    pub samples: Vec<FleetSample>,
}

/// The fleet at one moment.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct FleetSample {
    /// When.
    pub at: String,
    /// Enrolled devices.
    pub devices: i64,
    /// Heard from within the offline limit.
    pub online: i64,
    /// Heard from before, not then.
    pub offline: i64,
    /// Enrolled, but never heard from.
    pub never_seen: i64,
    /// Online with a battery below the configured limit.
    pub low_battery: i64,
    /// Online, but the monitored app was down.
    pub app_down: i64,
    /// Heartbeats stored per second.
    pub heartbeats_per_second: f64,
}

/// 200 of `GET /v1/fleet/distributions`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct FleetDistributions {
    /// Devices.
    pub devices: u64,
    /// By charge, in bands.
    pub battery: Vec<BatteryBand>,
    /// Devices that did not tell their charge.
    pub battery_unknown: u64,
    /// By version of the agent.
    pub agent_versions: Distribution,
    /// By version of the first watched package that tells one, as `package version`.
    pub app_versions: Distribution,
    /// By Android release.
    pub android_versions: Distribution,
    /// By kind of network.
    pub transports: Distribution,
    /// By model.
    pub models: Distribution,
}

/// Devices within a band of charge.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct BatteryBand {
    /// Its lower end, percent; included.
    pub from_pct: i16,
    /// Its upper end, percent; included.
    pub to_pct: i16,
    /// Devices.
    pub devices: u64,
}

/// Devices by one value.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Distribution {
    /// Most first; those that told none come last, as null.
    pub values: Vec<ValueCount>,
    /// Devices with values that are too many to be listed.
    pub other: u64,
}

/// Devices with one value.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ValueCount {
    /// The value.
    pub value: Option<String>,
    /// Devices.
    pub devices: u64,
}

/// A filter that somebody keeps.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct SavedFilter {
    /// Identity.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Whose it is.
    pub owner: String,
    /// Whether it is the caller's own.
    pub own: bool,
    /// Whether others see it.
    pub shared: bool,
    /// Which devices it shows.
    pub filter: Filter,
    /// When it was made.
    pub created_at: String,
    /// When it was last changed.
    pub changed_at: String,
}

/// Body of `POST /v1/filters`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewFilter {
    /// What it is called, 1..100 characters; unique among the caller's.
    pub name: String,
    /// Which devices it shows.
    pub filter: Filter,
    /// Whether others see it.
    #[serde(default)]
    pub shared: bool,
}

/// Body of `PATCH /v1/filters/{id}`. What is not given stays as it is.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterPatch {
    /// Another name.
    pub name: Option<String>,
    /// Other devices.
    pub filter: Option<Filter>,
    /// Whether others see it.
    pub shared: Option<bool>,
}

/// A list that fits on one page.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct FilterList {
    /// By name.
    pub items: Vec<SavedFilter>,
}
