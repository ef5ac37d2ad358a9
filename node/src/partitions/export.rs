//! Rows of an archive as text: CSV, or an object per line.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};

use archive::{ArchiveName, Archives};
use chrono::{NaiveDate, SecondsFormat};
use domain::archive::{Cell, RecordBatch};
use futures_util::TryStreamExt;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::cli::Output;

/// Prints the rows of a day, of these devices or of all.
///
/// # Errors
/// There is no archive of the day, it is damaged, or the store fails.
pub(super) async fn export(archives: &Archives, day: NaiveDate, devices: &[Uuid], output: Output) -> anyhow::Result<()> {
    match write(archives, day, devices, output).await {
        // Whoever reads has seen enough: `| head`.
        Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(|cause| cause.kind() == ErrorKind::BrokenPipe) => Ok(()),
        outcome => outcome,
    }
}

async fn write(archives: &Archives, day: NaiveDate, devices: &[Uuid], output: Output) -> anyhow::Result<()> {
    let devices: BTreeSet<Uuid> = devices.iter().copied().collect();
    let mut batches = archives.rows(&ArchiveName::heartbeats(day), None).await?.batches;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut has_header = false;
    while let Some(batch) = batches.try_next().await? {
        if output == Output::Table && !has_header {
            let names: Vec<&str> = batch.schema().columns.iter().map(|column| column.name.as_ref()).collect();
            writeln!(out, "{}", names.join(","))?;
            has_header = true;
        }
        for row in 0..batch.rows() {
            if devices.is_empty() || device_of(&batch, row).is_some_and(|device| devices.contains(&device)) {
                writeln!(out, "{}", line(&batch, row, output)?)?;
            }
        }
    }
    Ok(out.flush()?)
}

fn device_of(batch: &RecordBatch, row: usize) -> Option<Uuid> {
    match batch.column("device_id")?.cell(row) {
        Cell::Uuid(device) => Some(device),
        _ => None,
    }
}

fn line(batch: &RecordBatch, row: usize, output: Output) -> anyhow::Result<String> {
    let cells = batch.schema().columns.iter().zip(batch.columns()).map(|(column, data)| (column.name.as_ref(), data.cell(row)));
    Ok(match output {
        Output::Table => cells.map(|(_, cell)| csv(&value(cell))).collect::<Vec<_>>().join(","),
        Output::Json => serde_json::to_string(&cells.map(|(name, cell)| (name.to_owned(), value(cell))).collect::<Map<_, _>>())?,
    })
}

fn value(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Uuid(id) => id.to_string().into(),
        Cell::Timestamp(at) => at.to_rfc3339_opts(SecondsFormat::AutoSi, true).into(),
        Cell::Boolean(value) => value.into(),
        Cell::Integer(value) => value.into(),
        // By its own digits, not those of the double that is nearest.
        Cell::Float(value) => value.to_string().parse::<f64>().map_or(Value::Null, Into::into),
        Cell::Double(value) => value.into(),
        Cell::String(value) => value.into(),
        Cell::Binary(bytes) => hex::encode(bytes).into(),
    }
}

/// A field of CSV (RFC 4180). Text that a spreadsheet would take for a formula stays text.
fn csv(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => {
            let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.clone() };
            if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_no_text_is_a_formula() {
        for (field, wanted) in [
            (Value::Null, ""),
            (Value::from(-3), "-3"),
            (Value::from("wifi"), "wifi"),
            (Value::from("a,\"b\""), "\"a,\"\"b\"\"\""),
            (Value::from("=1+1"), "'=1+1"),
            (value(Cell::Float(36.6)), "36.6"),
        ] {
            assert_eq!(csv(&field), wanted);
        }
    }
}
