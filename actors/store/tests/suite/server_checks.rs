//! Fitness of the database, and of the way to it: real databases and a real PgBouncer.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use store::{PoolOptions, Store, StoreError, UnfitServer};
use tempfile::TempDir;
use test_database::TestDatabase;

fn store(url: &str) -> Store {
    let timeout = Duration::from_secs(30);
    Store::new(
        url,
        PoolOptions { max_connections: 4, acquire_timeout: timeout, statement_timeout: timeout, answer_grace: Duration::from_secs(2) },
    )
    .unwrap()
}

async fn unfit(url: &str) -> UnfitServer {
    match store(url).check_server().await {
        Err(StoreError::Unfit(unfit)) => unfit,
        other => panic!("{other:?}"),
    }
}

/// The name of the database.
async fn name(db: &TestDatabase) -> String {
    db.value("SELECT current_database()::text").await
}

#[tokio::test]
async fn a_database_as_nodes_make_it_can_be_used() {
    TestDatabase::new().await.store().check_server().await.unwrap();
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let db = TestDatabase::new().await;
    let latin = format!("{}_latin", name(&db).await);
    db.execute(&format!("CREATE DATABASE {latin} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")).await;
    let unfit = unfit(&db.url().replace(&name(&db).await, &latin)).await;
    assert_eq!(unfit, UnfitServer::Encoding { database: latin.clone(), encoding: "LATIN1".into() });
    db.execute(&format!("DROP DATABASE {latin} WITH (FORCE)")).await;
}

#[tokio::test]
async fn a_database_whose_transactions_read_only_is_refused() {
    let db = TestDatabase::new().await;
    let database = name(&db).await;
    db.execute(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;
    assert_eq!(unfit(db.url()).await, UnfitServer::ReadOnly { database });
}

/// A running PgBouncer, stopped when dropped.
struct PgBouncer {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl PgBouncer {
    /// In front of a database, with these settings beside those that reach it.
    async fn start(db: &TestDatabase, settings: &str) -> Self {
        let folder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let sockets: String = db.value("SHOW unix_socket_directories").await;
        let socket = sockets.trim_matches('"');
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={socket} port=5432 user=nexmdm\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\n{settings}\n"
        );
        std::fs::write(&file, text).unwrap();
        // Where Debian has it, which is not in the path of ordinary users.
        let system = Path::new("/usr/sbin/pgbouncer");
        let mut command = Command::new(if system.exists() { system } else { Path::new("pgbouncer") });
        // It does not run as root, and has to enter the folder of the server's socket.
        let owner = Command::new("stat").args(["-c", "%U", socket]).output().unwrap();
        let owner = String::from_utf8(owner.stdout).unwrap();
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if is_root {
            command.args(["-u", owner.trim()]);
        }
        let child = command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("pgbouncer (.ci/install-deps test): {error}"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = String::new();
        while !log.contains("process up") {
            let line = lines.next().unwrap_or_else(|| panic!("pgbouncer ended: {log}")).unwrap();
            log = format!("{log}{line}\n");
        }
        // It goes on writing.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("postgres://nexmdm@127.0.0.1:{port}/{}?sslmode=disable", name(db).await);
        Self { child, url, _folder: folder }
    }
}

#[tokio::test]
async fn a_pooler_that_shares_connections_out_is_refused() {
    let db = TestDatabase::new().await;
    for settings in [
        "pool_mode = transaction",
        "pool_mode = transaction\nserver_round_robin = 1\nmin_pool_size = 3",
        "pool_mode = transaction\ndefault_pool_size = 1",
        "pool_mode = transaction\nignore_startup_parameters = options,extra_float_digits",
        "pool_mode = statement",
    ] {
        let pooler = PgBouncer::start(&db, settings).await;
        assert_eq!(unfit(&pooler.url).await, UnfitServer::TransactionPooling, "{settings}");
    }
}

#[tokio::test]
async fn a_pooler_in_session_mode_can_be_used() {
    let db = TestDatabase::new().await;
    let pooler = PgBouncer::start(&db, "pool_mode = session").await;
    let store = store(&pooler.url);
    store.check_server().await.unwrap();
    store.migrate().await.unwrap();
    let held = store.try_cluster_lock("pooled", Duration::from_secs(60)).await.unwrap();
    assert!(held.is_some() && db.store().try_cluster_lock("pooled", Duration::from_secs(60)).await.unwrap().is_none());
    // The settings of a connection arrive: without them, an account has no canonical name.
    let user = store::NewUser {
        id: domain::UserId(crate::common::uuid(1)),
        username: "Ann",
        password_bcrypt: "x",
        role: domain::access::Role::Viewer,
    };
    assert!(store.insert_first_user(user, &crate::common::console(), crate::common::at(0)).await.unwrap());
    assert_eq!(db.value::<String>("SELECT username_canonical FROM app_user").await, "ann");
    store.listen().await.unwrap();
}
