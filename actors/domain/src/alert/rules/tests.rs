//! Subjects and circumstances that the tests of the rules share, and what holds for every rule.

use std::sync::LazyLock;

use chrono::TimeDelta;
use proptest::prelude::*;

use crate::Timestamp;
use crate::alert::{DeviceFacts, Facts, Judging, Lasting, Streaks, Thresholds, Verdict, evaluate};
use crate::device::{AppStatus, LastStatus};
use crate::telemetry::Telemetry;

pub(super) use crate::alert::{DeploymentFacts, NodeFacts, Rule, SystemFacts};

/// A time, in seconds.
pub(super) fn second(second: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
}

/// A device that enrolled at second 0, with the readings of a heartbeat that was received then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Device {
    pub(super) last_seen_at: Option<Timestamp>,
    pub(super) battery_pct: Option<i16>,
    pub(super) battery_before: Option<i8>,
    pub(super) charging: Option<bool>,
    pub(super) storage_free_mb: Option<i64>,
    pub(super) app_status: AppStatus,
    pub(super) app_down: u8,
    pub(super) app_running: Option<bool>,
    pub(super) foreground_recent_s: Option<i32>,
    pub(super) command_failures: Option<u8>,
    pub(super) device_time: Option<Timestamp>,
    pub(super) queue_depth: Option<i32>,
    pub(super) in_conflict: bool,
    pub(super) agent_offer: Option<Lasting>,
}

impl Device {
    pub(super) fn new() -> Self {
        Self {
            last_seen_at: None,
            battery_pct: None,
            battery_before: None,
            charging: None,
            storage_free_mb: None,
            app_status: AppStatus::Unknown,
            app_down: 0,
            app_running: None,
            foreground_recent_s: None,
            command_failures: None,
            device_time: None,
            queue_depth: None,
            in_conflict: false,
            agent_offer: None,
        }
    }

    fn judged<T>(&self, judge: impl FnOnce(&DeviceFacts<'_>) -> T) -> T {
        let telemetry = Telemetry {
            battery_pct: self.battery_pct,
            charging: self.charging,
            storage_free_mb: self.storage_free_mb,
            app_running: self.app_running,
            foreground_recent_s: self.foreground_recent_s,
            queue_depth: self.queue_depth,
            ..Telemetry::default()
        };
        let last =
            LastStatus { bucket_at: second(0), received_at: second(0), device_time: self.device_time, clock_rejected: false, telemetry };
        let streaks = Streaks {
            app_down: self.app_down,
            battery_before: self.battery_before,
            battery: None,
            command_failures: self.command_failures,
        };
        judge(&DeviceFacts {
            enrolled_at: second(0),
            last_seen_at: self.last_seen_at,
            last: Some(&last),
            app_status: self.app_status,
            streaks,
            in_conflict: self.in_conflict,
            agent_offer: self.agent_offer,
        })
    }
}

/// Circumstances, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) now: i64,
    pub(super) since: i64,
    pub(super) firing: bool,
}

impl Default for At {
    fn default() -> Self {
        Self { now: 0, since: -1_000, firing: false }
    }
}

impl At {
    fn judged(&self, rule: Rule, facts: Facts<'_>) -> (String, Option<i64>) {
        let thresholds = Thresholds::of(rule);
        let judging = self.judging(&thresholds);
        let evaluation = evaluate(rule, facts, &judging);
        let verdict = match evaluation.verdict {
            Verdict::Firing { reason } => reason,
            Verdict::Ok => "ok".into(),
            Verdict::Unknown => "unknown".into(),
        };
        (verdict, evaluation.next_deadline.map(|at| (at - second(0)).num_seconds()))
    }

    fn judging<'a>(&self, thresholds: &'a Thresholds) -> Judging<'a> {
        let (now, judged_since) = (second(self.now), second(self.since));
        Judging { now, judged_since, settle: TimeDelta::seconds(300), firing: self.firing, thresholds }
    }

    pub(super) fn of_device(&self, rule: Rule, device: &Device) -> (String, Option<i64>) {
        device.judged(|facts| self.judged(rule, Facts::Device(facts)))
    }

    pub(super) fn fires_after(&self, rule: Rule, device: &Device) -> bool {
        let thresholds = Thresholds::of(rule);
        device.judged(|facts| evaluate(rule, Facts::Device(facts), &self.judging(&thresholds)).fires_after(self.firing))
    }

    pub(super) fn of_deployment(&self, rule: Rule, facts: &DeploymentFacts) -> (String, Option<i64>) {
        self.judged(rule, Facts::Deployment(facts))
    }

    pub(super) fn of_node(&self, rule: Rule, facts: &NodeFacts) -> (String, Option<i64>) {
        self.judged(rule, Facts::Node(facts))
    }

    pub(super) fn of_system(&self, rule: Rule, facts: &SystemFacts) -> (String, Option<i64>) {
        self.judged(rule, Facts::System(facts))
    }
}

static NOBODY: LazyLock<(DeploymentFacts, NodeFacts, SystemFacts)> = LazyLock::new(Default::default);

#[test]
fn without_data_no_rule_fires_and_each_knows_its_kind_of_subject() {
    let device = Device::new();
    for rule in Rule::ALL {
        let (deployment, node, system) = &*NOBODY;
        let at = At::default();
        let all =
            [at.of_device(rule, &device).0, at.of_deployment(rule, deployment).0, at.of_node(rule, node).0, at.of_system(rule, system).0];
        assert!(all.iter().all(|verdict| verdict == "ok" || verdict == "unknown"), "{rule:?} {all:?}");
        let kind = rule.spec().subject as usize;
        for (other, verdict) in all.iter().enumerate() {
            assert!(other == kind || verdict == "unknown", "{rule:?} judges a subject of another kind: {all:?}");
        }
    }
}

proptest! {
    /// What is unknown raises nothing and clears nothing, whatever the time; and a deadline is always ahead.
    #[test]
    fn deadlines_are_ahead_and_silence_is_no_news(now in -1_000_000_i64..1_000_000, seen in proptest::option::of(-1_000_000_i64..1_000_000), since in -1_000_000_i64..1_000_000, firing: bool) {
        let device = Device { last_seen_at: seen.map(second), ..Device::new() };
        for rule in Rule::ALL {
            let (verdict, deadline) = At { now, since, firing }.of_device(rule, &device);
            prop_assert!(deadline.is_none_or(|deadline| deadline > now), "{:?}: {} until {:?}", rule, verdict, deadline);
            if !rule.judges_liveness() {
                prop_assert_eq!(verdict, "unknown");
            }
        }
    }

    /// A device that is not heard of after a start is offline no sooner than an interval and grace later.
    #[test]
    fn no_storm_after_a_start(now in 0_i64..10_000, since in 0_i64..10_000, seen in -100_000_i64..0) {
        let device = Device { last_seen_at: Some(second(seen)), ..Device::new() };
        let judged = At { now, since, firing: false }.of_device(Rule::DeviceOffline, &device).0;
        prop_assert!(now >= since + 300 || !judged.starts_with("no heartbeat"), "{}", judged);
    }
}
