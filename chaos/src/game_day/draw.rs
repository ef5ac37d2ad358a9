//! Scenarios drawn by seed, as the files that repeat them.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::soak::seeded;

/// Share of steps that are replaced by a fault of [`OTHERS`].
const OTHER_SHARE: f64 = 0.3;
/// Faults beside those of nodes, links and the database: as a file has them, and whether they last. None of them needs root.
const OTHERS: [(&str, bool); 3] = [
    ("{ kind = \"thundering_herd\", times = 2, pause_ms = 5000 }", false),
    ("{ kind = \"poison_heartbeats\", per_second = 30, devices = 5 }", true),
    ("{ kind = \"connections_used_up\" }", true),
];

/// Scenario of a seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// Seed.
    pub seed: u64,
    nodes: usize,
    devices: usize,
    transport: &'static str,
    commands: bool,
    deployments: bool,
    alerts: bool,
    steps: Vec<DrawnStep>,
}

#[derive(Debug, Clone, PartialEq)]
struct DrawnStep {
    at: Duration,
    lasts: Option<Duration>,
    fault: String,
}

/// What every scenario of a game day has in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Nodes at the start.
    pub nodes: usize,
    /// Devices.
    pub devices: usize,
    /// Time over which faults are spread.
    pub length: Duration,
}

impl Drawn {
    /// The scenario of a seed.
    ///
    /// # Errors
    /// A fault cannot be written as TOML.
    pub fn of(seed: u64, size: Size) -> Result<Self> {
        // Another stream than that of the schedule.
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x6761_6d65_5f64_6179);
        let mut steps = Vec::new();
        for step in seeded(seed, size.nodes, size.length) {
            let lasts = step.until.saturating_sub(step.at);
            let (fault, lasting) = match rng.random_bool(OTHER_SHARE) {
                true => {
                    let (fault, lasting) = OTHERS[rng.random_range(0..OTHERS.len())];
                    (fault.to_owned(), lasting)
                }
                false => (inline(&serde_json::to_value(&step.fault)?)?, lasts > Duration::ZERO),
            };
            let lasts = lasting.then_some(lasts.max(Duration::from_secs(5)));
            steps.push(DrawnStep { at: step.at, lasts, fault });
        }
        Ok(Self {
            seed,
            nodes: size.nodes,
            devices: size.devices,
            transport: ["http", "socket", "mix"][rng.random_range(0..3)],
            commands: rng.random_bool(0.8),
            deployments: rng.random_bool(0.5),
            alerts: rng.random_bool(0.4),
            steps,
        })
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// The file that runs these steps of it, with a remark for people.
    pub fn file(&self, steps: &[usize], remark: &str) -> String {
        let mut out = String::new();
        // Writing to a text cannot fail.
        let mut line = |text: String| {
            let _ = writeln!(out, "{text}");
        };
        line(format!("name = \"game-day-{}\"", self.seed));
        line(format!("description = {}", basic_string(remark)));
        line(format!("seed = {}\n", self.seed));
        line(format!("[cluster]\nnodes = {}\n", self.nodes));
        line(format!("[fleet]\ndevices = {}\ninterval = \"5s\"\ntransport = \"{}\"\nhostile_share = 0.1\n", self.devices, self.transport));
        line("[work]".to_owned());
        if self.commands {
            line("commands_every = \"250ms\"".to_owned());
        }
        if self.deployments {
            line("deployments_every = \"8s\"".to_owned());
        }
        line(format!("alerts = {}", self.alerts));
        for place in steps {
            let Some(DrawnStep { at, lasts, fault }) = self.steps.get(*place) else { continue };
            line(format!("\n[[step]]\nname = \"step-{}\"\nat = \"{}ms\"", place + 1, at.as_millis()));
            if let Some(lasts) = lasts {
                line(format!("lasts = \"{}ms\"", lasts.as_millis()));
            }
            line(format!("fault = {fault}"));
        }
        line("\n[after]\nonline_share_pct = 100\nwithin = \"120s\"".to_owned());
        out
    }
}

/// A flat JSON object as an inline table.
fn inline(value: &serde_json::Value) -> Result<String> {
    let fields = value.as_object().context("a fault is an object")?;
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| match value {
            serde_json::Value::String(text) => Ok(format!("{name} = {}", basic_string(text))),
            serde_json::Value::Number(_) | serde_json::Value::Bool(_) => Ok(format!("{name} = {value}")),
            _ => anyhow::bail!("the parameter {name} of a fault is neither text nor number"),
        })
        .collect::<Result<_>>()?;
    Ok(format!("{{ {} }}", fields.join(", ")))
}

fn basic_string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { nodes: 3, devices: 50, length: Duration::from_secs(240) };

    fn all(drawn: &Drawn) -> Vec<usize> {
        (0..drawn.steps()).collect()
    }

    #[test]
    fn a_seed_gives_one_scenario_and_seeds_differ() {
        let file = |seed| {
            let drawn = Drawn::of(seed, SIZE).unwrap();
            drawn.file(&all(&drawn), "")
        };
        assert_eq!(file(3), file(3));
        assert_ne!(file(3), file(4));
    }

    #[test]
    fn a_file_has_the_steps_that_are_kept_and_no_others() {
        for seed in 0..40 {
            let drawn = Drawn::of(seed, SIZE).unwrap();
            assert!(drawn.steps() >= 3, "seed {seed}");
            let whole: toml::Table = drawn.file(&all(&drawn), "a \"remark\"\nof two lines").parse().unwrap();
            let steps = whole["step"].as_array().unwrap();
            assert_eq!(steps.len(), drawn.steps());
            assert_eq!(whole["description"].as_str(), Some("a \"remark\"\nof two lines"));
            assert!(steps.iter().all(|step| step["fault"]["kind"].is_str() && step["at"].is_str()));
            let few: toml::Table = drawn.file(&[0, 2], "").parse().unwrap();
            assert_eq!(few["step"].as_array().unwrap()[..], [steps[0].clone(), steps[2].clone()]);
            let none: toml::Table = drawn.file(&[], "").parse().unwrap();
            assert!(!none.contains_key("step") && none["cluster"]["nodes"].as_integer() == Some(3));
        }
    }

    #[test]
    fn game_days_have_faults_of_every_origin() {
        let files: Vec<String> = (0..40)
            .map(|seed| {
                let drawn = Drawn::of(seed, SIZE).unwrap();
                drawn.file(&all(&drawn), "")
            })
            .collect();
        for kind in ["kill", "cut_link", "stop_database", "thundering_herd", "poison_heartbeats", "connections_used_up"] {
            assert!(files.iter().any(|file| file.contains(&format!("kind = \"{kind}\""))), "{kind}");
        }
    }
}
