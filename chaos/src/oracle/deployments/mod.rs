//! P5: a deployment respects the limits of its options, starts the rest only after its canary has passed, and reports correct
//! states. P6: a stop is in force within ten seconds.

mod facts;
mod pace;
mod rows;
mod stopped;

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};

pub use facts::{AttemptRow, DeploymentRow, Deployments, Limits, OperatorAction, Step, StopEvent, TaskRow, append_action};
pub use pace::{most_at_a_time, most_in_a_minute};
pub(super) use rows::read;

use super::history::{clock_text, utc_text};
use super::{Check, Evidence, History, Violation};

const FINAL_STATES: [&str; 4] = ["succeeded", "failed", "skipped", "canceled"];

/// Checks rate, canary, window, counters and versions.
pub(super) fn check(history: &History) -> Check {
    let facts = &history.deployments;
    let mut findings = Findings { promise: "P5", violations: Vec::new() };
    let mut notes = Vec::new();
    for (id, row) in &facts.rows {
        let attempts: Vec<&AttemptRow> = facts.attempts.iter().filter(|attempt| attempt.deployment == *id).collect();
        let tasks: Vec<&TaskRow> = facts.tasks.iter().filter(|task| task.deployment == *id).collect();
        let Limits { rate_per_minute, concurrency, .. } = row.options;
        let (minute, at_us) = most_in_a_minute(&attempts);
        if rate_per_minute > 0 && minute > rate_per_minute as usize {
            let what = format!("{id} started {minute} in the minute up to {}, limit {rate_per_minute}", clock_text(at_us));
            findings.add("", what, Evidence::of_request(id).and_at("the last of them started", at_us));
        }
        let (at_a_time, at_us) = most_at_a_time(&attempts);
        if at_a_time > concurrency as usize {
            let what = format!("{id} had {at_a_time} installing at {}, limit {concurrency}", clock_text(at_us));
            findings.add("", what, Evidence::of_request(id).and_at("the last of them started", at_us));
        }
        canary_gate(id, row, &attempts, &tasks, &mut findings);
        for task in &tasks {
            if let (Some(window), Some(at_us)) = (&row.options.window, task.accepted_us)
                && !window.is_open(time(at_us))
            {
                let what = format!("was cleared to install by {id} at {}, outside its window", clock_text(at_us));
                findings.add(&task.device_id, what, task_row(task, Evidence::of_request(id).and_at("accepted", at_us)));
            }
        }
        counters(facts, id, &tasks, &mut findings);
        notes.push(states(id, row, &tasks, minute, at_a_time));
    }
    accepted(history, &mut findings);
    versions(history, &mut findings);
    findings.violations.sort_by(|a, b| (&a.device, &a.what).cmp(&(&b.device, &b.what)));
    let looked_at = if facts.rows.is_empty() && facts.steps.is_empty() {
        "nothing to check: there was no deployment".to_owned()
    } else {
        format!(
            "{} deployments, {} tasks, {} attempts, {} steps of devices",
            facts.rows.len(),
            facts.tasks.len(),
            facts.attempts.len(),
            facts.steps.len()
        )
    };
    Check { promise: "P5", looked_at, violations: findings.violations, notes }
}

/// Checks that nothing starts once a stop is in force.
pub(super) fn check_stops(history: &History) -> Check {
    let mut findings = Findings { promise: "P6", violations: Vec::new() };
    let stops = stopped::check(history, &mut findings);
    let looked_at =
        if stops == 0 { "nothing to check: nothing was stopped".to_owned() } else { format!("{stops} times something was stopped") };
    Check { promise: "P6", looked_at, violations: findings.violations, notes: Vec::new() }
}

/// Violations of a promise.
struct Findings {
    promise: &'static str,
    violations: Vec<Violation>,
}

impl Findings {
    fn add(&mut self, device: &str, what: String, evidence: Evidence) {
        self.violations.push(Violation::new(self.promise, device, what).with(evidence));
    }
}

fn time(at_us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at_us).unwrap_or_default()
}

