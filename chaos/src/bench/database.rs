//! The node's database, to describe it and to prepare measurements.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::harness::Psql;

/// Rows that stand for devices enrolled long ago.
const SEED_SQL: &str = include_str!("seed.sql");

/// How to reach it.
pub(super) struct Database {
    psql: Psql,
}

/// Settings of PostgreSQL on which durability rests.
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
        let psql = url.map_or_else(|| Psql::of_data_dir(data_dir), |url| Ok(Psql::of_url(url)))?;
        Ok(Self { psql })
    }

    pub(super) async fn settings(&self) -> Result<Settings> {
        let names = ["server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers"];
        let sql: String = names.iter().map(|name| format!("SHOW {name};")).collect();
        let answer = self.psql.run(&sql, &[]).await?;
        let mut lines = answer.lines().map(str::to_owned);
        let mut next = || lines.next().context("psql answered fewer lines than expected");
        Ok(Settings { version: next()?, fsync: next()?, synchronous_commit: next()?, full_page_writes: next()?, shared_buffers: next()? })
    }

    /// The one value that a statement answers.
    pub(super) async fn one(&self, sql: &str) -> Result<String> {
        Ok(self.psql.run(sql, &[]).await?.trim().to_owned())
    }

    /// Adds `count` devices beyond those enrolled through the API.
    pub(super) async fn seed(&self, count: usize) -> Result<()> {
        let last = count.to_string();
        self.psql.run(SEED_SQL, &[("first", "1"), ("last", &last)]).await.map(drop)?;
        self.psql.run("ANALYZE device; ANALYZE device_last_status;", &[]).await.map(drop)
    }
}
