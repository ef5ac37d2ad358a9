//! Installed versions of all devices, kept across restarts: `installed.jsonl` in the state folder.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A version of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::fleet) struct Version {
    pub(in crate::fleet) version_code: i64,
    pub(in crate::fleet) version_name: String,
}

/// Installed versions of one device, by package.
pub(in crate::fleet) type Packages = BTreeMap<String, Version>;

#[derive(Serialize, Deserialize)]
struct Line {
    device_id: String,
    package: String,
    #[serde(flatten)]
    version: Version,
}

/// The open file.
pub(in crate::fleet) struct InstalledFile(Mutex<File>);

impl InstalledFile {
    /// Opens the file of a state folder; the installed versions by device.
    ///
    /// # Errors
    /// It cannot be written.
    pub(in crate::fleet) fn open(folder: &Path) -> Result<(Self, HashMap<String, Packages>)> {
        let path = folder.join("installed.jsonl");
        let devices = load(&path);
        // Compaction: only the newest version of each package is kept.
        let unfinished = folder.join("installed.jsonl.new");
        let mut writer = BufWriter::new(File::create(&unfinished)?);
        for (device_id, packages) in &devices {
            for (package, version) in packages {
                write(&mut writer, &Line { device_id: device_id.clone(), package: package.clone(), version: version.clone() })?;
            }
        }
        writer.flush()?;
        fs::rename(&unfinished, &path)?;
        let file = OpenOptions::new().append(true).open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok((Self(Mutex::new(file)), devices))
    }

    /// Records an installed version.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn keep(&self, device_id: &str, package: &str, version: &Version) -> Result<()> {
        let line = Line { device_id: device_id.to_owned(), package: package.to_owned(), version: version.clone() };
        write(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), &line)
    }
}

fn write(to: &mut impl Write, line: &Line) -> Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(to.write_all(&text)?) // one write: a kill leaves it whole or cut, never mixed
}

fn load(path: &Path) -> HashMap<String, Packages> {
    let mut devices: HashMap<String, Packages> = HashMap::new();
    let Ok(file) = File::open(path) else { return devices };
    for text in BufReader::new(file).lines().map_while(Result::ok) {
        // A line that was truncated by a kill is skipped.
        if let Ok(Line { device_id, package, version }) = serde_json::from_str(&text) {
            devices.entry(device_id).or_default().insert(package, version);
        }
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TempDir;

    #[test]
    fn the_newest_version_survives_a_restart() {
        let folder = TempDir::new("installed").unwrap();
        let version = |code: i64| Version { version_code: code, version_name: format!("1.{code}") };
        let (file, nothing) = InstalledFile::open(folder.path()).unwrap();
        assert!(nothing.is_empty());
        for (package, code) in [("a", 1), ("b", 5), ("a", 2)] {
            file.keep("d1", package, &version(code)).unwrap();
        }
        // Twice: what is left out when it is opened must not matter.
        drop(InstalledFile::open(folder.path()).unwrap());
        let (_, devices) = InstalledFile::open(folder.path()).unwrap();
        assert_eq!(devices["d1"], BTreeMap::from([("a".to_owned(), version(2)), ("b".to_owned(), version(5))]));
    }
}
