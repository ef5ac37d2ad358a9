//! Verdict for people: one page that needs nothing else, on a screen, a phone and paper.

mod plots;
mod timeline;

use std::fmt::Write as _;

use super::conclude::Told;
use super::markup::{elapsed, escaped, number, put, utc};
use super::model::{Counterexample, Outcome, PromiseVerdict, Threshold};
use timeline::Timeline;

const STYLE: &str = include_str!("style.css");
/// Most counterexamples whose times are marked on the timeline.
const MARKED: usize = 12;
/// How the oracle says that a run did not exercise a promise.
const NOTHING: &str = "nothing to check";

/// The verdict as a page. It loads nothing, and its policy forbids that it does.
pub(super) fn html(told: &Told<'_>) -> String {
    let (run, verdict) = (told.run, told.verdict);
    let mut out = String::with_capacity(64 << 10);
    let title = format!("{}: {}", escaped(&run.name), verdict.outcome.word());
    put!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    put!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
    );
    put!(
        out,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
    );
    put!(out, "<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n");
    header(&mut out, told);
    put!(out, "<main>\n");
    broken(&mut out, told);
    limits(&mut out, told);
    put!(out, "<section aria-labelledby=\"timeline\"><h2 id=\"timeline\">Timeline</h2>\n");
    let timeline = Timeline::of(told.events);
    let examples = verdict.promises.iter().flat_map(|promise| &promise.counterexamples).take(MARKED);
    let mut marks: Vec<i64> = examples.flat_map(|example| example.times.iter().map(|moment| moment.at_us)).collect();
    marks.retain(|at_us| (timeline.from_us..=timeline.until_us).contains(at_us));
    marks.sort_unstable();
    marks.dedup();
    match told.events.is_empty() {
        true => put!(out, "<p class=\"quiet\">No event was recorded.</p>"),
        false => {
            put!(
                out,
                "<p class=\"quiet\">From {} on, for {}. Shaded: a fault is in force.",
                utc(timeline.from_us),
                elapsed(timeline.until_us - timeline.from_us, false)
            );
            put!(out, "{}</p>\n", if marks.is_empty() { "" } else { " Dashed and red: times of counterexamples." });
            out.push_str(&plots::plots(&timeline, &marks));
        }
    }
    put!(out, "</section>\n");
    kept(&mut out, told);
    about(&mut out, told);
    put!(out, "</main>\n</body>\n</html>\n");
    out
}

fn header(out: &mut String, told: &Told<'_>) {
    let (run, verdict) = (told.run, told.verdict);
    let (word, class) = match verdict.outcome {
        Outcome::Passed => ("Passed", "good"),
        Outcome::Failed => ("Failed", "bad"),
        Outcome::NotRun => ("Not run to its end", "warn"),
    };
    put!(out, "<header class=\"top\"><p class=\"outcome {class}\">{word}</p><h1>{}</h1>\n", escaped(&run.name));
    if !run.description.is_empty() {
        put!(out, "<p class=\"description\">{}</p>\n", escaped(&run.description));
    }
    if let Some(problem) = &verdict.problem {
        put!(out, "<p class=\"problem\">{}</p>\n", escaped(problem));
    }
    let checked: Vec<&PromiseVerdict> = verdict.promises.iter().filter(|promise| !is_idle(promise)).collect();
    let kept = checked.iter().filter(|promise| promise.kept).count();
    let held = verdict.thresholds.iter().filter(|threshold| threshold.holds()).count();
    let steady = verdict.steady_states.iter().filter(|state| state.holds()).count();
    put!(out, "<dl class=\"tiles\">");
    tile(out, "Promises kept", kept, checked.len());
    tile(out, "Thresholds held", held, verdict.thresholds.len());
    tile(out, "Steady states", steady, verdict.steady_states.len());
    let lasted = run
        .ended_at
        .map_or_else(|| "unknown".to_owned(), |ended_at| elapsed((ended_at - run.started_at).num_microseconds().unwrap_or(0), false));
    put!(out, "<div><dt>Lasted</dt><dd>{lasted}</dd></div><div><dt>Seed</dt><dd>{}</dd></div></dl>\n", run.seed);
    if !told.remarks.is_empty() {
        put!(out, "<ul class=\"problem\">");
        told.remarks.iter().for_each(|remark| put!(out, "<li>The record is not whole: {}</li>", escaped(remark)));
        put!(out, "</ul>\n");
    }
    put!(out, "</header>\n");
}

