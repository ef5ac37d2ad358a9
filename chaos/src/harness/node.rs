//! A `nexmdm` process that can be started, watched, stopped, killed, suspended and restarted.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{TempDir, find_postmaster, free_port};
use crate::http::{Call, Http, HttpLimits, ServerUrl};

/// Poll interval of a process and of `/readyz`.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Stop timeout on drop, after which the node is killed.
const DROP_WITHIN: Duration = Duration::from_secs(5);
/// Time limit for suspending a process.
const FREEZE_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of the log that an error shows.
const LOG_TAIL_BYTES: usize = 4_096;

/// Options of a node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The `nexmdm` binary.
    pub binary: PathBuf,
    /// Password of `admin`.
    pub admin_password: String,
    /// Database URL instead of a private database.
    pub database_url: Option<String>,
    /// Environment variables, e.g. `NEXMDM__DEVICES__HEARTBEAT_INTERVAL_S`.
    pub env: Vec<(String, String)>,
    /// Parent of the temporary data folder; the system default otherwise.
    pub parent_dir: Option<PathBuf>,
    /// Persistent data folder; a temporary one otherwise.
    pub kept_dir: Option<PathBuf>,
    /// Address of its HTTP listener.
    pub host: Ipv4Addr,
    /// Arguments before the binary on its command line, e.g. to enter a network namespace; it
    /// must become the node's process.
    pub enter: Vec<String>,
    /// Port of its HTTP listener; one that is free otherwise.
    pub port: Option<u16>,
    /// Deadline of `/readyz`.
    pub ready_within: Duration,
    /// Deadline of a stop.
    pub stop_within: Duration,
}

impl NodeOptions {
    /// Options with a private database.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            admin_password: "correct-horse-battery-staple".into(),
            database_url: None,
            env: Vec::new(),
            parent_dir: None,
            kept_dir: None,
            host: Ipv4Addr::LOCALHOST,
            enter: Vec::new(),
            port: None,
            ready_within: Duration::from_secs(60),
            stop_within: Duration::from_secs(15),
        }
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Sets an existing database.
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.database_url = Some(url.into());
        self
    }
}

/// Node process and its folder; both are removed on drop.
pub struct Node {
    options: NodeOptions,
    port: u16,
    data_dir: PathBuf,
    log_path: PathBuf,
    child: Option<Child>,
    // Dropped last: the process must be gone before its folder.
    _folder: Option<TempDir>,
}

impl Node {
    /// Starts a node and waits until it is ready.
    pub async fn start(options: NodeOptions) -> Result<Self> {
        let mut node = Self::spawn(options)?;
        node.wait_ready().await?;
        Ok(node)
    }

