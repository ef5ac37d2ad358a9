//! Answers as tables for people, or as they are for scripts.

use std::io::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde_json::Value;

use super::args::Format;

/// A column: its title, and where in a row its value is (RFC 6901).
pub(super) type Column = (&'static str, &'static str);

/// Prints text as lines. Whoever reads them, such as `head`, may stop when it has enough: that is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => Err(cause.into()),
        _ => Ok(()),
    }
}

/// Prints rows. As JSON it is the list of them.
pub(super) fn rows(format: Format, rows: &[Value], columns: &[Column]) -> anyhow::Result<()> {
    match format {
        Format::Json => print(&serde_json::to_string_pretty(rows)?),
        Format::Table if rows.is_empty() => print("None."),
        Format::Table => print(&table(rows, columns).to_string()),
    }
}

/// Prints one thing, a line per field. As JSON it is all of it.
pub(super) fn one(format: Format, value: &Value, fields: &[Column]) -> anyhow::Result<()> {
    match format {
        Format::Json => print(&serde_json::to_string_pretty(value)?),
        Format::Table => {
            let width = fields.iter().map(|(title, _)| title.len()).max().unwrap_or_default();
            let line = |(title, at): &Column| format!("{title:<width$}  {}", text(value.pointer(at).unwrap_or(&Value::Null)));
            print(&fields.iter().map(line).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// Prints the warnings of an answer beside what scripts read.
pub(super) fn warnings(answer: &Value) {
    for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("warning: {warning}");
    }
}

/// Says what was done; as JSON, what the API answered.
pub(super) fn done(format: Format, answer: &Value, sentence: &str) -> anyhow::Result<()> {
    match format {
        Format::Json if !answer.is_null() => print(&serde_json::to_string_pretty(answer)?),
        Format::Json => Ok(()),
        Format::Table => print(sentence),
    }
}

fn table(rows: &[Value], columns: &[Column]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|(title, _)| *title));
    for row in rows {
        table.add_row(columns.iter().map(|(_, at)| {
            let value = row.pointer(at).unwrap_or(&Value::Null);
            let cell = Cell::new(text(value));
            if value.is_number() { cell.set_alignment(CellAlignment::Right) } else { cell }
        }));
    }
    table
}

/// A value for people. Text of devices is shown without what would move the cursor.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) => {
            number.as_f64().filter(|_| number.is_f64()).map_or_else(|| number.to_string(), |number| format!("{number:.1}"))
        }
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields.iter().map(|(name, value)| format!("{name} {}", text(value))).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_its_titles_and_a_dash_for_what_is_unknown() {
        let rows = [json!({"alias": "shop-1", "last": {"battery_pct": 83}}), json!({"alias": "sh\u{1b}[2Jop-2"})];
        let shown = table(&rows, &[("ALIAS", "/alias"), ("BATTERY", "/last/battery_pct")]).to_string();
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [vec!["ALIAS", "BATTERY"], vec!["shop-1", "83"], vec!["sh\u{fffd}[2Jop-2", "-"]]);
    }

    #[test]
    fn values_are_written_for_people() {
        for (value, want) in
            [(json!(null), "-"), (json!(true), "yes"), (json!(1.25), "1.2"), (json!(7), "7"), (json!(["a", "b"]), "a, b"), (json!([]), "-")]
        {
            assert_eq!(text(&value), want);
        }
    }
}
