//! Files of a run's folder.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use super::event::Event;

/// The run.
pub const RUN: &str = "run.json";
/// The scenario's text.
pub const SCENARIO: &str = "scenario.toml";
/// The events, a line each.
pub const EVENTS: &str = "events.jsonl";
/// What the oracle knew.
pub const HISTORY: &str = "history.json.gz";
/// What was measured, and checks that are not made from the history.
pub const MEASURED: &str = "measured.json";
/// The verdict for programs.
pub const VERDICT_JSON: &str = "verdict.json";
/// The verdict for continuous integration.
pub const VERDICT_XML: &str = "verdict.xml";
/// The verdict for people.
pub const VERDICT_HTML: &str = "verdict.html";
/// The verdict for a terminal.
pub const VERDICT_TXT: &str = "verdict.txt";

/// Most bytes of a JSON file of a run's folder.
const JSON_BYTES_MAX: u64 = 64 << 20;
/// Most events that are read; see `RecordLimits`.
const EVENTS_MAX: usize = 4_000_000;

/// Writes a file that others may not read: keys of devices are in some.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path).with_context(cannot)?;
    file.write_all(bytes).with_context(cannot)
}

/// Writes a file that whoever may read the folder may read.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a JSON file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let bytes = file.metadata()?.len();
    anyhow::ensure!(bytes <= JSON_BYTES_MAX, "{} has {bytes} bytes, limit {JSON_BYTES_MAX}", path.display());
    serde_json::from_reader(BufReader::new(file)).with_context(|| format!("{} is not understood", path.display()))
}

/// Reads the events of a run's folder. A last line that was cut off is left out; that is how a run that was killed ends.
///
/// # Errors
/// The file cannot be read, has too many events, or has a line that is no event.
pub fn read_events(dir: &Path) -> Result<Vec<Event>> {
    let path = dir.join(EVENTS);
    let mut reader = BufReader::new(File::open(&path).with_context(|| format!("cannot read {}", path.display()))?);
    let (mut events, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 || line.last() != Some(&b'\n') {
            return Ok(events);
        }
        anyhow::ensure!(events.len() < EVENTS_MAX, "{} has more than {EVENTS_MAX} events", path.display());
        let event = serde_json::from_slice(&line).with_context(|| format!("line {} of {}", events.len() + 1, path.display()))?;
        events.push(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"at":1,"what":"note","text":"a"}"#;

    #[test]
    fn a_line_that_was_cut_off_is_left_out_and_a_bad_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(EVENTS), format!("{LINE}\n{LINE}\n{}", &LINE[..9])).unwrap();
        assert_eq!(read_events(folder.path()).unwrap().len(), 2);
        std::fs::write(folder.path().join(EVENTS), format!("{LINE}\nno event\n{LINE}\n")).unwrap();
        let error = format!("{:#}", read_events(folder.path()).unwrap_err());
        assert!(error.contains("line 2 of") && error.contains("events.jsonl"), "{error}");
    }

    #[test]
    fn others_cannot_read_what_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write_private(&path, b"a").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
