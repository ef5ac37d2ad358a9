//! P8: a day's table is dropped only after its archive was read back and matched. And the rows of archives, which P1 counts beside those of
//! the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use anyhow::Result;
use chrono::{DateTime, NaiveDate};
use serde::{Deserialize, Serialize};

use super::dump::pairs;
use super::rows::columns;
use super::{Check, Evidence, History, Violation};
use crate::archives::{self, ArchivedDay};
use crate::harness::Psql;

const SECOND_US: i64 = 1_000_000;
/// State of a day whose table was dropped.
const DROPPED: &str = "dropped";

const HAS_RECORDS: &str = "SELECT count(*) FROM pg_class WHERE relname = 'heartbeat_partition' AND relkind = 'r'";
const RECORDS: &str = "SELECT day, state, coalesce(archive_sha256, ''), coalesce(archive_rows::text, '') FROM heartbeat_partition";
/// Days of the attached tables, from their bounds.
const TABLES: &str = "
    SET timezone = 'UTC';
    SELECT DISTINCT substring(pg_get_expr(c.relpartbound, c.oid) FROM '(\\d{4}-\\d{2}-\\d{2})')
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'heartbeats'::regclass AND pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'";

/// What is recorded of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedDay {
    /// `open`, `settled`, `archived`, `verified`, `dropped`, ...
    pub state: String,
    /// SHA-256 of the file.
    pub file_sha256: Option<String>,
    /// Rows of the archive.
    pub rows: Option<u64>,
}

/// What there is of a day's archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundArchive {
    /// SHA-256 of the bytes that are there.
    pub file_sha256: String,
    /// SHA-256 that the manifest names.
    pub manifest_sha256: String,
    /// Rows that are there.
    pub rows: u64,
    /// Rows that the manifest names.
    pub manifest_rows: u64,
}

/// Days and their archives.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ArchiveFacts {
    /// Whether they were looked at.
    pub known: bool,
    /// Days with a table.
    pub tables: BTreeSet<NaiveDate>,
    /// Records of days.
    pub recorded: BTreeMap<NaiveDate, RecordedDay>,
    /// Archives, or why one cannot be read.
    pub archives: BTreeMap<NaiveDate, Result<FoundArchive, String>>,
    /// Archived rows per device and bucket (seconds).
    #[serde(with = "pairs")]
    pub heartbeats: HashMap<(u32, i64), u32>,
    /// Newest time by the clock of the device, per device and bucket (seconds), of archived rows that have one.
    #[serde(with = "pairs")]
    pub device_times_us: HashMap<(u32, i64), i64>,
}

impl FoundArchive {
    fn of(day: &ArchivedDay) -> Self {
        Self {
            file_sha256: day.file_sha256.clone(),
            manifest_sha256: day.manifest.sha256.clone(),
            rows: day.rows.len() as u64,
            manifest_rows: day.manifest.rows,
        }
    }
}

/// Reads the records of days, their tables, and all archives of a folder; rows of the recorded devices alone.
///
/// # Errors
/// The database or the folder cannot be read; an archive that cannot be read is a fact.
pub async fn read_archives(history: &mut History, psql: &Psql, archive_dir: &Path) -> Result<()> {
    let facts = &mut history.archives;
    facts.known = true;
    for [day] in columns(&psql.run(TABLES, &[]).await?)? {
        facts.tables.insert(day.parse()?);
    }
    if psql.run(HAS_RECORDS, &[]).await?.trim() != "0" {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        for [day, state, sha256, rows] in columns(&psql.run(RECORDS, &[]).await?)? {
            let rows = given(rows).map(|rows| rows.parse()).transpose()?;
            facts.recorded.insert(day.parse()?, RecordedDay { state: state.to_owned(), file_sha256: given(sha256), rows });
        }
    }
    for day in archives::days(archive_dir)? {
        match archives::read(archive_dir, day) {
            Ok(archive) => {
                facts.archives.insert(day, Ok(FoundArchive::of(&archive)));
                for row in archive.rows {
                    // Rows of devices that are not in the record are not checked.
                    let Some(device) = history.devices.find(&row.device.to_string()) else { continue };
                    let bucket = (device, row.bucket_us.div_euclid(SECOND_US));
                    *facts.heartbeats.entry(bucket).or_default() += 1;
                    if let Some(at_us) = row.device_time_us {
                        let newest = facts.device_times_us.entry(bucket).or_insert(at_us);
                        *newest = (*newest).max(at_us);
                    }
                }
            }
            Err(error) => drop(facts.archives.insert(day, Err(format!("{error:#}")))),
        }
    }
    Ok(())
}

