//! Backups: made while devices report, restored elsewhere, and there everything goes on (P13).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use chaos::client::{Client, EnrolledDevice};
use chaos::harness::{Node, TempDir, find_postmaster};
use serde_json::{Value, json};

use crate::common::{Bench, Database, PASSWORD, apks, clock, eventually, heartbeat, heartbeat_at, options, psql};

const PASSPHRASE: &str = "correct horse battery";

/// A place to back up to and restore into: a folder, and a database where it has one of its own.
struct Place {
    folder: TempDir,
    url: Option<String>,
}

impl Place {
    fn new(url: Option<&str>) -> Self {
        Self { folder: TempDir::new("restored").unwrap(), url: url.map(str::to_owned) }
    }

    /// Where a node of this folder keeps its data.
    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A node over it.
    async fn start(&self) -> Node {
        let mut options = options();
        options.kept_dir = Some(self.folder.path().to_owned());
        options.database_url.clone_from(&self.url);
        let node = Node::start(options).await.unwrap();
        assert_eq!(node.data_dir(), self.data_dir());
        node
    }
}

/// `nexmdm backup` with these arguments over a data folder and database.
fn command(data_dir: &Path, url: Option<&str>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexmdm"));
    command.arg("backup").args(arguments).env("NEXMDM__DATA_DIR", data_dir).env("NEXMDM__LOG__FILTER", "warn").env_remove("DATABASE_URL");
    command.env("NEXMDM__BACKUP__WORK_FACTOR", "10").env("NEXMDM_BACKUP_PASSPHRASE", PASSPHRASE);
    command.env("NEXMDM__DATABASE__SHARED_BUFFERS_MB", "32");
    if let Some(url) = url {
        command.env("DATABASE_URL", url);
    }
    command.stdin(Stdio::null());
    command
}

