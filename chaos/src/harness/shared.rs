//! The database that the nodes of a cluster share.

use std::fmt::Display;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{DatabaseKind, DatabaseServer, IdleSession, Patroni, Postmaster, Psql};
use crate::network::Target;

/// One server, or several of which one is the primary.
#[derive(Debug)]
pub(super) enum SharedDatabase {
    Single(DatabaseServer),
    Several { servers: Box<Patroni>, url: String, node_url: String },
}

/// What only one server can.
const SEVERAL: &str = "the database is three servers by Patroni, which is stopped and disturbed otherwise";

impl SharedDatabase {
    /// Starts it with its data in `folder`; a single server is one of the `nexmdm` binary, with these variables.
    pub(super) async fn start(kind: DatabaseKind, folder: &Path, binary: &Path, env: &[(String, String)]) -> Result<Self> {
        let by_haproxy = match kind {
            DatabaseKind::Single => return DatabaseServer::start(binary, folder, env).await.map(Self::Single),
            DatabaseKind::Patroni => false,
            DatabaseKind::Haproxy => true,
        };
        let servers = Box::new(Patroni::start(folder, by_haproxy).await?);
        let (url, node_url) = (servers.url(), servers.node_url());
        Ok(Self::Several { servers, url, node_url })
    }

    fn single(&self) -> Result<&DatabaseServer> {
        match self {
            Self::Single(server) => Ok(server),
            Self::Several { .. } => bail!(SEVERAL),
        }
    }

    fn single_mut(&mut self) -> Result<&mut DatabaseServer> {
        match self {
            Self::Single(server) => Ok(server),
            Self::Several { .. } => bail!(SEVERAL),
        }
    }

    /// The servers by Patroni.
    ///
    /// # Errors
    /// The cluster has another database.
    pub(super) fn patroni_mut(&mut self) -> Result<&mut Patroni> {
        match self {
            Self::Single(_) => Err(anyhow::anyhow!("the database is one server")).context("the cluster needs database = \"patroni\""),
            Self::Several { servers, .. } => Ok(servers),
        }
    }

    pub(super) async fn start_again(&mut self) -> Result<()> {
        self.single_mut()?.start_again().await
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        self.single_mut()?.stop().await
    }

    pub(super) fn is_running(&self) -> bool {
        match self {
            Self::Single(server) => server.is_running(),
            Self::Several { .. } => true,
        }
    }

    /// URL for libpq.
    pub(super) fn url(&self) -> &str {
        match self {
            Self::Single(server) => server.url(),
            Self::Several { url, .. } => url,
        }
    }

    /// URL for nodes.
    pub(super) fn node_url(&self) -> &str {
        match self {
            Self::Single(server) => server.url(),
            Self::Several { node_url, .. } => node_url,
        }
    }

    pub(super) fn psql(&self) -> Psql {
        Psql::of_url(self.url())
    }

    /// Listen address of a single server, in front of which a proxy may stand.
    pub(super) fn target(&self) -> Result<Option<Target>> {
        match self {
            Self::Single(server) => server.target().map(Some),
            Self::Several { .. } => Ok(None),
        }
    }

    pub(super) fn url_by(&self, address: (impl Display, u16)) -> Result<String> {
        self.single()?.url_by(address)
    }

    pub(super) fn postmaster(&self) -> Result<Postmaster> {
        self.single()?.postmaster()
    }

    pub(super) async fn idle_session(&self) -> Result<Option<IdleSession>> {
        self.single()?.idle_session().await
    }
}
