//! Text on its way into a spreadsheet and back: formulas neutralised, lists in one cell, and what a
//! row of an import means.

use crate::Invalid;
use crate::edit::{DevicePatch, LabelChange};
use crate::text::{LABEL_SEPARATORS, label_list};

/// Characters that make a spreadsheet take a cell for a formula when they come first (OWASP, "CSV Injection"),
/// with the full-width forms that some take for the same.
const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
/// Makes a cell plain text.
const TEXT_MARK: char = '\'';
/// Between the entries of a list in one cell.
const SEPARATOR: char = '|';
/// Before a separator that belongs to an entry.
const ESCAPE: char = '\\';
/// What stands for an escaped character while a list is read: control characters, which no cell of a table has.
const SET_ASIDE: [(char, char); 4] = [(',', '\u{1}'), (';', '\u{2}'), ('|', '\u{3}'), (ESCAPE, '\u{4}')];

/// A cell that no spreadsheet takes for a formula.
pub fn neutralised(text: &str) -> String {
    // A mark that was there already gets another, so that each can be told from ours.
    match text.starts_with(|c| c == TEXT_MARK || FORMULA_STARTS.contains(&c)) {
        true => format!("{TEXT_MARK}{text}"),
        false => text.to_owned(),
    }
}

/// The text of a cell that [`neutralised`] has written, or somebody else.
pub fn plain(cell: &str) -> &str {
    match cell.strip_prefix(TEXT_MARK) {
        Some(text) if text.starts_with(|c| c == TEXT_MARK || FORMULA_STARTS.contains(&c)) => text,
        _ => cell,
    }
}

/// A list as one cell.
pub fn joined(entries: &[String]) -> String {
    let mut cell = String::new();
    for (n, entry) in entries.iter().enumerate() {
        if n > 0 {
            cell.push(SEPARATOR);
        }
        for c in entry.chars() {
            if LABEL_SEPARATORS.contains(&c) || c == ESCAPE {
                cell.push(ESCAPE);
            }
            cell.push(c);
        }
    }
    cell
}

/// Largest cell of tags or groups, in bytes: more than the longest list that is taken, every character of which is escaped.
const CELL_MAX_BYTES: usize = 32 << 10;

/// The entries of a cell, as [`label_list`] reads lists; an escaped separator belongs to its entry, as [`joined`] writes it.
pub fn split(cell: &str) -> Vec<String> {
    if !cell.contains(ESCAPE) {
        return label_list(cell);
    }
    // What is escaped stands aside while the list is read, as characters that no name contains.
    let escapable = |c: char| c == ESCAPE || LABEL_SEPARATORS.contains(&c);
    let (mut aside, mut chars) = (String::with_capacity(cell.len()), cell.chars().peekable());
    while let Some(c) = chars.next() {
        let escaped = (c == ESCAPE).then(|| chars.next_if(|next| escapable(*next))).flatten();
        aside.push(escaped.and_then(|c| SET_ASIDE.iter().find(|(plain, _)| *plain == c)).map_or(c, |(_, aside)| *aside));
    }
    let restored =
        |entry: String| entry.chars().map(|c| SET_ASIDE.iter().find(|(_, aside)| *aside == c).map_or(c, |(plain, _)| *plain)).collect();
    label_list(&aside).into_iter().map(restored).collect()
}

/// The cells of a row that an import reads; `None`: there is no such column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportCells<'a> {
    /// Identity of the device.
    pub id: Option<&'a str>,
    /// Alias: the new one next to an id, else the one that it has.
    pub alias: Option<&'a str>,
    /// New alias, where the alias says which device is meant.
    pub new_alias: Option<&'a str>,
    /// Tags.
    pub tags: Option<&'a str>,
    /// Groups.
    pub groups: Option<&'a str>,
}

/// Device that a row names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowTarget {
    /// The one with this id.
    Id(crate::DeviceId),
    /// The one that has this alias.
    Alias(String),
}