/// The day of a bucket.
fn day_of(bucket_s: i64) -> Option<NaiveDate> {
    DateTime::from_timestamp(bucket_s, 0).map(|at| at.date_naive())
}

/// Checks that every day whose table is gone has an archive that is what was recorded, and what its manifest says.
pub(super) fn check(history: &History) -> Check {
    let facts = &history.archives;
    let mut check = Check { promise: "P8", looked_at: String::new(), violations: Vec::new(), notes: Vec::new() };
    if !facts.known {
        check.looked_at = "nothing to check: this run does not say where its archives are".into();
        return check;
    }
    let has_rows = |day: NaiveDate| history.stored.heartbeats.keys().any(|(_, bucket_s)| day_of(*bucket_s) == Some(day));
    // A day of which something was acknowledged had a table, or rows in the default one.
    let acknowledged = history.acks.iter().filter_map(|ack| day_of(ack.bucket_s?)).collect::<BTreeSet<_>>();
    let mut gone: BTreeSet<NaiveDate> = acknowledged.into_iter().filter(|day| !facts.tables.contains(day) && !has_rows(*day)).collect();
    gone.extend(facts.recorded.iter().filter(|(_, recorded)| recorded.state == DROPPED).map(|(day, _)| *day));
    let mut rows = 0;
    for day in &gone {
        let found = match facts.archives.get(day) {
            None => Err("has no archive".to_owned()),
            Some(Err(problem)) => Err(format!("has an archive that cannot be read: {problem}")),
            Some(Ok(archive)) => compared(archive, facts.recorded.get(day)).map(|()| archive.rows),
        };
        match found {
            Ok(archived) => rows += archived,
            Err(what) => {
                check.violations.push(Violation::new("P8", "", format!("the dropped day {day} {what}")).with(evidence(*day, facts)))
            }
        }
    }
    check.looked_at = match gone.len() {
        0 => "nothing to check: no day was dropped".into(),
        days => format!("{days} dropped days with {rows} archived rows, {} archives, {} tables", facts.archives.len(), facts.tables.len()),
    };
    check
}

/// Evidence of a day: what is recorded of it, and what is there.
fn evidence(day: NaiveDate, facts: &ArchiveFacts) -> Evidence {
    let day_text = day.to_string();
    let (copies, state, sha256, rows) = match facts.recorded.get(&day) {
        None => (0, String::new(), String::new(), String::new()),
        Some(RecordedDay { state, file_sha256, rows }) => {
            (1, state.clone(), file_sha256.clone().unwrap_or_default(), rows.map_or_else(String::new, |rows| rows.to_string()))
        }
    };
    let columns: [(&str, &str); 4] = [("day", &day_text), ("state", &state), ("archive_sha256", &sha256), ("archive_rows", &rows)];
    let evidence = Evidence::default().and_row("heartbeat_partition", copies, if copies == 0 { &columns[..1] } else { &columns[..] });
    match facts.archives.get(&day) {
        Some(Ok(found)) => {
            let (rows, manifest_rows) = (found.rows.to_string(), found.manifest_rows.to_string());
            evidence.and_row(
                "archive file",
                1,
                &[
                    ("sha256", &found.file_sha256),
                    ("manifest_sha256", &found.manifest_sha256),
                    ("rows", &rows),
                    ("manifest_rows", &manifest_rows),
                ],
            )
        }
        _ => evidence.and_row("archive file", 0, &[("day", &day_text)]),
    }
}

