//! `chaos bench`: the figures of speed and memory, measured on real node
//! processes and printed with their conditions; it prints limits and never
//! enforces them.

mod alerts;
mod commands;
mod conditions;
mod dashboard;
mod database;
mod deployments;
mod failover;
mod figure;
mod figures;
mod forwarding;
mod generator;
mod history;
mod process;
mod shares;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::harness::{Cluster, ClusterOptions, Network, Node, NodeOptions, TempDir, nexmdm_path};
use crate::signals::{Stop, stopped};
use conditions::Conditions;
use database::Database;
use figure::Figure;
use generator::Generator;

/// Looks, half a second apart, at whether a cluster has spread its shards.
const BALANCE_LOOKS: usize = 60;

/// A figure that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FigureName {
    /// Durable heartbeats per second (closed loop)
    Durable,
    /// 2,000 devices at a 10 s interval for two minutes
    Steady,
    /// 100,000 devices on one node, 20,000 of them on sockets
    Capacity,
    /// Cost of one dashboard session with 10,000 devices
    Dashboard,
    /// Forwarded heartbeats compared with heartbeats sent to the owner
    Forwarding,
    /// kill -9 of one of three nodes under load
    Failover,
    /// Latency of a ping over a socket, through a node that does not own the device
    Ping,
    /// A command to 10,000 devices on sockets at once
    Batch,
    /// A deployment to 10,000 devices at unlimited rate
    Deploy,
    /// A deployment to 2,000 devices at a limited rate
    #[value(name = "deploy_rate")]
    DeployRate,
    /// Sign-ins, lists and heartbeats while one client takes all it can
    Shares,
    /// 100,000 devices judged while nothing happens
    #[value(name = "alerts_idle")]
    AlertsIdle,
    /// 10,000 devices fall silent at once
    #[value(name = "alerts_storm")]
    AlertsStorm,
    /// From a heartbeat with a dead app to the message
    #[value(name = "alerts_latency")]
    AlertsLatency,
    /// A day of rows archived and read back beside 2,000 devices
    Archive,
    /// An archived day dropped beside 2,000 devices
    Drop,
    /// The last status of 100,000 devices compared with their heartbeats
    Reconcile,
    /// 30 days of one device out of archives
    #[value(name = "archive_read")]
    ArchiveRead,
    /// Bytes of a stored heartbeat, in the database and archived
    Bytes,
}

/// Rows of the figures of history, unless told otherwise.
const ROWS: u64 = 5_000_000;
/// The same in a smoke test.
const ROWS_QUICK: u64 = 60_000;

/// Arguments of `chaos bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Figures to measure [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<FigureName>,
    /// Smoke test: smaller fleets and shorter runs, no valid figures
    #[arg(long)]
    pub quick: bool,
    /// The node's binary [default: `nexmdm` beside this executable]
    #[arg(long, value_name = "PATH")]
    pub nexmdm: Option<PathBuf>,
    /// Empty database to use instead of the node's own; shared by all figures, so measure one at a time
    #[arg(long, value_name = "URL", env = "NEXMDM_BENCH_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Parent of data folders; on a disk, not a tmpfs
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Commands per second of the batch; limited by the node's configuration
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub batch_rate: u32,
    /// Rows of the figures of history: of one day, or of 30 for archive_read [default: 5000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=17_280_000))]
    pub rows: Option<u64>,
    /// Output file for conditions and figures (JSON)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    conditions: Conditions,
    quick: bool,
    figures: Vec<Figure>,
}

/// Environment of one figure: a node, and a folder for the generator.
struct NodeEnvironment {
    node: Node,
    folder: TempDir,
}

impl NodeEnvironment {
    async fn build(args: &BenchArgs) -> Result<Self> {
        let mut options = NodeOptions::new(args.binary()?);
        options.database_url = args.database_url.clone();
        options.parent_dir = args.work_dir.clone();
        options.ready_within = Duration::from_secs(180);
        options.stop_within = Duration::from_secs(60);
        let parent = args.work_dir.clone().unwrap_or_else(std::env::temp_dir);
        Ok(Self { node: Node::start(options).await?, folder: TempDir::below(&parent, "generator")? })
    }
}

/// Environment of one figure: a cluster without proxies, and a folder for the generator.
struct ClusterEnvironment {
    cluster: Cluster,
    folder: TempDir,
}

impl ClusterEnvironment {
    async fn build(args: &BenchArgs, nodes: usize) -> Result<Self> {
        Self::with_env(args, nodes, &[]).await
    }

    /// The same with further settings.
    async fn with_env(args: &BenchArgs, nodes: usize, env: &[(&str, &str)]) -> Result<Self> {
        anyhow::ensure!(args.database_url.is_none(), "this figure starts a PostgreSQL of its own");
        let mut options = ClusterOptions::new(args.binary()?, nodes);
        options.parent_dir = args.work_dir.clone();
        options.network = Network::Plain;
        // Enrolling is no part of what is measured.
        options = options.env("NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST", "4");
        options.env.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let parent = args.work_dir.clone().unwrap_or_else(std::env::temp_dir);
        Ok(Self { cluster: Cluster::start(options).await?, folder: TempDir::below(&parent, "generator")? })
    }

