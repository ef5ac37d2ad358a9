//! Resources that processes use, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Units of the times in `/proc/PID/stat`: the same on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// Resident memory.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// CPU time of a process so far, in seconds.
pub(super) fn cpu_s(pid: u32) -> Option<f64> {
    cpu_and_parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?).map(|(cpu_s, _)| cpu_s)
}

/// CPU time of a process and of its children that still run.
fn cpu_with_children_s(pid: u32) -> Option<f64> {
    let own_s = cpu_s(pid)?;
    let entries = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    Some(own_s + stats.filter_map(|stat| cpu_and_parent(&stat)).filter(|(_, parent)| *parent == pid).map(|(cpu_s, _)| cpu_s).sum::<f64>())
}

/// `pid (name) state ppid … utime stime …`; the name may contain anything.
fn cpu_and_parent(stat: &str) -> Option<(f64, u32)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some((ticks as f64 / TICKS_PER_S, fields.get(1)?.parse().ok()?))
}

/// Watches the CPU time of named processes, twice a second, until asked.
pub(super) struct CpuWatch {
    stop: oneshot::Sender<()>,
    task: JoinHandle<BTreeMap<&'static str, f64>>,
}

impl CpuWatch {
    /// Watches processes with their children, by name and pid.
    pub(super) fn start(processes: Vec<(&'static str, u32)>) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut tick = interval(Duration::from_millis(500));
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let started = Instant::now();
            let mut first = BTreeMap::new();
            let mut last = BTreeMap::new();
            loop {
                for (name, pid) in &processes {
                    if let Some(cpu_s) = cpu_with_children_s(*pid) {
                        first.entry(*name).or_insert(cpu_s);
                        last.insert(*name, (cpu_s, started.elapsed().as_secs_f64()));
                    }
                }
                tokio::select! {
                    _ = tick.tick() => {}
                    _ = &mut stopped => break,
                }
            }
            let cores = |(name, (cpu_s, at_s)): (&'static str, (f64, f64))| (name, (cpu_s - first[name]) / at_s.max(0.001));
            last.into_iter().map(cores).collect()
        });
        Self { stop, task }
    }

    /// Cores kept busy on average, by name.
    pub(super) async fn cores(self) -> BTreeMap<&'static str, f64> {
        let _ = self.stop.send(()); // a watch that has failed has nothing to stop
        self.task.await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_process_has_memory_and_time() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 1 << 20);
        // In this order: the time of its own goes on meanwhile.
        let own = cpu_s(pid).unwrap();
        assert!(cpu_with_children_s(pid).unwrap() >= own);
        assert_eq!(resident_bytes(u32::MAX), None);
    }

    #[test]
    fn names_may_contain_anything() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(cpu_and_parent(stat), Some((2.0, 7)));
    }
}
