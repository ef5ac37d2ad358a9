//! `chaos bench` from its command line to its report, on a stand-in for the
//! node: this test executable, told by a script to be one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{FakeNode, folder, scheduling};

#[tokio::test]
#[ignore = "not a test: what the bench starts in place of a node"]
async fn stub_node() {
    if let Ok(address) = std::env::var("NEXMDM__HTTP__LISTEN") {
        let _node = FakeNode::start_at(&address).await;
        std::future::pending::<()>().await; // until SIGTERM
    }
}

#[tokio::test]
async fn a_figure_is_measured_and_reported_with_its_conditions() {
    scheduling::exclusive();
    let folder = folder();
    let (node, report) = (folder.path().join("nexmdm"), folder.path().join("report.json"));
    let own = std::env::current_exe().unwrap();
    fs::write(&node, format!("#!/bin/sh\nexec '{}' bench::stub_node --exact --ignored --nocapture\n", own.display())).unwrap();
    fs::set_permissions(&node, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.kill_on_drop(true).args(["bench", "--quick", "--only", "durable"]);
    command.arg("--nexmdm").arg(&node).arg("--work-dir").arg(folder.path()).arg("--json").arg(&report);
    let output = timeout(Duration::from_secs(60), command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{out}{err}");
    for part in ["cores, ", "durable heartbeats: closed loop, 64 connections, 500 devices", "/s  (at least 10000 /s:", "generator 0."] {
        assert!(out.contains(part), "{part} in {out}{err}");
    }
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["quick"], true);
    assert!(report["conditions"]["cores"].as_u64().unwrap() > 0);
    let rate = &report["figures"][0]["values"][0];
    assert!(rate["label"] == "rate" && rate["value"].as_f64().unwrap() > 100.0, "{report}");
}
