//! `chaos fleet` and `chaos load` as processes of their own, as anybody would
//! start them: what they cost is then not the bench's.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Beyond the duration that a run was asked for: enrolling and sessions.
const PREPARE_WITHIN: Duration = Duration::from_secs(3_600);

/// A generator against one node, with a state folder.
pub(super) struct Generator {
    executable: PathBuf,
    url: String,
    enroll_with: String,
    folder: PathBuf,
}

/// A generator that runs.
pub(super) struct RunningGenerator {
    child: Child,
    summary: PathBuf,
}

impl Generator {
    pub(super) fn new(url: String, admin_password: &str, folder: &Path) -> Result<Self> {
        Ok(Self { executable: std::env::current_exe()?, url, enroll_with: format!("admin:{admin_password}"), folder: folder.to_owned() })
    }

    /// Starts `chaos SUBCOMMAND …` with the state folder's devices.
    pub(super) fn start(&self, subcommand: &str, devices: usize, arguments: &[&str]) -> Result<RunningGenerator> {
        let summary = self.folder.join(format!("{subcommand}.json"));
        let child = Command::new(&self.executable)
            .arg(subcommand)
            .args(["--server", &self.url, "--devices", &devices.to_string()])
            .arg("--state-dir")
            .arg(self.folder.join("state"))
            .arg("--json")
            .arg(&summary)
            .args(arguments)
            .env("NEXMDM_ENROLL_WITH", &self.enroll_with)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the generator")?;
        Ok(RunningGenerator { child, summary })
    }

    /// The same, and waits for its summary.
    pub(super) async fn run<T: DeserializeOwned>(&self, subcommand: &str, devices: usize, arguments: &[&str]) -> Result<T> {
        self.start(subcommand, devices, arguments)?.summary().await
    }
}

impl RunningGenerator {
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it has ended already.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end with its summary.
    pub(super) fn terminate(&self) -> Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).context("the generator exited already")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Waits for the end.
    pub(super) async fn summary<T: DeserializeOwned>(mut self) -> Result<T> {
        let status = timeout(PREPARE_WITHIN, self.child.wait()).await.context("the generator did not exit")??;
        ensure!(status.success(), "the generator failed ({status})");
        Ok(serde_json::from_slice(&std::fs::read(&self.summary)?)?)
    }
}
