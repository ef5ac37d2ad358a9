//! Console of `chaos cluster`: parses and executes typed commands.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep_until};

use crate::duration;
use crate::faults::{Fault, Faults};
use crate::harness::Cluster;

const HELP: &str = "\
  kill 2            SIGKILL node-2             restart 2    start it again, or anew
  stop 2            SIGTERM                    start 2      start it again
  suspend 2 [60s]   SIGSTOP, for a while       resume 2     SIGCONT, or end of a drain
  add               start one more node        drain 3      hand its shards over
  cut 1 2           reset and refuse the link  silence 1 2  open, but nothing passes
  oneway 1 2        2 does not hear 1          slow 1 2 200ms
  isolate 2         silence all links of node-2
  dbcut 2           no PostgreSQL for node-2   dbslow 2 2s  per statement
  db stop|start     PostgreSQL for all
  heal              undo everything            status       who owns how much";

/// Parsed console command.
#[derive(Debug, PartialEq, Eq)]
enum ConsoleCommand {
    /// Injection of a fault, healed after the given duration.
    Do(Fault, Option<Duration>),
    Start(String),
    Resume(String),
    StartDatabase,
    Heal,
    Status,
    Help,
    Nothing,
}

/// State of the console: injected faults.
pub(super) struct Console {
    faults: Faults,
    /// Faults with the time of their healing.
    due: Vec<(Instant, usize)>,
}

impl Console {
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults, due: Vec::new() }
    }

    /// Waits for the next fault that is due to be healed; its number. Pends forever without one.
    pub(super) async fn next_due(&self) -> usize {
        match self.due.iter().min() {
            Some((at, number)) => {
                sleep_until(*at).await;
                *number
            }
            None => std::future::pending().await,
        }
    }

    /// Heals a fault that is due.
    pub(super) async fn heal_due(&mut self, cluster: &mut Cluster, number: usize) {
        self.due.retain(|(_, other)| *other != number);
        report(self.faults.heal(cluster, number).await);
        report(self.write_faults(cluster));
    }

    /// Executes a line, or prints why it is invalid.
    pub(super) async fn run_line(&mut self, cluster: &mut Cluster, line: &str) {
        match parse(line) {
            Ok(command) => {
                report(self.execute(cluster, command).await);
                report(self.write_faults(cluster));
            }
            Err(error) => println!("{error:#}; `help` lists the commands"),
        }
    }

    /// Writes the injected faults to a file for `chaos oracle`.
    fn write_faults(&self, cluster: &Cluster) -> Result<()> {
        Ok(std::fs::write(cluster.folder().join("faults.json"), serde_json::to_vec_pretty(self.faults.spans())?)?)
    }

    async fn execute(&mut self, cluster: &mut Cluster, command: ConsoleCommand) -> Result<()> {
        match command {
            ConsoleCommand::Do(fault, lasts) => {
                let number = self.faults.inject(cluster, fault).await?;
                self.due.extend(lasts.map(|lasts| (Instant::now() + lasts, number)));
            }
            ConsoleCommand::Start(node) => {
                self.heal_matching(cluster, |fault| matches!(fault, Fault::Kill { node: n } | Fault::Stop { node: n } if *n == node))
                    .await?;
                let process = cluster.node_mut(&node)?;
                process.start_again()?;
                process.wait_ready().await?;
            }
            ConsoleCommand::Resume(node) => {
                self.heal_matching(cluster, |fault| matches!(fault, Fault::Suspend { node: n } | Fault::Drain { node: n } if *n == node))
                    .await?;
            }
            ConsoleCommand::StartDatabase => self.heal_matching(cluster, |fault| *fault == Fault::StopDatabase).await?,
            ConsoleCommand::Heal => {
                self.due.clear();
                self.faults.heal_all(cluster).await?;
            }
            ConsoleCommand::Status => status(cluster).await,
            ConsoleCommand::Help => println!("{HELP}"),
            ConsoleCommand::Nothing => {}
        }
        Ok(())
    }

    async fn heal_matching(&mut self, cluster: &mut Cluster, which: impl Fn(&Fault) -> bool) -> Result<()> {
        let spans = self.faults.spans().iter().enumerate();
        let those: Vec<usize> = spans.filter(|(_, span)| span.healed_at.is_none() && which(&span.fault)).map(|(n, _)| n).collect();
        for number in those {
            self.due.retain(|(_, other)| *other != number);
            self.faults.heal(cluster, number).await?;
        }
        Ok(())
    }
}

fn report(outcome: Result<()>) {
    if let Err(error) = outcome {
        println!("failed: {error:#}");
    }
}

