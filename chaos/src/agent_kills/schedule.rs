//! Schedule of kills and faults: a pure function of a seed.

use std::fmt;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::host_agent::HaltPoint;
use crate::network::Mode;
use crate::soak::{Kind, Step, random_fault};

/// Points at which the process of an agent is halted, each with the latest occurrence to try. Every agent of a seed begins with
/// another one, and the next seed continues from there.
const HALTS: [(&str, u32); 24] = [
    ("command.received", 3),
    ("install.accepted", 1),
    ("command.recorded", 3),
    ("update.offer", 1),
    ("command.run", 3),
    ("install.download", 1),
    ("command.concluded", 3),
    ("install.verified", 1),
    ("queue.enqueue", 8),
    ("install.commit", 1),
    ("deliver.ok", 8),
    ("install.installed", 1),
    ("register.ok", 1),
    ("install.reported", 1),
    ("session.ok", 1),
    ("update.check", 2),
    ("socket.open", 1),
    ("platform.restart", 1),
    ("queue.drain", 1),
    ("start", 1),
    ("retry.schedule", 1),
    // A second installation is mostly that of the agent itself.
    ("install.download", 2),
    ("install.commit", 2),
    ("install.installed", 2),
];

/// Faults of nodes and links that fit into a run of this length.
const NODE_FAULTS: [Kind; 10] = [
    Kind::Kill,
    Kind::Suspend,
    Kind::Stop,
    Kind::Cut,
    Kind::Silence,
    Kind::OneWay,
    Kind::Isolate,
    Kind::Slow,
    Kind::DatabaseCut,
    Kind::DatabaseSlow,
];

/// Dimensions of a schedule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) agents: usize,
    pub(super) nodes: usize,
    /// End of the schedule; only the last lives of the agents continue.
    pub(super) disturbed: Duration,
    /// Whether the agent is updated.
    pub(super) updates: bool,
}

/// One run of the process of an agent, ended by a kill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProcessRun {
    /// Point at which the process halts, if it gets there.
    pub(super) halt_at: Option<HaltPoint>,
    /// Latest time of the kill.
    pub(super) killed_after: Duration,
    /// Time until the next start.
    pub(super) down: Duration,
    /// Whether the database file is damaged before the next start.
    pub(super) database_damaged: bool,
}

/// Temporary change of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceChange {
    StorageFull,
    NotValidated,
    NoNetwork,
    Metered,
    InCall,
    BatteryLow,
    NotPermitted,
}

const CHANGES: [DeviceChange; 7] = [
    DeviceChange::StorageFull,
    DeviceChange::NotValidated,
    DeviceChange::NoNetwork,
    DeviceChange::Metered,
    DeviceChange::InCall,
    DeviceChange::BatteryLow,
    DeviceChange::NotPermitted,
];

/// Schedule of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgentSchedule {
    pub(super) clock_offset_ms: i64,
    pub(super) lives: Vec<ProcessRun>,
    /// Start, end and kind of its temporary change.
    pub(super) change: Option<(Duration, Duration, DeviceChange)>,
}

/// Fault of the connections from all agents to one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AccessFault {
    pub(super) at: Duration,
    pub(super) until: Duration,
    /// Index of the node.
    pub(super) node: usize,
    pub(super) mode: Mode,
}

/// Schedule of a seed; times count from the enrollment of the last agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) seed: u64,
    pub(super) agents: Vec<AgentSchedule>,
    pub(super) faults: Vec<Step>,
    pub(super) access: Vec<AccessFault>,
    /// Time at which the build is promoted, if there is one.
    pub(super) update_at: Option<Duration>,
}

impl Schedule {
    /// The schedule of a seed.
    pub(super) fn of(seed: u64, limits: Limits) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x6b69_6c6c);
        let length = limits.disturbed.as_secs_f64();
        let at = |share: f64| Duration::from_millis((length * share * 1_000.0) as u64);
        let damaged = rng.random_range(0..limits.agents);
        let agents = (0..limits.agents)
            .map(|n| {
                let first = HALTS[(seed as usize).wrapping_mul(limits.agents).wrapping_add(n) % HALTS.len()];
                let mut halts = vec![Some(first)];
                // The second life starts in the middle, while deployment and update are in progress.
                halts.push(rng.random_bool(0.6).then(|| HALTS[rng.random_range(0..HALTS.len())]));
                if n != damaged && rng.random_bool(0.3) {
                    halts.truncate(1);
                }
                let lives = halts.len();
                let life = |(place, halt): (usize, Option<(&str, u32)>)| ProcessRun {
                    halt_at: halt.map(|(event, latest)| HaltPoint::new(event, rng.random_range(1..=latest))),
                    killed_after: at(rng.random_range(0.3..0.5)),
                    down: Duration::from_millis(rng.random_range(50..1_500)),
                    database_damaged: n == damaged && place + 1 == lives,
                };
                let lives = halts.into_iter().enumerate().map(life).collect();
                AgentSchedule { clock_offset_ms: clock_offset_ms(&mut rng), lives, change: change(&mut rng, at) }
            })
            .collect();
        let mut faults = Vec::new();
        let mut free_at = 0.05;
        for _ in 0..2 {
            let begins = free_at + rng.random_range(0.0..0.1);
            let lasts = rng.random_range(0.2..0.35);
            let kind = NODE_FAULTS[rng.random_range(0..NODE_FAULTS.len())];
            faults.push(Step { at: at(begins), until: at(begins + lasts), fault: random_fault(kind, limits.nodes, &mut rng) });
            free_at = begins + lasts + 0.05;
        }
        let access = (0..2)
            .map(|n| {
                let begins = 0.5 * f64::from(n) + rng.random_range(0.0..0.2);
                let mode = match rng.random_range(0..3) {
                    0 => Mode::Cut,
                    1 => Mode::Blackhole,
                    _ => Mode::Delay(Duration::from_millis(rng.random_range(50..800))),
                };
                AccessFault {
                    at: at(begins),
                    until: at(begins + rng.random_range(0.1..0.3)),
                    node: rng.random_range(0..limits.nodes),
                    mode,
                }
            })
            .collect();
        let update_at = limits.updates.then(|| at(rng.random_range(0.3..0.45)));
        Self { seed, agents, faults, access, update_at }
    }
}

