//! Drills as scenarios: a name, and arguments as on the command line.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::Result;
use clap::{Args, Parser, ValueEnum};

use crate::agent_kills::{self, AgentKillsArgs};
use crate::alerts::{self, AlertDrill, AlertDrillArgs};
use crate::deploy::{self, DeployDrillArgs, Drill};
use crate::drills::name_of;
use crate::history::{self, HistoryDrill, HistoryDrillArgs};
use crate::oracle::{Check, Violation};
use crate::signals::Stop;

/// Drill by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DrillName {
    /// `history:NAME`
    History(HistoryDrill),
    /// `alerts:NAME`
    Alerts(AlertDrill),
    /// `deploy:NAME`
    Deploy(Drill),
    /// `agents`
    Agents,
}

impl DrillName {
    /// All drills.
    pub(super) fn all() -> Vec<Self> {
        let history = HistoryDrill::value_variants().iter().copied().map(Self::History);
        let alerts = AlertDrill::value_variants().iter().copied().map(Self::Alerts);
        let deploy = Drill::value_variants().iter().copied().map(Self::Deploy);
        history.chain(alerts).chain(deploy).chain([Self::Agents]).collect()
    }

    /// Command line of the drill, without the program; everything of it is below a folder.
    pub(super) fn command_line(self, arguments: &[String], seed: u64, folder: &Path, nexmdm: Option<&Path>) -> Vec<String> {
        let (command, name) = match self {
            Self::History(drill) => ("history", Some(name_of(&drill))),
            Self::Alerts(drill) => ("alerts", Some(name_of(&drill))),
            Self::Deploy(drill) => ("deploy", Some(name_of(&drill))),
            Self::Agents => ("agent-kills", None),
        };
        let drill = name.into_iter().flat_map(|name| ["--drill".to_owned(), name]);
        let folder = match self {
            Self::History(_) | Self::Alerts(_) => ["--work-dir".to_owned(), folder.display().to_string()],
            Self::Deploy(_) | Self::Agents => ["--data-dir".to_owned(), folder.join("cluster").display().to_string()],
        };
        let nexmdm = nexmdm.into_iter().flat_map(|path| ["--nexmdm".to_owned(), path.display().to_string()]);
        [command.to_owned()]
            .into_iter()
            .chain(drill)
            .chain(["--seed".to_owned(), seed.to_string()])
            .chain(folder)
            .chain(nexmdm)
            .chain(arguments.iter().cloned())
            .collect()
    }

    /// Runs it by its command line; the checks of its promises, of which one is its expected result.
    ///
    /// # Errors
    /// Its arguments are not understood, or it could not be run.
    pub(super) async fn run(self, words: &[String], stop: Stop) -> Result<Vec<Check>> {
        let report = match self {
            Self::History(_) => Box::pin(history::report(parse::<HistoryDrillArgs>(words)?, stop)).await?,
            Self::Alerts(_) => Box::pin(alerts::report(parse::<AlertDrillArgs>(words)?, stop)).await?,
            Self::Deploy(_) => Box::pin(deploy::report(parse::<DeployDrillArgs>(words)?, stop)).await?,
            Self::Agents => {
                let kept = Box::pin(agent_kills::run(parse::<AgentKillsArgs>(words)?, stop)).await?;
                let broken = (!kept).then(|| Violation::new("drill", "", "a promise was broken: see the output"));
                return Ok(vec![Check {
                    promise: "drill",
                    looked_at: self.to_string(),
                    violations: broken.into_iter().collect(),
                    notes: Vec::new(),
                }]);
            }
        };
        Ok(report.into_checks())
    }
}

#[derive(Parser)]
struct CommandLine<A: Args> {
    #[command(flatten)]
    args: A,
}

fn parse<A: Args>(words: &[String]) -> Result<A, clap::Error> {
    CommandLine::<A>::try_parse_from(words).map(|line| line.args)
}

impl fmt::Display for DrillName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::History(drill) => write!(f, "history:{}", name_of(drill)),
            Self::Alerts(drill) => write!(f, "alerts:{}", name_of(drill)),
            Self::Deploy(drill) => write!(f, "deploy:{}", name_of(drill)),
            Self::Agents => f.write_str("agents"),
        }
    }
}

impl FromStr for DrillName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::all();
        let known = || all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        all.iter().copied().find(|drill| drill.to_string() == text).ok_or_else(|| format!("unknown drill `{text}`; known: {}", known()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drill_is_found_by_its_name_and_its_command_line_is_understood() {
        for drill in DrillName::all() {
            assert_eq!(drill.to_string().parse(), Ok(drill));
            let words = drill.command_line(&[], 7, Path::new("/tmp/run"), Some(Path::new("/bin/nexmdm")));
            let understood = match drill {
                DrillName::History(_) => parse::<HistoryDrillArgs>(&words).map(drop),
                DrillName::Alerts(_) => parse::<AlertDrillArgs>(&words).map(drop),
                DrillName::Deploy(_) => parse::<DeployDrillArgs>(&words).map(drop),
                DrillName::Agents => parse::<AgentKillsArgs>(&words).map(drop),
            };
            understood.unwrap();
        }
    }
}
