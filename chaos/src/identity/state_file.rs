//! State folder: identities of the simulated devices, kept across restarts.
//!
//! `identities.jsonl` only ever grows by whole lines, so that a killed process
//! loses at most the line it was writing; `sessions.jsonl` is replaced as a
//! whole at the end of a run. Both hold secrets and are readable by their owner
//! only.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::SessionToken;

/// A device and its secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Number in the alias, which determines seed and phase.
    pub number: u64,
    /// Identity.
    pub device_id: String,
    /// Name.
    pub alias: String,
    /// Long-lived token.
    pub device_token: String,
    /// Key of command signatures, hex.
    pub device_key: String,
    /// The key of a rotation whose result is not acknowledged yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_device_key: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    /// Reservation of all numbers below, enrolled or not.
    Reserved {
        next_number: u64,
    },
    Device(Identity),
    /// Key change of a device.
    Keys {
        device_id: String,
        #[serde(flatten)]
        keys: AcceptedKeys,
    },
    /// The device was deleted or has dropped its identity.
    Gone {
        device_id: String,
        why: String,
    },
}

/// Keys that a device accepts from a time on.
#[derive(Clone, Serialize, Deserialize)]
pub struct AcceptedKeys {
    /// Start; `None` means since enrollment.
    #[serde(rename = "at")]
    pub since: Option<DateTime<Utc>>,
    /// Hex.
    pub device_key: String,
    /// Second key, during a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_device_key: Option<String>,
}

/// Writer of key changes, usable from any task.
pub struct KeyWriter(File);

impl KeyWriter {
    /// Keeps the keys of a device; written when this returns, so that nothing is
    /// said to the server that a kill of this process would make untrue.
    pub fn keep(&self, device_id: &str, device_key: &str, next_device_key: Option<&str>, now: DateTime<Utc>) -> Result<()> {
        let keys =
            AcceptedKeys { since: Some(now), device_key: device_key.to_owned(), next_device_key: next_device_key.map(str::to_owned) };
        append(&self.0, &Line::Keys { device_id: device_id.to_owned(), keys })
    }
}

/// All accepted keys of the devices of a state folder, the oldest first. Needs no lock, so the fleet may be running.
pub fn key_history(folder: &Path) -> Result<HashMap<String, Vec<AcceptedKeys>>> {
    let path = folder.join("identities.jsonl");
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut history: HashMap<String, Vec<AcceptedKeys>> = HashMap::new();
    for text in BufReader::new(file).lines() {
        match serde_json::from_str(&text?) {
            Ok(Line::Device(Identity { device_id, device_key, next_device_key, .. })) => {
                history.entry(device_id).or_default().push(AcceptedKeys { since: None, device_key, next_device_key });
            }
            Ok(Line::Keys { device_id, keys }) => history.entry(device_id).or_default().push(keys),
            // Other lines, and a truncated one.
            _ => {}
        }
    }
    Ok(history)
}

#[derive(Serialize, Deserialize)]
struct SessionLine {
    device_id: String,
    #[serde(flatten)]
    session: SessionToken,
}

/// The state folder, open and locked against a second fleet.
pub struct StateFile {
    folder: PathBuf,
    file: File,
    identities: Vec<Identity>,
    next_number: u64,
}

impl Drop for StateFile {
    fn drop(&mut self) {
        // Closing alone leaves the lock to a child process that is between fork and exec.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl StateFile {
    /// Opens the folder and creates it if necessary.
    pub fn open(folder: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make the state folder {}", folder.display()))?;
        let path = folder.join("identities.jsonl");
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("{} is in use by another run: give this one its own --state-dir", folder.display());
        }
        let mut state = Self { folder: folder.to_owned(), file, identities: Vec::new(), next_number: 1 };
        state.load(&path)?;
        Ok(state)
    }

    /// The devices, oldest first.
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reserves `count` unused numbers; the first of them.
    pub fn reserve(&mut self, count: u64) -> Result<u64> {
        let first = self.next_number;
        self.append(&Line::Reserved { next_number: first + count })?;
        self.next_number = first + count;
        Ok(first)
    }

    /// Stores a new device.
    pub fn add(&mut self, identity: Identity) -> Result<()> {
        self.append(&Line::Device(identity.clone()))?;
        self.identities.push(identity);
        Ok(())
    }

    /// Removes a device.
    pub fn remove(&mut self, device_id: &str, why: &str) -> Result<()> {
        self.append(&Line::Gone { device_id: device_id.to_owned(), why: why.to_owned() })?;
        self.identities.retain(|identity| identity.device_id != device_id);
        Ok(())
    }

    /// Sessions of the last run.
    pub fn sessions(&self) -> HashMap<String, SessionToken> {
        let Ok(file) = File::open(self.folder.join("sessions.jsonl")) else { return HashMap::new() };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        lines.filter_map(|line| serde_json::from_str::<SessionLine>(&line).ok()).map(|s| (s.device_id, s.session)).collect()
    }

