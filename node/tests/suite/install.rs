//! What service managers, containers and scripts that install a node see of it: notifications, health checks, secrets by file, a drain with
//! time to settle.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use chaos::client::Client;
use chaos::harness::{Node, TempDir, find_postmaster};

use crate::common::{DEADLINE, PASSWORD, options};

/// A file that only its owner reads.
fn secret_file(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file.to_str().unwrap().to_owned()
}

/// The binary with nothing but these variables.
fn nexmdm(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nexmdm")).args(arguments).env_clear().envs(variables.iter().copied()).output().unwrap()
}

fn told(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 512];
    let length = manager.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn a_service_manager_is_told_and_a_health_check_asks() {
    let folder = TempDir::new("install").unwrap();
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let password = secret_file(folder.path(), "password", &format!("{PASSWORD}\n"));
    let node = options()
        .env("NOTIFY_SOCKET", socket.to_str().unwrap())
        .env("NEXMDM__ADMIN__INITIAL_PASSWORD", "")
        .env("NEXMDM__ADMIN__INITIAL_PASSWORD_FILE", password);
    let mut node = Node::start(node).await.unwrap();
    let ready = told(&manager);
    assert!(ready.starts_with("READY=1\nSTATUS=Serving http://127.0.0.1:"), "{ready}");
    Client::new(&node.url()).unwrap().access_token("admin", PASSWORD).await.unwrap();

    let listen = format!("127.0.0.1:{}", node.port());
    for arguments in [&["healthcheck"][..], &["healthcheck", "--live"]] {
        let out = nexmdm(arguments, &[("NEXMDM__HTTP__LISTEN", &listen)]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    // A node that stands still is not healthy, and the check ends by its own timeout.
    node.suspend().unwrap();
    let out = nexmdm(&["healthcheck", "--timeout-ms", "200"], &[("NEXMDM__HTTP__LISTEN", &listen)]);
    assert!(!out.status.success());
    node.resume().unwrap();

    assert!(node.terminate().await.unwrap().success());
    let stopping = told(&manager);
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
    let out = nexmdm(&["healthcheck"], &[("NEXMDM__HTTP__LISTEN", &listen)]);
    let problem = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success() && problem.contains(&listen), "{problem}");
}

#[tokio::test]
async fn a_node_by_files_alone_drains_with_time_to_settle() {
    let first = Node::start(options()).await.unwrap();
    let socket_dir = find_postmaster(first.data_dir()).expect("a private PostgreSQL").socket_dir.unwrap();
    let folder = TempDir::new("install-second").unwrap();
    let encoded = socket_dir.to_str().unwrap().replace('/', "%2F");
    let url = secret_file(folder.path(), "database-url", &format!("postgres://nexmdm@{encoded}/nexmdm?sslmode=disable\n"));
    let key = |name: &str| first.data_dir().join("secrets").join(name).to_str().unwrap().to_owned();
    let (master_key, jwt_key, cluster_key) = (key("master.key"), key("jwt.key"), key("cluster.key"));
    let mut second = options();
    second.kept_dir = Some(PathBuf::from(folder.path()));
    let settings = [
        ("NEXMDM__DATABASE__URL_FILE", url.as_str()),
        ("NEXMDM__SECRETS__MASTER_KEY_FILE", master_key.as_str()),
        ("NEXMDM__SECRETS__JWT_KEY_FILE", jwt_key.as_str()),
        ("NEXMDM__SECRETS__CLUSTER_KEY_FILE", cluster_key.as_str()),
        ("NEXMDM__CLUSTER__NODE_NAME", "second"),
    ];
    for (name, value) in settings {
        second = second.env(name, value);
    }
    let second = Node::start(second).await.unwrap();
    assert!(!second.data_dir().join("postgres").exists(), "it has no database of its own");

    let data_dir = second.data_dir().to_str().unwrap().to_owned();
    let variables: Vec<(&str, &str)> = settings.into_iter().chain([("NEXMDM__DATA_DIR", data_dir.as_str())]).collect();
    let began = Instant::now();
    let out = nexmdm(&["drain", "--settle-seconds", "2"], &variables);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stdout).contains("second owns no devices"));
    assert!(began.elapsed() >= Duration::from_secs(2));
    // Draining, it still answers whoever reaches it.
    let listen = format!("127.0.0.1:{}", second.port());
    assert!(nexmdm(&["healthcheck"], &[("NEXMDM__HTTP__LISTEN", &listen)]).status.success());
}
