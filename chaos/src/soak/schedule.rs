//! Schedule of faults: a pure function of a seed, or a given scenario.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::duration;
use crate::faults::Fault;
use crate::harness::PrimaryPart;

/// Time before the first fault.
const FIRST_AT: Duration = Duration::from_secs(20);
/// Most nodes that a run adds.
const ADDED: usize = 2;
/// Probability that two faults overlap.
const OVERLAP: f64 = 0.35;
/// Delay per statement of a slow database.
const STATEMENT_DELAY: Duration = Duration::from_secs(2);

/// Kind of fault, without its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `kill`
    Kill,
    /// `suspend`
    Suspend,
    /// `stop`
    Stop,
    /// `restart`
    Restart,
    /// `cut`
    Cut,
    /// `silence`
    Silence,
    /// `oneway`
    OneWay,
    /// `isolate`
    Isolate,
    /// `slow`
    Slow,
    /// `dbcut`
    DatabaseCut,
    /// `dbslow`
    DatabaseSlow,
    /// `db`
    Database,
    /// `add`
    Add,
    /// `drain`
    Drain,
    /// `primary`
    Primary,
    /// `failover`
    Failover,
    /// `manager`
    Manager,
}

/// Kinds with their names that need several servers of PostgreSQL; none comes by chance.
const PRIMARY_KINDS: [(Kind, &str); 3] = [(Kind::Primary, "primary"), (Kind::Failover, "failover"), (Kind::Manager, "manager")];

/// Every other kind with its name.
const KINDS: [(Kind, &str); 14] = [
    (Kind::Kill, "kill"),
    (Kind::Suspend, "suspend"),
    (Kind::Stop, "stop"),
    (Kind::Restart, "restart"),
    (Kind::Cut, "cut"),
    (Kind::Silence, "silence"),
    (Kind::OneWay, "oneway"),
    (Kind::Isolate, "isolate"),
    (Kind::Slow, "slow"),
    (Kind::DatabaseCut, "dbcut"),
    (Kind::DatabaseSlow, "dbslow"),
    (Kind::Database, "db"),
    (Kind::Add, "add"),
    (Kind::Drain, "drain"),
];

/// A scheduled fault; times count from the start of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Time of injection.
    pub at: Duration,
    /// Time of healing.
    pub until: Duration,
    /// Fault.
    pub fault: Fault,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6.1} s to {:>6.1} s  {}", self.at.as_secs_f64(), self.until.as_secs_f64(), self.fault)
    }
}

/// One step of a scenario: `kill`, or `suspend=10s` with a duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioStep {
    kind: Kind,
    lasts: Option<Duration>,
}

impl FromStr for ScenarioStep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, lasts) = match text.trim().split_once('=') {
            Some((word, lasts)) => (word, Some(duration::parse(lasts)?)),
            None => (text.trim(), None),
        };
        let known = || KINDS.iter().chain(&PRIMARY_KINDS).map(|(_, word)| *word).collect::<Vec<_>>().join(", ");
        let kind = KINDS.iter().chain(&PRIMARY_KINDS).find(|(_, known)| *known == word).map(|(kind, _)| *kind);
        Ok(Self { kind: kind.ok_or_else(|| format!("unknown fault `{word}`; expected {}", known()))?, lasts })
    }
}

/// Schedule of the given faults one after the other, with a rest in between; the seed decides the targets.
pub fn scenario(words: &[ScenarioStep], seed: u64, nodes: usize, lasts: Duration, rest: Duration) -> Vec<Step> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut nodes = nodes;
    let mut at = FIRST_AT.min(rest);
    let mut steps = Vec::new();
    for word in words {
        let until = at + if is_instant(word.kind) { Duration::ZERO } else { word.lasts.unwrap_or(lasts) };
        steps.push(Step { at, until, fault: random_fault(word.kind, nodes, &mut rng) });
        nodes += usize::from(word.kind == Kind::Add);
        at = until + rest;
    }
    steps
}

/// Random schedule for a run of this length: every kind occurs before any is repeated, and some faults overlap.
pub fn seeded(seed: u64, nodes: usize, length: Duration) -> Vec<Step> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut steps = Vec::new();
    let (mut nodes, mut added, mut at) = (nodes, 0, FIRST_AT);
    loop {
        let mut bag = KINDS.map(|(kind, _)| kind);
        bag.shuffle(&mut rng);
        for kind in bag {
            if kind == Kind::Add && added == ADDED {
                continue;
            }
            let until = at + lasts(kind, &mut rng);
            if until > length {
                return steps;
            }
            steps.push(Step { at, until, fault: random_fault(kind, nodes, &mut rng) });
            if may_overlap(kind) && rng.random_bool(OVERLAP) {
                let overlapping_kind = [Kind::Cut, Kind::Silence, Kind::OneWay, Kind::Slow][rng.random_range(0..4)];
                let middle = at + (until - at) / 2;
                let fault = random_fault(overlapping_kind, nodes, &mut rng);
                steps.push(Step { at: middle, until: until + Duration::from_secs(rng.random_range(3..12)), fault });
            }
            if kind == Kind::Add {
                (nodes, added) = (nodes + 1, added + 1);
            }
            at = steps.iter().map(|step| step.until).max().unwrap_or(until) + Duration::from_secs(rng.random_range(12..25));
        }
    }
}

