//! Host agents: the core of the Android agent as JVM processes, started, watched, killed and stopped from here.

mod events;
mod group;
mod halt;
mod jvm;
mod platform;
mod process;
mod profile;

pub use events::{LogEvent, LogFollower, read_events};
pub use group::{HostAgents, HostAgentsPlan, HostAgentsSummary, state_dirs};
pub use halt::HaltPoint;
pub use jvm::{DEFAULT_JAR, Jvm};
pub use platform::{PlatformAction, installed_version, read_actions};
pub use process::{ExitReason, HostAgent, HostAgentOptions, ProcessExit};
pub use profile::{AppVersion, DeviceProfile, InstallBehaviour};