/// Checks that no other device starts before enough canary devices have succeeded.
fn canary_gate(id: &str, row: &DeploymentRow, attempts: &[&AttemptRow], tasks: &[&TaskRow], findings: &mut Findings) {
    let Some((threshold_pct, min_count)) = row.options.canary else { return };
    let first: HashSet<&str> = tasks.iter().filter(|task| task.canary).map(|task| task.device_id.as_str()).collect();
    let others = attempts.iter().filter(|attempt| !first.contains(attempt.device_id.as_str()));
    let Some(opened) = others.min_by_key(|attempt| attempt.started_us) else { return };
    let done = |state: &str| {
        let by_then = |task: &&&TaskRow| task.canary && task.state == state && task.finished_us.is_some_and(|at| at <= opened.started_us);
        tasks.iter().filter(by_then).count()
    };
    let (succeeded, failed) = (done("succeeded"), done("failed"));
    let enough = succeeded + failed >= min_count as usize && succeeded * 100 >= threshold_pct as usize * (succeeded + failed);
    if !enough || succeeded == 0 {
        let what = format!(
            "was started by {id} at {}, when {succeeded} of the first devices had succeeded and {failed} failed; {threshold_pct} % of at \
             least {min_count} are wanted",
            clock_text(opened.started_us)
        );
        let evidence = Evidence::of_request(id).and_at("started", opened.started_us);
        let canary = tasks.iter().filter(|task| task.canary);
        findings.add(&opened.device_id, what, canary.fold(evidence, |evidence, task| task_row(task, evidence)));
    }
}

/// Checks that the counters of the API agree with the table.
fn counters(facts: &Deployments, id: &str, tasks: &[&TaskRow], findings: &mut Findings) {
    let Some(reported) = facts.counts.get(id) else { return };
    let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
    for task in tasks {
        *counted.entry(&task.state).or_default() += 1;
    }
    let states: HashSet<&str> = reported.keys().map(String::as_str).chain(counted.keys().copied()).collect();
    for state in states {
        let (reported, counted) = (reported.get(state).copied().unwrap_or(0), counted.get(state).copied().unwrap_or(0));
        if reported != counted {
            let what = format!("{id} reports {reported} devices that are {state}, the table has {counted}");
            findings.add("", what, Evidence::of_request(id));
        }
    }
}

/// Checks that devices continue only after their `accepted` was acknowledged, and within the window. A device that has the
/// version already may report success at once.
fn accepted(history: &History, findings: &mut Findings) {
    let facts = &history.deployments;
    let mut accepted_attempts: HashSet<(u32, &str, Option<u32>)> = HashSet::new();
    let mut installed: HashMap<(u32, &str), i64> = HashMap::new();
    let has_version = |installed: &HashMap<(u32, &str), i64>, device: u32, deployment: &str| {
        let row = facts.rows.get(deployment);
        row.is_some_and(|row| installed.get(&(device, row.package.as_str())).is_some_and(|code| *code >= row.version_code))
    };
    for step in facts.steps.iter().filter(|step| !step.deployment.is_empty()) {
        let key = (step.device, step.deployment.as_str(), step.attempt);
        match (step.step.as_str(), step.status) {
            ("succeeded", _) if !accepted_attempts.contains(&key) && has_version(&installed, step.device, &step.deployment) => {}
            ("accepted", Some(200)) => {
                accepted_attempts.insert(key);
                let window = facts.rows.get(&step.deployment).and_then(|row| row.options.window.as_ref());
                if window.is_some_and(|window| !window.is_open(time(step.sent_us)) && !window.is_open(time(step.answered_us))) {
                    let what =
                        format!("was cleared to install by {} at {}, outside its window", step.deployment, clock_text(step.answered_us));
                    findings.add(history.devices.text(step.device), what, step_times(step));
                }
            }
            ("downloading" | "verifying" | "installing" | "downloaded" | "installed" | "succeeded", _)
                if !accepted_attempts.contains(&key) =>
            {
                let what = format!("continued {} ({}) without permission to start", step.deployment, step.step);
                findings.add(history.devices.text(step.device), what, step_times(step));
            }
            _ => {}
        }
        if let ("installed", Some(package), Some(code)) = (step.step.as_str(), &step.package, step.version_code)
            && accepted_attempts.contains(&key)
        {
            let newest = installed.entry((step.device, package)).or_insert(code);
            *newest = code.max(*newest);
        }
    }
}

