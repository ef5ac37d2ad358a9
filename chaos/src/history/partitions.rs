//! `nexmdm partitions` beside running nodes: runs as of a day, killed or to their end.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use chrono::{Days, NaiveDate};
use tokio::time::{Instant, sleep};

use crate::harness::{Cluster, Console, Finished, Psql};

/// Pause between two runs of which the first did not do everything.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Time within which another manager ends, and what a command says that meets it.
const ALONE_WITHIN: Duration = Duration::from_secs(120);
const BUSY: &str = "works on partitions";

/// Days of the attached tables, from their bounds, that are not newer than one.
const TABLES_UNTIL: &str = "
    SET timezone = 'UTC';
    SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'heartbeats'::regclass AND pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'
       AND substring(pg_get_expr(c.relpartbound, c.oid) FROM '(\\d{4}-\\d{2}-\\d{2})')::date <= :'until'::date";

/// Partitions of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Partitions {
    console: Console,
    psql: Psql,
    kept_days: u64,
}

impl Partitions {
    /// Runs keep so many days before the day as of which they are.
    pub(crate) fn of(cluster: &Cluster, kept_days: u64) -> Result<Self> {
        Ok(Self::with(cluster.console()?, cluster.psql(), kept_days))
    }

    /// The same over another console.
    pub(crate) fn with(console: Console, psql: Psql, kept_days: u64) -> Self {
        let console = console.env("NEXMDM__HISTORY__HEARTBEATS_KEPT_DAYS", kept_days.to_string());
        Self { console, psql, kept_days }
    }

    /// Its console.
    pub(crate) fn console(&self) -> &Console {
        &self.console
    }

    /// The newest day that is older than what is kept on a day.
    pub(crate) fn newest_expired(&self, today: NaiveDate) -> NaiveDate {
        today - Days::new(self.kept_days + 1)
    }

    /// One run as of a day.
    pub(crate) async fn run(&self, today: NaiveDate) -> Result<Finished> {
        self.console.run(&["partitions", "run", "--today", &today.to_string(), "--force"]).await
    }

    /// The same, once no other manager is at work.
    pub(crate) async fn run_alone(&self, today: NaiveDate) -> Result<Finished> {
        self.alone(&["run", "--today", &today.to_string(), "--force"]).await
    }

    /// One run as of a day that ends itself at a point of its work, in a debug build.
    pub(crate) async fn run_until(&self, today: NaiveDate, point: &str) -> Result<Finished> {
        self.console
            .clone()
            .env("NEXMDM_FAULT_PARTITIONS", point)
            .run(&["partitions", "run", "--today", &today.to_string(), "--force"])
            .await
    }

    /// One run as of a day, killed (SIGKILL) after a while; whether it was still running then.
    pub(crate) async fn run_killed(&self, today: NaiveDate, after: Duration) -> Result<bool> {
        self.console.start(&["partitions", "run", "--today", &today.to_string(), "--force"])?.kill9_after(after).await
    }

    /// Number of tables of days that are older than what is kept on a day.
    pub(crate) async fn expired_tables(&self, today: NaiveDate) -> Result<usize> {
        let until = self.newest_expired(today).to_string();
        Ok(self.psql.run(TABLES_UNTIL, &[("until", &until)]).await?.trim().parse()?)
    }

    /// Runs until a run has succeeded and no table of an expired day is left.
    pub(crate) async fn until_done(&self, today: NaiveDate, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            // Another manager may be at work, or a node's database away.
            let said = match self.run(today).await {
                Ok(finished) if finished.status.success() => match self.expired_tables(today).await {
                    Ok(0) => return Ok(()),
                    Ok(left) => format!("{left} tables of expired days are left: {}", finished.said()),
                    Err(error) => format!("{error:#}"),
                },
                Ok(finished) => finished.said(),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > deadline {
                bail!("partitions as of {today} are not done within {within:?}: {said}");
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    /// `nexmdm partitions verify`, of one day or of all.
    pub(crate) async fn verify(&self, day: Option<NaiveDate>) -> Result<Finished> {
        let day = day.map(|day| day.to_string());
        self.alone(&[&["verify"][..], day.as_deref().as_slice()].concat()).await
    }

    /// `nexmdm partitions archive` of a day, which must succeed.
    pub(crate) async fn archive(&self, day: NaiveDate) -> Result<Finished> {
        let finished = self.alone(&["archive", &day.to_string()]).await?;
        ensure!(finished.status.success(), "partitions archive {day}: {}", finished.said());
        Ok(finished)
    }

    /// A subcommand, once no other manager is at work.
    async fn alone(&self, words: &[&str]) -> Result<Finished> {
        let deadline = Instant::now() + ALONE_WITHIN;
        loop {
            let finished = self.console.run(&[&["partitions"][..], words].concat()).await?;
            if finished.status.success() || !finished.said().contains(BUSY) || Instant::now() > deadline {
                return Ok(finished);
            }
            sleep(AGAIN_AFTER).await;
        }
    }
}
