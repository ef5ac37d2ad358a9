//! Runs for tests of what is told of them.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::conclude::Told;
use super::event::{Event, LoadWindow, What};
use super::model::{Comparison, PromiseVerdict, SteadyState, Threshold, Verdict, When};
use super::run::{Machine, Run, Version};
use crate::oracle::{Check, Evidence, Violation};

/// A run with everything that a page shows.
pub(super) struct Sample {
    pub(super) run: Run,
    pub(super) events: Vec<Event>,
    pub(super) verdict: Verdict,
    pub(super) remarks: Vec<String>,
}

fn started() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_275_377, 0).unwrap()
}

fn after(ms: i64) -> i64 {
    started().timestamp_micros() + ms * 1_000
}

impl Sample {
    /// A run in which one heartbeat was lost and one threshold missed.
    pub(super) fn failed() -> Self {
        let evidence = Evidence::at("bucket", after(40_000)).and_at("sent", after(41_200)).and_at("acknowledged", after(41_234)).and_row(
            "heartbeats",
            0,
            &[("device_id", "0190b2c4-0000-7000-8000-000000000001"), ("bucket_at", "2026-11-21 15:36:50 UTC")],
        );
        let lost = Violation::new(
            "P1",
            "0190b2c4-0000-7000-8000-000000000001",
            "has 0 rows of the bucket 15:36:50 that http://n1 acknowledged at 15:36:58",
        )
        .with(evidence);
        Self::of(vec![lost], 412.0)
    }

    /// A run in which everything held.
    pub(super) fn passed() -> Self {
        Self::of(Vec::new(), 212.0)
    }

    fn of(violations: Vec<Violation>, p99_ms: f64) -> Self {
        let check = |promise, looked_at: &str, violations| Check {
            promise,
            looked_at: looked_at.into(),
            violations,
            notes: vec!["a remark".into()],
        };
        let checks = [
            check("P1", "1,000 acknowledgements of 900 buckets", violations),
            check("P2", "12 commands accepted of 12 requested", Vec::new()),
            check("P11", "nothing to check: PostgreSQL was never stopped", Vec::new()),
        ];
        let threshold = |name: &str, value, limit| Threshold {
            name: name.into(),
            value: Some(value),
            unit: "ms".into(),
            comparison: Comparison::Below,
            limit,
        };
        let steady_states = vec![SteadyState { when: When::Before, conditions: vec![threshold("heartbeat_p99", 12.0, 100.0)] }];
        let promises = checks.iter().map(PromiseVerdict::from).collect();
        let verdict = Verdict::of(promises, vec![threshold("heartbeat_p99", p99_ms, 300.0)], steady_states, None);
        let run = Run {
            name: "kill-node".into(),
            description: "A node is killed under load.".into(),
            scenario: "name = \"kill-node\"\nseed = 7\n".into(),
            seed: 7,
            versions: vec![Version { program: "nexmdm".into(), version: "0.1.0".into() }],
            machine: Machine { system: "Linux".into(), processor: "Some processor".into(), processors: 2, memory_mib: 4_096 },
            started_at: started(),
            ended_at: Some(started() + TimeDelta::seconds(90)),
            repeat: vec!["chaos run config/chaos/kill-node.toml --seed 7".into()],
        };
        Self { run, events: events(), verdict, remarks: Vec::new() }
    }

    pub(super) fn told(&self) -> Told<'_> {
        Told { run: &self.run, events: &self.events, verdict: &self.verdict, remarks: &self.remarks }
    }
}

fn events() -> Vec<Event> {
    let mut events = Vec::new();
    let mut add = |ms: i64, what| events.push(Event { at_us: after(ms), what });
    for (node, shards) in [("node-1", 86), ("node-2", 85), ("node-3", 85)] {
        add(0, What::Shards { node: node.into(), shards });
    }
    for second in 0..90_u32 {
        let down = (30..36).contains(&second);
        let errors = if down { BTreeMap::from([("connect".to_owned(), 40), ("timeout".to_owned(), 9)]) } else { BTreeMap::new() };
        let (acknowledged, p99_us) = if down { (120, 410_000) } else { (200 + second % 7, 9_000 + second % 5 * 1_000) };
        add(i64::from(second) * 1_000, What::Load(LoadWindow { acknowledged, p50_us: Some(2_500), p99_us: Some(p99_us), errors }));
    }
    add(30_000, What::FaultBegan { fault: "kill".into(), text: "kill -9 node-1".into() });
    add(36_000, What::Shards { node: "node-1".into(), shards: 0 });
    add(36_000, What::Shards { node: "node-2".into(), shards: 128 });
    add(40_000, What::Alerts { rule: "device_offline".into(), firing: 3 });
    add(50_000, What::FaultEnded { fault: "kill".into() });
    add(60_000, What::Alerts { rule: "device_offline".into(), firing: 0 });
    events.sort_by_key(|event| event.at_us);
    events
}