/// Checks that devices which succeeded have the version or a newer one, and that acknowledged successes are stored.
fn versions(history: &History, findings: &mut Findings) {
    let facts = &history.deployments;
    let mut newest: HashMap<(&str, &str), i64> = HashMap::new();
    let mut acknowledged: HashMap<(&str, &str), i64> = HashMap::new();
    for step in &facts.steps {
        let device = history.devices.text(step.device);
        match (step.step.as_str(), step.status, &step.package, step.version_code) {
            ("installed", _, Some(package), Some(code)) => {
                let known = newest.entry((device, package)).or_insert(code);
                *known = code.max(*known);
            }
            ("succeeded", Some(200), ..) => drop(acknowledged.insert((device, &step.deployment), step.answered_us)),
            _ => {}
        }
    }
    for task in &facts.tasks {
        let Some(row) = facts.rows.get(&task.deployment) else { continue };
        // Devices that are not in the record are not checked.
        if history.devices.find(&task.device_id).is_none() {
            continue;
        }
        let has = newest.get(&(task.device_id.as_str(), row.package.as_str())).is_some_and(|code| *code >= row.version_code);
        if task.state == "succeeded" && !has {
            let what = format!("succeeded in {}, but never installed {} of {}", task.deployment, row.version_code, row.package);
            findings.add(&task.device_id, what, task_row(task, Evidence::of_request(&task.deployment)));
        }
        if task.reason == "already_installed" && !has {
            let what = format!(
                "is reported by {} to have {} of {} already, but never installed it",
                task.deployment, row.version_code, row.package
            );
            findings.add(&task.device_id, what, task_row(task, Evidence::of_request(&task.deployment)));
        }
        let reported = acknowledged.get(&(task.device_id.as_str(), task.deployment.as_str()));
        // A heartbeat has to confirm it, which may not have come.
        let kept = matches!(task.state.as_str(), "succeeded" | "confirming") || task.reason == "unconfirmed";
        if let Some(at_us) = reported.filter(|_| !kept) {
            let what = format!("reported success to {}, acknowledged at {}, but is {}", task.deployment, clock_text(*at_us), task.state);
            let evidence = Evidence::of_request(&task.deployment).and_at("success acknowledged", *at_us);
            findings.add(&task.device_id, what, task_row(task, evidence));
        }
    }
}

/// Evidence with the row of a task.
fn task_row(task: &TaskRow, evidence: Evidence) -> Evidence {
    let time = |at_us: Option<i64>| at_us.map_or_else(|| "none".to_owned(), utc_text);
    let (accepted_at, finished_at) = (time(task.accepted_us), time(task.finished_us));
    evidence.and_row(
        "deployment_task",
        1,
        &[
            ("deployment_id", &task.deployment),
            ("device_id", &task.device_id),
            ("state", &task.state),
            ("reason", &task.reason),
            ("accepted_at", &accepted_at),
            ("finished_at", &finished_at),
        ],
    )
}

/// Evidence of a step that a device did or reported.
fn step_times(step: &Step) -> Evidence {
    Evidence::of_request(&step.deployment).and_at("sent", step.sent_us).and_at("answered", step.answered_us)
}