    /// Stores sessions for the next run, as each costs the server a password hash.
    pub fn save_sessions(&self, sessions: impl IntoIterator<Item = (String, SessionToken)>) -> Result<()> {
        let unfinished = self.folder.join("sessions.jsonl.new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        let mut writer = BufWriter::new(file);
        for (device_id, session) in sessions {
            serde_json::to_writer(&mut writer, &SessionLine { device_id, session })?;
            writer.write_all(b"\n")?;
        }
        writer.flush()?;
        Ok(fs::rename(&unfinished, self.folder.join("sessions.jsonl"))?)
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        let mut reader = BufReader::new(File::open(path)?);
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut kept: Vec<Option<Identity>> = Vec::new();
        let mut text = String::new();
        for number in 1_u64.. {
            text.clear();
            match reader.read_line(&mut text) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::InvalidData => bail!("line {number} of {} is not text", path.display()),
                Err(e) => return Err(e.into()),
            }
            let line = match serde_json::from_str(&text) {
                Ok(line) => line,
                Err(_) if !text.ends_with('\n') => {
                    self.file.write_all(b"\n")?; // cut off by a kill: closed, so that the next line is whole
                    break;
                }
                // The one cut off earlier.
                Err(_) => continue,
            };
            match line {
                Line::Reserved { next_number } => self.next_number = self.next_number.max(next_number),
                Line::Device(identity) => {
                    self.next_number = self.next_number.max(identity.number + 1);
                    places.insert(identity.device_id.clone(), kept.len());
                    kept.push(Some(identity));
                }
                Line::Keys { device_id, keys } => {
                    if let Some(identity) = places.get(&device_id).and_then(|place| kept[*place].as_mut()) {
                        (identity.device_key, identity.next_device_key) = (keys.device_key, keys.next_device_key);
                    }
                }
                Line::Gone { device_id, .. } => {
                    if let Some(place) = places.remove(&device_id) {
                        kept[place] = None;
                    }
                }
            }
        }
        self.identities = kept.into_iter().flatten().collect();
        Ok(())
    }

    /// Writer of key changes to the same file.
    pub fn key_writer(&self) -> Result<KeyWriter> {
        Ok(KeyWriter(self.file.try_clone()?))
    }

    fn append(&mut self, line: &Line) -> Result<()> {
        append(&self.file, line)
    }
}

fn append(mut file: &File, line: &Line) -> Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(file.write_all(&text)?) // one write: a kill leaves it whole or cut, never mixed
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::harness::TempDir;

    fn identity(number: u64) -> Identity {
        Identity {
            number,
            device_id: format!("d{number}"),
            alias: format!("sim-{number}"),
            device_token: "t".into(),
            device_key: "k".into(),
            next_device_key: None,
        }
    }

    fn ids(state: &StateFile) -> Vec<&str> {
        state.identities().iter().map(|i| i.device_id.as_str()).collect()
    }

    #[test]
    fn a_restart_goes_on_with_the_same_devices() {
        let folder = TempDir::new("state").unwrap();
        let mut state = StateFile::open(folder.path()).unwrap();
        assert_eq!(state.reserve(3).unwrap(), 1);
        for number in 1..=3 {
            state.add(identity(number)).unwrap();
        }
        state.remove("d2", "deleted").unwrap();
        drop(state);
        let mut state = StateFile::open(folder.path()).unwrap();
        assert_eq!(ids(&state), ["d1", "d3"]);
        assert_eq!(state.reserve(1).unwrap(), 4);
    }

    #[test]
    fn numbers_taken_before_a_kill_are_not_taken_again() {
        let folder = TempDir::new("state").unwrap();
        StateFile::open(folder.path()).unwrap().reserve(500).unwrap();
        assert_eq!(StateFile::open(folder.path()).unwrap().reserve(1).unwrap(), 501);
    }

    #[test]
    fn a_line_cut_off_by_a_kill_costs_nothing_else() {
        let folder = TempDir::new("state").unwrap();
        let path = folder.path().join("identities.jsonl");
        StateFile::open(folder.path()).unwrap().add(identity(1)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(br#"{"kind":"device","numb"#).unwrap();
        drop(file);
        StateFile::open(folder.path()).unwrap().add(identity(2)).unwrap();
        assert_eq!(ids(&StateFile::open(folder.path()).unwrap()), ["d1", "d2"]);
    }

    #[test]
    fn a_change_of_keys_is_kept_and_so_are_the_keys_before() {
        let folder = TempDir::new("state").unwrap();
        let now = DateTime::from_timestamp(1_795_275_377, 0).unwrap();
        let mut state = StateFile::open(folder.path()).unwrap();
        state.add(identity(1)).unwrap();
        state.add(identity(2)).unwrap();
        state.key_writer().unwrap().keep("d1", "k", Some("n"), now).unwrap();
        let key_of = |next: Option<&str>, key: &str| {
            let first = StateFile::open(folder.path()).unwrap().identities()[0].clone();
            assert_eq!((first.device_key.as_str(), first.next_device_key.as_deref()), (key, next));
        };
        drop(state);
        key_of(Some("n"), "k");
        StateFile::open(folder.path()).unwrap().key_writer().unwrap().keep("d1", "n", None, now).unwrap();
        key_of(None, "n");
        let history = key_history(folder.path()).unwrap();
        let d1: Vec<_> = history["d1"].iter().map(|keys| (keys.since, keys.device_key.as_str(), keys.next_device_key.as_deref())).collect();
        assert_eq!(d1, [(None, "k", None), (Some(now), "k", Some("n")), (Some(now), "n", None)]);
        assert_eq!(history["d2"].len(), 1);
    }

    #[test]
    fn secrets_are_for_their_owner_and_one_run_at_a_time() {
        let folder = TempDir::new("state").unwrap();
        let state = StateFile::open(&folder.path().join("fleet")).unwrap();
        let mode = |name: &str| fs::metadata(state.folder().join(name)).unwrap().permissions().mode() & 0o777;
        state.save_sessions([("d1".to_owned(), SessionToken { token: "s".into(), expires_at: DateTime::UNIX_EPOCH })]).unwrap();
        assert_eq!((mode("."), mode("identities.jsonl"), mode("sessions.jsonl")), (0o700, 0o600, 0o600));
        assert_eq!(state.sessions()["d1"].token, "s");
        assert!(StateFile::open(state.folder()).is_err());
    }
}
