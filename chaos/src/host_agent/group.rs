//! Group of host agents of a run: enrolled if necessary, started and stopped together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use wire::admin::CreateEnrollTokens;

use super::jvm::Jvm;
use super::process::{ExitReason, HostAgent, HostAgentOptions};
use super::profile::DeviceProfile;
use crate::http::{Http, HttpLimits, ServerUrl};
use crate::identity::{Admin, Credentials};

/// Prefix of aliases and folders, followed by a dash and a number.
const ALIAS_PREFIX: &str = "jvm";
/// Lifetime of enrollment tokens.
const TOKEN_LIFETIME_S: i64 = 3_600;

/// Plan of a group.
pub struct HostAgentsPlan<'a> {
    /// Java runtime.
    pub jvm: &'a Jvm,
    /// Number of agents.
    pub count: usize,
    /// Number of the first one; aliases are `jvm-N`.
    pub first_number: u64,
    /// URLs for the agents, each of which starts with another one.
    pub servers: Vec<String>,
    /// Node that creates enrollment tokens.
    pub enroll_at: ServerUrl,
    /// Account that enrolls; not needed when all are enrolled.
    pub credentials: Option<Credentials>,
    /// Tags of newly enrolled devices.
    pub tags: Vec<String>,
    /// Groups of newly enrolled devices.
    pub groups: Vec<String>,
    /// Parent of the folders of the agents.
    pub folder: PathBuf,
    /// Common record; otherwise each has its own.
    pub record: Option<PathBuf>,
    /// Heartbeat interval; that of the server otherwise.
    pub interval: Option<Duration>,
    /// Seed of the device properties.
    pub seed: u64,
}

/// Host agents of a run.
pub struct HostAgents {
    agents: Vec<HostAgent>,
}

/// Summary of a run of host agents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAgentsSummary {
    /// Number of agents.
    pub agents: usize,
    /// Restarts by updates and reboots.
    pub restarts: usize,
    /// Unexpected ends, with the names of the agents.
    pub unexpected_ends: Vec<String>,
}

impl HostAgents {
    /// Creates tokens for agents that are not enrolled, and writes profiles after `adjust` has changed them. Starts no agent.
    ///
    /// # Errors
    /// No tokens are given, or files cannot be written.
    pub async fn prepare(plan: HostAgentsPlan<'_>, mut adjust: impl FnMut(u64, &mut DeviceProfile)) -> Result<Self> {
        let numbers: Vec<u64> = (plan.first_number..).take(plan.count).collect();
        let missing: Vec<u64> = numbers.iter().copied().filter(|number| !is_enrolled(&folder_of(&plan.folder, *number))).collect();
        let mut tokens = enroll_tokens(&plan, &missing).await.context("creating enrollment tokens for host agents")?;
        let mut agents = Vec::new();
        for number in numbers {
            let folder = folder_of(&plan.folder, number);
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let mut servers = plan.servers.clone();
            let first = number as usize % servers.len().max(1);
            servers.rotate_left(first);
            let options = HostAgentOptions {
                alias: alias_of(number),
                servers,
                token: missing.iter().position(|missing| *missing == number).map(|place| std::mem::take(&mut tokens[place])),
                record: plan.record.clone().unwrap_or_else(|| folder.join("record.jsonl")),
                folder,
                interval: plan.interval,
            };
            if !options.profile().exists() {
                let mut profile = DeviceProfile::draw(plan.seed, number);
                adjust(number, &mut profile);
                profile.write(&options.profile())?;
            }
            agents.push(HostAgent::new(plan.jvm, options));
        }
        Ok(Self { agents })
    }

    /// Starts all.
    ///
    /// # Errors
    /// One cannot be started.
    pub async fn start(&self) -> Result<()> {
        for agent in &self.agents {
            agent.start(None).await?;
        }
        Ok(())
    }

    /// The agents, by number.
    pub fn agents(&self) -> &[HostAgent] {
        &self.agents
    }

    /// The agents for shared use.
    pub fn into_shared(self) -> Vec<Arc<HostAgent>> {
        self.agents.into_iter().map(Arc::new).collect()
    }

