//! A slow disk of PostgreSQL: every flush of its log takes longer, and at times nothing is read or written at all.
//!
//! No device is slowed: `io.max` of control groups exists on few machines and needs root. `commit_delay` lets whoever flushes the log wait
//! while holding the log's write lock, which is what a slow `fdatasync` does to all others. Stalls stop the processes of the server but its
//! first one, as processes stand in a disk that does not answer.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Postmaster, Psql};
use crate::signals::stopped;

/// Longest flush: PostgreSQL's limit of `commit_delay`.
pub const FLUSH_MS_MAX: u32 = 100;
/// Longest stall.
pub const STALL_MS_MAX: u32 = 10_000;
/// Shortest pause between two stalls.
const BETWEEN_STALLS_MS_MIN: u32 = 100;
/// Statements that give a server its own speed back.
pub const HEAL_SQL: [&str; 3] = ["ALTER SYSTEM RESET commit_delay", "ALTER SYSTEM RESET commit_siblings", "SELECT pg_reload_conf()"];

/// How slow a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slowness {
    /// Time that each flush of the log takes longer, ms.
    pub flush_ms: u32,
    /// Length of a stall, ms; 0: none.
    pub stall_ms: u32,
    /// Pause between two stalls, ms.
    pub between_stalls_ms: u32,
}

impl Slowness {
    /// Checks the limits.
    ///
    /// # Errors
    /// Names what is out of its limits.
    pub fn check(self) -> Result<()> {
        let Self { flush_ms, stall_ms, between_stalls_ms } = self;
        ensure!((1..=FLUSH_MS_MAX).contains(&flush_ms), "flush_ms is 1 to {FLUSH_MS_MAX}, not {flush_ms}");
        ensure!(stall_ms <= STALL_MS_MAX, "stall_ms is {STALL_MS_MAX} at most, not {stall_ms}");
        let often = stall_ms == 0 || between_stalls_ms >= BETWEEN_STALLS_MS_MIN;
        ensure!(often, "between_stalls_ms is {BETWEEN_STALLS_MS_MIN} at least, not {between_stalls_ms}");
        Ok(())
    }

    fn sql(self) -> String {
        let delay_us = u64::from(self.flush_ms) * 1_000;
        format!("ALTER SYSTEM SET commit_siblings = 0; ALTER SYSTEM SET commit_delay = {delay_us}; SELECT pg_reload_conf();")
    }
}

/// A disk that is slow now.
#[derive(Debug)]
pub struct SlowDisk {
    psql: Psql,
    server: Postmaster,
    stalls: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl SlowDisk {
    /// Makes the disk of a server slow.
    ///
    /// # Errors
    /// A limit is exceeded, or the server does not take the settings.
    pub async fn begin(psql: Psql, server: Postmaster, slowness: Slowness) -> Result<Self> {
        slowness.check()?;
        psql.run(&slowness.sql(), &[]).await.context("the flushes of PostgreSQL cannot be slowed")?;
        let stalls = (slowness.stall_ms > 0).then(|| {
            let (end, ended) = watch::channel(false);
            (end, tokio::spawn(stall(server.clone(), slowness, ended)))
        });
        Ok(Self { psql, server, stalls })
    }

    /// Gives it its own speed back.
    ///
    /// # Errors
    /// The server does not take the settings.
    pub async fn heal(mut self) -> Result<()> {
        if let Some((end, stalls)) = self.stalls.take() {
            end.send_replace(true);
            stalls.await.context("the stalls have failed")?;
        }
        signal_all(&self.server, Signal::CONT);
        self.psql.run(&HEAL_SQL.join(";\n"), &[]).await.context("the flushes of PostgreSQL stay slow").map(drop)
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        if let Some((_, stalls)) = self.stalls.take() {
            stalls.abort();
            signal_all(&self.server, Signal::CONT);
        }
    }
}

async fn stall(server: Postmaster, slowness: Slowness, mut end: watch::Receiver<bool>) {
    let waits = [slowness.between_stalls_ms, slowness.stall_ms].map(|ms| Duration::from_millis(ms.into()));
    for (wait, next) in waits.into_iter().zip([Signal::STOP, Signal::CONT]).cycle() {
        tokio::select! {
            () = stopped(&mut end) => return,
            () = sleep(wait) => signal_all(&server, next),
        }
    }
}

/// Signals all processes of a server but the first, which accepts connections.
fn signal_all(server: &Postmaster, signal: Signal) {
    if !server.is_running() {
        return;
    }
    for pid in children(server.pid) {
        // It may have ended by now.
        let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, signal));
    }
}

/// Processes whose parent is this one. Not every kernel lists them with the parent.
fn children(pid: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| parent_in(&stat) == Some(pid))).collect()
}

/// Parent in a line of `/proc/ID/stat`: the second word after the name, which may contain anything.
fn parent_in(stat: &str) -> Option<i32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slowness_has_limits_and_names_what_exceeds_them() {
        let slowness = |flush_ms, stall_ms, between_stalls_ms| Slowness { flush_ms, stall_ms, between_stalls_ms };
        for good in [slowness(1, 0, 0), slowness(100, 10_000, 100)] {
            good.check().unwrap();
        }
        for (bad, name) in [
            (slowness(0, 0, 0), "flush_ms"),
            (slowness(101, 0, 0), "flush_ms"),
            (slowness(1, 10_001, 100), "stall_ms"),
            (slowness(1, 1, 99), "between"),
        ] {
            assert!(bad.check().unwrap_err().to_string().contains(name), "{bad:?}");
        }
    }

    #[test]
    fn a_flush_is_slowed_in_microseconds() {
        let sql = Slowness { flush_ms: 50, stall_ms: 0, between_stalls_ms: 0 }.sql();
        assert!(sql.contains("commit_delay = 50000") && sql.contains("commit_siblings = 0"), "{sql}");
    }

    #[test]
    fn children_of_a_process_are_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(children(own).contains(&i32::try_from(child.id()).unwrap()));
        assert_eq!(parent_in("12 (a) b) S 7 12 12 0"), Some(7));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
