//! The configurations of `docs/high-availability.md` with addresses of this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::SERVERS;

const DOCUMENT: &str = include_str!("../../../../docs/high-availability.md");

/// Ports on 127.0.0.1, and the server programs.
pub(super) struct Places {
    etcd: u16,
    etcd_peer: u16,
    haproxy: u16,
    /// PostgreSQL and REST API of each server.
    servers: Vec<(u16, u16)>,
    bin_dir: PathBuf,
}

impl Places {
    /// From three ports, and two for each server.
    pub(super) fn new(ports: &[u16], bin_dir: PathBuf) -> Option<Self> {
        let (&[etcd, etcd_peer, haproxy], rest) = ports.split_first_chunk::<3>()?;
        let servers = rest.chunks_exact(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?))).collect();
        Some(Self { etcd, etcd_peer, haproxy, servers, bin_dir })
    }

    fn server(&self, number: usize) -> Option<(u16, u16)> {
        self.servers.get(number.checked_sub(1)?).copied()
    }

    pub(super) fn etcd_arguments(&self, folder: &Path) -> Vec<String> {
        let (client, peer) = (format!("http://127.0.0.1:{}", self.etcd), format!("http://127.0.0.1:{}", self.etcd_peer));
        [
            ("--name", "etcd-1".to_owned()),
            ("--data-dir", folder.join("etcd").display().to_string()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer.clone()),
            ("--initial-cluster", format!("etcd-1={peer}")),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }

    pub(super) fn rest_url(&self, number: usize) -> String {
        format!("http://127.0.0.1:{}", self.server(number).unwrap_or_default().1)
    }

    fn url_by(user: &str, database: &str, ports: impl Iterator<Item = u16>, more: &str) -> String {
        let hosts: Vec<String> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        let password = if user == "postgres" { "ONE-PASSWORD" } else { user };
        format!("postgres://{user}:{password}@{}/{database}?sslmode=disable{more}", hosts.join(","))
    }

    /// URL of all servers.
    pub(super) fn url(&self, user: &str) -> String {
        Self::url_by(user, user, self.servers.iter().map(|server| server.0), "&target_session_attrs=read-write")
    }

    /// URL of one server.
    pub(super) fn url_of(&self, number: usize, user: &str, database: &str) -> String {
        Self::url_by(user, database, self.server(number).map(|server| server.0).into_iter(), "")
    }

    /// URL of all servers but one.
    pub(super) fn url_of_others(&self, number: usize, user: &str) -> String {
        let others = (1..=SERVERS).filter(|other| *other != number).filter_map(|other| self.server(other));
        Self::url_by(user, user, others.map(|server| server.0), "")
    }

    pub(super) fn haproxy_url(&self, user: &str) -> String {
        Self::url_by(user, user, std::iter::once(self.haproxy), "")
    }
}

/// Text of the block of this language in the document.
fn block(language: &str) -> Result<&'static str> {
    let (_, rest) = DOCUMENT.split_once(&format!("```{language}\n")).with_context(|| format!("no block of {language}"))?;
    Ok(rest.split_once("```").context("a block without an end")?.0)
}

/// Replaces what the document says of other machines; each has to be there.
fn replaced(text: &str, pairs: &[(String, String)]) -> Result<String> {
    pairs.iter().try_fold(text.to_owned(), |text, (from, to)| {
        ensure!(text.contains(from.as_str()), "docs/high-availability.md no longer says {from:?}");
        Ok(text.replace(from.as_str(), to))
    })
}

/// The configuration of Patroni of a server.
pub(super) fn patroni_config(places: &Places, number: usize, folder: &Path) -> Result<String> {
    let (postgres, rest) = places.server(number).context("no such server")?;
    let folder = folder.display();
    let pairs = [
        ("name: pg1", format!("name: pg{number}")),
        ("10.0.0.11:8008", format!("127.0.0.1:{rest}")),
        ("10.0.0.11:5432", format!("127.0.0.1:{postgres}")),
        ("10.0.0.21:2379,10.0.0.22:2379,10.0.0.23:2379", format!("127.0.0.1:{}", places.etcd)),
        ("10.0.0.0/24", "127.0.0.1/32".to_owned()),
        ("data_dir: /var/lib/postgresql/15/nexmdm", format!("data_dir: {folder}/data")),
        ("bin_dir: /usr/lib/postgresql/15/bin", format!("bin_dir: {}", places.bin_dir.display())),
        ("pgpass: /var/lib/postgresql/.pgpass-patroni", format!("pgpass: {folder}/pgpass")),
        ("unix_socket_directories: /var/run/postgresql", format!("unix_socket_directories: {folder}\n    shared_buffers: 64MB")),
        // There is no /dev/watchdog for three servers of one machine.
        ("mode: automatic", "mode: \"off\"".to_owned()),
    ];
    replaced(block("yaml")?, &pairs.map(|(from, to)| (from.to_owned(), to)))
}

/// The configuration of HAProxy.
pub(super) fn haproxy_config(places: &Places) -> Result<String> {
    let mut pairs = vec![("10.0.0.10:5432".to_owned(), format!("127.0.0.1:{}", places.haproxy))];
    for number in 1..=SERVERS {
        let (postgres, rest) = places.server(number).context("no such server")?;
        let server = |address: String, port: u16| format!("{address} maxconn 200 check port {port}");
        pairs.push((server(format!("10.0.0.1{number}:5432"), 8008), server(format!("127.0.0.1:{postgres}"), rest)));
    }
    replaced(block("haproxy")?, &pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_what_is_started() {
        let places = Places::new(&[1, 2, 3, 11, 21, 12, 22, 13, 23], "/bin".into()).unwrap();
        for number in 1..=SERVERS {
            let text = patroni_config(&places, number, Path::new("/f")).unwrap();
            assert!(text.contains(&format!("name: pg{number}\n")) && text.contains("synchronous_mode: true"), "{text}");
            assert!(text.contains(&format!("listen: 127.0.0.1:1{number}")) && !text.contains("10.0.0."), "{text}");
        }
        let text = haproxy_config(&places).unwrap();
        assert!(text.contains("server pg2 127.0.0.1:12 maxconn 200 check port 22") && !text.contains("10.0.0."), "{text}");
        let url = places.url("nexmdm");
        assert!(url.contains("127.0.0.1:11,127.0.0.1:12,127.0.0.1:13/nexmdm") && url.contains("target_session_attrs=read-write"), "{url}");
        assert!(places.url_of_others(2, "nexmdm").contains("@127.0.0.1:11,127.0.0.1:13/"));
    }
}
