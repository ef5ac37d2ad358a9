//! The command line for operators, against a real node, with and without TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use chaos::harness::{Node, TempDir};
use common::{Bench, eventually, options};
use serde_json::Value;

/// A person's machine: where `ctl` remembers a sign-in.
struct Terminal(TempDir);

/// What a command said.
struct Said {
    good: bool,
    out: String,
    err: String,
}

impl Terminal {
    fn new() -> Self {
        Self(TempDir::new("ctl").unwrap())
    }

    fn remembered(&self) -> PathBuf {
        self.0.path().join("nexmdm/ctl.json")
    }

    fn ctl(&self, arguments: &[&str], stdin: &str) -> Said {
        use std::io::Write;
        let mut child = Command::new(env!("CARGO_BIN_EXE_nexmdm"))
            .arg("ctl")
            .args(arguments)
            .env("XDG_CONFIG_HOME", self.0.path())
            // Nothing of a server's is there.
            .env("NEXMDM__DATA_DIR", "/nonexistent")
            .env_remove("NEXMDM_SERVER")
            .env_remove("NEXMDM_TOKEN")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        Said { good: out.status.success(), out: String::from_utf8(out.stdout).unwrap(), err: String::from_utf8(out.stderr).unwrap() }
    }

    /// A command that must succeed; what it printed.
    fn good(&self, arguments: &[&str]) -> String {
        let said = self.ctl(arguments, "");
        assert!(said.good, "{arguments:?}: {}{}", said.out, said.err);
        said.out
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.good(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// A command that must fail; why it said that it did.
    fn bad(&self, arguments: &[&str]) -> String {
        let said = self.ctl(arguments, "");
        assert!(!said.good, "{arguments:?}: {}", said.out);
        said.err
    }
}

#[tokio::test]
async fn an_operator_runs_the_fleet_from_a_terminal() {
    let bench = Bench::start().await;
    let (terminal, url) = (Terminal::new(), bench.node.url());
    assert!(terminal.bad(&["devices", "list"]).contains("nexmdm ctl login"));
    let wrong = terminal.ctl(&["login", "--server", &url, "-u", "admin", "--password-stdin"], "wrong\n");
    assert!(!wrong.good && !wrong.err.contains("wrong\n"), "{}", wrong.err);
    let said = terminal.ctl(&["login", "--server", &url, "-u", "admin", "--password-stdin"], bench.node.admin_password());
    assert!(said.good && said.out.contains("as admin (admin)"), "{}{}", said.out, said.err);
    assert_eq!(std::fs::metadata(terminal.remembered()).unwrap().permissions().mode() & 0o777, 0o600);

    let made = terminal.good(&["tokens", "create", "--count", "2", "--alias-pattern", "shop-{n}", "--tag", "till"]);
    let tokens: Vec<&str> = made.lines().collect();
    assert_eq!(tokens.len(), 2, "{made}");
    for token in &tokens {
        let answer = bench.client.register(token, &wire::agent::RegisterRequest::default()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.detail());
    }
    assert_eq!(terminal.json(&["tokens", "list", "--status", "used"]).as_array().unwrap().len(), 2);
    let table = terminal.good(&["devices", "list", "--tag", "till"]);
    assert!(table.contains("ALIAS") && table.contains("shop-1") && table.contains("shop-2"), "{table}");
    assert_eq!(terminal.json(&["devices", "show", "shop-1"])["tags"][0], "till");
    assert!(terminal.good(&["stats"]).contains("Devices"));
    assert!(terminal.good(&["cluster", "show"]).contains("active"));

    // It asks before it deletes; a script has to say that it means it.
    assert!(terminal.bad(&["devices", "delete", "shop-1"]).contains("--yes"));
    terminal.good(&["devices", "delete", "shop-1", "--yes"]);
    assert!(terminal.bad(&["devices", "show", "shop-1"]).contains("no device shop-1"));
    assert_eq!(terminal.json(&["devices", "list", "--deleted", "--sort", "-enrolled_at"])[0]["alias"], "shop-1");
    terminal.good(&["devices", "restore", "shop-1"]);

    // What a spreadsheet did to the export, first as a preview.
    terminal.good(&["devices", "edit", "shop-1", "--add-tag", "front", "--add-group", "berlin"]);
    let table = terminal.remembered().with_file_name("devices.csv");
    let file = table.to_str().unwrap();
    terminal.good(&["devices", "export", "--file", file]);
    std::fs::write(&table, std::fs::read_to_string(&table).unwrap().replace("front", "back")).unwrap();
    let preview = terminal.good(&["devices", "import", file]);
    assert!(preview.contains("1 devices would change") && preview.contains("back"), "{preview}");
    assert!(terminal.good(&["devices", "import", file, "--apply"]).contains("1 devices changed"));
    assert_eq!(terminal.json(&["devices", "show", "shop-1"])["tags"], serde_json::json!(["back", "till"]));
    assert!(terminal.good(&["devices", "events", "shop-1"]).contains("edited"));

    // The script of a token, for devices that have the agent.
    let token = terminal.good(&["tokens", "create"]);
    let script = terminal.good(&["tokens", "script", token.trim(), "--no-install", "--server-url", "https://mdm.example.com"]);
    assert!(script.starts_with("#!/usr/bin/env bash") && script.contains("https://mdm.example.com"), "{script}");

    // A script's token does what its scopes say.
    let made = terminal.good(&["api-tokens", "create", "report", "--scope", "devices:read"]);
    assert!(terminal.good(&["--token", made.trim(), "devices", "list"]).contains("shop-1"));
    assert!(terminal.bad(&["--token", made.trim(), "users", "list"]).contains("users:manage"));
    assert!(terminal.good(&["users", "add", "ann", "--role", "operator"]).contains("Password: "));
    terminal.good(&["users", "disable", "ann"]);
    assert!(terminal.good(&["users", "list"]).contains("ann"));
    assert!(terminal.bad(&["tokens", "revoke", "nonsense"]).contains("no such"));
    assert!(terminal.good(&["completion", "bash"]).contains("nexmdm"));

    // The sign-in renews itself: an access token that has ended is no end of it.
    let mut kept: Value = serde_json::from_slice(&std::fs::read(terminal.remembered()).unwrap()).unwrap();
    let before = kept["refresh_token"].clone();
    kept["expires_at"] = "2020-01-01T00:00:00Z".into();
    std::fs::write(terminal.remembered(), kept.to_string()).unwrap();
    terminal.good(&["devices", "list"]);
    let after: Value = serde_json::from_slice(&std::fs::read(terminal.remembered()).unwrap()).unwrap();
    assert_ne!(after["refresh_token"], before);

    terminal.good(&["logout"]);
    assert!(!terminal.remembered().exists());
    assert!(terminal.bad(&["stats"]).contains("not signed in"));
    assert!(terminal.bad(&["--server", &url, "--token", "nonsense", "stats"]).contains("login"));
}

#[tokio::test]
async fn a_node_speaks_tls_by_itself() {
    let folder = TempDir::new("tls").unwrap();
    let (certificate, key) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let options = options()
        .env("NEXMDM__HTTP__TLS_CERTIFICATE_FILE", certificate.display().to_string())
        .env("NEXMDM__HTTP__TLS_KEY_FILE", key.display().to_string());
    let mut node = Node::spawn(options).unwrap();
    let (terminal, url) = (Terminal::new(), node.url().replacen("http", "https", 1));
    let authority = certificate.display().to_string();
    let sign_in = ["--server", &url, "--ca-file", &authority, "login", "-u", "admin", "--password-stdin"];
    eventually("a sign-in over TLS", async || terminal.ctl(&sign_in, node.admin_password()).good.then_some(())).await;
    assert!(terminal.good(&["stats"]).contains("Devices"));
    // Who does not trust the certificate, or speaks plain HTTP, gets nothing.
    let stranger = Terminal::new();
    assert!(!stranger.ctl(&["--server", &url, "login", "-u", "admin", "--password-stdin"], node.admin_password()).good);
    assert!(chaos::client::Client::new(&node.url()).unwrap().get("/healthz", None).await.is_err());
    assert!(node.log().contains("https://"), "{}", node.log());
    // Who connects and says nothing holds up no stop.
    let _silent = tokio::net::TcpStream::connect(("127.0.0.1", node.port())).await.unwrap();
    assert!(node.terminate().await.unwrap().success());
    assert!(!node.log().contains("node.drain_incomplete"), "{}", node.log());
}