/// Summary line of one deployment.
fn states(id: &str, row: &DeploymentRow, tasks: &[&TaskRow], minute: usize, at_a_time: usize) -> String {
    let mut states: BTreeMap<&str, u32> = BTreeMap::new();
    for task in tasks {
        *states.entry(&task.state).or_default() += 1;
    }
    let open = tasks.iter().filter(|task| !FINAL_STATES.contains(&task.state.as_str())).count();
    let states: Vec<String> = states.into_iter().map(|(state, n)| format!("{n} {state}")).collect();
    format!(
        "{id} is {}: {}; {open} open; at most {minute} starts in a minute and {at_a_time} at a time",
        row.state,
        if states.is_empty() { "no tasks".into() } else { states.join(", ") }
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fleet::Window;

    pub(super) const SECOND_US: i64 = 1_000_000;

    /// Two of three first devices succeeded, then the fourth was started; three a minute, two at a time.
    pub(super) fn history() -> History {
        let mut history = History::default();
        let options = Limits { canary: Some((60, 2)), rate_per_minute: 3, concurrency: 2, window: None };
        let row = DeploymentRow { package: "p".into(), version_code: 7, state: "finished".into(), options };
        let facts = &mut history.deployments;
        facts.rows.insert("dep".into(), row);
        for (n, started, finished, state) in [(1, 0, 5, "succeeded"), (2, 1, 6, "failed"), (3, 7, 9, "succeeded"), (4, 61, 70, "succeeded")]
        {
            let device = history.devices.number(&format!("d{n}"));
            let us = |seconds: i64| seconds * SECOND_US;
            facts.attempts.push(attempt(&format!("d{n}"), us(started), Some(us(finished))));
            facts.tasks.push(TaskRow {
                deployment: "dep".into(),
                device_id: format!("d{n}"),
                canary: n <= 3,
                state: state.into(),
                reason: String::new(),
                accepted_us: Some(us(started + 1)),
                finished_us: Some(us(finished)),
            });
            let steps: &[&str] = if state == "succeeded" { &["accepted", "installed", "succeeded"] } else { &["accepted", "failed"] };
            for (place, name) in steps.iter().enumerate() {
                let at_us = us(started + 1) + place as i64;
                facts.steps.push(step(device, name, (*name != "installed").then_some(200), at_us));
            }
        }
        facts.counts.insert("dep".into(), BTreeMap::from([("succeeded".into(), 3), ("failed".into(), 1), ("queued".into(), 0)]));
        history
    }

    pub(super) fn attempt(device_id: &str, started_us: i64, finished_us: Option<i64>) -> AttemptRow {
        AttemptRow { deployment: "dep".into(), device_id: device_id.into(), started_us, finished_us }
    }

    pub(super) fn step(device: u32, name: &str, status: Option<u16>, at_us: i64) -> Step {
        Step {
            device,
            deployment: "dep".into(),
            attempt: Some(1),
            step: name.into(),
            status,
            sent_us: at_us,
            answered_us: at_us,
            package: Some("p".into()),
            version_code: Some(7),
        }
    }

    fn broken(history: &History, what: &str) {
        let check = check(history);
        assert!(check.violations.len() == 1 && check.violations[0].what.contains(what), "{what}: {check:?}");
    }

    fn options(history: &mut History) -> &mut Limits {
        &mut history.deployments.rows.get_mut("dep").unwrap().options
    }

    #[test]
    fn a_deployment_that_keeps_to_its_options_breaks_nothing() {
        let check = check(&history());
        assert!(check.violations.is_empty(), "{check:?}");
        assert!(check.notes[0].contains("1 failed, 3 succeeded; 0 open; at most 3 starts in a minute and 2 at a time"), "{check:?}");
        assert!(super::check(&History::default()).looked_at.contains("no deployment"));
    }

    #[test]
    fn too_many_starts_in_a_minute_are_a_violation() {
        let mut history = history();
        options(&mut history).rate_per_minute = 2;
        broken(&history, "started 3 in the minute up to 00:00:07");
        options(&mut history).rate_per_minute = 0;
        assert!(check(&history).violations.is_empty(), "no limit");
    }

    #[test]
    fn too_many_at_a_time_are_a_violation() {
        let mut history = history();
        options(&mut history).concurrency = 1;
        broken(&history, "had 2 installing at 00:00:01");
    }

    #[test]
    fn another_device_before_the_first_ones_went_well_is_a_violation() {
        for (threshold, min_count) in [(67, 2), (60, 4)] {
            let mut history = history();
            options(&mut history).canary = Some((threshold, min_count));
            broken(&history, "2 of the first devices had succeeded and 1 failed");
        }
        let mut early = history();
        early.deployments.attempts[3].started_us = 8 * SECOND_US;
        options(&mut early).rate_per_minute = 0;
        options(&mut early).concurrency = 9;
        broken(&early, "was started by dep at 00:00:08");
        options(&mut early).canary = None;
        assert!(check(&early).violations.is_empty());
    }

    #[test]
    fn an_accept_outside_the_window_is_a_violation_by_either_account() {
        let mut history = history();
        let window = |start: &str, end: &str| Some(Window::new(start.into(), end.into(), "UTC".into()));
        options(&mut history).window = window("00:00", "00:05");
        assert!(check(&history).violations.is_empty());
        options(&mut history).window = window("00:00", "00:01");
        // d4 was cleared to install at 00:01:02.
        let check = check(&history);
        assert_eq!(check.violations.len(), 2, "{check:?}");
        assert!(check.violations.iter().all(|violation| violation.device == "d4" && violation.what.contains("outside its window")));
    }

    #[test]
    fn counters_that_differ_from_the_table_are_a_violation() {
        let mut history = history();
        history.deployments.counts.get_mut("dep").unwrap().insert("queued".into(), 2);
        broken(&history, "reports 2 devices that are queued, the table has 0");
    }

    #[test]
    fn a_device_that_goes_on_without_being_let_through_is_a_violation() {
        let mut history = history();
        let refused = history.deployments.steps.iter_mut().find(|step| step.device == 3).unwrap();
        refused.status = Some(409);
        let check = check(&history);
        assert!(
            check.violations.len() == 2 && check.violations.iter().all(|v| v.device == "d4" && v.what.contains("continued")),
            "{check:?}"
        );
        history.deployments.steps.iter_mut().filter(|step| step.device == 3).for_each(|step| step.attempt = Some(2));
        history.deployments.steps.push(step(3, "accepted", Some(409), 5));
        assert_eq!(super::check(&history).violations.len(), 2, "another attempt's accepted is no permission");
    }

    #[test]
    fn a_device_that_has_the_version_already_may_succeed_at_once() {
        let mut history = history();
        let of_d4 = |history: &mut History, deployment: &str| {
            let steps = history.deployments.steps.iter_mut().filter(|step| step.device == 3 && step.step != "succeeded");
            steps.for_each(|step| step.deployment = deployment.into());
        };
        of_d4(&mut history, "earlier");
        assert!(accepted_violations(&history).is_empty(), "it was cleared by an earlier deployment, and installed the version");
        history.deployments.steps.retain(|step| step.device != 3 || step.step == "succeeded");
        assert_eq!(accepted_violations(&history).len(), 1, "it never installed the version");
    }

    fn accepted_violations(history: &History) -> Vec<String> {
        let mut findings = Findings { promise: "P5", violations: vec![] };
        accepted(history, &mut findings);
        findings.violations.into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn versions_and_tasks_agree() {
        let mut never = history();
        never.deployments.steps.retain(|step| !(step.device == 0 && step.step == "installed"));
        broken(&never, "succeeded in dep, but never installed 7 of p");
        // An older version is none, a newer one is.
        for (code, fits) in [(6, false), (8, true)] {
            let mut other = history();
            let installed = other.deployments.steps.iter_mut().filter(|step| step.device == 0 && step.step == "installed");
            installed.for_each(|step| step.version_code = Some(code));
            let never = check(&other).violations.iter().any(|violation| violation.what.contains("never installed"));
            assert_eq!(never, !fits, "version {code}");
        }
        let mut lost = history();
        lost.deployments.tasks[0].state = "failed".into();
        options(&mut lost).canary = None;
        lost.deployments.counts.clear();
        broken(&lost, "reported success to dep, acknowledged at 00:00:01.000002, but is failed");
    }
}