fn tile(out: &mut String, name: &str, good: usize, all: usize) {
    match all {
        0 => put!(out, "<div><dt>{name}</dt><dd class=\"quiet\">none</dd></div>"),
        _ => put!(out, "<div><dt>{name}</dt><dd class=\"{}\">{good} of {all}</dd></div>", if good == all { "good" } else { "bad" }),
    }
}

fn is_idle(promise: &PromiseVerdict) -> bool {
    promise.kept && (promise.checked.starts_with(NOTHING) || promise.checked.ends_with(NOTHING))
}

/// Broken promises with their counterexamples.
fn broken(out: &mut String, told: &Told<'_>) {
    if told.verdict.broken().next().is_none() {
        return;
    }
    let started_us = told.run.started_at.timestamp_micros();
    put!(out, "<section aria-labelledby=\"broken\"><h2 id=\"broken\">Broken promises</h2>\n");
    for promise in told.verdict.broken() {
        let (id, text, checked) = (escaped(&promise.id), escaped(&promise.promise), escaped(&promise.checked));
        put!(out, "<article class=\"card broken\"><h3><span class=\"badge bad\">{id} broken</span> {text}</h3>\n");
        put!(out, "<p class=\"quiet\">{}; checked: {checked}</p>\n<ol class=\"examples\">", counted(promise.violations, "violation"));
        promise.counterexamples.iter().for_each(|example| counterexample(out, example, started_us));
        put!(out, "</ol>\n");
        if promise.violations > promise.counterexamples.len() {
            put!(out, "<p class=\"quiet\">and {} more</p>", promise.violations - promise.counterexamples.len());
        }
        notes(out, promise);
        put!(out, "</article>\n");
    }
    put!(out, "</section>\n");
}

