//! A node dies under load: how long its devices wait, and whether anything is lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use super::figure::{Figure, Limit, Value};
use super::{BenchArgs, ClusterEnvironment};
use crate::faults::{Fault, Faults};
use crate::fleet::Summary;
use crate::oracle::{self, History, first_responses};

const SECOND_US: f64 = 1_000_000.0;
/// How long the fleet goes on after the kill.
const AFTERWARDS: Duration = Duration::from_secs(40);

/// kill -9 of one of three nodes.
pub(super) async fn failover(args: &BenchArgs) -> Result<Figure> {
    let devices = if args.quick { 1_000 } else { 10_000 };
    let mut environment = ClusterEnvironment::build(args, 3).await?;
    let generator = environment.generator()?;
    let _: Summary = generator.run("fleet", devices, &["--enroll-only", "--sessions-first"]).await?;
    environment.until_balanced().await?;
    let record = environment.folder.path().join("record.jsonl");
    let record_text = record.display().to_string();
    let mut running = generator.start(
        "fleet",
        devices,
        &[
            "--interval",
            "10s",
            "--ramp-seconds",
            "10",
            "--timeout",
            "5s",
            "--record",
            &record_text,
            "--outages-per-hour",
            "0",
            "--clock-off-share",
            "0",
        ],
    )?;
    sleep(Duration::from_secs(30)).await; // every device has sent twice
    ensure!(!running.has_ended(), "the fleet has ended early");
    let mut faults = Faults::new();
    faults.inject(&mut environment.cluster, Fault::Kill { node: "node-2".into() }).await?;
    sleep(AFTERWARDS).await;
    running.terminate()?;
    let summary: Summary = running.summary().await?;

    let mut history = History::default();
    history.read_record(&record)?;
    history.add_faults(faults.spans());
    oracle::read_rows(&mut history, &environment.cluster.psql()).await?;
    let span = history.fault_periods.first().context("nothing was killed")?;
    let answers = first_responses(&history, span);
    let seconds = |place: usize| answers.waited_us.get(place).map_or(f64::NAN, |(us, _)| *us as f64 / SECOND_US);
    let failed = history.failures.iter().filter(|failure| failure.answered_us > span.began_us).count();
    let living =
        history.failures.iter().filter(|failure| failure.answered_us > span.began_us && Some(failure.server) != span.server).count();
    let verdict = oracle::judge(&history);
    let count = |promise: &str, what: &str| {
        let violations = verdict.checks.iter().filter(|check| check.promise == promise).flat_map(|check| &check.violations);
        violations.filter(|violation| violation.what.starts_with(what)).count() as f64
    };
    Ok(Figure {
        name: "failover",
        how: format!(
            "3 nodes, {devices} devices at a 10 s interval over HTTP, {:.0} heartbeats/s; kill -9 of one node",
            summary.rate_per_s
        ),
        values: vec![
            Value::new("its devices", (answers.waited_us.len() + answers.never) as f64, ""),
            Value::new("acknowledged again, median", seconds(answers.waited_us.len() / 2), "s"),
            Value::new("acknowledged again, last", seconds(answers.waited_us.len().saturating_sub(1)), "s"),
            Value::new("never acknowledged again", answers.never as f64, "").limit(Limit::Zero),
            Value::new("failed requests meanwhile", failed as f64, ""),
            Value::new("of them at living nodes", living as f64, ""),
            Value::new("failed at living nodes after 5 s", count("P12", ""), "").limit(Limit::Zero),
            Value::new("acknowledged but missing", count("P1", "has 0 rows"), "").limit(Limit::Zero),
            Value::new("acknowledged by a deposed owner", count("P4", ""), "").limit(Limit::Zero),
        ],
        notes: vec![
            "its devices: those that talked to it and those that it owned; each waits for its next turn, 10 s at most".into(),
            format!("errors: {}", summary.errors),
        ],
    })
}