fn is_instant(kind: Kind) -> bool {
    matches!(kind, Kind::Restart | Kind::Add)
}

/// Whether a link fault may overlap.
fn may_overlap(kind: Kind) -> bool {
    matches!(kind, Kind::Kill | Kind::Suspend | Kind::Stop | Kind::DatabaseCut | Kind::DatabaseSlow | Kind::Drain)
}

fn lasts(kind: Kind, rng: &mut SmallRng) -> Duration {
    let seconds = match kind {
        // Often little longer than a lease, so that devices still wait for the response when the node resumes, and a stale
        // one would be seen.
        Kind::Suspend if rng.random_bool(0.5) => rng.random_range(6..13),
        Kind::Suspend => rng.random_range(13..61),
        Kind::Restart | Kind::Add => 0,
        _ => rng.random_range(10..31),
    };
    Duration::from_secs(seconds)
}

/// A fault of a kind with random targets.
pub(crate) fn random_fault(kind: Kind, nodes: usize, rng: &mut SmallRng) -> Fault {
    let name = |n: usize| format!("node-{}", n + 1);
    let first = rng.random_range(0..nodes.max(1));
    // A different node, unless there is only one.
    let second = if nodes > 1 { (first + rng.random_range(1..nodes)) % nodes } else { first };
    let (node, a, b) = (name(first), name(first.min(second)), name(first.max(second)));
    match kind {
        Kind::Kill => Fault::Kill { node },
        Kind::Suspend => Fault::Suspend { node },
        Kind::Stop => Fault::Stop { node },
        Kind::Restart => Fault::Restart { node },
        Kind::Cut => Fault::CutLink { a, b },
        Kind::Silence => Fault::SilenceLink { a, b },
        Kind::OneWay => Fault::OneWay { from: name(first), to: name(second) },
        Kind::Isolate => Fault::Isolate { node },
        Kind::Slow => Fault::SlowLink { a, b, delay: Duration::from_millis(rng.random_range(20..400)) },
        Kind::DatabaseCut => Fault::CutDatabase { node },
        Kind::DatabaseSlow => Fault::SlowDatabase { node, delay: STATEMENT_DELAY },
        Kind::Database => Fault::StopDatabase,
        Kind::Add => Fault::AddNode,
        Kind::Drain => Fault::Drain { node },
        Kind::Primary => Fault::KillPrimary { part: PrimaryPart::Postgres },
        Kind::Failover => Fault::KillPrimary { part: PrimaryPart::Machine },
        Kind::Manager => Fault::KillPrimary { part: PrimaryPart::Manager },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const HALF_AN_HOUR: Duration = Duration::from_secs(1_800);

    fn kind_of(fault: &Fault) -> String {
        serde_json::to_value(fault).unwrap()["kind"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_schedule_is_a_function_of_the_seed() {
        assert_eq!(seeded(7, 3, HALF_AN_HOUR), seeded(7, 3, HALF_AN_HOUR));
        assert_ne!(seeded(7, 3, HALF_AN_HOUR), seeded(8, 3, HALF_AN_HOUR));
    }

    #[test]
    fn every_kind_of_fault_comes_in_half_an_hour_and_some_overlap() {
        for seed in 0..50 {
            let steps = seeded(seed, 3, HALF_AN_HOUR);
            let kinds: BTreeSet<String> = steps.iter().map(|step| kind_of(&step.fault)).collect();
            assert_eq!(kinds.len(), KINDS.len(), "seed {seed}: {kinds:?}");
            assert!(steps.iter().all(|step| step.at >= FIRST_AT && step.until >= step.at), "seed {seed}");
            assert!(steps.iter().filter(|step| step.fault == Fault::AddNode).count() <= ADDED, "seed {seed}");
        }
        let overlapping = |seed| seeded(seed, 3, HALF_AN_HOUR).windows(2).any(|pair| pair[1].at < pair[0].until);
        assert!((0..10).filter(|seed| overlapping(*seed)).count() >= 5);
    }

    #[test]
    fn links_have_two_ends() {
        for seed in 0..50 {
            for step in seeded(seed, 3, HALF_AN_HOUR) {
                if let Fault::CutLink { a, b } | Fault::SilenceLink { a, b } | Fault::SlowLink { a, b, .. } = &step.fault {
                    assert!(a < b, "{step}");
                }
                if let Fault::OneWay { from, to } = &step.fault {
                    assert_ne!(from, to);
                }
            }
        }
    }

    #[test]
    fn a_scenario_keeps_its_order_and_durations() {
        let words: Vec<ScenarioStep> = "kill,suspend=10s,add,db".split(',').map(|word| word.parse().unwrap()).collect();
        let steps = scenario(&words, 1, 3, Duration::from_secs(8), Duration::from_secs(5));
        let seconds: Vec<(u64, u64)> = steps.iter().map(|step| (step.at.as_secs(), step.until.as_secs())).collect();
        assert_eq!(seconds, [(5, 13), (18, 28), (33, 33), (38, 46)]);
        assert_eq!(steps[2].fault, Fault::AddNode);
        assert!("explode".parse::<ScenarioStep>().unwrap_err().contains("oneway"));
        assert!("kill=x".parse::<ScenarioStep>().is_err());
    }
}
