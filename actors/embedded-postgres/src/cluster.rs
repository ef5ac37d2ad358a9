//! The cluster itself: making it, starting and stopping its server, and what its files tell.

use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::binaries::Binaries;
use super::paths::{ServerPaths, create_new, open, own_dir, socket_file};
use super::{DATABASE, Deadline, EmbeddedError, PORT, ServerSettings, USER, blocking};

/// How often a server that is coming up or going down is looked at again.
const STATE_INTERVAL: Duration = Duration::from_millis(50);
/// How long to leave a killed server's processes before the next attempt to start.
const PREDECESSOR_INTERVAL: Duration = Duration::from_millis(500);
/// A server answers on its socket at once unless the machine hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may take from making `postmaster.pid` to writing its id into it.
const PID_FILE_FILL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a server told to go without a checkpoint may take.
const IMMEDIATE_STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Time `pg_ctl` may take on top of its wait for the server.
const PG_CTL_OVERHEAD: Duration = Duration::from_secs(5);
/// The log is cut when it gets longer.
const LOG_LIMIT_BYTES: u64 = 10 * 1024 * 1024;
/// Length of the log excerpt in an error.
const LOG_TAIL_BYTES: u64 = 4096;
const LOG_TAIL_LINES: usize = 15;
/// The folders an interrupted `initdb` leaves begin with this; a number follows.
const INIT_PREFIX: &str = "data.init.";
/// Log line of a server while processes of a killed predecessor are still ending.
const PREDECESSOR_LEAVING: &str = "pre-existing shared memory block";

/// A cluster and the programs that run it.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    paths: ServerPaths,
    binaries: Binaries,
}

/// State of the server according to a lock file such as `postmaster.pid`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is no server, though a leftover file may say otherwise, which PostgreSQL sorts out.
    Down,
    /// The file names a living process that is not the server; PostgreSQL would not start.
    Stale,
    /// The file is there and says nothing yet.
    Empty,
    /// The server is up or on its way up or down.
    Running {
        /// Folder of its socket.
        socket_dir: PathBuf,
        /// Whether it takes connections.
        ready: bool,
    },
}

impl Cluster {
    /// Finds the programs for the cluster in `paths`, which need not exist yet.
    pub(super) async fn open(paths: ServerPaths, bin_dir: Option<&Path>) -> Result<Self, EmbeddedError> {
        let version_file = paths.data().join("PG_VERSION");
        let major = blocking(move || Ok(std::fs::read_to_string(version_file).ok())).await?.and_then(|text| text.trim().parse().ok());
        let binaries = Binaries::find(bin_dir, major, &paths.runner()).await?;
        Ok(Self { paths, binaries })
    }

    pub(super) fn paths(&self) -> &ServerPaths {
        &self.paths
    }

    /// Makes the cluster with its database. It gets its name only when complete, so that an
    /// interruption at any point leaves nothing that looks like a cluster.
    pub(super) async fn create_if_missing(&self, durable: bool, deadline: Deadline) -> Result<(), EmbeddedError> {
        let paths = self.paths.clone();
        let Some(name) = blocking(move || new_init_dir(&paths)).await? else {
            return Ok(());
        };
        tracing::info!(
            folder = %self.paths.base().display(),
            version = self.binaries.major(),
            "making a PostgreSQL cluster"
        );
        self.initdb(&name, durable, deadline).await?;

        let single = ["--single", "-D", &name, "-c", "exit_on_error=on", "postgres"];
        let sql = format!("CREATE DATABASE {DATABASE};\n");
        let postgres = self.binaries.program("postgres");
        let runner = self.paths.runner();
        let finished = runner.run(&postgres, single, &sql, deadline).await?;
        if !finished.status.success() {
            return Err(finished.error("postgres --single", String::new()));
        }

        let paths = self.paths.clone();
        blocking(move || finish_init(&paths, &name)).await
    }

    async fn initdb(&self, name: &str, durable: bool, deadline: Deadline) -> Result<(), EmbeddedError> {
        let program = self.binaries.program("initdb");
        // Sorting by code point never changes under an index when the C library does; upper and
        // lower case of all letters needs C.UTF-8, which old systems lack.
        for ctype in ["--lc-ctype=C.UTF-8", "--lc-ctype=C"] {
            let args = [
                "-D",
                name,
                "-U",
                USER,
                "--encoding=UTF8",
                "--locale=C",
                ctype,
                "--data-checksums",
                "--auth-local=trust",
                "--auth-host=reject",
                "--no-instructions",
            ];
            let args = args.into_iter().chain((!durable).then_some("--no-sync"));
            let finished = self.paths.runner().run(&program, args, "", deadline).await?;
            if finished.status.success() {
                return Ok(());
            }
            if ctype.ends_with("=C") || !finished.stderr.contains("locale") {
                return Err(finished.error("initdb", String::new()));
            }
        }
        Ok(())
    }

