//! `nexmdm doctor`: beside a node that is well, and where nothing is.

use std::process::{Command, Output};

use chaos::fcm::{FakeFcm, FakeFcmOptions};
use chaos::harness::{TempDir, free_port};
use chaos::sink::AlertSinks;
use serde_json::Value;

use crate::common::Bench;

/// The doctor with nothing but these variables.
fn doctor(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexmdm"));
    command.arg("doctor").args(arguments).env_clear().env("PATH", path).envs(variables.iter().copied());
    command.output().unwrap()
}

/// Verdict and text of a check.
fn of<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no {check:?} in {report:#}"));
    (found["verdict"].as_str().unwrap(), found["found"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_node_that_is_well_nothing_fails() {
    let bench = Bench::start().await;
    let (fcm, sinks) = (FakeFcm::start(FakeFcmOptions::default()).await.unwrap(), AlertSinks::start().await.unwrap());
    let folder = TempDir::new("doctor").unwrap();
    let account = folder.path().join("fcm.json");
    fcm.write_account(&account).unwrap();
    let (data_dir, mail_port) = (bench.node.data_dir().to_str().unwrap().to_owned(), sinks.mail_address().port().to_string());
    let listen = format!("127.0.0.1:{}", bench.node.port());
    let fcm_url = fcm.url();
    let variables = [
        ("NEXMDM__DATA_DIR", data_dir.as_str()),
        ("NEXMDM__HTTP__LISTEN", &listen),
        ("NEXMDM__FCM__SERVICE_ACCOUNT_FILE", account.to_str().unwrap()),
        ("NEXMDM__FCM__BASE_URL", &fcm_url),
        ("NEXMDM__SMTP__HOST", "127.0.0.1"),
        ("NEXMDM__SMTP__PORT", &mail_port),
        ("NEXMDM__SMTP__TLS", "none"),
        ("NEXMDM__SMTP__FROM", "mdm@example.org"),
        ("NEXMDM__DATA_DIR_FREE_MIN_MB", "1"),
    ];
    let run = || doctor(&["--output", "json"], &variables);
    // The stand-ins answer meanwhile.
    let out = tokio::task::block_in_place(run);
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(out.status.success() && report["ok"] == true, "{report:#}\n{}", String::from_utf8_lossy(&out.stderr));
    for check in [
        "keys",
        "database",
        "database version",
        "database durability",
        "database connections",
        "migrations",
        "clock",
        "peers",
        "push (FCM)",
        "mail (SMTP)",
    ] {
        assert_eq!(of(&report, check).0, "ok", "{check}: {report:#}");
    }
    assert_eq!(of(&report, "backups").0, "warning");
    assert!(fcm.counts().messages == 0 && sinks.arrivals().is_empty(), "nothing is sent");

    // Another node that does not answer, and a database that loses commits.
    bench.sql(
        "INSERT INTO cluster_node (node_id, name, cluster_addr, http_url, version, protocol_min, protocol_max, lock_identity, state, expires_at)
         SELECT gen_random_uuid(), 'away', '127.0.0.1:1', 'http://127.0.0.1:1', version, protocol_min, protocol_max, 'elsewhere', 'active', now() + interval '1 hour'
         FROM cluster_node LIMIT 1",
    );
    bench.sql("ALTER ROLE nexmdm SET synchronous_commit = off");
    let out = tokio::task::block_in_place(run);
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(out.status.code() == Some(1) && report["ok"] == false, "{report:#}");
    let (verdict, found) = of(&report, "peer away");
    assert!(verdict == "failed" && found.starts_with("127.0.0.1:1: "), "{found}");
    let (verdict, found) = of(&report, "database durability");
    assert!(verdict == "failed" && found.contains("synchronous_commit"), "{found}");
}

#[test]
fn where_nothing_is_well_each_is_named_with_what_to_do_and_no_secret() {
    let folder = TempDir::new("doctor").unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "no certificate").unwrap();
    let (text, port) = (text.to_str().unwrap(), free_port().unwrap());
    let (data_dir, url) = (folder.path().join("none"), format!("postgres://mdm:hunter2@127.0.0.1:{port}/mdm"));
    let mail_port = port.to_string();
    let variables = [
        ("NEXMDM__DATA_DIR", data_dir.to_str().unwrap()),
        ("DATABASE_URL", url.as_str()),
        ("NEXMDM__DATABASE__ACQUIRE_TIMEOUT_MS", "500"),
        ("NEXMDM__HTTP__TLS_CERTIFICATE_FILE", text),
        ("NEXMDM__HTTP__TLS_KEY_FILE", text),
        ("NEXMDM__SMTP__HOST", "127.0.0.1"),
        ("NEXMDM__SMTP__PORT", &mail_port),
        ("NEXMDM__SMTP__FROM", "mdm@example.org"),
        ("NEXMDM__SMTP__USERNAME", "mdm"),
        ("NEXMDM__SMTP__PASSWORD", "hunter2"),
        ("NEXMDM__FCM__SERVICE_ACCOUNT_FILE", text),
        ("NEXMDM__TRACING__OTLP_URL", "http://127.0.0.1:1"),
    ];
    let out = doctor(&["--output", "json"], &variables);
    assert_eq!(out.status.code(), Some(1));
    let (shown, told) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    assert!(!shown.contains("hunter2") && !told.contains("hunter2"), "{shown}{told}");
    let report: Value = serde_json::from_str(&shown).unwrap();
    for check in ["database", "HTTPS certificate", "push account", "push (FCM)", "mail (SMTP)"] {
        assert_eq!(of(&report, check).0, "failed", "{check}: {report:#}");
    }
    assert_eq!((of(&report, "disk").0, of(&report, "trace collector").0), ("warning", "warning"));
    for finding in report["findings"].as_array().unwrap().iter().filter(|finding| finding["verdict"] != "ok") {
        assert!(finding["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{finding}");
    }
    assert!(told.contains("checks failed"), "{told}");
    assert!(!data_dir.exists(), "nothing is made");

    // People read the same, and a configuration that does not read is one finding.
    let out = doctor(&[], &[("NEXMDM__HTTP__LISTEN", "somewhere")]);
    let shown = String::from_utf8(out.stdout).unwrap();
    assert!(
        out.status.code() == Some(1) && shown.starts_with("FAILED") && shown.contains("http.listen") && shown.contains("-> "),
        "{shown}"
    );
}
