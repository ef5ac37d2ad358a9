//! What an admin asks of a cluster.

use anyhow::{Result, ensure};
use hyper::Method;
use serde_json::Value;

use super::Cluster;
use crate::client::Client;
use crate::http::Call;

impl Cluster {
    /// `GET /v1/cluster` of one node.
    pub async fn view_of(&self, name: &str) -> Result<Value> {
        let (client, token) = self.admin(name).await?;
        client.get_json("/v1/cluster", &token).await
    }

    /// `POST /v1/cluster/nodes/{name}/drain` or `/resume`, sent to any running node.
    pub async fn drain_or_resume(&mut self, name: &str, what: &str) -> Result<()> {
        let requested = self.members.iter_mut().filter_map(|member| member.node.is_running().then(|| member.name.clone()));
        // The other nodes first, as a drained node may be stopping.
        let mut requested: Vec<String> = requested.collect();
        requested.sort_by_key(|other| other == name);
        let mut trouble = anyhow::anyhow!("no node is running");
        for other in requested {
            let outcome = async {
                let (client, token) = self.admin(&other).await?;
                let path = format!("/v1/cluster/nodes/{name}/{what}");
                let answer = client.send(Call::new(Method::POST, &path).bearer(&token)).await?;
                ensure!(answer.status == 204, "POST {path} on {other} answered {}: {}", answer.status, answer.detail());
                anyhow::Ok(())
            };
            match outcome.await {
                Ok(()) => return Ok(()),
                Err(error) => trouble = error,
            }
        }
        Err(trouble)
    }

    async fn admin(&self, name: &str) -> Result<(Client, String)> {
        // Beside its door, which may be shut.
        let client = Client::new(&self.member(name)?.node.url())?;
        let token = client.access_token("admin", &self.secrets.admin_password).await?;
        Ok((client, token))
    }
}
