//! Process of a host agent: started, watched, killed and stopped, and restarted when its platform demands it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, Utc};
use rustix::process::{Signal, kill_process};
use std::os::unix::process::ExitStatusExt;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::halt::HaltPoint;
use super::jvm::{Jvm, pid_of, spawn};
use crate::clock::now;

/// Exit code after an update or a reboot: the process is to be restarted, as Android does.
const EXIT_RESTART: i32 = 75;
/// Exit code of `Runtime.halt` at the halt point.
const EXIT_HALTED: i32 = 137;
/// Stop timeout after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// Consecutive restarts of short-lived processes after which an agent is considered broken.
const RESTARTS_MAX: u32 = 5;
const SHORT_LIFE: Duration = Duration::from_secs(3);
/// Bytes of the log that an error shows.
const LOG_TAIL_BYTES: usize = 2_048;

/// Options of a host agent.
#[derive(Clone)]
pub struct HostAgentOptions {
    /// Name of the device.
    pub alias: String,
    /// Addresses of the nodes, the preferred one first.
    pub servers: Vec<String>,
    /// Enrollment token; none when the device is enrolled.
    pub token: Option<String>,
    /// Folder of this agent: state, profile, log.
    pub folder: PathBuf,
    /// Record for the oracle.
    pub record: PathBuf,
    /// Heartbeat interval; that of the server otherwise.
    pub interval: Option<Duration>,
}

impl HostAgentOptions {
    /// Folder of the agent state and of the simulated platform.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// File of the device properties.
    pub fn profile(&self) -> PathBuf {
        self.folder.join("profile.json")
    }

    /// Log with a JSON line per event, across starts.
    pub fn log(&self) -> PathBuf {
        self.folder.join("agent.log")
    }

    fn arguments(&self, halt_at: Option<&HaltPoint>) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut words = vec!["--server".to_owned(), self.servers.join(",")];
        if let Some(token) = &self.token {
            words.extend(["--token".to_owned(), token.clone()]);
        }
        words.extend(["--state".into(), path(&self.state_dir()), "--device-profile".into(), path(&self.profile())]);
        words.extend(["--alias".into(), self.alias.clone(), "--record".into(), path(&self.record)]);
        if let Some(interval) = self.interval {
            words.extend([
                "--interval".into(),
                match interval.subsec_millis() {
                    0 => format!("{}s", interval.as_secs()),
                    _ => format!("{}ms", interval.as_millis()),
                },
            ]);
        }
        if let Some(point) = halt_at {
            words.extend(["--halt-at".into(), point.to_string()]);
        }
        words
    }
}

/// Reason for the end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// Exit 0 after SIGTERM.
    Stopped,
    /// kill -9 from here.
    Killed,
    /// Halted at its halt point.
    Halted(HaltPoint),
    /// Restarted at once after an update or a reboot.
    Restarted,
    /// Any other end, with a description.
    Unexpected(String),
}

/// The end of a process.
#[derive(Debug, Clone)]
pub struct ProcessExit {
    /// Time.
    pub at: DateTime<Utc>,
    /// Reason.
    pub reason: ExitReason,
}

enum Request {
    Start { halt_at: Option<HaltPoint>, answer: oneshot::Sender<Result<()>> },
    Kill { answer: oneshot::Sender<Result<()>> },
    Stop { answer: oneshot::Sender<Result<()>> },
}

