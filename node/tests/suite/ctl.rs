//! The command line for operators, against a real node, with and without TLS.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use chaos::harness::{Node, TempDir};
use serde_json::{Value, json};
use wire::socket::DownFrame;

use crate::common::apks::fixture;
use crate::common::{Bench, api_token, eventually, options};

/// A person's machine: where `ctl` remembers a sign-in.
struct Terminal(TempDir);

/// Exit status and output of a command.
struct CtlOutput {
    good: bool,
    out: String,
    err: String,
}

impl CtlOutput {
    fn of(child: Child) -> Self {
        let out = child.wait_with_output().unwrap();
        Self { good: out.status.success(), out: String::from_utf8(out.stdout).unwrap(), err: String::from_utf8(out.stderr).unwrap() }
    }
}

impl Terminal {
    fn new() -> Self {
        Self(TempDir::new("ctl").unwrap())
    }

    fn remembered(&self) -> PathBuf {
        self.0.path().join("nexmdm/ctl.json")
    }

    fn ctl(&self, arguments: &[&str], stdin: &str) -> CtlOutput {
        use std::io::Write;
        let mut child = self.started(arguments);
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        CtlOutput::of(child)
    }

    /// A command whose output nobody reads, as behind `head` when that has enough.
    fn unread(&self, arguments: &[&str]) -> CtlOutput {
        let mut child = self.started(arguments);
        drop(child.stdout.take());
        CtlOutput::of(child)
    }

    fn started(&self, arguments: &[&str]) -> Child {
        self.started_with(arguments, &[])
    }