fn parse(line: &str) -> Result<ConsoleCommand> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let node = |at: usize| words.get(at).map(|word| node_name(word)).with_context(|| format!("`{line}`: node number missing"));
    let time = |at: usize| words.get(at).map(|word| duration::parse(word).map_err(anyhow::Error::msg)).transpose();
    let fault = |fault| Ok(ConsoleCommand::Do(fault, None));
    match words.first().copied().unwrap_or_default() {
        "" => Ok(ConsoleCommand::Nothing),
        "kill" => fault(Fault::Kill { node: node(1)? }),
        "stop" => fault(Fault::Stop { node: node(1)? }),
        "restart" => fault(Fault::Restart { node: node(1)? }),
        "suspend" => Ok(ConsoleCommand::Do(Fault::Suspend { node: node(1)? }, time(2)?)),
        "drain" => fault(Fault::Drain { node: node(1)? }),
        "add" => fault(Fault::AddNode),
        "cut" => fault(Fault::CutLink { a: node(1)?, b: node(2)? }),
        "silence" => fault(Fault::SilenceLink { a: node(1)?, b: node(2)? }),
        "oneway" => fault(Fault::OneWay { from: node(1)?, to: node(2)? }),
        "isolate" => fault(Fault::Isolate { node: node(1)? }),
        "slow" => fault(Fault::SlowLink { a: node(1)?, b: node(2)?, delay: time(3)?.unwrap_or(Duration::from_millis(200)) }),
        "dbcut" => fault(Fault::CutDatabase { node: node(1)? }),
        "dbslow" => fault(Fault::SlowDatabase { node: node(1)?, delay: time(2)?.unwrap_or(Duration::from_secs(2)) }),
        "db" => match words.get(1).copied() {
            Some("stop") => fault(Fault::StopDatabase),
            Some("start") => Ok(ConsoleCommand::StartDatabase),
            _ => bail!("`db stop` or `db start`"),
        },
        "start" => Ok(ConsoleCommand::Start(node(1)?)),
        "resume" => Ok(ConsoleCommand::Resume(node(1)?)),
        "heal" => Ok(ConsoleCommand::Heal),
        "status" => Ok(ConsoleCommand::Status),
        "help" => Ok(ConsoleCommand::Help),
        other => bail!("unknown command `{other}`"),
    }
}

/// `2` is `node-2`.
fn node_name(word: &str) -> String {
    if word.starts_with("node-") { word.to_owned() } else { format!("node-{word}") }
}

/// Prints the state of each process, and the cluster as seen by a node that responds.
async fn status(cluster: &mut Cluster) {
    let names: Vec<String> = cluster.members().iter().map(|member| member.name().to_owned()).collect();
    for name in &names {
        if let Ok(node) = cluster.node_mut(name) {
            let process = if node.is_running() { format!("pid {}", node.pid().unwrap_or_default()) } else { "not running".into() };
            println!("{name}  {process}  {}", node.url());
        }
    }
    println!("PostgreSQL {}", if cluster.database_runs() { "runs" } else { "is stopped" });
    for name in &names {
        let Ok(Ok(view)) = tokio::time::timeout(Duration::from_secs(3), cluster.view_of(name)).await else { continue };
        println!("as seen by {name}:");
        for node in view["nodes"].as_array().into_iter().flatten() {
            let text = |key: &str| node[key].as_str().unwrap_or("?").to_owned();
            println!("  {}  {}  {} shards, {} devices", text("name"), text("state"), node["shards"], node["devices"]);
        }
        return;
    }
    println!("no node answers");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_help_is_understood() {
        for line in [
            "kill 2",
            "stop 2",
            "restart 2",
            "suspend 2",
            "drain 3",
            "add",
            "cut 1 2",
            "silence 1 2",
            "oneway 1 2",
            "isolate 2",
            "slow 1 2 200ms",
            "dbcut 2",
            "dbslow 2 2s",
            "db stop",
            "db start",
            "start 2",
            "resume 2",
            "heal",
            "status",
            "help",
            "",
        ] {
            assert!(parse(line).is_ok(), "{line}");
            assert!(line == "help" || HELP.contains(line.split(' ').next().unwrap()), "{line}");
        }
        assert_eq!(
            parse(" suspend  2 60s").unwrap(),
            ConsoleCommand::Do(Fault::Suspend { node: "node-2".into() }, Some(Duration::from_secs(60)))
        );
        assert_eq!(parse("kill node-2").unwrap(), parse("kill 2").unwrap());
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for line in ["explode", "kill", "cut 1", "suspend 2 60", "db", "slow 1 2 fast"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
