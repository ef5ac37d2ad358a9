//! `chaos cluster`: real nodes on this machine, and simple commands that
//! disturb them.

mod console;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::time::timeout;

use crate::duration;
use crate::faults::Faults;
use crate::harness::{Cluster, ClusterOptions, Network, nexmdm_path};
use crate::operator::{self, ActionMix, OperatorPlan};
use crate::signals::{Stop, stopped, unless_stopped};
use console::Console;

/// How long requests that are on their way may take in the end.
const REQUESTS_END_WITHIN: Duration = Duration::from_secs(10);

/// Arguments of `chaos cluster`.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// Initial number of nodes
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub nodes: usize,
    /// Network between nodes
    #[arg(long, value_enum, default_value_t = Network::Proxies)]
    pub network: Network,
    /// Persistent data folder [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Send no commands; otherwise commands are sent continuously and recorded in `requests.jsonl`
    #[arg(long)]
    pub no_commands: bool,
    /// Interval between commands, each sent through a random node
    #[arg(long, alias = "order-every", value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    pub command_every: Duration,
    /// The node's binary [default: `nexmdm` beside this executable]
    #[arg(long, value_name = "PATH")]
    pub nexmdm: Option<PathBuf>,
}

/// Runs until Ctrl-C or SIGTERM; the end of standard input alone ends nothing.
pub async fn run(args: ClusterArgs, mut stop: Stop) -> Result<()> {
    let mut options = ClusterOptions::new(args.nexmdm.map_or_else(nexmdm_path, Ok)?, args.nodes);
    options.data_dir = args.data_dir;
    options.network = args.network;
    let starting = Cluster::start(options);
    let Some(cluster) = unless_stopped(&stop, Box::pin(starting)).await else { return Ok(()) };
    let mut cluster = cluster?;
    for member in cluster.members() {
        println!("{}  {}", member.name(), member.url());
    }
    println!("admin password  {}", cluster.admin_password());
    println!("database        {}", cluster.database_url());
    println!("data and logs   {}", cluster.folder().display());
    if args.network == Network::Namespaces {
        println!("network         of this process alone: `nsenter --target {} --net` leads there", std::process::id());
    }
    println!("`help` lists the commands; Ctrl-C ends");
    let plan = OperatorPlan {
        servers: cluster.members().iter().map(|member| member.url()).collect(),
        admin_password: cluster.admin_password().to_owned(),
        pause: args.command_every,
        expires_in_s: 300,
        timeout: Duration::from_secs(5),
        seed: 1,
        tag: None,
        actions: ActionMix::Few,
    };
    let operator = (!args.no_commands).then(|| operator::start(plan, &cluster.folder().join("requests.jsonl"))).transpose()?;
    let mut console = Console::new(Faults::new());
    let mut lines = BufReader::new(stdin()).lines();
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            number = console.next_due() => console.heal_due(&mut cluster, number).await,
            line = lines.next_line(), if open => match line? {
                Some(line) => {
                    // Boxed: most of the time there is none.
                    if unless_stopped(&stop, Box::pin(console.run_line(&mut cluster, &line))).await.is_none() {
                        break;
                    }
                }
                None => open = false,
            },
        }
    }
    println!("stopping");
    if let Some(operator) = operator
        && let Ok(summary) = timeout(REQUESTS_END_WITHIN, operator.finish()).await
    {
        println!("{}", summary?);
    }
    tokio::task::spawn_blocking(move || drop(cluster)).await?;
    Ok(())
}