/// Requested change of a row.
///
/// # Errors
/// Every cell that is wrong, by the name of its column.
pub fn import_row(cells: ImportCells<'_>) -> Result<(RowTarget, DevicePatch), Vec<Invalid>> {
    let mut problems = Vec::new();
    let text = |cell: Option<&str>| cell.map(|cell| plain(cell.trim()).trim().to_owned()).filter(|text| !text.is_empty());
    let (id, alias, new_alias) = (text(cells.id), text(cells.alias), text(cells.new_alias));
    let (target, wanted) = match (id, alias) {
        (Some(id), alias) => {
            let target = id.parse().map(RowTarget::Id).map_err(|_| Some(Invalid::new("id", "not a device id")));
            (target, alias.map(|alias| ("alias", alias)).or(new_alias.map(|alias| ("new_alias", alias))))
        }
        (None, Some(alias)) => (Ok(RowTarget::Alias(alias)), new_alias.map(|alias| ("new_alias", alias))),
        // An empty alias is named below.
        (None, None) if cells.alias.is_some() && cells.id.is_none() => (Err(None), None),
        (None, None) => (Err(Some(Invalid::new("id", "the row has neither an id nor an alias"))), None),
    };
    let mut keep = |invalid: Invalid| problems.push(invalid);
    if cells.alias.is_some_and(|cell| plain(cell.trim()).trim().is_empty()) {
        keep(Invalid::new("alias", "empty; an alias cannot be removed, and a row without one changes no device"));
    }
    let target = target.map_err(|problem| problem.map(&mut keep)).ok();
    let alias = wanted.and_then(|(field, alias)| crate::text::alias(field, &alias).map_err(&mut keep).ok());
    let mut labels = |field: &str, cell: Option<&str>| {
        // The cell as it stands: an entry may begin or end with blanks only where they are trimmed anyway.
        let read = |cell: &str| match cell.len() {
            // Split, each entry would be a text of its own.
            bytes if bytes > CELL_MAX_BYTES => {
                Err(Invalid::new(field, format!("{bytes} bytes are more than the {CELL_MAX_BYTES} of a cell")))
            }
            _ => crate::text::labels(field, split(plain(cell))),
        };
        let labels = cell.map(read).transpose();
        labels.map_err(&mut keep).ok().flatten().map(LabelChange::Set)
    };
    let patch = DevicePatch { alias, tags: labels("tags", cells.tags), groups: labels("groups", cells.groups), monitored: None };
    match target.filter(|_| problems.is_empty()) {
        Some(target) => Ok((target, patch)),
        None => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cell_is_not_split_into_more_than_anybody_may_have() {
        let row = |tags: &str| import_row(ImportCells { alias: Some("kiosk"), tags: Some(tags), ..ImportCells::default() });
        let problem = row(&"a|".repeat(10_000_000)).unwrap_err().remove(0);
        assert_eq!((problem.field.as_str(), problem.problem.as_str()), ("tags", "20000000 bytes are more than the 32768 of a cell"));
        assert!(row(&vec!["é".repeat(64); 2].join("|")).is_ok());
    }

    #[test]
    fn what_a_spreadsheet_takes_for_a_formula_begins_with_a_mark() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\u{ff1d}1", "=cmd|'/c calc'!A0"] {
            let cell = neutralised(formula);
            assert_eq!(cell, format!("'{formula}"));
            assert_eq!(plain(&cell), formula);
        }
        assert_eq!((neutralised("kiosk-1").as_str(), plain("'tis")), ("kiosk-1", "'tis"), "somebody else's apostrophe stays");
    }

    #[test]
    fn a_row_says_which_device_and_what() {
        let row = |id, alias, new_alias| {
            let cells = ImportCells { id, alias, new_alias, tags: Some("'-b|a"), groups: None };
            import_row(cells).unwrap()
        };
        let id = "00000000-0000-0000-0000-000000000007";
        let (target, patch) = row(Some(id), Some("'=x"), None);
        assert_eq!((target, patch.alias.as_deref()), (RowTarget::Id(id.parse().unwrap()), Some("=x")));
        assert_eq!((patch.tags, patch.groups), (Some(LabelChange::Set(vec!["-b".into(), "a".into()])), None));
        let (target, patch) = row(Some(""), Some("old"), Some("new"));
        assert_eq!((target, patch.alias.as_deref()), (RowTarget::Alias("old".into()), Some("new")));
        let empty = ImportCells { id: Some(id), tags: Some(""), ..Default::default() };
        assert_eq!(import_row(empty).unwrap().1.tags, Some(LabelChange::Set(vec![])), "an empty cell clears");
    }

    #[test]
    fn a_list_is_read_however_it_is_separated() {
        for cell in ["x|y", "x, y", "x;y", " x |\ty ", "x\r\ny"] {
            assert_eq!(split(cell), ["x", "y"], "{cell:?}");
        }
        assert_eq!(split("a\\b|c"), ["a\\b", "c"], "a backslash that escapes nothing");
    }

    #[test]
    fn every_wrong_cell_of_a_row_is_named() {
        let long = "x".repeat(300);
        let cells = ImportCells { id: Some("7"), alias: Some(&long), tags: Some("a|\u{1}"), groups: Some("ok"), new_alias: None };
        let fields: Vec<_> = import_row(cells).unwrap_err().into_iter().map(|invalid| invalid.field).collect();
        assert_eq!(fields, ["id", "alias", "tags[1]"]);
        assert_eq!(import_row(ImportCells::default()).unwrap_err()[0].field, "id");
        let fields = |cells| import_row(cells).unwrap_err().into_iter().map(|invalid| invalid.field).collect::<Vec<_>>();
        assert_eq!(fields(ImportCells { alias: Some(" "), ..Default::default() }), ["alias"]);
        let id = Some("00000000-0000-0000-0000-000000000007");
        assert_eq!(fields(ImportCells { id, alias: Some(""), ..Default::default() }), ["alias"], "an alias cannot be cleared");
        assert_eq!(fields(ImportCells { id, tags: Some("a\\|b"), ..Default::default() }), ["tags[0]"], "a separator within a tag");
    }

    proptest! {
        /// Whatever a cell holds comes back, and none that goes out begins like a formula.
        #[test]
        fn cells_survive_the_trip(text in "['=+@|;,\"\\\\\t\r\n -]{0,4}.{0,8}") {
            let cell = neutralised(&text);
            prop_assert_eq!(plain(&cell), &text);
            prop_assert!(!cell.starts_with(|c| FORMULA_STARTS.contains(&c)));
        }

        #[test]
        fn lists_survive_the_trip(entries in proptest::collection::vec("[a|\\\\=' -]{0,6}b", 0..6)) {
            let entries: Vec<String> = entries.iter().map(|entry| entry.trim().to_owned()).collect();
            prop_assert_eq!(split(plain(&neutralised(&joined(&entries)))), entries);
        }
    }
}
