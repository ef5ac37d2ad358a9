//! Devices as a table: exported in pieces, imported as a whole or not at all.
//!
//! Cells that a spreadsheet would take for formulas are neutralised on the way out and read back as
//! they were, so that an export imports unchanged (`domain::spreadsheet`).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use domain::access::{Permission, Principal};
use domain::audit::{AuditAction, Target};
use domain::bulk::{BULK_MAX, BulkAction, Decision};
use domain::bulk_target::without_blanks;
use domain::device::DeviceListScope;
use domain::edit::Editable;
use domain::query::{Cursor, DeviceFilter, Sort};
use domain::spreadsheet::{RowTarget, joined, neutralised};
use domain::telemetry::{Field, Reading};
use domain::{DeviceId, Invalid, ServiceError};
use futures_util::stream::{self, Stream, StreamExt};
use permits::Permit;
use serde_json::json;
use store::StatusThresholds;

use super::access_trail::given;
use super::detached::run_detached;
use super::device_audit::{ActionsOutcome, AuditContext, filter_shown};
use super::device_edit::{Mode, apply_actions};
use super::devices::{DeviceDetails, DeviceService, cursor};
use super::import_table::{FieldChange, ImportReport, Row, RowChange, read_table};

/// Devices that are read and written at a time: memory does not grow with the fleet.
const BATCH: i64 = 500;
/// Marks a file as UTF-8 for programs that would guess otherwise (RFC 3629, section 6).
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Columns before those of the telemetry table.
const FIRST_COLUMNS: [&str; 9] = ["id", "alias", "tags", "groups", "status", "app_status", "model", "manufacturer", "hardware_id"];
/// Columns behind them.
const LAST_COLUMNS: [&str; 4] = ["monitored_app", "monitored_stale_after_s", "enrolled_at", "last_seen_at"];

fn columns() -> Vec<String> {
    let telemetry = Field::exported().into_iter().map(|field| field.name);
    FIRST_COLUMNS.into_iter().chain(telemetry).chain(LAST_COLUMNS).map(str::to_owned).collect()
}

/// A turn at importing a table.
pub struct ImportPermit {
    _permit: Permit,
}

