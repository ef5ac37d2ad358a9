//! `/v1/audit`: who did what to what.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use chrono::SecondsFormat;
use domain::Invalid;
use domain::audit::{AuditFilter, ChainedEntry};
use domain::query::PAGE_DEFAULT;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;
use wire::audit::{AuditActor, AuditArchived, AuditEntry, AuditHead, AuditPage, AuditTarget};

use super::extract::Person;
use super::openapi::{PersonRefusals, QueryRefusals};
use super::table::{flag, table};
use super::{ApiError, App};
use crate::present;

/// Query of the audit trail; all conditions that are given hold.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    /// By whom: a name, ignoring case, or an id.
    actor: Option<String>,
    /// Prefix of the action; `device.` is every action on single devices.
    action: Option<String>,
    /// To what: a name, ignoring case, or an id.
    target: Option<String>,
    /// With which request.
    request_id: Option<String>,
    /// Text within a name, before or after, ignoring case.
    #[serde(alias = "q")]
    text: Option<String>,
    /// Not earlier than this.
    from: Option<String>,
    /// Not later than this.
    to: Option<String>,
    /// Also in archives: as far as one read of them reaches, so that a page may have few entries or none and yet a next one.
    #[serde(default, deserialize_with = "flag")]
    archived: bool,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Query of an export; all conditions that are given hold.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// By whom: a name, ignoring case, or an id.
    actor: Option<String>,
    /// Prefix of the action.
    action: Option<String>,
    /// To what: a name, ignoring case, or an id.
    target: Option<String>,
    /// With which request.
    request_id: Option<String>,
    /// Text within a name, before or after, ignoring case.
    #[serde(alias = "q")]
    text: Option<String>,
    /// Not earlier than this.
    from: Option<String>,
    /// Not later than this.
    to: Option<String>,
    /// Begin with a byte order mark, for spreadsheets that would not take the file for UTF-8.
    #[serde(default, deserialize_with = "flag")]
    bom: bool,
}

impl ExportQuery {
    fn parse(self) -> Result<AuditFilter, Invalid> {
        let Self { actor, action, target, request_id, text, from, to, bom: _ } = self;
        let time = |field: &str, text: Option<String>| text.map(|text| present::parse_time(field, &text)).transpose();
        Ok(AuditFilter { actor, action, target, request_id, text, from: time("from", from)?, to: time("to", to)? })
    }
}

/// Lists audit entries, newest first. Older ones are in archives, as `archived` tells, and listed with `archived=true`.
#[utoipa::path(
    get, path = "/v1/audit", tag = "audit", security(("person" = ["audit:read"])),
    params(AuditQuery),
    responses((status = 200, body = AuditPage), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<AuditPage>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let AuditQuery { actor, action, target, request_id, text, from, to, archived, limit, cursor } = query;
    let filter = ExportQuery { actor, action, target, request_id, text, from, to, bom: false }.parse()?;
    let older_than = cursor.map(|cursor| cursor.parse().map_err(|_| Invalid::new("cursor", "not a cursor of this list"))).transpose()?;
    let page = app.system.audit.page(&principal, filter, older_than, limit.unwrap_or(PAGE_DEFAULT), archived).await?;
    let archived = page.archived.map(|archived| AuditArchived {
        last_seq: archived.last_seq,
        last_at: archived.last_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        newest_file: format!("{}.parquet", archived.newest),
    });
    Ok(Json(AuditPage {
        items: page.entries.into_iter().map(entry).collect(),
        next_cursor: page.next.map(|seq| seq.to_string()),
        archived,
        archives_read: page.archives_read,
    }))
}

/// Exports audit entries as CSV (RFC 4180), newest first.
///
/// Cells that a spreadsheet would interpret as formulas begin with an apostrophe.
#[utoipa::path(
    get, path = "/v1/audit.csv", tag = "audit", security(("person" = ["audit:read"])),
    params(ExportQuery),
    responses((status = 200, body = String, content_type = "text/csv"), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let bom = query.bom;
    let pieces = app.system.audit.export(&principal, query.parse()?).await?;
    Ok(table(pieces, "audit.csv", bom))
}

/// Returns sequence number and hash of the newest entry, to record them in a tamper-proof place.
#[utoipa::path(
    get, path = "/v1/audit/head", tag = "audit", security(("person" = ["audit:read"])),
    responses((status = 200, body = AuditHead), PersonRefusals)
)]
pub(crate) async fn head(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<AuditHead>, ApiError> {
    let head = app.system.audit.head(&principal).await?;
    Ok(Json(AuditHead { seq: head.seq, hash: hex::encode(&head.hash), expect: head.to_string() }))
}

fn entry(row: ChainedEntry) -> AuditEntry {
    let ChainedEntry { entry, prev_hash, hash } = row;
    // What somebody changed in the database may be no JSON any more; it is shown as it is.
    let state = |text: Option<String>| text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
    AuditEntry {
        seq: entry.seq,
        at: entry.at.to_rfc3339_opts(SecondsFormat::Micros, true),
        actor: AuditActor { kind: entry.actor_kind, id: entry.actor_id, name: entry.actor_name },
        action: entry.action,
        target: AuditTarget { kind: entry.target_kind, id: entry.target_id, name: entry.target_name },
        before: state(entry.before),
        after: state(entry.after),
        request_id: entry.request_id,
        address: entry.address,
        prev_hash: hex::encode(prev_hash),
        hash: hex::encode(hash),
    }
}
