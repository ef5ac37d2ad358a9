//! The cluster: its nodes, who owns which shard, and what moved.

mod moves;
mod nodes;
mod reconcilers;
mod shards;

use std::rc::Rc;

use actors::clock;
use actors::services::{ClusterNode, ClusterOverview};
use dioxus::prelude::*;
use domain::{NodeId, Timestamp};

use crate::components::{Glyph, PageHeader, icon, time_ago};
use crate::context::{explain, use_session};
use crate::format;
use crate::navigation::use_title;
use crate::sampling::{CALM, ticks};
use moves::Moves;
use nodes::Nodes;
use reconcilers::Reconcilers;
use shards::Shards;

/// Colours that nodes are told apart by; further nodes begin again, and their names tell them apart.
const TONES: usize = 8;

/// What the page shows, and when it was read.
#[derive(Clone, PartialEq)]
struct Read {
    overview: Rc<ClusterOverview>,
    at: Timestamp,
}

impl Read {
    /// The live nodes, in the order of their names.
    fn live(&self) -> impl Iterator<Item = &ClusterNode> {
        self.overview.nodes.iter().filter(|node| node.row.state.is_live())
    }

    /// The colour of a node; `None` once it is gone.
    fn tone(&self, node: NodeId) -> Option<usize> {
        self.live().position(|live| live.row.id == node).map(|at| at % TONES)
    }
}

#[component]
pub(crate) fn Cluster() -> Element {
    use_title("Cluster");
    let session = use_session();
    let mut read = use_signal(|| None::<Read>);
    let mut problem = use_signal(|| None::<String>);
    use_future(move || {
        let session = session.clone();
        async move {
            let mut ticks = ticks(CALM);
            loop {
                ticks.tick().await;
                let overview = session.call(|system, principal| async move { system.cluster.overview(&principal).await }).await;
                match overview {
                    Ok(overview) => {
                        read.set(Some(Read { overview: Rc::new(overview), at: clock::now() }));
                        problem.set(None);
                    }
                    // What was read last stays: it is the best there is while the database is away.
                    Err(error) => problem.set(Some(explain(&error))),
                }
            }
        }
    });
    let shown = read();
    let lead = match &shown {
        Some(read) => {
            let owned = read.overview.shards.iter().filter(|shard| shard.owner.is_some()).count();
            Some(format!(
                "{}, {owned} of {} shards owned",
                format::count(read.live().count(), "live node", "live nodes"),
                read.overview.shards.len()
            ))
        }
        None => None,
    };
    rsx! {
        PageHeader { title: "Cluster", lead }
        if let Some(problem) = problem() {
            div { class: "notice bad", role: "alert", "data-testid": "cluster-problem", {icon(Glyph::Alert)}
                span { "{problem} "
                    if let Some(read) = &shown {
                        "Last read " {time_ago(read.at, &format::relative(clock::now(), read.at))} ". "
                    }
                    "Retrying every second."
                }
            }
        }
        match shown {
            None if problem().is_some() => rsx! {},
            None => rsx! { section { class: "card", div { class: "skeleton-lines", aria_hidden: "true", span {} span {} span {} } } },
            Some(read) => rsx! {
                if !read.overview.lease_holds {
                    div { class: "notice bad", role: "alert", {icon(Glyph::Alert)}
                        span { "{read.overview.this} has no lease right now: it owns no devices until the lease is renewed, and forwards requests to other nodes." }
                    }
                }
                Nodes { read: read.clone() }
                Shards { read: read.clone() }
                Reconcilers { read: read.clone() }
                Moves { read }
            },
        }
    }
}
