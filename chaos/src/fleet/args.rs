//! Command-line arguments of `chaos fleet`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::behaviour::Behaviours;
use super::installations::DeployArgs;
use crate::duration::{self, Interval};
use crate::http::ServerUrl;
use crate::identity::Credentials;

/// How devices talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TransportChoice {
    /// HTTP requests only.
    Http,
    /// WebSocket on every device.
    Socket,
    /// WebSocket on every other device.
    Mix,
}

/// Which nodes, which devices, and who may enroll them: common to `fleet` and `load`.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// Node URLs, e.g. http://127.0.0.1:8080; repeatable or comma-separated, plain http only
    #[arg(long = "server", value_name = "URL", required = true, value_delimiter = ',')]
    pub servers: Vec<ServerUrl>,
    /// Number of devices; missing ones are enrolled first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub devices: usize,
    /// Account (NAME:PASSWORD) or access token to enroll devices; not needed if all are enrolled
    #[arg(long, value_name = "CREDENTIALS", env = "NEXMDM_ENROLL_WITH", hide_env_values = true)]
    pub enroll_with: Option<Credentials>,
    /// Concurrent registrations and session requests
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub enroll_concurrency: usize,
    /// Tags of newly enrolled devices
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub tags: Vec<String>,
    /// Groups of newly enrolled devices
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    pub groups: Vec<String>,
    /// Random seed
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Timeout of requests and acknowledgements
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Output file for the summary (JSON)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of `chaos fleet`.
#[derive(Debug, Clone, Args)]
pub struct FleetArgs {
    /// Nodes, devices and credentials
    #[command(flatten)]
    pub target: TargetArgs,
    /// Heartbeat interval of a device, or `server`: as set by the server's last response
    #[arg(long, value_name = "DURATION|server", default_value = "server")]
    pub interval: Interval,
    /// Transport of devices
    #[arg(long, value_enum, default_value_t = TransportChoice::Http)]
    pub transport: TransportChoice,
    /// State folder of identities and sessions
    #[arg(long, value_name = "DIR", default_value = "./data/fleet")]
    pub state_dir: PathBuf,
    /// Alias prefix, followed by a dash and a number
    #[arg(long, value_name = "TEXT", default_value = "sim")]
    pub alias_prefix: String,
    /// Duration of the run [default: until Ctrl-C or SIGTERM]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub duration: Option<Duration>,
    /// Only enroll missing devices
    #[arg(long)]
    pub enroll_only: bool,
    /// Open all sessions before the measurement starts
    #[arg(long)]
    pub sessions_first: bool,
    /// Warm-up, excluded from rate and latencies
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub warm_up: Duration,
    /// Ramp-up of device starts [default: a second per 500 devices, 60 at most]
    #[arg(long, value_name = "SECONDS")]
    pub ramp_seconds: Option<f64>,
    /// Record file: a JSON line per acknowledged heartbeat, failed attempt, command and result
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// HTTP connections per node
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub connections: usize,
    /// Queue length of unacknowledged heartbeats per device
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub queue_limit: usize,
    /// Initial backoff after a failure; doubles with each further one
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    pub retry_min: Duration,
    /// Maximum backoff
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    pub retry_max: Duration,
    /// Share of heartbeats that are sent twice
    #[arg(long, value_name = "0..1", default_value_t = 0.005, value_parser = share)]
    pub duplicate_share: f64,
    /// Share of heartbeats that are repeated after the next one
    #[arg(long, value_name = "0..1", default_value_t = 0.005, value_parser = share)]
    pub late_share: f64,
    /// Share of HTTP acknowledgements after which a device switches to another node
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = share)]
    pub roam_share: f64,
    /// Share of devices with a wrong clock, by seconds to years
    #[arg(long, value_name = "0..1", default_value_t = 0.02, value_parser = share)]
    pub clock_off_share: f64,
    /// Share of heartbeats with a reading that is unusable: out of range, no number, no JSON
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = share)]
    pub unusable_share: f64,
    /// Share of devices that a clone of the same identity reports for by turns
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = share)]
    pub clone_share: f64,
    /// Network losses per device and hour
    #[arg(long, value_name = "RATE", default_value_t = 0.02, value_parser = rate)]
    pub outages_per_hour: f64,
    /// Crashes of the monitored app per device and hour
    #[arg(long, value_name = "RATE", default_value_t = 0.1, value_parser = rate)]
    pub app_crashes_per_hour: f64,
    /// Command behaviour of devices, by weight: execute, refuse, fail, late, lose-answer, never-answer, deaf-socket
    #[arg(long, value_name = "WEIGHTS", default_value = "execute=100")]
    pub commands: Behaviours,
    /// Delay of late results
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    pub answer_late: Duration,
    /// Share of pings that are also answered by a heartbeat
    #[arg(long, value_name = "0..1", default_value_t = 0.5, value_parser = share)]
    pub ping_heartbeat_share: f64,
    /// Devices register a push token: `sim-` and the alias
    #[arg(long)]
    pub push: bool,
    /// Run a fake FCM server at this address and deliver its messages to devices; requires --fcm-account
    #[arg(long, value_name = "ADDRESS:PORT", requires = "fcm_account")]
    pub fcm_listen: Option<SocketAddr>,
    /// Output file of the fake's service account, to configure in the nodes
    #[arg(long, value_name = "FILE", requires = "fcm_listen")]
    pub fcm_account: Option<PathBuf>,
    /// Share of commands accompanied by forged, replayed and misdirected ones
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = share)]
    pub hostile_share: f64,
    /// Speed-up of simulated time (battery, events)
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = rate)]
    pub model_speed: f64,
    /// Host agents among the devices
    #[command(flatten)]
    pub agents: AgentArgs,
    /// Deployments and updates
    #[command(flatten)]
    pub deploy: DeployArgs,
}

/// Which devices of a fleet are host agents: the core of the Android agent as a process.
#[derive(Debug, Clone, Default, Args)]
pub struct AgentArgs {
    /// Number of host agents on a JVM, e.g. jvm=10; the others are simulated
    #[arg(long, value_name = "jvm=N", default_value = "jvm=0", hide_default_value = true)]
    pub agent: AgentMix,
    /// The host agent's jar [default: android-agent/out/nexmdm-agent-host.jar of the checkout]
    #[arg(long, value_name = "PATH")]
    pub agent_jar: Option<PathBuf>,
}

/// How many devices are what kind of agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentMix {
    /// Host agents.
    pub jvm: usize,
}

impl FromStr for AgentMix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = text.strip_prefix("jvm=").and_then(|count| count.parse().ok());
        count.map(|jvm| Self { jvm }).ok_or_else(|| format!("`{text}`: expected the form jvm=10"))
    }
}

impl fmt::Display for AgentMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jvm={}", self.jvm)
    }
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("must be a number, 0 or more".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_names_a_kind_of_agent_and_how_many() {
        assert_eq!("jvm=10".parse(), Ok(AgentMix { jvm: 10 }));
        for text in ["", "10", "jvm", "jvm=", "jvm=-1", "apk=3"] {
            assert!(text.parse::<AgentMix>().is_err(), "{text}");
        }
    }
}
