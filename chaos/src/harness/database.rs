//! Shared PostgreSQL in a process of its own (`nexmdm database`), which can be stopped and started while nodes run.

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use percent_encoding::percent_decode_str;
use rustix::process::{Pid, Signal, kill_process};

use super::node::clear_settings;
use super::{IdleSession, Postmaster, Psql, find_postmaster};
use crate::network::Target;

/// Connections for a small cluster.
const CONNECTIONS: &str = "200";
/// Start timeout: a first start creates the cluster, a later one may have to recover.
const START_WITHIN: Duration = Duration::from_secs(180);
/// Stop timeout.
const STOP_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The server, running from `start` on; stopped on drop.
#[derive(Debug)]
pub struct DatabaseServer {
    binary: PathBuf,
    folder: PathBuf,
    env: Vec<(String, String)>,
    child: Option<Child>,
    url: String,
}

impl DatabaseServer {
    /// Starts a server with its data in `folder`, and waits until it accepts connections.
    pub async fn start(binary: &Path, folder: &Path, env: &[(String, String)]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        // The server may run as another user than this process.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        let mut server = Self { binary: binary.to_owned(), folder: folder.to_owned(), env: env.to_vec(), child: None, url: String::new() };
        server.start_again().await?;
        Ok(server)
    }

    /// Starts the server with the same data, unless it runs.
    pub async fn start_again(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log_path = self.folder.join("database.log");
        let log = OpenOptions::new().create(true).append(true).open(&log_path)?;
        let mut command = Command::new(&self.binary);
        clear_settings(&mut command);
        command
            .args(["database", "--create"])
            .env("NEXMDM__DATA_DIR", &self.folder)
            .env("NEXMDM__DATABASE__POOL_MAX_CONNECTIONS", CONNECTIONS)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.binary.display()))?;
        let output = child.stdout.take().context("the database has no standard output")?;
        self.child = Some(child);
        let first_line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(START_WITHIN, first_line).await.context("the database does not start")???;
        self.url = line.trim().to_owned();
        if !self.url.starts_with("postgres") {
            self.kill();
            bail!("the database did not start: `{}`; see {}", self.url, log_path.display());
        }
        Ok(())
    }

    /// Stops the server gracefully; connections are closed.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        let deadline = Instant::now() + STOP_WITHIN;
        loop {
            if let Some(status) = child.try_wait()? {
                ensure!(status.success(), "the database ended with {status}");
                return Ok(());
            }
            if Instant::now() > deadline {
                self.child = Some(child);
                bail!("the database did not stop within {STOP_WITHIN:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether it was started and not stopped.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Database URL for libpq.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Access to the database.
    pub fn psql(&self) -> Psql {
        Psql::of_url(&self.url)
    }

    /// Listen address.
    pub fn target(&self) -> Result<Target> {
        Ok(UrlParts::of(&self.url)?.target())
    }

    /// Database URL through another host and port.
    pub fn url_by(&self, (host, port): (impl Display, u16)) -> Result<String> {
        let UrlParts { user, database, .. } = UrlParts::of(&self.url)?;
        Ok(format!("postgres://{user}@{host}:{port}/{database}?sslmode=disable"))
    }

    /// A session that asks nothing, beside proxies; `None` when no connection is left.
    ///
    /// # Errors
    /// The server does not answer, or refuses it for another reason.
    pub async fn idle_session(&self) -> Result<Option<IdleSession>> {
        let UrlParts { user, database, .. } = UrlParts::of(&self.url)?;
        IdleSession::open(&self.target()?, &user, &database).await
    }

    /// The server's first process.
    ///
    /// # Errors
    /// It does not run.
    pub fn postmaster(&self) -> Result<Postmaster> {
        find_postmaster(&self.folder).context("PostgreSQL does not run")
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It has ended already, or does now.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(postmaster) = find_postmaster(&self.folder) {
            postmaster.stop();
        }
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
        self.kill();
    }
}

/// Parts of a database URL.
#[derive(Debug, PartialEq, Eq)]
struct UrlParts {
    /// With its password, if there is one.
    user: String,
    /// A name, or the folder of a Unix socket.
    host: String,
    port: u16,
    database: String,
}

impl UrlParts {
    fn of(url: &str) -> Result<Self> {
        let parts = || {
            let (_, rest) = url.split_once("://")?;
            let (rest, _) = rest.split_once('?').unwrap_or((rest, ""));
            let (user, rest) = rest.rsplit_once('@')?;
            let (place, database) = rest.split_once('/')?;
            let (host, port) = place.rsplit_once(':').unwrap_or((place, "5432"));
            Some(Self { user: user.into(), host: percent_decoded(host)?, port: port.parse().ok()?, database: database.into() })
        };
        // The URL may hold a password: it is not shown.
        parts().context("the database's URL is not of the form postgres://user@host:port/name")
    }

    fn target(&self) -> Target {
        if self.host.starts_with('/') {
            return Target::Unix(Path::new(&self.host).join(format!(".s.PGSQL.{}", self.port)));
        }
        let address = format!("{}:{}", self.host, self.port).parse();
        Target::Tcp(address.unwrap_or_else(|_| ([127, 0, 0, 1], self.port).into()))
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_to_a_unix_socket_or_a_port() {
        let unix = UrlParts::of("postgres://nexmdm@%2Fvar%2Flib%2Fa%20b%2Fsocket:5432/nexmdm?sslmode=disable").unwrap();
        assert_eq!(unix.target(), Target::Unix("/var/lib/a b/socket/.s.PGSQL.5432".into()));
        assert_eq!((unix.user.as_str(), unix.database.as_str()), ("nexmdm", "nexmdm"));
        let tcp = UrlParts::of("postgres://u:p%40@127.0.0.1:6000/db").unwrap();
        assert_eq!(tcp.target(), Target::Tcp("127.0.0.1:6000".parse().unwrap()));
        assert_eq!(tcp.user, "u:p%40");
        for text in ["", "postgres://", "postgres://host/db", "postgres://u@h:x/db"] {
            assert!(UrlParts::of(text).is_err(), "{text}");
        }
    }
}
