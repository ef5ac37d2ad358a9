//! Errors as `application/problem+json` (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Machine-readable kind, stable across releases, e.g. `alias_in_use`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short name of the status.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Problem and remedy, human-readable.
    pub detail: String,
    /// The field that was refused, as a path like `battery.pct`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Reason why the agent has to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::names::AgentStopReason>)]
    pub reason: Option<String>,
}
