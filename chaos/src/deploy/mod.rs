//! `chaos deploy`: deployments on a cluster of real nodes under faults, and a check of the promises about them.

mod drill_run;
mod drills;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::builder::TypedValueParser;
use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::time::Instant;

use crate::deployment_api::Api;
use crate::drills::{Drills, Report, Shown, drills_of};
use crate::faults::Faults;
use crate::harness::{Cluster, ClusterOptions, nexmdm_path};
use crate::limits::allow_connections;
use crate::signals::{Stop, unless_stopped};
use drill_run::Environment;

/// The APK that is deployed unless another is named.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../actors/testdata/apks/till-3.apk");
/// Connections of proxies and of the fleet to all nodes.
const CONNECTIONS: u64 = 4_096;
/// Settings that make hashes cheap, as their cost is not under test.
const CHEAP: [(&str, &str); 2] = [("NEXMDM__AUTH__PASSWORD_BCRYPT_COST", "4"), ("NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST", "4")];

/// Faults of drills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, strum::IntoStaticStr)]
#[value(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Drill {
    /// The canary fails: auto-pause and rollback offer
    CanaryFailure,
    /// Checksum mismatch of the download
    ChecksumMismatch,
    /// Signer mismatch
    SignerMismatch,
    /// Insufficient storage
    NoSpace,
    /// Installation not permitted by Android
    PermissionDenied,
    /// Network loss during every download
    NetworkDrops,
    /// kill -9 of the node that drives the deployment
    NodeKilled,
    /// Restart of PostgreSQL during the rollout
    DatabaseRestart,
    /// Pause, kill switch and cancel, each through another node
    PauseCancelKill,
}

impl Drill {
    /// Name on the command line.
    fn name(self) -> &'static str {
        self.into()
    }
}

/// Arguments of `chaos deploy`.
#[derive(Debug, Clone, Args)]
pub struct DeployDrillArgs {
    /// Drill, or `all`; repeatable or comma-separated
    #[arg(long, value_name = "NAME|all", required = true, value_delimiter = ',', value_parser = drills_of::<Drill>)]
    pub drill: Vec<Drills<Drill>>,
    /// Simulated devices per drill
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(8..=5_000).map(usize::from))]
    pub devices: usize,
    /// Number of nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=9).map(usize::from))]
    pub nodes: usize,
    /// Random seed of devices
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// APK to deploy
    #[arg(long, value_name = "FILE", default_value = FIXTURE, hide_default_value = true)]
    pub apk: PathBuf,
    /// Package of the APK
    #[arg(long, value_name = "PACKAGE", default_value = "com.example.till")]
    pub package: String,
    /// The node's binary [default: `nexmdm` beside this executable]
    #[arg(long, value_name = "PATH")]
    pub nexmdm: Option<PathBuf>,
    /// Persistent data folder [default: a new one, kept only after a failure]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Output file for the results (JSON)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs the drills; true when each had the expected result and every promise was kept.
///
/// # Errors
/// The cluster cannot be started, or the run was interrupted.
pub async fn run(args: DeployDrillArgs, stop: Stop) -> Result<bool> {
    Ok(report(args, stop).await?.is_well())
}

/// Runs the drills; what came of each.
///
/// # Errors
/// The cluster cannot be started, or the run was interrupted.
pub(crate) async fn report(args: DeployDrillArgs, stop: Stop) -> Result<Report> {
    allow_connections(args.devices as u64 + CONNECTIONS).map_err(anyhow::Error::msg)?;
    let Some(environment) = unless_stopped(&stop, Box::pin(start(&args))).await else { anyhow::bail!("interrupted") };
    let mut environment = environment?;
    let outcome = unless_stopped(&stop, Box::pin(run_all(&mut environment, &args))).await;
    let is_well = matches!(&outcome, Some(Ok(report)) if report.is_well());
    if !is_well && args.data_dir.is_none() {
        println!("logs, records and database stay in {}", environment.cluster.folder().display());
        environment.cluster.keep_folder();
    }
    outcome.context("interrupted")?
}

async fn start(args: &DeployDrillArgs) -> Result<Environment> {
    ensure!(args.apk.is_file(), "{} is no file: name an APK with --apk", args.apk.display());
    let mut options = ClusterOptions::new(args.nexmdm.clone().map_or_else(nexmdm_path, Ok)?, args.nodes);
    options.data_dir.clone_from(&args.data_dir);
    for (name, value) in CHEAP {
        options = options.env(name, value);
    }
    let cluster = Cluster::start(options).await?;
    let api = Api::new(cluster.members().iter().map(|member| member.url()).collect(), cluster.admin_password())?;
    let apk = api.prepare(&args.apk, &args.package).await?;
    println!("{} nodes are ready; {} {} is uploaded and allowed", args.nodes, apk.package, apk.version_code);
    Ok(Environment { cluster, api, apk, faults: Faults::new() })
}

async fn run_all(environment: &mut Environment, args: &DeployDrillArgs) -> Result<Report> {
    let mut report = Report::default();
    for drill in args.drill.iter().flat_map(|drills| &drills.0) {
        let started = Instant::now();
        let outcome = Box::pin(drills::run_drill(environment, args, *drill)).await;
        let shown = outcome.map(|(what, result)| Shown { what, checks: result.checks, fleet: json!(result.summary) });
        report.add(drill.name(), started.elapsed(), shown);
        drills::restore(environment, *drill).await.context("cleaning up after a drill")?;
    }
    report.write(args.json.as_deref())?;
    Ok(report)
}
