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
    /// Every heartbeat is a request.
    Http,
    /// Every device keeps a socket open.
    Socket,
    /// Every other device.
    Mix,
}

/// Which nodes, which devices, and who may enroll them: common to `fleet` and `load`.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// Nodes, e.g. http://127.0.0.1:8080; repeat it or separate them by commas. Plain http only
    #[arg(long = "server", value_name = "URL", required = true, value_delimiter = ',')]
    pub servers: Vec<ServerUrl>,
    /// Devices of this fleet; those that are missing are enrolled first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub devices: usize,
    /// Account that enrolls devices, NAME:PASSWORD, or an access token; not needed when all are enrolled
    #[arg(long, value_name = "CREDENTIALS", env = "NEXMDM_ENROLL_WITH", hide_env_values = true)]
    pub enroll_with: Option<Credentials>,
    /// Registrations and session requests at the same time
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub enroll_concurrency: usize,
    /// Tags of newly enrolled devices
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub tags: Vec<String>,
    /// Groups of newly enrolled devices
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    pub groups: Vec<String>,
    /// Seed of everything that is random; the same seed tells the same stories
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Deadline of every request and acknowledgement
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Writes the summary to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of `chaos fleet`.
#[derive(Debug, Clone, Args)]
pub struct FleetArgs {
    /// Nodes, devices and credentials
    #[command(flatten)]
    pub target: TargetArgs,
    /// Time between the heartbeats of a device, or `server`: as the server's last answer said
    #[arg(long, value_name = "DURATION|server", default_value = "server")]
    pub interval: Interval,
    /// How devices talk
    #[arg(long, value_enum, default_value_t = TransportChoice::Http)]
    pub transport: TransportChoice,
    /// Folder of identities and sessions; the same folder means the same devices
    #[arg(long, value_name = "DIR", default_value = "./data/fleet")]
    pub state_dir: PathBuf,
    /// Aliases are this, a dash and a number
    #[arg(long, value_name = "TEXT", default_value = "sim")]
    pub alias_prefix: String,
    /// Ends by itself after this long; otherwise Ctrl-C or SIGTERM do
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub duration: Option<Duration>,
    /// Only enrolls what is missing
    #[arg(long)]
    pub enroll_only: bool,
    /// Gets every device a session before the clock starts
    #[arg(long)]
    pub sessions_first: bool,
    /// Leaves this first part out of rate and latencies
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub warm_up: Duration,
    /// Devices start spread over this many seconds [default: a second per 500 devices, 60 at most]
    #[arg(long, value_name = "SECONDS")]
    pub ramp_seconds: Option<f64>,
    /// Writes a JSON line for every acknowledged heartbeat, failed try, command and result to this file
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// HTTP connections per node at the same time
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub connections: usize,
    /// Heartbeats that a device keeps until they are acknowledged
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub queue_limit: usize,
    /// First wait after a failure; doubles with every further one
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    pub retry_min: Duration,
    /// Longest wait after failures
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    pub retry_max: Duration,
    /// Share of heartbeats that are sent twice
    #[arg(long, value_name = "0..1", default_value_t = 0.005, value_parser = share)]
    pub duplicate_share: f64,
    /// Share of heartbeats that are repeated after the next one
    #[arg(long, value_name = "0..1", default_value_t = 0.005, value_parser = share)]
    pub late_share: f64,
    /// Share of acknowledgements over HTTP after which a device goes on to another node
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = share)]
    pub roam_share: f64,
    /// Share of devices whose clock is off, by seconds to years
    #[arg(long, value_name = "0..1", default_value_t = 0.02, value_parser = share)]
    pub clock_off_share: f64,
    /// Times an hour that a device loses its network and keeps its heartbeats
    #[arg(long, value_name = "RATE", default_value_t = 0.02, value_parser = rate)]
    pub outages_per_hour: f64,
    /// Times an hour that the monitored app of a device dies
    #[arg(long, value_name = "RATE", default_value_t = 0.1, value_parser = rate)]
    pub app_crashes_per_hour: f64,
    /// What devices do with commands, by weight: execute, refuse, fail, late, lose-answer, never-answer, deaf-socket
    #[arg(long, value_name = "WEIGHTS", default_value = "execute=100")]
    pub commands: Behaviours,
    /// How late the late answers are
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    pub answer_late: Duration,
    /// Share of pings that are answered by a heartbeat, too
    #[arg(long, value_name = "0..1", default_value_t = 0.5, value_parser = share)]
    pub ping_heartbeat_share: f64,
    /// Devices tell a push token, `sim-` and their alias
    #[arg(long)]
    pub push: bool,
    /// Stand in for Google at this address and bring devices what is pushed to them; needs --fcm-account
    #[arg(long, value_name = "ADDRESS:PORT", requires = "fcm_account")]
    pub fcm_listen: Option<SocketAddr>,
    /// Where the service account of that stand-in is written; start the nodes with it
    #[arg(long, value_name = "FILE", requires = "fcm_listen")]
    pub fcm_account: Option<PathBuf>,
    /// Share of commands beside which altered, repeated and foreign ones are slipped in
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = share)]
    pub hostile_share: f64,
    /// How much faster than real time batteries drain and things happen
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = rate)]
    pub model_speed: f64,
    /// Devices that are host agents
    #[command(flatten)]
    pub agents: AgentArgs,
    /// Deployments and updates
    #[command(flatten)]
    pub deploy: DeployArgs,
}

/// Which devices of a fleet are host agents: the core of the Android agent as a process.
#[derive(Debug, Clone, Default, Args)]
pub struct AgentArgs {
    /// So many of the devices are host agents on a JVM, e.g. jvm=10; the others are simulated
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
        count.map(|jvm| Self { jvm }).ok_or_else(|| format!("`{text}` is not of the form jvm=10"))
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
