//! End of a run: what was found is judged, written beside the record, and can be judged again from there.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::event::{Event, What};
use super::files::{
    HISTORY, MEASURED, RUN, VERDICT_HTML, VERDICT_JSON, VERDICT_TXT, VERDICT_XML, read_events, read_json, write, write_private,
};
use super::model::{PromiseVerdict, SteadyState, Threshold, Verdict};
use super::recorder::RunRecorder;
use super::run::Run;
use super::windows::LoadWindows;
use super::{junit, page, promises, text};
use crate::oracle::{self, Check, History};

/// What was found of a run.
#[derive(Debug, Default)]
pub struct Findings {
    /// What the oracle judges; none when there was no fleet, or nothing could be read.
    pub history: Option<History>,
    /// Checks that are not made from the history, such as `calm`, or those of a drill.
    pub checks: Vec<Check>,
    /// Ids of the promises to judge; none for all.
    pub promises: Vec<String>,
    /// Thresholds with their measured values.
    pub thresholds: Vec<Threshold>,
    /// Steady states with their measured values.
    pub steady_states: Vec<SteadyState>,
    /// Why the scenario could not be run to its end.
    pub problem: Option<String>,
}

/// What was measured while a run went on, as it is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Measured {
    promises: Vec<String>,
    checks: Vec<PromiseVerdict>,
    thresholds: Vec<Threshold>,
    steady_states: Vec<SteadyState>,
    problem: Option<String>,
    /// Whether the history is beside it.
    history: bool,
    /// Why not everything is there.
    left_out: Vec<String>,
}

/// Everything that a verdict is told from.
pub(super) struct Told<'a> {
    pub(super) run: &'a Run,
    pub(super) events: &'a [Event],
    pub(super) verdict: &'a Verdict,
    /// Remarks about the record itself.
    pub(super) remarks: &'a [String],
}

/// Ends the record of a run, judges it, and writes the verdict in each form.
///
/// # Errors
/// A file cannot be written, or a promise that is to be judged does not exist.
pub fn conclude(recorder: RunRecorder, run: &Run, findings: Findings) -> Result<Verdict> {
    let (dir, limits) = (recorder.dir().to_owned(), recorder.limits());
    let recorded = recorder.close()?;
    let mut left_out = Vec::new();
    if recorded.dropped > 0 {
        left_out.push(format!("{} of {} events were not recorded", recorded.dropped, recorded.events + recorded.dropped));
    }
    let history = match &findings.history {
        None => false,
        Some(history) => {
            let bytes = history.write(&dir.join(HISTORY), limits.history_bytes)?;
            if bytes.is_none() {
                left_out.push(format!("the history has more than {} bytes, so that this run cannot be judged again", limits.history_bytes));
            }
            bytes.is_some()
        }
    };
    let Findings { promises, checks, thresholds, steady_states, problem, .. } = findings;
    let checks = checks.iter().map(PromiseVerdict::from).collect();
    let measured = Measured { promises, checks, thresholds, steady_states, problem, history, left_out };
    write_private(&dir.join(MEASURED), &serde_json::to_vec_pretty(&measured)?)?;
    write_private(&dir.join(RUN), &serde_json::to_vec_pretty(run)?)?;
    judge_and_tell(&dir, run, findings.history.as_ref(), measured)
}

/// Judges a run again from its folder alone, and writes the verdict anew.
///
/// # Errors
/// A file is missing or not understood: the run did not come to its end, or its history was too large to be kept.
pub fn judge(dir: &Path) -> Result<(Run, Verdict)> {
    let run: Run = read_json(&dir.join(RUN)).with_context(|| format!("{} has no record of a run", dir.display()))?;
    let path = dir.join(MEASURED);
    ensure!(path.exists(), "the run in {} did not come to its end: {MEASURED} is missing", dir.display());
    let measured: Measured = read_json(&path)?;
    let history = match measured.history {
        true => Some(History::read(&dir.join(HISTORY))?),
        false => None,
    };
    ensure!(history.is_some() || measured.left_out.is_empty() || !measured.checks.is_empty(), "{}", measured.left_out.join("; "));
    let verdict = judge_and_tell(dir, &run, history.as_ref(), measured)?;
    Ok((run, verdict))
}

