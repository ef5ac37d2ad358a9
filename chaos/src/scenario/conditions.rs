//! Whether the conditions hold that steps wait for.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use domain::shard::SHARD_COUNT;
use tokio::time::timeout;

use super::file::{Condition, Probe, Scenario};
use crate::client::Client;
use crate::harness::{Cluster, ShardCounts};
use crate::soak::Ground;

/// Time within which a probe is answered.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// Shards of each node.
pub(super) const SHARDS: &str = "SELECT n.name, count(s.shard_id) FROM cluster_node n LEFT JOIN shard s ON s.owner = n.node_id
                      WHERE n.state IN ('active', 'draining') GROUP BY n.name";
/// Alerts of each rule that are not resolved.
pub(super) const ALERTS: &str = "SELECT rule, count(*) FROM alert WHERE state <> 'resolved' GROUP BY rule";

/// Counts by name, as a statement selects them.
pub(super) async fn counts(cluster: &Cluster, sql: &str) -> Result<BTreeMap<String, u32>> {
    let text = cluster.psql().run(sql, &[]).await?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('|'))
        .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
        .collect())
}

/// Whether a condition holds; not if that cannot be found out.
///
/// # Errors
/// It needs a cluster that was started here, or a node that there is.
pub(super) async fn holds(condition: &Condition, scenario: &Scenario, ground: Option<&mut Ground<'_>>) -> Result<bool> {
    let target = scenario.target.as_ref().and_then(|target| target.urls.first());
    match (condition, ground, target) {
        (Condition::Responds(probe), Some(ground), _) => {
            let url = match &probe.node {
                Some(name) => ground.cluster.member(name)?.url(),
                None => ground.cluster.members().first().context("there is no node")?.url(),
            };
            responds(probe, &url).await
        }
        (Condition::Responds(probe), None, Some(url)) => responds(probe, url).await,
        (condition, Some(ground), _) => Ok(holds_of(condition, ground.cluster, scenario).await.unwrap_or(false)),
        (_, None, _) => anyhow::bail!("a condition needs a cluster that was started here"),
    }
}

/// Devices that have been acknowledged within two intervals.
async fn online(cluster: &Cluster, scenario: &Scenario) -> Result<u64> {
    let within_s = 2.0 * scenario.fleet.interval.as_secs_f64();
    let sql = format!("SELECT count(*) FROM device_last_status WHERE last_seen_at > now() - interval '{within_s} seconds'");
    Ok(cluster.psql().run(&sql, &[]).await?.trim().parse()?)
}

/// Whether a node answers a request as wanted; not if it gives no answer.
async fn responds(probe: &Probe, url: &str) -> Result<bool> {
    let answer = timeout(PROBE_WITHIN, Client::new(url)?.get(&probe.path, None)).await;
    Ok(matches!(answer, Ok(Ok(answer)) if answer.status == probe.status))
}

/// Whether a condition of a cluster that was started here holds.
async fn holds_of(condition: &Condition, cluster: &mut Cluster, scenario: &Scenario) -> Result<bool> {
    let count = async |cluster: &Cluster, sql: &str| -> Result<u64> { Ok(cluster.psql().run(sql, &[]).await?.trim().parse()?) };
    Ok(match condition {
        Condition::ShardsBalanced => {
            let nodes = cluster.running();
            let view = counts(cluster, SHARDS).await?;
            ShardCounts::from(view).are_balanced(&nodes, usize::from(SHARD_COUNT))
        }
        Condition::AllOnline => online(cluster, scenario).await? >= scenario.fleet.devices as u64,
        Condition::OnlineSharePct(share) => online(cluster, scenario).await? as f64 * 100.0 >= share * scenario.fleet.devices as f64,
        Condition::CanaryOpen => count(cluster, "SELECT count(*) FROM deployment WHERE state = 'running' AND phase = 'canary'").await? > 0,
        Condition::RuleFiring(rule) => counts(cluster, ALERTS).await?.contains_key(rule),
        Condition::Responds(_) => false,
        Condition::AlertFiring => count(cluster, "SELECT count(*) FROM alert WHERE state <> 'resolved'").await? > 0,
        Condition::NoAlertFiring => count(cluster, "SELECT count(*) FROM alert WHERE state <> 'resolved'").await? == 0,
    })
}
