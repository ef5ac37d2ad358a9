//! Scenario files: their keys, defaults and types.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::{Problem, all_problems, problems};
use super::step_fault::StepFault;
use crate::harness::DatabaseKind;

/// Longest scenario file in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 256 * 1_024;

/// Scenario: a cluster, a fleet, work, steps, and what has to hold.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name: lower-case letters, digits and hyphens
    pub name: String,
    /// What it shows, for people
    #[serde(default)]
    pub description: String,
    /// Seed of everything that is random
    #[serde(default = "one")]
    pub seed: u64,
    /// Promises to judge, such as `P1` [default: all]
    #[serde(default)]
    pub promises: Vec<String>,
    /// Cluster that is started for the run
    pub cluster: Option<ClusterPlan>,
    /// Cluster that is there already, instead
    pub target: Option<Target>,
    /// Simulated devices
    #[serde(default)]
    pub fleet: FleetPlan,
    /// What goes on beside heartbeats
    #[serde(default)]
    pub work: WorkPlan,
    /// Steps
    #[serde(default, rename = "step")]
    pub steps: Vec<StepPlan>,
    /// Random faults by the seed, instead of steps
    pub random: Option<RandomPlan>,
    /// Steady state that is expected before the first step
    pub before: Option<SteadyPlan>,
    /// Steady state that is expected when everything is healed
    pub after: Option<SteadyPlan>,
    /// Limits of what was measured over the whole run
    #[serde(default)]
    pub thresholds: ThresholdPlan,
    /// Commands that faults of a cluster which is there already are made of, by name
    #[serde(default)]
    pub hooks: BTreeMap<String, Hook>,
    /// Drill of this program, instead of all of the above: `history:NAME`, `alerts:NAME`, `deploy:NAME` or `agents`
    pub drill: Option<String>,
    /// Arguments of the drill, as on its command line
    #[serde(default)]
    pub drill_args: Vec<String>,
}

fn one() -> u64 {
    1
}

/// Network between nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkPlan {
    /// A proxy in front of each link
    #[default]
    Proxies,
    /// A network namespace for each node; requires root
    Namespaces,
}

/// Cluster that is started for the run.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterPlan {
    /// Nodes at the start
    pub nodes: usize,
    /// Binary of the nodes [default: `nexmdm` beside this program]
    pub binary: Option<PathBuf>,
    /// Network between nodes
    pub network: NetworkPlan,
    /// Their database
    pub database: DatabaseKind,
    /// Environment of every node
    pub env: BTreeMap<String, String>,
}

impl Default for ClusterPlan {
    fn default() -> Self {
        Self { nodes: 3, binary: None, network: NetworkPlan::default(), database: DatabaseKind::default(), env: BTreeMap::new() }
    }
}

/// Cluster that is there already.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// URLs of its nodes or of their balancer
    pub urls: Vec<String>,
    /// Variable of the environment with NAME:PASSWORD or an access token that may enroll devices
    pub credentials_env: Option<String>,
    /// File with them instead, which others may not read
    pub credentials_file: Option<PathBuf>,
    /// Variable of the environment with a URL of its database, which promises are judged from; without it none is
    pub database_env: Option<String>,
    /// Whether it is production, which no scenario is run against
    #[serde(default)]
    pub production: bool,
    /// Hosts that `urls` may name
    pub allow: Vec<String>,
}

/// Commands that make a fault of a cluster that is there already.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Program and arguments that begin it, such as `["kubectl", "delete", "pod", "nexmdm-1"]`
    pub begin: Vec<String>,
    /// Program and arguments that heal it; also when this program was killed
    pub heal: Option<Vec<String>>,
    /// Whether it destroys something, which needs `--i-mean-it`
    #[serde(default)]
    pub destructive: bool,
    /// Time within which each command has to end
    #[serde(default = "hook_within", deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub within: Duration,
}

fn hook_within() -> Duration {
    Duration::from_secs(60)
}

/// How devices talk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum TransportPlan {
    /// HTTP requests
    Http,
    /// WebSocket
    Socket,
    /// WebSocket on every other device
    #[default]
    Mix,
}

