//! What the figures of history have in common: days full of rows, a fleet beside them, and windows of its heartbeats.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{Days, NaiveDate};
use tokio::time::sleep;

use crate::bench::commands::{Fleet, heartbeats};
use crate::bench::database::Database;
use crate::bench::figure::{Limit, Value};
use crate::bench::{BenchArgs, ClusterEnvironment};
use crate::clock::now;
use crate::fleet::Summary;
use crate::history::Partitions;
use crate::measure::Percentiles;
use crate::oracle::History;

/// Statements of a day's rows.
const ROWS_SQL: &str = include_str!("rows.sql");
/// Rows of one statement.
const ROWS_AT_ONCE: u64 = 250_000;
/// Heartbeats of this long before are what the others are compared with.
pub(super) const BEFORE: Duration = Duration::from_secs(30);
/// Days kept by the runs of figures.
pub(super) const KEPT_DAYS: u64 = 1;
/// Buckets of a day.
pub(super) const BUCKETS: u64 = 8_640;

/// A node, and its partitions.
pub(super) struct HistoryEnvironment {
    pub(super) environment: ClusterEnvironment,
    pub(super) partitions: Partitions,
    pub(super) database: Database,
    pub(super) today: NaiveDate,
}

impl HistoryEnvironment {
    pub(super) async fn build(args: &BenchArgs, env: &[(&str, &str)]) -> Result<Self> {
        let environment = ClusterEnvironment::with_env(args, 1, env).await?;
        let partitions = Partitions::of(&environment.cluster, KEPT_DAYS)?;
        let database = Database::of_node(Some(environment.cluster.database_url()), environment.folder.path())?;
        Ok(Self { environment, partitions, database, today: now().date_naive() })
    }

    /// Day so many days ago.
    pub(super) fn day(&self, days_ago: u64) -> NaiveDate {
        self.today - Days::new(days_ago)
    }

    /// Fills a day with `per_device` rows of each of the first `devices` seeded devices; the number of rows.
    pub(super) async fn fill(&self, day: NaiveDate, devices: u64, per_device: u64) -> Result<u64> {
        let at_once = (ROWS_AT_ONCE / devices.max(1)).max(1);
        let (day_text, devices_text, steps) = (day.to_string(), devices.to_string(), per_device.to_string());
        let psql = self.environment.cluster.psql();
        let next = day + Days::new(1);
        // Where the table is there, it is that of the node.
        let table = format!(
            "SET client_min_messages = warning; SET timezone = 'UTC';
             CREATE TABLE IF NOT EXISTS heartbeats_p{} PARTITION OF heartbeats FOR VALUES FROM ('{day} 00:00:00+00') TO ('{next} 00:00:00+00')",
            day.format("%Y%m%d")
        );
        psql.run(&table, &[]).await.with_context(|| format!("a table of {day}"))?;
        for first in (0..per_device).step_by(usize::try_from(at_once)?) {
            let (first_text, last_text) = (first.to_string(), (first + at_once - 1).min(per_device - 1).to_string());
            let variables =
                [("day", &*day_text), ("devices", &*devices_text), ("steps", &*steps), ("first", &*first_text), ("last", &*last_text)];
            psql.run(ROWS_SQL, &variables).await.with_context(|| format!("rows of {day}"))?;
        }
        let rows = format!("SELECT count(*) FROM heartbeats WHERE bucket_at >= '{day} 00:00:00+00' AND bucket_at < '{next} 00:00:00+00'");
        Ok(self.database.one(&rows).await?.parse()?)
    }

    /// Enrolls and starts a fleet that reports every 10 s; a while of it has passed when this returns.
    pub(super) async fn fleet(&self, devices: usize) -> Result<Fleet> {
        let generator = self.environment.generator()?;
        let _: Summary = generator.run("fleet", devices, &["--enroll-only", "--sessions-first"]).await?;
        let mut fleet = Fleet::start(&self.environment, devices, &["--ramp-seconds", "10"]).await?;
        sleep(BEFORE).await;
        ensure!(!fleet.running.has_ended(), "the fleet has ended early");
        Ok(fleet)
    }

    /// Rows and bytes of a day's archive, as they are on record.
    pub(super) async fn archived(&self, day: NaiveDate) -> Result<(f64, f64)> {
        let sql = format!("SELECT archive_rows || ' ' || archive_bytes FROM heartbeat_partition WHERE day = '{day}'");
        let row = self.database.one(&sql).await?;
        let (rows, bytes) = row.split_once(' ').with_context(|| format!("no archive of {day} is on record"))?;
        Ok((rows.parse()?, bytes.parse()?))
    }
}

/// Heartbeats before and meanwhile.
pub(super) struct Beside {
    pub(super) before: Percentiles,
    pub(super) meanwhile: Percentiles,
}

impl Beside {
    /// Heartbeats of the record until and from `began_us`.
    pub(super) fn of(history: &History, began_us: i64, ended_us: i64) -> Self {
        let before_us = began_us - i64::try_from(BEFORE.as_micros()).unwrap_or(0);
        let percentiles = |from_us, until_us| heartbeats(history, from_us, until_us).percentiles();
        Self { before: percentiles(before_us, began_us), meanwhile: percentiles(began_us, ended_us) }
    }

    /// Percentiles of both, and their ratio.
    pub(super) fn values(&self) -> [Value; 3] {
        let ratio = if self.before.p99_ms > 0.0 { self.meanwhile.p99_ms / self.before.p99_ms } else { f64::NAN };
        [
            Value::new("heartbeats before, p99", self.before.p99_ms, "ms"),
            Value::new("heartbeats meanwhile, p99", self.meanwhile.p99_ms, "ms"),
            Value::new("times as long", ratio, "").limit(Limit::Below(2.0)),
        ]
    }

    /// How many heartbeats the percentiles are of.
    pub(super) fn note(&self) -> String {
        format!(
            "heartbeats: {} meanwhile, {} in the {} s before; from sending to acknowledgement",
            self.meanwhile.count,
            self.before.count,
            BEFORE.as_secs()
        )
    }
}