/// Host agent, running or not; its process is killed on drop.
pub struct HostAgent {
    options: HostAgentOptions,
    requests: mpsc::Sender<Request>,
    exits: Arc<Mutex<Vec<ProcessExit>>>,
    running: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl HostAgent {
    /// An agent that is not started yet.
    pub fn new(jvm: &Jvm, options: HostAgentOptions) -> Self {
        let (requests, received) = mpsc::channel(1);
        let (is_running, running) = watch::channel(false);
        let exits = Arc::default();
        let supervisor =
            Supervisor { jvm: jvm.clone(), options: options.clone(), requests: received, exits: Arc::clone(&exits), is_running };
        Self { options, requests, exits, running, task: tokio::spawn(supervisor.run()) }
    }

    /// Options of the agent.
    pub fn options(&self) -> &HostAgentOptions {
        &self.options
    }

    /// Starts its process, which halts at this point if one is given.
    ///
    /// # Errors
    /// It runs already, or cannot be started.
    pub async fn start(&self, halt_at: Option<HaltPoint>) -> Result<()> {
        self.ask(|answer| Request::Start { halt_at, answer }).await
    }

    /// kill -9, and waits for the end; nothing if it does not run.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub async fn kill(&self) -> Result<()> {
        self.ask(|answer| Request::Kill { answer }).await
    }

    /// SIGTERM, and waits for exit code 0; nothing if it does not run.
    ///
    /// # Errors
    /// It ended otherwise, or not in time; it is gone nevertheless.
    pub async fn stop(&self) -> Result<()> {
        self.ask(|answer| Request::Stop { answer }).await
    }

    /// Whether its process is there.
    pub fn is_running(&self) -> bool {
        *self.running.borrow()
    }

    /// Returns once its process is not there and is not started again by itself.
    pub async fn until_ended(&self) {
        // Without a supervisor there is no process either.
        let _ = self.running.clone().wait_for(|running| !*running).await;
    }

    /// All ends so far, in order.
    pub fn exits(&self) -> Vec<ProcessExit> {
        lock(&self.exits).clone()
    }

    async fn ask(&self, request: impl FnOnce(oneshot::Sender<Result<()>>) -> Request) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let name = || format!("host agent {}", self.options.alias);
        self.requests.send(request(answer)).await.ok().with_context(name)?;
        answered.await.with_context(name)?.with_context(name)
    }
}

impl Drop for HostAgent {
    fn drop(&mut self) {
        // The child is killed when its supervisor is dropped.
        self.task.abort();
    }
}

fn lock(exits: &Mutex<Vec<ProcessExit>>) -> MutexGuard<'_, Vec<ProcessExit>> {
    exits.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Owner of the process: a single task, so that no pid is used after its end.
struct Supervisor {
    jvm: Jvm,
    options: HostAgentOptions,
    requests: mpsc::Receiver<Request>,
    exits: Arc<Mutex<Vec<ProcessExit>>>,
    is_running: watch::Sender<bool>,
}

impl Supervisor {
    async fn run(mut self) {
        while let Some(request) = self.requests.recv().await {
            match request {
                Request::Start { halt_at, answer } => match self.launch(halt_at.as_ref()).await {
                    Ok(child) => {
                        self.is_running.send_replace(true);
                        let _ = answer.send(Ok(()));
                        self.watch(child, halt_at).await;
                        self.is_running.send_replace(false);
                    }
                    Err(error) => drop(answer.send(Err(error))),
                },
                Request::Kill { answer } | Request::Stop { answer } => drop(answer.send(Ok(()))),
            }
        }
    }

