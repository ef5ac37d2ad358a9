//! The audit trail as JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// 200 of `GET /v1/audit`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AuditPage {
    /// Entries, newest first.
    pub items: Vec<AuditEntry>,
    /// Cursor of the next page; null if this is the last page.
    pub next_cursor: Option<String>,
    /// Older entries, which are in archives and which only a search with `archived=true` finds; null if there are none.
    pub archived: Option<AuditArchived>,
    /// Files of archives that were read for this page; null where `archived=true` was not asked for, or the database had enough.
    #[serde(default)]
    pub archives_read: Option<u64>,
}

/// Entries of the audit trail that are in archives.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AuditArchived {
    /// Sequence number of the newest of them; the oldest is 1.
    pub last_seq: i64,
    /// Its time.
    pub last_at: String,
    /// File of the newest archive, relative to the archive's store.
    pub newest_file: String,
}

/// One row of `GET /v1/audit`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Sequence number in the chain, from 1, without gaps.
    pub seq: i64,
    /// Time, to the microsecond.
    pub at: String,
    /// Actor.
    pub actor: AuditActor,
    /// Action, such as `device.edited`.
    pub action: String,
    /// To what.
    pub target: AuditTarget,
    /// Changed values before the action; null if there are none.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// Changed values after the action; null if there are none.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
    /// The request that it was done with; that of an open page of the dashboard is the one that opened it.
    pub request_id: Option<String>,
    /// Client address of the request.
    pub address: Option<String>,
    /// The hash of the entry before, hexadecimal.
    pub prev_hash: String,
    /// SHA-256 of all of the above, hexadecimal.
    pub hash: String,
}

/// Actor of an action.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AuditActor {
    /// Kind.
    #[schema(value_type = crate::names::ActorKind)]
    pub kind: String,
    /// Identity of the account, API token or device; `console` or `server`.
    pub id: Option<String>,
    /// The account's name, also of a token; the device's alias; who runs the command line.
    pub name: String,
}

/// Target of an action.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AuditTarget {
    /// Such as `device` or `account`.
    pub kind: String,
    /// Identity.
    pub id: Option<String>,
    /// Name at the time of the action.
    pub name: Option<String>,
}

/// 200 of `GET /v1/audit/head`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AuditHead {
    /// The newest entry's place; 0 when there is none.
    pub seq: i64,
    /// Hash, hexadecimal.
    pub hash: String,
    /// Both, as `nexmdm audit verify --expect` takes them.
    pub expect: String,
}
