use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::binaries::parse_major;
use super::cluster::{State, conf_text, parse_pid_file, rotate_log};
use super::paths::{parse_passwd, socket_dir, socket_file};
use super::*;

/// A data folder for one test; a server left in it is killed with it.
struct TestDir(PathBuf);

impl TestDir {
    fn new() -> Self {
        Self::in_folder(&std::env::temp_dir(), 0o755)
    }

    fn in_folder(parent: &Path, mode: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("nexmdm-test-{}-{number}", std::process::id()));
        std::fs::DirBuilder::new().mode(mode).create(&path).unwrap();
        Self(path)
    }

    fn options(&self) -> EmbeddedOptions {
        let mut options = EmbeddedOptions::new(&self.0);
        options.settings.shared_buffers_mb = 16;
        options
    }

    fn data(&self) -> PathBuf {
        self.0.join("postgres/data")
    }

    fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        parse_pid_file(&text).map(|(pid, _)| pid)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::QUIT);
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs one statement and returns what psql prints for it.
async fn sql(postgres: &EmbeddedPostgres, statement: &str) -> String {
    let output = tokio::process::Command::new("psql")
        .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement])
        .arg(postgres.database_url())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Waits until no process has that id.
async fn gone(pid: Pid) {
    let wait = async {
        while rustix::process::test_kill_process(pid).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}

#[test]
fn versions() {
    let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
    assert_eq!(parse_major(debian), Some(15));
    assert_eq!(parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
    assert_eq!(parse_major("postgres (PostgreSQL) 9.6.24"), Some(9));
    assert_eq!(parse_major("initdb (PostgreSQL) 15.1"), None);
    assert_eq!(parse_major("postgres (PostgreSQL) devel"), None);
}

#[test]
fn socket_dirs_fit_an_address() {
    // 107 bytes with "/socket" and "/.s.PGSQL.5432" behind it.
    let fits = PathBuf::from(format!("/{}", "d".repeat(85)));
    let too_long = PathBuf::from(format!("/{}", "d".repeat(86)));
    let run = Path::new("/run/user/1000");
    assert_eq!(socket_dir(&fits, "abc", Some(run)), fits.join("socket"));
    assert_eq!(socket_file(&fits.join("socket")).as_os_str().len(), 107);
    assert_eq!(socket_dir(&too_long, "abc", Some(run)), run.join("nexmdm-abc"));
    let tmp = Path::new("/tmp/nexmdm-abc");
    assert_eq!(socket_dir(&too_long, "abc", None), tmp);
    assert_eq!(socket_dir(&too_long, "abc", Some(&too_long)), tmp);
    assert_eq!(socket_dir(&too_long, "abc", Some(Path::new("run"))), tmp);
}

#[test]
fn settings_text() {
    let settings = ServerSettings { max_connections: 77, ..ServerSettings::default() };
    let text = conf_text(&settings, Path::new(r#"/a'b"c\d"#));
    assert!(text.contains("\nmax_connections = 77\n"));
    assert!(text.contains("\nmax_wal_size = 2048MB\n"));
    assert!(text.contains("\nlisten_addresses = ''\n"));
    let quoted = r#"unix_socket_directories = '"/a''b""c\\d"'"#;
    assert!(text.contains(quoted), "{text}");
}

#[test]
fn passwd_lines() {
    let text = "root:x:0:0:root:/root:/bin/sh\nbroken\ntoor:x:0:0::/:\n\
                postgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
    let user = parse_passwd(text, "postgres").unwrap();
    assert_eq!((user.uid, user.gid), (101, 104));
    assert_eq!(parse_passwd(text, "nobody"), None);
    assert_eq!(parse_passwd(text, "toor"), None);
}

#[test]
fn pid_files() {
    let text = "123\n/d/data\n1700000000\n5432\n/d/socket\n\n  1 2\nready   \n";
    let (pid, state) = parse_pid_file(text).unwrap();
    assert_eq!(pid.as_raw_nonzero().get(), 123);
    let socket_dir = PathBuf::from("/d/socket");
    assert_eq!(state, State::Running { socket_dir, ready: true });
    let (_, state) = parse_pid_file(&text.replace("ready   ", "starting")).unwrap();
    assert!(matches!(state, State::Running { ready: false, .. }));
    assert_eq!(parse_pid_file("-123\n/d/data\n").unwrap().0.as_raw_nonzero().get(), 123);
    assert_eq!(parse_pid_file(""), None);
    assert_eq!(parse_pid_file("0\n"), None);
}

#[test]
fn addresses() {
    let connection = Connection::new(PathBuf::from("/my data/it's"));
    assert_eq!(connection.database_url(), "postgres://nexmdm@%2Fmy%20data%2Fit%27s:5432/nexmdm?sslmode=disable");
    assert_eq!(connection.psql_command(), r"psql -h '/my data/it'\''s' -U nexmdm nexmdm");
    let connection = Connection::new(PathBuf::from("/d/socket"));
    assert_eq!(connection.psql_command(), "psql -h /d/socket -U nexmdm nexmdm");
}

#[tokio::test]
async fn last_user_stops_the_server() {
    let dir = TestDir::new();
    let mut options = dir.options();
    options.settings.max_connections = 23;
    // Two first starts at the same time come to the same server.
    let (first, second) = tokio::join!(EmbeddedPostgres::ensure_running(&options), EmbeddedPostgres::ensure_running(&options));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.connection(), second.connection());
    let pid = dir.pid().unwrap();

    for (name, value) in [
        ("max_connections", "23"),
        ("listen_addresses", ""),
        ("data_checksums", "on"),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
        ("checkpoint_timeout", "15min"),
    ] {
        assert_eq!(sql(&first, &format!("SHOW {name}")).await, value, "{name}");
    }
    let locale = "SELECT datcollate, lower('\u{c4}') FROM pg_database WHERE datname = 'nexmdm'";
    assert_eq!(sql(&first, locale).await, "C|\u{e4}");
    assert_eq!(sql(&first, "SELECT current_user").await, "nexmdm");
    let socket = std::fs::metadata(&first.connection().socket_dir).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o700);
    let uid = std::fs::metadata(dir.data()).unwrap().uid();
    assert!(uid != 0, "the cluster must not be root's");

    assert_eq!(first.stop().await.unwrap(), StopOutcome::OthersRemain);
    assert_eq!(sql(&second, "SELECT 1").await, "1");
    assert_eq!(dir.pid(), Some(pid));
    assert_eq!(second.stop().await.unwrap(), StopOutcome::ServerStopped);
    assert_eq!(dir.pid(), None);
    gone(pid).await;
}

#[tokio::test]
async fn dropped_server_is_adopted_and_killed_server_recovers() {
    let dir = TestDir::new();
    let postgres = EmbeddedPostgres::ensure_running(&dir.options()).await.unwrap();
    let pid = dir.pid().unwrap();
    sql(&postgres, "CREATE TABLE t AS SELECT 42 AS n").await;
    drop(postgres);

    let postgres = EmbeddedPostgres::ensure_running(&dir.options()).await.unwrap();
    assert_eq!(dir.pid(), Some(pid));
    kill_process(pid, Signal::KILL).unwrap();
    gone(pid).await;
    // The first user still holds on to the dead server; a new one brings it back for both.
    let other = EmbeddedPostgres::ensure_running(&dir.options()).await.unwrap();
    assert_ne!(dir.pid(), Some(pid));
    assert_eq!(sql(&postgres, "SELECT n FROM t").await, "42");
    assert_eq!(other.stop().await.unwrap(), StopOutcome::OthersRemain);
    assert_eq!(postgres.stop().await.unwrap(), StopOutcome::ServerStopped);
}

#[tokio::test]
async fn interrupted_initdb_does_not_matter() {
    let dir = TestDir::new();
    let options = dir.options();
    let half = dir.0.join("postgres/data.init.0");
    let half_begun = async {
        while !half.join("PG_VERSION").exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = EmbeddedPostgres::ensure_running(&options) => panic!("initdb was not interrupted"),
        () = half_begun => {}
    }
    assert!(!dir.data().exists());

    let postgres = EmbeddedPostgres::ensure_running(&options).await.unwrap();
    assert_eq!(sql(&postgres, "SELECT 1").await, "1");
    assert_eq!(postgres.stop().await.unwrap(), StopOutcome::ServerStopped);
}

#[tokio::test]
async fn leftovers_of_a_machine_crash() {
    let dir = TestDir::new();
    let postgres = EmbeddedPostgres::ensure_running(&dir.options()).await.unwrap();
    let text = std::fs::read_to_string(dir.data().join("postmaster.pid")).unwrap();
    let socket_lock = postgres.connection().socket_dir.join(".s.PGSQL.5432.lock");
    assert_eq!(postgres.stop().await.unwrap(), StopOutcome::ServerStopped);

    // The old server's number belongs to another process now: to us.
    let (_, rest) = text.split_once('\n').unwrap();
    let stale = format!("{}\n{rest}", std::process::id());
    for leftover in [stale.as_str(), ""] {
        std::fs::write(dir.data().join("postmaster.pid"), leftover).unwrap();
        std::fs::create_dir_all(socket_lock.parent().unwrap()).unwrap();
        std::fs::write(&socket_lock, leftover).unwrap();
        let postgres = EmbeddedPostgres::ensure_running(&dir.options()).await.unwrap();
        assert_eq!(sql(&postgres, "SELECT 1").await, "1");
        assert_eq!(postgres.stop().await.unwrap(), StopOutcome::ServerStopped);
    }
}

#[tokio::test]
async fn closed_and_long_data_folders() {
    let outer = TestDir::new();
    let clusters = outer.0.join("clusters");
    let closed = TestDir::in_folder(&outer.0, 0o700);
    let deep = closed.0.join("d".repeat(90)).join("it's $HOME");
    let mut options = closed.options();
    options.data_dir.clone_from(&deep);

    let postgres = EmbeddedPostgres::ensure_running_in(&options, &clusters).await.unwrap();
    assert_eq!(sql(&postgres, "SELECT 1").await, "1");
    let socket_dir = postgres.connection().socket_dir.clone();
    if geteuid().is_root() {
        let link = std::fs::read_link(deep.join("postgres")).unwrap();
        assert_eq!(link.parent(), Some(clusters.as_path()));
        assert_eq!(socket_dir, link.join("socket"));
    } else {
        assert!(!socket_dir.starts_with(&deep), "{}", socket_dir.display());
    }
    assert_eq!(postgres.stop().await.unwrap(), StopOutcome::ServerStopped);
    // The link is followed the next time.
    let postgres = EmbeddedPostgres::ensure_running_in(&options, &clusters).await.unwrap();
    assert_eq!(postgres.connection().socket_dir, socket_dir);
    assert_eq!(postgres.stop().await.unwrap(), StopOutcome::ServerStopped);
}

#[tokio::test]
async fn long_path_in_an_open_folder() {
    let dir = TestDir::new();
    let mut options = dir.options();
    options.data_dir = dir.0.join("d".repeat(90)).join(r#"it's "$HOME" \n"#);
    let postgres = EmbeddedPostgres::ensure_running(&options).await.unwrap();
    assert!(!postgres.connection().socket_dir.starts_with(&dir.0));
    assert_eq!(sql(&postgres, "SELECT 1").await, "1");
    let socket_dir = postgres.connection().socket_dir.clone();
    assert_eq!(postgres.stop().await.unwrap(), StopOutcome::ServerStopped);
    assert!(!socket_dir.exists());
}

#[tokio::test]
async fn a_server_that_cannot_start_tells_why() {
    let dir = TestDir::new();
    let mut options = dir.options();
    options.settings.max_connections = 0;
    let error = EmbeddedPostgres::ensure_running(&options).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("pg_ctl start") && text.contains("max_connections"), "{text}");

    options.bin_dir = Some(dir.0.clone());
    let error = EmbeddedPostgres::ensure_running(&options).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::BinDirUnusable { .. }), "{error}");

    std::fs::write(dir.data().join("PG_VERSION"), "14\n").unwrap();
    options.bin_dir = None;
    let text = EmbeddedPostgres::ensure_running(&options).await.unwrap_err().to_string();
    assert!(text.contains("version 14 (the version the data"), "{text}");
}