impl DeviceService {
    /// The devices that match as a table in the order of their aliases (RFC 4180), piece by piece.
    ///
    /// # Errors
    /// Forbidden, the filter is out of its limits, or too many exports are under way. A piece is an
    /// error when the database goes away in between, or when none is taken for too long; the table is
    /// cut off then.
    pub async fn export(
        self: &Arc<Self>,
        principal: &Principal,
        filter: DeviceFilter,
        byte_order_mark: bool,
    ) -> Result<impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        // What was meant to narrow the table must not widen it to the fleet.
        let filter = without_blanks(filter, "")?;
        let permit = self.tables.export(principal)?;
        let mut head = Bytes::from(table([columns()])?);
        if byte_order_mark {
            head = [BYTE_ORDER_MARK.as_bytes(), &head].concat().into();
        }
        // Read before anything is answered, so that a database that is away is an error and no stump.
        let (first, next) = self.piece(principal, &filter, None).await?;
        let target = Target::Other { kind: "devices", id: None, name: None };
        given(&self.store, principal, AuditAction::DevicesExported, target, json!({ "filter": filter_shown(&filter) }), self.clock.now())
            .await?;
        let pieces =
            stream::try_unfold((Arc::clone(self), principal.clone(), filter, next), |(service, principal, filter, after)| async move {
                let Some(after) = after else { return Ok(None) };
                let (piece, next) = service.piece(&principal, &filter, Some(&after)).await?;
                Ok(Some((piece, (service, principal, filter, next))))
            });
        Ok(self.tables.stream(permit, principal, stream::iter([Ok(head), Ok(first)]).chain(pieces)))
    }

    async fn piece(
        &self,
        principal: &Principal,
        filter: &DeviceFilter,
        after: Option<&Cursor>,
    ) -> Result<(Bytes, Option<Cursor>), ServiceError> {
        let _permit = self.tables.read(principal).await?;
        let (now, sort) = (self.clock.now(), Sort::default());
        let thresholds = StatusThresholds::at(now, &self.policy);
        let rows = self.store.devices_page(filter, DeviceListScope::Active, sort, after, thresholds, BATCH).await?;
        let full = rows.len() as i64 == BATCH;
        let devices: Vec<_> = rows.into_iter().map(|row| self.stored_details(row, now)).collect();
        let next = devices.last().filter(|_| full).map(|last| cursor(&last.view, sort));
        Ok((table(devices.iter().map(cells))?.into(), next))
    }

    /// A turn at importing a table, to be had before the table is received.
    ///
    /// # Errors
    /// Forbidden, or too many imports are under way.
    pub fn import_permit(&self, principal: &Principal) -> Result<ImportPermit, ServiceError> {
        principal.require(Permission::ManageDevices)?;
        Ok(ImportPermit { _permit: self.tables.import(principal)? })
    }

    /// Imports a table that is here already; see [`Self::import_with_permit`].
    ///
    /// # Errors
    /// As [`Self::import_permit`] and [`Self::import_with_permit`].
    pub async fn import(
        &self,
        principal: &Principal,
        csv: impl AsRef<[u8]> + Send + 'static,
        dry_run: bool,
    ) -> Result<ImportReport, ServiceError> {
        let permit = self.import_permit(principal)?;
        self.import_with_permit(principal, permit, csv, dry_run).await
    }

    /// Reads a table of aliases, tags and groups, and makes the changes: all of them, or none when
    /// there is a problem or it is a dry run.
    ///
    /// The table is in UTF-8, or in UTF-16 with a byte order mark, between commas, semicolons or tabs.
    /// A row names its device by `id`, else by the alias that it has; `alias` next to an id, else
    /// `new_alias`, is the alias that it gets. Columns that are not there change nothing, those of an
    /// export that cannot be imported are not read, and others are refused.
    ///
    /// # Errors
    /// Forbidden, or the head or the number of rows or changes is out of its limits.
    pub async fn import_with_permit(
        &self,
        principal: &Principal,
        _permit: ImportPermit,
        csv: impl AsRef<[u8]> + Send + 'static,
        dry_run: bool,
    ) -> Result<ImportReport, ServiceError> {
        principal.require(Permission::ManageDevices)?;
        let read = move || {
            let mut report = ImportReport::default();
            read_table(csv.as_ref(), &columns(), &mut report).map(|rows| (rows, report))
        };
        let (rows, mut report) = tokio::task::spawn_blocking(read).await.map_err(|_| ServiceError::Internal)??;
        let named: Vec<String> = rows
            .iter()
            .filter_map(|row| match &row.target {
                RowTarget::Alias(alias) => Some(alias.clone()),
                RowTarget::Id(_) => None,
            })
            .collect();
        let by_alias = if named.is_empty() { HashMap::new() } else { self.store.devices_by_alias(&named).await? };
        let mut lines: HashMap<DeviceId, u64> = HashMap::with_capacity(rows.len());
        let mut actions = Vec::with_capacity(rows.len());
        for Row { line, target, patch } in rows {
            let id = match target {
                RowTarget::Id(id) => id,
                RowTarget::Alias(alias) => match by_alias.get(&alias) {
                    Some(id) => *id,
                    None => {
                        report.problem(line, Invalid::new("alias", "no device has this alias"));
                        continue;
                    }
                },
            };
            match lines.insert(id, line) {
                Some(first) => report.problem(line, Invalid::new("id", format!("duplicate device, also in line {first}"))),
                None => actions.push((id, BulkAction::Edit(patch))),
            }
        }
        let mode = if dry_run || report.problems_total > 0 { Mode::DryRun } else { Mode::AllOrNothing };
        // Decided before it is done, so that too many changes are none.
        let preview = self.carry_out(principal, actions.clone(), Mode::DryRun).await?;
        let changing = preview.decisions.iter().filter(|(_, decision)| decision.changes()).count();
        if changing > BULK_MAX {
            return Err(Invalid::new("body", format!("{changing} devices would change, more than the {BULK_MAX} allowed")).into());
        }
        let outcome = if mode == Mode::DryRun { preview } else { self.carry_out(principal, actions, mode).await? };
        report.applied = outcome.written || (mode == Mode::AllOrNothing && changing == 0);
        for (id, decision) in &outcome.decisions {
            let line = lines.get(id).copied().unwrap_or_default();
            match (decision, outcome.before.get(id)) {
                (Decision::Refused(refusal), _) => {
                    let refused = match refusal.clone().into() {
                        ServiceError::Invalid(invalid) => invalid,
                        error @ ServiceError::AliasHeld(_) => Invalid::new("alias", error.to_string()),
                        error => Invalid::new("id", error.to_string()),
                    };
                    report.problem(line, refused);
                }
                (Decision::Edit(after), Some(before)) => report.changes.push(RowChange {
                    line,
                    id: *id,
                    alias: before.editable.alias.clone(),
                    fields: field_changes(&before.editable, after),
                }),
                _ => report.unchanged += 1,
            }
        }
        if outcome.decisions.iter().any(|(_, decision)| matches!(decision, Decision::Refused(_))) {
            report.applied = false;
        }
        report.problems.sort_by_key(|problem| problem.line);
        Ok(report)
    }

    async fn carry_out(
        &self,
        principal: &Principal,
        actions: Vec<(DeviceId, BulkAction)>,
        mode: Mode,
    ) -> Result<ActionsOutcome, ServiceError> {
        let (store, restore_within, by, now) = (self.store.clone(), self.restore_within, principal.clone(), self.clock.now());
        run_detached(async move { apply_actions(&store, actions, &by, AuditContext::Import, mode, restore_within, now).await }).await
    }
}

