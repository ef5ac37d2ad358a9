//! Cost of heartbeats that reach a node that does not own the device.

use anyhow::{Result, ensure};

use super::figure::{Figure, Limit, Value};
use super::generator::Generator;
use super::{BenchArgs, ClusterEnvironment};
use crate::load::LoadSummary;
use crate::measure::Percentiles;

/// Rounds of both routes: the machine changes with time, the difference should not.
const ROUNDS: usize = 3;

/// The same devices and connections, to the owners and to the others, in turns.
pub(super) async fn forwarding(args: &BenchArgs) -> Result<Figure> {
    let (devices, duration) = if args.quick { (200, "3s") } else { (2_000, "10s") };
    let environment = ClusterEnvironment::build(args, 2).await?;
    let generator = environment.generator()?;
    // Enrolls, gets sessions and warms caches up, so that the measured runs only send.
    let _: LoadSummary = generator.run("load", devices, &["--duration", "2s"]).await?;
    environment.until_balanced().await?;
    let fast = ["--duration", duration, "--warm-up", "1s"];
    let low_rate = ["--duration", duration, "--warm-up", "1s", "--connections", "4", "--pause", "40ms"];
    let (mut owner, mut other) = (Vec::new(), Vec::new());
    let (mut owner_low_rate, mut other_low_rate) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        owner.push(one(&generator, devices, "owner", &fast).await?);
        other.push(one(&generator, devices, "other", &fast).await?);
        owner_low_rate.push(one(&generator, devices, "owner", &low_rate).await?);
        other_low_rate.push(one(&generator, devices, "other", &low_rate).await?);
    }
    let (to_owner, to_other) = (mean(&owner, |run| run.rate_per_s), mean(&other, |run| run.rate_per_s));
    ensure!(to_owner > 0.0, "nothing was acknowledged");
    let p50 = |runs: &[LoadSummary]| mean(runs, |run| run.latency.p50_ms);
    let errors: u64 = [&owner, &other, &owner_low_rate, &other_low_rate].into_iter().flatten().map(|run| run.errors.total()).sum();
    let rates: Vec<String> =
        owner.iter().zip(&other).map(|(owner, other)| format!("{:.0} and {:.0} /s", owner.rate_per_s, other.rate_per_s)).collect();
    Ok(Figure {
        name: "forwarding",
        how: format!(
            "2 nodes, {devices} devices, {} connections; {ROUNDS} rounds of {duration} each; latency at {:.0} /s",
            owner[0].connections,
            mean(&owner_low_rate, |run| run.rate_per_s)
        ),
        values: vec![
            Value::new("rate to the owners", to_owner, "/s"),
            Value::new("rate to the others", to_other, "/s"),
            Value::new("ratio", to_other / to_owner, "").limit(Limit::AtLeast(0.6)),
            Value::new("p50 to the owners, calm", p50(&owner_low_rate), "ms"),
            Value::new("p50 to the others, calm", p50(&other_low_rate), "ms"),
            Value::new("added latency, p50", p50(&other_low_rate) - p50(&owner_low_rate), "ms").limit(Limit::Below(2.0)),
            Value::new("errors", errors as f64, "").limit(Limit::Zero),
        ],
        notes: vec![
            format!("rounds, owners and others: {}", rates.join("; ")),
            format!("quiet, owners: {}", worst(&owner_low_rate)),
            format!("quiet, others: {}", worst(&other_low_rate)),
        ],
    })
}

async fn one(generator: &Generator, devices: usize, route: &str, arguments: &[&str]) -> Result<LoadSummary> {
    generator.run("load", devices, &[&["--route", route], arguments].concat()).await
}

fn mean(runs: &[LoadSummary], of: impl Fn(&LoadSummary) -> f64) -> f64 {
    runs.iter().map(of).sum::<f64>() / runs.len().max(1) as f64
}

/// The percentiles of the round with the highest median.
fn worst(runs: &[LoadSummary]) -> Percentiles {
    runs.iter().map(|run| run.latency).max_by(|a, b| a.p50_ms.total_cmp(&b.p50_ms)).unwrap_or_default()
}
