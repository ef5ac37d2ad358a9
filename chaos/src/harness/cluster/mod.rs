//! A cluster of real node processes over one PostgreSQL, with a proxy of ours
//! in front of each link between two nodes and of each node's database.

mod admin;
mod facilities;
mod layout;
mod links;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

pub use self::facilities::{NetworkMeans, ShardCounts};
use self::layout::{Secrets, distinct_ports, node_name, secrets};
pub use self::links::Network;
use self::links::{Links, link_of};
use super::certificates::LONG as CERTIFICATE_LIFETIME;
use super::names::DATABASE_NAME;
use super::shared::SharedDatabase;
use super::{
    Console, DatabaseKind, LinkCertificates, Node, NodeClock, NodeNames, NodeOptions, Patroni, Psql, SmallDisk, TempDir, free_port,
};
use crate::clock::now;
use crate::network::namespaces::{SERVICES_ADDRESS, enter, hub_address, node_address};
use crate::network::{Modes, Proxy, Target};

/// Nodes that can be added later; their links are created in advance.
const SPARE_NODES: usize = 4;

/// Options of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The `nexmdm` binary.
    pub binary: PathBuf,
    /// Initial number of nodes.
    pub nodes: usize,
    /// Environment variables of every node.
    pub env: Vec<(String, String)>,
    /// Persistent folder; otherwise a temporary one.
    pub data_dir: Option<PathBuf>,
    /// Parent of the temporary folder.
    pub parent_dir: Option<PathBuf>,
    /// Kind of links between nodes.
    pub network: Network,
    /// Deadline of a node's `/readyz`.
    pub ready_within: Duration,
    /// Deadline of a node's stop.
    pub stop_within: Duration,
    /// Whether devices and people reach each node through a proxy, whose connections can be reset, slowed and given other addresses.
    pub doors: bool,
    /// Whether the clocks of nodes can be set.
    pub movable_clocks: bool,
    /// Whether nodes reach the database by a name, which can be made unknown to each of them; requires root.
    pub names: bool,
    /// Whether the certificates of the link are files, which can run out.
    pub certificates: bool,
    /// Size of a disk that PostgreSQL has for itself, which can be filled; requires root.
    pub database_disk_bytes: Option<u64>,
    /// Servers of PostgreSQL. Several are reached without proxies.
    pub database: DatabaseKind,
}

impl ClusterOptions {
    /// Options with links and databases that can be disturbed.
    pub fn new(binary: impl Into<PathBuf>, nodes: usize) -> Self {
        Self {
            binary: binary.into(),
            nodes,
            env: Vec::new(),
            data_dir: None,
            parent_dir: None,
            network: Network::Proxies,
            ready_within: Duration::from_secs(90),
            stop_within: Duration::from_secs(45),
            doors: false,
            movable_clocks: false,
            names: false,
            certificates: false,
            database_disk_bytes: None,
            database: DatabaseKind::Single,
        }
    }

    /// Adds a variable for every node.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}

/// A node of the cluster.
pub struct Member {
    name: String,
    node: Node,
    /// Proxy in front of its PostgreSQL.
    database: Option<Proxy>,
    /// Proxy in front of its HTTP port.
    door: Option<Proxy>,
    clock: Option<NodeClock>,
    names: Option<NodeNames>,
}

/// Node processes, their database and links; stopped on drop.
pub struct Cluster {
    options: ClusterOptions,
    secrets: Secrets,
    // Nodes are dropped before the database they use, and that before its folder.
    members: Vec<Member>,
    /// Ports of the links between nodes, spare nodes included.
    ports: Vec<u16>,
    links: Links,
    certificates: Option<LinkCertificates>,
    database: SharedDatabase,
    database_disk: Option<SmallDisk>,
    folder: PathBuf,
    temporary: Option<TempDir>,
}

impl Cluster {
    /// Starts the database and the nodes, and waits until all are ready.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        ensure!((1..=9).contains(&options.nodes), "a cluster has 1 to 9 nodes here");
        let (folder, temporary) = match (&options.data_dir, &options.parent_dir) {
            (Some(kept), _) => (kept.clone(), None),
            (None, Some(parent)) => temporary(TempDir::below(parent, "cluster"))?,
            (None, None) => temporary(TempDir::new("cluster"))?,
        };
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = fs::canonicalize(folder)?;
        let secrets = secrets(&folder)?;
        let database_dir = folder.join("database");
        let database_disk = options.database_disk_bytes.map(|bytes| SmallDisk::mount(&database_dir, bytes)).transpose()?;
        let database = SharedDatabase::start(options.database, &database_dir, &options.binary, &options.env).await?;
        let ports = distinct_ports(options.nodes + SPARE_NODES)?;
        let nodes = options.nodes;
        let links = Links::create(options.network, &ports).await?;
        let certificates = options.certificates.then(|| LinkCertificates::create(&folder.join("certificates"), now())).transpose()?;
        let members = Vec::new();
        let mut cluster = Self { options, secrets, members, ports, links, certificates, database, database_disk, folder, temporary };
        // The first node alone, as it creates the tables and the admin account.
        for n in 0..nodes {
            cluster.spawn_next().await?;
            if n == 0 {
                cluster.members[0].node.wait_ready().await.context("node-1")?;
            }
        }
        for member in &mut cluster.members {
            member.node.wait_ready().await.with_context(|| member.name.clone())?;
        }
        Ok(cluster)
    }