fn judge_and_tell(dir: &Path, run: &Run, history: Option<&History>, measured: Measured) -> Result<Verdict> {
    let Measured { promises: wanted, checks, thresholds, steady_states, problem, left_out, .. } = measured;
    for id in &wanted {
        ensure!(
            promises::ids().any(|known| known == id),
            "unknown promise `{id}`; known: {}",
            promises::ids().collect::<Vec<_>>().join(", ")
        );
    }
    let judged = history.map(|history| oracle::judge(history).checks).unwrap_or_default();
    let is_wanted = |verdict: &PromiseVerdict| wanted.is_empty() || wanted.contains(&verdict.id);
    let mut promises: Vec<PromiseVerdict> = judged.iter().map(PromiseVerdict::from).filter(is_wanted).chain(checks).collect();
    // In the order of their numbers; what has none comes last.
    promises.sort_by_key(|promise| promise.id.strip_prefix('P').and_then(|number| number.parse::<u32>().ok()).unwrap_or(u32::MAX));
    let is_nothing = promises.is_empty() && thresholds.is_empty() && steady_states.is_empty();
    let problem = problem.or_else(|| is_nothing.then(|| "nothing was judged: no promise, threshold or steady state".to_owned()));
    let verdict = Verdict::of(promises, thresholds, steady_states, problem);
    let mut events = read_events(dir)?;
    // A run that did not record its load second by second has it in its history.
    if let Some(history) = history.filter(|_| !events.iter().any(|event| matches!(event.what, What::Load(_)))) {
        events.extend(LoadWindows::of(history).take_all());
    }
    events.sort_by_key(|event| event.at_us);
    let told = Told { run, events: &events, verdict: &verdict, remarks: &left_out };
    write(&dir.join(VERDICT_JSON), &serde_json::to_vec_pretty(&verdict)?)?;
    write(&dir.join(VERDICT_TXT), format!("{}\n", text::text(&told)).as_bytes())?;
    write(&dir.join(VERDICT_XML), junit::xml(&told).as_bytes())?;
    write(&dir.join(VERDICT_HTML), page::html(&told).as_bytes())?;
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::oracle::{Ack, Violation};
    use crate::verdict::{Comparison, Outcome, RecordLimits, When};

    /// A history of one device with three acknowledged buckets, of which one may be lost.
    fn history(lost: bool) -> History {
        let mut history = History::default();
        let (device, server) = (history.devices.number("d1"), history.names.number("http://n1"));
        for bucket_s in [10, 20, 30] {
            let (sent_us, answered_us) = (bucket_s * 1_000_000, bucket_s * 1_000_000 + 2_000);
            history.acks.push(Ack { device, server, bucket_s: Some(bucket_s), device_time_us: None, sent_us, answered_us, decided: None });
            if !lost || bucket_s != 20 {
                history.stored.heartbeats.insert((device, bucket_s), 1);
            }
        }
        history.stored.last_status_s.insert(device, 30);
        history
    }

    fn threshold(value: f64) -> Threshold {
        Threshold { name: "heartbeat_p99".into(), value: Some(value), unit: "ms".into(), comparison: Comparison::Below, limit: 300.0 }
    }

    fn concluded(dir: &Path, findings: Findings, limits: RecordLimits) -> Result<Verdict> {
        let run = Run { name: "test".into(), seed: 7, ..Run::default() };
        let recorder = RunRecorder::open(dir, &run, limits)?;
        recorder.record(Event::new(DateTime::UNIX_EPOCH, What::StepBegan { step: "one".into() }));
        conclude(recorder, &run, findings)
    }

    #[test]
    fn a_run_is_judged_again_from_its_folder_alone() {
        let folder = tempfile::tempdir().unwrap();
        let state = SteadyState { when: When::After, conditions: vec![threshold(8.0)] };
        let calm = Check { promise: "calm", looked_at: "all is well".into(), violations: Vec::new(), notes: Vec::new() };
        let findings = Findings {
            history: Some(history(true)),
            checks: vec![calm],
            promises: vec!["P1".into()],
            thresholds: vec![threshold(12.0)],
            steady_states: vec![state],
            problem: None,
        };
        let verdict = concluded(folder.path(), findings, RecordLimits::default()).unwrap();
        assert_eq!(verdict.outcome, Outcome::Failed);
        assert_eq!(verdict.promises.iter().map(|promise| promise.id.as_str()).collect::<Vec<_>>(), ["P1", "calm"]);
        let example = &verdict.promises[0].counterexamples[0];
        assert_eq!((example.device.as_deref(), example.rows[0].copies), (Some("d1"), 0));
        let files = [VERDICT_JSON, VERDICT_TXT, VERDICT_XML, VERDICT_HTML];
        let texts = || files.map(|file| std::fs::read_to_string(folder.path().join(file)).unwrap());
        let first = texts();
        assert_eq!(serde_json::from_str::<Verdict>(&first[0]).unwrap(), verdict);
        // The load of the run is drawn although nobody recorded it by the second.
        assert!(first[3].contains("Time to the acknowledgement"));
        files.iter().for_each(|file| std::fs::remove_file(folder.path().join(file)).unwrap());
        let (run, again) = judge(folder.path()).unwrap();
        assert_eq!((run.seed, &again), (7, &verdict));
        assert_eq!(texts(), first);
    }

    #[test]
    fn what_the_scenario_does_not_name_is_not_judged() {
        let folder = tempfile::tempdir().unwrap();
        let findings = || Findings { history: Some(history(true)), ..Findings::default() };
        let all = concluded(&folder.path().join("all"), findings(), RecordLimits::default()).unwrap();
        assert!(all.promises.len() > 8 && all.outcome == Outcome::Failed);
        let named = Findings { promises: vec!["P2".into()], ..findings() };
        let named = concluded(&folder.path().join("named"), named, RecordLimits::default()).unwrap();
        assert_eq!((named.promises.len(), named.outcome), (1, Outcome::Passed));
        let unknown = Findings { promises: vec!["P99".into()], ..findings() };
        let error = concluded(&folder.path().join("unknown"), unknown, RecordLimits::default()).unwrap_err().to_string();
        assert!(error.contains("unknown promise `P99`; known: P1, P2"), "{error}");
    }

    #[test]
    fn a_run_that_was_cut_off_or_too_large_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::default();
        let error = |dir: &Path| judge(dir).err().map(|error| format!("{error:#}")).unwrap_or_default();
        let (none, cut, large) = (folder.path().join("none"), folder.path().join("cut"), folder.path().join("large"));
        assert!(error(&none).contains("none has no record of a run"), "{}", error(&none));
        RunRecorder::open(&cut, &run, RecordLimits::default()).unwrap().close().unwrap();
        assert!(error(&cut).contains("did not come to its end: measured.json is missing"), "{}", error(&cut));
        let limits = RecordLimits { history_bytes: 50, ..RecordLimits::default() };
        let verdict = concluded(&large, Findings { history: Some(history(false)), ..Findings::default() }, limits).unwrap();
        assert_eq!(verdict.outcome, Outcome::Passed, "it was judged while it was there");
        assert!(error(&large).contains("the history has more than 50 bytes"), "{}", error(&large));
        assert!(std::fs::read_to_string(large.join(VERDICT_HTML)).unwrap().contains("The record is not whole"));
    }

    #[test]
    fn checks_of_a_drill_stand_without_a_history() {
        let folder = tempfile::tempdir().unwrap();
        let check =
            Check { promise: "P8", looked_at: "a day".into(), violations: vec![Violation::new("P8", "", "was lost")], notes: Vec::new() };
        let verdict = concluded(folder.path(), Findings { checks: vec![check], ..Findings::default() }, RecordLimits::default()).unwrap();
        assert_eq!((verdict.outcome, verdict.promises.len()), (Outcome::Failed, 1));
        assert_eq!(judge(folder.path()).unwrap().1, verdict);
    }
}
