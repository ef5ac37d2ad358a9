//! The audit trail as JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One row of `GET /v1/audit`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Its place in the chain, from 1, without gaps.
    pub seq: i64,
    /// When, to the microsecond.
    pub at: String,
    /// Who did it.
    pub actor: AuditActor,
    /// What was done, such as `device.edited`.
    pub action: String,
    /// To what.
    pub target: AuditTarget,
    /// What of it was changed, as it was; null where there is nothing to tell.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// What of it was changed, as it is afterwards; null where there is nothing to tell.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
    /// The request that it was done with; that of an open page of the dashboard is the one that opened it.
    pub request_id: Option<String>,
    /// Where the request came from.
    pub address: Option<String>,
    /// The hash of the entry before, hexadecimal.
    pub prev_hash: String,
    /// SHA-256 of all of the above, hexadecimal.
    pub hash: String,
}

/// Who did something.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AuditActor {
    /// `person`, `token`, `system` or `device`.
    pub kind: String,
    /// Identity of the account, API token or device; `console` or `server`.
    pub id: Option<String>,
    /// The account's name, also of a token; the device's alias; who runs the command line.
    pub name: String,
}

/// What something was done to.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AuditTarget {
    /// Such as `device` or `account`.
    pub kind: String,
    /// Its identity.
    pub id: Option<String>,
    /// Its name at the time.
    pub name: Option<String>,
}

/// 200 of `GET /v1/audit/head`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AuditHead {
    /// The newest entry's place; 0 when there is none.
    pub seq: i64,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// Both, as `nexmdm audit verify --expect` takes them.
    pub expect: String,
}
