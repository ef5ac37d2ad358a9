//! Injection and healing of faults, with a log line for each and a record of when they were in force.

use anyhow::{Context, Result};

use super::{Fault, FaultSpan};
use crate::clock::now;
use crate::harness::Cluster;
use crate::network::{Mode, Modes};

/// Faults injected into a cluster.
#[derive(Debug, Default)]
pub struct Faults {
    spans: Vec<FaultSpan>,
}

impl Faults {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// All injected faults, in order.
    pub fn spans(&self) -> &[FaultSpan] {
        &self.spans
    }

    /// Injects a fault; its number for healing.
    pub async fn inject(&mut self, cluster: &mut Cluster, fault: Fault) -> Result<usize> {
        say(&fault.to_string());
        let began_at = now();
        let added = begin(cluster, &fault).await.with_context(|| fault.to_string())?;
        let in_force_at = now();
        let server = fault.node().map(|node| cluster.member(node).map(|member| member.url())).transpose()?;
        let over = matches!(fault, Fault::Restart { .. } | Fault::AddNode).then_some(in_force_at);
        if let Some(name) = added {
            say(&format!("{name} is ready at {}", cluster.member(&name)?.url()));
        }
        self.spans.push(FaultSpan { fault, server, began_at, in_force_at, healing_at: over, healed_at: over });
        Ok(self.spans.len() - 1)
    }

    /// Heals a fault, unless it is healed already.
    pub async fn heal(&mut self, cluster: &mut Cluster, number: usize) -> Result<()> {
        let Some(span) = self.spans.get_mut(number).filter(|span| span.healed_at.is_none()) else { return Ok(()) };
        say(&format!("heal: {}", span.fault));
        span.healing_at = Some(now());
        end(cluster, &span.fault).await.with_context(|| format!("healing: {}", span.fault))?;
        span.healed_at = Some(now());
        Ok(())
    }

    /// Heals all faults, the database first, as nodes cannot start without it.
    pub async fn heal_all(&mut self, cluster: &mut Cluster) -> Result<()> {
        cluster.heal_links()?;
        let mut open: Vec<usize> = (0..self.spans.len()).filter(|n| self.spans[*n].healed_at.is_none()).collect();
        open.sort_by_key(|n| self.spans[*n].fault != Fault::StopDatabase);
        for number in open {
            self.heal(cluster, number).await?;
        }
        Ok(())
    }
}

/// Starts a fault; the name of a node that was added.
async fn begin(cluster: &mut Cluster, fault: &Fault) -> Result<Option<String>> {
    match fault {
        Fault::Kill { node } => cluster.node_mut(node)?.kill9()?,
        Fault::Suspend { node } => cluster.node_mut(node)?.suspend()?,
        Fault::Stop { node } => cluster.node_mut(node)?.terminate().await.map(drop)?,
        Fault::Restart { node } => cluster.node_mut(node)?.restart().await.map(drop)?,
        Fault::CutLink { a, b } => cluster.set_link(a, b, Modes::both(Mode::Cut))?,
        Fault::SilenceLink { a, b } => cluster.set_link(a, b, Modes::both(Mode::Blackhole))?,
        // The lower name dials, so that forward is from it.
        Fault::OneWay { from, to } if from < to => {
            cluster.set_link(from, to, Modes { forward: Mode::Blackhole, backward: Mode::Pass })?;
        }
        Fault::OneWay { from, to } => cluster.set_link(from, to, Modes { forward: Mode::Pass, backward: Mode::Blackhole })?,
        Fault::Isolate { node } => cluster.set_links_of(node, Modes::both(Mode::Blackhole))?,
        Fault::SlowLink { a, b, delay } => cluster.set_link(a, b, Modes::both(Mode::Delay(*delay)))?,
        Fault::CutDatabase { node } => cluster.set_database_link(node, Modes::both(Mode::Cut))?,
        Fault::SlowDatabase { node, delay } => {
            cluster.set_database_link(node, Modes { forward: Mode::Delay(*delay), backward: Mode::Pass })?;
        }
        Fault::StopDatabase => cluster.stop_database().await?,
        Fault::KillPrimary { part } => {
            let killed = cluster.patroni_mut()?.kill_primary(*part).await?;
            say(&format!("{killed} was the primary"));
        }
        Fault::AddNode => return cluster.add_node().await.map(Some),
        Fault::Drain { node } => cluster.drain_or_resume(node, "drain").await?,
    }
    Ok(None)
}

async fn end(cluster: &mut Cluster, fault: &Fault) -> Result<()> {
    match fault {
        Fault::Kill { node } | Fault::Stop { node } => {
            let node = cluster.node_mut(node)?;
            node.start_again()?;
            node.wait_ready().await.map(drop)
        }
        Fault::Suspend { node } => cluster.node_mut(node)?.resume(),
        Fault::CutLink { a, b } | Fault::SilenceLink { a, b } | Fault::SlowLink { a, b, .. } => cluster.set_link(a, b, Modes::default()),
        Fault::OneWay { from, to } => cluster.set_link(from, to, Modes::default()),
        Fault::Isolate { node } => cluster.set_links_of(node, Modes::default()),
        Fault::CutDatabase { node } | Fault::SlowDatabase { node, .. } => cluster.set_database_link(node, Modes::default()),
        Fault::StopDatabase => cluster.start_database().await,
        Fault::KillPrimary { .. } => cluster.patroni_mut()?.make_whole().await,
        Fault::Drain { node } => cluster.drain_or_resume(node, "resume").await,
        Fault::Restart { .. } | Fault::AddNode => Ok(()),
    }
}

/// Prints a line with the time.
fn say(text: &str) {
    println!("{}  {text}", now().format("%H:%M:%S%.3f"));
}
