//! Bodies about devices: edits, bulk calls, tables, filters, history and events.

use domain::history::{Measures, Shares};
use domain::telemetry;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::admin::Device;
use crate::device_filter::Filter;

/// Distinguishes `null` from an absent field.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A device with its monitored app, and its deletion if deleted.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct DeviceDetails {
    /// The device.
    #[serde(flatten)]
    pub device: Device,
    /// Monitored app.
    pub monitored_app: Option<MonitoredApp>,
    /// Time of deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
    /// End of the restore period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restorable_until: Option<String>,
    /// Other devices of the fleet that enrolled with its hardware id, newest first; only in the answer about one device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same_hardware: Vec<SameHardware>,
    /// What to look at after a change, such as an alias that is easily mistaken for another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Device that enrolled with the same hardware id.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct SameHardware {
    /// Id.
    pub device_id: String,
    /// Alias.
    pub alias: String,
    /// Time of enrollment.
    pub enrolled_at: String,
    /// Time of its last stored heartbeat.
    pub last_seen_at: Option<String>,
}

/// Body of `POST /v1/devices/{id}/replace`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplaceDevice {
    /// The device that is replaced: an earlier enrollment of the same hardware.
    pub replaces: String,
}

/// Devices that need legacy push.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct LegacyPushDevices {
    /// Whether push messages are signed for them (`commands.legacy_push`).
    pub enabled: bool,
    /// The devices, in the order of their ids.
    pub items: Vec<LegacyPushDevice>,
    /// Cursor of the next page; absent: this is the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Device that needs legacy push.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct LegacyPushDevice {
    /// Id.
    pub device_id: String,
    /// Alias.
    pub alias: String,
    /// When it last answered a command in the format of the earlier server, to about an hour.
    pub last_result_at: String,
}

/// Monitored app of a device.
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
    /// New alias, unique; cannot be cleared.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub alias: Option<Option<String>>,
    /// Replaces all tags.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub tags: Option<Option<Vec<String>>>,
    /// Replaces all groups.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub groups: Option<Option<Vec<String>>>,
    /// Monitored app.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MonitoredApp>)]
    pub monitored_app: Option<Option<MonitoredApp>>,
}

/// Body of `POST /v1/devices/{id}/restore`.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestoreDevice {
    /// New alias, if its own is in use.
    pub alias: Option<String>,
}

/// Body of `POST /v1/devices/bulk`: one of `fleet`, `ids` and `filter`, and what its action needs.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BulkRequest {
    /// Every device, at most 10,000; deleted ones for `restore`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fleet: bool,
    /// These devices, at most 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// All that match, at most 10,000; deleted ones for `restore`. It has at least one condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// The bulk action.
    #[schema(value_type = crate::names::BulkAction)]
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
    /// Dry run: only return the plan.
    pub dry_run: bool,
}

/// 200 of `POST /v1/devices/bulk`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct BulkResponse {
    /// Whether the call was a dry run.
    pub dry_run: bool,
    /// Devices that were changed, or would be.
    pub changed: usize,
    /// Unchanged devices.
    pub unchanged: usize,
    /// Refused devices, each with a reason.
    pub refused: usize,
    /// One for each device, in the order of ids.
    pub outcomes: Vec<BulkOutcome>,
}

/// Outcome, or planned outcome, for one device.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct BulkOutcome {
    /// The device.
    pub id: String,
    /// The alias that it had before; null when there is no such device.
    pub alias: Option<String>,
    /// Outcome for the device.
    #[schema(value_type = crate::names::BulkOutcomeKind)]
    pub outcome: String,
    /// Reason for the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::names::BulkRefusal>)]
    pub reason: Option<String>,
    /// Human-readable reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// 200 of `POST /v1/devices/import.csv`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ImportReport {
    /// Whether the changes were applied: all or none.
    pub applied: bool,
    /// Number of rows, without the header row.
    pub rows: usize,
    /// Rows without changes.
    pub unchanged: usize,
    /// Rows that change their device.
    pub changes: Vec<RowChange>,
    /// Problems; the first thousand.
    pub problems: Vec<RowProblem>,
    /// Total number of problems.
    pub problems_total: usize,
}

/// Changes of a row.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct RowChange {
    /// Line in the file, from 1.
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
    /// The field.
    #[schema(value_type = crate::names::TableField)]
    pub field: String,
    /// As it was.
    pub before: Vec<String>,
    /// As it becomes.
    pub after: Vec<String>,
}