    /// Starts a node without waiting, for tests of what happens before.
    pub fn spawn(options: NodeOptions) -> Result<Self> {
        let (path, folder) = match (&options.kept_dir, &options.parent_dir) {
            (Some(kept), _) => (kept.clone(), None),
            (None, Some(parent)) => temporary(TempDir::below(parent, "node"))?,
            (None, None) => temporary(TempDir::new("node"))?,
        };
        let data_dir = path.join("data");
        fs::create_dir_all(&data_dir).context("cannot make a folder for the node")?;
        fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o755))?;
        let port = options.port.map_or_else(free_port, Ok)?;
        let mut node = Self { port, data_dir, log_path: path.join("node.log"), child: None, options, _folder: folder };
        node.launch()?;
        Ok(node)
    }

    fn launch(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log_path)?;
        let mut words = self.options.enter.iter().map(OsStr::new).chain([self.options.binary.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        clear_settings(&mut command);
        command
            .env("NEXMDM__HTTP__LISTEN", format!("{}:{}", self.options.host, self.port))
            // On whichever address: what is measured is read from there.
            .env("NEXMDM__METRICS__ACCESS", "open")
            .env("NEXMDM__DATA_DIR", &self.data_dir)
            .env("NEXMDM__ADMIN__INITIAL_PASSWORD", &self.options.admin_password)
            .envs(self.options.env.iter().map(|(name, value)| (name, value)));
        if let Some(url) = &self.options.database_url {
            command.env("DATABASE_URL", url);
        }
        // Not in a folder that may contain a config file.
        command.current_dir(self.data_dir.parent().unwrap_or(&self.data_dir));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let binary = self.options.binary.display();
        self.child = Some(command.spawn().with_context(|| format!("cannot start {binary}"))?);
        Ok(())
    }

    /// Waits for `GET /readyz` to be 200; an error shows the end of the log.
    pub async fn wait_ready(&mut self) -> Result<Duration> {
        let limits = HttpLimits { connections: 1, timeout: Duration::from_secs(2), ..HttpLimits::default() };
        let http = Http::new(self.server_url()?, limits);
        let started = Instant::now();
        loop {
            if http.send(Call::get("/readyz")).await.is_ok_and(|answer| answer.status == 200) {
                return Ok(started.elapsed());
            }
            if let Some(status) = self.exit_status()? {
                bail!("the node exited ({status}) before it was ready; end of its log:\n{}", self.log_tail());
            }
            if started.elapsed() > self.options.ready_within {
                bail!("the node was not ready within {:?}; end of its log:\n{}", self.options.ready_within, self.log_tail());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.options.host, self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Password of `admin`.
    pub fn admin_password(&self) -> &str {
        &self.options.admin_password
    }

    /// Options for the next start.
    pub fn options_mut(&mut self) -> &mut NodeOptions {
        &mut self.options
    }

    /// Process id; `None` when it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Log of standard output and standard error, across restarts.
    pub fn log(&self) -> String {
        fs::read(&self.log_path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// SIGKILL; a private PostgreSQL keeps running, as in production.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for the end within the timeout.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + self.options.stop_within;
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the node did not exit within {:?}; end of its log:\n{}", self.options.stop_within, self.log_tail());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// SIGTERM, without waiting.
    pub fn send_terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// SIGSTOP. Returns once every thread is stopped, which may be a moment after the signal.
    pub fn suspend(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let deadline = Instant::now() + FREEZE_WITHIN;
        while !self.pid().is_some_and(is_stopped) {
            ensure!(Instant::now() < deadline, "the node does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Whether the process exists, suspended or not.
    pub fn is_running(&mut self) -> bool {
        matches!(self.exit_status(), Ok(None))
    }

    /// Starts without waiting, when it does not run.
    pub fn start_again(&mut self) -> Result<()> {
        if self.is_running() { Ok(()) } else { self.launch() }
    }

    /// Starts again with the same port and data, after a `terminate` if it still
    /// runs; the time until it was ready.
    pub async fn restart(&mut self) -> Result<Duration> {
        if self.child.is_some() {
            self.terminate().await?;
        }
        self.launch()?;
        self.wait_ready().await
    }

    fn server_url(&self) -> Result<ServerUrl> {
        self.url().parse().map_err(anyhow::Error::msg)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // The child is not waited for as long as it is held here, so its pid is its own.
        let child = self.child.as_ref().context("the node is not running")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// Status of an ended process, which is then released.
    fn exit_status(&mut self) -> io::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Err(io::Error::other("the node is not running")) };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let start = log.len().saturating_sub(LOG_TAIL_BYTES);
        let start = (start..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
        log[start..].to_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.child.is_some() {
            // A suspended process handles SIGTERM only after SIGCONT.
            let _ = self.resume().and_then(|()| self.signal(Signal::TERM));
            let deadline = Instant::now() + DROP_WITHIN;
            while matches!(self.exit_status(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(LOOK_EVERY);
            }
            let _ = self.kill9();
        }
        if let Some(postmaster) = find_postmaster(&self.data_dir) {
            postmaster.stop();
        }
    }
}

/// Removes settings of the environment, so that only explicit ones reach a node.
pub(super) fn clear_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NEXMDM__") || name == "DATABASE_URL" {
            command.env_remove(name);
        }
    }
}

fn temporary(folder: io::Result<TempDir>) -> Result<(PathBuf, Option<TempDir>)> {
    let folder = folder.context("cannot make a folder for the node")?;
    Ok((folder.path().to_owned(), Some(folder)))
}

/// Whether all threads of a process are stopped, as `/proc` has it.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let mut stats = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    // The state follows the name, which may contain anything.
    stats.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't'])))
}

/// Path of `nexmdm`: `NEXMDM_BIN`, or beside the running executable, whose
/// folder for tests is one deeper.
pub fn nexmdm_path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NEXMDM_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("nexmdm")).find(|path| path.is_file());
    found.with_context(|| format!("no nexmdm beside {}: build it, or name it in NEXMDM_BIN", own.display()))
}