    /// Starts the server unless it runs, waits until it takes connections and returns its socket
    /// folder. The caller holds the start lock.
    pub(super) async fn start(&self, settings: &ServerSettings, deadline: Deadline) -> Result<PathBuf, EmbeddedError> {
        let begun = Instant::now();
        let mut launched = false;
        loop {
            match self.state().await? {
                State::Running { socket_dir, ready } => {
                    if ready && answers(&socket_dir).await {
                        let folder = self.paths.base().display();
                        if launched {
                            tracing::info!(%folder, "PostgreSQL started");
                        } else {
                            tracing::info!(%folder, "PostgreSQL was running already");
                        }
                        return Ok(socket_dir);
                    }
                }
                State::Empty if begun.elapsed() < PID_FILE_FILL_TIMEOUT => {}
                State::Empty | State::Stale => self.remove_pid_file().await?,
                State::Down => {
                    self.launch(settings, deadline).await?;
                    launched = true;
                }
            }
            if deadline.is_over() {
                let what = format!("PostgreSQL in {} to take connections", self.paths.base().display());
                return Err(deadline.error(what, self.log_tail(0).await));
            }
            tokio::time::sleep(STATE_INTERVAL).await;
        }
    }

    /// One attempt; `Ok` also when another look at the state is worth it.
    async fn launch(&self, settings: &ServerSettings, deadline: Deadline) -> Result<(), EmbeddedError> {
        let log_start = {
            let (paths, settings) = (self.paths.clone(), settings.clone());
            blocking(move || prepare_start(&paths, &settings)).await?
        };
        // pg_ctl hands paths to a shell, which would read ours wrongly if they had a `$` or a
        // quote; relative names are safe.
        let seconds = deadline.left().as_secs().max(1).to_string();
        let args = ["start", "-D", "data", "-l", "server.log", "-w", "-s", "-t", &seconds];
        let patience = Deadline::after(deadline.left() + PG_CTL_OVERHEAD);
        let finished = self.pg_ctl(args, patience).await?;
        if finished.status.success() || matches!(self.state().await?, State::Running { .. }) {
            return Ok(());
        }
        let log = self.log_tail(log_start).await;
        if log.contains(PREDECESSOR_LEAVING) && !deadline.is_over() {
            tokio::time::sleep(PREDECESSOR_INTERVAL).await;
            return Ok(());
        }
        Err(finished.error("pg_ctl start", log))
    }

    /// Stops the server if it runs. The caller holds the start lock.
    pub(super) async fn stop(&self, timeout: Duration) -> Result<(), EmbeddedError> {
        for (mode, timeout) in [("fast", timeout), ("immediate", IMMEDIATE_STOP_TIMEOUT)] {
            let State::Running { socket_dir, .. } = self.state().await? else {
                return Ok(());
            };
            let seconds = timeout.as_secs().max(1).to_string();
            let args = ["stop", "-D", "data", "-m", mode, "-w", "-s", "-t", &seconds];
            let patience = Deadline::after(timeout + PG_CTL_OVERHEAD);
            let finished = self.pg_ctl(args, patience).await?;
            if finished.status.success() || !matches!(self.state().await?, State::Running { .. }) {
                tracing::info!(folder = %self.paths.base().display(), mode, "PostgreSQL stopped");
                // Only an emptied folder goes, and the next start makes it anew.
                let _ = tokio::fs::remove_dir(socket_dir).await;
                return Ok(());
            }
            let cause = finished.error("pg_ctl stop", String::new());
            tracing::warn!(event = "database.not_stopped", mode, %cause);
        }
        let what = format!("PostgreSQL in {} to stop", self.paths.base().display());
        let deadline = Deadline::after(timeout + IMMEDIATE_STOP_TIMEOUT);
        Err(deadline.error(what, self.log_tail(0).await))
    }

    async fn pg_ctl<const N: usize>(&self, args: [&str; N], deadline: Deadline) -> Result<super::command::CommandOutput, EmbeddedError> {
        let program = self.binaries.program("pg_ctl");
        self.paths.runner().run(&program, args, "", deadline).await
    }

    async fn state(&self) -> Result<State, EmbeddedError> {
        let data = self.paths.data();
        blocking(move || read_state(&data.join("postmaster.pid"), &data)).await
    }

    async fn remove_pid_file(&self) -> Result<(), EmbeddedError> {
        let file = self.paths.data().join("postmaster.pid");
        tracing::warn!(event = "database.leftover_removed", file = %file.display(), cause = "a crash");
        blocking(move || remove_file(&file)).await
    }

