//! Heartbeats of a device as a table, out of the database and the archive.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{Days, SecondsFormat, TimeDelta};
use domain::access::{Permission, Principal};
use domain::archive::{Cell, RecordBatch, heartbeats};
use domain::audit::{AuditAction, Target};
use domain::history::{RANGE_DEFAULT, RANGE_MAX, not_too_early};
use domain::spreadsheet::neutralised;
use domain::{DeviceId, Invalid, ServiceError, Timestamp};
use futures_util::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use serde_json::json;

use super::HistoryService;
use super::sources::{Run, days_of, midnight};
use crate::access_trail::given;

/// Rows that are read from the database at a time.
const BATCH: i64 = 2000;
/// The last column: where a row was read.
const SOURCE: &str = "source";

/// How far the end of a range lies in the future at most: a clock that is ahead, or the end of today.
const AHEAD_MAX: TimeDelta = TimeDelta::days(1);

/// A span that is read from one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Database(Run),
    /// One day: the limits of the archive are those of a day's read.
    Archive(Run),
}

/// The spans of an export, oldest first: days in the archive one by one, what is between them together.
fn segments(from: Timestamp, to: Timestamp, is_archived: impl Fn(&chrono::NaiveDate) -> bool) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for day in days_of(from, to) {
        let run = (midnight(day).max(from), midnight(day + Days::new(1)).min(to));
        match segments.last_mut() {
            _ if is_archived(&day) => segments.push(Segment::Archive(run)),
            Some(Segment::Database((_, end))) => *end = run.1,
            _ => segments.push(Segment::Database(run)),
        }
    }
    segments
}

/// A value as text; nothing where nothing was told.
fn cell(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Uuid(id) => id.to_string(),
        Cell::Timestamp(at) => at.to_rfc3339_opts(SecondsFormat::Millis, true),
        Cell::Boolean(value) => value.to_string(),
        Cell::Integer(value) => value.to_string(),
        Cell::Float(value) => value.to_string(),
        Cell::Double(value) => value.to_string(),
        Cell::String(text) => neutralised(text),
        Cell::Binary(bytes) => hex::encode(bytes),
    }
}

fn table(rows: impl IntoIterator<Item = Vec<String>>) -> Result<Bytes, ServiceError> {
    let mut writer =
        csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Necessary).terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        // Writing to memory fails on rows of different lengths only, and these have one.
        writer.write_record(&row).map_err(|_| ServiceError::Internal)?;
    }
    Ok(writer.into_inner().map_err(|_| ServiceError::Internal)?.into())
}

fn head() -> Result<Bytes, ServiceError> {
    let names = heartbeats().columns.iter().map(|column| column.name.to_string()).chain([SOURCE.to_owned()]).collect();
    table([names])
}

/// Rows of a batch that lie within a span, with the columns of this build, whatever the archive's build had.
fn rows(batch: &RecordBatch, (from, to): Run, source: &str) -> Result<Bytes, ServiceError> {
    let schema = heartbeats();
    let columns: Vec<_> = schema.columns.iter().map(|column| batch.column(&column.name)).collect();
    let is_within = |row: &usize| match batch.column("bucket_at").map(|column| column.cell(*row)) {
        Some(Cell::Timestamp(at)) => (from..to).contains(&at),
        _ => false,
    };
    let row = |row: usize| {
        let cells = columns.iter().map(|column| column.map_or_else(String::new, |column| cell(column.cell(row))));
        cells.chain([source.to_owned()]).collect()
    };
    table((0..batch.rows()).filter(is_within).map(row))
}

