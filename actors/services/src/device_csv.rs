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
use domain::edit::{DevicePatch, Editable};
use domain::query::{Cursor, DeviceFilter, Sort};
use domain::spreadsheet::{ImportCells, RowTarget, import_row, joined, neutralised};
use domain::telemetry::{Field, Reading};
use domain::{DeviceId, Invalid, ServiceError};
use futures_util::stream::{self, Stream, StreamExt};
use permits::Permit;
use serde_json::json;
use store::StatusThresholds;

use super::access_trail::given;
use super::csv_dialect::Table;
use super::device_audit::{ActionsOutcome, AuditContext, filter_shown};
use super::device_edit::{Mode, apply_actions, run_detached};
use super::devices::{DeviceDetails, DeviceService, cursor};

/// Most rows of an import.
pub const IMPORT_ROWS_MAX: usize = 100_000;
/// Problems that a report names; the others are counted.
const PROBLEMS_MAX: usize = 1000;
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

/// Result of an import, carried out or previewed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImportReport {
    /// Rows of the table, without its head.
    pub rows: usize,
    /// Rows that leave their device as it is.
    pub unchanged: usize,
    /// Rows that change their device.
    pub changes: Vec<RowChange>,
    /// Problems, in the order of the lines; at most a thousand.
    pub problems: Vec<RowProblem>,
    /// Number of problems.
    pub problems_total: usize,
    /// Whether the changes were made.
    pub applied: bool,
}

/// Changes of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowChange {
    /// Line in the file, from 1.
    pub line: u64,
    /// The device.
    pub id: DeviceId,
    /// The alias that it has before.
    pub alias: String,
    /// Field by field.
    pub fields: Vec<FieldChange>,
}

/// A change of one field; an alias is a list of one.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// `alias`, `tags` or `groups`.
    pub field: &'static str,
    /// Value before.
    pub before: Vec<String>,
    /// Value after.
    pub after: Vec<String>,
}

/// Problem of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowProblem {
    /// Line in the file, from 1.
    pub line: u64,
    /// The column.
    pub field: String,
    /// Problem.
    pub problem: String,
}

impl ImportReport {
    fn problem(&mut self, line: u64, invalid: Invalid) {
        self.problems_total += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(RowProblem { line, field: invalid.field, problem: invalid.problem });
        }
    }
}

/// A turn at importing a table.
pub struct ImportPermit {
    _permit: Permit,
}

/// A row that reads well.
struct Row {
    line: u64,
    target: RowTarget,
    patch: DevicePatch,
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
        Ok(self.tables.stream(permit, stream::iter([Ok(head), Ok(first)]).chain(pieces)))
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
    /// The table is in UTF-8, or in UTF-16 with a byte order mark, between commas, semicolons or tabs ([`Table`]).
    /// A row names its device by `id`, else by the alias that it has; `alias` next to an id, else
    /// `new_alias`, is the alias that it gets. Columns that are not there change nothing, and those of an
    /// export that cannot be imported are not read.
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
            read_table(csv.as_ref(), &mut report).map(|rows| (rows, report))
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
    read_table(csv, &mut report).map(|_| report)
}

