//! Clusters on virtual time keep their promises, whatever a seed does to them.
//!
//! ```text
//! NEXMDM_SEED=7          one seed, with its log
//! NEXMDM_SEEDS=31..1000  a range, the last included
//! ```

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod partitions;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use simulation::{FaultKind, Report, simulate};

/// Seeds of an ordinary run.
const SEEDS: RangeInclusive<u64> = 1..=30;
/// Most seeds that run at once. Each waits for its database now and then, so that there are more than processors.
const WORKERS_MAX: usize = 8;
/// What has to have happened among the seeds of an ordinary run, or the run shows nothing.
const EXERCISED: [&str; 18] = [
    "acknowledged by the owner",
    "stored without the owner",
    "heartbeats repeated",
    "heartbeats in the bucket of another",
    "repeats recognized",
    "writes of owners",
    "checks of ownership",
    "clocks compared",
    "claims of shards",
    "outages judged",
    "resumptions judged",
    "failovers judged",
    "takeovers judged",
    "raises notified",
    "resolves notified",
    "silence notified",
    "changes suppressed",
    "statuses reconciled",
];

/// Value of an environment variable.
fn variable<T>(name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(parse(&text).unwrap_or_else(|| panic!("{name}={text:?}: a number, or FIRST..LAST, is expected")))
}

fn range(text: &str) -> Option<RangeInclusive<u64>> {
    let (first, last) = text.split_once("..").unwrap_or(("1", text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

fn print(report: &Report) {
    eprintln!("{}", report.log.join("\n"));
    eprintln!("seed {}: {:?}", report.seed, report.counts);
}

fn run(seeds: &RangeInclusive<u64>) -> Vec<Report> {
    let (next, reports) = (AtomicU64::new(*seeds.start()), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(2, |processors| usize::from(processors) * 2).min(WORKERS_MAX);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let began = Instant::now();
                    let report = simulate(seed);
                    let broken = report.violations.len();
                    eprintln!(
                        "seed {seed}: {} faults, {broken} broken promises, {:.1} s",
                        report.faults.len(),
                        began.elapsed().as_secs_f64()
                    );
                    if broken > 0 {
                        // At once: a run of many seeds may be ended before it is over.
                        print(&report);
                    }
                    reports.lock().unwrap().push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap();
    reports.sort_by_key(|report: &Report| report.seed);
    reports
}

#[test]
fn clusters_keep_their_promises() {
    if let Some(seed) = variable("NEXMDM_SEED", |text| text.parse().ok()) {
        tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
        let report = simulate(seed);
        print(&report);
        assert!(report.violations.is_empty(), "seed {seed} broke promises:\n{}", report.violations.join("\n"));
        return;
    }
    let seeds = variable("NEXMDM_SEEDS", range).unwrap_or(SEEDS);
    let reports = run(&seeds);
    assert_eq!(reports.len(), seeds.clone().count(), "each seed has run");
    let broken: Vec<&Report> = reports.iter().filter(|report| !report.violations.is_empty()).collect();
    if !broken.is_empty() {
        let described = |report: &&Report| {
            let seed = report.seed;
            format!(
                "seed {seed}: NEXMDM_SEED={seed} cargo test -p simulation --test suite replays it\n  {}",
                report.violations.join("\n  ")
            )
        };
        let lines: Vec<String> = broken.iter().map(described).collect();
        panic!("{} of {} seeds broke promises:\n{}", broken.len(), reports.len(), lines.join("\n"));
    }
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    reports.iter().flat_map(|report| &report.counts).for_each(|(what, times)| *counts.entry(what).or_default() += times);
    eprintln!("{} seeds: {counts:?}", reports.len());
    if seeds.clone().count() >= SEEDS.count() {
        let happened: BTreeSet<FaultKind> = reports.iter().flat_map(|report| &report.faults).map(|one| one.kind).collect();
        assert_eq!(happened, BTreeSet::from(FaultKind::ALL), "every kind of fault happens");
        for what in EXERCISED {
            assert!(counts.get(what).is_some_and(|times| *times > 0), "nothing of this happened: {what}; {counts:?}");
        }
    }
}
