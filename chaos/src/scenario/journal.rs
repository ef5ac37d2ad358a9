//! Journal of a run: what is in force and how it is healed, written before it begins, so that another process heals it when this one was killed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// Name of the file in the folder of a run.
pub(super) const JOURNAL: &str = "journal.jsonl";
/// Time within which a command that heals has to end.
const HEAL_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Entry {
    /// A cluster was started whose processes and mounts belong to this folder.
    Cluster {
        /// Folder.
        folder: PathBuf,
    },
    /// A fault is about to begin.
    Begins {
        /// Name of the step.
        step: String,
        /// Commands that heal it: program and arguments of each.
        undo: Vec<Vec<String>>,
        /// Whether it outlasts the cluster that was started for the run.
        outside: bool,
    },
    /// A fault was healed.
    Healed {
        /// Name of the step.
        step: String,
    },
    /// The run is over, and nothing is left of it.
    Over,
}

/// Journal that is being written, and locked as long.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
}

impl Journal {
    /// Begins a journal in the folder of a run.
    ///
    /// # Errors
    /// There is one that is not over, another run is writing it, or the file cannot be written.
    pub(super) fn begin(dir: &Path) -> Result<Self> {
        // It is emptied when it is locked, and not before.
        let file = OpenOptions::new().create(true).append(true).open(dir.join(JOURNAL))?;
        lock(&file, dir)?;
        ensure!(left(dir)?.is_none(), "an earlier run in {} was cut off: `chaos heal {0}` heals what it left", dir.display());
        file.set_len(0)?;
        Ok(Self { file })
    }

    /// Writes an entry, on the disk when it returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&mut self, entry: &Entry) -> Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).context("the journal cannot be written")
    }
}

/// Locks a journal, until it is closed or its process ends.
fn lock(file: &File, dir: &Path) -> Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => bail!("a run in {} is still going on", dir.display()),
        locked => locked.context("the journal cannot be locked"),
    }
}

/// Fault that was not healed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unhealed {
    /// Name of the step.
    pub(super) step: String,
    /// Commands that heal it.
    pub(super) undo: Vec<Vec<String>>,
    /// Whether it outlasts the cluster of the run.
    pub(super) outside: bool,
}

/// What a run that was cut off has left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Folders of clusters.
    pub(super) clusters: Vec<PathBuf>,
    /// Faults, the newest one last.
    pub(super) faults: Vec<Unhealed>,
}

/// What a run in a folder has left; none when it is over or there is none.
///
/// # Errors
/// The journal is not understood.
pub(super) fn left(dir: &Path) -> Result<Option<Left>> {
    let path = dir.join(JOURNAL);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let mut open: BTreeMap<usize, Unhealed> = BTreeMap::new();
    let mut clusters = Vec::new();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        // The last line was being written: what it says had not begun.
        if !line.ends_with('\n') {
            break;
        }
        match serde_json::from_str(line).with_context(|| format!("{}, line {}", path.display(), number + 1))? {
            Entry::Cluster { folder } => clusters.push(folder),
            Entry::Begins { step, undo, outside } => drop(open.insert(number, Unhealed { step, undo, outside })),
            Entry::Healed { step } => open.retain(|_, fault| fault.step != step),
            Entry::Over => return Ok(None),
        }
    }
    let left = Left { clusters, faults: open.into_values().collect() };
    Ok((left != Left::default()).then_some(left))
}

/// Whether a run in a folder was cut off: it has left something, and is not going on.
pub(super) fn is_cut_off(dir: &Path) -> bool {
    let is_going_on = |file: &File| lock(file, dir).is_err();
    left(dir).is_ok_and(|left| left.is_some())
        && OpenOptions::new().append(true).open(dir.join(JOURNAL)).is_ok_and(|file| !is_going_on(&file))
}

/// Heals what a run that was cut off has left; what was done, a line each.
///
/// # Errors
/// Something could not be healed; the journal stays, so that it can be tried again.
pub(super) fn heal(dir: &Path) -> Result<Vec<String>> {
    if left(dir)?.is_none() {
        return Ok(Vec::new());
    }
    let file = OpenOptions::new().append(true).open(dir.join(JOURNAL))?;
    lock(&file, dir)?;
    // Entries of this healing follow the last whole one.
    let whole = fs::read_to_string(dir.join(JOURNAL))?.rfind('\n').map_or(0, |newline| newline + 1);
    file.set_len(whole as u64)?;
    // It may have come to its end before it was locked.
    let Some(left) = left(dir)? else { return Ok(Vec::new()) };
    let mut done = Vec::new();
    for Unhealed { step, undo, outside } in left.faults.iter().rev() {
        for command in undo {
            match run(command) {
                Ok(()) => done.push(format!("healed {step}: {}", command.join(" "))),
                Err(error) if !outside => done.push(format!("{step} ends with its cluster: {error:#}")),
                Err(error) => return Err(error.context(format!("healing {step}"))),
            }
        }
    }
    for folder in &left.clusters {
        let stopped = stop_processes(folder)?;
        done.push(format!("stopped {stopped} processes of {}", folder.display()));
        for mount in mounts_below(folder) {
            run(&["umount".into(), "-l".into(), mount.display().to_string()])?;
            done.push(format!("unmounted {}", mount.display()));
        }
    }
    Journal { file }.write(&Entry::Over)?;
    Ok(done)
}

/// Runs a command to its end.
pub(super) fn run(command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().context("an empty command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let deadline = Instant::now() + HEAL_WITHIN;
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{} ended with {status}", command.join(" "));
            return Ok(());
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("{} did not end within {HEAL_WITHIN:?}", command.join(" "));
        }
        sleep(LOOK_EVERY);
    }
}

