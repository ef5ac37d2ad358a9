//! Three PostgreSQL servers with Patroni, etcd and HAProxy on 127.0.0.1, with the configurations of `docs/high-availability.md`.

mod config;
mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::config::{Places, haproxy_config, patroni_config};
use self::process::{Process, User, program};
use super::{Psql, find_postmaster, free_port};
use crate::http::{Call, Http, HttpLimits, ServerUrl};

/// Servers.
const SERVERS: usize = 3;
/// Deadline of the first start: three clusters are made, two of them copied.
const START_WITHIN: Duration = Duration::from_secs(120);
/// Deadline until all servers follow one primary again.
const WHOLE_WITHIN: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Role and database of the nodes.
const ROLE: &str = "nexmdm";

/// Database of a cluster of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseKind {
    /// One PostgreSQL server
    #[default]
    Single,
    /// Three servers by Patroni; nodes know all of them
    Patroni,
    /// Three servers by Patroni; nodes know HAProxy in front of them
    Haproxy,
}

/// What is killed of a primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrimaryPart {
    /// PostgreSQL: Patroni starts it again
    Postgres,
    /// PostgreSQL and Patroni, as when a machine dies: another server is promoted
    #[default]
    Machine,
    /// Patroni alone: another server is promoted, while the one before still takes itself for the primary
    Manager,
}

impl PrimaryPart {
    /// Its name in a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::Postgres => "the primary's PostgreSQL",
            Self::Machine => "the primary's PostgreSQL and its Patroni",
            Self::Manager => "the primary's Patroni alone",
        }
    }
}

/// The servers and what is around them; stopped on drop.
pub struct Patroni {
    // In the order in which they end.
    haproxy: Option<Process>,
    managers: Vec<Option<Process>>,
    _etcd: Process,
    folder: PathBuf,
    user: Option<User>,
    places: Places,
}

impl std::fmt::Debug for Patroni {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patroni").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Patroni {
    /// Why it cannot be started here; `None`: it can.
    pub fn missing() -> Option<String> {
        let missing: Vec<&str> = ["patroni", "etcd", "haproxy"].into_iter().filter(|name| program(name).is_none()).collect();
        (!missing.is_empty()).then(|| format!("{} not installed (.ci/install-deps ha)", missing.join(", ")))
    }