    /// A generator that knows all nodes.
    fn generator(&self) -> Result<Generator> {
        let urls: Vec<String> = self.cluster.members().iter().map(|member| member.url()).collect();
        Generator::new(urls.join(","), self.cluster.admin_password(), self.folder.path())
    }

    /// Waits until every shard has an owner and each node has its share.
    async fn until_balanced(&self) -> Result<()> {
        let nodes = self.cluster.members().len();
        for _ in 0..BALANCE_LOOKS {
            let view = self.cluster.view_of(self.cluster.members()[0].name()).await?;
            let owned = view["shards"].as_array().map_or(0, |shards| shards.iter().filter(|shard| shard["owner"].is_string()).count());
            let with_share =
                view["nodes"].as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["shards"].as_u64() > Some(0)).count());
            if owned == usize::from(domain::shard::SHARD_COUNT) && with_share == nodes {
                // What is still moving has this long.
                tokio::time::sleep(Duration::from_secs(2)).await;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        anyhow::bail!("the shards are not spread over {nodes} nodes")
    }
}

impl BenchArgs {
    fn binary(&self) -> Result<PathBuf> {
        self.nexmdm.clone().map_or_else(nexmdm_path, Ok)
    }

    /// Rows of the figures of history.
    fn rows(&self) -> u64 {
        self.rows.unwrap_or(if self.quick { ROWS_QUICK } else { ROWS })
    }

    fn figures(&self) -> Vec<FigureName> {
        if self.only.is_empty() { FigureName::value_variants().to_vec() } else { self.only.clone() }
    }
}

/// Measures and prints; a figure that cannot be measured is reported and the
/// others go on, but then the end is an error.
pub async fn run(args: BenchArgs, mut stop: Stop) -> Result<()> {
    tokio::select! {
        outcome = measure(&args) => outcome,
        // Node and generator are stopped as they are dropped.
        () = stopped(&mut stop) => anyhow::bail!("interrupted"),
    }
}

async fn measure(args: &BenchArgs) -> Result<()> {
    let conditions = conditions(args).await?;
    println!("{conditions}");
    let mut report = Report { conditions, quick: args.quick, figures: Vec::new() };
    let mut failed = Vec::new();
    for name in args.figures() {
        let outcome = match name {
            FigureName::Durable => Box::pin(figures::durable(args)).await,
            FigureName::Steady => Box::pin(figures::steady(args)).await,
            FigureName::Capacity => Box::pin(figures::capacity(args)).await,
            FigureName::Dashboard => Box::pin(figures::dashboard(args)).await,
            FigureName::Forwarding => Box::pin(forwarding::forwarding(args)).await,
            FigureName::Failover => Box::pin(failover::failover(args)).await,
            FigureName::Ping => Box::pin(commands::ping(args)).await,
            FigureName::Batch => Box::pin(commands::batch(args)).await,
            FigureName::Deploy => Box::pin(deployments::deploy(args)).await,
            FigureName::DeployRate => Box::pin(deployments::deploy_rate(args)).await,
            FigureName::Shares => Box::pin(shares::shares(args)).await,
            FigureName::AlertsIdle => Box::pin(alerts::idle(args)).await,
            FigureName::AlertsStorm => Box::pin(alerts::storm(args)).await,
            FigureName::AlertsLatency => Box::pin(alerts::latency(args)).await,
            FigureName::Archive => Box::pin(history::archive(args)).await,
            FigureName::Drop => Box::pin(history::drop_table(args)).await,
            FigureName::Reconcile => Box::pin(history::reconcile(args)).await,
            FigureName::ArchiveRead => Box::pin(history::archive_read(args)).await,
            FigureName::Bytes => Box::pin(history::heartbeat_size(args)).await,
        };
        match outcome {
            Ok(figure) => {
                println!("{figure}");
                report.figures.push(figure);
            }
            Err(error) => {
                println!("{name:?}: could not be measured: {error:#}\n");
                failed.push(format!("{name:?}"));
            }
        }
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    anyhow::ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

async fn conditions(args: &BenchArgs) -> Result<Conditions> {
    let environment = NodeEnvironment::build(args).await?;
    let settings = match Database::of_node(args.database_url.as_deref(), environment.node.data_dir()) {
        Ok(database) => database.settings().await,
        Err(error) => Err(error),
    };
    let settings = settings.inspect_err(|error| eprintln!("cannot read PostgreSQL's settings: {error:#}")).ok();
    Ok(Conditions::read(&args.binary()?, environment.node.data_dir(), settings))
}
