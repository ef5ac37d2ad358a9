//! The machine and the versions a figure belongs to: without them it is a number.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::database::Settings;

/// Machine and build that were measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Conditions {
    pub(super) cores: usize,
    pub(super) cpu_model: String,
    pub(super) memory_gib: f64,
    pub(super) kernel: String,
    /// Of the data folder: `fsync` on a `tmpfs` proves nothing.
    pub(super) filesystem: String,
    pub(super) nexmdm: String,
    pub(super) chaos: String,
    /// None when there is no `psql` to ask with.
    pub(super) postgres: Option<Settings>,
}

impl Conditions {
    pub(super) fn read(nexmdm: &Path, data_dir: &Path, postgres: Option<Settings>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory_kib: f64 = after(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0.0);
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu_model: after(&read("/proc/cpuinfo"), "model name"),
            memory_gib: memory_kib / f64::from(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            filesystem: filesystem(&read("/proc/self/mounts"), data_dir),
            nexmdm: version_of(nexmdm),
            chaos: format!(
                "chaos {} ({})",
                env!("CARGO_PKG_VERSION"),
                if cfg!(debug_assertions) { "debug build: not for figures" } else { "release" }
            ),
            postgres,
        }
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "machine     {} cores, {}, {:.1} GiB, Linux {}; node, PostgreSQL and generator share it",
            self.cores, self.cpu_model, self.memory_gib, self.kernel
        )?;
        writeln!(f, "data on     {}", self.filesystem)?;
        writeln!(f, "versions    {}, {}", self.nexmdm, self.chaos)?;
        match &self.postgres {
            Some(p) => writeln!(
                f,
                "PostgreSQL  {}, fsync {}, synchronous_commit {}, full_page_writes {}, shared_buffers {}",
                p.version, p.fsync, p.synchronous_commit, p.full_page_writes, p.shared_buffers
            ),
            None => writeln!(f, "PostgreSQL  not asked: psql cannot reach it"),
        }
    }
}

/// The type of the longest mount point that `folder` lies under.
fn filesystem(mounts: &str, folder: &Path) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        Some((fields.next()?, fields.next()?))
    });
    // Of two on the same point the later one is in force.
    mounts
        .filter(|(point, _)| folder.starts_with(point))
        .max_by_key(|(point, _)| point.len())
        .map_or("unknown", |(_, kind)| kind)
        .to_owned()
}

fn version_of(nexmdm: &Path) -> String {
    let output = Command::new(nexmdm).arg("--version").output();
    let text = output.ok().filter(|output| output.status.success()).and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or_else(|| "nexmdm of unknown version".into(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_decides() {
        let mounts = "overlay / overlay rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vda /tmp/bench ext4 rw 0 0\n";
        assert_eq!(filesystem(mounts, Path::new("/tmp/x")), "tmpfs");
        assert_eq!(filesystem(mounts, Path::new("/tmp/bench/y")), "ext4");
        assert_eq!(filesystem(mounts, Path::new("/home")), "overlay");
        assert_eq!(filesystem("", Path::new("/home")), "unknown");
    }
}
