//! Cluster page: nodes, shards and shard history.

mod connections;
mod moves;
mod nodes;
mod pools;
mod reconcilers;
mod shards;

use std::rc::Rc;

use dioxus::prelude::*;
use domain::{NodeId, Timestamp};
use services::{ClusterNode, ClusterOverview};

use crate::components::{Glyph, PageHeader, icon, time_ago};
use crate::context::{explain, use_session};
use crate::format;
use crate::navigation::use_title;
use crate::sampling::{CALM, ticks};
use connections::Connections;
use moves::Moves;
use nodes::Nodes;
use pools::Pools;
use reconcilers::Reconcilers;
use shards::Shards;

/// Number of node colours; further nodes reuse them.
const TONES: usize = 8;

/// Cluster state and the time of reading it.
#[derive(Clone, PartialEq)]
struct ClusterSnapshot {
    overview: Rc<ClusterOverview>,
    at: Timestamp,
}

impl ClusterSnapshot {
    /// The live nodes, in the order of their names.
    fn live(&self) -> impl Iterator<Item = &ClusterNode> {
        self.overview.nodes.iter().filter(|node| node.info.state.is_live())
    }

    /// The colour of a node; `None` once it is gone.
    fn tone(&self, node: NodeId) -> Option<usize> {
        self.live().position(|live| live.info.id == node).map(|at| at % TONES)
    }
}

#[component]
pub(crate) fn Cluster() -> Element {
    use_title("Cluster");
    let session = use_session();
    let clock = session.clock.clone();
    let mut snapshot = use_signal(|| None::<ClusterSnapshot>);
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
                        snapshot.set(Some(ClusterSnapshot { overview: Rc::new(overview), at: session.clock.now() }));
                        problem.set(None);
                    }
                    // The last state stays while the database is unavailable.
                    Err(error) => problem.set(Some(explain(&error))),
                }
            }
        }
    });
    let (shown, now) = (snapshot(), clock.now());
    let lead = match &shown {
        Some(snapshot) => {
            let owned = snapshot.overview.shards.iter().filter(|shard| shard.owner.is_some()).count();
            Some(format!(
                "{}, {owned} of {} shards owned",
                format::count(snapshot.live().count(), "live node", "live nodes"),
                snapshot.overview.shards.len()
            ))
        }
        None => None,
    };
    rsx! {
        PageHeader { title: "Cluster", lead }
        if let Some(problem) = problem() {
            div { class: "notice bad", role: "alert", "data-testid": "cluster-problem", {icon(Glyph::Alert)}
                span { "{problem} "
                    if let Some(snapshot) = &shown {
                        "Last read " {time_ago(snapshot.at, &format::relative(now, snapshot.at))} ". "
                    }
                    "Retrying every second."
                }
            }
        }
        match shown {
            None if problem().is_some() => rsx! {},
            None => rsx! { section { class: "card", div { class: "skeleton-lines", aria_hidden: "true", span {} span {} span {} } } },
            Some(snapshot) => rsx! {
                if !snapshot.overview.lease_holds {
                    div { class: "notice bad", role: "alert", {icon(Glyph::Alert)}
                        span { "{snapshot.overview.this} has no lease right now: it owns no devices until the lease is renewed, and forwards requests to other nodes." }
                    }
                }
                Nodes { snapshot: snapshot.clone() }
                Shards { snapshot: snapshot.clone() }
                Reconcilers { snapshot: snapshot.clone() }
                Connections { snapshot: snapshot.clone() }
                Pools { snapshot: snapshot.clone() }
                Moves { snapshot }
            },
        }
    }
}