async fn run(mut command: Command) -> (bool, String, String) {
    let out = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (out.status.success(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
}

async fn succeeded(command: Command) -> Value {
    let (ok, out, err) = run(command).await;
    assert!(ok, "{out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}"))
}

async fn refused(command: Command) -> String {
    let (ok, out, err) = run(command).await;
    assert!(!ok, "{out}{err}");
    err
}

/// The whole way: a fleet reports, is backed up meanwhile, and goes on over what was restored.
async fn drill(bench: &mut Bench, url: Option<&str>, to: &Place) {
    let sql = |statement: &str| match url {
        Some(url) => psql(&[url], statement),
        None => bench.sql(statement),
    };
    let devices: Vec<EnrolledDevice> = [bench.enroll("kiosk-1").await, bench.enroll("kiosk-2").await, bench.enroll("Gerät ☃").await].into();
    for (number, device) in devices.iter().enumerate() {
        let minutes: Vec<_> = (1..=20).map(|minute| heartbeat_at(clock(-60 * minute), 10 * number as i64)).collect();
        let answer = bench.client.heartbeats(&device.device_token, &minutes).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.detail());
    }
    let apk = apks::add(&bench.client, &bench.admin, "till-1.apk").await;
    let path = format!("/v1/devices/{}/commands", devices[0].device_id);
    let sent = bench.client.post(&path, Some(&bench.admin), &json!({"action": "ring"})).await.unwrap();
    assert_eq!(sent.status, 201, "{}", sent.detail());
    let user = json!({"username": "ann", "role": "operator", "password": PASSWORD});
    assert_eq!(bench.client.post("/v1/users", Some(&bench.admin), &user).await.unwrap().status, 201);
    let acknowledged: i64 = sql("SELECT count(*) FROM heartbeats").parse().unwrap();
    assert_eq!(acknowledged, 60);

    // Made while they report.
    let file = to.folder.path().join("nexmdm.backup");
    let name = file.to_str().unwrap();
    let is_done = AtomicBool::new(false);
    let report = async {
        let mut reported = 0_u32;
        while !is_done.load(Ordering::Relaxed) {
            for device in &devices {
                let answer = bench.client.heartbeat(&device.device_token, &heartbeat(0, 50)).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.detail());
                reported += 1;
            }
        }
        reported
    };
    let make = async {
        let made = succeeded(command(bench.node.data_dir(), url, &["create", name, "--verify", "--output", "json"])).await;
        is_done.store(true, Ordering::Relaxed);
        made
    };
    let (made, reported) = tokio::join!(make, report);
    assert!(reported > 0);
    assert_eq!(
        (&made["devices"], &made["apks"], &made["encrypted"], &made["verified"]),
        (&json!(3), &json!(1), &json!(true), &json!(true))
    );
    assert_eq!((&made["keys"], &made["problems"]), (&json!(["master", "jwt", "cluster"]), &json!([])));
    let recorded = "SELECT origin || ' ' || (verified_at IS NOT NULL) || ' ' || bytes FROM backup";
    assert_eq!(sql(recorded), format!("console true {}", made["bytes"]));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), made["bytes"].as_u64().unwrap());

    // No database and no data folder are needed to know that it is good.
    let elsewhere = to.folder.path().join("nothing");
    let verified = succeeded(command(&elsewhere, None, &["verify", name, "--output", "json"])).await;
    assert_eq!((&verified["rows"], &verified["created_at"]), (&made["rows"], &made["created_at"]));
    assert!(!elsewhere.exists());
    let mut wrong = command(&elsewhere, None, &["verify", name]);
    wrong.env("NEXMDM_BACKUP_PASSPHRASE", "another passphrase");
    assert!(refused(wrong).await.contains("passphrase is wrong"));

    // Beside a node that lives nothing is restored.
    let error = refused(command(bench.node.data_dir(), url, &["restore", name, "--force"])).await;
    assert!(error.contains("in use by another node") || error.contains("lease"), "{error}");
    bench.node.terminate().await.unwrap();

    let restored = succeeded(command(&to.data_dir(), to.url.as_deref(), &["restore", name, "--output", "json"])).await;
    assert_eq!((&restored["rows"], &restored["tables_left_out"]), (&made["rows"], &json!([])));
    let node = to.start().await;
    let client = Client::new(&node.url()).unwrap();
    // Devices go on with their tokens, and every row from before it began is there.
    for device in &devices {
        let answer = client.heartbeat(&device.device_token, &heartbeat(0, 77)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.detail());
        let session = client.heartbeat(&device.session_token, &heartbeat(0, 78)).await.unwrap();
        assert_eq!(session.status, 200, "{}", session.detail());
    }
    let restored_sql = |statement: &str| match &to.url {
        Some(url) => psql(&[url], statement),
        None => {
            let socket = find_postmaster(node.data_dir()).unwrap().socket_dir.unwrap();
            psql(&["-h", socket.to_str().unwrap(), "-U", "nexmdm", "nexmdm"], statement)
        }
    };
    let of_before = "SELECT count(*) FROM heartbeats_unpacked WHERE battery_pct NOT IN (50, 77, 78)";
    assert_eq!(restored_sql(of_before), acknowledged.to_string());
    // People sign in anew, and see what was there.
    assert_eq!(client.get("/v1/devices", Some(&bench.admin)).await.unwrap().status, 401, "sign-ins of before have ended");
    let admin = client.access_token("admin", node.admin_password()).await.unwrap();
    client.access_token("ann", PASSWORD).await.unwrap();
    let shown = client.get_json("/v1/devices", &admin).await.unwrap();
    assert_eq!(shown["items"].as_array().unwrap().len(), 3);
    let commands = client.get_json(&path, &admin).await.unwrap();
    assert_eq!(commands["items"].as_array().unwrap().len(), 1, "{commands}");
    let apk_file = node.data_dir().join("apks").join(format!("{}.apk", apk["id"].as_str().unwrap()));
    let found = eventually("the file of the APK", async || find(node.data_dir(), apk_file.file_name().unwrap())).await;
    assert_eq!(std::fs::read(found).unwrap(), apks::fixture("till-1.apk"));
    // The trail is whole, and says where everything before comes from.
    let mut audit = Command::new(env!("CARGO_BIN_EXE_nexmdm"));
    audit.args(["audit", "verify"]).env("NEXMDM__DATA_DIR", to.data_dir()).env("NEXMDM__LOG__FILTER", "warn").env_remove("DATABASE_URL");
    if let Some(url) = &to.url {
        audit.env("DATABASE_URL", url);
    }
    let (ok, out, err) = run(audit).await;
    assert!(ok, "{out}{err}");
    assert_eq!(restored_sql("SELECT count(*) FROM audit_entry WHERE action = 'backup.restored'"), "1");
}

