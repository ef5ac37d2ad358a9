//! The `chaos` command as people start it.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{FakeNode, PASSWORD, folder, scheduling};

fn chaos() -> Command {
    scheduling::shared();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

#[tokio::test]
async fn sigterm_ends_a_fleet_with_its_summary_and_its_state() {
    let (node, folder) = (FakeNode::start().await, folder());
    let child = chaos()
        .args(["fleet", "--server", &node.url, "--devices", "20", "--interval", "100ms", "--transport", "mix"])
        .arg("--state-dir")
        .arg(folder.path().join("state"))
        .env("NEXMDM_ENROLL_WITH", PASSWORD)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    node.until("all devices talk", |w| w.stored.keys().map(|(id, _)| id).collect::<std::collections::BTreeSet<_>>().len() == 20).await;
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let output = timeout(Duration::from_secs(10), child.wait_with_output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("20 (20 enrolled now)") && out.contains("errors         none"), "{out}{err}");
    assert!(!format!("{out}{err}").contains("correct-horse"));
    assert!(folder.path().join("state/sessions.jsonl").exists());
}

#[tokio::test]
async fn https_is_refused_with_a_reason() {
    let output = chaos().args(["fleet", "--server", "https://127.0.0.1:1"]).output().await.unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("plain http"));
}

#[tokio::test]
async fn a_node_that_is_not_there_is_waited_for_until_stopped() {
    let folder = folder();
    let mut command = chaos();
    command
        .args(["fleet", "--server", "http://127.0.0.1:1", "--enroll-with", "a:b", "--devices", "1"])
        .arg("--state-dir")
        .arg(folder.path());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = timeout(Duration::from_secs(5), lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains("waiting for the node") && line.contains("connecting failed"), "{line}");
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert!(timeout(Duration::from_secs(5), child.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn help_names_every_command() {
    let output = chaos().arg("--help").output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for word in ["fleet", "load", "bench"] {
        assert!(text.contains(word), "{word}");
    }
}