/// Problem of a row.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct RowProblem {
    /// Line in the file, from 1.
    pub line: u64,
    /// The column.
    pub field: String,
    /// Problem.
    pub problem: String,
}

/// One row of `GET /v1/devices/{id}/events`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct DeviceEvent {
    /// Time of the event.
    pub at: String,
    /// Kind of the event.
    #[schema(value_type = crate::names::DeviceEventKind)]
    pub kind: String,
    /// Actor; null if there is none.
    pub actor: Option<String>,
    /// Details of the event.
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
    /// The days that were read from the archive; null if none were.
    #[serde(default)]
    pub archived: Option<ArchivedDays>,
}

/// Days that were read from the archive.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ArchivedDays {
    /// The first, UTC.
    pub first: String,
    /// The last, UTC.
    pub last: String,
    /// How many.
    pub days: i64,
}

macro_rules! history_point {
    ({}
        measures { $( { $field:ident $column:tt $prefix:tt $about:tt $label:tt $unit:ident $tone:tt } )* }
        shares { $( { $answer:ident $share:ident $answer_column:tt $answer_prefix:tt $answer_about:tt } )* }
    ) => {
        /// A point. Measures that were not asked for are left out.
        #[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
        pub struct HistoryPoint {
            /// Start time.
            pub at: String,
            /// Heartbeats in it.
            pub heartbeats: i64,
            /// Part of the time in which the device was online, 0..1.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub online_share: Option<f64>,
            $(
                #[doc = $about]
                #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
                #[schema(value_type = Option<Summary>)]
                pub $field: Option<Option<Summary>>,
            )*
            $(
                #[doc = "Part of the heartbeats with yes, 0..1."]
                #[doc = $answer_about]
                #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
                #[schema(value_type = Option<f64>)]
                pub $share: Option<Option<f64>>,
            )*
            /// Parts of the heartbeats by kind of network.
            #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
            #[schema(value_type = Option<TransportShares>)]
            pub transport_shares: Option<Option<TransportShares>>,
        }

        impl HistoryPoint {
            /// Names of the measures.
            pub const METRICS: &[&str] = &["online_share", $(stringify!($field),)* $(stringify!($share),)* "transport_shares"];

            /// Sets those measures of the telemetry table that are wanted.
            pub fn set(&mut self, wanted: impl Fn(&str) -> bool, measures: Measures<Option<Summary>>, shares: Shares<Option<f64>>) {
                $(self.$field = wanted(stringify!($field)).then_some(measures.$field);)*
                $(self.$share = wanted(stringify!($share)).then_some(shares.$answer);)*
            }
        }
    };
}
telemetry! { history => history_point {} }

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
    /// Time of the sample.
    pub at: String,
    /// Enrolled devices.
    pub devices: i64,
    /// Devices with a heartbeat within the offline limit.
    pub online: i64,
    /// Devices seen before, but without a heartbeat within the offline limit.
    pub offline: i64,
    /// Enrolled devices without a heartbeat.
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
    /// Whether all devices are counted. False right after the start of a node, which then knows a part of the fleet only.
    #[serde(default)]
    pub complete: bool,
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
    /// Lower end, percent; included.
    pub from_pct: i16,
    /// Upper end, percent; included.
    pub to_pct: i16,
    /// Devices.
    pub devices: u64,
}

/// Devices by one value.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Distribution {
    /// Most frequent first; devices without a value last, as null.
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

/// A saved filter.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct SavedFilter {
    /// Identity.
    pub id: String,
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: String,
    /// Whether the caller is the owner.
    pub own: bool,
    /// Whether the filter is visible to all users.
    pub shared: bool,
    /// Device filter.
    pub filter: Filter,
    /// Time of creation.
    pub created_at: String,
    /// Time of the last change.
    pub changed_at: String,
}

/// Body of `POST /v1/filters`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewFilter {
    /// Name, 1..100 characters; unique among the caller's.
    pub name: String,
    /// Device filter.
    pub filter: Filter,
    /// Whether the filter is visible to all users.
    #[serde(default)]
    pub shared: bool,
}

/// Body of `PATCH /v1/filters/{id}`. What is not given stays as it is.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterPatch {
    /// New name.
    pub name: Option<String>,
    /// New device filter.
    pub filter: Option<Filter>,
    /// Whether the filter is visible to all users.
    pub shared: Option<bool>,
}

/// A list that fits on one page.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct FilterList {
    /// By name.
    pub items: Vec<SavedFilter>,
}
