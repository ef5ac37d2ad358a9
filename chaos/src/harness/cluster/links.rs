//! Links between the nodes of a cluster: direct, through proxies, or cables between network namespaces.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::layout::node_index;
use crate::network::namespaces::link_address;
use crate::network::{Modes, Namespaces, Proxy, Target};

/// Paths that the links between nodes take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Network {
    /// Direct connections, also to the database: no network faults possible
    #[value(skip)]
    Plain,
    /// A TCP proxy in front of each link, all on 127.0.0.1
    #[default]
    Proxies,
    /// A network namespace per node and a virtual cable per pair; requires root
    Namespaces,
}

/// Links between all possible nodes; the node with the lower name dials.
pub(super) enum Links {
    Plain,
    Proxies(BTreeMap<(usize, usize), Proxy>),
    Namespaces { cables: Namespaces, nodes: usize },
}

impl Links {
    /// Creates the links between nodes with these cluster ports.
    pub(super) async fn create(network: Network, ports: &[u16]) -> Result<Self> {
        match network {
            Network::Plain => Ok(Self::Plain),
            Network::Namespaces => Ok(Self::Namespaces { cables: Namespaces::create(ports.len())?, nodes: ports.len() }),
            Network::Proxies => {
                let mut links = BTreeMap::new();
                for (a, b) in pairs(ports.len()) {
                    links.insert((a, b), Proxy::start(Target::Tcp(([127, 0, 0, 1], ports[b]).into())).await?);
                }
                Ok(Self::Proxies(links))
            }
        }
    }

    /// Address at which `a` dials `b`, if it differs from the published one.
    pub(super) fn address(&self, a: usize, b: usize, port: u16) -> Option<String> {
        match self {
            Self::Plain => None,
            Self::Proxies(links) => links.get(&(a, b)).map(|link| link.address().to_string()),
            Self::Namespaces { .. } => Some(format!("{}:{port}", link_address(b, a))),
        }
    }

    /// Sets the modes of a link; `forward` is from the lower node.
    pub(super) fn set(&self, link: (usize, usize), modes: Modes) -> Result<()> {
        match self {
            Self::Plain => bail!("the links of this cluster cannot be disturbed"),
            Self::Proxies(links) => links.get(&link).context("there is no such link")?.set(modes),
            Self::Namespaces { cables, .. } => cables.set(link.0, link.1, modes)?,
        }
        Ok(())
    }

    /// Restores all links.
    pub(super) fn heal(&self) -> Result<()> {
        match self {
            Self::Plain => Ok(()),
            Self::Proxies(links) => {
                links.values().for_each(|link| link.set(Modes::default()));
                Ok(())
            }
            Self::Namespaces { cables, nodes } => pairs(*nodes).try_for_each(|(a, b)| cables.set(a, b, Modes::default())),
        }
    }
}

/// The link between two nodes, whichever is named first.
pub(super) fn link_of(a: &str, b: &str) -> Result<(usize, usize)> {
    let index = |name: &str| node_index(name).with_context(|| format!("there is no {name}"));
    let (a, b) = (index(a)?, index(b)?);
    Ok((a.min(b), a.max(b)))
}

fn pairs(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..nodes).flat_map(|b| (0..b).map(move |a| (a, b)))
}
