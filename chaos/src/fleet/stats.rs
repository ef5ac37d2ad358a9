//! Counters of a fleet, and the summary of a run.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host_agent::HostAgentsSummary;
use crate::measure::{Errors, Latencies, Percentiles};

/// Counters of all devices of a fleet.
#[derive(Default)]
pub(super) struct Stats {
    pub(super) sent: Counter,
    pub(super) acknowledged: Counter,
    pub(super) repeats_acknowledged: Counter,
    pub(super) dropped_on_device: Counter,
    pub(super) reconnects: Counter,
    pub(super) reconnect_frames: Counter,
    pub(super) commands: Counter,
    pub(super) commands_executed: Counter,
    pub(super) bad_commands: Counter,
    pub(super) duplicate_commands: Counter,
    pub(super) results_sent: Counter,
    pub(super) results_acknowledged: Counter,
    pub(super) results_refused: Counter,
    pub(super) results_waiting: Counter,
    pub(super) answers_lost: Counter,
    pub(super) deleted: Counter,
    pub(super) forgotten: Counter,
    pub(super) unacknowledged: Counter,
    pub(super) deployments: Deployments,
    pub(super) downloaded_bytes: Counter,
    pub(super) sockets: AtomicI64,
    measured: Mutex<Measurements>,
}

/// Installation statuses that the server acknowledged, and those it refused for good.
#[derive(Default)]
pub(super) struct Deployments {
    pub(super) accepted: Counter,
    pub(super) succeeded: Counter,
    pub(super) failed: Counter,
    pub(super) skipped: Counter,
    pub(super) refused: Counter,
}

/// A monotonic counter.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Measurements {
    latency: Latencies,
    send_lag: Latencies,
    errors: Errors,
    acknowledged: u64,
}

impl Stats {
    pub(super) fn error(&self, kind: &str) {
        self.measured().errors.count(kind);
    }

    /// Records the latency of a fresh heartbeat after warm-up, from its intended time to the acknowledgement.
    pub(super) fn latency(&self, latency: Duration) {
        self.measured().latency.record(latency);
    }

    /// Records the delay that the generator itself added to a fresh heartbeat.
    pub(super) fn send_lag(&self, lag: Duration) {
        self.measured().send_lag.record(lag);
    }

    /// Counts an acknowledgement after warm-up, for the rate.
    pub(super) fn acknowledged_in_time(&self) {
        self.measured().acknowledged += 1;
    }

    /// Progress line.
    pub(super) fn line(&self, elapsed: Duration, acknowledged_per_s: f64) -> String {
        let (latency, errors) = {
            let measured = self.measured();
            (measured.latency.percentiles(), measured.errors.total())
        };
        format!(
            "{:>5.0}s  sent {}  acknowledged {} ({acknowledged_per_s:.0}/s)  p95 {:.1} ms  errors {errors}  sockets {}  reconnects {}",
            elapsed.as_secs_f64(),
            self.sent.get(),
            self.acknowledged.get(),
            latency.p95_ms,
            self.sockets.load(Ordering::Relaxed),
            self.reconnects.get(),
        )
    }

