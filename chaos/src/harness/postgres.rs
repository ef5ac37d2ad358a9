//! Private PostgreSQL of a node, found by its pid file and stopped when a killed node could not do so.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Depth of the search below the data folder.
const DEPTH: u32 = 4;
/// Time limit of a fast shutdown.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// PostgreSQL server described by its `postmaster.pid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postmaster {
    /// Process id.
    pub pid: i32,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// TCP and socket port.
    pub port: u16,
    /// Folder of its Unix socket, when it has one.
    pub socket_dir: Option<PathBuf>,
}

/// The PostgreSQL whose data folder lies somewhere in `folder`.
pub fn find_postmaster(folder: &Path) -> Option<Postmaster> {
    let mut level = vec![folder.to_owned()];
    for _ in 0..DEPTH {
        if let Some(found) = level.iter().find_map(|dir| read_pid_file(dir)) {
            return Some(found);
        }
        let entries = level.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
        level = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    }
    None
}

/// Lines: pid, data folder, start time, port, socket folder, listen address.
fn read_pid_file(data_dir: &Path) -> Option<Postmaster> {
    let text = fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    // Negative for a server that is only being set up and serves nobody.
    let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 0)?;
    let port = lines.nth(2)?.trim().parse().ok()?;
    let socket_dir = lines.next().map(str::trim).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    Some(Postmaster { pid, data_dir: data_dir.to_owned(), port, socket_dir })
}

impl Postmaster {
    /// Whether the process is there and works in this very data folder: pids are
    /// used again, and no foreign process may be hit.
    pub fn is_running(&self) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        let same_folder = match (fs::read_link(format!("/proc/{}/cwd", self.pid)), fs::canonicalize(&self.data_dir)) {
            (Ok(cwd), Ok(data_dir)) => cwd == data_dir,
            _ => false,
        };
        same_folder && test_kill_process(pid).is_ok()
    }

    /// SIGKILL: no shutdown at all. Its children notice, and end.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill9(&self) -> std::io::Result<()> {
        let running = Pid::from_raw(self.pid).filter(|_| self.is_running());
        let pid = running.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "PostgreSQL does not run"))?;
        Ok(kill_process(pid, Signal::KILL)?)
    }

    /// Stops it: a fast shutdown first, an immediate one when that takes too long.
    pub fn stop(&self) {
        for signal in [Signal::INT, Signal::QUIT] {
            let deadline = Instant::now() + STOP_WITHIN;
            let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_running()) else { return };
            if kill_process(pid, signal).is_err() {
                return;
            }
            while self.is_running() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TempDir;

    #[test]
    fn a_pid_file_is_found_and_read() {
        let folder = TempDir::new("postmaster").unwrap();
        assert_eq!(find_postmaster(folder.path()), None);
        let data_dir = folder.path().join("postgres").join("data");
        fs::create_dir_all(&data_dir).unwrap();
        let pid = std::process::id();
        fs::write(data_dir.join("postmaster.pid"), format!("{pid}\n{}\n1795275377\n5433\n/tmp/socket\nlocalhost\n", data_dir.display()))
            .unwrap();
        let found = find_postmaster(folder.path()).unwrap();
        assert_eq!((found.port, found.socket_dir.as_deref()), (5433, Some(Path::new("/tmp/socket"))));
        // This process has that pid, but works elsewhere: it is left alone.
        assert!(!found.is_running());
        found.stop();
    }
}