/// Parses the rows; those with errors go into the report.
fn read_table(bytes: &[u8], report: &mut ImportReport) -> Result<Vec<Row>, Invalid> {
    let Table { bytes, delimiter, lines_before } = Table::of(bytes)?;
    let bytes = bytes.as_ref();
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
    let head = reader.byte_headers().map_err(|_| Invalid::new("body", "the header row is unreadable"))?.clone();
    let column = |name: &str| -> Result<Option<usize>, Invalid> {
        let mut places = head.iter().enumerate().filter(|(_, cell)| cell.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
        match (places.next(), places.next()) {
            (Some(_), Some(_)) => Err(Invalid::new(name, "duplicate column")),
            (place, _) => Ok(place.map(|(at, _)| at)),
        }
    };
    let (id, alias, new_alias) = (column("id")?, column("alias")?, column("new_alias")?);
    let (tags, groups) = (column("tags")?, column("groups")?);
    if id.is_none() && alias.is_none() {
        return Err(Invalid::new("body", "the header row has neither a column id nor a column alias"));
    }
    let (mut rows, mut record) = (Vec::new(), csv::ByteRecord::new());
    while reader.read_byte_record(&mut record).map_err(|_| Invalid::new("body", "not a CSV file"))? {
        report.rows += 1;
        if report.rows > IMPORT_ROWS_MAX {
            return Err(Invalid::new("body", format!("more than {IMPORT_ROWS_MAX} rows")));
        }
        let line = record.position().map_or(0, |begin| {
            // A record that follows CR LF begins, for the reader, with the LF.
            let at_line_feed = usize::try_from(begin.byte()).ok().and_then(|at| bytes.get(at)) == Some(&b'\n');
            begin.line() + u64::from(at_line_feed) + lines_before
        });
        if record.len() != head.len() {
            let problem = format!("{} cells, but the header row has {}", record.len(), head.len());
            report.problem(line, Invalid::new("row", problem));
            continue;
        }
        let Ok(texts) = record.iter().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>() else {
            report.problem(line, Invalid::new("row", "not UTF-8"));
            continue;
        };
        let cell = |at: Option<usize>| at.and_then(|at| texts.get(at).copied());
        let cells = ImportCells { id: cell(id), alias: cell(alias), new_alias: cell(new_alias), tags: cell(tags), groups: cell(groups) };
        if [cells.id, cells.alias, cells.new_alias, cells.tags, cells.groups].into_iter().flatten().any(|cell| cell.contains(['\n', '\r']))
        {
            report.problem(line, Invalid::new("row", "a line break in a cell: is a quote not closed?"));
            continue;
        }
        match import_row(cells) {
            Ok((target, patch)) => rows.push(Row { line, target, patch }),
            Err(problems) => problems.into_iter().for_each(|problem| report.problem(line, problem)),
        }
    }
    Ok(rows)
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

    fn read(csv: &[u8]) -> (usize, Vec<(u64, String)>) {
        let mut report = ImportReport::default();
        let rows = read_table(csv, &mut report).unwrap();
        (rows.len(), report.problems.into_iter().map(|problem| (problem.line, problem.field)).collect())
    }

    #[test]
    fn problems_name_their_lines() {
        let id = "00000000-0000-0000-0000-000000000007";
        let csv = format!("\u{feff}id,alias,Tags\r\n{id},\"two\r\nlines\",a|b\r\nx,y\r\n7,ok,\r\n{id},ok,a\r\n");
        // A line break within quotes belongs to the cell, and the lines after it count on.
        assert_eq!(read(csv.as_bytes()), (1, vec![(2, "row".into()), (4, "row".into()), (5, "id".into())]));
        let not_text = [b"alias,tags\n".as_slice(), b"\xff\xfe,a\n"].concat();
        assert_eq!(read(&not_text), (0, vec![(2, "row".into())]));
        assert_eq!(read(b"alias;tags\nkiosk;a\n"), (1, vec![]));
        assert_eq!(read(b"sep=;\r\nalias;tags\r\n;a\r\n"), (0, vec![(3, "alias".into())]), "an empty alias, in its line");
        assert_eq!(read(format!("id,alias\n{id},\n").as_bytes()), (0, vec![(2, "alias".into())]));
    }

    #[test]
    fn a_quote_that_is_not_closed_swallows_no_rows() {
        assert_eq!(read(b"alias,tags\ncsv-1,\"front\ncsv-2,back\n"), (0, vec![(2, "row".into())]));
    }

    #[test]
    fn lists_are_read_within_quotes_and_blanks() {
        for csv in ["alias, tags\ncsv-a, \"x|y\"\n", "alias,tags\r\n\"csv-a\",\"x, y\"\r\n", "sep=\t\nalias\ttags\ncsv-a\tx;y\n"] {
            let rows = read_table(csv.as_bytes(), &mut ImportReport::default()).unwrap();
            assert_eq!(rows.len(), 1, "{csv:?}");
            assert_eq!(rows[0].patch.tags, Some(domain::edit::LabelChange::Set(vec!["x".into(), "y".into()])), "{csv:?}");
        }
    }

    #[test]
    fn a_table_needs_a_column_that_says_which_device() {
        let field = |csv: &[u8]| read_table(csv, &mut ImportReport::default()).err().map(|invalid| invalid.field);
        assert_eq!(field(b""), Some("body".into()));
        assert_eq!(field(b"tags,groups\n"), Some("body".into()));
        assert_eq!(field(b"id,tags,TAGS\n"), Some("tags".into()));
    }

    #[test]
    fn every_cell_is_quoted_and_lines_end_as_the_format_says() {
        let row: Vec<String> = (0..columns().len()).map(|n| if n == 0 { "a\"b".to_owned() } else { String::new() }).collect();
        let text = String::from_utf8(table([row]).unwrap()).unwrap();
        assert!(text.starts_with("\"a\"\"b\",\"\",") && text.ends_with("\"\"\r\n"), "{text}");
    }
}
