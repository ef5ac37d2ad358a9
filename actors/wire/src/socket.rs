//! Frames of the agent socket, `GET /v1/agent/socket`.
//!
//! The fields of an upward frame's body stand beside its `type` and `id`:
//! `{"type":"heartbeat","id":7,"battery":{"pct":83},...}`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::agent::{Command, Heartbeat};

/// Head of every frame from a device; the body is read separately.
#[derive(Debug, Deserialize)]
pub struct UpHeader {
    /// `heartbeat`, `action_result` or `deployment_status`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Chosen by the device; the answer carries it unchanged.
    #[serde(default)]
    pub id: Option<Box<RawValue>>,
}

/// A heartbeat frame as a device writes it.
#[derive(Debug, Serialize)]
pub struct HeartbeatFrame<'a> {
    /// Always `heartbeat`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Chosen by the device.
    pub id: u64,
    /// The heartbeat's own fields.
    #[serde(flatten)]
    pub heartbeat: &'a Heartbeat,
}

/// Frame sent by a node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DownFrame {
    /// The frame with this id is committed.
    Ack {
        /// The device's id of the frame.
        id: serde_json::Value,
        /// After a heartbeat: when to send the next one, jittered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_heartbeat_seconds: Option<u32>,
        /// After a heartbeat: who decided about it, as the header `X-NexMDM-Owner` tells it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
    },
    /// The frame with this id changed nothing.
    Refused {
        /// The device's id of the frame, null when it had none.
        id: serde_json::Value,
        /// The HTTP status the same call would have had.
        status: u16,
        /// Problem and remedy, human-readable.
        detail: String,
        /// With 410: why the device is told to stop.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// With 503: when to try again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_s: Option<u32>,
    },
    /// A command to run.
    Command(Command),
    /// The node is going away: come back in `after_ms`.
    Reconnect {
        /// Jittered wait before the next connection.
        after_ms: u64,
    },
}
