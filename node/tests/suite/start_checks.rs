//! What a node refuses to start with: by name, with the remedy, and with the cause of every failure.

use std::process::Stdio;
use std::time::Duration;

use chaos::harness::{Node, TempDir};
use tokio::process::Command;

use crate::common::{Database, eventually, options};

/// Longest time until a node gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a node that does not start says, with these variables.
async fn refused(variables: &[(&str, &str)]) -> String {
    let folder = TempDir::new("refused").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexmdm"));
    command
        .env("NEXMDM__DATA_DIR", folder.path())
        .env("NEXMDM__HTTP__LISTEN", "127.0.0.1:0")
        .env("NEXMDM__AUTH__PASSWORD_BCRYPT_COST", "4");
    command.envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let out = tokio::time::timeout(PATIENCE, command.output()).await.expect("it gives up").unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success(), "{said}");
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("no error: {said}"));
    assert!(!error.contains("internal"), "{said}");
    error.to_owned()
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_refused_by_name() {
    let mut database = Database::start();
    database.sql("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    let latin = database.url.replace("/nexmdm?", "/latin?");
    let said = refused(&[("DATABASE_URL", &latin)]).await;
    assert!(said.contains("LATIN1") && said.contains("UTF8") && said.contains("\"latin\""), "{said}");

    // A standby, as the configuration of the old primary leads to one after a failover.
    let data = database.sql("SHOW data_directory");
    database.stop();
    std::fs::write(format!("{data}/standby.signal"), "").unwrap();
    database.resume();
    let said = refused(&[("DATABASE_URL", &database.url)]).await;
    assert!(said.contains("standby") && said.contains("primary"), "{said}");
    // With others that do not answer, each is named.
    let (_, name) = database.url.split_once("://").unwrap();
    let socket = name.split_once('@').unwrap().1.split_once('/').unwrap().0;
    let several = database.url.replace(socket, &format!("127.0.0.1:1,{socket}"));
    let said = refused(&[("DATABASE_URL", &several)]).await;
    assert!(said.contains("none of the hosts") && said.contains("a standby") && said.contains("127.0.0.1, port 1"), "{said}");
}

/// Two clusters that were given one database by mistake: the second is refused, also when no node of the first runs.
#[tokio::test]
async fn a_second_cluster_in_one_database_is_refused_by_name() {
    let database = Database::start();
    let mut node = Node::start(options().database_url(&database.url)).await.unwrap();
    node.terminate().await.unwrap();
    let url = ("DATABASE_URL", database.url.as_str());
    let said = refused(&[url]).await;
    assert!(
        said.contains("that of another cluster") && said.contains("secrets.master_key") && said.contains("a database of its own"),
        "{said}"
    );
    let said = refused(&[url, ("NEXMDM__CLUSTER__NAME", "other")]).await;
    assert!(said.contains("\"other\"") && said.contains("cluster.name"), "{said}");
    // The same master key and another one beside it: a key that was replaced, and not made known.
    let folder = TempDir::new("rekeyed").unwrap();
    let secrets = folder.path().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    for key in ["master.key", "cluster.key"] {
        std::fs::copy(node.data_dir().join("secrets").join(key), secrets.join(key)).unwrap();
    }
    let data_dir = ("NEXMDM__DATA_DIR", folder.path().to_str().unwrap());
    let said = refused(&[url, data_dir]).await;
    assert!(said.contains("keys of this node") && said.contains("nexmdm cluster rekey"), "{said}");
    let mut rekey = std::process::Command::new(env!("CARGO_BIN_EXE_nexmdm"));
    let out = rekey.args(["cluster", "rekey"]).envs([url, data_dir]).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut renewed = options().database_url(&database.url).env(data_dir.0, data_dir.1);
    renewed.kept_dir = Some(folder.path().join("node"));
    Node::start(renewed).await.unwrap();
}

/// A table that somebody took away stands for whatever the database may answer.
#[tokio::test]
async fn a_failed_start_tells_its_cause() {
    let database = Database::start();
    let mut node = Node::start(options().database_url(&database.url)).await.unwrap();
    node.terminate().await.unwrap();
    // With the keys of the cluster.
    let variables = [("DATABASE_URL", database.url.as_str()), ("NEXMDM__DATA_DIR", node.data_dir().to_str().unwrap())];
    for table in ["app_user", "agent_build", "cluster_node", "shard", "device", "heartbeats"] {
        database.sql(&format!("ALTER TABLE {table} RENAME TO gone"));
        let said = refused(&variables).await;
        assert!(said.contains(table), "{table}: {said}");
        database.sql(&format!("ALTER TABLE gone RENAME TO {table}"));
    }
}

#[tokio::test]
async fn bad_settings_are_refused_by_name() {
    let folder = TempDir::new("certificate").unwrap();
    let file = folder.path().join("tls.pem");
    std::fs::write(&file, "no certificate").unwrap();
    let file = file.to_str().unwrap();
    for (variables, wanted) in [
        (vec![("NEXMDM__HTTP__PUBLIC_URL", "https://mdm.example.com\r")], "http.public_url"),
        (vec![("NEXMDM__HTTP__PUBLIC_URL", "https://mdm.example.com/mdm")], "http.public_url"),
        (vec![("NEXMDM__CLUSTER__NODE_NAME", "node-1\r")], "cluster.node_name"),
        (vec![("DATABASE_URL", "postgres://u:hunter2@127.0.0.1/x\r")], "DATABASE_URL"),
        (vec![("NEXMDM__HTTP__TLS_CERTIFICATE_FILE", file), ("NEXMDM__HTTP__TLS_KEY_FILE", file)], "http.tls_certificate_file"),
    ] {
        let said = refused(&variables).await;
        assert!(said.contains(wanted) && !said.contains("hunter2"), "{wanted}: {said}");
    }
}

/// Commands in a wrong folder say that there is nothing, and make nothing.
#[test]
fn a_command_in_a_wrong_folder_makes_no_database_there() {
    let folder = TempDir::new("wrong").unwrap();
    let key = crate::common::hex_key(1);
    for arguments in [
        &["user", "list"][..],
        &["user", "add", "ann"],
        &["token", "create"],
        &["migrate"],
        &["audit", "verify"],
        &["drain", "node-1"],
        &["database"],
        &["cluster", "issue", "--name", "node-2", "--out", "certificate"],
    ] {
        for keys in [&[][..], &[("NEXMDM__SECRETS__MASTER_KEY", key.as_str()), ("NEXMDM__SECRETS__JWT_KEY", key.as_str())]] {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nexmdm"));
            command.args(arguments).current_dir(folder.path()).env_remove("DATABASE_URL").env_remove("NEXMDM__DATA_DIR");
            let out = command.envs(keys.iter().copied()).stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8(out.stderr).unwrap();
            assert!(!out.status.success(), "{arguments:?}");
            let wanted = format!("in the data folder {}", folder.path().join("data").display());
            assert!(said.contains("there is no ") && said.contains(&wanted) && said.contains("NEXMDM__DATA_DIR"), "{arguments:?}: {said}");
            assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "{arguments:?} made something");
        }
    }
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_nexmdm"))
        .args(["config", "check"])
        .current_dir(folder.path())
        .env_remove("DATABASE_URL")
        .output()
        .unwrap();
    assert!(out.status.success() && std::fs::read_dir(folder.path()).unwrap().next().is_none(), "the check makes nothing");
}

