//! Operation of a node: first start, commands, configuration, stop, crash, restart.

use std::process::Command;

use chaos::harness::{Node, TempDir, find_postmaster};

use crate::common::{Bench, nexmdm, options};

#[tokio::test]
async fn the_first_start_prints_a_password_once_and_it_works() {
    let mut first = options();
    first.admin_password = String::new();
    let mut node = Node::start(first).await.unwrap();
    let log = node.log();
    assert!(log.contains(&format!("NexMDM is ready: {}", node.url())), "{log}");
    let password = log.split("with the password ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    chaos::client::Client::new(&node.url()).unwrap().access_token("admin", &password).await.unwrap();
    node.restart().await.unwrap();
    assert_eq!(node.log().matches(&password).count(), 1);
    assert!(node.terminate().await.unwrap().success());
    assert!(find_postmaster(node.data_dir()).is_none_or(|postmaster| !postmaster.is_running()), "PostgreSQL runs on");
}

#[tokio::test]
async fn a_killed_node_starts_again_over_the_database_it_left_running() {
    let mut bench = Bench::start().await;
    bench.enroll("kiosk").await;
    bench.node.kill9().unwrap();
    let left = find_postmaster(bench.node.data_dir()).unwrap();
    assert!(left.is_running(), "PostgreSQL should outlive the node");
    bench.node.restart().await.unwrap();
    assert_eq!(find_postmaster(bench.node.data_dir()).unwrap().pid, left.pid, "it is taken over, not started anew");
    assert_eq!(bench.sql("SELECT count(*) FROM device"), "1");
    bench.node.terminate().await.unwrap();
    assert!(!left.is_running());
}

/// In a rolling upgrade, and on the way back from one, the database is ahead of a build.
#[tokio::test]
async fn a_build_starts_beside_the_migrations_of_a_later_one() {
    let mut bench = Bench::start().await;
    bench.sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', true, '\\x00', 1)",
    );
    bench.node.restart().await.unwrap();
    assert_eq!(bench.client.get("/readyz", None).await.unwrap().status, 200);
}

#[tokio::test]
async fn commands_work_beside_a_running_node_and_without_one() {
    let mut bench = Bench::start().await;
    for running in [true, false] {
        if !running {
            bench.node.terminate().await.unwrap();
        }
        let name = format!("anna-{running}");
        let (ok, out, err) = nexmdm(&bench.node, &["user", "add", &name, "--role", "operator"], "");
        assert!(ok && out.contains("Password: "), "{out}{err}");
        let (ok, out, _) = nexmdm(&bench.node, &["user", "list"], "");
        assert!(ok && out.contains(&name) && out.contains("operator"), "{out}");
        let (ok, out, _) = nexmdm(&bench.node, &["token", "create", "--count", "3", "--alias-pattern", &format!("{name}-{{n}}")], "");
        assert!(ok && out.lines().count() == 3, "{out}");
        if running {
            let token = out.lines().next().unwrap();
            let answer = bench.client.register(token, &wire::agent::RegisterRequest::default()).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.detail());
        }
    }
    for (arguments, wanted) in [
        (vec!["user", "add", "anna-true"], "already has this name"),
        (vec!["user", "add", "x", "--role", "king"], "admin, operator, viewer"),
        (vec!["user", "reset-password", "nobody"], "no such account"),
        (vec!["token", "create", "--count", "501"], "1..500"),
    ] {
        let (ok, _, err) = nexmdm(&bench.node, &arguments, "");
        assert!(!ok && err.contains(wanted), "{arguments:?}: {err}");
    }
    let (ok, _, err) = nexmdm(&bench.node, &["user", "add", "short", "--password-stdin"], "short\n");
    assert!(!ok && err.contains("password"), "{err}");
}

#[test]
fn configuration_is_checked_and_printed_without_secrets() {
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let out = Command::new(env!("CARGO_BIN_EXE_nexmdm")).args(arguments).envs(variables.iter().copied()).output().unwrap();
        (out.status.success(), String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap())
    };
    assert!(run(&["config", "check"], &[]).0);
    let (ok, out) = run(&["config", "print"], &[("NEXMDM__SECRETS__JWT_KEY", &"ab".repeat(32)), ("NEXMDM__HEARTBEAT__WRITERS", "7")]);
    assert!(ok && out.contains("writers = 7") && out.contains("(hidden)") && !out.contains("abab"), "{out}");
    for (variable, value, wanted) in [
        ("NEXMDM__HEARTBEAT__WRITERS", "0", "heartbeat.writers"),
        ("NEXMDM__HEARTBEAT__WRITTERS", "1", "writters"),
        ("NEXMDM__HTTP__LISTEN", "nowhere", "http.listen"),
        ("NEXMDM__SECRETS__MASTER_KEY", "abcd", "secrets.master_key"),
        ("NEXMDM__SECRETS__MASTER_KEY", "not hex", "secrets.master_key"),
    ] {
        let (ok, out) = run(&["config", "check"], &[(variable, value)]);
        assert!(!ok && out.contains(wanted), "{variable}={value}: {out}");
    }
    let folder = TempDir::new("config").unwrap();
    let file = folder.path().join("nexmdm.toml");
    std::fs::write(&file, "[http]\nlisten = \"127.0.0.1:9\"\ncolour = 1\n").unwrap();
    let (ok, out) = run(&["--config", file.to_str().unwrap(), "config", "check"], &[]);
    assert!(!ok && out.contains("colour"), "{out}");
    let (ok, out) = run(&["--help"], &[]);
    assert!(ok && ["serve", "migrate", "user", "token", "config"].iter().all(|command| out.contains(command)), "{out}");
}

#[tokio::test]
async fn a_taken_port_and_a_wrong_database_are_named() {
    let bench = Bench::start().await;
    let run = |variables: &[(&str, &str)]| {
        let out = Command::new(env!("CARGO_BIN_EXE_nexmdm")).envs(variables.iter().copied()).output().unwrap();
        (out.status.success(), String::from_utf8(out.stderr).unwrap())
    };
    let folder = TempDir::new("taken").unwrap();
    let data = folder.path().to_str().unwrap();
    let listen = format!("127.0.0.1:{}", bench.node.port());
    let (ok, err) = run(&[("NEXMDM__DATA_DIR", data), ("NEXMDM__HTTP__LISTEN", &listen)]);
    assert!(!ok && err.contains(&listen), "{err}");
    assert!(find_postmaster(folder.path()).is_none_or(|postmaster| !postmaster.is_running()), "what was started is stopped");
    let (ok, err) = run(&[("NEXMDM__DATA_DIR", data), ("DATABASE_URL", "mysql://user:hunter2@localhost/x")]);
    assert!(!ok && err.contains("postgres://") && !err.contains("hunter2"), "{err}");
    let (ok, err) = run(&[
        ("NEXMDM__DATA_DIR", data),
        ("DATABASE_URL", "postgres://user:hunter2@127.0.0.1:1/x"),
        ("NEXMDM__DATABASE__ACQUIRE_TIMEOUT_MS", "200"),
    ]);
    assert!(!ok && err.contains("database") && !err.contains("hunter2"), "{err}");
}

#[tokio::test]
async fn secrets_are_made_once_and_only_for_the_owner() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::start().await;
    for name in ["master.key", "jwt.key"] {
        let file = bench.node.data_dir().join("secrets").join(name);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let key = std::fs::read_to_string(&file).unwrap();
        assert!(!bench.node.log().contains(&key));
    }
}
