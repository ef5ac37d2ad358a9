//! Answers as tables for people, or as they are for scripts.

use std::io::{IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};
use domain::text::excerpt;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::args::Format;

/// A column: its title, and where in a row its value is (RFC 6901).
pub(super) type Column = (&'static str, &'static str);

/// Columns of a terminal that a table has beside the content of each of its columns.
const PADDING: usize = 2;

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
        Format::Table => {
            let (table, dropped) = table(rows, columns, terminal_width());
            print(&table.to_string())?;
            if !dropped.is_empty() && std::io::stderr().is_terminal() {
                eprintln!("Not shown for lack of width: {}. A wider terminal or -o json shows all.", dropped.join(", "));
            }
            Ok(())
        }
    }
}

/// Prints one thing, a line per field. As JSON it is all of it.
pub(super) fn one(format: Format, value: &Value, fields: &[Column]) -> anyhow::Result<()> {
    match format {
        Format::Json => print(&serde_json::to_string_pretty(value)?),
        Format::Table => {
            let width = fields.iter().map(|(title, _)| title.len()).max().unwrap_or_default();
            let room = terminal_width();
            let line = |(title, at): &Column| {
                let text = text(value.pointer(at).unwrap_or(&Value::Null));
                format!("{title:<width$}  {}", wrapped(&text, width + 2, room))
            };
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

/// Width to fit: of `COLUMNS` if it is set, else of the terminal; `None` for a file or a pipe.
fn terminal_width() -> Option<usize> {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    columns.or_else(|| Table::new().width().map(usize::from))
}

/// Width of the longest word of a column, which is the least that it needs.
fn word_width(cells: &[String]) -> usize {
    cells.iter().flat_map(|cell| cell.split_whitespace()).map(|word| word.width()).max().unwrap_or_default()
}

/// Columns that fit with whole words. The last ones are dropped first, ids after all others, and the first column never.
fn fitting(mut columns: Vec<(&'static str, Vec<String>)>, width: Option<usize>) -> (Vec<(&'static str, Vec<String>)>, Vec<&'static str>) {
    let Some(width) = width else { return (columns, Vec::new()) };
    let needed = |columns: &[(&str, Vec<String>)]| {
        columns.iter().map(|(title, cells)| word_width(cells).max(word_width(&[(*title).to_owned()])) + PADDING).sum::<usize>()
    };
    let mut dropped = Vec::new();
    while columns.len() > 1 && needed(&columns) > width {
        let last = columns.iter().skip(1).rposition(|(title, _)| *title != "ID").map_or(1, |at| at + 1);
        dropped.push(columns.remove(last).0);
    }
    dropped.reverse();
    (columns, dropped)
}

/// A table within this width, and the columns that it had to leave out.
fn table(rows: &[Value], columns: &[Column], width: Option<usize>) -> (Table, Vec<&'static str>) {
    let cell = |row: &Value, at: &str| text(row.pointer(at).unwrap_or(&Value::Null));
    let all = columns.iter().map(|(title, at)| (*title, rows.iter().map(|row| cell(row, at)).collect())).collect();
    let (shown, dropped) = fitting(all, width);
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(shown.iter().map(|(title, _)| *title));
    for (n, row) in rows.iter().enumerate() {
        table.add_row(shown.iter().map(|(title, cells)| {
            let at = columns.iter().find(|(known, _)| known == title).map_or("", |(_, at)| *at);
            let cell = Cell::new(&cells[n]);
            if row.pointer(at).is_some_and(Value::is_number) { cell.set_alignment(CellAlignment::Right) } else { cell }
        }));
    }
    match width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(u16::try_from(width).unwrap_or(u16::MAX));
            for (column, (title, cells)) in table.column_iter_mut().zip(&shown) {
                let least = word_width(cells).max(word_width(&[(*title).to_owned()])) + PADDING;
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(u16::try_from(least).unwrap_or(u16::MAX))));
            }
        }
        None => drop(table.set_content_arrangement(ContentArrangement::Disabled)),
    }
    (table, dropped)
}

/// Text behind `indent` columns, broken between words so that it fits.
fn wrapped(text: &str, indent: usize, width: Option<usize>) -> String {
    let Some(room) = width.map(|width| width.saturating_sub(indent).max(1)) else { return text.to_owned() };
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && line.width() + 1 + word.width() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.join(&format!("\n{}", " ".repeat(indent)))
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
        Value::String(text) => excerpt(text, usize::MAX),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{} {}", excerpt(name, usize::MAX), text(value))).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_its_titles_and_a_dash_for_what_is_unknown() {
        let rows = [json!({"alias": "shop-1", "last": {"battery_pct": 83}}), json!({"alias": "sh\u{1b}[2Jop-2\u{202e}"})];
        let shown = table(&rows, &[("ALIAS", "/alias"), ("BATTERY", "/last/battery_pct")], None).0.to_string();
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [vec!["ALIAS", "BATTERY"], vec!["shop-1", "83"], vec!["sh\u{fffd}[2Jop-2\u{fffd}", "-"]]);
    }

    #[test]
    fn keys_of_devices_move_no_cursor_either() {
        assert_eq!(text(&json!({"\u{1b}]0;x\u{7}": "\u{1b}[2J"})), "\u{fffd}]0;x\u{fffd} \u{fffd}[2J");
    }

    #[test]
    fn a_table_drops_columns_rather_than_break_words() {
        let columns: &[Column] =
            &[("ALIAS", "/alias"), ("ACTION", "/action"), ("MESSAGE", "/message"), ("CREATED", "/created"), ("ID", "/id")];
        let id = "0198d1f2-52c1-7aaa-8000-0123456789ab";
        let message = "The package is not installed for this user, and the device is not its owner";
        let rows: Vec<Value> = (0..3)
            .map(|n| json!({"alias": format!("kiosk-{n}"), "action": "clear_app_data", "message": message, "created": "2026-05-28T20:26:40Z", "id": id}))
            .collect();
        for width in 1..200 {
            let (shown, dropped) = table(&rows, columns, Some(width));
            let shown = shown.to_string();
            let words: Vec<&str> = shown.split_whitespace().collect();
            let known = |word: &&&str| {
                columns.iter().any(|(title, _)| *title == **word)
                    || rows.iter().any(|row| {
                        columns.iter().any(|(_, at)| row.pointer(at).and_then(Value::as_str).unwrap().split(' ').any(|part| part == **word))
                    })
            };
            assert_eq!(words.iter().filter(known).count(), words.len(), "{width}: {shown}");
            let widest = shown.lines().map(|line| line.trim_end().width()).max().unwrap();
            assert!(widest <= width || dropped.len() == 4, "{width}: {shown}");
        }
        let left_out = |width| table(&rows, columns, width).1;
        assert_eq!(left_out(Some(80)), ["CREATED"], "the id stays, for `show`");
        assert_eq!(left_out(Some(60)), ["ACTION", "MESSAGE", "CREATED"]);
        assert_eq!(left_out(None), [""; 0]);
        let piped = table(&rows, columns, None).0.to_string();
        assert_eq!(piped.lines().count(), 4, "what a program reads is a line a row");
    }

    #[test]
    fn a_long_value_goes_on_below_its_beginning() {
        assert_eq!(wrapped("one two three", 4, Some(11)), "one two\n    three");
        assert_eq!(wrapped("unbreakable", 4, Some(8)), "unbreakable");
        assert_eq!(wrapped("one two three", 4, None), "one two three");
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
