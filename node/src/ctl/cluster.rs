//! `ctl cluster`: nodes, draining them, reconcilers.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::Value;

use super::Ctl;
use super::api::encoded;
use super::args::{ClusterCommand, Format};
use super::output::{self, Column};

const NODES: &[Column] = &[
    ("NODE", "/name"),
    ("STATE", "/state"),
    ("SHARDS", "/shards"),
    ("DEVICES", "/devices"),
    ("HEARTBEATS/S", "/heartbeats_per_second"),
    ("LEASE LEFT MS", "/lease_left_ms"),
    ("REACHABLE", "/reachable"),
    ("ROUND TRIP MS", "/round_trip_ms"),
    ("VERSION", "/version"),
    ("URL", "/http_url"),
];

const RECONCILERS: &[Column] = &[
    ("RECONCILER", "/name"),
    ("NODE", "/node"),
    ("PER CLUSTER", "/per_cluster"),
    ("LAST RUN", "/last_run_at"),
    ("RUNNING SINCE", "/running_since"),
    ("DURATION MS", "/duration_ms"),
    ("CHANGED", "/changed"),
    ("RUNS", "/runs"),
    ("FAILURES IN A ROW", "/failures_in_a_row"),
    ("LAST ERROR", "/last_error"),
];

const POOLS: &[Column] = &[
    ("POOL", "/name"),
    ("NODE", "/node"),
    ("IN USE", "/in_use"),
    ("CAPACITY", "/capacity"),
    ("WAITING", "/waiting"),
    ("REFUSED", "/refused"),
];

const CONNECTIONS: &[Column] = &[
    ("NODE", "/node"),
    ("IN USE", "/in_use"),
    ("CAPACITY", "/capacity"),
    ("OPEN", "/open"),
    ("WAITING", "/waiting"),
    ("AVERAGE WAIT MS", "/wait_avg_ms"),
    ("LONGEST WAIT MS", "/wait_max_ms"),
    ("TIMED OUT", "/timed_out"),
    ("GIVEN UP", "/given_up"),
];

/// The connections of every node that tells of them, each with the name of its node.
fn connections(nodes: &Value) -> Vec<Value> {
    let told = nodes.as_array().into_iter().flatten().filter(|node| node["connections"].is_object());
    let with_name = told.map(|node| {
        let mut connections = node["connections"].clone();
        connections["node"] = node["name"].clone();
        connections
    });
    with_name.collect()
}

/// The pools of every node, each with the name of its node.
fn pools(nodes: &Value) -> Vec<Value> {
    let mut pools = Vec::new();
    for node in nodes.as_array().into_iter().flatten() {
        pools.extend(node["pools"].as_array().into_iter().flatten().map(|pool| {
            let mut pool = pool.clone();
            pool["node"] = node["name"].clone();
            pool
        }));
    }
    pools
}

/// The current node of every name: the API names it before its earlier starts.
fn one_per_name(nodes: &Value) -> Vec<Value> {
    let mut names = HashSet::new();
    nodes.as_array().into_iter().flatten().filter(|node| names.insert(node["name"].as_str())).cloned().collect()
}

/// `ctl cluster ...`.
pub(super) async fn run(ctl: &mut Ctl, command: ClusterCommand) -> anyhow::Result<()> {
    let (node, what, done) = match command {
        ClusterCommand::Show => {
            let cluster = ctl.api.get("/v1/cluster", &[]).await?;
            return match ctl.format {
                Format::Json => output::one(ctl.format, &cluster, &[]),
                Format::Table => output::rows(ctl.format, &one_per_name(&cluster["nodes"]), NODES),
            };
        }
        ClusterCommand::Reconcilers => {
            let cluster = ctl.api.get("/v1/cluster", &[]).await?;
            return output::rows(ctl.format, cluster["reconcilers"].as_array().map_or(&[], Vec::as_slice), RECONCILERS);
        }
        ClusterCommand::Pools => {
            let cluster = ctl.api.get("/v1/cluster", &[]).await?;
            return output::rows(ctl.format, &pools(&cluster["nodes"]), POOLS);
        }
        ClusterCommand::Connections => {
            let cluster = ctl.api.get("/v1/cluster", &[]).await?;
            return output::rows(ctl.format, &connections(&cluster["nodes"]), CONNECTIONS);
        }
        ClusterCommand::Drain { node } => (node, "drain", "is draining"),
        ClusterCommand::Resume { node } => (node, "resume", "accepts shards again"),
    };
    let answer = ctl.api.call(Method::POST, &format!("/v1/cluster/nodes/{}/{what}", encoded(&node)), None).await?;
    output::done(ctl.format, &answer, &format!("{node} {done}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pool_has_the_name_of_its_node() {
        let nodes = json!([{"name": "a", "pools": [{"name": "downloads", "in_use": 3}]}, {"name": "b", "pools": []}, {"name": "c"}]);
        assert_eq!(pools(&nodes), [json!({"name": "downloads", "in_use": 3, "node": "a"})]);
    }

    #[test]
    fn connections_are_those_of_nodes_that_tell_of_them() {
        let nodes = json!([{"name": "a", "connections": {"in_use": 3}}, {"name": "b", "connections": null}, {"name": "c"}]);
        assert_eq!(connections(&nodes), [json!({"in_use": 3, "node": "a"})]);
    }

    #[test]
    fn earlier_starts_of_a_node_have_no_row() {
        let nodes = json!([{"name": "a", "state": "active"}, {"name": "b", "state": "left"}, {"name": "a", "state": "expired"}]);
        let states: Vec<_> = one_per_name(&nodes).iter().map(|node| node["state"].clone()).collect();
        assert_eq!(states, ["active", "left"]);
    }
}
