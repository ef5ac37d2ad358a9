//! Names of archives: a folder per table, a file and a manifest per part of it.

use std::fmt;

use chrono::NaiveDate;
use domain::Invalid;
use object_store::path::Path as Key;

/// Folder of the archives of heartbeats.
const HEARTBEATS: &str = "heartbeats";
const FILE: &str = ".parquet";
const MANIFEST: &str = ".json";
const NAME_MAX_CHARS: usize = 100;

/// Name of an archive: a table, and the part of it that the archive holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveName {
    table: String,
    part: String,
}

impl ArchiveName {
    /// The archive of a table's part.
    ///
    /// # Errors
    /// One of them is no name of a file: letters, digits, `-` and `_`, at most 100.
    pub fn new(table: &str, part: &str) -> Result<Self, Invalid> {
        for (field, name) in [("table", table), ("part", part)] {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if name.is_empty() || name.len() > NAME_MAX_CHARS || !name.chars().all(fits) {
                let problem = format!("{name:?} is not 1..{NAME_MAX_CHARS} letters, digits, - and _");
                return Err(Invalid::new(field, problem));
            }
        }
        Ok(Self { table: table.to_owned(), part: part.to_owned() })
    }

    /// The archive of a day of heartbeats.
    pub fn heartbeats(day: NaiveDate) -> Self {
        Self { table: HEARTBEATS.to_owned(), part: day.to_string() }
    }

    /// Table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Part of the table.
    pub fn part(&self) -> &str {
        &self.part
    }

    /// Day, of an archive that holds one.
    pub fn day(&self) -> Option<NaiveDate> {
        self.part.parse().ok()
    }

    /// Key of the file.
    pub fn file_key(&self) -> String {
        format!("{self}{FILE}")
    }

    /// Key of the manifest.
    pub fn manifest_key(&self) -> String {
        format!("{self}{MANIFEST}")
    }

    /// The archive of a manifest's key.
    pub(crate) fn of_manifest(key: &Key) -> Option<Self> {
        let (table, file) = key.as_ref().split_once('/')?;
        Self::new(table, file.strip_suffix(MANIFEST)?).ok()
    }
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table, self.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_a_file_and_a_manifest_in_the_folder_of_its_table() {
        let day = NaiveDate::from_ymd_opt(2026, 9, 1).unwrap();
        let name = ArchiveName::heartbeats(day);
        assert_eq!(
            (name.file_key().as_str(), name.manifest_key().as_str()),
            ("heartbeats/2026-09-01.parquet", "heartbeats/2026-09-01.json")
        );
        let read = ArchiveName::of_manifest(&Key::from(name.manifest_key())).unwrap();
        assert_eq!((read.day(), &read), (Some(day), &name));
        assert!(ArchiveName::of_manifest(&Key::from(name.file_key())).is_none());
    }

    #[test]
    fn no_name_leaves_its_folder() {
        for (table, part) in [("audit", "../x"), ("", "1"), ("a/b", "1"), ("audit", ""), ("audit", "1.2")] {
            assert!(ArchiveName::new(table, part).is_err(), "{table:?} {part:?}");
        }
    }
}
