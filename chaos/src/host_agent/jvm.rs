//! Java runtime and jar of host agents.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Path of the jar from the build of the agent.
pub const DEFAULT_JAR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../android-agent/out/nexmdm-agent-host.jar");

/// JVM options for a small footprint and quick start, as many agents share a machine.
const FLAGS: [&str; 6] =
    ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx96m", "-Xss256k", "-XX:-UsePerfData", "-Djava.awt.headless=true"];
/// How long the process lives that fills the archive of classes: it opens its store and tries to reach a server.
const ARCHIVED_AFTER: Duration = Duration::from_secs(4);
/// How long writing the archive may take.
const ARCHIVED_WITHIN: Duration = Duration::from_secs(60);

/// Java runtime with the jar of the host agent.
#[derive(Debug, Clone)]
pub struct Jvm {
    java: PathBuf,
    jar: PathBuf,
    /// Classes as they lie in memory, so that a start need not load them one by one.
    archive: Option<PathBuf>,
}

impl Jvm {
    /// Java of `JAVA_HOME` or of the `PATH`, with this jar or the one that the build makes.
    ///
    /// # Errors
    /// Java or the jar is missing; the text says what to do.
    pub fn find(jar: Option<&Path>) -> Result<Self> {
        let jar = jar.unwrap_or(Path::new(DEFAULT_JAR));
        ensure!(
            jar.is_file(),
            "there is no host agent at {}: build it with `make agent`, or name its jar with --agent-jar PATH",
            jar.display()
        );
        let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java")).filter(|java| java.is_file());
        let java = home.or_else(|| on_path("java"));
        let java = java.context("host agents need Java 17 or newer: install a JRE (openjdk-17-jre-headless), or name it in JAVA_HOME")?;
        Ok(Self { java, jar: std::path::absolute(jar)?, archive: None })
    }

    /// Runs the jar once and keeps its classes in `folder`, for every start that follows: a start with them takes about half of
    /// the time. Without an archive everything works, slower.
    pub async fn archive_classes(&mut self, folder: &Path) {
        let archive = folder.join("host-agent.jsa");
        match self.write_archive(folder, &archive).await {
            Ok(()) if archive.is_file() => self.archive = Some(archive),
            Ok(()) => eprintln!("host agents start without an archive of classes: none was written"),
            Err(error) => eprintln!("host agents start without an archive of classes: {error:#}"),
        }
    }

    async fn write_archive(&self, folder: &Path, archive: &Path) -> Result<()> {
        let state = folder.join("host-agent-archive");
        std::fs::create_dir_all(&state)?;
        let mut command = self.command_with(&[format!("-XX:ArchiveClassesAtExit={}", archive.display())], &state);
        // A port where nobody listens.
        command.args(["--server", "http://127.0.0.1:9", "--token", "none", "--interval", "10s", "--state"]).arg(&state);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = spawn(command).await?;
        sleep(ARCHIVED_AFTER).await;
        if let Some(pid) = pid_of(&child) {
            kill_process(pid, Signal::TERM)?;
        }
        timeout(ARCHIVED_WITHIN, child.wait()).await.context("timeout writing the archive")??;
        Ok(std::fs::remove_dir_all(&state)?)
    }

    /// The beginning of a command line, up to the agent's own arguments; temporary files go below `folder`.
    pub(super) fn command(&self, folder: &Path) -> Command {
        let archive = self.archive.iter().map(|archive| format!("-XX:SharedArchiveFile={}", archive.display()));
        self.command_with(&archive.collect::<Vec<_>>(), folder)
    }

    fn command_with(&self, more: &[String], folder: &Path) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        // The agent ends with this process, whatever that one dies of.
        if let Some(setpriv) = setpriv() {
            words.extend([setpriv.into(), "--pdeathsig".into(), "KILL".into(), "--".into()]);
        }
        words.push(self.java.clone().into());
        words.extend(FLAGS.iter().map(OsString::from));
        words.extend(more.iter().map(OsString::from));
        words.push(format!("-Djava.io.tmpdir={}", folder.display()).into());
        words.extend(["-jar".into(), self.jar.clone().into()]);
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).kill_on_drop(true);
        // Options from a developer's shell would print a line and change what is measured.
        command.env_remove("JAVA_TOOL_OPTIONS").env_remove("_JAVA_OPTIONS");
        command
    }
}

/// Starts a process from a thread that lives as long as this process: the signal at a parent's death is sent when the *thread*
/// that started the child ends, and a runtime's threads come and go.
pub(super) async fn spawn(command: Command) -> io::Result<Child> {
    type Wanted = (Command, Handle, oneshot::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Wanted>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, wanted) = mpsc::channel::<Wanted>();
        std::thread::spawn(move || {
            for (mut command, runtime, answer) in wanted {
                let _entered = runtime.enter();
                // Nobody waits any more: the child is dropped, and killed with that.
                drop(answer.send(command.spawn()));
            }
        });
        sender
    });
    let (answer, answered) = oneshot::channel();
    let gone = || io::Error::other("the thread that starts host agents has ended");
    spawner.send((command, Handle::current(), answer)).map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}

/// The pid of a child that was not waited for.
pub(super) fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn setpriv() -> Option<&'static PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(|| on_path("setpriv")).as_ref()
}

#[cfg(test)]
impl Jvm {
    /// A shell script in place of the agent, for tests of what is around it: `sh SCRIPT -XX... -jar ... ARGUMENTS`.
    pub(super) fn script(script: &Path) -> Self {
        Self { java: script.to_owned(), jar: "agent.jar".into(), archive: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_jar_is_named_with_what_to_do() {
        let error = Jvm::find(Some(Path::new("/nowhere/agent.jar"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/agent.jar") && error.contains("make agent") && error.contains("--agent-jar"), "{error}");
    }
}