/// Simulated devices.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FleetPlan {
    /// Number
    pub devices: usize,
    /// Interval of heartbeats
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub interval: Duration,
    /// Transport
    pub transport: TransportPlan,
    /// Time after which a request is given up
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// What devices do with commands, by weight, as for `chaos fleet --commands`
    pub commands: Option<String>,
    /// Whether devices get push messages, from a stand-in for FCM
    pub push: bool,
    /// Share of commands accompanied by forged, replayed and misdirected ones
    pub hostile_share: f64,
    /// Share of heartbeats that are sent twice
    pub duplicate_share: f64,
}

impl Default for FleetPlan {
    fn default() -> Self {
        Self {
            devices: 100,
            interval: Duration::from_secs(5),
            transport: TransportPlan::default(),
            timeout: Duration::from_secs(5),
            commands: None,
            push: false,
            hostile_share: 0.0,
            duplicate_share: 0.005,
        }
    }
}

/// What goes on beside heartbeats.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkPlan {
    /// Interval between commands [default: none are sent]
    #[serde(deserialize_with = "some_duration")]
    #[schemars(with = "Option<String>")]
    pub commands_every: Option<Duration>,
    /// Interval between acts on deployments [default: there are none]
    #[serde(deserialize_with = "some_duration")]
    #[schemars(with = "Option<String>")]
    pub deployments_every: Option<Duration>,
    /// Whether devices fall silent and return, and channels get messages of alerts
    pub alerts: bool,
    /// Days gone by that devices report of, and that are archived and dropped
    pub midnights: u64,
}

/// Step.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepPlan {
    /// Name that other steps use [default: its number, such as `step-1`]
    pub name: Option<String>,
    /// Time after the start of the steps
    #[serde(default, deserialize_with = "some_duration")]
    #[schemars(with = "Option<String>")]
    pub at: Option<Duration>,
    /// Name of the step whose end it waits for
    pub after: Option<String>,
    /// Name of the step whose beginning it waits for
    pub after_begin: Option<String>,
    /// Condition that it waits for
    pub when: Option<Condition>,
    /// Time to wait beyond `after`, `after_begin` or `when`
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub delay: Duration,
    /// Time within which `when` has to hold
    #[serde(default = "step_within", deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub within: Duration,
    /// Time until the fault is healed
    #[serde(default, deserialize_with = "some_duration")]
    #[schemars(with = "Option<String>")]
    pub lasts: Option<Duration>,
    /// Fault [default: none: the step only waits]
    pub fault: Option<StepFault>,
}

fn step_within() -> Duration {
    Duration::from_secs(60)
}

/// Condition that a step waits for.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Condition {
    /// All nodes that run have equal parts of all shards
    ShardsBalanced,
    /// Every device has been acknowledged within two intervals
    AllOnline,
    /// At least so many percent of the devices have been acknowledged within two intervals
    OnlineSharePct(f64),
    /// A deployment is in its canary phase
    CanaryOpen,
    /// An alert is firing
    AlertFiring,
    /// An alert of the rule of this name is firing
    RuleFiring(String),
    /// No alert is firing
    NoAlertFiring,
    /// A node answers a request
    Responds(Probe),
}

/// Request whose answer is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Path of the GET request, such as `/readyz`
    pub path: String,
    /// Status that is waited for
    #[serde(default = "ok")]
    pub status: u16,
    /// Node that is asked [default: the first one]
    pub node: Option<String>,
}

fn ok() -> u16 {
    200
}

/// Random faults.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomPlan {
    /// Minutes over which they are spread
    pub minutes: f64,
}

/// Steady state.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SteadyPlan {
    /// Time over which it is measured
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub over: Duration,
    /// Time within which the fleet is heard again, before it is measured
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub within: Duration,
    /// Most failed attempts, percent
    pub error_share_pct: Option<f64>,
    /// Most time to an acknowledgement, 99th percentile, ms
    pub p99_ms: Option<f64>,
    /// Least share of devices that are acknowledged meanwhile, percent
    pub online_share_pct: Option<f64>,
}

impl Default for SteadyPlan {
    fn default() -> Self {
        Self { over: Duration::from_secs(10), within: Duration::from_secs(90), error_share_pct: None, p99_ms: None, online_share_pct: None }
    }
}

