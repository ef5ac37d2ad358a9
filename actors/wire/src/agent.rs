//! What a device says to a node over HTTP, and what the node answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::lenient::{Float, Int, object};

/// Body of `POST /v1/register`. All but `alias` is optional, and so is `alias`
/// when the token fixes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RegisterRequest {
    /// Name of the device for people, 1..200 characters.
    pub alias: Option<String>,
    /// Serial number or other hardware identity; never authenticates.
    pub hardware_id: Option<String>,
    /// Marketing or build model.
    pub model: Option<String>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Android release, e.g. `13`.
    pub android_version: Option<String>,
    /// Android API level.
    pub sdk_int: Option<Int>,
    /// Agent version name.
    pub app_version: Option<String>,
    /// Agent version code.
    pub app_version_code: Option<Int>,
    /// Push token.
    pub fcm_token: Option<String>,
}

/// 200 of `POST /v1/register`. The secrets are shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RegisterResponse {
    /// Identity of the device.
    pub device_id: String,
    /// `<token id>.<secret>`, the bearer token of every later call.
    pub device_token: String,
    /// Key of command signatures, hex.
    pub device_key: String,
    /// The server's clock.
    pub server_time: String,
    /// Heartbeat interval, until a response changes it.
    pub heartbeat_interval_seconds: u32,
    /// URL of the agent socket.
    pub socket_url: String,
}

/// Body of `POST /v1/devices/fcm-token`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct FcmTokenRequest {
    /// The push token that holds from now on.
    pub fcm_token: String,
}

/// 200 of `POST /v1/agent/session`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionResponse {
    /// Short-lived JWT that any node verifies on its own.
    pub session_token: String,
    /// Time of expiry.
    pub expires_at: String,
}

/// Body of `POST /v1/heartbeat`; one element of `POST /v1/heartbeats`.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Heartbeat {
    /// If given, must be the caller's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Informational; the server's alias is what counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Agent version name.
    pub app_version: Option<String>,
    /// The device's clock.
    pub timestamp_utc: Option<String>,
    /// Monitored packages.
    #[serde(deserialize_with = "object")]
    #[schema(value_type = Option<BTreeMap<String, AppVersion>>)]
    pub app_versions: Option<BTreeMap<String, Option<AppVersion>>>,
    /// Signals of the speed test app.
    #[serde(deserialize_with = "object")]
    pub speedtest_running_signals: Option<SpeedtestSignals>,
    /// Battery.
    #[serde(deserialize_with = "object")]
    pub battery: Option<Battery>,
    /// Operating system and hardware.
    #[serde(deserialize_with = "object")]
    pub system: Option<System>,
    /// Memory.
    #[serde(deserialize_with = "object")]
    pub memory: Option<Memory>,
    /// Network.
    #[serde(deserialize_with = "object")]
    pub network: Option<Network>,
    /// Push token, when it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fcm_token: Option<String>,
    /// Whether this heartbeat answers a ping.
    pub is_ping_response: Option<bool>,
    /// The ping it answers.
    pub ping_request_id: Option<String>,
    /// Opaque hints of the agent's self-repair.
    #[schema(value_type = Option<serde_json::Value>)]
    pub self_heal_hints: Option<Box<RawValue>>,
    /// Whether the agent is device owner.
    pub is_device_owner: Option<bool>,
    /// Seconds since the monitored app was in the foreground, -1 = unknown.
    pub monitored_foreground_recent_s: Option<Int>,
    /// Whether the monitored process runs.
    pub unity_process_running: Option<bool>,
    /// Whether battery optimization is off for the agent.
    pub power_ok: Option<bool>,
    /// Whether the agent is exempt from Doze.
    pub doze_whitelisted: Option<bool>,
    /// Whether Android validated the network.
    pub net_validated: Option<bool>,
    /// Heartbeats waiting on the device.
    pub queue_depth: Option<Int>,
    /// Free storage, MiB.
    pub storage_free_mb: Option<Int>,
    /// Whether the network is metered.
    pub metered: Option<bool>,
    /// Whether a call is in progress.
    pub in_call: Option<bool>,
    /// Agent version code.
    pub agent_version_code: Option<Int>,
    /// Changes with every boot.
    pub boot_id: Option<String>,
    /// Counts heartbeats within a boot.
    pub seq: Option<Int>,
}

/// A monitored package.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct AppVersion {
    /// Whether it is installed.
    pub installed: Option<bool>,
    /// Version name.
    pub version_name: Option<String>,
    /// Version code.
    pub version_code: Option<Int>,
}

/// Signals of the speed test app.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SpeedtestSignals {
    /// Whether its service shows a notification.
    pub has_service_notification: Option<bool>,
    /// Seconds since it was in the foreground.
    pub foreground_recent_seconds: Option<Int>,
}

/// Battery.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Battery {
    /// Charge, 0..100.
    pub pct: Option<Int>,
    /// Whether the battery is charging.
    pub charging: Option<bool>,
    /// Temperature in degrees Celsius.
    pub temperature_c: Option<Float>,
}

/// Operating system and hardware.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct System {
    /// Seconds since boot.
    pub uptime_seconds: Option<Int>,
    /// Android release.
    pub android_version: Option<String>,
    /// Android API level.
    pub sdk_int: Option<Int>,
    /// Security patch level.
    pub patch_level: Option<String>,
    /// Build id.
    pub build_id: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
}

/// Memory.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Memory {
    /// Total, MiB.
    pub total_ram_mb: Option<Int>,
    /// Available, MiB.
    pub avail_ram_mb: Option<Int>,
    /// Pressure, 0..100.
    pub pressure_pct: Option<Int>,
}

/// Network.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Network {
    /// `wifi`, `cellular`, `ethernet`, `none` or `other`.
    pub transport: Option<String>,
    /// SSID of the Wi-Fi network.
    pub ssid: Option<String>,
    /// Mobile carrier.
    pub carrier: Option<String>,
    /// Address of the device.
    pub ip: Option<String>,
}

/// A command as the device receives it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Command {
    /// Identity of the command; the device runs each once.
    pub request_id: String,
    /// Target device.
    pub device_id: String,
    /// Action.
    pub action: String,
    /// Time of issue.
    pub ts: String,
    /// Time of expiry; the command must not run afterwards.
    pub expires_at: String,
    /// JSON text whose exact bytes are signed.
    pub params: String,
    /// Hex HMAC-SHA256.
    pub signature: String,
    /// Version of the signature, `1`.
    pub v: String,
}

/// 200 of `POST /v1/heartbeat`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatResponse {
    /// Always true.
    pub ok: bool,
    /// Time until the next heartbeat, jittered.
    pub next_heartbeat_seconds: u32,
    /// Commands waiting for the device.
    pub commands: Vec<Command>,
    /// The server's clock.
    pub server_time: String,
}

/// 200 of `POST /v1/heartbeats`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatsResponse {
    /// One outcome per heartbeat, in the order they were sent.
    pub results: Vec<HeartbeatOutcome>,
    /// Time until the next heartbeat, jittered.
    pub next_heartbeat_seconds: u32,
    /// Commands waiting for the device.
    pub commands: Vec<Command>,
    /// The server's clock.
    pub server_time: String,
}

/// Outcome of one heartbeat of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatOutcome {
    /// Index in the list, from 0.
    pub index: usize,
    /// 200 stored or already there; 422 keep out of later lists; 503 keep and retry.
    pub status: u16,
    /// Problem, if the status is not 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