    pub(super) fn summary(&self, run: RunInfo) -> Summary {
        let measured = self.measured();
        let measured_s = run.elapsed.saturating_sub(run.warm_up).as_secs_f64();
        Summary {
            devices: run.devices,
            enrolled_now: run.enrolled_now,
            transport: run.transport,
            interval: run.interval,
            elapsed_s: run.elapsed.as_secs_f64(),
            measured_s,
            sent: self.sent.get(),
            acknowledged: self.acknowledged.get(),
            repeats_acknowledged: self.repeats_acknowledged.get(),
            rate_per_s: if measured_s > 0.0 { measured.acknowledged as f64 / measured_s } else { 0.0 },
            latency: measured.latency.percentiles(),
            send_lag: measured.send_lag.percentiles(),
            errors: measured.errors.clone(),
            reconnects: self.reconnects.get(),
            reconnect_frames: self.reconnect_frames.get(),
            commands_received: self.commands.get(),
            commands_executed: self.commands_executed.get(),
            commands_refused_as_bad: self.bad_commands.get(),
            commands_seen_before: self.duplicate_commands.get(),
            results_sent: self.results_sent.get(),
            results_acknowledged: self.results_acknowledged.get(),
            results_refused: self.results_refused.get(),
            results_waiting_at_end: self.results_waiting.get(),
            answers_lost: self.answers_lost.get(),
            dropped_on_device: self.dropped_on_device.get(),
            unacknowledged_at_end: self.unacknowledged.get(),
            installs_accepted: self.deployments.accepted.get(),
            installs_succeeded: self.deployments.succeeded.get(),
            installs_failed: self.deployments.failed.get(),
            installs_skipped: self.deployments.skipped.get(),
            install_statuses_refused: self.deployments.refused.get(),
            downloaded_bytes: self.downloaded_bytes.get(),
            deleted: self.deleted.get(),
            forgotten: self.forgotten.get(),
            host_agents: run.host_agents,
        }
    }

