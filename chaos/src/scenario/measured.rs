//! What was measured in a run, compared with what its scenario wants.

use std::collections::HashSet;

use super::file::{SteadyPlan, ThresholdPlan};
use crate::fleet::Summary;
use crate::oracle::History;
use crate::verdict::{Comparison, SteadyState, Threshold, When};

/// Window of time in microseconds since the Unix epoch.
pub(super) type Window = (i64, i64);

/// Thresholds of a run with their values.
pub(super) fn thresholds(plan: &ThresholdPlan, summary: &Summary, history: Option<&History>, recovered_s: Option<f64>) -> Vec<Threshold> {
    let (latency, lag) = (&summary.latency, &summary.send_lag);
    let measured = |value: f64| (latency.count > 0).then_some(value);
    let attempts = (summary.acknowledged + summary.errors.total()) as f64;
    let error_share = (attempts > 0.0).then(|| 100.0 * summary.errors.total() as f64 / attempts);
    let at_most = |name: &str, unit: &str, value: Option<f64>, limit: Option<f64>| threshold(name, unit, value, Comparison::AtMost, limit);
    [
        at_most("p50_ms", "ms", measured(latency.p50_ms), plan.p50_ms),
        at_most("p95_ms", "ms", measured(latency.p95_ms), plan.p95_ms),
        at_most("p99_ms", "ms", measured(latency.p99_ms), plan.p99_ms),
        at_most("max_ms", "ms", measured(latency.max_ms), plan.max_ms),
        at_most("error_share_pct", "%", error_share, plan.error_share_pct),
        threshold("acknowledged_per_s", "/s", Some(summary.rate_per_s), Comparison::AtLeast, plan.acknowledged_per_s),
        at_most("generator_lag_ms", "ms", measured(lag.p99_ms), plan.generator_lag_ms),
        at_most("recovered_within_s", "s", recovered_s, plan.recovered_within_s),
        threshold("saved_writes_pct", "%", history.and_then(saved_writes_pct), Comparison::AtLeast, plan.saved_writes_pct),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn threshold(name: &str, unit: &str, value: Option<f64>, comparison: Comparison, limit: Option<f64>) -> Option<Threshold> {
    limit.map(|limit| Threshold { name: name.into(), value, unit: unit.into(), comparison, limit })
}

/// Share of acknowledged heartbeats of which a row was there already, percent.
fn saved_writes_pct(history: &History) -> Option<f64> {
    let acks: Vec<_> = history.acks.iter().filter_map(|ack| Some((ack.device, ack.bucket_s?))).collect();
    let rows: HashSet<_> = acks.iter().collect();
    (!acks.is_empty()).then(|| 100.0 * (acks.len() - rows.len()) as f64 / acks.len() as f64)
}

/// Steady state of a window, compared with what is expected.
pub(super) fn steady_state(when: When, plan: &SteadyPlan, history: &History, window: Option<Window>, devices: usize) -> SteadyState {
    let within = |at_us: i64| window.is_some_and(|(from, to)| (from..to).contains(&at_us));
    let acks: Vec<_> = history.acks.iter().filter(|ack| within(ack.answered_us)).collect();
    let failed = history.failures.iter().filter(|failure| within(failure.answered_us)).count();
    let attempts = acks.len() + failed;
    let mut times: Vec<i64> = acks.iter().map(|ack| ack.answered_us - ack.sent_us).collect();
    times.sort_unstable();
    let p99 = times.len().checked_sub(1).map(|last| times[last * 99 / 100] as f64 / 1_000.0);
    let online: HashSet<u32> = acks.iter().map(|ack| ack.device).collect();
    let share = |part: usize, all: usize| (all > 0).then(|| 100.0 * part as f64 / all as f64);
    let conditions = [
        threshold("error_share_pct", "%", share(failed, attempts), Comparison::AtMost, plan.error_share_pct),
        threshold("p99_ms", "ms", p99, Comparison::AtMost, plan.p99_ms),
        threshold("online_share_pct", "%", share(online.len().min(devices), devices), Comparison::AtLeast, plan.online_share_pct),
    ];
    SteadyState { when, conditions: conditions.into_iter().flatten().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Ack, Failure};

    fn ack(device: u32, bucket_s: i64, answered_us: i64) -> Ack {
        Ack { device, server: 0, bucket_s: Some(bucket_s), device_time_us: None, sent_us: answered_us - 2_000, answered_us, decided: None }
    }

    fn history() -> History {
        History {
            acks: vec![ack(0, 10, 1_000_000), ack(1, 10, 1_100_000), ack(0, 10, 1_200_000), ack(0, 20, 9_000_000)],
            failures: vec![Failure { device: 1, server: 0, sent_us: 1_000_000, answered_us: 1_500_000, error: 0 }],
            ..History::default()
        }
    }

    #[test]
    fn a_steady_state_is_that_of_its_window() {
        let plan = SteadyPlan { error_share_pct: Some(25.0), p99_ms: Some(1.0), online_share_pct: Some(100.0), ..SteadyPlan::default() };
        let state = steady_state(When::Before, &plan, &history(), Some((0, 2_000_000)), 2);
        let values: Vec<_> = state.conditions.iter().map(|condition| (condition.value, condition.holds())).collect();
        assert_eq!(values, [(Some(25.0), true), (Some(2.0), false), (Some(100.0), true)]);
        let empty = steady_state(When::After, &plan, &history(), None, 2);
        assert!(!empty.holds(), "nothing was measured");
    }

    #[test]
    fn repeats_save_writes() {
        assert_eq!(saved_writes_pct(&history()), Some(25.0));
        assert_eq!(saved_writes_pct(&History::default()), None);
    }
}
