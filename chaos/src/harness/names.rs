//! Names that one node alone resolves: a mount namespace with `/etc/hosts` and `/etc/resolv.conf` of its own, so that its DNS can be gone.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Name of the database.
pub(super) const DATABASE_NAME: &str = "database.chaos.internal";
/// A resolver that is not there: what `/etc/hosts` does not have cannot be resolved.
const NO_RESOLVER: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
/// What a file of hosts always has.
const LOCALHOST: &str = "127.0.0.1 localhost\n";

/// Files that decide what names a node resolves.
#[derive(Debug)]
pub struct NodeNames {
    hosts: PathBuf,
    resolver: PathBuf,
    entries: String,
}

impl NodeNames {
    /// Files in this folder, by which the database's name leads to an address.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn create(folder: &Path, database: Ipv4Addr) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let entries = format!("{LOCALHOST}{database} {DATABASE_NAME}\n");
        let names = Self { hosts: folder.join("hosts"), resolver: folder.join("resolv.conf"), entries };
        fs::write(&names.resolver, NO_RESOLVER).with_context(|| format!("cannot write {}", names.resolver.display()))?;
        names.restore()?;
        Ok(names)
    }

    /// Words before a command, which make it see these files. Needs root and `unshare`.
    pub fn enter(&self) -> Vec<String> {
        let script = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf && shift 2 && exec \"$@\"";
        let words = ["unshare", "--mount", "--", "sh", "-ec", script, "sh"].into_iter().map(str::to_owned);
        words.chain([&self.hosts, &self.resolver].map(|file| file.display().to_string())).collect()
    }

    /// From now on no name is resolved.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn forget(&self) -> Result<()> {
        self.write(LOCALHOST)
    }

    /// Names are resolved again.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn restore(&self) -> Result<()> {
        self.write(&self.entries)
    }

    /// In place: the node has this very file mounted, and another one under its name would not be seen.
    fn write(&self, text: &str) -> Result<()> {
        fs::write(&self.hosts, text).with_context(|| format!("cannot write {}", self.hosts.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::harness::TempDir;

    /// Where this process may not mount, nothing can be said.
    #[test]
    fn a_name_is_resolved_until_it_is_forgotten_or_needs_root() {
        let folder = TempDir::new("names").unwrap();
        let names = NodeNames::create(folder.path(), Ipv4Addr::new(127, 0, 0, 9)).unwrap();
        let resolve = || {
            let words = names.enter();
            Command::new(&words[0]).args(&words[1..]).args(["getent", "ahostsv4", DATABASE_NAME]).output().unwrap()
        };
        let found = resolve();
        if !rustix::process::geteuid().is_root() {
            return assert!(!found.status.success(), "mounted without root");
        }
        assert!(String::from_utf8_lossy(&found.stdout).contains("127.0.0.9"), "{found:?}");
        names.forget().unwrap();
        assert!(!resolve().status.success());
        names.restore().unwrap();
        assert!(resolve().status.success());
    }
}
