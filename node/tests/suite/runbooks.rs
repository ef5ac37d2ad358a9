//! Runbooks, as they are written: their blocks of `sh` run on a stand-in for a machine with systemd, and devices go on afterwards.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use chaos::client::{Client, EnrolledDevice};
use chaos::harness::{TempDir, free_port};
use serde_json::json;
use tokio::process::Command;

use crate::common::{Database, eventually, heartbeat};

const PASSWORD: &str = "correct-horse-battery-staple";
/// Longest run of the blocks of a runbook.
const PATIENCE: Duration = Duration::from_secs(300);

/// Blocks of `sh` of a runbook, each with the machine that it names (`on=old`), in their order.
fn blocks(name: &str) -> Vec<(Option<String>, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbooks").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found = Vec::new();
    let mut open: Option<(Option<String>, String)> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some("")) => found.extend(open.take()),
            (Some((_, block)), _) => *block += &format!("{line}\n"),
            (None, Some(words)) if words.split(' ').next() == Some("sh") => {
                open = Some((words.split("on=").nth(1).map(str::to_owned), String::new()));
            }
            (None, _) => {}
        }
    }
    assert!(!found.is_empty(), "{name} has no blocks");
    found
}

/// A machine with one node, whose unit a stand-in for `systemctl` starts and stops.
struct Machine {
    folder: PathBuf,
    url: String,
}

impl Machine {
    /// A machine on which nothing runs yet.
    fn new(parent: &TempDir, name: &str, database_url: &str) -> Self {
        let folder = parent.path().join(name);
        let (bin, etc) = (folder.join("bin"), folder.join("etc/nexmdm"));
        for folder in [&bin, &etc, &parent.path().join("backups")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let listen = format!("127.0.0.1:{}", free_port().unwrap());
        let (shown, shared) = (folder.display(), parent.path().display());
        let env = format!(
            "DATABASE_URL=\"{database_url}\"\nNEXMDM__DATA_DIR=\"{shown}/data\"\nNEXMDM__HTTP__LISTEN=\"{listen}\"\n\
             NEXMDM__CLUSTER__NODE_NAME=\"{name}\"\nNEXMDM__CLUSTER__LISTEN=\"127.0.0.1:{}\"\nNEXMDM__APKS__STORE_URL=\"{shared}/apks\"\n\
             NEXMDM__ARCHIVE__URL=\"{shared}/archive\"\nNEXMDM__ADMIN__INITIAL_PASSWORD=\"{PASSWORD}\"\n\
             NEXMDM__AUTH__PASSWORD_BCRYPT_COST=\"4\"\nNEXMDM__BACKUP__WORK_FACTOR=\"10\"\n",
            free_port().unwrap()
        );
        std::fs::write(etc.join("nexmdm.env"), env).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_nexmdm"), bin.join("nexmdm")).unwrap();
        let systemctl = format!(
            "#!/bin/bash\nset -eu\ncase \"$1 $2\" in\n\
             'start nexmdm') set -a; . {shown}/etc/nexmdm/nexmdm.env; set +a\n\
             setsid nexmdm serve >>{shown}/node.log 2>&1 </dev/null & echo $! >{shown}/pid ;;\n\
             'stop nexmdm') pid=$(cat {shown}/pid); kill -TERM $pid\n\
             while grep -qs '^State:.[^Z]' /proc/$pid/status; do sleep 0.05; done ;;\n\
             *) echo \"no such stand-in: $*\" >&2; exit 1 ;;\nesac\n"
        );
        std::fs::write(bin.join("systemctl"), systemctl).unwrap();
        std::fs::set_permissions(bin.join("systemctl"), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, url: format!("http://{listen}") }
    }

    /// Runs what is written for it; all lines in one shell.
    async fn run(&self, text: &str, variables: &[(&str, &str)]) {
        let backups = self.folder.parent().unwrap().join("backups");
        let text = text
            .replace("/etc/nexmdm", &self.folder.join("etc/nexmdm").display().to_string())
            .replace("/backups/", &format!("{}/", backups.display()))
            .replace("http://127.0.0.1:8080", &self.url);
        let path = format!("{}:{}", self.folder.join("bin").display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &text]).env("PATH", path).env_remove("DATABASE_URL").envs(variables.iter().copied());
        let shell = shell.current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true).output();
        let out = tokio::time::timeout(PATIENCE, shell).await.expect("it ends").unwrap();
        let log = std::fs::read_to_string(self.folder.join("node.log")).unwrap_or_default();
        assert!(out.status.success(), "{text}\n{}\n{log}", String::from_utf8_lossy(&out.stderr));
    }

    /// Runs a whole runbook for one machine.
    async fn follow(&self, runbook: &str, variables: &[(&str, &str)]) {
        let text: String = blocks(runbook).into_iter().map(|(_, block)| block).collect();
        self.run(&text, variables).await;
    }

    async fn start(&self) -> (Client, String) {
        self.run("systemctl start nexmdm", &[]).await;
        let client = Client::new(&self.url).unwrap();
        eventually("the node is ready", async || client.get("/readyz", None).await.is_ok_and(|answer| answer.status == 200).then_some(()))
            .await;
        let admin = client.access_token("admin", PASSWORD).await.unwrap();
        (client, admin)
    }

    /// The device goes on with its token.
    async fn serves(&self, device: &EnrolledDevice) {
        let client = Client::new(&self.url).unwrap();
        let session = client.post("/v1/agent/session", Some(&device.device_token), &json!({})).await.unwrap();
        assert_eq!(session.status, 200, "{}", session.detail());
        let session: serde_json::Value = serde_json::from_slice(&session.body).unwrap();
        let token = session["session_token"].as_str().unwrap();
        assert_eq!(client.heartbeat(token, &heartbeat(0, 50)).await.unwrap().status, 200);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(self.folder.join("pid")) {
            // Its end is waited for, so that nothing writes into a folder that goes.
            let stop = format!("kill -TERM {0}; while grep -qs '^State:.[^Z]' /proc/{0}/status; do sleep 0.05; done", pid.trim());
            let _ = std::process::Command::new("bash").args(["-c", &stop]).stderr(Stdio::null()).status();
        }
    }
}

