//! The node's database, reached with `psql`: the one place where this crate
//! looks behind a node, to describe and to prepare measurements.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::find_postmaster;

/// Role and database of a node's private PostgreSQL.
const OWN_ROLE: &str = "nexmdm";
/// Rows that stand for devices enrolled long ago.
const SEED_SQL: &str = include_str!("seed.sql");
const SQL_TIMEOUT: Duration = Duration::from_secs(300);

/// How to reach it.
pub(super) struct Database {
    arguments: Vec<String>,
}

/// What durability rests on.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Settings {
    pub(super) version: String,
    pub(super) fsync: String,
    pub(super) synchronous_commit: String,
    pub(super) full_page_writes: String,
    pub(super) shared_buffers: String,
}

impl Database {
    /// The database of `url`, or the private one of a running node.
    pub(super) fn of_node(url: Option<&str>, data_dir: &Path) -> Result<Self> {
        if let Some(url) = url {
            return Ok(Self { arguments: vec!["-d".into(), url.into()] });
        }
        let postmaster = find_postmaster(data_dir).context("the node has no private PostgreSQL")?;
        let host = postmaster.socket_dir.map_or_else(|| "127.0.0.1".into(), |dir| dir.display().to_string());
        let arguments = ["-h", &host, "-p", &postmaster.port.to_string(), "-U", OWN_ROLE, "-d", OWN_ROLE].map(str::to_owned);
        Ok(Self { arguments: arguments.into() })
    }

    pub(super) async fn settings(&self) -> Result<Settings> {
        let names = ["server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers"];
        let sql: String = names.iter().map(|name| format!("SHOW {name};")).collect();
        let answer = self.run(&sql, &[]).await?;
        let mut lines = answer.lines().map(str::to_owned);
        let mut next = || lines.next().context("psql said less than expected");
        Ok(Settings { version: next()?, fsync: next()?, synchronous_commit: next()?, full_page_writes: next()?, shared_buffers: next()? })
    }

    /// Adds `count` devices beyond those enrolled through the API.
    pub(super) async fn seed(&self, count: usize) -> Result<()> {
        let last = count.to_string();
        self.run(SEED_SQL, &[("first", "1"), ("last", &last)]).await.map(drop)?;
        self.run("ANALYZE device; ANALYZE device_last_status;", &[]).await.map(drop)
    }

    async fn run(&self, sql: &str, variables: &[(&str, &str)]) -> Result<String> {
        let mut command = Command::new("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).args(&self.arguments);
        for (name, value) in variables {
            command.args(["-v", &format!("{name}={value}")]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start psql: install the PostgreSQL client")?;
        let Some(mut input) = child.stdin.take() else { bail!("psql has no standard input") };
        input.write_all(sql.as_bytes()).await?;
        drop(input);
        let output = timeout(SQL_TIMEOUT, child.wait_with_output()).await.context("psql takes too long")??;
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8(output.stdout)?)
    }
}