    fn measured(&self) -> MutexGuard<'_, Measurements> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Facts about the run for the summary.
pub(super) struct RunInfo {
    pub(super) devices: usize,
    pub(super) enrolled_now: usize,
    pub(super) transport: String,
    pub(super) interval: String,
    pub(super) elapsed: Duration,
    pub(super) warm_up: Duration,
    pub(super) host_agents: HostAgentsSummary,
}

/// Summary of a run, written as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Devices that took part.
    pub devices: usize,
    /// Devices enrolled by this run.
    pub enrolled_now: usize,
    /// `http`, `socket` or `mix`.
    pub transport: String,
    /// Seconds, or `server`.
    pub interval: String,
    /// Duration from the start of the first device to the end.
    pub elapsed_s: f64,
    /// Duration without warm-up, to which rate and latencies refer.
    pub measured_s: f64,
    /// Heartbeats sent, including retries and repeats.
    pub sent: u64,
    /// Heartbeats acknowledged, without repeats.
    pub acknowledged: u64,
    /// Repeats acknowledged.
    pub repeats_acknowledged: u64,
    /// Acknowledgements per second.
    pub rate_per_s: f64,
    /// Latency from the intended time to the acknowledgement, including retries.
    pub latency: Percentiles,
    /// Delay from the intended time to sending: the lag of the generator.
    pub send_lag: Percentiles,
    /// Errors by kind.
    pub errors: Errors,
    /// Sockets reopened.
    pub reconnects: u64,
    /// `reconnect` frames received.
    pub reconnect_frames: u64,
    /// Commands received by any path, including repeats.
    #[serde(default)]
    pub commands_received: u64,
    /// Commands run.
    #[serde(default)]
    pub commands_executed: u64,
    /// Commands refused as altered, foreign or expired.
    #[serde(default)]
    pub commands_refused_as_bad: u64,
    /// Duplicate commands, which were not run again.
    #[serde(default)]
    pub commands_seen_before: u64,
    /// Results sent, including `received` and retries.
    #[serde(default)]
    pub results_sent: u64,
    /// Final results acknowledged by the server.
    #[serde(default)]
    pub results_acknowledged: u64,
    /// Final results refused for good.
    #[serde(default)]
    pub results_refused: u64,
    /// Results still unacknowledged when the run ended.
    #[serde(default)]
    pub results_waiting_at_end: u64,
    /// Acknowledgements of results that were dropped on purpose.
    #[serde(default)]
    pub answers_lost: u64,
    /// Installations accepted by the server.
    #[serde(default)]
    pub installs_accepted: u64,
    /// Installations that succeeded.
    #[serde(default)]
    pub installs_succeeded: u64,
    /// Installations that failed.
    #[serde(default)]
    pub installs_failed: u64,
    /// Installations skipped because a constraint did not hold.
    #[serde(default)]
    pub installs_skipped: u64,
    /// Installation statuses refused for good.
    #[serde(default)]
    pub install_statuses_refused: u64,
    /// Downloaded bytes of APKs, including repeats.
    #[serde(default)]
    pub downloaded_bytes: u64,
    /// Heartbeats dropped by devices whose queue was full.
    pub dropped_on_device: u64,
    /// Heartbeats still unacknowledged when the run ended.
    pub unacknowledged_at_end: u64,
    /// Devices that the server reported as deleted.
    pub deleted: u64,
    /// Devices that dropped their identity after five consecutive 401 responses.
    pub forgotten: u64,
    /// Host agents, which the counters above do not include.
    #[serde(default)]
    pub host_agents: HostAgentsSummary,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "devices        {} ({} enrolled now), {}, interval {}",
            self.devices, self.enrolled_now, self.transport, self.interval
        )?;
        writeln!(f, "duration       {:.1} s, measured {:.1} s", self.elapsed_s, self.measured_s)?;
        writeln!(
            f,
            "heartbeats     {} sent, {} acknowledged, {:.1}/s; {} repeats acknowledged",
            self.sent, self.acknowledged, self.rate_per_s, self.repeats_acknowledged
        )?;
        writeln!(f, "latency        {} (from the intended moment)", self.latency)?;
        writeln!(f, "generator lag  {}", self.send_lag)?;
        writeln!(f, "errors         {}", self.errors)?;
        writeln!(f, "sockets        {} opened again, {} reconnect frames", self.reconnects, self.reconnect_frames)?;
        writeln!(
            f,
            "commands       {} received, {} executed, {} refused as bad, {} seen before",
            self.commands_received, self.commands_executed, self.commands_refused_as_bad, self.commands_seen_before
        )?;
        writeln!(
            f,
            "results        {} sent, {} outcomes acknowledged, {} refused; {} acknowledgements lost on purpose, {} waiting at the end",
            self.results_sent, self.results_acknowledged, self.results_refused, self.answers_lost, self.results_waiting_at_end
        )?;
        writeln!(
            f,
            "installs       {} accepted, {} succeeded, {} failed, {} skipped; {} statuses refused, {} KiB downloaded",
            self.installs_accepted,
            self.installs_succeeded,
            self.installs_failed,
            self.installs_skipped,
            self.install_statuses_refused,
            self.downloaded_bytes >> 10
        )?;
        write!(
            f,
            "devices lost   {} deleted, {} forgotten; {} heartbeats dropped, {} waiting at the end",
            self.deleted, self.forgotten, self.dropped_on_device, self.unacknowledged_at_end
        )?;
        let HostAgentsSummary { agents, restarts, unexpected_ends } = &self.host_agents;
        if *agents > 0 {
            write!(f, "\nhost agents    {agents}, restarted {restarts} times by an update or a reboot")?;
        }
        unexpected_ends.iter().try_for_each(|end| write!(f, "\n               exited unexpectedly: {end}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_about_the_time_after_warm_up() {
        let stats = Stats::default();
        stats.sent.add(30);
        stats.acknowledged.add(30);
        for _ in 0..20 {
            stats.acknowledged_in_time();
            stats.latency(Duration::from_millis(5));
        }
        stats.error("http_503");
        let facts = RunInfo {
            devices: 3,
            enrolled_now: 0,
            transport: "mix".into(),
            interval: "server".into(),
            elapsed: Duration::from_secs(15),
            warm_up: Duration::from_secs(5),
            host_agents: HostAgentsSummary { agents: 4, restarts: 1, unexpected_ends: vec!["jvm-2: exit status: 4".into()] },
        };
        let summary = stats.summary(facts);
        assert!((summary.rate_per_s - 2.0).abs() < 1e-9);
        let text = summary.to_string();
        for part in ["30 sent", "2.0/s", "http_503 1", "p99 5", "4, restarted 1 times", "jvm-2: exit status: 4"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let json = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&json).unwrap().acknowledged, 30);
    }
}
