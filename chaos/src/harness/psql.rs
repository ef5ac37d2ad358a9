//! A database, reached with `psql`: the one place where this crate looks behind a node.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::find_postmaster;

/// Role and database of a private PostgreSQL.
const OWN_ROLE: &str = "nexmdm";
const SQL_TIMEOUT: Duration = Duration::from_secs(300);

/// Connection parameters.
#[derive(Debug, Clone)]
pub struct Psql {
    arguments: Vec<String>,
}

impl Psql {
    /// The database of a URL.
    pub fn of_url(url: &str) -> Self {
        Self { arguments: vec!["-d".into(), url.into()] }
    }

    /// The private PostgreSQL below a data folder.
    pub fn of_data_dir(data_dir: &Path) -> Result<Self> {
        let postmaster = find_postmaster(data_dir).context("there is no private PostgreSQL")?;
        let host = postmaster.socket_dir.map_or_else(|| "127.0.0.1".into(), |dir| dir.display().to_string());
        let arguments = ["-h", &host, "-p", &postmaster.port.to_string(), "-U", OWN_ROLE, "-d", OWN_ROLE].map(str::to_owned);
        Ok(Self { arguments: arguments.into() })
    }

    /// Output of statements: a line per row, columns separated by `|`.
    pub async fn run(&self, sql: &str, variables: &[(&str, &str)]) -> Result<String> {
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
        let output = timeout(SQL_TIMEOUT, child.wait_with_output()).await.context("psql timed out")??;
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8(output.stdout)?)
    }
}