    async fn launch(&self, halt_at: Option<&HaltPoint>) -> Result<Child> {
        let (options, temporary) = (&self.options, self.options.folder.join("tmp"));
        for folder in [options.state_dir(), temporary.clone()] {
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let log = OpenOptions::new().create(true).append(true).open(options.log())?;
        let errors = OpenOptions::new().create(true).append(true).open(options.folder.join("stderr.log"))?;
        let mut command = self.jvm.command(&temporary);
        command.args(options.arguments(halt_at)).current_dir(&options.folder);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        spawn(command).await.context("cannot be started")
    }

    /// Supervises the process from a start to an end that is not a restart by the platform.
    async fn watch(&mut self, mut child: Child, halt_at: Option<HaltPoint>) {
        let (mut restarts, mut started_at) = (0, Instant::now());
        loop {
            let reason = tokio::select! {
                biased;
                status = child.wait() => self.reason(status, halt_at.as_ref()),
                request = self.requests.recv() => match request {
                    Some(Request::Start { answer, .. }) => {
                        let _ = answer.send(Err(anyhow::anyhow!("runs already")));
                        continue;
                    }
                    Some(Request::Kill { answer }) => {
                        let killed = child.kill().await.context("cannot be killed");
                        self.note(ExitReason::Killed);
                        return drop(answer.send(killed));
                    }
                    Some(Request::Stop { answer }) => {
                        let stopped = self.stop(&mut child).await;
                        return drop(answer.send(stopped));
                    }
                    // No owner is left: the process is killed on drop.
                    None => return,
                },
            };
            self.note(reason.clone());
            if reason != ExitReason::Restarted {
                return;
            }
            restarts = if started_at.elapsed() < SHORT_LIFE { restarts + 1 } else { 0 };
            let again = if restarts < RESTARTS_MAX { self.launch(halt_at.as_ref()).await } else { Err(anyhow::anyhow!("too often")) };
            match again {
                Ok(started) => (child, started_at) = (started, Instant::now()),
                Err(error) => return self.note(ExitReason::Unexpected(format!("not restarted: {error:#}"))),
            }
        }
    }

    async fn stop(&self, child: &mut Child) -> Result<()> {
        if let Some(pid) = pid_of(child) {
            kill_process(pid, Signal::TERM)?;
        }
        let Ok(status) = timeout(STOP_WITHIN, child.wait()).await else {
            child.kill().await?;
            self.note(ExitReason::Unexpected("killed: it took no notice of SIGTERM".into()));
            bail!("did not exit within {STOP_WITHIN:?} of SIGTERM; {}", self.log_tail());
        };
        let status = status?;
        // A concurrent restart may have ended it first.
        let ended_well = matches!(status.code(), Some(0 | EXIT_RESTART));
        self.note(if ended_well { ExitReason::Stopped } else { ExitReason::Unexpected(format!("{status} after SIGTERM")) });
        ensure!(ended_well, "ended with {status} after SIGTERM; {}", self.log_tail());
        Ok(())
    }

    fn reason(&self, status: std::io::Result<ExitStatus>, halt_at: Option<&HaltPoint>) -> ExitReason {
        let Ok(status) = status else { return ExitReason::Unexpected("it cannot be waited for".into()) };
        match (status.code(), status.signal(), halt_at) {
            (Some(EXIT_HALTED), _, Some(point)) => ExitReason::Halted(point.clone()),
            (Some(EXIT_RESTART), ..) => ExitReason::Restarted,
            _ => ExitReason::Unexpected(format!("{status}; {}", self.log_tail())),
        }
    }

    fn note(&self, reason: ExitReason) {
        lock(&self.exits).push(ProcessExit { at: now(), reason });
    }

    fn log_tail(&self) -> String {
        let tail = |path: &Path| {
            let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            let start = text.len().saturating_sub(LOG_TAIL_BYTES);
            let start = (start..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text[start..].trim().to_owned()
        };
        match tail(&self.options.folder.join("stderr.log")) {
            errors if errors.is_empty() => format!("end of its log: {}", tail(&self.options.log())),
            errors => format!("last errors: {errors}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::harness::TempDir;

    /// An agent whose place a shell script takes.
    fn agent(folder: &TempDir, script: &str) -> HostAgent {
        let program = folder.path().join("agent.sh");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let options = HostAgentOptions {
            alias: "jvm-1".into(),
            servers: vec!["http://127.0.0.1:1".into(), "http://127.0.0.1:2".into()],
            token: Some("secret".into()),
            folder: folder.path().to_owned(),
            record: folder.path().join("record.jsonl"),
            interval: Some(Duration::from_secs(3)),
        };
        HostAgent::new(&Jvm::script(&program), options)
    }

    fn reasons(agent: &HostAgent) -> Vec<ExitReason> {
        agent.exits().into_iter().map(|exit| exit.reason).collect()
    }

    #[tokio::test]
    async fn it_gets_its_arguments_and_ends_with_zero_when_it_is_told_to() {
        let folder = TempDir::new("host-agent").unwrap();
        let agent = agent(&folder, "trap 'exit 0' TERM; echo \"$@\"; while :; do sleep 0.02; done");
        agent.start(Some(HaltPoint::new("command.run", 2))).await.unwrap();
        assert!(agent.start(None).await.unwrap_err().to_string().contains("jvm-1") && agent.is_running());
        while fs::read_to_string(agent.options().log()).unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        agent.stop().await.unwrap();
        assert_eq!(reasons(&agent), [ExitReason::Stopped]);
        let told = fs::read_to_string(agent.options().log()).unwrap();
        for words in
            ["-jar agent.jar --server http://127.0.0.1:1,http://127.0.0.1:2 --token secret", "--interval 3s --halt-at command.run#2"]
        {
            assert!(told.contains(words), "{words} in {told}");
        }
        agent.stop().await.unwrap();
        agent.kill().await.unwrap();
    }

    #[tokio::test]
    async fn one_that_its_platform_restarts_is_started_again_at_once_with_the_same_arguments() {
        let folder = TempDir::new("host-agent").unwrap();
        let agent = agent(&folder, "echo start \"$@\"; test -e state/new && exec sleep 60; touch state/new; exit 75");
        agent.start(None).await.unwrap();
        while !fs::read_to_string(agent.options().log()).is_ok_and(|log| log.lines().count() == 2) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let log = fs::read_to_string(agent.options().log()).unwrap();
        let starts: Vec<&str> = log.lines().collect();
        assert_eq!(starts[0], starts[1]);
        agent.kill().await.unwrap();
        assert_eq!(reasons(&agent), [ExitReason::Restarted, ExitReason::Killed]);
        assert!(!agent.is_running());
    }

    #[tokio::test]
    async fn one_that_is_restarted_again_and_again_is_left_alone() {
        let folder = TempDir::new("host-agent").unwrap();
        let agent = agent(&folder, "exit 75");
        agent.start(None).await.unwrap();
        agent.until_ended().await;
        let reasons = reasons(&agent);
        assert!(
            matches!(&reasons[..], [.., ExitReason::Restarted, ExitReason::Unexpected(what)] if what.contains("too often")),
            "{reasons:?}"
        );
    }

    #[tokio::test]
    async fn halts_are_told_from_ends_that_nobody_asked_for() {
        let folder = TempDir::new("host-agent").unwrap();
        let agent = agent(&folder, "test -e state/twice && { echo lost >&2; exit 4; }; touch state/twice; exit 137");
        let point = HaltPoint::new("deliver.ok", 1);
        for halt_at in [Some(point.clone()), None] {
            agent.start(halt_at).await.unwrap();
            agent.until_ended().await;
        }
        let [ExitReason::Halted(at), ExitReason::Unexpected(what)] = &reasons(&agent)[..] else { panic!("{:?}", reasons(&agent)) };
        assert!(*at == point && what.contains('4') && what.ends_with("last errors: lost"), "{what}");
    }

    #[tokio::test]
    async fn one_that_ends_otherwise_after_sigterm_is_an_error() {
        let folder = TempDir::new("host-agent").unwrap();
        let agent = agent(&folder, "trap 'exit 3' TERM; touch state/ready; while :; do sleep 0.02; done");
        agent.start(None).await.unwrap();
        while !agent.options().state_dir().join("ready").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let error = format!("{:#}", agent.stop().await.unwrap_err());
        assert!(error.contains("jvm-1") && error.contains('3'), "{error}");
        assert!(matches!(&reasons(&agent)[..], [ExitReason::Unexpected(_)]));
    }

    #[tokio::test]
    async fn a_dropped_agent_is_killed() {
        let folder = TempDir::new("host-agent").unwrap();
        let agent = agent(&folder, "echo $$ > state/pid; exec sleep 60");
        agent.start(None).await.unwrap();
        let pid = loop {
            match fs::read_to_string(agent.options().state_dir().join("pid")) {
                Ok(pid) if pid.ends_with('\n') => break pid.trim().to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        drop(agent);
        while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