/// Whether an archive is what its manifest and the record say.
fn compared(archive: &FoundArchive, recorded: Option<&RecordedDay>) -> Result<(), String> {
    let FoundArchive { file_sha256, manifest_sha256, rows, manifest_rows } = archive;
    if file_sha256 != manifest_sha256 {
        return Err(format!("has a file of SHA-256 {file_sha256}, and a manifest that names {manifest_sha256}"));
    }
    if rows != manifest_rows {
        return Err(format!("has {rows} rows in the file, and {manifest_rows} in the manifest"));
    }
    let Some(recorded) = recorded else { return Err("is not on record".into()) };
    if recorded.file_sha256.as_ref() != Some(file_sha256) || recorded.rows != Some(*rows) {
        let (sha256, recorded_rows) = (recorded.file_sha256.as_deref().unwrap_or("none"), recorded.rows.unwrap_or(0));
        return Err(format!("has {rows} rows of SHA-256 {file_sha256}, but {recorded_rows} of {sha256} on record"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Ack, judge};

    const BUCKET_S: i64 = 1_788_220_800; // 2026-09-01T00:00:00Z

    fn day() -> NaiveDate {
        day_of(BUCKET_S).unwrap()
    }

    /// One heartbeat was acknowledged, archived, and its day dropped.
    fn history() -> History {
        let mut history = History::default();
        let (device, server) = (history.devices.number("d1"), history.names.number("http://n1"));
        let device_time_us = Some(BUCKET_S * SECOND_US);
        history.acks.push(Ack { device, server, bucket_s: Some(BUCKET_S), device_time_us, sent_us: 1, answered_us: 2, decided: None });
        let facts = &mut history.archives;
        facts.known = true;
        facts.recorded.insert(day(), RecordedDay { state: DROPPED.into(), file_sha256: Some("aa".into()), rows: Some(1) });
        let found = FoundArchive { file_sha256: "aa".into(), manifest_sha256: "aa".into(), rows: 1, manifest_rows: 1 };
        facts.archives.insert(day(), Ok(found));
        facts.heartbeats.insert((device, BUCKET_S), 1);
        facts.device_times_us.extend(device_time_us.map(|at_us| ((device, BUCKET_S), at_us)));
        history.stored.last_status_s.insert(device, BUCKET_S);
        history
    }

    fn violations(history: &History) -> Vec<(&'static str, String)> {
        let checks = judge(history).checks.into_iter();
        checks.flat_map(|check| check.violations).map(|violation| (violation.promise, violation.what)).collect()
    }

    type Alter = fn(&mut ArchiveFacts);

    #[test]
    fn a_day_that_is_in_its_archive_alone_is_kept() {
        let history = history();
        assert!(violations(&history).is_empty());
        let text = judge(&history).to_string();
        assert!(text.contains("P8   kept: 1 dropped days with 1 archived rows"), "{text}");
    }

    #[test]
    fn a_row_that_no_archive_has_is_lost() {
        let mut history = history();
        history.archives.heartbeats.clear();
        let found = violations(&history);
        assert!(matches!(&found[..], [("P1", what)] if what.starts_with("has 0 rows")), "{found:?}");
    }

    #[test]
    fn a_row_that_an_archive_has_twice_is_a_duplicate() {
        let mut history = history();
        history.archives.heartbeats.insert((0, BUCKET_S), 2);
        let found = violations(&history);
        assert!(matches!(&found[..], [("P1", what)] if what.starts_with("has 2 rows")), "{found:?}");
    }

    #[test]
    fn a_row_in_a_table_and_in_the_archive_is_one() {
        let mut history = history();
        history.stored.heartbeats.insert((0, BUCKET_S), 1);
        assert!(violations(&history).is_empty());
        history.stored.heartbeats.insert((0, BUCKET_S), 2);
        assert!(matches!(&violations(&history)[..], [("P1", _)]));
    }

    #[test]
    fn an_older_heartbeat_in_the_archive_is_a_loss() {
        let mut history = history();
        history.archives.device_times_us.insert((0, BUCKET_S), BUCKET_S * SECOND_US - 1);
        assert!(matches!(&violations(&history)[..], [("P1", what)] if what.contains("has the heartbeat of")));
    }

    #[test]
    fn a_dropped_day_without_a_matching_archive_is_a_violation() {
        let alter: [(&str, Alter); 6] = [
            ("has no archive", |facts| facts.archives.clear()),
            ("cannot be read", |facts| drop(facts.archives.insert(day(), Err("row group 0".into())))),
            ("a manifest that names bb", |facts| facts.archives.get_mut(&day()).unwrap().as_mut().unwrap().manifest_sha256 = "bb".into()),
            ("2 in the manifest", |facts| facts.archives.get_mut(&day()).unwrap().as_mut().unwrap().manifest_rows = 2),
            ("but 1 of cc on record", |facts| facts.recorded.get_mut(&day()).unwrap().file_sha256 = Some("cc".into())),
            ("not on record", |facts| facts.recorded.clear()),
        ];
        for (text, alter) in alter {
            let mut history = history();
            alter(&mut history.archives);
            let found = violations(&history);
            assert!(found.iter().any(|(promise, what)| *promise == "P8" && what.contains(text)), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_run_without_archives_is_not_judged() {
        let mut history = history();
        history.archives = ArchiveFacts::default();
        history.stored.heartbeats.insert((0, BUCKET_S), 1);
        assert!(violations(&history).is_empty());
    }
}