    /// Cuts the log when it is too long. Failure is only logged.
    pub(super) async fn rotate_log(&self) {
        let paths = self.paths.clone();
        if let Err(error) = blocking(move || rotate_log(&paths, LOG_LIMIT_BYTES)).await {
            tracing::warn!(event = "database.log_not_cut", cause = %error);
        }
    }

    /// The last lines of the log behind a byte position, as the end of an error message.
    async fn log_tail(&self, from: u64) -> String {
        let log = self.paths.log();
        let tail = {
            let log = log.clone();
            blocking(move || read_tail(&log, from).map_err(EmbeddedError::io("read", &log))).await
        };
        match tail {
            Ok(tail) if tail.is_empty() => format!("; {} has no new lines", log.display()),
            Ok(tail) => format!("; the end of {}:\n{tail}", log.display()),
            Err(error) => format!("; {error}"),
        }
    }
}

/// Makes an empty folder for `initdb`, or returns `None` when there is a cluster.
fn new_init_dir(paths: &ServerPaths) -> Result<Option<String>, EmbeddedError> {
    let base = paths.base();
    let mut number = 0;
    let entries = std::fs::read_dir(base).map_err(EmbeddedError::io("list", base))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let left = name.to_str().and_then(|name| name.strip_prefix(INIT_PREFIX));
        let Some(left) = left.and_then(|left| left.parse::<u32>().ok()) else {
            continue;
        };
        // Its initdb may have outlived our predecessor and still write, so its name stays unused.
        number = number.max(left.saturating_add(1));
        if let Err(error) = std::fs::remove_dir_all(entry.path()) {
            let folder = entry.path();
            tracing::warn!(event = "database.half_made_not_removed", folder = %folder.display(), cause = %error);
        }
    }
    let data = paths.data();
    if data.join("PG_VERSION").exists() {
        return Ok(None);
    }
    match std::fs::read_dir(&data).map(|mut entries| entries.next().is_none()) {
        Ok(false) => return Err(EmbeddedError::NotACluster { path: data }),
        Ok(true) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(EmbeddedError::io("list", &data)(error)),
    }
    let name = format!("{INIT_PREFIX}{number}");
    own_dir(&base.join(&name), 0o700, paths.server_owner())?;
    Ok(Some(name))
}

/// Includes our settings and gives the cluster its name.
fn finish_init(paths: &ServerPaths, name: &str) -> Result<(), EmbeddedError> {
    let from = paths.base().join(name);
    let conf = from.join("postgresql.conf");
    open(&conf, OFlags::WRONLY | OFlags::APPEND)
        .and_then(|mut file| {
            file.write_all(b"\ninclude '../nexmdm.conf'\t# written by nexmdm at each start\n")?;
            file.sync_all()
        })
        .map_err(EmbeddedError::io("write", &conf))?;
    let to = paths.data();
    std::fs::rename(&from, &to).map_err(EmbeddedError::io("make", &to))?;
    open(paths.base(), OFlags::RDONLY | OFlags::DIRECTORY).and_then(|dir| dir.sync_all()).map_err(EmbeddedError::io("write", paths.base()))
}

/// Writes the settings, makes the socket folder and the log, and returns the log's length.
fn prepare_start(paths: &ServerPaths, settings: &ServerSettings) -> Result<u64, EmbeddedError> {
    let conf = paths.conf();
    let new_conf = paths.base().join("nexmdm.conf.new");
    remove_file(&new_conf)?;
    create_new(&new_conf, 0o640, paths.shared_owner())
        .and_then(|mut file| file.write_all(conf_text(settings, paths.socket_dir()).as_bytes()))
        .and_then(|()| std::fs::rename(&new_conf, &conf))
        .map_err(EmbeddedError::io("write", &conf))?;

    own_dir(paths.socket_dir(), 0o700, paths.server_owner())?;
    let mut socket_lock = socket_file(paths.socket_dir()).into_os_string();
    socket_lock.push(".lock");
    let socket_lock = Path::new(&socket_lock);
    if let State::Stale | State::Empty = read_state(socket_lock, &paths.data())? {
        remove_file(socket_lock)?;
    }

    rotate_log(paths, LOG_LIMIT_BYTES)?;
    let log = paths.log();
    match create_new(&log, 0o600, paths.server_owner()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open(&log, OFlags::RDONLY),
        created => created,
    }
    .and_then(|file| Ok(file.metadata()?.len()))
    .map_err(EmbeddedError::io("open", &log))
}