impl HistoryService {
    /// The heartbeats of a device from `from` until before `to` as a table, the oldest first (RFC 4180), piece by piece; its last column says whether a
    /// row was read from the database or the archive. Cells that a spreadsheet would take for formulas are neutralised.
    ///
    /// # Errors
    /// Forbidden, the range is out of its limits, there is no such device, or too many exports are under way. A piece is an error when the database or the
    /// archive goes away in between, when an archive's limits are reached, or when none is taken for too long.
    pub async fn export(
        self: &Arc<Self>,
        principal: &Principal,
        id: DeviceId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        let now = self.clock.now();
        let (from, to) = range(from, to, now)?;
        let permit = self.tables.export(principal)?;
        self.store.device_access(id).await?.ok_or(ServiceError::NotFound("device"))?;
        let archived = self.archived_days(from, to).await?;
        let (service, reader) = (Arc::clone(self), principal.clone());
        let pieces = stream::iter(segments(from, to, |day| archived.contains(day))).map(move |segment| match segment {
            Segment::Database(run) => Arc::clone(&service).database_rows(reader.clone(), id, run),
            Segment::Archive(run) => Arc::clone(&service).archive_rows(id, run),
        });
        let mut pieces = pieces.flatten().boxed();
        // Read before anything is answered, so that a database or an archive that is away is an error and no stump.
        let first = pieces.try_next().await?;
        let target = Target::Other { kind: "device", id: Some(id.to_string()), name: None };
        let after = json!({ "from": from, "to": to, "archived_days": archived.len() });
        given(&self.store, principal, AuditAction::DeviceHeartbeatsExported, target, after, now).await?;
        Ok(self.tables.stream(permit, principal, stream::iter([Ok(head()?)]).chain(stream::iter(first.map(Ok))).chain(pieces)))
    }

    fn database_rows(self: Arc<Self>, reader: Principal, id: DeviceId, (from, to): Run) -> BoxStream<'static, Result<Bytes, ServiceError>> {
        let begin = from;
        stream::try_unfold(Some(from), move |from| {
            let (service, reader) = (Arc::clone(&self), reader.clone());
            async move {
                let Some(from) = from else { return Ok(None) };
                let _permit = service.tables.read(&reader).await?;
                let batch = service.store.for_reading().device_batch(id, from, to, BATCH).await?;
                let last = batch.rows().checked_sub(1).and_then(|row| batch.column("bucket_at").map(|column| column.cell(row)));
                let next = match last {
                    Some(Cell::Timestamp(at)) if batch.rows() as i64 == BATCH => Some(at + TimeDelta::microseconds(1)),
                    _ => None,
                };
                if next.is_none() {
                    still_there(service.archived_days(begin, to).await?.first())?;
                }
                Ok(Some((rows(&batch, (from, to), "database")?, next)))
            }
        })
        .boxed()
    }

    fn archive_rows(self: Arc<Self>, id: DeviceId, run: Run) -> BoxStream<'static, Result<Bytes, ServiceError>> {
        stream::once(async move {
            let turn = self.archive_turn().await?;
            // A day of one device: some thousand rows.
            let days = self.archives.device_rows(id, run.0, run.1, days_of(run.0, run.1), &turn.budget);
            let days: Vec<_> = days.try_collect().await?;
            let pieces = days.iter().map(|day| rows(&day.batch, run, "archive")).collect::<Result<Vec<_>, _>>()?;
            Ok(Bytes::from(pieces.concat()))
        })
        .boxed()
    }
}

/// Refuses the rest of an export where a day went into the archive while it was read from the database: rows of it may be missing.
fn still_there(gone: Option<&chrono::NaiveDate>) -> Result<(), ServiceError> {
    gone.map_or(Ok(()), |day| Err(ServiceError::Conflict(format!("{day} went into the archive during the export: repeat it"))))
}

