//! Game day: `chaos soak --hours H` runs scenarios drawn by seed, one after the other, keeps the records of those that fail alone, and
//! shrinks each of them to few steps.

mod draw;
mod replay;
mod shrink;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use tokio::time::Instant;

pub use draw::{Drawn, Size};
pub use replay::{Processes, Ran, Runs};
pub use shrink::Shrink;

use crate::signals::Stop;
use crate::soak::SoakArgs;
use crate::verdict::Outcome;

/// Seeds one after the other that could not be run, after which a game day ends.
const NOT_RUN_MAX: usize = 3;
/// What a run needs beside the time of its faults: start, recovery, judgement.
const BESIDE: Duration = Duration::from_secs(900);
/// One line for each seed.
const LEDGER: &str = "game-day.jsonl";

/// Arguments of `chaos soak`.
#[derive(Debug, Clone, Args)]
pub struct SoakCommand {
    /// One soak
    #[command(flatten)]
    pub soak: SoakArgs,
    /// Game day of so many hours instead: scenarios of one seed after the other, each with --minutes of faults; what fails is kept and shrunk
    #[arg(long, value_name = "HOURS")]
    pub hours: Option<f64>,
    /// Folder of a game day
    #[arg(long, value_name = "DIR", default_value = "game-day", requires = "hours")]
    pub out: PathBuf,
    /// Most replays of a failing run to shrink it
    #[arg(long, value_name = "N", default_value_t = 16, requires = "hours")]
    pub replays: usize,
    /// Failing runs that are kept, after which a game day ends
    #[arg(long, value_name = "N", default_value_t = 5, requires = "hours")]
    pub keep: usize,
}

/// Plan of a game day.
#[derive(Debug, Clone)]
pub struct GameDay {
    /// Folder of what is kept.
    pub out: PathBuf,
    /// First seed.
    pub seed: u64,
    /// Size of each scenario.
    pub size: Size,
    /// End of the time in which a scenario may begin.
    pub until: Instant,
    /// Most replays of a failing run.
    pub replays: usize,
    /// Failing runs that are kept.
    pub keep: usize,
}

/// What came of a game day.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Seeds whose scenario passed.
    pub passed: Vec<u64>,
    /// Seeds whose scenario failed.
    pub failed: Vec<u64>,
    /// Seeds whose scenario could not be run.
    pub not_run: Vec<u64>,
}

impl Day {
    /// What it comes to.
    pub fn outcome(&self) -> Outcome {
        match (self.failed.is_empty(), self.passed.is_empty()) {
            (false, _) => Outcome::Failed,
            (true, false) if self.not_run.is_empty() => Outcome::Passed,
            _ => Outcome::NotRun,
        }
    }
}

/// Line of the ledger.
#[derive(Serialize)]
struct Line<'a> {
    seed: u64,
    outcome: Outcome,
    steps: usize,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    broken: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shrunk_to: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

/// Runs a game day as the command line says.
///
/// # Errors
/// The folder cannot be written, or an argument is out of its limits.
pub async fn run(args: &SoakCommand, hours: f64, stop: Stop) -> Result<Outcome> {
    ensure!(hours > 0.0 && hours <= 24.0 * 365.0, "--hours {hours} is not above 0 and at most a year");
    ensure!(args.soak.minutes > 0.0 && args.soak.minutes <= 60.0, "--minutes {} is not above 0 and at most 60", args.soak.minutes);
    ensure!(args.keep > 0, "--keep has to be at least 1");
    ensure!(args.soak.nodes > 1, "a cluster of one has no other to take over: give --nodes 2 or more");
    let length = Duration::try_from_secs_f64(args.soak.minutes * 60.0)?;
    let day = GameDay {
        out: args.out.clone(),
        seed: args.soak.seed,
        size: Size { nodes: args.soak.nodes, devices: args.soak.devices, length },
        until: Instant::now() + Duration::try_from_secs_f64(hours * 3_600.0)?,
        replays: args.replays,
        keep: args.keep,
    };
    let mut processes = Processes::of_this_program(length + BESIDE, stop)?;
    let found = hold(&day, &mut processes).await?;
    println!(
        "game day: {} scenarios passed, {} failed{}, {} could not be run; see {}",
        found.passed.len(),
        found.failed.len(),
        if found.failed.is_empty() { String::new() } else { format!(" (seeds {:?})", found.failed) },
        found.not_run.len(),
        day.out.join(LEDGER).display()
    );
    Ok(found.outcome())
}