    /// A command with variables in its environment.
    fn started_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_nexmdm"))
            .arg("ctl")
            .args(arguments)
            .env("XDG_CONFIG_HOME", self.0.path())
            // Nothing of a server's is there.
            .env("NEXMDM__DATA_DIR", "/nonexistent")
            .env_remove("NEXMDM_SERVER")
            .env_remove("NEXMDM_TOKEN")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
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
    let unread = terminal.unread(&["devices", "list"]);
    assert!(unread.good && unread.err.is_empty(), "{}", unread.err);
    assert_eq!(terminal.json(&["devices", "show", "shop-1"])["tags"][0], "till");
    assert!(terminal.good(&["stats"]).contains("Devices"));
    assert!(terminal.good(&["cluster", "show"]).contains("active"));
    assert!(terminal.good(&["cluster", "reconcilers"]).contains("sign_in_retention"));

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
    assert!(preview.contains("1 device would change") && preview.contains("back"), "{preview}");
    assert!(terminal.good(&["devices", "import", file, "--apply"]).contains("1 device changed"));
    assert_eq!(terminal.json(&["devices", "show", "shop-1"])["tags"], json!(["back", "till"]));
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

/// A device that does what it is told, but does not start anew.
async fn obeying(bench: &Bench, alias: &str) -> tokio::task::JoinHandle<()> {
    let device = bench.enroll(alias).await;
    let mut socket = bench.client.socket(&device.session_token).await.unwrap().unwrap();
    tokio::spawn(async move {
        loop {
            match socket.next().await {
                Ok(Some(DownFrame::Command(command))) => {
                    let (outcome, message) =
                        if command.action == "reboot" { ("failed", "not its owner") } else { ("success", "as you wish") };
                    let result =
                        json!({"type": "action_result", "id": 1, "request_id": command.request_id, "outcome": outcome, "message": message});
                    socket.send_text(result.to_string()).await.unwrap();
                }
                // No frame for a while is no end.
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => return,
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_are_told_what_to_do_from_a_terminal() {
    let bench = Bench::start().await;
    let (terminal, url) = (Terminal::new(), bench.node.url());
    let said = terminal.ctl(&["login", "--server", &url, "-u", "admin", "--password-stdin"], bench.node.admin_password());
    assert!(said.good, "{}", said.err);
    let robot = obeying(&bench, "shop-1").await;
    bench.enroll("shop-2").await;

    // One device, and the exit code tells how it ended.
    let said = terminal.ctl(&["commands", "send", "shop-1", "ring", "--param", "duration_s=3", "--wait"], "");
    assert!(said.good && said.out.contains("as you wish") && said.err.contains("succeeded"), "{}{}", said.out, said.err);
    let listed = terminal.json(&["commands", "list", "--device", "shop-1", "--state", "succeeded"]);
    assert_eq!(listed[0]["params"]["duration_s"], 3);
    let shown = terminal.good(&["commands", "show", listed[0]["request_id"].as_str().unwrap()]);
    assert!(shown.contains("shop-1") && shown.contains("socket"), "{shown}");
    assert!(terminal.bad(&["commands", "send", "shop-1", "ring", "-p", "duration_s=900"]).contains("params.duration_s"));
    assert!(terminal.bad(&["commands", "send", "nobody", "ping"]).contains("no device nobody"));
    assert!(terminal.bad(&["commands", "send", "shop-1", "reboot"]).contains("--yes"));
    let said = terminal.ctl(&["commands", "send", "shop-1", "reboot", "--yes", "--wait"], "");
    assert!(!said.good && said.err.contains("reboot failed") && said.out.contains("not its owner"), "{}{}", said.out, said.err);
    // A secret comes from standard input and is shown nowhere.
    let wifi =
        ["commands", "send", "shop-1", "wifi_connect", "-p", "ssid=shop", "-p", "security=wpa2", "--param-stdin", "password", "--wait"];
    let said = terminal.ctl(&wifi, "open sesame\n");
    assert!(said.good && !said.out.contains("sesame") && said.out.contains("***"), "{}{}", said.out, said.err);
    // The same call again is the same command.
    let once = ["commands", "send", "shop-1", "ping", "--idempotency-key", "nightly-7"];
    assert_eq!(terminal.json(&once)["request_id"], terminal.json(&once)["request_id"]);
    // Nobody is there: it waits no longer than it is told to, and the command is taken back.
    let said = terminal.ctl(&["commands", "send", "shop-2", "ping", "--wait", "--wait-at-most", "1"], "");
    assert!(!said.good && said.err.contains("still pending"), "{}{}", said.out, said.err);
    let note = said.err.lines().next().unwrap_or_default();
    assert!(note.starts_with("shop-2 is offline.") && note.contains("with its next check-in"), "{note}");
    let waiting = terminal.json(&["commands", "list", "--device", "shop-2"]);
    let waiting = waiting[0]["request_id"].as_str().unwrap();
    terminal.good(&["commands", "cancel", waiting]);
    assert_eq!(terminal.json(&["commands", "show", waiting])["state"], "canceled");
    assert!(terminal.bad(&["commands", "show", "nonsense"]).contains("no such"));

    // Many: nothing is said of which, so nothing is done; a dry run does nothing either.
    assert!(terminal.bad(&["batches", "create", "ping"]).contains("--all"));
    assert!(terminal.bad(&["batches", "create", "ping", "--device", "shop-1", "--tag", "x"]).contains("either"));
    let dry = terminal.good(&["batches", "create", "ping", "--all", "--dry-run"]);
    assert!(dry.contains("To send") && dry.contains("Immediately (connected)"), "{dry}");
    assert!(terminal.bad(&["batches", "create", "lock", "--text", "shop"]).contains("Send lock to 2 devices? Add --yes"));
    assert_eq!(bench.sql("SELECT count(*) FROM command_batch"), "0");
    let made = terminal.json(&["batches", "create", "ping", "--device", "shop-1", "--device", "shop-2", "--rate", "10"]);
    let batch = made["id"].as_str().unwrap();
    eventually("one has answered", async || (terminal.json(&["batches", "show", batch])["counts"]["succeeded"] == 1).then_some(())).await;
    assert!(terminal.good(&["batches", "list"]).contains(batch));
    let items = terminal.good(&["batches", "items", batch, "--state", "succeeded"]);
    assert!(items.contains("shop-1") && !items.contains("shop-2"), "{items}");
    assert!(terminal.bad(&["batches", "cancel", batch]).contains("--yes"));
    let canceled = terminal.good(&["batches", "cancel", batch, "--yes"]);
    assert!(canceled.contains("1 succeeded, 1 canceled"), "{canceled}");
    let shown = terminal.good(&["batches", "show", batch, "--watch"]);
    assert!(shown.contains("Canceled") && shown.contains("Succeeded"), "{shown}");
    let table = terminal.remembered().with_file_name("batch.csv");
    terminal.good(&["batches", "csv", batch, "--file", table.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(&table).unwrap().lines().count(), 3);

    // What may be run on devices.
    assert!(terminal.bad(&["exec-commands", "set", "shell", "--", "/system/bin/sh", "-c", "id"]).contains("argv[0]"));
    terminal.good(&["exec-commands", "set", "logs", "--description", "the newest lines", "--", "/system/bin/logcat", "-d"]);
    assert!(terminal.good(&["exec-commands", "list"]).contains("/system/bin/logcat, -d"));
    assert!(terminal.good(&["commands", "send", "shop-1", "exec", "-p", "name=logs", "--yes", "--wait"]).contains("as you wish"));
    assert!(terminal.bad(&["exec-commands", "remove", "logs"]).contains("--yes"));
    terminal.good(&["exec-commands", "remove", "logs", "--yes"]);
    assert_eq!(terminal.json(&["exec-commands", "list"]), json!([]));
    robot.abort();
}

#[tokio::test]
async fn an_agent_is_published_with_one_call_and_an_api_token() {
    let bench = Bench::start().await;
    let (terminal, url) = (Terminal::new(), bench.node.url());
    let scopes = ["apks:upload", "deployments:read", "agent_builds:manage", "packages:manage"];
    let made = api_token(&bench.client, &bench.admin, &scopes).await;
    let token = made["token"].as_str().unwrap().to_owned();
    let files = TempDir::new("agent").unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = files.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let agent = file("agent.apk", &fixture("agent-121.apk"));
    // As a pipeline has it: server and token in the environment.
    let publish = |file: &str, arguments: &[&str]| {
        let arguments = [&["agent-builds", "publish", file], arguments].concat();
        CtlOutput::of(terminal.started_with(&arguments, &[("NEXMDM_SERVER", &url), ("NEXMDM_TOKEN", &token)]))
    };
    let refused = |file: &str, arguments: &[&str], why: &str| {
        let said = publish(file, arguments);
        assert!(!said.good && said.err.contains(why), "{file} {arguments:?}: {}{}", said.out, said.err);
        assert!(!said.err.contains(&token), "{}", said.err);
    };

    // Nothing of these is sent.
    let altered = {
        let mut bytes = fixture("agent-121.apk");
        bytes[200] ^= 1;
        file("altered.apk", &bytes)
    };
    let percent = ["--percent", "1", "--yes"];
    refused("/nonexistent.apk", &percent, "No such file");
    refused(&file("text.apk", b"hello"), &percent, "not an APK");
    refused(&altered, &percent, "altered.apk: the signature does not match");
    refused(&file("till.apk", &fixture("till-1.apk")), &percent, "an APK of com.example.till, not of the agent com.nexmdm");
    refused(&agent, &["--percent", "101", "--yes"], "rollout_percent: 101 is outside 1..100");
    refused(&agent, &percent, "--allow-package");
    refused(
        &agent,
        &["--percent", "1", "--allow-package"],
        "Publish 1.0.121 (121) of com.nexmdm and offer it to 1 % of the devices? Add --yes",
    );
    assert_eq!(
        bench.sql("SELECT (SELECT count(*) FROM apk_upload) + (SELECT count(*) FROM apk) + (SELECT count(*) FROM managed_package)"),
        "0"
    );

    let said = publish(&agent, &["--percent", "1", "--yes", "--allow-package", "--notes", "Reconnects sooner", "--min-battery", "20"]);
    assert!(said.good, "{}{}", said.out, said.err);
    for line in ["Allowed com.nexmdm", "Uploaded ", "Added build ", "1.0.121 (121) is offered to 1 % of the devices"] {
        assert!(said.out.contains(line), "no {line}: {}", said.out);
    }
    let state =
        "SELECT state || ' ' || rollout_percent || ' ' || wifi_only || ' ' || min_battery_pct || ' ' || release_notes FROM agent_build";
    assert_eq!(bench.sql(state), "promoted 1 true 20 Reconnects sooner");

    // Again: nothing is sent or made twice, and the share is as asked for now.
    let said = publish(&agent, &["--percent", "5", "--yes", "--mobile-data", "--notes", "other", "-o", "json"]);
    assert!(said.good, "{}{}", said.out, said.err);
    let build: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&build["rollout_percent"], &build["wifi_only"], &build["release_notes"]),
        (&json!(5), &json!(false), &json!("Reconnects sooner"))
    );
    assert_eq!(bench.sql("SELECT (SELECT count(*) FROM apk) || ' ' || (SELECT count(*) FROM agent_build)"), "1 1");

    // A file that somebody uploaded is gone on with.
    crate::common::apks::add(&bench.client, &bench.admin, "agent-122.apk").await;
    let next = file("next.apk", &fixture("agent-122.apk"));
    let said = publish(&next, &["--percent", "100", "--yes", "--must-install"]);
    assert!(said.good && said.out.contains("already has this file") && said.out.contains("Added build"), "{}{}", said.out, said.err);

    // What was taken out is not offered again by a pipeline that runs once more.
    let build = bench.sql("SELECT build_id FROM agent_build WHERE version_code = 122");
    let rollback = bench.client.post(&format!("/v1/agent-builds/{build}/rollback"), Some(&bench.admin), &json!({})).await.unwrap();
    assert_eq!(rollback.status, 200, "{}", rollback.detail());
    refused(&next, &percent, "withdrawn (rolled_back)");
    // Without the right of a scope, the server's own words.
    let narrow = bench.client.post("/v1/api-tokens", Some(&bench.admin), &json!({"name": "n", "scopes": ["devices:read"]})).await.unwrap();
    let narrow = narrow.json()["token"].as_str().unwrap().to_owned();
    let server = ["--server", &url, "--token", &narrow];
    assert!(
        terminal.bad(&[&server[..], &["agent-builds", "publish", &agent, "--percent", "1", "--yes"]].concat()).contains("deployments:read")
    );

    // What new devices get.
    let folder = bench.node.data_dir().join("agent");
    let enrollment = || terminal.good(&["--server", &url, "--token", &bench.admin, "agent-builds", "enrollment"]);
    let missing = enrollment();
    assert!(missing.contains("missing") && missing.contains("make agent"), "{missing}");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("nexmdm-agent.apk"), fixture("agent-120.apk")).unwrap();
    let ready = enrollment();
    assert!(ready.contains("ready") && ready.contains("1.0.120") && ready.contains("1.0.121"), "{ready}");
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

#[tokio::test]
async fn updates_of_the_agent_are_rolled_out_from_a_terminal() {
    let bench = Bench::start().await;
    let (terminal, url) = (Terminal::new(), bench.node.url());
    let said = terminal.ctl(&["login", "--server", &url, "-u", "admin", "--password-stdin"], bench.node.admin_password());
    assert!(said.good, "{}", said.err);
    let device = bench.enroll("shop-1").await;
    let mut beat = crate::common::heartbeat(0, 80);
    beat.agent_version_code = Some(wire::lenient::Int(100));
    assert_eq!(bench.client.heartbeat(&device.session_token, &beat).await.unwrap().status, 200);
    let apk = uuid::Uuid::now_v7().to_string();
    bench.sql(&format!(
        "INSERT INTO managed_package VALUES ('com.nexmdm', ARRAY[repeat('a', 64)], '', 'test', now());
         INSERT INTO apk (apk_id, package, version_code, version_name, label, sha256, size_bytes, signers_sha256, uploaded_by, uploaded_at)
         VALUES ('{apk}', 'com.nexmdm', 140, '1.0.140', 'Agent', repeat('b', 64), 1, ARRAY[repeat('a', 64)], 'test', now())"
    ));
    assert!(terminal.good(&["agent-builds", "list"]).contains("None."));
    let build = terminal.json(&["agent-builds", "add", &apk, "--notes", "new"]);
    let id = build["id"].as_str().unwrap();
    // What reaches more devices is asked for.
    assert!(terminal.bad(&["agent-builds", "promote", id, "--percent", "5"]).contains("--yes"));
    assert!(terminal.bad(&["agent-builds", "promote", id, "--percent", "500", "--yes"]).contains("rollout_percent"));
    let said = terminal.good(&["agent-builds", "promote", id, "--percent", "5", "--min-battery", "20", "--yes"]);
    assert!(said.contains("1.0.140 (140) is offered to 5 %"), "{said}");
    assert!(terminal.bad(&["agent-builds", "rollout", id, "100"]).contains("5 % until now"));
    terminal.good(&["agent-builds", "rollout", id, "100", "--yes"]);
    terminal.good(&["agent-builds", "rollout", id, "99"]);
    terminal.good(&["agent-builds", "rollout", id, "100", "--yes"]);
    eventually("the device is behind", async || {
        terminal.good(&["agent-builds", "nudge", id, "--dry-run"]).contains("1 device behind, 1 of them online").then_some(())
    })
    .await;
    assert!(terminal.bad(&["agent-builds", "nudge", id]).contains("--yes"));
    let batch = terminal.json(&["agent-builds", "nudge", id, "--yes"]);
    assert_eq!((batch["action"].as_str(), batch["devices"].as_i64()), (Some("update"), Some(1)));
    assert!(terminal.good(&["agent-builds", "stats", id]).contains("Signature failures"));
    assert_eq!(terminal.json(&["agent-builds", "stats", id, "--hours", "1"])["versions"][0]["version_code"], 100);
    assert!(terminal.bad(&["agent-builds", "rollback", id]).contains("--yes"));
    terminal.good(&["agent-builds", "rollback", id, "--yes"]);
    assert_eq!(terminal.json(&["agent-builds", "list"])[0]["state"], "rolled_back");
}

#[test]
fn an_apk_is_inspected_without_a_server() {
    let terminal = Terminal::new();
    let apk = |name: &str| format!("{}/../actors/testdata/apks/{name}", env!("CARGO_MANIFEST_DIR"));
    let facts = terminal.json(&["apks", "inspect", &apk("agent-121.apk")]);
    assert_eq!((facts["package"].as_str(), facts["version_code"].as_i64()), (Some("com.nexmdm"), Some(121)), "{facts}");
    assert_eq!(facts["signers_sha256"].as_array().unwrap().len(), 1, "{facts}");
    assert!(terminal.bad(&["apks", "inspect", &apk("till-7-unsigned.apk")]).contains("not signed"));
    assert!(terminal.bad(&["apks", "inspect", "/nonexistent.apk"]).contains("/nonexistent.apk"));
}
