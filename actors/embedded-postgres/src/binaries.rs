//! Finding a PostgreSQL server on the machine.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::Runner;
use super::{Deadline, EmbeddedError, blocking};

/// The oldest major version we run.
const OLDEST_MAJOR: u32 = 15;
/// The programs we need, the one with the version first.
const PROGRAMS: [&str; 3] = ["postgres", "initdb", "pg_ctl"];
/// Places where distributions put server programs: parent folder, beginning of the version's folder
/// name, and the rest of the path (Debian; RPMs of postgresql.org; Alpine).
const INSTALLS: [(&str, &str, &str); 3] =
    [("/usr/lib/postgresql", "", "bin"), ("/usr", "pgsql-", "bin"), ("/usr/libexec", "postgresql", "")];
/// `postgres --version` answers at once unless its file system hangs.
const VERSION_TIMEOUT: Duration = Duration::from_secs(15);

/// A folder of server programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// Finds server programs: in `bin_dir` alone if given, else on the PATH, else in the usual
    /// places, newest first. With `cluster_major` only that version will do, because a server
    /// reads no other version's cluster.
    pub(super) async fn find(bin_dir: Option<&Path>, cluster_major: Option<u32>, runner: &Runner) -> Result<Self, EmbeddedError> {
        if let Some(dir) = bin_dir {
            return Self::configured(dir, cluster_major, runner).await;
        }
        let candidates = blocking(|| Ok(candidates(std::env::var_os("PATH").as_deref()))).await?;
        let mut unfit = Vec::new();
        for dir in candidates {
            match probe(&dir, cluster_major, runner).await {
                Ok(major) => return Ok(Self { dir, major }),
                Err(reason) => unfit.push(format!("{}: {reason}", dir.display())),
            }
        }
        Err(EmbeddedError::BinariesNotFound {
            needed: match cluster_major {
                Some(major) => format!("{major} (the version the data was made with)"),
                None => format!("{OLDEST_MAJOR} or newer"),
            },
            package: match cluster_major {
                Some(major) => format!("postgresql-{major}"),
                None => "postgresql".to_owned(),
            },
            looked_at: if unfit.is_empty() { String::new() } else { format!(" (looked at {})", unfit.join("; ")) },
        })
    }

    async fn configured(dir: &Path, cluster_major: Option<u32>, runner: &Runner) -> Result<Self, EmbeddedError> {
        let unusable = |reason: String| EmbeddedError::BinDirUnusable { dir: dir.to_path_buf(), reason };
        let found = {
            let dir = dir.to_path_buf();
            blocking(move || Ok(complete_dir(&dir))).await?
        };
        let Some(found) = found else {
            return Err(unusable(format!("it lacks one of {}", PROGRAMS.join(", "))));
        };
        let major = probe(&found, cluster_major, runner).await.map_err(unusable)?;
        Ok(Self { dir: found, major })
    }

    /// The path of one of the server programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The major version.
    pub(super) fn major(&self) -> u32 {
        self.major
    }
}

/// The version in `dir` if we can run it, else the reason.
async fn probe(dir: &Path, cluster_major: Option<u32>, runner: &Runner) -> Result<u32, String> {
    let deadline = Deadline::after(VERSION_TIMEOUT);
    let finished = runner.run(&dir.join("postgres"), ["--version"], "", deadline).await.map_err(|error| error.to_string())?;
    let major = parse_major(&finished.stdout)
        .filter(|_| finished.status.success())
        .ok_or_else(|| finished.error("postgres --version", String::new()).to_string())?;
    match cluster_major {
        Some(wanted) if wanted != major => Err(format!("version {major}, but the data needs version {wanted}")),
        None if major < OLDEST_MAJOR => Err(format!("version {major} is too old")),
        _ => Ok(major),
    }
}

/// The major version in the output of `postgres --version`.
pub(super) fn parse_major(text: &str) -> Option<u32> {
    let version = text.trim().strip_prefix("postgres (PostgreSQL) ")?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn candidates(path: Option<&OsStr>) -> Vec<PathBuf> {
    let on_path = path.into_iter().flat_map(std::env::split_paths).filter(|dir| dir.is_absolute()).filter_map(|dir| complete_dir(&dir));
    let mut seen = HashSet::new();
    let mut dirs: Vec<PathBuf> = on_path.chain(installed()).collect();
    dirs.retain(|dir| seen.insert(dir.clone()));
    dirs
}

/// The distributions' folders, newest version first.
fn installed() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (parent, prefix, rest) in INSTALLS {
        let Ok(entries) = std::fs::read_dir(parent) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix));
            if let Some(version) = version.and_then(|version| version.parse::<u32>().ok())
                && let Some(dir) = complete_dir(&entry.path().join(rest))
            {
                found.push((version, dir));
            }
        }
    }
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// The folder with all programs that `dir` stands for: `dir`, or when its `postgres` is a link
/// out of it, the folder that leads to.
fn complete_dir(dir: &Path) -> Option<PathBuf> {
    let complete = |dir: &Path| PROGRAMS.iter().all(|name| dir.join(name).is_file());
    let postgres = std::fs::canonicalize(dir.join(PROGRAMS[0])).ok()?;
    let target = postgres.parent()?;
    if complete(target) { Some(target.to_path_buf()) } else { complete(dir).then(|| dir.to_path_buf()) }
}