#[tokio::test]
async fn a_fleet_moves_to_another_postgresql() {
    let (parent, old, new) = (TempDir::new("move").unwrap(), Database::start(), Database::start());
    let machine = Machine::new(&parent, "one", &old.url);
    let (client, admin) = machine.start().await;
    let device = client.enroll(&admin, "kiosk-1").await.unwrap();
    assert_eq!(client.heartbeat(&device.session_token, &heartbeat(-60, 40)).await.unwrap().status, 200);
    let passphrase = ("NEXMDM_BACKUP_PASSPHRASE", "correct horse battery staple");
    machine.follow("move-postgresql.md", &[("OLD_URL", &old.url), ("NEW_URL", &new.url), passphrase]).await;
    machine.serves(&device).await;
    assert_eq!((new.sql("SELECT count(*) FROM device").as_str(), new.sql("SELECT count(*) > 1 FROM heartbeats").as_str()), ("1", "t"));
    assert_eq!(old.sql("SHOW default_transaction_read_only"), "on");
}

#[tokio::test]
async fn a_backup_is_restored() {
    let (parent, database) = (TempDir::new("restore").unwrap(), Database::start());
    let machine = Machine::new(&parent, "one", &database.url);
    let (client, admin) = machine.start().await;
    let device = client.enroll(&admin, "kiosk-1").await.unwrap();
    let passphrase = ("NEXMDM_BACKUP_PASSPHRASE", "correct horse battery staple");
    let file = parent.path().join("backups/a.backup");
    machine.run("set -a; . /etc/nexmdm/nexmdm.env; set +a; nexmdm backup create /backups/a.backup", &[passphrase]).await;
    database.sql("UPDATE device SET alias = 'spoilt'");
    machine.follow("restore.md", &[("BACKUP", file.to_str().unwrap()), passphrase]).await;
    machine.serves(&device).await;
    assert_eq!(database.sql("SELECT alias FROM device"), "kiosk-1");
}

#[tokio::test]
async fn a_node_takes_the_place_of_another() {
    let (parent, database) = (TempDir::new("replace").unwrap(), Database::start());
    let (old, new) = (Machine::new(&parent, "old", &database.url), Machine::new(&parent, "new", &database.url));
    let (client, admin) = old.start().await;
    let device = client.enroll(&admin, "kiosk-1").await.unwrap();
    let secrets = old.folder.join("data/secrets");
    for (machine, block) in blocks("replace-node.md") {
        let machine = match machine.as_deref() {
            Some("new") => &new,
            Some("old") => &old,
            other => panic!("{other:?} is no machine of this runbook"),
        };
        machine.run(&block, &[("OLD_SECRETS", secrets.to_str().unwrap())]).await;
    }
    new.serves(&device).await;
    assert_eq!(database.sql("SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM cluster_node"), "new active, old left");
}

#[tokio::test]
async fn keys_are_rotated_and_devices_and_people_go_on() {
    let (parent, database) = (TempDir::new("rotate").unwrap(), Database::start());
    let machine = Machine::new(&parent, "one", &database.url);
    let (client, admin) = machine.start().await;
    let device = client.enroll(&admin, "kiosk-1").await.unwrap();
    let secret = |name: &str| std::fs::read_to_string(machine.folder.join("data/secrets").join(name)).unwrap();
    let before = ["master.key", "jwt.key", "cluster.key"].map(secret);
    machine.follow("rotate-keys.md", &[]).await;
    let after = ["master.key", "jwt.key", "cluster.key"].map(secret);
    assert!(before[0] == after[0] && before[1] != after[1] && before[2] != after[2]);
    machine.serves(&device).await;
    assert_eq!(client.get("/v1/devices", Some(&admin)).await.unwrap().status, 401, "a token by the key of before");
    assert_eq!(client.heartbeat(&device.session_token, &heartbeat(20, 50)).await.unwrap().status, 401);
    client.access_token("admin", PASSWORD).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM audit_entry WHERE action = 'node.keys_replaced'"), "1");
}
