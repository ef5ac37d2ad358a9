//! Tables that are imported: their header row, and the rows with what each is to change.

use std::collections::HashMap;

use domain::edit::DevicePatch;
use domain::spreadsheet::{ImportCells, RowTarget, import_row};
use domain::{DeviceId, Invalid};

use super::csv_dialect::{Lines, Table};

/// Most rows of an import.
pub const IMPORT_ROWS_MAX: usize = 100_000;
/// Most cells of a line, separators within quotes included.
const CELLS_PER_LINE_MAX: usize = 10_000;
/// Most cells of an import: a hundred for each of its rows.
const CELLS_MAX: usize = 100 * IMPORT_ROWS_MAX;
/// Problems that a report names; the others are counted.
const PROBLEMS_MAX: usize = 1000;
/// Columns that an import reads.
const IMPORTED_COLUMNS: [&str; 5] = ["id", "alias", "new_alias", "tags", "groups"];
/// Longest name of a column that a refusal repeats.
const COLUMN_NAME_MAX_CHARS: usize = 60;

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
    pub(super) fn problem(&mut self, line: u64, invalid: Invalid) {
        self.problems_total += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(RowProblem { line, field: invalid.field, problem: invalid.problem });
        }
    }
}

/// A row that reads well.
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) target: RowTarget,
    pub(super) patch: DevicePatch,
}

/// Columns of a table by name, and those without a name, which spreadsheets write behind the others.
struct Head {
    places: HashMap<String, usize>,
    unnamed: Vec<usize>,
}

impl Head {
    /// Reads the header row, which stands in `line`.
    ///
    /// # Errors
    /// Names a column that is there twice, or that no table of ours has: what was meant to be changed would silently not be.
    fn read(head: &csv::ByteRecord, known: &[String], line: u64) -> Result<Self, Invalid> {
        let (mut places, mut unnamed) = (HashMap::new(), Vec::new());
        for (at, cell) in head.iter().enumerate() {
            let name = String::from_utf8_lossy(cell).trim().to_ascii_lowercase();
            if name.is_empty() {
                unnamed.push(at);
                continue;
            }
            let shown: String = name.chars().filter(|c| !c.is_control()).take(COLUMN_NAME_MAX_CHARS).collect();
            if !IMPORTED_COLUMNS.contains(&name.as_str()) && !known.contains(&name) {
                let imported = IMPORTED_COLUMNS.join(", ");
                let problem =
                    format!("unknown column in line {line}; imported are {imported}, and the other columns of an export may stay");
                return Err(Invalid::new(shown, problem));
            }
            if let Some(first) = places.insert(name, at) {
                return Err(Invalid::new(shown, format!("duplicate column in line {line}: cells {} and {}", first + 1, at + 1)));
            }
        }
        Ok(Self { places, unnamed })
    }
}