/// Reads a table as an import does, but looks at no device: rows and their problems.
///
/// # Errors
/// As [`DeviceService::import_with_permit`], of the head and the number of rows.
pub fn read_import(csv: &[u8]) -> Result<ImportReport, Invalid> {
    let mut report = ImportReport::default();
    read_table(csv, &columns(), &mut report).map(|_| report)
}

fn field_changes(before: &Editable, after: &Editable) -> Vec<FieldChange> {
    let fields = [
        ("alias", vec![before.alias.clone()], vec![after.alias.clone()]),
        ("tags", before.tags.clone(), after.tags.clone()),
        ("groups", before.groups.clone(), after.groups.clone()),
    ];
    let changed = fields.into_iter().filter(|(_, before, after)| before != after);
    changed.map(|(field, before, after)| FieldChange { field, before, after }).collect()
}

/// Rows as text. Every cell is quoted, so that whatever a program takes for a separator is none.
pub(super) fn table(rows: impl IntoIterator<Item = impl AsRef<[String]>>) -> Result<Vec<u8>, ServiceError> {
    let mut writer =
        csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        // Writing to memory fails on rows of different lengths only, and these have one.
        writer.write_record(row.as_ref()).map_err(|_| ServiceError::Internal)?;
    }
    writer.into_inner().map_err(|_| ServiceError::Internal)
}

fn cells(device: &DeviceDetails) -> Vec<String> {
    let (view, identity) = (&device.view, &device.view.identity);
    let reported = view.last.as_deref().map(|last| &last.telemetry);
    let text = |text: Option<&str>| text.map(neutralised).unwrap_or_default();
    let time = |at: domain::Timestamp| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let first = [
        identity.id.to_string(),
        neutralised(&identity.alias),
        neutralised(&joined(&identity.tags)),
        neutralised(&joined(&identity.groups)),
        view.connectivity.as_str().to_owned(),
        view.app_status.as_str().to_owned(),
        text(view.model()),
        text(identity.manufacturer.as_deref()),
        text(identity.hardware_id.as_deref()),
    ];
    let telemetry = Field::exported().into_iter().map(|field| match reported.and_then(field.get) {
        Some(Reading::Text(words)) => neutralised(words),
        reading => reading.map(|reading| reading.to_string()).unwrap_or_default(),
    });
    let last = [
        text(device.monitored.as_ref().map(|app| app.package.as_str())),
        device.monitored.as_ref().and_then(|app| app.stale_after_s).map(|seconds| seconds.to_string()).unwrap_or_default(),
        time(identity.enrolled_at),
        view.last_seen_at.map(time).unwrap_or_default(),
    ];
    first.into_iter().chain(telemetry).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_export_has_may_come_back() {
        assert_eq!(read_import(format!("{}\n", columns().join(",")).as_bytes()).unwrap().rows, 0);
    }

    #[test]
    fn every_cell_is_quoted_and_lines_end_as_the_format_says() {
        let row: Vec<String> = (0..columns().len()).map(|n| if n == 0 { "a\"b".to_owned() } else { String::new() }).collect();
        let text = String::from_utf8(table([row]).unwrap()).unwrap();
        assert!(text.starts_with("\"a\"\"b\",\"\",") && text.ends_with("\"\"\r\n"), "{text}");
    }
}
