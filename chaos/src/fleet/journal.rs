//! Journal of commands that survives restarts: `commands.jsonl` in the state folder. An id is written before its command
//! runs, so that a killed process runs no command twice.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use wire::command::ActionResult;

use crate::agent_command::Keys;
use crate::identity::{KeyWriter, StateFile};

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    /// A command is about to run.
    Seen { device_id: String, request_id: String, action: String, expires_at: DateTime<Utc> },
    /// A command has run, and its result is unacknowledged.
    Result {
        device_id: String,
        result: ActionResult,
        /// New key, in the result of a rotation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rotates_to: Option<String>,
    },
    /// The result of a command is acknowledged.
    Done { device_id: String, request_id: String },
}

/// Command state of one device, restored from the journal.
#[derive(Debug, Default)]
pub(super) struct RestoredCommands {
    /// Commands that were run, with expiry and action.
    pub(super) seen: HashMap<String, (DateTime<Utc>, String)>,
    /// Unacknowledged results, with the key that comes into force on acknowledgement.
    pub(super) results: HashMap<String, (ActionResult, Option<String>)>,
}

/// The open journal.
pub(super) struct Journal {
    file: Mutex<File>,
    keys: KeyWriter,
}

impl Journal {
    /// Opens the journal of a state folder and compacts it.
    pub(super) fn open(state: &StateFile, now: DateTime<Utc>) -> Result<(Self, HashMap<String, RestoredCommands>)> {
        let path = state.folder().join("commands.jsonl");
        let restored = load(&path, now)?;
        let unfinished = state.folder().join("commands.jsonl.new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600);
        let mut writer = BufWriter::new(options.clone().truncate(true).open(&unfinished)?);
        for (device_id, RestoredCommands { seen, results }) in &restored {
            for (request_id, (expires_at, action)) in seen {
                let (request_id, action) = (request_id.clone(), action.clone());
                let is_done = !results.contains_key(&request_id);
                write(
                    &mut writer,
                    &Line::Seen { device_id: device_id.clone(), request_id: request_id.clone(), action, expires_at: *expires_at },
                )?;
                if is_done {
                    write(&mut writer, &Line::Done { device_id: device_id.clone(), request_id })?;
                }
            }
            for (result, rotates_to) in results.values() {
                let rotates_to = rotates_to.clone();
                write(&mut writer, &Line::Result { device_id: device_id.clone(), result: result.clone(), rotates_to })?;
            }
        }
        writer.flush()?;
        fs::rename(&unfinished, &path)?;
        let file = OpenOptions::new().append(true).open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok((Self { file: Mutex::new(file), keys: state.key_writer()? }, restored))
    }

    /// Records that a command is about to run.
    pub(super) fn seen(&self, device_id: &str, request_id: &str, action: &str, expires_at: DateTime<Utc>) -> Result<()> {
        let (device_id, request_id, action) = (device_id.to_owned(), request_id.to_owned(), action.to_owned());
        self.append(&Line::Seen { device_id, request_id, action, expires_at })
    }

    /// Records the result of a command.
    pub(super) fn result(&self, device_id: &str, result: &ActionResult, rotates_to: Option<&str>) -> Result<()> {
        let rotates_to = rotates_to.map(str::to_owned);
        self.append(&Line::Result { device_id: device_id.to_owned(), result: result.clone(), rotates_to })
    }

    /// Records that the result of a command is acknowledged.
    pub(super) fn done(&self, device_id: &str, request_id: &str) -> Result<()> {
        self.append(&Line::Done { device_id: device_id.to_owned(), request_id: request_id.to_owned() })
    }

    /// Records the keys that a device accepts from now on.
    pub(super) fn keys(&self, device_id: &str, keys: &Keys, now: DateTime<Utc>) -> Result<()> {
        self.keys.keep(device_id, keys.current.text(), keys.next.as_ref().map(|key| key.text()), now)
    }

    fn append(&self, line: &Line) -> Result<()> {
        write(&mut *self.file.lock().unwrap_or_else(PoisonError::into_inner), line)
    }
}

fn write(to: &mut impl Write, line: &Line) -> Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(to.write_all(&text)?) // a single write: a kill may truncate it but not interleave it
}

