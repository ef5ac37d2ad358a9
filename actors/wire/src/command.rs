//! What a device says of the commands it was sent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /v1/action-result`; on the socket the fields of a frame of type `action_result`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ActionResult {
    /// The command.
    pub request_id: String,
    /// Its action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// `received`, `success`, `failed`, `skipped` or `timeout`.
    pub outcome: String,
    /// For people, at most 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// For programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Whatever the action yields, an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
    /// When the device was done, by its clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// If given, must be the caller's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
}

/// 200 of `POST /v1/action-result`: it is on record.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ActionResultResponse {
    /// Always true.
    pub ok: bool,
}

/// An action result as a device writes it to the socket.
#[derive(Debug, Serialize)]
pub struct ActionResultFrame<'a> {
    /// Always `action_result`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Chosen by the device.
    pub id: u64,
    /// The result's own fields.
    #[serde(flatten)]
    pub result: &'a ActionResult,
}