    /// Stops all agents concurrently; a summary.
    pub async fn stop(self) -> HostAgentsSummary {
        let mut stopping = JoinSet::new();
        for agent in self.agents {
            stopping.spawn(async move {
                // Errors are among the exits.
                let _ = agent.stop().await;
                agent
            });
        }
        let mut summary = HostAgentsSummary::default();
        while let Some(agent) = stopping.join_next().await {
            let Ok(agent) = agent else { continue };
            summary.add(&agent);
        }
        summary
    }
}

impl HostAgentsSummary {
    /// Counts an agent that has ended.
    pub fn add(&mut self, agent: &HostAgent) {
        self.agents += 1;
        for exit in agent.exits() {
            match exit.reason {
                ExitReason::Restarted => self.restarts += 1,
                ExitReason::Unexpected(what) => self.unexpected_ends.push(format!("{}: {what}", agent.options().alias)),
                ExitReason::Stopped | ExitReason::Killed | ExitReason::Halted(_) => {}
            }
        }
    }
}

/// State folders of the host agents below a folder, where their identities and keys are.
pub fn state_dirs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let ours = entries.filter(|entry| {
        entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(ALIAS_PREFIX)?.strip_prefix('-'))
            .is_some_and(|n| n.parse::<u64>().is_ok())
    });
    let mut folders: Vec<PathBuf> = ours.map(|entry| entry.path().join("state")).filter(|state| is_state(state)).collect();
    folders.sort();
    folders
}

fn is_state(state: &Path) -> bool {
    state.join("identities.jsonl").is_file()
}

fn is_enrolled(folder: &Path) -> bool {
    folder.join("state/identity.json").is_file()
}

fn alias_of(number: u64) -> String {
    format!("{ALIAS_PREFIX}-{number}")
}

fn folder_of(parent: &Path, number: u64) -> PathBuf {
    parent.join(alias_of(number))
}

/// A token for each of these numbers, bound to its alias.
async fn enroll_tokens(plan: &HostAgentsPlan<'_>, numbers: &[u64]) -> Result<Vec<String>> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let credentials = plan.credentials.clone().with_context(|| {
        format!("{} host agents have to be enrolled first: give --enroll-with NAME:PASSWORD or an access token", numbers.len())
    })?;
    let http = Http::new(plan.enroll_at.clone(), HttpLimits { connections: 1, ..HttpLimits::default() });
    let mut admin = Admin::new(&http, credentials);
    let mut tokens = Vec::new();
    // One call per run of consecutive numbers.
    for run in numbers.chunk_by(|a, b| a + 1 == *b) {
        let wanted = CreateEnrollTokens {
            count: i64::try_from(run.len()).ok(),
            expires_in_seconds: Some(TOKEN_LIFETIME_S),
            alias: None,
            alias_pattern: Some(format!("{ALIAS_PREFIX}-{{n}}")),
            start_number: run.first().and_then(|first| i64::try_from(*first).ok()),
            tags: plan.tags.clone(),
            groups: plan.groups.clone(),
        };
        tokens.extend(admin.create_tokens(&wanted).await?.into_iter().map(|created| created.token));
    }
    anyhow::ensure!(tokens.len() == numbers.len(), "{} tokens were given for {} agents", tokens.len(), numbers.len());
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TempDir;

    #[test]
    fn state_folders_are_found_by_their_names() {
        let folder = TempDir::new("group").unwrap();
        for name in ["jvm-2", "jvm-10", "jvm-x", "jvm", "sim-1", "jvm-3"] {
            std::fs::create_dir_all(folder.path().join(name).join("state")).unwrap();
            // jvm-3 never enrolled.
            if name != "jvm-3" {
                std::fs::write(folder.path().join(name).join("state/identities.jsonl"), "").unwrap();
            }
        }
        let found: Vec<String> =
            state_dirs(folder.path()).iter().map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string()).collect();
        assert_eq!(found, ["jvm-10/state", "jvm-2/state"]);
    }
}