    async fn spawn_next(&mut self) -> Result<usize> {
        let index = self.members.len();
        let Some(cluster_port) = self.ports.get(index) else { bail!("cannot add a node: the limit is {index}") };
        let name = node_name(index);
        let database = match (self.options.network, self.database.target()?) {
            (Network::Plain, _) | (Network::Proxies, None) => None,
            (Network::Proxies, Some(target)) => Some(Proxy::start(target).await?),
            (Network::Namespaces, Some(target)) => Some(Proxy::start_on(hub_address(index), target).await?),
            (Network::Namespaces, None) => bail!("several servers of PostgreSQL are not reached from network namespaces"),
        };
        let folder = self.folder.join(&name);
        let names = match &database {
            Some(proxy) if self.options.names => Some(NodeNames::create(&folder.join("names"), *proxy.address().ip())?),
            None if self.options.names => bail!("names lead through proxies: the network of the cluster is plain"),
            _ => None,
        };
        let clock = self.options.movable_clocks.then(|| NodeClock::create(&folder.join("clock"))).transpose()?;
        let database_url = match &database {
            Some(proxy) if names.is_some() => self.database.url_by((DATABASE_NAME, proxy.address().port()))?,
            Some(proxy) => self.database.url_by((proxy.address().ip(), proxy.address().port()))?,
            None => self.database.node_url().to_owned(),
        };
        let peers: Vec<String> = (index + 1..self.ports.len())
            .filter_map(|peer| Some(format!("{}={}", node_name(peer), self.links.address(index, peer, self.ports[peer])?)))
            .collect();
        let mut options = self.node_options(&name, *cluster_port, database_url);
        if self.options.network == Network::Namespaces {
            (options.host, options.enter) = (node_address(index), enter(index));
            options.env.push(("NEXMDM__CLUSTER__LISTEN".into(), format!("0.0.0.0:{cluster_port}")));
            options.env.push(("NEXMDM__CLUSTER__ADVERTISE".into(), format!("{}:{cluster_port}", node_address(index))));
        }
        options.env.push(("NEXMDM__CLUSTER__PEER_ADDRESSES".into(), peers.join(",")));
        options.kept_dir = Some(folder);
        options.enter.extend(names.iter().flat_map(NodeNames::enter));
        options.env.extend(clock.as_ref().map(NodeClock::env).transpose()?.unwrap_or_default());
        if let Some(certificates) = &self.certificates {
            certificates.issue(&name, now(), now() + CERTIFICATE_LIFETIME)?;
            options.env.extend(certificates.env(&name));
        }
        // The variables of the caller take precedence.
        options.env.extend(self.options.env.clone());
        let host = options.host;
        let node = Node::spawn(options).with_context(|| name.clone())?;
        let door = match self.options.doors {
            true => Some(Proxy::start(Target::Tcp((host, node.port()).into())).await?),
            false => None,
        };
        self.members.push(Member { name, node, database, door, clock, names });
        Ok(index)
    }

    fn node_options(&self, name: &str, cluster_port: u16, database_url: String) -> NodeOptions {
        let mut options = NodeOptions::new(&self.options.binary).database_url(database_url);
        options.admin_password = self.secrets.admin_password.clone();
        options.ready_within = self.options.ready_within;
        options.stop_within = self.options.stop_within;
        options
            .env("NEXMDM__SECRETS__MASTER_KEY", &self.secrets.master_key)
            .env("NEXMDM__SECRETS__JWT_KEY", &self.secrets.jwt_key)
            .env("NEXMDM__SECRETS__CLUSTER_KEY", &self.secrets.cluster_key)
            .env("NEXMDM__CLUSTER__NODE_NAME", name)
            // One folder for all, as any node may serve the file of a deployment.
            .env("NEXMDM__APKS__STORE_URL", self.folder.join("apks").display().to_string())
            // And any node may archive a day, and read it.
            .env("NEXMDM__ARCHIVE__URL", self.archive_dir().display().to_string())
            .env("NEXMDM__CLUSTER__LISTEN", format!("127.0.0.1:{cluster_port}"))
    }

    /// Options of a foreign node called `name` on the same database, with a folder and a port of its own, which is not a member of
    /// this cluster.
    pub fn foreign_node_options(&self, name: &str) -> Result<NodeOptions> {
        let mut options = self.node_options(name, free_port()?, self.database.node_url().to_owned());
        options.env.extend(self.options.env.clone());
        Ok(options)
    }

    /// Folder of the archives, unless a variable of the caller names another place.
    pub fn archive_dir(&self) -> PathBuf {
        self.folder.join("archive")
    }