/// Parses the rows; those with errors go into the report.
pub(super) fn read_table(bytes: &[u8], known_columns: &[String], report: &mut ImportReport) -> Result<Vec<Row>, Invalid> {
    let Table { bytes, delimiter, lines_before } = Table::of(bytes)?;
    let bytes = bytes.as_ref();
    // Before any row is read: the places of the cells of one row are kept, whatever it has.
    let cells = |line: &[u8]| line.iter().filter(|byte| **byte == delimiter).count();
    if cells(bytes) > CELLS_MAX {
        return Err(Invalid::new("body", format!("more than {CELLS_MAX} cells")));
    }
    if bytes.split(|byte| matches!(byte, b'\n' | b'\r')).any(|line| cells(line) > CELLS_PER_LINE_MAX) {
        return Err(Invalid::new("body", format!("more than {CELLS_PER_LINE_MAX} cells in a line")));
    }
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
    let head = reader.byte_headers().map_err(|_| Invalid::new("body", "the header row is unreadable"))?.clone();
    let Head { unnamed, places } = Head::read(&head, known_columns, lines_before + 1)?;
    let column = |name: &str| places.get(name).copied();
    let (id, alias, new_alias, tags, groups) = (column("id"), column("alias"), column("new_alias"), column("tags"), column("groups"));
    if id.is_none() && alias.is_none() {
        return Err(Invalid::new("body", "the header row has neither a column id nor a column alias"));
    }
    let (mut rows, mut record, mut lines) = (Vec::new(), csv::ByteRecord::new(), Lines::of(bytes));
    while reader.read_byte_record(&mut record).map_err(|_| Invalid::new("body", "not a CSV file"))? {
        report.rows += 1;
        if report.rows > IMPORT_ROWS_MAX {
            return Err(Invalid::new("body", format!("more than {IMPORT_ROWS_MAX} rows")));
        }
        let begin = record.position().and_then(|begin| usize::try_from(begin.byte()).ok()).unwrap_or_default();
        let line = lines.line_of(begin) + lines_before;
        if record.len() != head.len() {
            let problem = format!("{} cells, but the header row has {}", record.len(), head.len());
            report.problem(line, Invalid::new("row", problem));
            continue;
        }
        let Ok(texts) = record.iter().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>() else {
            report.problem(line, Invalid::new("row", "not UTF-8"));
            continue;
        };
        if let Some(at) = unnamed.iter().find(|at| texts.get(**at).is_some_and(|text| !text.trim().is_empty())) {
            report.problem(line, Invalid::new("row", format!("cell {} has a value, but its column has no name in the header row", at + 1)));
            continue;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<String> {
        [&IMPORTED_COLUMNS[..2], &IMPORTED_COLUMNS[3..], &["model", "battery_pct"][..]].concat().into_iter().map(str::to_owned).collect()
    }

    fn read(csv: &[u8]) -> (usize, Vec<(u64, String)>) {
        let mut report = ImportReport::default();
        let rows = read_table(csv, &known(), &mut report).unwrap();
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
        for end in ["\n", "\r\n", "\r"] {
            let csv = ["id,alias", &format!("{id},\"two{end}lines\""), "", "", "7,ok", &format!("{id},fine"), "8,ok"].join(end);
            assert_eq!(read(csv.as_bytes()), (1, vec![(2, "row".into()), (6, "id".into()), (8, "id".into())]), "{end:?}");
        }
        assert_eq!(read(b"sep=;\r\nalias;tags\r\n;a\r\n"), (0, vec![(3, "alias".into())]), "an empty alias, in its line");
        assert_eq!(read(format!("id,alias\n{id},\n").as_bytes()), (0, vec![(2, "alias".into())]));
    }

    #[test]
    fn a_quote_that_is_not_closed_swallows_no_rows() {
        assert_eq!(read(b"alias,tags\ncsv-1,\"front\ncsv-2,back\n"), (0, vec![(2, "row".into())]));
    }

    #[test]
    fn a_table_of_endless_rows_is_refused_before_it_is_read() {
        let problem = |csv: String| read_table(csv.as_bytes(), &known(), &mut ImportReport::default()).err().map(|invalid| invalid.problem);
        let wide = |cells: usize| format!("alias,tags\rb,{}\n", ",".repeat(cells));
        assert_eq!(problem(wide(CELLS_PER_LINE_MAX)).as_deref(), Some("more than 10000 cells in a line"));
        assert_eq!(problem(wide(CELLS_PER_LINE_MAX - 1)), None);
        let long = format!("alias,tags\n{}", format!("{}\n", ",".repeat(CELLS_PER_LINE_MAX)).repeat(CELLS_MAX / CELLS_PER_LINE_MAX));
        assert_eq!(problem(long).as_deref(), Some("more than 10000000 cells"));
    }

    #[test]
    fn lists_are_read_within_quotes_and_blanks() {
        for csv in ["alias, tags\ncsv-a, \"x|y\"\n", "alias,tags\r\n\"csv-a\",\"x, y\"\r\n", "sep=\t\nalias\ttags\ncsv-a\tx;y\n"] {
            let rows = read_table(csv.as_bytes(), &known(), &mut ImportReport::default()).unwrap();
            assert_eq!(rows.len(), 1, "{csv:?}");
            assert_eq!(rows[0].patch.tags, Some(domain::edit::LabelChange::Set(vec!["x".into(), "y".into()])), "{csv:?}");
        }
    }

    #[test]
    fn a_table_needs_a_column_that_says_which_device() {
        let field = |csv: &[u8]| read_table(csv, &known(), &mut ImportReport::default()).err().map(|invalid| invalid.field);
        assert_eq!(field(b""), Some("body".into()));
        assert_eq!(field(b"tags,groups\n"), Some("body".into()));
        assert_eq!(field(b"id,tags,TAGS\n"), Some("tags".into()));
    }

    #[test]
    fn a_column_that_no_table_has_is_refused_by_name_and_line() {
        let refused =
            |csv: &[u8]| read_table(csv, &known(), &mut ImportReport::default()).err().map(|invalid| (invalid.field, invalid.problem));
        for (csv, column, line) in [
            (b"id,taags\n".as_slice(), "taags", "line 1"),
            (b"id,tags,gruppen\n", "gruppen", "line 1"),
            (b"sep=;\nid;Ort\n", "ort", "line 2"),
            (b"id,model,Model\n", "model", "line 1: cells 2 and 3"),
            (b"id,new_alias,new_alias\n", "new_alias", "line 1: cells 2 and 3"),
        ] {
            let (field, problem) = refused(csv).unwrap();
            assert!(field == column && problem.contains(line), "{field}: {problem}");
        }
        let (_, problem) = refused(b"id,taags\n").unwrap();
        assert!(IMPORTED_COLUMNS.iter().all(|known| problem.contains(known)), "{problem}");
        let long = format!("id,{}\n", "x".repeat(100_000));
        assert!(refused(long.as_bytes()).unwrap().0.len() <= COLUMN_NAME_MAX_CHARS);
        // Whatever an export has may come back.
        assert_eq!(refused(format!("{}\n", known().join(",")).as_bytes()), None);
    }

    #[test]
    fn columns_without_a_name_may_stand_behind_the_others_while_they_are_empty() {
        assert_eq!(read(b"alias,tags,,\na,x,,\nb,y,, \n"), (2, vec![]));
        assert_eq!(read(b"alias,tags,\na,x,z\n"), (0, vec![(2, "row".into())]));
    }
}