    /// Starts all of it with its data in `folder`, and waits until one server is the primary and the others follow it.
    pub async fn start(folder: &Path, with_haproxy: bool) -> Result<Self> {
        if let Some(missing) = Self::missing() {
            bail!("{missing}");
        }
        let bin_dir = postgres_bin_dir()?;
        let user = User::of_servers()?;
        fs::create_dir_all(folder)?;
        if let Some(user) = &user {
            user.own(folder)?;
        }
        let mut ports = Vec::new();
        while ports.len() < 3 + 2 * SERVERS {
            let port = free_port()?;
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        let places = Places::new(&ports, bin_dir).context("too few ports")?;
        let mut etcd = Process::start("etcd", &places.etcd_arguments(folder), folder, user.as_ref())?;
        etcd.stays(Duration::from_millis(300)).await?;
        let mut servers = Self { haproxy: None, managers: Vec::new(), _etcd: etcd, folder: folder.to_owned(), user, places };
        for number in 1..=SERVERS {
            let own = servers.server_dir(number);
            fs::create_dir_all(&own)?;
            if let Some(user) = &servers.user {
                user.own(&own)?;
            }
            let config = patroni_config(&servers.places, number, &own)?;
            fs::write(own.join("patroni.yml"), config)?;
            let manager = servers.start_manager(number)?;
            servers.managers.push(Some(manager));
            if number == 1 {
                // The others copy it; all at once would race for making the first.
                servers.primary_within(START_WITHIN).await?;
            }
        }
        servers.whole_within(START_WITHIN).await?;
        let leader = servers.primary_within(START_WITHIN).await?;
        let sql = format!(
            "CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE}';\nCREATE DATABASE {ROLE} OWNER {ROLE} ENCODING 'UTF8' TEMPLATE template0;\n"
        );
        Psql::of_url(&servers.places.url_of(leader, "postgres", "postgres")).run(&sql, &[]).await?;
        if with_haproxy {
            let file = folder.join("haproxy.cfg");
            fs::write(&file, haproxy_config(&servers.places)?)?;
            let file = file.display().to_string();
            let mut haproxy = Process::start("haproxy", &["-db".into(), "-f".into(), file], folder, servers.user.as_ref())?;
            haproxy.stays(Duration::from_secs(2)).await?;
            servers.haproxy = Some(haproxy);
        }
        Ok(servers)
    }

    /// URL of the primary for libpq, which knows all servers.
    pub fn url(&self) -> String {
        self.places.url(ROLE)
    }

    /// URL for nodes: of all servers, or of HAProxy.
    pub fn node_url(&self) -> String {
        match &self.haproxy {
            Some(_) => self.places.haproxy_url(ROLE),
            None => self.url(),
        }
    }

    /// URL of the servers that are standbys now, for reads.
    pub async fn standby_url(&self) -> Result<String> {
        let leader = self.primary().await?.context("no server is the primary")?;
        Ok(self.places.url_of_others(leader, ROLE))
    }

    fn server_dir(&self, number: usize) -> PathBuf {
        self.folder.join(format!("pg{number}"))
    }

    fn start_manager(&self, number: usize) -> Result<Process> {
        let own = self.server_dir(number);
        Process::start("patroni", &[own.join("patroni.yml").display().to_string()], &own, self.user.as_ref())
    }

    /// Number of the server that Patroni takes for the primary.
    async fn primary(&self) -> Result<Option<usize>> {
        for number in 1..=SERVERS {
            if self.answers(number, "/primary").await {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Whether the REST API of a server answers 200.
    async fn answers(&self, number: usize, path: &str) -> bool {
        let limits = HttpLimits { connections: 1, timeout: Duration::from_secs(2), ..HttpLimits::default() };
        let Ok(url) = self.places.rest_url(number).parse::<ServerUrl>() else { return false };
        Http::new(url, limits).send(Call::get(path)).await.is_ok_and(|answer| answer.status == 200)
    }

    async fn primary_within(&self, within: Duration) -> Result<usize> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(number) = self.primary().await? {
                return Ok(number);
            }
            ensure!(Instant::now() < deadline, "no server became the primary within {within:?}; see the logs in {}", self.folder.display());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until one server is the primary, another its synchronous standby, and the third follows.
    async fn whole_within(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let (mut primaries, mut synchronous, mut replicas) = (0, 0, 0);
            for number in 1..=SERVERS {
                primaries += usize::from(self.answers(number, "/primary").await);
                synchronous += usize::from(self.answers(number, "/synchronous").await);
                replicas += usize::from(self.answers(number, "/replica").await);
            }
            if (primaries, synchronous, replicas) == (1, 1, SERVERS - 1) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{primaries} primaries, {synchronous} synchronous standbys and {replicas} standbys after {within:?}; see the logs in {}",
                self.folder.display()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// kill -9 of the primary; its name.
    pub async fn kill_primary(&mut self, part: PrimaryPart) -> Result<String> {
        let number = self.primary_within(WHOLE_WITHIN).await?;
        let postmaster = find_postmaster(&self.server_dir(number)).context("the primary has no process")?;
        if part != PrimaryPart::Postgres
            && let Some(mut manager) = self.managers.get_mut(number - 1).and_then(Option::take)
        {
            manager.kill9();
        }
        if part != PrimaryPart::Manager {
            postmaster.kill9()?;
        }
        Ok(format!("pg{number}"))
    }

    /// Starts what was killed, and waits until all servers follow one primary.
    pub async fn make_whole(&mut self) -> Result<()> {
        for number in 1..=SERVERS {
            if self.managers.get(number - 1).is_some_and(Option::is_none) {
                let manager = self.start_manager(number)?;
                if let Some(place) = self.managers.get_mut(number - 1) {
                    *place = Some(manager);
                }
            }
        }
        self.whole_within(WHOLE_WITHIN).await
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        self.haproxy = None;
        // At the same time: each stops its server first.
        let managers: Vec<Process> = self.managers.iter_mut().filter_map(Option::take).collect();
        managers.iter().for_each(Process::terminate);
        drop(managers);
        for number in 1..=SERVERS {
            if let Some(postmaster) = find_postmaster(&self.server_dir(number)) {
                postmaster.stop();
            }
        }
    }
}

/// Folder of the server programs: the newest that Debian's packages have installed.
fn postgres_bin_dir() -> Result<PathBuf> {
    let folders = fs::read_dir("/usr/lib/postgresql").context("/usr/lib/postgresql: install the package postgresql")?;
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = folders.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.join("bin/postgres").is_file());
    let newest = newest.max_by_key(version).context("no server below /usr/lib/postgresql: install the package postgresql")?;
    Ok(newest.join("bin"))
}
