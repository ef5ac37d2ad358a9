//! Databases are apart from each other, and nothing outlives the test binary.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use test_database::TestDatabase;

#[tokio::test]
async fn each_database_is_migrated_and_apart() {
    let (one, other) = tokio::join!(TestDatabase::new(), TestDatabase::new());
    assert!(one.store().is_migrated().await.unwrap());
    one.execute("INSERT INTO feature_flag VALUES ('a', true, 'somebody', now())").await;
    assert_eq!(one.value::<i64>("SELECT count(*) FROM feature_flag").await, 1);
    assert_eq!(other.value::<i64>("SELECT count(*) FROM feature_flag").await, 0);
}

#[tokio::test]
async fn a_dropped_database_is_removed() {
    let (dropped, kept) = tokio::join!(TestDatabase::new(), TestDatabase::new());
    let name: String = dropped.value("SELECT current_database()::text").await;
    drop(dropped);
    // Databases are made and removed in the order in which that was asked for.
    let _later = TestDatabase::new().await;
    assert_eq!(kept.value::<i64>(&format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'")).await, 0);
}

/// Tells where its server is, and waits to be killed.
#[tokio::test]
#[ignore = "started by `a_killed_test_leaves_no_server`"]
async fn a_test_that_hangs() {
    let database = TestDatabase::new().await;
    let folder: String = database.value("SELECT current_setting('data_directory')").await;
    println!("\ndata={folder}");
    std::future::pending::<()>().await;
}

#[test]
fn a_killed_test_leaves_no_server() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_test_that_hangs", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let data = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("data=").map(PathBuf::from)).expect("the server's folder");
    let pid = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let pid = Pid::from_raw(pid.lines().next().unwrap().parse().unwrap()).unwrap();
    assert!(test_kill_process(pid).is_ok());
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    eventually_gone(&data, pid);
}

fn eventually_gone(data: &Path, pid: Pid) {
    let folder = data.ancestors().nth(2).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while folder.exists() || test_kill_process(pid).is_ok() {
        assert!(Instant::now() < until, "{} or process {pid:?} is still there", folder.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}