/// Holds a game day.
///
/// # Errors
/// The folder cannot be written.
pub async fn hold(day: &GameDay, runs: &mut impl Runs) -> Result<Day> {
    std::fs::create_dir_all(&day.out).with_context(|| format!("cannot make {}", day.out.display()))?;
    let mut found = Day::default();
    let mut not_run_in_a_row = 0;
    for seed in day.seed.. {
        if Instant::now() >= day.until || found.failed.len() >= day.keep || not_run_in_a_row >= NOT_RUN_MAX {
            break;
        }
        let drawn = Drawn::of(seed, day.size)?;
        let folder = day.out.join(format!("seed-{seed}"));
        ensure!(!folder.exists(), "{} is there already: name another folder with --out, or another --seed", folder.display());
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let whole: Vec<usize> = (0..drawn.steps()).collect();
        let line = match first_run(&drawn, &whole, &folder, runs).await {
            Ok(None) => {
                std::fs::remove_dir_all(&folder)?;
                break;
            }
            Ok(Some(ran)) if ran.outcome == Outcome::Passed => {
                std::fs::remove_dir_all(&folder)?;
                found.passed.push(seed);
                not_run_in_a_row = 0;
                println!("seed {seed}: {} steps, passed", drawn.steps());
                Line { seed, outcome: ran.outcome, steps: drawn.steps(), broken: ran.broken, shrunk_to: None, problem: None }
            }
            Ok(Some(ran)) if ran.outcome == Outcome::Failed => {
                found.failed.push(seed);
                not_run_in_a_row = 0;
                let words = ran.broken.iter().cloned().collect::<Vec<_>>().join(", ");
                println!("seed {seed}: {} steps, FAILED: {words}; shrinking by at most {} replays", drawn.steps(), day.replays);
                let shrunk_to = shrink_run(&drawn, &ran, &folder, day.replays, runs).await?;
                println!(
                    "seed {seed}: {shrunk_to} of {} steps are enough: chaos run {}",
                    drawn.steps(),
                    folder.join("shrunk.toml").display()
                );
                Line { seed, outcome: ran.outcome, steps: drawn.steps(), broken: ran.broken, shrunk_to: Some(shrunk_to), problem: None }
            }
            other => {
                let problem = match other {
                    Err(error) => format!("{error:#}"),
                    Ok(_) => "it did not come to its end: see its verdict".to_owned(),
                };
                println!("seed {seed}: could not be run: {problem}");
                found.not_run.push(seed);
                not_run_in_a_row += 1;
                let line = Line {
                    seed,
                    outcome: Outcome::NotRun,
                    steps: drawn.steps(),
                    broken: BTreeSet::new(),
                    shrunk_to: None,
                    problem: Some(&problem),
                };
                append(&day.out, &line)?;
                continue;
            }
        };
        append(&day.out, &line)?;
    }
    Ok(found)
}

async fn first_run(drawn: &Drawn, whole: &[usize], folder: &Path, runs: &mut impl Runs) -> Result<Option<Ran>> {
    let file = folder.join("scenario.toml");
    let remark = format!("Scenario of the seed {} of a game day.", drawn.seed);
    std::fs::write(&file, drawn.file(whole, &remark)).with_context(|| format!("cannot write {}", file.display()))?;
    runs.run(&file, &folder.join("run")).await
}

/// Shrinks a failing run, and writes the file that repeats what is left; the number of its steps. The record of its last failing replay stays.
async fn shrink_run(drawn: &Drawn, first: &Ran, folder: &Path, replays: usize, runs: &mut impl Runs) -> Result<usize> {
    let mut search = Shrink::new(drawn.steps(), replays);
    let (attempt, kept) = (folder.join("attempt"), folder.join("shrunk"));
    let file = folder.join("attempt.toml");
    while let Some(steps) = search.next_replay().map(<[usize]>::to_vec) {
        std::fs::write(&file, drawn.file(&steps, "A replay.")).with_context(|| format!("cannot write {}", file.display()))?;
        // Steps that cannot be run without those that are left out, such as the fault of a node that is not added, prove nothing.
        let fails = match runs.run(&file, &attempt).await {
            Ok(None) => break,
            Ok(Some(ran)) => ran.outcome == Outcome::Failed && !ran.broken.is_disjoint(&first.broken),
            Err(_) => false,
        };
        if fails {
            remove(&kept)?;
            std::fs::rename(&attempt, &kept).with_context(|| format!("cannot keep {}", attempt.display()))?;
        }
        remove(&attempt)?;
        search.replayed(fails);
    }
    remove(&attempt)?;
    for left in [file, folder.join("attempt.log")] {
        if left.exists() {
            std::fs::remove_file(left)?;
        }
    }
    let steps = search.smallest();
    let minimal = if search.is_minimal() { "none of them can be left out" } else { "the budget of replays ended the search" };
    let broken = first.broken.iter().cloned().collect::<Vec<_>>().join(", ");
    let remark = format!("What is left of seed {}: {} of {} steps; {minimal}. Broken: {broken}.", drawn.seed, steps.len(), drawn.steps());
    let file = folder.join("shrunk.toml");
    std::fs::write(&file, drawn.file(steps, &remark)).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(steps.len())
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

fn append(out: &Path, line: &Line<'_>) -> Result<()> {
    let path = out.join(LEDGER);
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(&text)).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
