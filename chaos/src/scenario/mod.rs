//! Scenarios as files: what is done to a cluster and its fleet, when, and what has to hold.

mod check;
mod conditions;
mod drill;
mod engine;
pub mod faults;
mod file;
mod journal;
mod measured;
mod sabotage;
mod step_fault;
mod steps;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

pub use check::Problem;
pub use file::Scenario;

pub use sabotage::Sabotage;
pub use step_fault::StepFault;

use crate::harness::Network;
use crate::signals::Stop;

/// Exit code when a scenario could not be run.
pub const NOT_RUN: u8 = 2;

/// Arguments of `chaos run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Scenario file
    #[arg(value_name = "FILE", required_unless_present = "list")]
    pub file: Option<PathBuf>,
    /// List the scenarios of a folder instead
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "config/chaos")]
    pub list: Option<PathBuf>,
    /// Folder of the record and the verdict [default: a new one, named after the scenario and the time]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seed instead of the file's
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Number of runs, one after the other, each below the folder, until one does not pass
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub repeat: u16,
    /// Promise to break on purpose, so that the verdict is seen to fail
    #[arg(long, value_enum, value_name = "PROMISE")]
    pub sabotage: Option<Sabotage>,
    /// Allow hooks that destroy something
    #[arg(long)]
    pub i_mean_it: bool,
    /// Keep the cluster's folder: logs, record, database
    #[arg(long)]
    pub keep: bool,
    /// The node's binary [default: the file's, or `nexmdm` beside this executable]
    #[arg(long, value_name = "PATH")]
    pub nexmdm: Option<PathBuf>,
    /// Parent of the cluster's folder
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Folder of the APKs to deploy
    #[arg(long, value_name = "DIR")]
    pub apks: Option<PathBuf>,
}

/// Arguments of `chaos check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Scenario files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// Arguments of `chaos heal`.
#[derive(Debug, Clone, Args)]
pub struct HealArgs {
    /// Folder of a run that was cut off
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Network that a file wants; the usual one where it cannot be read, of which [`run`] tells more.
pub fn network_of(args: &RunArgs) -> Network {
    let scenario = args.file.as_deref().and_then(|file| Scenario::load(file).ok()).and_then(|(_, scenario)| scenario.cluster);
    match scenario.map(|cluster| cluster.network) {
        Some(file::NetworkPlan::Namespaces) => Network::Namespaces,
        _ => Network::default(),
    }
}

/// Runs a scenario file, or lists those of a folder; the exit code.
///
/// # Errors
/// The folder of the run cannot be written.
pub async fn run(args: RunArgs, stop: Stop) -> Result<u8> {
    if let Some(dir) = &args.list {
        return list(dir);
    }
    let file = args.file.as_deref().context("no scenario file is given")?;
    let (text, scenario) = match Scenario::load(file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            print_problems(file, &problems);
            return Ok(NOT_RUN);
        }
    };
    if args.out.is_none() {
        for earlier in engine::earlier_dirs(&scenario)? {
            heal_dir(&HealArgs { dir: earlier })?;
        }
    }
    let dir = args.out.clone().unwrap_or_else(|| engine::default_dir(&scenario));
    for number in 1..=args.repeat {
        let dir = if args.repeat == 1 { dir.clone() } else { dir.join(number.to_string()) };
        let verdict = Box::pin(engine::run(text.clone(), scenario.clone(), &args, &dir, &stop)).await?;
        println!("{}: {}", scenario.name, engine::line_of(&verdict));
        println!("{}", dir.join(crate::verdict::VERDICT_HTML).display());
        if verdict.outcome.exit_code() != 0 {
            return Ok(verdict.outcome.exit_code());
        }
    }
    Ok(0)
}

/// Checks files; the exit code.
pub fn check(args: &CheckArgs) -> u8 {
    let mut code = 0;
    for file in &args.files {
        match Scenario::load(file) {
            Ok((_, scenario)) => println!("{}: {} is well-formed", file.display(), scenario.name),
            Err(problems) => {
                print_problems(file, &problems);
                code = NOT_RUN;
            }
        }
    }
    code
}

/// Heals what a run that was cut off has left.
///
/// # Errors
/// Something could not be healed.
pub fn heal_dir(args: &HealArgs) -> Result<()> {
    let done = journal::heal(&args.dir)?;
    if done.is_empty() {
        println!("nothing is left of a run in {}", args.dir.display());
    }
    done.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn print_problems(file: &Path, problems: &[Problem]) {
    for problem in problems {
        eprintln!("{}: {problem}", file.display());
    }
}

/// Lists the scenarios of a folder with the first line of what they show.
fn list(dir: &Path) -> Result<u8> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .with_context(|| dir.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    let mut code = 0;
    for file in files {
        match Scenario::load(&file) {
            Ok((_, scenario)) => {
                let shows = scenario.description.trim().lines().next().unwrap_or_default();
                println!("{:<40} {shows}", file.display().to_string());
            }
            Err(problems) => {
                print_problems(&file, &problems);
                code = NOT_RUN;
            }
        }
    }
    Ok(code)
}

/// JSON Schema of scenario files.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Scenario).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/chaos")
    }

    /// `NEXMDM_WRITE_DOCS=1` writes it anew.
    #[test]
    fn the_schema_is_that_of_the_types() {
        let (path, now) = (config().join("schema.json"), serde_json::to_string_pretty(&schema()).unwrap() + "\n");
        if std::env::var_os("NEXMDM_WRITE_DOCS").is_some() {
            fs::write(&path, &now).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap_or_default() == now, "write it anew: NEXMDM_WRITE_DOCS=1");
    }

    #[test]
    fn every_scenario_file_is_well_formed_and_has_the_name_of_its_file() {
        let folders = [config(), config().join("short")];
        let files: Vec<_> = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path()).collect();
        let files: Vec<_> = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
        assert!(files.len() > 20, "{}", files.len());
        let schema = schema();
        for file in files {
            let (text, scenario) = Scenario::load(&file).unwrap_or_else(|problems| panic!("{}: {problems:?}", file.display()));
            let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap();
            assert_eq!(scenario.name, stem);
            assert!(!scenario.description.trim().is_empty(), "{}", file.display());
            let value: serde_json::Value = toml::from_str(&text).unwrap();
            jsonschema::validate(&schema, &value).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }
}
