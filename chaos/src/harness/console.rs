//! Commands of the node's binary beside its nodes, such as `nexmdm partitions run`, which can be killed.

use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::node::clear_settings;

/// Longest run of a command.
const ENDS_WITHIN: Duration = Duration::from_secs(3_600);
/// Interval at which memory is read.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Characters of standard error that an error shows.
const SHOWN: usize = 2_000;

/// A shell with the settings of a cluster or of a node.
#[derive(Debug, Clone)]
pub struct Console {
    binary: PathBuf,
    folder: PathBuf,
    env: Vec<(String, String)>,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Time from start to end.
    pub took: Duration,
    /// Largest resident memory that was seen, bytes.
    pub resident_bytes: u64,
}

/// A running command; killed on drop.
#[derive(Debug)]
pub struct RunningCommand {
    words: String,
    child: Child,
    started: Instant,
}

impl Console {
    /// Settings from the environment alone; `folder` is the working folder, without a configuration file.
    pub fn new(binary: impl Into<PathBuf>, folder: impl Into<PathBuf>, env: Vec<(String, String)>) -> Self {
        Self { binary: binary.into(), folder: folder.into(), env }
    }

    /// With one more variable; the last of a name counts.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Starts `nexmdm WORDS`.
    ///
    /// # Errors
    /// The binary cannot be started.
    pub fn start(&self, words: &[&str]) -> Result<RunningCommand> {
        let mut command = std::process::Command::new(&self.binary);
        clear_settings(&mut command);
        command.args(words).envs(self.env.iter().map(|(name, value)| (name, value))).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = Command::from(command).kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("cannot start {}", self.binary.display()))?;
        Ok(RunningCommand { words: words.join(" "), child, started: Instant::now() })
    }

    /// Runs `nexmdm WORDS` to its end, whatever that is.
    ///
    /// # Errors
    /// It cannot be started, or does not end.
    pub async fn run(&self, words: &[&str]) -> Result<Finished> {
        self.start(words)?.finish().await
    }

    /// Runs `nexmdm WORDS`, which must succeed.
    ///
    /// # Errors
    /// It failed; the error shows what it said.
    pub async fn must(&self, words: &[&str]) -> Result<Finished> {
        let finished = self.run(words).await?;
        ensure!(finished.status.success(), "nexmdm {} ended with {}: {}", words.join(" "), finished.status, finished.said());
        Ok(finished)
    }

    /// JSON that `nexmdm WORDS --output json` prints, which must succeed.
    ///
    /// # Errors
    /// It failed, or did not print JSON.
    pub async fn json(&self, words: &[&str]) -> Result<Value> {
        let finished = self.must(&[words, &["--output", "json"]].concat()).await?;
        serde_json::from_str(&finished.stdout)
            .with_context(|| format!("nexmdm {} did not print JSON: {}", words.join(" "), finished.stdout))
    }
}

impl RunningCommand {
    /// Process id; `None` once it has been waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// SIGKILL, after a while unless it has ended by then; whether it was killed.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub async fn kill9_after(mut self, after: Duration) -> Result<bool> {
        if let Ok(ended) = timeout(after, self.child.wait()).await {
            ended?;
            return Ok(false);
        }
        self.child.kill().await?;
        Ok(true)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It does not end.
    pub async fn finish(self) -> Result<Finished> {
        let Self { words, child, started } = self;
        let pid = child.id();
        let mut resident_bytes = 0;
        let watched = async {
            let mut tick = interval(LOOK_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                resident_bytes = resident_bytes.max(pid.and_then(peak_resident_bytes).unwrap_or(0));
            }
        };
        let ended = async { timeout(ENDS_WITHIN, child.wait_with_output()).await };
        let output = tokio::select! {
            ended = ended => ended,
            () = watched => return Err(anyhow::anyhow!("memory is watched until the end")),
        };
        let Output { status, stdout, stderr } = output.with_context(|| format!("nexmdm {words} does not end"))??;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Finished { status, stdout: text(stdout), stderr: text(stderr), took: started.elapsed(), resident_bytes })
    }
}

impl Finished {
    /// End of what it said on standard error, or else on standard output.
    pub fn said(&self) -> String {
        let text = if self.stderr.trim().is_empty() { self.stdout.trim() } else { self.stderr.trim() };
        let skipped = text.chars().count().saturating_sub(SHOWN);
        text.chars().skip(skipped).collect()
    }
}

/// Largest resident memory of a process so far.
fn peak_resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TempDir;

    fn shell(env: &[(&str, &str)]) -> (TempDir, Console) {
        let folder = TempDir::new("console").unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let console = Console::new("/bin/sh", folder.path(), env);
        (folder, console)
    }

    #[tokio::test]
    async fn a_command_ends_with_what_it_said_and_used() {
        let (_folder, console) = shell(&[("NEXMDM__A", "first")]);
        let console = console.env("NEXMDM__A", "last");
        let finished = console.must(&["-c", "echo $NEXMDM__A; echo note >&2; exec sleep 0.1"]).await.unwrap();
        assert_eq!((finished.stdout.as_str(), finished.said().as_str()), ("last\n", "note"));
        assert!(finished.resident_bytes > 100_000 && finished.took >= Duration::from_millis(100), "{finished:?}");
        let error = console.must(&["-c", "echo reason >&2; exit 3"]).await.unwrap_err().to_string();
        assert!(error.contains("reason") && error.contains('3'), "{error}");
    }

    #[tokio::test]
    async fn a_command_is_killed_unless_it_has_ended() {
        let (_folder, console) = shell(&[]);
        assert!(console.start(&["-c", "exec sleep 60"]).unwrap().kill9_after(Duration::from_millis(10)).await.unwrap());
        assert!(!console.start(&["-c", "exit 0"]).unwrap().kill9_after(Duration::from_secs(60)).await.unwrap());
    }
}