fn counterexample(out: &mut String, example: &Counterexample, started_us: i64) {
    put!(out, "<li><p>");
    if let Some(device) = &example.device {
        put!(out, "<code>{}</code> ", escaped(device));
    }
    put!(out, "{}</p>", escaped(&example.what));
    if let Some(request) = &example.request {
        put!(out, "<p class=\"quiet\">Request <code>{}</code></p>", escaped(request));
    }
    if !example.times.is_empty() {
        put!(
            out,
            "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Times\"><table><caption>Times</caption><thead><tr><th scope=\"col\">In the run</th><th scope=\"col\">What</th><th scope=\"col\">Time</th></tr></thead><tbody>"
        );
        for moment in &example.times {
            let (at, name) = (elapsed(moment.at_us - started_us, true), escaped(&moment.name));
            put!(out, "<tr><td>{at}</td><td>{name}</td><td>{}</td></tr>", utc(moment.at_us));
        }
        put!(out, "</tbody></table></div>");
    }
    for row in &example.rows {
        let copies = match row.copies {
            0 => "<b class=\"bad\">missing</b>".to_owned(),
            1 => "one row".to_owned(),
            copies => format!("<b class=\"bad\">{copies} rows</b>"),
        };
        let table = escaped(&row.table);
        put!(out, "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Row of {table}\">");
        put!(out, "<table><caption>Table <code>{table}</code>: {copies}</caption><thead><tr>");
        row.columns.iter().for_each(|(name, _)| put!(out, "<th scope=\"col\">{}</th>", escaped(name)));
        put!(out, "</tr></thead><tbody><tr>");
        row.columns.iter().for_each(|(_, value)| put!(out, "<td>{}</td>", escaped(value)));
        put!(out, "</tr></tbody></table></div>");
    }
    put!(out, "</li>\n");
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn notes(out: &mut String, promise: &PromiseVerdict) {
    if promise.notes.is_empty() {
        return;
    }
    put!(out, "<details><summary>{} on {}</summary><ul>", counted(promise.notes.len(), "remark"), escaped(&promise.id));
    promise.notes.iter().for_each(|note| put!(out, "<li>{}</li>", escaped(note)));
    put!(out, "</ul></details>\n");
}

/// Thresholds and steady states.
fn limits(out: &mut String, told: &Told<'_>) {
    let verdict = told.verdict;
    if verdict.thresholds.is_empty() && verdict.steady_states.is_empty() {
        return;
    }
    put!(
        out,
        "<section aria-labelledby=\"limits\"><h2 id=\"limits\">Thresholds and steady states</h2>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Thresholds and steady states, values\"><table class=\"limits\">"
    );
    put!(
        out,
        "<thead><tr><th scope=\"col\">What</th><th scope=\"col\">When</th><th scope=\"col\">Measured</th><th scope=\"col\">Limit</th><th scope=\"col\">Holds</th></tr></thead><tbody>"
    );
    for threshold in &verdict.thresholds {
        limit(out, threshold, "whole run");
    }
    for state in &verdict.steady_states {
        let when = format!("steady state {}", state.when.word());
        state.conditions.iter().for_each(|condition| limit(out, condition, &when));
    }
    put!(out, "</tbody></table></div></section>\n");
}

fn limit(out: &mut String, threshold: &Threshold, when: &str) {
    let (name, unit) = (escaped(&threshold.name), escaped(&threshold.unit));
    let measured = threshold.value.map_or_else(|| "nothing".to_owned(), |value| format!("{} {unit}", number(value)));
    let (class, word) = if threshold.holds() { ("good", "yes") } else { ("bad", "no") };
    let sign = escaped(threshold.comparison.sign());
    put!(out, "<tr><th scope=\"row\"><code>{name}</code></th><td>{when}</td><td class=\"number\">{measured}</td>");
    put!(
        out,
        "<td class=\"number\">{sign} {} {unit}</td><td><span class=\"badge {class}\">{word}</span></td></tr>",
        number(threshold.limit)
    );
}

/// Promises that were kept, and those that the run did not exercise.
fn kept(out: &mut String, told: &Told<'_>) {
    let kept: Vec<&PromiseVerdict> = told.verdict.promises.iter().filter(|promise| promise.kept).collect();
    if kept.is_empty() {
        return;
    }
    put!(out, "<section aria-labelledby=\"kept\"><h2 id=\"kept\">Other promises</h2>\n");
    for promise in kept {
        let (id, text, checked) = (escaped(&promise.id), escaped(&promise.promise), escaped(&promise.checked));
        let (class, word) = if is_idle(promise) { ("idle", "not exercised") } else { ("good", "kept") };
        put!(
            out,
            "<article class=\"card\"><h3><span class=\"badge {class}\">{id} {word}</span> {text}</h3><p class=\"quiet\">{checked}</p>\n"
        );
        notes(out, promise);
        put!(out, "</article>\n");
    }
    put!(out, "</section>\n");
}

/// What the run was, and how to repeat it.
fn about(out: &mut String, told: &Told<'_>) {
    let run = told.run;
    put!(out, "<section aria-labelledby=\"repeat\"><h2 id=\"repeat\">Repeat this run</h2>\n");
    match run.repeat.is_empty() {
        true => put!(out, "<p class=\"quiet\">Nothing is recorded of how it was started.</p>\n"),
        false => put!(out, "<pre tabindex=\"0\" aria-label=\"Commands\">{}</pre>\n", escaped(&run.repeat.join("\n"))),
    }
    put!(out, "<p class=\"quiet\">Judge it again from this folder alone: <code>chaos judge DIR</code></p></section>\n");
    put!(out, "<section aria-labelledby=\"run\"><h2 id=\"run\">The run</h2>\n<dl class=\"facts\">");
    let mut fact = |name: &str, value: &str| put!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escaped(value));
    fact("Seed", &run.seed.to_string());
    fact("Started", &utc(run.started_at.timestamp_micros()));
    fact("Ended", &run.ended_at.map_or_else(|| "unknown".to_owned(), |at| utc(at.timestamp_micros())));
    for version in &run.versions {
        fact(&escaped(&version.program), &version.version);
    }
    let machine = &run.machine;
    fact("System", &machine.system);
    fact("Processor", &format!("{}, {} usable", machine.processor, machine.processors));
    fact("Memory", &format!("{} MiB", machine.memory_mib));
    put!(out, "</dl></section>\n<section aria-labelledby=\"scenario\"><h2 id=\"scenario\">The scenario</h2>\n");
    put!(out, "<pre tabindex=\"0\" aria-label=\"Scenario\">{}</pre></section>\n", escaped(&run.scenario));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::event::{Event, What};
    use crate::verdict::sample::Sample;

    #[test]
    fn a_page_shows_what_broke_with_its_rows_and_times() {
        let sample = Sample::failed();
        let page = html(&sample.told());
        for part in [
            "<title>kill-node: failed</title>",
            "P1 broken",
            "has 0 rows of the bucket",
            "<b class=\"bad\">missing</b>",
            "0:41.234",
            "heartbeat_p99",
            "412 ms",
            "kill -9 node-1",
            "Shards of each node",
            "device_offline",
            "not exercised",
            "chaos run config/chaos/kill-node.toml --seed 7",
            "Some processor, 2 usable",
        ] {
            assert!(page.contains(part), "{part}");
        }
        let page = html(&Sample::passed().told());
        assert!(page.contains("<p class=\"outcome good\">Passed</p>") && !page.contains("Broken promises"));
    }

    #[test]
    fn a_page_loads_nothing_and_has_no_script() {
        let page = html(&Sample::failed().told()).to_lowercase();
        for part in ["<script", "src=", "href=", "url(", "@import", "<iframe", "<link", "javascript:"] {
            assert!(!page.contains(part), "{part}");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn nothing_that_devices_or_servers_say_is_markup() {
        let hostile = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>&\u{202e}";
        let mut sample = Sample::failed();
        let text = || hostile.to_owned();
        sample.run.name = text();
        sample.run.description = text();
        sample.run.scenario = text();
        sample.run.repeat = vec![text()];
        sample.run.machine.system = text();
        sample.run.versions[0].program = text();
        sample.run.versions[0].version = text();
        sample.remarks = vec![text()];
        let verdict = &mut sample.verdict;
        verdict.problem = Some(text());
        verdict.thresholds[0].name = text();
        verdict.thresholds[0].unit = text();
        for promise in &mut verdict.promises {
            (promise.id, promise.promise, promise.checked, promise.notes) = (text(), text(), text(), vec![text()]);
            for example in &mut promise.counterexamples {
                (example.device, example.request, example.what) = (Some(text()), Some(text()), text());
                example.times.iter_mut().for_each(|moment| moment.name = text());
                for row in &mut example.rows {
                    (row.table, row.columns) = (text(), vec![(text(), text())]);
                }
            }
        }
        for event in &mut sample.events {
            match &mut event.what {
                What::FaultBegan { text: name, .. } | What::Shards { node: name, .. } | What::Alerts { rule: name, .. } => *name = text(),
                What::Load(window) if !window.errors.is_empty() => window.errors = [(text(), 3)].into(),
                _ => {}
            }
        }
        let page = html(&sample.told());
        assert!(page.matches("&lt;script&gt;").count() > 20, "it is shown");
        for part in ["<script", "<img", "\u{202e}"] {
            assert!(!page.contains(part), "{part}");
        }
        assert_eq!(page.matches("onerror=&#39;").count(), page.matches("onerror=").count());
    }

    #[test]
    fn headings_are_in_order_and_each_drawing_has_a_name_and_a_table() {
        let page = html(&Sample::failed().told());
        assert_eq!(page.matches("<h1>").count(), 1);
        assert_eq!(page.matches("role=\"img\"").count(), page.matches("role=\"img\" aria-label=\"").count());
        // Faults, throughput, times, errors, shards, alerts.
        assert_eq!(page.matches("<figure").count(), 6);
        assert_eq!(page.matches(" as a table</summary>").count(), 6);
        for tag in ["section", "article", "figure", "table", "details", "div", "svg", "ul", "ol", "dl", "p"] {
            let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn a_page_without_events_says_so() {
        let mut sample = Sample::passed();
        sample.events.clear();
        assert!(html(&sample.told()).contains("No event was recorded"));
        sample.events.push(Event { at_us: 1, what: What::Note { text: "a".into() } });
        assert!(html(&sample.told()).contains("No fault was injected"));
    }
}
