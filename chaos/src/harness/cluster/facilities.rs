//! What can be done to the nodes of a cluster besides killing them: their doors, clocks, names, certificates, cables and places.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Cluster;
use super::layout::node_index;
use super::links::Links;
use crate::clock::now;
use crate::harness::{IdleSession, NodeClock, NodeNames, Postmaster, SmallDisk};
use crate::network::{Impairment, Mode, Modes, Proxy, Sources};

/// Poll interval of placement.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Time for which the links of a node are cut to end them.
const CUT: Duration = Duration::from_millis(150);

/// By what means packets were lost and late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum NetworkMeans {
    /// The kernel loses and delays packets of all cables (`netem`).
    Netem,
    /// The kernel loses packets of all cables (nftables); it lacks `netem`, so that proxies delay what devices and the database send.
    NftablesAndProxies,
    /// Proxies delay what is sent, and now and then by a retransmission.
    Proxies,
}

/// Number of shards by the name of their owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardCounts(BTreeMap<String, usize>);

impl ShardCounts {
    /// Counts of `GET /v1/cluster`.
    pub fn of(view: &Value) -> Self {
        let mut counts = BTreeMap::new();
        for owner in view["shards"].as_array().into_iter().flatten().filter_map(|shard| shard["owner"].as_str()) {
            *counts.entry(owner.to_owned()).or_default() += 1;
        }
        Self(counts)
    }

    /// Shards of a node.
    pub fn of_node(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Whether these nodes have all of so many shards in equal parts.
    pub fn are_balanced(&self, nodes: &[String], shards: usize) -> bool {
        let parts: Vec<usize> = nodes.iter().map(|name| self.of_node(name)).collect();
        let (least, most) = (parts.iter().min().copied().unwrap_or(0), parts.iter().max().copied().unwrap_or(0));
        parts.iter().sum::<usize>() == shards && most - least <= 1
    }
}

impl From<BTreeMap<String, u32>> for ShardCounts {
    fn from(counts: BTreeMap<String, u32>) -> Self {
        Self(counts.into_iter().map(|(name, count)| (name, count as usize)).collect())
    }
}

impl Cluster {
    /// Names of the nodes whose processes run.
    pub fn running(&mut self) -> Vec<String> {
        self.members.iter_mut().filter_map(|member| member.node.is_running().then(|| member.name.clone())).collect()
    }

    fn door_of(&self, name: &str) -> Result<&Proxy> {
        self.member(name)?.door.as_ref().with_context(|| format!("{name} has no door: the cluster needs `doors = true`"))
    }

    /// Sets the modes between devices and a node.
    ///
    /// # Errors
    /// The node has no door.
    pub fn set_door(&self, name: &str, modes: Modes) -> Result<()> {
        self.door_of(name)?.set(modes);
        Ok(())
    }

    /// Sets the addresses from which devices reach the nodes, from their next connections on.
    ///
    /// # Errors
    /// The nodes have no doors.
    pub fn set_sources(&self, sources: Sources) -> Result<()> {
        self.members.iter().try_for_each(|member| self.door_of(&member.name).map(|door| door.set_sources(sources)))
    }

    /// Resets every connection of devices to all nodes at once; new ones are accepted all the while.
    ///
    /// # Errors
    /// The nodes have no doors.
    pub fn reset_doors(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| self.door_of(&member.name).map(Proxy::reset))
    }

    /// Resets the connections between a node and its database; new ones are accepted all the while.
    ///
    /// # Errors
    /// There is no proxy between them.
    pub fn reset_database_link(&self, name: &str) -> Result<()> {
        let proxy = self.member(name)?.database.as_ref();
        proxy.with_context(|| format!("the database of {name} cannot be disturbed"))?.reset();
        Ok(())
    }

    /// Ends the links of a node to all others; new ones are accepted right after.
    ///
    /// # Errors
    /// The links cannot be disturbed.
    pub async fn reset_links_of(&self, name: &str) -> Result<()> {
        if let Links::Proxies(links) = &self.links {
            let node = node_index(name).with_context(|| format!("there is no {name}"))?;
            links.iter().filter(|((a, b), _)| *a == node || *b == node).for_each(|(_, link)| link.reset());
            return Ok(());
        }
        self.set_links_of(name, Modes::both(Mode::Cut))?;
        sleep(CUT).await;
        self.set_links_of(name, Modes::default())
    }

    /// Clock of a node.
    ///
    /// # Errors
    /// It cannot be set.
    pub fn clock_of(&self, name: &str) -> Result<&NodeClock> {
        self.member(name)?
            .clock
            .as_ref()
            .with_context(|| format!("the clock of {name} cannot be set: the cluster needs `movable_clocks = true`"))
    }

    /// Names that a node resolves.
    ///
    /// # Errors
    /// It resolves none.
    pub fn names_of(&self, name: &str) -> Result<&NodeNames> {
        self.member(name)?.names.as_ref().with_context(|| format!("{name} resolves no names: the cluster needs `names = true`"))
    }

    /// Disk of PostgreSQL.
    ///
    /// # Errors
    /// It has none for itself.
    pub fn database_disk(&self) -> Result<&SmallDisk> {
        self.database_disk.as_ref().context("PostgreSQL has no disk for itself: the cluster needs `database_disk_mib`")
    }