/// Limits of what was measured over the whole run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ThresholdPlan {
    /// Most time from the intended moment to the acknowledgement, median, ms
    pub p50_ms: Option<f64>,
    /// 95th percentile of it, ms
    pub p95_ms: Option<f64>,
    /// 99th percentile of it, ms
    pub p99_ms: Option<f64>,
    /// Longest, ms
    pub max_ms: Option<f64>,
    /// Most failed attempts, percent
    pub error_share_pct: Option<f64>,
    /// Least acknowledged heartbeats a second
    pub acknowledged_per_s: Option<f64>,
    /// Most lag of the generator of load, 99th percentile, ms
    pub generator_lag_ms: Option<f64>,
    /// Most time from the last healing until every device is heard, s
    pub recovered_within_s: Option<f64>,
    /// Least share of acknowledged heartbeats that were written once although they were sent again, percent
    pub saved_writes_pct: Option<f64>,
}

impl ThresholdPlan {
    /// Limits that are set, by their keys.
    pub fn limits(&self) -> impl Iterator<Item = (&'static str, f64)> {
        [
            ("p50_ms", self.p50_ms),
            ("p95_ms", self.p95_ms),
            ("p99_ms", self.p99_ms),
            ("max_ms", self.max_ms),
            ("error_share_pct", self.error_share_pct),
            ("acknowledged_per_s", self.acknowledged_per_s),
            ("generator_lag_ms", self.generator_lag_ms),
            ("recovered_within_s", self.recovered_within_s),
            ("saved_writes_pct", self.saved_writes_pct),
        ]
        .into_iter()
        .filter_map(|(key, limit)| Some((key, limit?)))
    }
}

impl Scenario {
    /// Reads a file and checks it.
    ///
    /// # Errors
    /// All that is wrong, each with its line.
    pub fn load(path: &Path) -> Result<(String, Self), Vec<Problem>> {
        let whole = |text: String| vec![Problem { line: None, key: String::new(), text }];
        let size = std::fs::metadata(path).map_err(|error| whole(error.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(whole(format!("{size} bytes are more than the {FILE_BYTES_MAX} allowed")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| whole(error.to_string()))?;
        let scenario = Self::parse(&text)?;
        Ok((text, scenario))
    }

    /// Reads a text and checks it.
    ///
    /// # Errors
    /// All that is wrong, each with its line.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        match toml::from_str(text) {
            Err(error) => Err(all_problems(error, text)),
            Ok(scenario) => match problems(&scenario, text) {
                none if none.is_empty() => Ok(scenario),
                some => Err(some),
            },
        }
    }

    /// Name of a step by its place.
    pub fn step_name(&self, place: usize) -> String {
        self.steps.get(place).and_then(|step| step.name.clone()).unwrap_or_else(|| format!("step-{}", place + 1))
    }
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    crate::duration::parse(&text).map_err(serde::de::Error::custom)
}

fn some_duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_defaults() {
        let scenario = Scenario::parse("name = \"calm\"\n[cluster]\n").unwrap();
        assert_eq!((scenario.seed, scenario.cluster.unwrap().nodes, scenario.fleet.devices), (1, 3, 100));
        assert!(scenario.steps.is_empty() && scenario.promises.is_empty());
    }

    #[test]
    fn the_first_words_of_a_whole_file_are_read() {
        let text = r#"
name = "kill-node"
[cluster]
nodes = 3
database = "single"
[fleet]
devices = 40
interval = "2s"
transport = "socket"
[work]
commands_every = "250ms"
[[step]]
name = "kill"
at = "5s"
lasts = "8s"
fault = { kind = "kill", node = "node-2" }
[[step]]
after = "kill"
delay = "3s"
when = "shards_balanced"
[[step]]
after_begin = "kill"
when = { responds = { path = "/readyz", status = 503, node = "node-1" } }
[thresholds]
p99_ms = 2000
recovered_within_s = 30
"#;
        let scenario = Scenario::parse(text).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(scenario.step_name(1), "step-2");
        assert_eq!(scenario.steps[1].when, Some(Condition::ShardsBalanced));
        assert!(matches!(&scenario.steps[2].when, Some(Condition::Responds(probe)) if probe.status == 503));
        assert_eq!(scenario.work.commands_every, Some(Duration::from_millis(250)));
    }
}