/// A database of another server, and a folder without the keys that go with it.
#[tokio::test]
async fn a_command_without_the_keys_of_the_server_makes_none() {
    let database = Database::start();
    let folder = TempDir::new("keyless").unwrap();
    let data = folder.path().join("data");
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_nexmdm"))
        .args(["user", "list"])
        .env("DATABASE_URL", &database.url)
        .env("NEXMDM__DATA_DIR", &data)
        .output()
        .unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success() && said.contains("secrets.master_key") && said.contains(data.to_str().unwrap()), "{said}");
    assert!(!data.exists());
}

#[tokio::test]
async fn little_space_in_the_data_folder_is_warned_of() {
    let node = Node::start(options().env("NEXMDM__DATA_DIR_FREE_MIN_MB", "999999999")).await.unwrap();
    let log = node.log();
    assert!(log.contains("disk.low") && log.contains("data_dir_free_min_mb"), "{log}");
}

/// Sets the database's clock back, as its server's may be.
fn set_back(database: &Database, by: &str) {
    database.sql(&format!(
        "CREATE SCHEMA IF NOT EXISTS late;
         CREATE OR REPLACE FUNCTION late.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
             $$SELECT pg_catalog.clock_timestamp() - interval '{by}'$$;
         ALTER DATABASE nexmdm SET search_path = public, late, pg_catalog"
    ));
}

#[tokio::test]
async fn a_clock_that_is_minutes_off_from_the_databases_is_refused() {
    let database = Database::start();
    for (by, direction) in [("10 minutes", "ahead of"), ("-10 minutes", "behind")] {
        set_back(&database, by);
        let said = refused(&[("DATABASE_URL", &database.url)]).await;
        assert!(
            said.contains("clock of this machine") && said.contains(direction) && said.contains("cluster.clock_offset_refused_ms"),
            "{said}"
        );
        assert!(said.contains(" 599 s ") || said.contains(" 600 s "), "{said}");
        assert!(said.contains("NTP"), "{said}");
    }
}

#[tokio::test]
async fn a_clock_that_is_off_from_the_databases_is_warned_of() {
    let database = Database::start();
    set_back(&database, "4 minutes");
    let node = Node::start(options().database_url(&database.url)).await.unwrap();
    let line =
        eventually("a warning", async || node.log().lines().find(|line| line.contains("clock.offset_exceeded")).map(str::to_owned)).await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let offset_ms = line["offset_ms"].as_i64().unwrap();
    assert!((220_000..250_000).contains(&offset_ms), "{line}");
    assert_eq!((&line["setting"], line["max_ms"].as_i64()), (&"cluster.clock_offset_max_ms".into(), Some(2000)), "{line}");
}