fn load(path: &Path, now: DateTime<Utc>) -> Result<HashMap<String, RestoredCommands>> {
    let mut devices: HashMap<String, RestoredCommands> = HashMap::new();
    let mut done_ids: HashMap<String, HashSet<String>> = HashMap::new();
    let Ok(file) = File::open(path) else { return Ok(devices) };
    for line in BufReader::new(file).lines() {
        // A line that was truncated by a kill is skipped.
        let Ok(line) = serde_json::from_str(&line?) else { continue };
        match line {
            Line::Seen { device_id, request_id, action, expires_at } => {
                devices.entry(device_id).or_default().seen.insert(request_id, (expires_at, action));
            }
            Line::Result { device_id, result, rotates_to } => {
                devices.entry(device_id).or_default().results.insert(result.request_id.clone(), (result, rotates_to));
            }
            Line::Done { device_id, request_id } => {
                devices.entry(device_id.clone()).or_default().results.remove(&request_id);
                done_ids.entry(device_id).or_default().insert(request_id);
            }
        }
    }
    for (device_id, RestoredCommands { seen, results }) in &mut devices {
        let done_ids = done_ids.remove(device_id).unwrap_or_default();
        for (request_id, (_, action)) in seen.iter().filter(|(request_id, _)| !done_ids.contains(*request_id)) {
            // The process was killed between the run and the record of its result.
            let interrupted = || ActionResult {
                request_id: request_id.clone(),
                action: Some(action.clone()),
                outcome: "failed".into(),
                code: Some("interrupted".into()),
                device_id: Some(device_id.clone()),
                ..ActionResult::default()
            };
            results.entry(request_id.clone()).or_insert_with(|| (interrupted(), None));
        }
        seen.retain(|_, (expires_at, _)| now < *expires_at);
    }
    devices.retain(|_, RestoredCommands { seen, results }| !seen.is_empty() || !results.is_empty());
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::harness::TempDir;

    #[test]
    fn ids_and_unacknowledged_results_survive_a_restart() {
        let folder = TempDir::new("journal").unwrap();
        let state = StateFile::open(folder.path()).unwrap();
        let now = DateTime::from_timestamp(1_795_275_377, 0).unwrap();
        let later = now + TimeDelta::minutes(1);
        let (journal, nothing) = Journal::open(&state, now).unwrap();
        assert!(nothing.is_empty());
        for (request_id, expires_at) in [("told", later), ("untold", later), ("killed", later), ("old", now)] {
            journal.seen("d1", request_id, "ping", expires_at).unwrap();
        }
        let result =
            |request_id: &str| ActionResult { request_id: request_id.into(), outcome: "success".into(), ..ActionResult::default() };
        for request_id in ["told", "untold", "old"] {
            journal.result("d1", &result(request_id), (request_id == "untold").then_some("aa")).unwrap();
        }
        journal.done("d1", "told").unwrap();
        journal.done("d1", "old").unwrap();
        // Twice: what is left out when it is opened must not matter.
        drop(Journal::open(&state, now).unwrap());
        let (_, mut devices) = Journal::open(&state, now).unwrap();
        let RestoredCommands { seen, mut results } = devices.remove("d1").unwrap();
        assert!(seen.len() == 3 && !seen.contains_key("old"), "{seen:?}");
        let (untold, rotates_to) = results.remove("untold").unwrap();
        assert_eq!((untold.outcome.as_str(), rotates_to.as_deref()), ("success", Some("aa")));
        assert_eq!(results.remove("killed").unwrap().0.code.as_deref(), Some("interrupted"));
    }
}
