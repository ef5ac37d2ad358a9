//! Routing of devices to nodes: any node, the owner of the shard, or a node that has to forward.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use domain::DeviceId;
use domain::shard::shard_of;
use serde::Deserialize;
use uuid::Uuid;

use crate::client::Client;
use crate::fleet::TargetArgs;
use crate::http::ServerUrl;
use crate::identity::{Credentials, Identity};

/// Routing of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Route {
    /// Round robin
    Spread,
    /// The shard's owner, as of `GET /v1/cluster`
    Owner,
    /// Any node except the owner
    Other,
}

/// Required part of `GET /v1/cluster`.
#[derive(Debug, Deserialize)]
struct View {
    nodes: Vec<NodeView>,
    shards: Vec<ShardView>,
}

#[derive(Debug, Deserialize)]
struct NodeView {
    name: String,
    http_url: String,
    state: String,
}

#[derive(Debug, Deserialize)]
struct ShardView {
    shard: u16,
    owner: Option<String>,
}

impl Route {
    /// Index of the server for each device.
    pub(super) async fn routes(self, target: &TargetArgs, identities: &[Identity]) -> Result<Vec<usize>> {
        if self == Self::Spread {
            return Ok((0..identities.len()).map(|n| n % target.servers.len()).collect());
        }
        ensure!(target.servers.len() > 1, "routes by owner need every node's address: give --server for each");
        let client = Client::new(&target.servers[0].to_string())?;
        let token = match target.enroll_with.as_ref().context("only an admin may read the owners: give --enroll-with")? {
            Credentials::Password { username, password } => client.access_token(username, password).await?,
            Credentials::AccessToken(token) => token.clone(),
        };
        let owners = owners_of(&client, &token, &target.servers).await?;
        let route = |identity: &Identity| {
            let shard = shard_of(DeviceId(Uuid::parse_str(&identity.device_id)?)).0;
            let owner = *owners.get(&shard).with_context(|| format!("shard {shard} has no owner among the servers"))?;
            Ok(if self == Self::Owner { owner } else { (owner + 1) % target.servers.len() })
        };
        identities.iter().map(route).collect()
    }
}

/// Server index of each shard owner, as reported by a node.
pub(crate) async fn owners_of(client: &Client, token: &str, servers: &[ServerUrl]) -> Result<HashMap<u16, usize>> {
    let view = serde_json::from_value(client.get_json("/v1/cluster", token).await?).context("GET /v1/cluster: unexpected response")?;
    owners(&view, servers)
}

/// Server index of each shard owner.
fn owners(view: &View, servers: &[ServerUrl]) -> Result<HashMap<u16, usize>> {
    let mut places = HashMap::new();
    for node in view.nodes.iter().filter(|node| node.state == "active") {
        let url: ServerUrl = node.http_url.parse().map_err(anyhow::Error::msg).with_context(|| format!("the address of {}", node.name))?;
        places.extend(servers.iter().position(|server| *server == url).map(|place| (node.name.as_str(), place)));
    }
    let owned = |shard: &ShardView| Some((shard.shard, *places.get(shard.owner.as_deref()?)?));
    Ok(view.shards.iter().filter_map(owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_found_among_the_servers() {
        let view = r#"{"node":"a","nodes":[{"name":"a","http_url":"http://h:1","state":"expired"},{"name":"a","http_url":"http://h:2","state":"active"},
            {"name":"b","http_url":"http://h:3","state":"active"}],"moves":[],
            "shards":[{"shard":0,"owner":"a","epoch":1},{"shard":1,"owner":"b","epoch":1},{"shard":2,"owner":null,"epoch":0}]}"#;
        let servers = ["http://h:3".parse().unwrap(), "http://h:2".parse().unwrap()];
        let owners = owners(&serde_json::from_str(view).unwrap(), &servers).unwrap();
        assert_eq!(owners, HashMap::from([(0, 1), (1, 0)]));
    }
}
