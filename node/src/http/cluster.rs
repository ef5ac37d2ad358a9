//! `/v1/cluster`: nodes, shards and moves, and draining a node.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::connections::ConnectionFigures;
use domain::permits::PoolFigures;
use services::{ClusterOverview, NodeReconciler};
use wire::admin::{Cluster, ClusterConnections, ClusterMove, ClusterNode, ClusterPool, ClusterReconciler, ClusterShard};

use super::extract::{PathId, Person};
use super::openapi::{NotFoundRefusal, PersonRefusals};
use super::{ApiError, App};
use crate::present;

/// Returns the state of the cluster as seen by this node.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "cluster", security(("person" = ["cluster:read"])),
    responses((status = 200, body = Cluster), PersonRefusals)
)]
pub(crate) async fn overview(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<Cluster>, ApiError> {
    let ClusterOverview { this, lease_holds, nodes, ended, shards, moves, reconcilers } = app.system.cluster.overview(&principal).await?;
    let name_of = |owner| nodes.iter().find(|node| Some(node.info.id) == owner).map(|node| node.info.name.clone());
    Ok(Json(Cluster {
        node: this,
        lease_holds,
        shards: shards
            .iter()
            .map(|shard| ClusterShard { shard: shard.shard.0, owner: name_of(shard.owner), epoch: shard.epoch.0 })
            .collect(),
        moves: moves
            .into_iter()
            .map(|moved| ClusterMove {
                from: moved.from,
                to: moved.to,
                reason: moved.reason,
                shards: moved.shards,
                at: present::time(moved.at),
            })
            .collect(),
        reconcilers: reconcilers
            .into_iter()
            .map(|NodeReconciler { node, status }| ClusterReconciler {
                name: status.name,
                node,
                per_cluster: status.per_cluster,
                runs: status.runs,
                failures_in_a_row: status.failures_in_a_row,
                last_run_at: status.last_run_at.map(present::time),
                running_since: status.running_since.map(present::time),
                duration_ms: status.duration_ms,
                changed: status.changed,
                last_error: status.last_error,
            })
            .collect(),
        nodes: nodes
            .iter()
            .chain(&ended)
            .map(|node| ClusterNode {
                node_id: node.info.id.to_string(),
                name: node.info.name.clone(),
                state: node.info.state.as_str().to_owned(),
                http_url: node.info.http_url.clone(),
                cluster_addr: node.info.cluster_addr.clone(),
                version: node.info.version.clone(),
                protocol_max: node.info.protocols.1,
                protocol: node.link.as_ref().map(|link| link.protocol),
                shards: node.shards,
                devices: node.stats.as_ref().map(|stats| stats.devices),
                heartbeats_per_second: node.stats.as_ref().map(|stats| stats.heartbeats_per_second),
                joined_at: present::time(node.info.joined_at),
                ended_at: node.info.ended_at.map(present::time),
                lease_left_ms: node.info.lease_left_ms,
                reachable: node.link.as_ref().map(|link| link.reachable),
                round_trip_ms: node.link.as_ref().and_then(|link| link.round_trip).map(|took| took.as_secs_f64() * 1000.0),
                pools: node.stats.iter().flat_map(|stats| &stats.pools).map(pool).collect(),
                connections: node.stats.as_ref().and_then(|stats| stats.connections).map(connections),
            })
            .collect(),
    }))
}

fn pool(figures: &PoolFigures) -> ClusterPool {
    let PoolFigures { pool, capacity, in_use, waiting, refused } = figures.clone();
    ClusterPool { name: pool, capacity, in_use, waiting, refused }
}

/// Waits are told to a thousandth of a millisecond.
fn connections(figures: ConnectionFigures) -> ClusterConnections {
    let rounded = |ms: f64| (ms * 1000.0).round() / 1000.0;
    let ConnectionFigures { capacity, open, in_use, waiting, wait_avg_ms, wait_max_ms, timed_out, given_up } = figures;
    let (wait_avg_ms, wait_max_ms) = (rounded(wait_avg_ms), rounded(wait_max_ms));
    ClusterConnections { capacity, open, in_use, waiting, wait_avg_ms, wait_max_ms, timed_out, given_up }
}

/// Drains a node: it hands its shards over.
#[utoipa::path(
    post, path = "/v1/cluster/nodes/{name}/drain", tag = "cluster", security(("person" = ["cluster:manage"])),
    params(("name" = String, Path, description = "The node")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn drain(State(app): State<Arc<App>>, Person(principal): Person, PathId(name): PathId) -> Result<StatusCode, ApiError> {
    app.system.cluster.set_draining(&principal, &name, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Resumes a node: it accepts shards again.
#[utoipa::path(
    post, path = "/v1/cluster/nodes/{name}/resume", tag = "cluster", security(("person" = ["cluster:manage"])),
    params(("name" = String, Path, description = "The node")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn resume(State(app): State<Arc<App>>, Person(principal): Person, PathId(name): PathId) -> Result<StatusCode, ApiError> {
    app.system.cluster.set_draining(&principal, &name, false).await?;
    Ok(StatusCode::NO_CONTENT)
}
