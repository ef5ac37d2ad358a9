//! Archives as other tools read them: the queries of docs/history.md, word for word.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use archive::ArchiveName;
use domain::archive::{Cell, RecordBatch};
use object_store::local::LocalFileSystem;

use crate::common::{archives, day, name, row, rows_of, stored};

const DOCUMENT: &str = include_str!("../../../../docs/history.md");
/// Runs SQL from its input with DuckDB; a line per row.
const DUCKDB: &str = "import sys, duckdb\nfor row in duckdb.sql(sys.stdin.read()).fetchall(): print(*row, sep='|')";
/// The types of a file's columns, as pyarrow has them.
const TYPES: &str =
    "import sys, pyarrow.parquet as pq\nfor f in pq.read_schema('archive/heartbeats/2026-09-01.parquet'): print(f.name, f.type)";

/// The documented examples of a language.
fn examples(language: &str) -> Vec<&'static str> {
    DOCUMENT.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// Python with DuckDB and pyarrow, which `.ci/install-deps test` puts beside the build. `None` where they could not be fetched, unless
/// NEXMDM_REQUIRE_PARQUET_READERS is set.
fn python() -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    let beside = test.ancestors().nth(3).unwrap().join("python/bin/python");
    let python = std::env::var_os("NEXMDM_TEST_PYTHON").map_or(beside, PathBuf::from);
    if !python.exists() {
        let missing = format!(
            "{}: not there; run `.ci/install-deps test`, or name one with duckdb and pyarrow in NEXMDM_TEST_PYTHON",
            python.display()
        );
        assert!(std::env::var_os("NEXMDM_REQUIRE_PARQUET_READERS").is_none(), "{missing}");
        eprintln!("left out: {missing}");
        return None;
    }
    Some(python)
}

fn run(python: &Path, folder: &Path, script: &str, input: &str) -> Vec<String> {
    let file = folder.join("input");
    std::fs::write(&file, input).unwrap();
    let answer = Command::new(python)
        .args(["-c", script])
        .current_dir(folder)
        .env("TZ", "UTC")
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(answer.status.success(), "{script}\n{input}\n{}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8(answer.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Two days of four devices, in row groups that end within a device, and nine entries of the audit trail.
async fn archived(folder: &Path) -> RecordBatch {
    let place = folder.join("archive");
    std::fs::create_dir_all(&place).unwrap();
    let store = Arc::new(LocalFileSystem::new_with_prefix(&place).unwrap());
    let archives = archives(store, folder, |settings| settings.row_group_rows = 70);
    let rows = rows_of(1, 4, 100);
    stored(&archives, &name(), vec![rows.clone()]).await;
    stored(&archives, &ArchiveName::heartbeats(day().succ_opt().unwrap()), vec![rows_of(1, 2, 50)]).await;
    let schema = domain::audit::audit_table();
    let mut entries = RecordBatch::with_capacity(Arc::clone(&schema), 9);
    for seq in 1..10 {
        let other = |name: &str| match name {
            "seq" => Some(Cell::Integer(seq)),
            "target_name" => Some(Cell::String(if seq % 3 == 2 { "kiosk-7" } else { "kiosk-8" })),
            _ => None,
        };
        entries.push(row(&schema, 1, 1, other)).unwrap();
    }
    stored(&archives, &ArchiveName::new("audit", "000000000001-000000000009").unwrap(), vec![entries]).await;
    rows
}

#[tokio::test]
async fn duckdb_answers_the_documented_queries() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let rows = archived(folder.path()).await;
    let queries = examples("sql");
    assert_eq!(queries.len(), 4, "each is run below");

    let found = run(&python, folder.path(), DUCKDB, queries[0]);
    let cell = |column: &str, row: usize| rows.column(column).unwrap().cell(row);
    let wanted: Vec<_> = (0..100)
        .map(|row| {
            let (at, battery, charging) = (cell("bucket_at", row), cell("battery_pct", row), cell("charging", row));
            match (at, battery, charging) {
                (Cell::Timestamp(at), Cell::Integer(battery), Cell::Boolean(charging)) => {
                    let charging = if charging { "True" } else { "False" };
                    format!("{}+00:00|{battery}|{charging}", at.format("%Y-%m-%d %H:%M:%S"))
                }
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert_eq!(found, wanted);

    let found = run(&python, folder.path(), DUCKDB, queries[1]);
    let counts: Vec<_> = found.iter().map(|row| row.rsplit_once('|').unwrap().0).collect();
    let id = |number| crate::common::device(number).to_string();
    let wanted = [(1, 150), (2, 150), (3, 100), (4, 100)].map(|(number, count)| format!("{}|{count}", id(number)));
    assert_eq!(counts, wanted);
    assert!(found[1].ends_with("|None"), "the second device tells no load: {found:?}");

    let found = run(&python, folder.path(), DUCKDB, queries[2]);
    assert_eq!(found, ["heartbeats/2026-09-01.parquet|400|400", "heartbeats/2026-09-02.parquet|100|100"]);

    let found = run(&python, folder.path(), DUCKDB, queries[3]);
    let seqs: Vec<_> = found.iter().map(|row| row.split_once('|').unwrap().0).collect();
    assert_eq!(seqs, ["2", "5", "8"]);
}

#[tokio::test]
async fn pyarrow_runs_the_documented_script_and_knows_the_types() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    archived(folder.path()).await;
    let scripts = examples("python");
    assert_eq!(scripts.len(), 1);
    let found = run(&python, folder.path(), scripts[0], "");
    assert_eq!(found.len(), 100);
    assert!(found[1].starts_with("2026-09-01T00:00:10+00:00 "), "{}", found[1]);

    let types = run(&python, folder.path(), TYPES, "");
    for wanted in [
        "device_id extension<arrow.uuid>",
        "bucket_at timestamp[us, tz=UTC]",
        "clock_rejected bool",
        "battery_pct int16",
        "battery_temperature_c float",
        "uptime_s int64",
        "ram_available_mb int32",
        "transport string",
    ] {
        assert!(types.iter().any(|found| found == wanted), "{wanted}: {types:?}");
    }
}
