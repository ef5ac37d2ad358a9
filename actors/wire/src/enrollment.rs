//! How devices are enrolled in the field: what a token's bearer learns of it, scripts, and codes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// 200 of `GET /v1/enroll-tokens/self`, asked with the enrollment token itself.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct EnrollTokenSelf {
    /// State.
    #[schema(value_type = crate::names::EnrollTokenStatus)]
    pub status: String,
    /// The device that used it.
    pub device_id: Option<String>,
    /// That device's alias, unless it was deleted.
    pub alias: Option<String>,
    /// Time of the device's first heartbeat within the stored history.
    pub first_heartbeat_at: Option<String>,
}

/// Body of `POST /v1/enroll-tokens/scripts`; the answer is the script.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnrollScriptsRequest {
    /// The tokens themselves, one per device, 1..500.
    pub tokens: Vec<String>,
    /// Shell.
    #[schema(value_type = crate::names::Shell)]
    pub shell: String,
    /// Whether the script enrolls every device plugged in; required for more than one token.
    pub batch: bool,
    /// Whether it installs the agent; true when absent.
    pub install: Option<bool>,
    /// Server URL for devices; `http.public_url` when absent.
    pub server_url: Option<String>,
}

/// Body of `POST /v1/enroll-tokens/qr`.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnrollQrRequest {
    /// The token itself.
    pub token: String,
    /// A network that the device joins first.
    pub wifi: Option<EnrollWifi>,
    /// Server URL for devices; `http.public_url` when absent.
    pub server_url: Option<String>,
}

/// A Wi-Fi network.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnrollWifi {
    /// Name, at most 32 bytes.
    pub ssid: String,
    /// `none`, `wpa` or `wep`; when absent, `wpa` with a password and `none` without.
    pub security: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Whether the network is hidden.
    pub hidden: bool,
}

/// 200 of `POST /v1/enroll-tokens/qr`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct EnrollQr {
    /// Payload of the QR code: the extras of Android's device-owner provisioning.
    pub payload: serde_json::Value,
    /// The code as an SVG picture, black on white.
    pub svg: String,
    /// Expiry of token and download URL.
    pub expires_at: String,
}

/// 200 of `GET /v1/agent/apk/info`: the agent that new devices get from the node that is asked.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AgentApkInfo {
    /// State of the file.
    #[schema(value_type = crate::names::AgentApkState)]
    pub state: String,
    /// Problem and remedy; null when ready.
    pub problem: Option<String>,
    /// Source of the file: `setting`, `data_folder`, `release_build` or `debug_build`.
    pub source: Option<String>,
    /// Path on the node; null without the permission to manage agent builds.
    pub file: Option<String>,
    /// Length in bytes.
    pub size_bytes: Option<u64>,
    /// SHA-256 of the file, hex.
    pub sha256: Option<String>,
    /// SHA-256 of the certificate that enrollment codes name, hex.
    pub signer_sha256: Option<String>,
    /// Package name.
    pub package: Option<String>,
    /// Version code.
    pub version_code: Option<i64>,
    /// Version name.
    pub version_name: Option<String>,
    /// Whether it is a debug build.
    pub debuggable: Option<bool>,
    /// Promoted builds that devices update themselves to after enrollment, the newest first.
    pub updates: Vec<AgentApkUpdate>,
}

/// A promoted build that is newer than the APK of the node.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AgentApkUpdate {
    /// Version code.
    pub version_code: i64,
    /// Version name.
    pub version_name: String,
    /// Rollout percentage.
    pub rollout_percent: u8,
}