/// Clock offset: mostly none, else seconds, hours or a year.
fn clock_offset_ms(rng: &mut SmallRng) -> i64 {
    let sign = if rng.random_bool(0.5) { 1 } else { -1 };
    let off = match rng.random_range(0..20) {
        0..12 => 0,
        12..15 => rng.random_range(500..60_000),
        15..18 => rng.random_range(60_000..8 * 3_600_000),
        _ => 365 * 86_400_000,
    };
    sign * off
}

fn change(rng: &mut SmallRng, at: impl Fn(f64) -> Duration) -> Option<(Duration, Duration, DeviceChange)> {
    let (wanted, begins, lasts) = (rng.random_bool(0.5), rng.random_range(0.05..0.5), rng.random_range(0.1..0.4));
    let kind = CHANGES[rng.random_range(0..CHANGES.len())];
    wanted.then(|| (at(begins), at(begins + lasts), kind))
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.faults {
            writeln!(f, "  {step}")?;
        }
        let s = Duration::as_secs_f64;
        for AccessFault { at, until, node, mode } in &self.access {
            let what = match mode {
                Mode::Pass => "passes".to_owned(),
                Mode::Cut => "is cut".to_owned(),
                Mode::Blackhole => "is silent".to_owned(),
                Mode::Delay(delay) => format!("is {delay:?} late"),
                Mode::Lossy { delay, loss_pct } => format!("is {delay:?} late and loses {loss_pct} %"),
            };
            writeln!(f, "  {:>6.1} s to {:>6.1} s  the way of the agents to node-{} {what}", s(at), s(until), node + 1)?;
        }
        if let Some(at) = &self.update_at {
            writeln!(f, "  {:>6.1} s  the agents are offered an update", s(at))?;
        }
        for (place, agent) in self.agents.iter().enumerate() {
            write!(f, "  agent {:>3}:", place + 1)?;
            if agent.clock_offset_ms != 0 {
                write!(f, " clock {:+.1} s;", agent.clock_offset_ms as f64 / 1_000.0)?;
            }
            if let Some((at, until, change)) = &agent.change {
                write!(f, " {change:?} from {:.1} s to {:.1} s;", s(at), s(until))?;
            }
            for life in &agent.lives {
                match &life.halt_at {
                    Some(point) => write!(f, " halts at {point} or is killed after {:.1} s,", s(&life.killed_after))?,
                    None => write!(f, " is killed after {:.1} s,", s(&life.killed_after))?,
                }
                let damaged = if life.database_damaged { ", its database is damaged" } else { "" };
                write!(f, " dead for {:.1} s{damaged};", s(&life.down))?;
            }
            writeln!(f, " lives")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LIMITS: Limits = Limits { agents: 20, nodes: 3, disturbed: Duration::from_secs(15), updates: true };

    #[test]
    fn a_seed_always_means_the_same_and_another_one_something_else() {
        assert_eq!(Schedule::of(7, LIMITS), Schedule::of(7, LIMITS));
        assert_ne!(Schedule::of(7, LIMITS), Schedule::of(8, LIMITS));
        let text = Schedule::of(7, LIMITS).to_string();
        assert_eq!(text.lines().count(), 2 + 2 + 1 + LIMITS.agents, "{text}");
    }

    #[test]
    fn every_step_is_halted_at_and_everything_else_happens() {
        let (mut halts, mut changes, mut kinds, mut clocks) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for seed in 1..=50 {
            let schedule = Schedule::of(seed, LIMITS);
            let damaged = schedule.agents.iter().flat_map(|agent| &agent.lives).filter(|life| life.database_damaged).count();
            assert_eq!(damaged, 1, "seed {seed}");
            for agent in &schedule.agents {
                halts.extend(agent.lives.iter().filter_map(|life| life.halt_at.as_ref()).map(|point| point.event.clone()));
                changes.extend(agent.change.map(|(_, _, change)| format!("{change:?}")));
                clocks.insert(agent.clock_offset_ms.signum());
                let forced: Duration = agent.lives.iter().map(|life| life.killed_after + life.down).sum();
                assert!(forced <= LIMITS.disturbed + Duration::from_secs(3), "seed {seed}");
            }
            kinds.extend(schedule.faults.iter().map(|step| serde_json::to_value(&step.fault).unwrap()["kind"].to_string()));
            assert!(schedule.faults.iter().all(|step| step.until <= LIMITS.disturbed), "seed {seed}: {schedule}");
            assert!(schedule.access.iter().all(|fault| fault.until <= LIMITS.disturbed && fault.node < 3), "seed {seed}");
        }
        let events: BTreeSet<String> = HALTS.iter().map(|(event, _)| (*event).to_owned()).collect();
        assert_eq!(halts, events);
        assert_eq!((changes.len(), kinds.len(), clocks.len()), (CHANGES.len(), NODE_FAULTS.len(), 3));
    }

    #[test]
    fn without_a_build_nobody_is_offered_one() {
        assert_eq!(Schedule::of(1, Limits { updates: false, ..LIMITS }).update_at, None);
    }
}
