//! Clocks of nodes that can be set while the nodes run, by libfaketime; monotonic clocks stay as they are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Places of the library, by architecture (Debian: package `faketime`).
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];
/// Farthest that a clock is set, s: ten years.
pub const CLOCK_OFFSET_MAX_S: i64 = 10 * 365 * 86_400;
/// Folder in which the library keeps shared memory and semaphores of the processes that use it.
const SHARED_MEMORY: &str = "/dev/shm";
/// Beginnings of their names, followed by a process id.
const SHARED_NAMES: [&str; 2] = ["faketime_shm_", "sem.faketime_sem_"];

/// Path of the library.
///
/// # Errors
/// It is not installed.
pub fn clock_library() -> Result<&'static str> {
    let found = LIBRARIES.into_iter().find(|path| Path::new(path).is_file());
    found.context("the clock of a node cannot be set without libfaketime: install Debian's package `faketime`")
}

/// Clock of one node: a file that its processes read again every second.
#[derive(Debug)]
pub struct NodeClock {
    file: PathBuf,
}

impl NodeClock {
    /// A clock that is right, with its file in this folder.
    ///
    /// # Errors
    /// The library is missing, or the file cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        clock_library()?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let clock = Self { file: folder.join("clock") };
        clock.set(0)?;
        Ok(clock)
    }

    /// File that holds the offset; `+0` in it is the right time.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Environment of a process that goes by this clock.
    ///
    /// # Errors
    /// The library is missing.
    pub fn env(&self) -> Result<Vec<(String, String)>> {
        let file = self.file.display().to_string();
        let variables = [
            ("LD_PRELOAD", clock_library()?),
            ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
            ("FAKETIME_CACHE_DURATION", "1"),
            // Timers measure spans: a jump of the wall clock does not move them.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            // Times of files are those of the machine.
            ("NO_FAKE_STAT", "1"),
        ];
        Ok(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    /// Sets the clock this far ahead of the right time, or behind it; it holds within a second.
    ///
    /// # Errors
    /// It is too far, or the file cannot be written.
    pub fn set(&self, ahead_s: i64) -> Result<()> {
        ensure!(
            ahead_s.unsigned_abs() <= CLOCK_OFFSET_MAX_S.unsigned_abs(),
            "a clock is set by {CLOCK_OFFSET_MAX_S} s at most, not by {ahead_s}"
        );
        // As a whole: a process may read it at any moment.
        let new = self.file.with_extension("new");
        fs::write(&new, offset_text(ahead_s))
            .and_then(|()| fs::rename(&new, &self.file))
            .with_context(|| format!("cannot set the clock {}", self.file.display()))
    }
}

impl Drop for NodeClock {
    fn drop(&mut self) {
        remove_leftovers(Path::new(SHARED_MEMORY));
    }
}

/// Content of the file, as libfaketime reads it.
fn offset_text(ahead_s: i64) -> String {
    format!("{ahead_s:+}\n")
}

/// Removes what the library left of processes that were killed.
fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = SHARED_NAMES.iter().find_map(|beginning| name.to_str()?.strip_prefix(beginning)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another run may remove it, too.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TempDir;

    #[test]
    fn an_offset_has_a_sign() {
        assert_eq!([offset_text(0), offset_text(600), offset_text(-3_600)], ["+0\n", "+600\n", "-3600\n"]);
    }

    #[test]
    fn only_what_the_dead_left_is_removed() {
        let folder = TempDir::new("shm").unwrap();
        // Above the largest process id that Linux gives.
        let names = ["faketime_shm_4194305", "sem.faketime_sem_4194305", "faketime_shm_x", "PostgreSQL.4194305"];
        let own = format!("faketime_shm_{}", std::process::id());
        for name in names.into_iter().chain([own.as_str()]) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        remove_leftovers(folder.path());
        let mut left: Vec<String> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["PostgreSQL.4194305".to_owned(), own, "faketime_shm_x".to_owned()]);
    }

    #[test]
    fn a_clock_is_set_within_limits_where_the_library_is() {
        let folder = TempDir::new("clock").unwrap();
        let clock = match NodeClock::create(folder.path()) {
            Ok(clock) => clock,
            Err(error) => return assert!(error.to_string().contains("faketime"), "{error:#}"),
        };
        let shown_s = || {
            let output = std::process::Command::new("date").arg("+%s").envs(clock.env().unwrap()).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse::<i64>().unwrap()
        };
        for ahead_s in [3_600, -3_600, 0] {
            clock.set(ahead_s).unwrap();
            assert!((shown_s() - crate::clock::now().timestamp() - ahead_s).abs() < 30, "{ahead_s}");
        }
        assert!(clock.set(CLOCK_OFFSET_MAX_S + 1).unwrap_err().to_string().contains("at most"));
        assert!(clock.env().unwrap().iter().any(|(name, value)| name == "LD_PRELOAD" && value.contains("libfaketime")));
    }
}
