//! Game days with runs that are judged by what their files say.

use super::*;

/// Runs that fail when a file has all of these texts, and cannot be run when it has one of those.
struct Fake {
    guilty: Vec<&'static str>,
    impossible: Option<&'static str>,
    runs: usize,
    stop_after: usize,
}

impl Runs for Fake {
    async fn run(&mut self, file: &Path, dir: &Path) -> Result<Option<Ran>> {
        self.runs += 1;
        if self.runs > self.stop_after {
            return Ok(None);
        }
        assert!(!dir.exists(), "a record has a folder of its own");
        let text = std::fs::read_to_string(file)?;
        if self.impossible.is_some_and(|part| text.contains(part)) {
            anyhow::bail!("there is no such node");
        }
        std::fs::create_dir(dir)?;
        std::fs::write(dir.join("record"), &text)?;
        let fails = self.guilty.iter().all(|part| text.contains(part));
        let broken = if fails { ["P1".to_owned()].into() } else { BTreeSet::new() };
        Ok(Some(Ran { outcome: if fails { Outcome::Failed } else { Outcome::Passed }, broken }))
    }
}

fn fake(guilty: &[&'static str]) -> Fake {
    Fake { guilty: guilty.to_vec(), impossible: None, runs: 0, stop_after: usize::MAX }
}

fn day(out: &Path) -> GameDay {
    GameDay {
        out: out.to_owned(),
        seed: 1,
        size: Size { nodes: 3, devices: 10, length: Duration::from_secs(300) },
        until: Instant::now() + Duration::from_secs(3_600),
        replays: 100,
        keep: 2,
    }
}

#[tokio::test]
async fn what_passes_leaves_nothing_and_what_fails_is_shrunk() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("day");
    let found = hold(&day(&out), &mut fake(&["kind = \"kill\"", "kind = \"poison_heartbeats\""])).await.unwrap();
    assert_eq!(found.failed.len(), 2, "it ends when enough are kept: {found:?}");
    assert_eq!(found.outcome(), Outcome::Failed);
    let kept: BTreeSet<String> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let wanted = found.failed.iter().map(|seed| format!("seed-{seed}")).chain([LEDGER.to_owned()]).collect();
    assert_eq!(kept, wanted);
    for seed in &found.failed {
        let shrunk = std::fs::read_to_string(out.join(format!("seed-{seed}/shrunk.toml"))).unwrap();
        let steps = shrunk.matches("[[step]]").count();
        assert!(steps == 2 && shrunk.contains("none of them can be left out"), "{shrunk}");
        let record = std::fs::read_to_string(out.join(format!("seed-{seed}/shrunk/record"))).unwrap();
        assert_eq!(record.matches("[[step]]").count(), 2, "the record is that of the last failing replay");
        assert!(!out.join(format!("seed-{seed}/attempt")).exists());
    }
    let ledger = std::fs::read_to_string(out.join(LEDGER)).unwrap();
    assert_eq!(ledger.lines().count(), found.passed.len() + 2);
    assert!(ledger.contains("\"shrunk_to\":2"), "{ledger}");
}

#[tokio::test]
async fn a_game_day_ends_with_its_time_when_it_is_stopped_and_when_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let over = GameDay { until: Instant::now(), ..day(&folder.path().join("over")) };
    let found = hold(&over, &mut fake(&[])).await.unwrap();
    assert_eq!((&found, found.outcome()), (&Day::default(), Outcome::NotRun));
    let stopped = day(&folder.path().join("stopped"));
    let found = hold(&stopped, &mut Fake { stop_after: 3, ..fake(&["nothing has this"]) }).await.unwrap();
    assert_eq!((found.passed.len(), found.outcome()), (3, Outcome::Passed));
    let never = day(&folder.path().join("never"));
    let found = hold(&never, &mut Fake { impossible: Some("name"), ..fake(&[]) }).await.unwrap();
    assert_eq!((found.not_run.len(), found.outcome()), (NOT_RUN_MAX, Outcome::NotRun));
    assert!(std::fs::read_to_string(never.out.join(LEDGER)).unwrap().contains("there is no such node"));
}

#[tokio::test]
async fn a_folder_that_is_there_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("seed-1")).unwrap();
    let error = hold(&day(folder.path()), &mut fake(&[])).await.unwrap_err().to_string();
    assert!(error.contains("seed-1 is there already") && error.contains("--out"), "{error}");
}