    /// Commands beside the nodes, with the nodes' settings and a data folder of their own; they reach the database without a proxy.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn console(&self) -> Result<Console> {
        let folder = self.folder.join("console");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut env = self.foreign_node_options("console")?.env;
        env.push(("DATABASE_URL".into(), self.database.node_url().to_owned()));
        env.push(("NEXMDM__DATA_DIR".into(), folder.display().to_string()));
        Ok(Console::new(&self.options.binary, folder, env))
    }

    /// Cluster address of a node, bypassing proxies.
    pub fn cluster_address(&self, name: &str) -> Result<String> {
        let place = self.members.iter().position(|member| member.name == name);
        let port = place.and_then(|place| self.ports.get(place)).with_context(|| format!("there is no {name}"))?;
        let host = if self.options.network == Network::Namespaces { node_address(place.unwrap_or_default()) } else { Ipv4Addr::LOCALHOST };
        Ok(format!("{host}:{port}"))
    }

    /// Address of this process at which every node reaches what listens here.
    pub fn services_address(&self) -> Ipv4Addr {
        if self.options.network == Network::Namespaces { SERVICES_ADDRESS } else { Ipv4Addr::LOCALHOST }
    }

    /// Starts one more node and waits until it is ready.
    pub async fn add_node(&mut self) -> Result<String> {
        let index = self.spawn_next().await?;
        let member = &mut self.members[index];
        member.node.wait_ready().await.with_context(|| member.name.clone())?;
        Ok(member.name.clone())
    }

    /// All nodes, in the order they were added.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A node by its name.
    pub fn member(&self, name: &str) -> Result<&Member> {
        self.members.iter().find(|member| member.name == name).with_context(|| format!("there is no {name}"))
    }

    /// A node's process by the node's name.
    pub fn node_mut(&mut self, name: &str) -> Result<&mut Node> {
        let member = self.members.iter_mut().find(|member| member.name == name);
        member.map(|member| &mut member.node).with_context(|| format!("there is no {name}"))
    }

    /// Sets the modes between two nodes; `forward` is from the one with the lower name.
    pub fn set_link(&self, a: &str, b: &str, modes: Modes) -> Result<()> {
        self.links.set(link_of(a, b)?, modes)
    }

    /// Sets the modes of all links of a node; `forward` is from it.
    pub fn set_links_of(&self, name: &str, modes: Modes) -> Result<()> {
        self.member(name)?;
        let turned = Modes { forward: modes.backward, backward: modes.forward };
        for other in (0..self.ports.len()).map(node_name).filter(|other| other != name) {
            self.set_link(name, &other, if *name < *other { modes } else { turned })?;
        }
        Ok(())
    }

    /// Sets the modes between a node and its database.
    pub fn set_database_link(&self, name: &str, modes: Modes) -> Result<()> {
        let proxy = self.member(name)?.database.as_ref();
        proxy.with_context(|| format!("the database of {name} cannot be disturbed"))?.set(modes);
        Ok(())
    }

    /// Stops PostgreSQL while all nodes run.
    pub async fn stop_database(&mut self) -> Result<()> {
        self.database.stop().await
    }

    /// Starts PostgreSQL again.
    pub async fn start_database(&mut self) -> Result<()> {
        self.database.start_again().await?;
        let Some(target) = self.database.target()? else { return Ok(()) };
        for proxy in self.members.iter().filter_map(|member| member.database.as_ref()) {
            proxy.set_target(target.clone());
        }
        Ok(())
    }

    /// The servers of PostgreSQL by Patroni.
    ///
    /// # Errors
    /// The cluster has a single server.
    pub fn patroni_mut(&mut self) -> Result<&mut Patroni> {
        self.database.patroni_mut()
    }

    /// Whether PostgreSQL was started and not stopped.
    pub fn database_runs(&self) -> bool {
        self.database.is_running()
    }

    /// Database URL for libpq, bypassing proxies.
    pub fn database_url(&self) -> &str {
        self.database.url()
    }

    /// Access to the database, bypassing proxies.
    pub fn psql(&self) -> Psql {
        self.database.psql()
    }

    /// Restores all links between processes.
    pub fn heal_links(&self) -> Result<()> {
        for proxy in self.members.iter().flat_map(|member| [&member.database, &member.door]).flatten() {
            proxy.set(Modes::default());
        }
        self.links.heal()
    }

    /// Password of `admin` on every node.
    pub fn admin_password(&self) -> &str {
        &self.secrets.admin_password
    }

    /// Folder of logs, data and secrets.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps the folder for analysis.
    pub fn keep_folder(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            temporary.keep();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Whatever was cut or silenced must not keep a process from its end, and
        // those that are to end at the same time do so.
        let _ = self.heal_links();
        for member in &mut self.members {
            if member.node.is_running() {
                let _ = member.node.resume().and_then(|()| member.node.send_terminate());
            }
        }
    }
}

impl Member {
    /// `node-1` and so on.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// URL for devices and people: that of its door, if there is one.
    pub fn url(&self) -> String {
        self.door.as_ref().map_or_else(|| self.node.url(), |door| format!("http://{}", door.address()))
    }

    /// Process of the node.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

fn temporary(folder: std::io::Result<TempDir>) -> Result<(PathBuf, Option<TempDir>)> {
    let folder = folder.context("cannot make a folder for the cluster")?;
    Ok((folder.path().to_owned(), Some(folder)))
}