/// Processes whose command line or environment names something below a folder, but for this one and those that have started it.
fn processes_of(folder: &Path) -> Vec<i32> {
    let needle = folder.as_os_str().as_encoded_bytes();
    let names = |path: PathBuf| fs::read(path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle));
    let own = with_parents(std::process::id());
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| !own.contains(pid))
        .filter(|pid| names(format!("/proc/{pid}/cmdline").into()) || names(format!("/proc/{pid}/environ").into()))
        .filter_map(|pid| i32::try_from(pid).ok())
        .collect()
}

/// A process, its parent, and so on.
fn with_parents(mut pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    while let Some(parent) = fs::read_to_string(format!("/proc/{pid}/status")).ok().and_then(|status| parent_in(&status)) {
        pids.push(parent);
        pid = parent;
    }
    pids
}

/// Parent in the status of a process; none for the first one.
fn parent_in(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok().filter(|parent| *parent > 0)
}

/// Kills what belongs to a folder, until nothing does; how many there were.
fn stop_processes(folder: &Path) -> Result<usize> {
    ensure!(folder.is_absolute() && folder.components().count() > 2, "{} is no folder of a cluster", folder.display());
    let deadline = Instant::now() + HEAL_WITHIN;
    let mut stopped = 0;
    loop {
        let pids = processes_of(folder);
        if pids.is_empty() {
            return Ok(stopped);
        }
        ensure!(Instant::now() < deadline, "{} processes of {} do not end", pids.len(), folder.display());
        for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
            // One that is stopped (SIGSTOP) ends as well.
            if rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok() {
                stopped += 1;
            }
        }
        sleep(LOOK_EVERY);
    }
}

/// Mounts below a folder, the deepest first.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut below: Vec<PathBuf> =
        mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from).filter(|mount| mount.starts_with(folder)).collect();
    below.sort_by_key(|mount| std::cmp::Reverse(mount.components().count()));
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn touch(path: &Path) -> Vec<Vec<String>> {
        vec![vec!["touch".into(), path.display().to_string()]]
    }

    #[test]
    fn what_was_not_healed_is_healed_once_and_nothing_else() {
        let dir = folder();
        let (open, closed) = (dir.path().join("open"), dir.path().join("closed"));
        let mut journal = Journal::begin(dir.path()).unwrap();
        journal.write(&Entry::Begins { step: "a".into(), undo: touch(&closed), outside: true }).unwrap();
        journal.write(&Entry::Begins { step: "b".into(), undo: touch(&open), outside: true }).unwrap();
        journal.write(&Entry::Healed { step: "a".into() }).unwrap();
        assert!(heal(dir.path()).unwrap_err().to_string().contains("still going on"), "only what was cut off is healed");
        assert!(!is_cut_off(dir.path()));
        // It is cut off in the middle of an entry.
        journal.file.write_all(b"{\"what\":\"beg").unwrap();
        drop(journal);
        assert!(is_cut_off(dir.path()));
        assert!(Journal::begin(dir.path()).unwrap_err().to_string().contains("chaos heal"));
        assert_eq!(heal(dir.path()).unwrap().len(), 1);
        assert_eq!(left(dir.path()).unwrap(), None);
        assert!(open.exists() && !closed.exists());
    }

    #[test]
    fn a_run_that_is_over_has_left_nothing() {
        let dir = folder();
        assert_eq!(left(dir.path()).unwrap(), None);
        let mut journal = Journal::begin(dir.path()).unwrap();
        journal.write(&Entry::Begins { step: "a".into(), undo: Vec::new(), outside: true }).unwrap();
        assert!(Journal::begin(dir.path()).unwrap_err().to_string().contains("still going on"));
        journal.write(&Entry::Over).unwrap();
        drop(journal);
        assert_eq!(left(dir.path()).unwrap(), None);
        assert!(Journal::begin(dir.path()).is_ok());
    }

    #[test]
    fn what_cannot_be_healed_is_named_and_stays() {
        let dir = folder();
        let begins = |outside| Entry::Begins { step: "a".into(), undo: vec![vec!["false".into()]], outside };
        Journal::begin(dir.path()).unwrap().write(&begins(true)).unwrap();
        assert!(format!("{:#}", heal(dir.path()).unwrap_err()).contains("healing a"));
        assert!(left(dir.path()).unwrap().is_some());
        // What was done to a cluster that is gone need not be undone.
        let dir = folder();
        Journal::begin(dir.path()).unwrap().write(&begins(false)).unwrap();
        assert!(heal(dir.path()).unwrap()[0].starts_with("a ends with its cluster: false ended with"));
        assert_eq!(left(dir.path()).unwrap(), None);
    }

    #[test]
    fn this_process_and_what_has_started_it_are_spared() {
        let pids = with_parents(std::process::id());
        assert_eq!(pids[0], std::process::id());
        assert_eq!(pids[1], std::os::unix::process::parent_id());
        assert_eq!(parent_in("Name:\tinit\nPPid:\t0\n"), None);
    }

    #[test]
    fn processes_of_a_folder_are_stopped() {
        let dir = folder();
        let mut child = Command::new("sleep").arg("300").env("DATA", dir.path().join("node-1")).spawn().unwrap();
        assert!(processes_of(dir.path()).contains(&i32::try_from(child.id()).unwrap()));
        // The parent is this process, which has to reap it for it to be gone.
        let reaper = std::thread::spawn(move || child.wait());
        assert!(stop_processes(dir.path()).unwrap() >= 1);
        assert!(!reaper.join().unwrap().unwrap().success());
    }
}
