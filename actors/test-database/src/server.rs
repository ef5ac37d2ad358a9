//! The server of a test binary: started once, stopped by a guard process.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};

use embedded_postgres::{Connection, EmbeddedOptions, EmbeddedPostgres, ServerSettings};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// The migrated database that is copied.
const TEMPLATE: &str = "template_nexmdm";
/// Connections of all tests that run at once.
const CONNECTIONS: u32 = 400;

/// Waits for the end of its standard input, which is the end of the test binary, however that comes about. A process is only
/// stopped while it works in the data folder, since its number may have passed to another one. A server that was just about to
/// start ends by itself without its folder.
const GUARD: &str = r#"
cat >/dev/null
base=$(readlink -f "$1/postgres")
socket=$(sed -n 5p "$base/data/postmaster.pid")
pid=$(sed -n 1p "$base/data/postmaster.pid")
while [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$base/data" ]; do
    kill -QUIT "$pid"
    sleep 0.02
done
[ -z "$socket" ] || rmdir "$socket"
rm -rf "$base" "$1"
"#;

/// The running server.
pub(crate) struct Server {
    connection: Connection,
    requests: UnboundedSender<Request>,
    /// Its standard input closes with this process.
    _guard: Child,
}

enum Request {
    Create(String, oneshot::Sender<Result<(), sqlx::Error>>),
    Discard(String),
}

impl Server {
    /// The server of this process, started by the first call.
    pub(crate) fn running() -> &'static Self {
        static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
        &SERVER
    }

    /// A thread of its own runs the server's tasks: the runtime of the first test ends with that test.
    fn start() -> Self {
        let folder = new_folder();
        let guard = guard(&folder);
        let (requests, incoming) = unbounded_channel();
        let (report, started) = mpsc::channel();
        std::thread::Builder::new()
            .name("test-database".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(serve(&folder, &report, incoming));
            })
            .expect("a thread");
        let connection = started.recv().expect("the test database's server does not start; the thread's panic tells why");
        Self { connection, requests, _guard: guard }
    }

    pub(crate) fn url_of(&self, database: &str) -> String {
        self.connection.url_of(database)
    }

    /// Makes a database.
    pub(crate) async fn create(&self, name: &str) {
        let (reply, made) = oneshot::channel();
        self.requests.send(Request::Create(name.to_owned(), reply)).expect("the server's thread runs until the process ends");
        made.await.expect("the server's thread answers").unwrap_or_else(|error| panic!("cannot make the database {name}: {error}"));
    }

    /// Removes a database with its connections, soon.
    pub(crate) fn discard(&self, name: String) {
        // When the thread is gone, so are all databases.
        let _ = self.requests.send(Request::Discard(name));
    }
}

/// A folder that a server which runs as another user can enter, below the system's temporary one or below `NEXMDM_TEST_DIR`.
fn new_folder() -> PathBuf {
    let parent = std::env::var_os("NEXMDM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let mode = std::fs::Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().prefix("nexmdm-test-database-").permissions(mode).tempdir_in(&parent);
    folder.unwrap_or_else(|error| panic!("no folder in {}: {error}", parent.display())).keep()
}

fn guard(folder: &Path) -> Child {
    Command::new("/bin/sh")
        .args(["-c", GUARD, "nexmdm-test-database-guard"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in the terminal ends the tests, and not what has to clean up after them.
        .process_group(0)
        .spawn()
        .expect("/bin/sh")
}

/// Starts the server, reports how to reach it, and makes and removes databases until the process ends.
async fn serve(folder: &Path, report: &mpsc::Sender<Connection>, mut requests: UnboundedReceiver<Request>) {
    let mut options = EmbeddedOptions::new(folder);
    options.settings = ServerSettings { max_connections: CONNECTIONS, durable: false, ..ServerSettings::default() };
    let server = EmbeddedPostgres::ensure_running(&options).await.unwrap_or_else(|error| panic!("{error}"));
    let connection = server.connection().clone();
    let mut admin = PgConnection::connect(&server.database_url()).await.expect("the server takes connections");
    run(&mut admin, format!("CREATE DATABASE {TEMPLATE}")).await.expect("an empty database");
    let template = super::open_store(&connection.url_of(TEMPLATE), 1);
    template.migrate().await.expect("the migrations apply to an empty database");
    template.close().await;
    report.send(connection).expect("the starting thread waits");
    while let Some(request) = requests.recv().await {
        match request {
            Request::Create(name, reply) => {
                // Without fsync, the two checkpoints of a file copy cost less than logging every page.
                let made = run(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")).await;
                // The test may have been given up.
                let _ = reply.send(made);
            }
            Request::Discard(name) => {
                if let Err(error) = run(&mut admin, format!("DROP DATABASE {name} WITH (FORCE)")).await {
                    eprintln!("the test database {name} stays: {error}");
                }
            }
        }
    }
}

async fn run(admin: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await.map(|_| ())
}
