//! Runs of scenario files by this program in a process of their own, so that a run that ends badly does not end the game day.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::signals::{Stop, stopped};
use crate::verdict::{Outcome, VERDICT_JSON, Verdict};

/// Time that an interrupted run has to heal what it broke.
const HEALED_WITHIN: Duration = Duration::from_secs(120);
/// Largest verdict that is read.
const VERDICT_BYTES_MAX: u64 = 64 << 20;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Outcome.
    pub outcome: Outcome,
    /// Promises, thresholds and steady states that do not hold.
    pub broken: BTreeSet<String>,
}

/// What runs scenario files.
pub trait Runs {
    /// Runs a file, with its record in a folder that is not there yet; `None` when everything is to stop.
    ///
    /// # Errors
    /// The run could not be started, or left no verdict.
    fn run(&mut self, file: &Path, dir: &Path) -> impl Future<Output = Result<Option<Ran>>>;
}

/// Runs by `chaos run`.
#[derive(Debug)]
pub struct Processes {
    program: PathBuf,
    /// Arguments before `run`.
    arguments: Vec<PathBuf>,
    within: Duration,
    stop: Stop,
}

impl Processes {
    /// Runs by this program, each of which has so much time.
    ///
    /// # Errors
    /// The path of this program is unknown.
    pub fn of_this_program(within: Duration, stop: Stop) -> Result<Self> {
        Ok(Self { program: std::env::current_exe().context("the path of this program")?, arguments: Vec::new(), within, stop })
    }
}

impl Runs for Processes {
    async fn run(&mut self, file: &Path, dir: &Path) -> Result<Option<Ran>> {
        let log_path = dir.with_extension("log");
        let log = File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .arg("run")
            .arg(file)
            .arg("--out")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let mut stop = self.stop.clone();
        let status = tokio::select! {
            status = child.wait() => status?,
            () = stopped(&mut stop) => {
                interrupt(&mut child).await?;
                return Ok(None);
            }
            () = tokio::time::sleep(self.within) => {
                interrupt(&mut child).await?;
                bail!("{} did not end within {} s; see {}", file.display(), self.within.as_secs(), log_path.display());
            }
        };
        let path = dir.join(VERDICT_JSON);
        if !path.exists() {
            // It could not be run: the log says why.
            let last = std::fs::read_to_string(&log_path).unwrap_or_default().lines().last().unwrap_or_default().to_owned();
            bail!("{} ended with {status} and without a verdict: {last}", file.display());
        }
        Ok(Some(ran(&read(&path)?)))
    }
}

/// Asks a run to heal and end, and kills it when it does not.
async fn interrupt(child: &mut Child) -> Result<()> {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        // It may have ended just now.
        let _ = kill_process(pid, Signal::TERM);
    }
    match timeout(HEALED_WITHIN, child.wait()).await {
        Ok(status) => drop(status?),
        Err(_) => child.kill().await?,
    }
    Ok(())
}

fn read(path: &Path) -> Result<Verdict> {
    let bytes = std::fs::metadata(path)?.len();
    anyhow::ensure!(bytes <= VERDICT_BYTES_MAX, "{} has {bytes} bytes, limit {VERDICT_BYTES_MAX}", path.display());
    serde_json::from_slice(&std::fs::read(path)?).with_context(|| format!("{} is not understood", path.display()))
}

fn ran(verdict: &Verdict) -> Ran {
    let promises = verdict.broken().map(|promise| promise.id.clone());
    let thresholds = verdict.thresholds.iter().filter(|threshold| !threshold.holds()).map(|threshold| threshold.name.clone());
    let states = verdict.steady_states.iter().filter(|state| !state.holds()).map(|state| format!("steady state {}", state.when.word()));
    Ran { outcome: verdict.outcome, broken: promises.chain(thresholds).chain(states).collect() }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    /// A stand-in for this program: a script that is given `run FILE --out DIR`.
    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("chaos");
        std::fs::write(&path, format!("{text}\n")).unwrap();
        path
    }

    fn processes(folder: &Path, text: &str) -> (watch::Sender<bool>, Processes) {
        let (sender, stop) = watch::channel(false);
        (sender, Processes { program: "/bin/sh".into(), arguments: vec![script(folder, text)], within: Duration::from_secs(60), stop })
    }

    #[tokio::test]
    async fn a_run_is_known_by_its_verdict() {
        let folder = tempfile::tempdir().unwrap();
        let verdict = r#"{"outcome":"failed","promises":[{"id":"P1","promise":"","kept":false,"checked":"","violations":1,"counterexamples":[]},
            {"id":"P2","promise":"","kept":true,"checked":"","violations":0,"counterexamples":[]}],
            "thresholds":[{"name":"p99_ms","value":9.0,"unit":"ms","comparison":"at_most","limit":5.0}],"steady_states":[{"when":"after","conditions":[]}]}"#;
        std::fs::write(folder.path().join("verdict"), verdict).unwrap();
        let text = format!("mkdir $4 && cp {}/verdict $4/verdict.json && test $1$3 = run--out && exit 1", folder.path().display());
        let (_sender, mut processes) = processes(folder.path(), &text);
        let ran = processes.run(Path::new("f.toml"), &folder.path().join("run")).await.unwrap().unwrap();
        assert_eq!(ran, Ran { outcome: Outcome::Failed, broken: ["P1", "p99_ms"].map(str::to_owned).into() });
    }

    #[tokio::test]
    async fn a_run_without_a_verdict_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let (_sender, mut processes) = processes(folder.path(), "echo chaos: no such node; exit 2");
        let error = processes.run(Path::new("f.toml"), &folder.path().join("run")).await.unwrap_err().to_string();
        assert!(error.contains("f.toml ended with exit status: 2") && error.ends_with("no such node"), "{error}");
    }

    #[tokio::test]
    async fn a_run_is_interrupted_and_may_heal() {
        let folder = tempfile::tempdir().unwrap();
        let (healed, started) = (folder.path().join("healed"), folder.path().join("started"));
        let text = format!("trap 'touch {}; exit 1' TERM\ntouch {}\nwhile true; do sleep 0.05; done", healed.display(), started.display());
        let (sender, mut processes) = processes(folder.path(), &text);
        let dir = folder.path().join("run");
        let stop = async {
            while !started.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            sender.send_replace(true);
        };
        let (ran, ()) = tokio::join!(processes.run(Path::new("f.toml"), &dir), stop);
        assert_eq!(ran.unwrap(), None);
        assert!(healed.exists());
    }
}