/// A file below a folder.
fn find(folder: &Path, name: &std::ffi::OsStr) -> Option<PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| match entry.path() {
        path if path.is_dir() => find(&path, name),
        path => (path.file_name() == Some(name)).then_some(path),
    })
}

#[tokio::test]
async fn a_fleet_goes_on_over_a_restored_private_database() {
    let mut bench = Bench::start().await;
    drill(&mut bench, None, &Place::new(None)).await;
}

#[tokio::test]
async fn a_fleet_goes_on_over_a_restored_database_of_ones_own() {
    let (from, to) = (Database::start(), Database::start());
    let mut bench = Bench::with(options().database_url(&from.url)).await;
    drill(&mut bench, Some(&from.url), &Place::new(Some(&to.url))).await;
}

#[tokio::test]
async fn a_killed_backup_leaves_no_file_and_the_next_is_made() {
    let bench = Bench::start().await;
    // Enough of what cannot be compressed that it takes a while.
    bench.sql("CREATE TABLE ballast AS SELECT md5(n::text) || md5((-n)::text) AS noise FROM generate_series(1, 900000) n");
    let folder = TempDir::new("backups").unwrap();
    let file = folder.path().join("a.backup");
    let arguments = ["create", file.to_str().unwrap()];
    let mut child: Child = command(bench.node.data_dir(), None, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let in_the_middle = eventually("a backup in the middle", async || {
        let partial = std::fs::read_dir(folder.path()).unwrap().flatten().find(|entry| entry.path() != file);
        let bytes = partial.and_then(|partial| partial.metadata().ok()).map_or(0, |metadata| metadata.len());
        (bytes > 1 << 20 || file.exists()).then_some(!file.exists())
    })
    .await;
    assert!(in_the_middle, "it was done too soon: more ballast");
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(!file.exists(), "half a backup has no name");
    assert_eq!(bench.client.get("/readyz", None).await.unwrap().status, 200);
    bench.sql("DROP TABLE ballast");
    succeeded(command(bench.node.data_dir(), None, &["create", file.to_str().unwrap(), "--output", "json"])).await;
    succeeded(command(bench.node.data_dir(), None, &["verify", file.to_str().unwrap(), "--output", "json"])).await;
}

#[tokio::test]
async fn a_restore_that_was_killed_keeps_nodes_from_starting_until_it_is_repeated() {
    let mut bench = Bench::start().await;
    let kiosk = bench.enroll("kiosk").await;
    let to = Place::new(None);
    let file = to.folder.path().join("a.backup");
    let name = file.to_str().unwrap();
    succeeded(command(bench.node.data_dir(), None, &["create", name, "--output", "json"])).await;
    bench.node.terminate().await.unwrap();
    // What a kill leaves in the data folder.
    std::fs::create_dir_all(to.data_dir()).unwrap();
    std::fs::write(to.data_dir().join("restore.unfinished"), name).unwrap();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_nexmdm"));
    serve.env("NEXMDM__DATA_DIR", to.data_dir()).env("NEXMDM__HTTP__LISTEN", "127.0.0.1:0").env_remove("DATABASE_URL");
    let error = refused(serve).await;
    assert!(error.contains("a.backup") && error.contains("repeat"), "{error}");
    succeeded(command(&to.data_dir(), None, &["restore", name, "--output", "json"])).await;
    let node = to.start().await;
    let answer = Client::new(&node.url()).unwrap().heartbeat(&kiosk.device_token, &heartbeat(0, 50)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
}

#[tokio::test]
async fn what_would_be_unsafe_is_refused() {
    let bench = Bench::start().await;
    let folder = TempDir::new("backups").unwrap();
    let file = folder.path().join("a.backup");
    let name = file.to_str().unwrap();
    let data = bench.node.data_dir();
    for (arguments, passphrase, wanted) in [
        (vec!["create", name], "short", "12"),
        (vec!["create", name, "--unencrypted"], "", "--without-keys"),
        (vec!["create", name], "", "--passphrase-file"),
        (vec!["verify", name], PASSPHRASE, "No such file"),
        (vec!["create", name, "--passphrase-file", "/nonexistent"], "", "/nonexistent"),
    ] {
        let mut command = command(data, None, &arguments);
        command.env("NEXMDM_BACKUP_PASSPHRASE", passphrase);
        let error = refused(command).await;
        assert!(error.contains(wanted), "{arguments:?}: {error}");
        assert!(passphrase.is_empty() || passphrase == "short" || !error.contains(passphrase), "{error}");
    }
    assert!(!file.exists());
    // In the clear it holds no keys unless that was asked for, and needs no passphrase.
    let made = succeeded(command(data, None, &["create", name, "--unencrypted", "--without-keys", "--output", "json"])).await;
    assert_eq!((&made["keys"], &made["encrypted"]), (&json!([]), &json!(false)));
    let mut verify = command(data, None, &["verify", name, "--output", "json"]);
    verify.env_remove("NEXMDM_BACKUP_PASSPHRASE");
    succeeded(verify).await;
    assert!(refused(command(data, None, &["create", name])).await.contains("another name"), "none is replaced");
    let error = refused(command(&folder.path().join("nothing"), None, &["create", "b.backup"])).await;
    assert!(error.contains("data folder"), "{error}");
}

#[tokio::test]
async fn the_schedule_makes_backups_and_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new("backups").unwrap();
    let (passphrase, directory) = (folder.path().join("passphrase"), folder.path().join("kept"));
    std::fs::write(&passphrase, format!("{PASSPHRASE}\n")).unwrap();
    std::fs::set_permissions(&passphrase, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::create_dir(&directory).unwrap();
    // An older one, beyond what is kept, and something else.
    std::fs::write(directory.join("nexmdm-20200101T000000Z.backup"), "old").unwrap();
    std::fs::write(directory.join("mine.backup"), "mine").unwrap();
    let options = options()
        .env("NEXMDM__BACKUP__DIRECTORY", directory.to_str().unwrap())
        .env("NEXMDM__BACKUP__PASSPHRASE_FILE", passphrase.to_str().unwrap())
        .env("NEXMDM__BACKUP__WORK_FACTOR", "10")
        .env("NEXMDM__BACKUP__KEPT", "1");
    let bench = Bench::with(options).await;
    let recorded = eventually("a backup of the schedule", async || {
        Some(bench.sql("SELECT file FROM backup WHERE origin = 'schedule' AND verified_at IS NOT NULL")).filter(|file| !file.is_empty())
    })
    .await;
    let mut names: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert_eq!(names, [directory.join("mine.backup"), PathBuf::from(&recorded)]);
    assert_eq!(bench.metric("nexmdm_backups_total{outcome=\"made\"}").await, 1.0);
    assert!(bench.metric("nexmdm_backup_last_success_timestamp_seconds").await > 1e9);
    assert!(bench.metric("nexmdm_backup_bytes").await > 1e3);
    let verified = succeeded(command(bench.node.data_dir(), None, &["verify", &recorded, "--output", "json"])).await;
    assert_eq!(verified["keys"], json!(["master", "jwt", "cluster"]));
    assert_eq!(bench.sql("SELECT actor_id FROM audit_entry WHERE action = 'backup.created'"), "server");
}