#[tokio::test]
async fn long_logs_are_cut() {
    let dir = TestDir::new();
    let postgres = EmbeddedPostgres::ensure_running(&dir.options()).await.unwrap();
    let paths = postgres.cluster.paths().clone();
    let before = std::fs::read(paths.log()).unwrap();
    assert!(!before.is_empty());
    rotate_log(&paths, before.len() as u64).unwrap();
    assert!(!paths.old_log().exists());
    rotate_log(&paths, 1).unwrap();
    assert_eq!(std::fs::read(paths.old_log()).unwrap(), before);
    sql(&postgres, "DO $$ BEGIN RAISE WARNING 'after the cut'; END $$").await;
    let after = std::fs::read_to_string(paths.log()).unwrap();
    assert!(after.contains("after the cut") && !after.contains('\0'), "{after}");
    postgres.stop().await.unwrap();
}

/// A server process that does not react, until the test ends.
struct StoppedBackend(Pid);

impl StoppedBackend {
    async fn new(postgres: &EmbeddedPostgres) -> Self {
        let mut psql = tokio::process::Command::new("psql");
        let script = "SELECT pg_backend_pid(); SELECT pg_sleep(600)";
        psql.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .arg(postgres.database_url())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null());
        let mut psql = psql.spawn().unwrap();
        let mut stdin = psql.stdin.take().unwrap();
        stdin.write_all(format!("{script};\n").as_bytes()).await.unwrap();
        let mut lines = BufReader::new(psql.stdout.take().unwrap()).lines();
        let pid: i32 = lines.next_line().await.unwrap().unwrap().parse().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for StoppedBackend {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[tokio::test]
async fn server_with_a_hanging_process_is_stopped() {
    let dir = TestDir::new();
    let mut options = dir.options();
    options.stop_timeout = Duration::from_secs(1);
    let postgres = EmbeddedPostgres::ensure_running(&options).await.unwrap();
    let pid = dir.pid().unwrap();
    let _hanging = StoppedBackend::new(&postgres).await;
    assert_eq!(postgres.stop().await.unwrap(), StopOutcome::ServerStopped);
    gone(pid).await;
}

#[tokio::test]
async fn start_waits_for_processes_of_a_killed_server() {
    let dir = TestDir::new();
    let mut options = dir.options();
    let postgres = EmbeddedPostgres::ensure_running(&options).await.unwrap();
    let pid = dir.pid().unwrap();
    let hanging = StoppedBackend::new(&postgres).await;
    kill_process(pid, Signal::KILL).unwrap();
    gone(pid).await;

    options.start_timeout = Duration::from_secs(2);
    let error = EmbeddedPostgres::ensure_running(&options).await.unwrap_err();
    assert!(error.to_string().contains("pre-existing shared memory"), "{error}");
    options.start_timeout = Duration::from_secs(60);
    let (started, ()) = tokio::join!(EmbeddedPostgres::ensure_running(&options), async {
        drop(hanging);
    });
    assert_eq!(sql(&postgres, "SELECT 1").await, "1");
    drop(postgres);
    assert_eq!(started.unwrap().stop().await.unwrap(), StopOutcome::ServerStopped);
}