    /// First process of PostgreSQL.
    ///
    /// # Errors
    /// It does not run.
    pub fn postmaster(&self) -> Result<Postmaster> {
        self.database.postmaster()
    }

    /// A session of PostgreSQL that asks nothing; `None` when no connection is left.
    ///
    /// # Errors
    /// PostgreSQL does not answer.
    pub async fn idle_session(&self) -> Result<Option<IdleSession>> {
        self.database.idle_session().await
    }

    /// Gives a node a certificate that ends at this time, and restarts it, as it reads the file when it starts.
    ///
    /// # Errors
    /// The certificates of the cluster are no files, or the node does not start.
    pub async fn renew_certificate(&mut self, name: &str, ends: DateTime<Utc>) -> Result<()> {
        let certificates = self.certificates.as_ref().context("the certificates are no files: the cluster needs `certificates = true`")?;
        certificates.issue(name, now(), ends)?;
        self.node_mut(name)?.restart().await.map(drop)
    }

    /// Starts a node that has ended by another binary, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_with(&mut self, name: &str, binary: &Path) -> Result<()> {
        let node = self.node_mut(name)?;
        binary.clone_into(&mut node.options_mut().binary);
        node.start_again()?;
        node.wait_ready().await.map(drop)
    }

    /// Stops the node that was added last, and forgets it; its name.
    ///
    /// # Errors
    /// It is the only one, or it does not stop.
    pub async fn remove_node(&mut self) -> Result<String> {
        ensure!(self.members.len() > 1, "the only node of a cluster cannot be removed");
        let last = self.members.len() - 1;
        if self.members[last].node.is_running() {
            self.members[last].node.resume()?;
            self.members[last].node.terminate().await?;
        }
        Ok(self.members.remove(last).name)
    }

    /// Loses this share of the packets of a node in each direction, and delays all of them by half the latency each way.
    ///
    /// # Errors
    /// A limit is exceeded, or neither the kernel nor a proxy can do it.
    pub fn impair_network(&self, name: &str, loss_pct: u8, latency: Duration) -> Result<NetworkMeans> {
        let delay = latency / 2;
        let Links::Namespaces { cables, .. } = &self.links else {
            ensure!(
                loss_pct <= crate::network::LOSS_PCT_MAX && latency <= crate::network::LATENCY_MAX,
                "loss or latency exceeds its limit"
            );
            let lossy = Modes::both(Mode::Lossy { delay, loss_pct });
            self.set_links_of(name, lossy)?;
            self.set_database_link(name, lossy)?;
            if self.member(name)?.door.is_some() {
                self.set_door(name, lossy)?;
            }
            return Ok(NetworkMeans::Proxies);
        };
        let node = node_index(name).with_context(|| format!("there is no {name}"))?;
        match cables.impair(node, loss_pct, latency)? {
            Impairment::LossAndLatency => Ok(NetworkMeans::Netem),
            Impairment::Loss => {
                let late = Modes::both(Mode::Delay(delay));
                self.set_database_link(name, late)?;
                if self.member(name)?.door.is_some() {
                    self.set_door(name, late)?;
                }
                Ok(NetworkMeans::NftablesAndProxies)
            }
        }
    }

    /// Ends what [`Self::impair_network`] has begun.
    ///
    /// # Errors
    /// There is no such node.
    pub fn repair_network(&self, name: &str) -> Result<()> {
        match &self.links {
            Links::Namespaces { cables, .. } => cables.repair(node_index(name).with_context(|| format!("there is no {name}"))?),
            _ => self.set_links_of(name, Modes::default())?,
        }
        if self.member(name)?.door.is_some() {
            self.set_door(name, Modes::default())?;
        }
        self.set_database_link(name, Modes::default())
    }

    /// Waits until shards lie as a condition has it, as any running node sees them.
    ///
    /// # Errors
    /// They do not in time; the error shows how they lie.
    pub async fn until_placed(&mut self, within: Duration, is_so: impl Fn(&ShardCounts) -> bool) -> Result<ShardCounts> {
        let deadline = Instant::now() + within;
        let mut seen = ShardCounts::default();
        loop {
            for name in self.running() {
                // A node that is busy or fenced is asked again.
                if let Ok(view) = self.view_of(&name).await {
                    seen = ShardCounts::of(&view);
                    if is_so(&seen) {
                        return Ok(seen);
                    }
                }
            }
            ensure!(Instant::now() < deadline, "shards do not lie as they should within {within:?}: {seen:?}");
            sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shards_are_balanced_when_all_have_owners_and_parts_differ_by_one_at_most() {
        let view = |owners: &[Option<&str>]| {
            ShardCounts::of(&json!({"shards": owners.iter().map(|owner| json!({"owner": owner})).collect::<Vec<_>>()}))
        };
        let nodes = ["a".to_owned(), "b".to_owned()];
        for (owners, balanced) in [
            (&[Some("a"), Some("b"), Some("a")][..], true),
            (&[Some("a"), Some("a"), Some("a")], false),
            (&[Some("a"), Some("b"), None], false),
            (&[Some("a"), Some("b"), Some("c")], false),
        ] {
            assert_eq!(view(owners).are_balanced(&nodes, 3), balanced, "{owners:?}");
        }
        assert_eq!(view(&[Some("a"), Some("b"), Some("a")]).of_node("a"), 2);
    }
}