/// The range of an export: the last day unless it is said.
fn range(from: Option<Timestamp>, to: Option<Timestamp>, now: Timestamp) -> Result<Run, Invalid> {
    let to = not_too_early("to", to.unwrap_or(now))?;
    if to > now + AHEAD_MAX {
        return Err(Invalid::new("to", "more than a day in the future"));
    }
    let from = from.map_or(Ok(to - RANGE_DEFAULT), |from| not_too_early("from", from))?;
    if from >= to {
        return Err(Invalid::new("from", "not before to"));
    }
    if to - from > RANGE_MAX {
        return Err(Invalid::new("from", format!("more than {} days before to", RANGE_MAX.num_days())));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::archive::ColumnType;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn days_in_the_archive_are_read_one_by_one_and_the_others_together() {
        let (from, to) = (at("2026-08-01T12:00:00Z"), at("2026-08-06T01:00:00Z"));
        let found = segments(from, to, |day| matches!(chrono::Datelike::day(day), 2 | 3));
        let midnight = |day: u32| at(&format!("2026-08-0{day}T00:00:00Z"));
        assert_eq!(
            found,
            [
                Segment::Database((from, midnight(2))),
                Segment::Archive((midnight(2), midnight(3))),
                Segment::Archive((midnight(3), midnight(4))),
                Segment::Database((midnight(4), to)),
            ]
        );
    }

    #[test]
    fn a_row_has_every_column_and_where_it_was_read() {
        let schema = heartbeats();
        let mut batch = RecordBatch::with_capacity(Arc::clone(&schema), 2);
        let bucket = at("2026-08-01T12:00:00Z");
        for bucket in [bucket, bucket + TimeDelta::hours(1)] {
            let row = schema.columns.iter().map(|column| match (column.name.as_ref(), column.kind) {
                ("bucket_at", _) => Cell::Timestamp(bucket),
                (_, ColumnType::Uuid) => Cell::Uuid(uuid::Uuid::nil()),
                (_, ColumnType::Timestamp) => Cell::Timestamp(bucket),
                (_, ColumnType::Boolean) => Cell::Boolean(true),
                (_, ColumnType::String) => Cell::String("=cmd()"),
                _ => Cell::Null,
            });
            batch.push(row).unwrap();
        }
        let text = String::from_utf8(rows(&batch, (bucket, bucket + TimeDelta::minutes(1)), "archive").unwrap().to_vec()).unwrap();
        assert_eq!(text.lines().count(), 1, "what lies outside is left out: {text}");
        assert!(text.contains("'=cmd()") && text.ends_with(",archive\r\n"), "{text}");
        let head = String::from_utf8(head().unwrap().to_vec()).unwrap();
        assert!(head.starts_with("device_id,bucket_at,") && head.ends_with(",source\r\n"), "{head}");
        assert_eq!(head.split(',').count(), text.split(',').count());
    }

    #[test]
    fn a_day_that_is_dropped_during_an_export_is_no_hole_in_it() {
        let day = at("2026-08-01T00:00:00Z").date_naive();
        let refused = still_there(Some(&day)).unwrap_err().to_string();
        assert!(refused.contains("2026-08-01 went into the archive"), "{refused}");
        assert!(still_there(None).is_ok());
    }

    #[test]
    fn a_range_has_its_limits() {
        let now = at("2026-11-30T12:00:00Z");
        assert_eq!(range(None, None, now).unwrap(), (now - TimeDelta::days(1), now));
        assert_eq!(range(Some(now), Some(now), now).unwrap_err().field, "from");
        let (first, last) = (Timestamp::MIN_UTC, Timestamp::MAX_UTC);
        for (from, to, field) in [
            (None, Some(first), "to"),
            (None, Some(last), "to"),
            (Some(last - TimeDelta::days(1)), Some(last), "to"),
            (Some(first), None, "from"),
            (Some(first), Some(first), "to"),
            (None, Some(now + TimeDelta::days(2)), "to"),
        ] {
            assert_eq!(range(from, to, now).unwrap_err().field, field, "{from:?} to {to:?}");
        }
        assert!(range(None, Some(now + TimeDelta::hours(12)), now).is_ok(), "the end of today");
        assert!(range(Some(now - TimeDelta::days(91)), None, now).unwrap_err().problem.contains("90 days"));
    }
}
