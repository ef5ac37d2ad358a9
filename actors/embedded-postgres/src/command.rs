//! Running PostgreSQL's programs: as which user, with which environment and for how long.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{Deadline, EmbeddedError};

/// An ordinary user of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerUser {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Environment in which programs are started.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    /// The working folder.
    pub(super) dir: PathBuf,
    /// The user to change to, when we are root.
    pub(super) user: Option<ServerUser>,
}

/// Exit status and output of a program.
#[derive(Debug)]
pub(super) struct CommandOutput {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl CommandOutput {
    /// An error for `program` with what it said.
    pub(super) fn error(&self, program: impl Into<String>, log_tail: String) -> EmbeddedError {
        let mut output = self.status.to_string();
        for text in [&self.stdout, &self.stderr] {
            if !text.trim().is_empty() {
                output.push_str(": ");
                output.push_str(text.trim());
            }
        }
        EmbeddedError::ProgramFailed { program: program.into(), output, log_tail }
    }
}

impl Runner {
    /// Runs `program` to its end and gives it `stdin`. A program that outlives the deadline, or
    /// the returned future, is killed; servers that it started in the background are not.
    pub(super) async fn run<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        args: impl IntoIterator<Item = S>,
        stdin: &str,
        deadline: Deadline,
    ) -> Result<CommandOutput, EmbeddedError> {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(&self.dir)
            // Nothing of ours leaks into a server that another user owns, no PG* variable
            // changes what it does, and messages come in the language we search in.
            .env_clear()
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C in the terminal is for us alone. (`pg_ctl start` gives the server a session
            // of its own besides.)
            .process_group(0);
        for name in ["PATH", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }

        let failed = |error: std::io::Error| EmbeddedError::ProgramFailed {
            program: program.display().to_string(),
            output: error.to_string(),
            log_tail: String::new(),
        };
        let work = async {
            let mut child = command.spawn().map_err(failed)?;
            if let Some(mut pipe) = child.stdin.take() {
                // A program that ended early says so by its exit status.
                let _ = pipe.write_all(stdin.as_bytes()).await;
            }
            let output = child.wait_with_output().await.map_err(failed)?;
            Ok(CommandOutput {
                status: output.status,
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            })
        };
        match tokio::time::timeout_at(deadline.at, work).await {
            Ok(finished) => finished,
            Err(_) => Err(deadline.error(format!("{} to end", program.display()), String::new())),
        }
    }
}