fn remove_file(path: &Path) -> Result<(), EmbeddedError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EmbeddedError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The text of `nexmdm.conf`.
pub(super) fn conf_text(settings: &ServerSettings, socket_dir: &Path) -> String {
    let ServerSettings { max_connections, shared_buffers_mb, work_mem_mb, max_wal_size_mb, durable } = settings;
    let durable = if *durable { "on" } else { "off" };
    // A list of folders: each may be quoted for itself, and then the whole is a quoted string.
    let socket_dir = socket_dir.to_string_lossy().replace('"', r#""""#);
    let socket_dir = conf_string(&format!("\"{socket_dir}\""));
    format!(
        "# Written by nexmdm at each start of the server: changes in this file are lost.\n\
         cluster_name = 'nexmdm'\n\
         listen_addresses = ''\n\
         unix_socket_directories = {socket_dir}\n\
         unix_socket_permissions = 0700\n\
         port = {PORT}\n\
         max_connections = {max_connections}\n\
         shared_buffers = {shared_buffers_mb}MB\n\
         work_mem = {work_mem_mb}MB\n\
         fsync = {durable}\n\
         synchronous_commit = {durable}\n\
         full_page_writes = {durable}\n\
         wal_compression = on\n\
         max_wal_size = {max_wal_size_mb}MB\n\
         checkpoint_timeout = 15min\n\
         checkpoint_completion_target = 0.9\n\
         log_destination = 'stderr'\n\
         logging_collector = off\n\
         log_line_prefix = '%m [%p] '\n\
         log_timezone = 'UTC'\n\
         timezone = 'UTC'\n\
         lc_messages = 'C'\n"
    )
}

fn conf_string(text: &str) -> String {
    let text = text.replace('\\', r"\\").replace('\'', "''").replace('\n', r"\n");
    format!("'{text}'")
}

/// Reads the server's lock file `path` and looks at the process it names.
fn read_state(path: &Path, data: &Path) -> Result<State, EmbeddedError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Down),
        read => read.map_err(EmbeddedError::io("read", path))?,
    };
    let Some((pid, running)) = parse_pid_file(&text) else {
        return Ok(State::Empty);
    };
    match test_kill_process(pid) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(_) => return Ok(State::Down),
    }
    // After a crash of the machine or its container the number can be anybody's.
    Ok(if is_server(pid, data) { running } else { State::Stale })
}

/// The process id in a lock file and the state the rest tells if that process is the server.
pub(super) fn parse_pid_file(text: &str) -> Option<(Pid, State)> {
    let lines: Vec<&str> = text.lines().collect();
    // A server without clients (`postgres --single`) notes its id as a negative number.
    let pid: i32 = lines.first()?.trim().parse().ok()?;
    let pid = Pid::from_raw(pid.checked_abs()?)?;
    let socket_dir = PathBuf::from(lines.get(4).copied().unwrap_or_default());
    let ready = lines.get(7).is_some_and(|status| status.trim() == "ready");
    Some((pid, State::Running { socket_dir, ready }))
}

/// Whether a living process is the server of the cluster in `data`: it works in that folder, or
/// if we may not know, has the name of a server.
fn is_server(pid: Pid, data: &Path) -> bool {
    let proc = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    if let Ok(working_dir) = std::fs::read_link(proc.join("cwd")) {
        return working_dir == data;
    }
    match std::fs::read_to_string(proc.join("comm")) {
        Ok(name) => ["postgres", "postmaster"].contains(&name.trim()),
        Err(_) => true,
    }
}

/// Whether a server speaks PostgreSQL on the socket.
async fn answers(socket_dir: &Path) -> bool {
    /// "May I use TLS?": the question a server answers with one byte before anything else.
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    let ask = async {
        let mut socket = UnixStream::connect(socket_file(socket_dir)).await?;
        socket.write_all(&SSL_REQUEST).await?;
        socket.read_u8().await
    };
    matches!(tokio::time::timeout(ANSWER_TIMEOUT, ask).await, Ok(Ok(b'N' | b'S')))
}

/// Copies a log over the limit aside and empties it. The server appends, so it goes on at the new
/// beginning; what it writes between the two steps is lost.
pub(super) fn rotate_log(paths: &ServerPaths, limit_bytes: u64) -> Result<(), EmbeddedError> {
    let (log, old_log) = (paths.log(), paths.old_log());
    let mut file = match open(&log, OFlags::RDWR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(EmbeddedError::io("open", &log))?,
    };
    // Another user of the server may be at it: then there is nothing left to do.
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let length = file.metadata().map_err(EmbeddedError::io("look at", &log))?.len();
    if length <= limit_bytes {
        return Ok(());
    }
    remove_file(&old_log)?;
    create_new(&old_log, 0o600, paths.server_owner())
        .and_then(|mut old| io::copy(&mut file, &mut old))
        .map_err(EmbeddedError::io("write", &old_log))?;
    file.set_len(0).map_err(EmbeddedError::io("empty", &log))
}

fn read_tail(log: &Path, from: u64) -> io::Result<String> {
    let mut file = open(log, OFlags::RDONLY)?;
    let start = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES).max(from);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n"))
}
