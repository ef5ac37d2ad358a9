//! Verdict for a terminal.

use std::fmt::Write as _;

use super::conclude::Told;
use super::markup::{elapsed, number, put};
use super::model::{Outcome, PromiseVerdict, Threshold};

/// Most counterexamples of a promise that are printed.
const SHOWN: usize = 5;

/// The verdict as text.
pub(super) fn text(told: &Told<'_>) -> String {
    let (run, verdict) = (told.run, told.verdict);
    let started_us = run.started_at.timestamp_micros();
    let mut out = String::new();
    put!(out, "scenario {}, seed {}\n", run.name, run.seed);
    for state in &verdict.steady_states {
        put!(out, "steady state {}: {}\n", state.when.word(), if state.holds() { "holds" } else { "DOES NOT HOLD" });
        state.conditions.iter().for_each(|condition| put!(out, "     {}\n", line(condition)));
    }
    for PromiseVerdict { id, kept, checked, violations, counterexamples, notes, .. } in &verdict.promises {
        let outcome = if *kept { "kept".to_owned() } else { format!("BROKEN {violations} times") };
        put!(out, "{id:<4} {outcome}: {checked}\n");
        for example in counterexamples.iter().take(SHOWN) {
            put!(out, "     {} {}\n", example.device.as_deref().unwrap_or_default(), example.what);
            if let Some(request) = &example.request {
                put!(out, "          request {request}\n");
            }
            for moment in &example.times {
                put!(out, "          {:>12} {}\n", elapsed(moment.at_us - started_us, true), moment.name);
            }
            for row in &example.rows {
                let columns: Vec<String> = row.columns.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let copies = match row.copies {
                    0 => "missing".to_owned(),
                    1 => "row".to_owned(),
                    copies => format!("{copies} rows"),
                };
                put!(out, "          {copies} in {}: {}\n", row.table, columns.join(" "));
            }
        }
        if *violations > SHOWN {
            put!(out, "     and {} more\n", violations - SHOWN);
        }
        notes.iter().for_each(|note| put!(out, "     {note}\n"));
    }
    verdict.thresholds.iter().for_each(|threshold| put!(out, "threshold {}\n", line(threshold)));
    told.remarks.iter().for_each(|remark| put!(out, "record: {remark}\n"));
    verdict.problem.iter().for_each(|problem| put!(out, "not run to its end: {problem}\n"));
    let broken = verdict.broken().count();
    let missed = verdict.thresholds.iter().filter(|threshold| !threshold.holds()).count();
    let unsteady = verdict.steady_states.iter().filter(|state| !state.holds()).count();
    match verdict.outcome {
        Outcome::Passed => put!(out, "verdict: passed"),
        outcome => put!(
            out,
            "verdict: {}; {broken} promises broken, {missed} thresholds missed, {unsteady} steady states do not hold",
            outcome.word().to_uppercase()
        ),
    }
    out
}

fn line(threshold: &Threshold) -> String {
    let Threshold { name, value, unit, comparison, limit } = threshold;
    let value = value.map_or_else(|| "nothing measured".to_owned(), |value| format!("{} {unit}", number(value)));
    let holds = if threshold.holds() { "holds" } else { "MISSED" };
    format!("{holds}: {name} is {} (limit {} {} {unit})", value.trim(), comparison.sign(), number(*limit)).replace(" )", ")")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::sample::Sample;

    #[test]
    fn the_text_says_what_failed_and_shows_it() {
        let sample = Sample::failed();
        let text = text(&sample.told());
        for part in [
            "P1   BROKEN 1 times: 1,000 acknowledgements",
            "has 0 rows of the bucket",
            "0:41.234 acknowledged",
            "missing in heartbeats: device_id=",
            "P2   kept",
            "threshold MISSED: heartbeat_p99 is 412 ms (limit < 300 ms)",
            "verdict: FAILED; 1 promises broken, 1 thresholds missed, 0 steady states do not hold",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(super::text(&Sample::passed().told()).ends_with("verdict: passed"));
    }
}
