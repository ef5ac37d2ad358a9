//! How devices are enrolled in the field: what a token's bearer learns of it, scripts, and codes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// 200 of `GET /v1/enroll-tokens/self`, asked with the enrollment token itself.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct EnrollTokenSelf {
    /// `unused`, `used`, `expired` or `revoked`.
    pub status: String,
    /// The device that used it.
    pub device_id: Option<String>,
    /// That device's alias, unless it was deleted.
    pub alias: Option<String>,
    /// When the server heard from the device for the first time, as far as its history goes back.
    pub first_heartbeat_at: Option<String>,
}

/// Body of `POST /v1/enroll-tokens/scripts`; the answer is the script.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnrollScriptsRequest {
    /// The tokens themselves, one per device, 1..500.
    pub tokens: Vec<String>,
    /// `bash`, `powershell` or `cmd`.
    pub shell: String,
    /// Whether the script enrolls every device plugged in; required for more than one token.
    pub batch: bool,
    /// Whether it installs the agent; true when absent.
    pub install: Option<bool>,
    /// How devices reach the server; `http.public_url` when absent.
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
    /// How devices reach the server; `http.public_url` when absent.
    pub server_url: Option<String>,
}

/// A Wi-Fi network.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnrollWifi {
    /// Its name, at most 32 bytes.
    pub ssid: String,
    /// `none`, `wpa` or `wep`; when absent, `wpa` with a password and `none` without.
    pub security: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// Whether it does not announce its name.
    pub hidden: bool,
}

/// 200 of `POST /v1/enroll-tokens/qr`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct EnrollQr {
    /// What the code says: the extras of Android's device-owner provisioning.
    pub payload: serde_json::Value,
    /// The code as an SVG picture, black on white.
    pub svg: String,
    /// When token and download address stop working.
    pub expires_at: String,
}
