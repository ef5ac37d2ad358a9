//! The harness on a stand-in for the node: this test executable, told by a
//! script to be one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use chaos::client::Client;
use chaos::harness::{Node, NodeOptions, TempDir};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::support::{folder, scheduling};

/// A script that becomes `stub_node` below.
fn stub(folder: &TempDir, script: &str) -> PathBuf {
    scheduling::shared();
    let path = folder.path().join("nexmdm");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn be_stub_node(folder: &TempDir) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    stub(folder, &format!("exec '{}' harness::stub_node --exact --ignored --nocapture", own.display()))
}

#[tokio::test]
#[ignore = "not a test: what the tests start in place of a node"]
async fn stub_node() {
    let Ok(address) = std::env::var("NEXMDM__HTTP__LISTEN") else { return };
    let starts = PathBuf::from(std::env::var("NEXMDM__DATA_DIR").unwrap()).join("starts");
    let before = fs::read_to_string(&starts).unwrap_or_default();
    fs::write(&starts, format!("{before}x")).unwrap();
    println!("password {}", std::env::var("NEXMDM__ADMIN__INITIAL_PASSWORD").unwrap());
    let listener = TcpListener::bind(address).await.unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            accepted = listener.accept() => {
                let (mut stream, _) = accepted.unwrap();
                let _ = stream.read(&mut [0; 1_024]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").await;
            }
        }
    }
}

#[tokio::test]
async fn a_node_starts_stops_dies_and_comes_back_with_port_and_data() {
    let folder = folder();
    let mut node = Node::start(NodeOptions::new(be_stub_node(&folder))).await.unwrap();
    let (url, data_dir) = (node.url(), node.data_dir().to_owned());
    assert!(node.log().contains("password correct-horse"));
    assert_eq!(fs::metadata(&data_dir).unwrap().permissions().mode() & 0o777, 0o755);

    assert!(node.terminate().await.unwrap().success());
    assert_eq!(node.pid(), None);
    node.restart().await.unwrap();
    node.kill9().unwrap();
    node.restart().await.unwrap();
    assert_eq!(node.url(), url);
    assert_eq!(fs::read_to_string(data_dir.join("starts")).unwrap(), "xxx");

    let pid = node.pid().unwrap();
    drop(node);
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
    assert!(!data_dir.exists());
}

#[tokio::test]
async fn a_frozen_node_answers_once_it_is_thawed() {
    let folder = folder();
    let node = Node::start(NodeOptions::new(be_stub_node(&folder))).await.unwrap();
    let limits = chaos::http::HttpLimits { timeout: Duration::from_millis(300), ..Default::default() };
    let client = Client::with_limits(&node.url(), limits).unwrap();
    node.suspend().unwrap();
    assert_eq!(client.get("/readyz", None).await.unwrap_err().kind(), "timeout");
    node.resume().unwrap();
    assert_eq!(client.get("/readyz", None).await.unwrap().status, 200);
    node.suspend().unwrap(); // dropping it now must not hang
}

#[tokio::test]
async fn a_node_that_fails_shows_why() {
    let folder = folder();
    let options = NodeOptions::new(stub(&folder, "echo 'no such database' >&2; exit 3"));
    let Err(error) = Node::start(options).await else { panic!("it cannot start") };
    let text = error.to_string();
    assert!(text.contains("no such database") && text.contains('3'), "{text}");
}

#[tokio::test]
async fn a_node_that_is_never_ready_is_given_up() {
    let folder = folder();
    let mut options = NodeOptions::new(stub(&folder, "echo waiting; exec sleep 60"));
    options.ready_within = Duration::from_millis(300);
    let Err(error) = Node::start(options).await else { panic!("it cannot be ready") };
    assert!(error.to_string().contains("not ready within") && error.to_string().contains("waiting"), "{error}");
}
