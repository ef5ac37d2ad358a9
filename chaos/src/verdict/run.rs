//! What a run was: its scenario, seed, versions, machine and times, and how to repeat it.

use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Run of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Name of the scenario.
    pub name: String,
    /// What the scenario shows, in a few sentences.
    #[serde(default)]
    pub description: String,
    /// Text of the scenario file as it was run.
    pub scenario: String,
    /// Seed of everything that depends on chance.
    pub seed: u64,
    /// Versions of what took part, such as `nexmdm` and `PostgreSQL`.
    #[serde(default)]
    pub versions: Vec<Version>,
    /// Machine that ran it.
    pub machine: Machine,
    /// Start.
    pub started_at: DateTime<Utc>,
    /// End; none while it goes on, or when it was cut off.
    #[serde(default)]
    pub ended_at: Option<DateTime<Utc>>,
    /// Shell commands that repeat it.
    #[serde(default)]
    pub repeat: Vec<String>,
}

/// Version of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Program.
    pub program: String,
    /// Its version.
    pub version: String,
}

/// Machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system and kernel.
    pub system: String,
    /// Model of the processor.
    pub processor: String,
    /// Processors that this process may use.
    pub processors: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Machine {
    /// This machine.
    pub fn this() -> Self {
        let system = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
        Self {
            system: format!("{} {} {}", text(system.sysname()), text(system.release()), text(system.machine())),
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            memory_mib: field(&read("/proc/meminfo"), "MemTotal").and_then(|text| kib(&text)).unwrap_or(0) >> 10,
        }
    }
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

fn kib(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_from_proc() {
        let cpu = "processor\t: 0\nmodel name\t: Some: CPU\nmodel name\t: Other\n";
        assert_eq!(field(cpu, "model name").as_deref(), Some("Some: CPU"));
        assert_eq!(field("MemTotal:       2048 kB\n", "MemTotal").and_then(|text| kib(&text)), Some(2048));
        assert_eq!(field(cpu, "nothing"), None);
        let machine = Machine::this();
        assert!(machine.processors > 0 && machine.memory_mib > 0 && !machine.system.is_empty(), "{machine:?}");
    }
}
