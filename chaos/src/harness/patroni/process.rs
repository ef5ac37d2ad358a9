//! Servers as child processes, as the user that PostgreSQL runs as.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// Deadline of a polite end; Patroni stops its server in this time.
const END_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Where Debian has programs of administrators, which are not in the path of ordinary users.
const FOLDERS: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Path of a program.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// Ordinary user in place of root, whom PostgreSQL refuses.
pub(super) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The user `postgres`, if this process is root.
    pub(super) fn of_servers() -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
        let user = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            (name == "postgres").then_some(Self { uid, gid })
        });
        user.map(Some).context("there is no user postgres: install the package postgresql")
    }

    /// Makes it the owner of a folder.
    pub(super) fn own(&self, folder: &Path) -> Result<()> {
        chown(folder, Some(self.uid), Some(self.gid)).with_context(|| folder.display().to_string())
    }
}

/// Process of a server; ended on drop.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program in a folder, which has its log.
    pub(super) fn start(name: &'static str, arguments: &[String], folder: &Path, user: Option<&User>) -> Result<Self> {
        let path = program(name).with_context(|| format!("{name} is not installed (.ci/install-deps ha)"))?;
        let log = folder.join(format!("{name}.log"));
        let out = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = Command::new(path);
        command.args(arguments).current_dir(folder).env("HOME", folder).env("LC_ALL", "C.UTF-8").env_remove("PGUSER");
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        if let Some(user) = user {
            command.uid(user.uid).gid(user.gid);
        }
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Waits a while in which it must not end.
    pub(super) async fn stays(&mut self, how_long: Duration) -> Result<()> {
        let deadline = Instant::now() + how_long;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("{} ended with {status}: {log}", self.name);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// SIGTERM, without waiting.
    pub(super) fn terminate(&self) {
        // One that has ended needs none.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    /// SIGKILL.
    pub(super) fn kill9(&mut self) {
        // One that has ended needs none.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.terminate();
        let deadline = Instant::now() + END_WITHIN;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
        self.kill9();
    }
}
