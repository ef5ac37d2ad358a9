//! Reports of devices about commands.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /v1/action-result`; on the socket the fields of a frame of type `action_result`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ActionResult {
    /// The command.
    pub request_id: String,
    /// Action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Receipt or outcome.
    #[schema(value_type = crate::names::ActionReport)]
    pub outcome: String,
    /// Human-readable message, at most 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// For programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Output of the action, an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
    /// Time of completion by the device's clock.
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

/// Body of `POST /v1/devices/{id}/commands`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandRequest {
    /// Name of the action; the table of actions describes it with its parameters.
    pub action: String,
    /// Parameters, an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<serde_json::Value>,
    /// Lifetime in seconds; `commands.expires_default_seconds` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<i64>,
}

/// A command and its outcome.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CommandRecord {
    /// Id.
    pub request_id: String,
    /// Target device.
    pub device_id: String,
    /// The device's alias.
    pub alias: String,
    /// The batch that it belongs to.
    pub batch_id: Option<String>,
    /// Action.
    pub action: String,
    /// Parameters, without secrets.
    pub params: serde_json::Value,
    /// State.
    #[schema(value_type = crate::names::CommandState)]
    pub state: String,
    /// Why it is not sent for now, while the server holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::names::HoldReason>)]
    pub held: Option<String>,
    /// Delivery attempts.
    pub attempts: i32,
    /// The path of the last time.
    #[schema(value_type = Option<crate::names::CommandPath>)]
    pub path: Option<String>,
    /// Requesting account.
    pub created_by: String,
    /// Time of creation.
    pub created_at: String,
    /// Earliest time of sending.
    pub release_at: String,
    /// Time of expiry.
    pub expires_at: String,
    /// Time of the first delivery attempt.
    pub sent_at: Option<String>,
    /// Time of the device's acknowledgement.
    pub delivered_at: Option<String>,
    /// Time of completion.
    pub finished_at: Option<String>,
    /// Canceling account.
    pub canceled_by: Option<String>,
    /// Outcome reported by the device.
    #[schema(value_type = Option<crate::names::CommandOutcome>)]
    pub outcome: Option<String>,
    /// Human-readable message of the device.
    pub message: Option<String>,
    /// Machine-readable result code.
    pub code: Option<String>,
    /// Output of the action.
    pub data: Option<serde_json::Value>,
}

/// Target devices of a batch; exactly one of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchTarget {
    /// Every device.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fleet: bool,
    /// Device ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Filter with at least one condition, evaluated now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<crate::device_filter::Filter>,
}

/// Body of `POST /v1/command-batches`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// Action, as for a single device.
    pub action: String,
    /// Parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<serde_json::Value>,
    /// For which devices.
    pub target: BatchTarget,
    /// Commands per second; `commands.batch_per_second` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<i32>,
    /// Lifetime of a command in seconds, counted from the last send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<i64>,
    /// Dry run: only return the plan.
    #[serde(default)]
    pub dry_run: bool,
}

/// A device that gets no command, and why.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RefusedDevice {
    /// The device.
    pub id: String,
    /// Alias, if there is such a device.
    pub alias: Option<String>,
    /// Why.
    #[schema(value_type = crate::names::CommandRefusal)]
    pub reason: String,
}

/// Number of commands of a batch per state.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
pub struct BatchCounts {
    /// Not given to any path.
    pub queued: i64,
    /// Given to a path.
    pub sent: i64,
    /// The device has it.
    pub delivered: i64,
    /// Done.
    pub succeeded: i64,
    /// Not done.
    pub failed: i64,
    /// Out of time.
    pub expired: i64,
    /// Taken back.
    pub canceled: i64,
}

/// Number of commands of a batch per path of the last, or first planned, attempt.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
pub struct PathCounts {
    /// The device's socket.
    pub socket: i64,
    /// A push message.
    pub push: i64,
    /// A heartbeat's answer.
    pub heartbeat: i64,
}

/// A batch and how far it got.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CommandBatch {
    /// Id.
    pub id: String,
    /// Action.
    pub action: String,
    /// Parameters, without secrets.
    pub params: serde_json::Value,
    /// Requested target.
    pub target: serde_json::Value,
    /// Commands per second.
    pub rate_per_second: i32,
    /// Devices that got a command.
    pub devices: i32,
    /// Commands by state.
    pub counts: BatchCounts,
    /// Commands by the path of the last attempt.
    pub paths: PathCounts,
    /// Devices that got none, at most 1,000 of them by name.
    pub refused: Vec<RefusedDevice>,
    /// Number of skipped devices.
    pub refused_count: i32,
    /// Requesting account.
    pub created_by: String,
    /// Time of creation.
    pub created_at: String,
    /// Expiry of the commands.
    pub expires_at: String,
    /// Time of cancellation.
    pub canceled_at: Option<String>,
}

/// Plan for one device of a batch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlannedCommand {
    /// The device.
    pub id: String,
    /// Alias, if there is such a device.
    pub alias: Option<String>,
    /// The path that the command would take first; absent when it gets none.
    #[schema(value_type = Option<crate::names::CommandPath>)]
    pub path: Option<String>,
    /// Whether the device is online.
    pub online: Option<bool>,
    /// Reason for skipping the device.
    #[schema(value_type = Option<crate::names::CommandRefusal>)]
    pub reason: Option<String>,
}

/// Plan of a batch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BatchPlan {
    /// Always true.
    pub dry_run: bool,
    /// Devices that would get a command.
    pub devices: usize,
    /// Offline devices among them: sent if back online before expiry.
    pub offline: usize,
    /// The path that each would take first.
    pub paths: PathCounts,
    /// Skipped devices.
    pub refused: usize,
    /// Each device.
    pub outcomes: Vec<PlannedCommand>,
}

/// Answer to `POST /v1/command-batches`: what is made, or with `dry_run` what would be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum BatchResponse {
    /// Plan of a dry run.
    Plan(BatchPlan),
    /// Created batch.
    Batch(Box<CommandBatch>),
}

/// A command that `exec` may run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExecCommand {
    /// Name: 1..64 of a-z, 0-9, `.`, `_`, `-`.
    pub name: String,
    /// The program, by its absolute path, and its arguments; no shell.
    pub argv: Vec<String>,
    /// Description.
    pub description: String,
    /// Account of the last change.
    pub updated_by: String,
    /// Time of the last change.
    pub updated_at: String,
}

/// Body of `PUT /v1/exec-commands/{name}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecCommandRequest {
    /// The program, by its absolute path, and its arguments.
    pub argv: Vec<String>,
    /// Description.
    #[serde(default)]
    pub description: String,
}

/// Body of `POST /v1/devices/{id}/ack`: an action result in the words of agents in the field.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct LegacyAck {
    /// `LAUNCH_APP_ACK`, `WIFI_CONNECT_ACK`, `PING_ACK`, `RING_STARTED` or `RING_STOPPED`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The command.
    pub correlation_id: Option<String>,
    /// The command, under its other name.
    pub request_id: Option<String>,
    /// `OK`, `FAILED`, `TIMEOUT` or `ERROR`.
    pub status: Option<String>,
    /// Human-readable message.
    pub message: Option<String>,
}
