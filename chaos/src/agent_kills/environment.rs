//! Environment that all seeds share: a cluster, proxies between agents and nodes, APKs, a build of the agent, an allowed command.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper::Method;
use serde_json::json;

use super::AgentKillsArgs;
use crate::deployment_api::{Api, Apk};
use crate::faults::Faults;
use crate::fleet::apk_signers;
use crate::harness::{Cluster, ClusterOptions, nexmdm_path};
use crate::host_agent::{AppVersion, Jvm};
use crate::network::{Modes, Proxy, Target};
use crate::operator::deployments::versions_in;

/// Settings that make hashes cheap, as their cost is not under test, and resend unacknowledged tasks soon.
const SETTINGS: [(&str, &str); 3] = [
    ("NEXMDM__AUTH__PASSWORD_BCRYPT_COST", "4"),
    ("NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST", "4"),
    ("NEXMDM__DEPLOYMENTS__ACCEPT_WITHIN_SECONDS", "10"),
];
/// Timeout of one attempt of a call; a suspended node does not respond.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Package of the deployed app.
pub(super) const PACKAGE: &str = "com.example.till";
/// Package of the agent.
const AGENT_PACKAGE: &str = "com.nexmdm";
/// Name of the allowed command of `exec`.
pub(super) const EXEC: &str = "uptime";

/// Build of the agent that is offered as an update.
pub(super) struct Build {
    pub(super) id: String,
    /// Previous version, which agents start with.
    pub(super) before: AppVersion,
}

impl Build {
    /// Offers the build to every agent.
    pub(super) async fn promote(&self, api: &Api) -> Result<()> {
        let body = json!({"rollout_percent": 100, "wifi_only": false, "must_install": true});
        api.json(Method::POST, &format!("/v1/agent-builds/{}/promote", self.id), Some(&body), &[200]).await.map(drop)
    }

    /// Withdraws the build, so that the agents of the next seed start with the previous version.
    pub(super) async fn roll_back(&self, api: &Api) -> Result<()> {
        // 409: it was not promoted, or the server has withdrawn it by itself.
        api.json(Method::POST, &format!("/v1/agent-builds/{}/rollback", self.id), None, &[200, 409]).await.map(drop)
    }
}

/// Environment of the seeds.
pub(super) struct Environment {
    pub(super) cluster: Cluster,
    pub(super) api: Api,
    pub(super) apk: Apk,
    pub(super) build: Option<Build>,
    pub(super) faults: Faults,
    pub(super) jvm: Jvm,
    /// Proxy in front of each node, for agents only.
    pub(super) access: Vec<Proxy>,
}

impl Environment {
    pub(super) async fn start(args: &AgentKillsArgs, mut jvm: Jvm) -> Result<Self> {
        let apks = versions_in(&args.apks);
        let first = apks.first().with_context(|| format!("there are no APKs in {}: name their folder with --apks", args.apks.display()))?;
        let mut options = ClusterOptions::new(args.nexmdm.clone().map_or_else(nexmdm_path, Ok)?, args.nodes);
        options.data_dir.clone_from(&args.data_dir);
        for (name, value) in SETTINGS {
            options = options.env(name, value);
        }
        let cluster = Cluster::start(options).await?;
        jvm.archive_classes(cluster.folder()).await;
        let servers = cluster.members().iter().map(|member| member.url()).collect();
        let api = Api::with_timeout(servers, cluster.admin_password(), CALL_TIMEOUT)?;
        let apk = api.prepare(first, PACKAGE).await?;
        let exec = json!({"argv": ["/system/bin/uptime"], "description": "How long the device has been up"});
        api.json(Method::PUT, &format!("/v1/exec-commands/{EXEC}"), Some(&exec), &[204]).await?;
        let build = match args.agent_build()? {
            Some(file) => Some(prepare_build(&api, &file).await?),
            None => {
                println!("agents are not updated: there is no build of the agent, name one with --agent-apk");
                None
            }
        };
        let mut access = Vec::new();
        for member in cluster.members() {
            let address: SocketAddr = member.url().trim_start_matches("http://").parse().context("a node's address")?;
            access.push(Proxy::start(Target::Tcp(address)).await?);
        }
        println!("{} nodes are ready, agents reach them by {}", args.nodes, urls(&access).join(", "));
        Ok(Self { cluster, api, apk, build, faults: Faults::new(), jvm, access })
    }

    /// URLs for the agents.
    pub(super) fn servers(&self) -> Vec<String> {
        urls(&self.access)
    }

    /// Heals all faults and restarts nodes that have ended; the names of those that ended unexpectedly.
    pub(super) async fn heal(&mut self) -> Result<Vec<String>> {
        for proxy in &self.access {
            proxy.set(Modes::default());
        }
        self.faults.heal_all(&mut self.cluster).await?;
        let names: Vec<String> = self.cluster.members().iter().map(|member| member.name().to_owned()).collect();
        let mut died = Vec::new();
        for name in names {
            let node = self.cluster.node_mut(&name)?;
            if !node.is_running() {
                node.start_again()?;
                died.push(name.clone());
            }
            node.wait_ready().await.with_context(|| format!("{name} after healing"))?;
        }
        Ok(died)
    }
}

fn urls(access: &[Proxy]) -> Vec<String> {
    access.iter().map(|proxy| format!("http://{}", proxy.address())).collect()
}

async fn prepare_build(api: &Api, file: &std::path::Path) -> Result<Build> {
    let apk = api.prepare(file, AGENT_PACKAGE).await?;
    ensure!(apk.package == AGENT_PACKAGE, "{} is an APK of {}, not of the agent", file.display(), apk.package);
    let signers = apk_signers(file).map_err(anyhow::Error::msg)?;
    let body = json!({"apk_id": apk.id, "release_notes": "for agents that are killed"});
    let build = api.json(Method::POST, "/v1/agent-builds", Some(&body), &[200, 201]).await?;
    Ok(Build {
        id: build["id"].as_str().context("a build without id")?.to_owned(),
        before: AppVersion { version_code: apk.version_code - 1, version_name: "before".into(), signers: Some(signers) },
    })
}
