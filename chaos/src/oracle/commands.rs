//! P2: a command runs at most once on its device, an acknowledged result is kept, and no accepted command is lost.

use std::collections::{BTreeMap, HashMap};

use super::history::{clock_text, utc_text};
use super::{Check, CommandRow, Evidence, History, Violation};

/// Time after its expiry within which a command is marked as expired.
const EXPIRED_WITHIN_US: i64 = 60_000_000;
/// Final states.
const FINAL: [&str; 4] = ["succeeded", "failed", "expired", "canceled"];
/// States that are not final.
const OPEN: [&str; 3] = ["queued", "sent", "delivered"];
/// Outcome that is reported on receipt.
const RECEIVED: &str = "received";

/// Checks executions, acknowledged results and requested commands against the table.
pub(super) fn check(history: &History) -> Check {
    let mut violations = executed_twice(history);
    let mut notes = Vec::new();
    let acknowledged = acknowledged(history, &mut violations);
    match &history.stored.commands {
        Some(rows) => {
            results(history, rows, &acknowledged, &mut violations);
            requests(history, rows, &mut violations);
            notes.push(states(rows));
        }
        None if !acknowledged.is_empty() || !history.requested.is_empty() => {
            notes.push("the database has no table of commands: neither results nor requests can be looked up".into());
        }
        None => {}
    }
    violations.sort_by(|a, b| (&a.device, &a.what).cmp(&(&b.device, &b.what)));
    let accepted = history.requested.iter().filter(|request| request.accepted).count();
    let looked_at = if history.received.is_empty() && history.requested.is_empty() {
        "nothing to check: no command was sent".to_owned()
    } else {
        format!(
            "{accepted} commands accepted of {} requested, {} received, {} run, {} results acknowledged",
            history.requested.len(),
            history.received.len(),
            history.executed.len(),
            acknowledged.len()
        )
    };
    Check { promise: "P2", looked_at, violations, notes }
}

/// Request ids that a device ran executed_twice.
fn executed_twice(history: &History) -> Vec<Violation> {
    let mut runs: HashMap<(u32, &str), Vec<i64>> = HashMap::new();
    for ran in &history.executed {
        runs.entry((ran.device, &ran.command.request_id)).or_default().push(ran.at_us);
    }
    let executed_twice = runs.into_iter().filter(|(_, times)| times.len() > 1);
    let found = executed_twice.map(|((device, id), times)| {
        let evidence = times.iter().fold(Evidence::of_request(id), |evidence, at_us| evidence.and_at("executed", *at_us));
        violation(history, device, format!("ran the command {id} {} times", times.len())).with(command_row(history, id, evidence))
    });
    found.collect()
}

/// Acknowledged outcome of each command.
fn acknowledged<'h>(history: &'h History, violations: &mut Vec<Violation>) -> BTreeMap<(u32, &'h str), (&'h str, i64)> {
    let mut outcomes: BTreeMap<(u32, &str), (&str, i64)> = BTreeMap::new();
    for result in history.results.iter().filter(|result| result.status == Some(200) && result.outcome != RECEIVED) {
        let first = outcomes.entry((result.device, &result.request_id)).or_insert((&result.outcome, result.answered_us));
        if first.0 != result.outcome {
            let what = format!("was acknowledged both {} and {} of the command {}", first.0, result.outcome, result.request_id);
            let evidence = Evidence::of_request(&result.request_id)
                .and_at(&format!("{} acknowledged", first.0), first.1)
                .and_at(&format!("{} acknowledged", result.outcome), result.answered_us);
            violations.push(violation(history, result.device, what).with(command_row(history, &result.request_id, evidence)));
        }
    }
    outcomes
}

/// Checks that acknowledged results are in the table, unchanged.
fn results(
    history: &History,
    rows: &HashMap<String, CommandRow>,
    acknowledged: &BTreeMap<(u32, &str), (&str, i64)>,
    violations: &mut Vec<Violation>,
) {
    for ((device, request_id), (outcome, answered_us)) in acknowledged {
        let said = format!("the command {request_id}: {outcome}, acknowledged at {}", clock_text(*answered_us));
        let what = match rows.get(*request_id) {
            None => format!("{said}, is not in the table"),
            Some(row) if row.device_id != history.devices.text(*device) => format!("{said}, is one of the device {}", row.device_id),
            Some(row) if row.outcome.as_deref() != Some(*outcome) => {
                format!("{said}, has the outcome {} and is {} in the table", row.outcome.as_deref().unwrap_or("none"), row.state)
            }
            Some(_) => continue,
        };
        let evidence = Evidence::of_request(request_id).and_at("result acknowledged", *answered_us);
        violations.push(violation(history, *device, what).with(command_row(history, request_id, evidence)));
    }
}

/// Checks that each accepted command exists once and has finished or may still finish.
fn requests(history: &History, rows: &HashMap<String, CommandRow>, violations: &mut Vec<Violation>) {
    let mut by_device: HashMap<&str, Vec<&CommandRow>> = HashMap::new();
    for row in rows.values() {
        by_device.entry(&row.device_id).or_default().push(row);
    }
    let mut requested: HashMap<u32, usize> = HashMap::new();
    for request in &history.requested {
        *requested.entry(request.device).or_default() += 1;
        if !request.accepted {
            continue;
        }
        let device_id = history.devices.text(request.device);
        let mine = by_device.get(device_id).map(Vec::as_slice).unwrap_or_default();
        let (name, found): (String, Vec<&CommandRow>) = match (&request.request_id, &request.batch_id) {
            (Some(id), _) => (format!("the command {id}"), rows.get(id).filter(|row| row.device_id == device_id).into_iter().collect()),
            (None, Some(batch)) => {
                let found = mine.iter().filter(|row| row.batch_id.as_deref() == Some(batch.as_str())).copied();
                (format!("its command of the batch {batch}"), found.collect())
            }
            (None, None) => continue,
        };
        let accepted = format!("{name}, accepted by {} at {}", history.names.text(request.server), clock_text(request.answered_us));
        let what = match found[..] {
            [row] => overdue(history, row),
            [] => Some("is missing".to_owned()),
            _ => Some(format!("exists {} times", found.len())),
        };
        if let Some(what) = what {
            let id = request.request_id.as_deref().or(request.batch_id.as_deref()).unwrap_or_default();
            let evidence = Evidence::of_request(id).and_at("accepted", request.answered_us);
            let evidence = match found[..] {
                [] if request.request_id.is_none() => evidence.and_row("command", 0, &[("batch_id", id), ("device_id", device_id)]),
                [] => command_row(history, id, evidence),
                _ => found.iter().fold(evidence, |evidence, row| and_row(evidence, id, row)),
            };
            violations.push(violation(history, request.device, format!("{accepted}, {what}")).with(evidence));
        }
    }
    for (device, requests) in requested {
        // Commands of deployments are created by the server.
        let rows = by_device.get(history.devices.text(device)).into_iter().flatten().filter(|row| row.action != "deploy_apk").count();
        if history.requested_are_all && rows > requests {
            violations.push(violation(
                history,
                device,
                format!("has {rows} commands, but {requests} were requested: a retry created another"),
            ));
        }
    }
}

/// Reason why a command should have finished by now, if it has not.
fn overdue(history: &History, row: &CommandRow) -> Option<String> {
    let state = row.state.as_str();
    if FINAL.contains(&state) {
        return None;
    }
    let expired_at = clock_text(row.expires_us);
    if !OPEN.contains(&state) {
        return Some(format!("has the unknown state `{state}`"));
    }
    let overdue = history.stored.read_us > row.expires_us.saturating_add(EXPIRED_WITHIN_US);
    overdue.then(|| format!("is still {state}, although it expired at {expired_at}"))
}

/// Number of commands by state.
fn states(rows: &HashMap<String, CommandRow>) -> String {
    let mut states: BTreeMap<&str, u32> = BTreeMap::new();
    for row in rows.values() {
        *states.entry(&row.state).or_default() += 1;
    }
    let states: Vec<String> = states.into_iter().map(|(state, n)| format!("{n} {state}")).collect();
    format!("in the table: {}", if states.is_empty() { "nothing".into() } else { states.join(", ") })
}

fn violation(history: &History, device: u32, what: String) -> Violation {
    Violation::new("P2", history.devices.text(device), what)
}

/// Evidence with the row of a command, or that it is missing; as it was where the server has no such table.
pub(super) fn command_row(history: &History, request_id: &str, evidence: Evidence) -> Evidence {
    match history.stored.commands.as_ref().map(|rows| rows.get(request_id)) {
        Some(Some(row)) => and_row(evidence, request_id, row),
        Some(None) => evidence.and_row("command", 0, &[("request_id", request_id)]),
        None => evidence,
    }
}

fn and_row(evidence: Evidence, request_id: &str, row: &CommandRow) -> Evidence {
    let expires_at = utc_text(row.expires_us);
    evidence.and_row(
        "command",
        1,
        &[
            ("request_id", request_id),
            ("device_id", &row.device_id),
            ("action", &row.action),
            ("state", &row.state),
            ("outcome", row.outcome.as_deref().unwrap_or("none")),
            ("expires_at", &expires_at),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{ExecutedCommand, ReportedResult, RequestedCommand};
    use wire::agent::Command;

    const SECOND_US: i64 = 1_000_000;

    fn command(request_id: &str) -> Command {
        let text = String::new;
        Command {
            request_id: request_id.into(),
            device_id: "d1".into(),
            action: "ping".into(),
            ts: text(),
            expires_at: text(),
            params: text(),
            signature: text(),
            v: text(),
        }
    }

    fn row(request_id: &str, state: &str, outcome: Option<&str>) -> (String, CommandRow) {
        let row = CommandRow {
            device_id: "d1".into(),
            batch_id: None,
            action: "ping".into(),
            state: state.into(),
            outcome: outcome.map(str::to_owned),
            code: None,
            expires_us: 100 * SECOND_US,
        };
        (request_id.to_owned(), row)
    }

    /// r1 was requested, run and acknowledged as a success; r2 was requested and is open.
    fn history() -> History {
        let mut history = History::default();
        let (device, server) = (history.devices.number("d1"), history.names.number("http://n1"));
        let request =
            |id: &str| RequestedCommand { device, server, request_id: Some(id.into()), batch_id: None, accepted: true, answered_us: 0 };
        history.requested = vec![request("r1"), request("r2")];
        history.executed.push(ExecutedCommand { device, at_us: 0, command: command("r1") });
        history.results.push(ReportedResult {
            device,
            request_id: "r1".into(),
            outcome: "success".into(),
            status: Some(200),
            sent_us: 0,
            answered_us: 0,
        });
        history.stored.commands = Some(HashMap::from([row("r1", "succeeded", Some("success")), row("r2", "sent", None)]));
        history.stored.read_us = 90 * SECOND_US;
        history
    }

    fn broken(history: &History, what: &str) {
        let check = check(history);
        assert_eq!(check.violations.len(), 1, "{check:?}");
        let first = &check.violations[0];
        assert!(first.promise == "P2" && first.device == "d1" && first.what.contains(what), "{what}: {check:?}");
    }

    #[test]
    fn a_run_that_went_well_breaks_nothing() {
        let check = check(&history());
        assert!(check.violations.is_empty(), "{check:?}");
        assert!(check.looked_at.starts_with("2 commands accepted of 2 requested, 0 received, 1 run, 1 results"), "{check:?}");
        assert_eq!(check.notes, ["in the table: 1 sent, 1 succeeded"]);
    }

    #[test]
    fn a_command_run_twice_is_a_violation() {
        let mut history = history();
        history.executed.push(ExecutedCommand { device: 0, at_us: 5, command: command("r1") });
        broken(&history, "ran the command r1 2 times");
        history.executed[1].device = history.devices.number("d2");
        assert!(check(&history).violations.is_empty(), "another device's is another command");
    }

    #[test]
    fn an_acknowledged_result_that_is_lost_or_changed_is_a_violation() {
        for (change, what) in [
            (row("r1", "succeeded", Some("failed")), "has the outcome failed"),
            (row("r1", "expired", None), "has the outcome none and is expired"),
        ] {
            let mut history = history();
            history.stored.commands.as_mut().unwrap().extend([change]);
            broken(&history, what);
        }
        let mut history = history();
        history.requested.remove(0);
        history.stored.commands.as_mut().unwrap().remove("r1");
        broken(&history, "is not in the table");
        history.stored.commands = None;
        assert!(check(&history).notes[0].contains("no table"));
    }

    #[test]
    fn what_was_not_acknowledged_may_be_missing_or_different() {
        for (outcome, status) in [("failed", Some(409)), ("success", None), ("received", Some(200))] {
            let mut history = history();
            let result = ReportedResult { outcome: outcome.into(), status, request_id: "r2".into(), ..history.results[0].clone() };
            history.results.push(result);
            assert!(check(&history).violations.is_empty(), "{outcome} {status:?}");
        }
    }

    #[test]
    fn two_outcomes_of_one_command_are_a_violation() {
        let mut history = history();
        let result = ReportedResult { outcome: "failed".into(), ..history.results[0].clone() };
        history.results.push(result);
        broken(&history, "both success and failed");
    }

    #[test]
    fn an_accepted_command_that_vanished_or_never_ends_is_a_violation() {
        let mut gone = history();
        gone.stored.commands.as_mut().unwrap().remove("r2");
        broken(&gone, "r2, accepted by http://n1 at 00:00:00.000000, is missing");
        let mut stuck = history();
        stuck.stored.read_us = 159 * SECOND_US;
        assert!(check(&stuck).violations.is_empty(), "it may take a moment");
        stuck.stored.read_us = 161 * SECOND_US;
        broken(&stuck, "is still sent, although it expired");
        let mut unknown = history();
        unknown.stored.commands.as_mut().unwrap().extend([row("r2", "lost", None)]);
        broken(&unknown, "the unknown state `lost`");
    }

    #[test]
    fn a_retry_that_made_a_second_command_is_a_violation() {
        let mut history = history();
        history.stored.commands.as_mut().unwrap().extend([row("r3", "queued", None)]);
        assert!(check(&history).violations.is_empty(), "somebody else may have requested it");
        history.requested_are_all = true;
        broken(&history, "has 3 commands, but 2 were requested");
        // A request whose answer was lost: its command may exist or not.
        history.requested.push(RequestedCommand { request_id: None, accepted: false, ..history.requested[0].clone() });
        assert!(check(&history).violations.is_empty());
    }

    #[test]
    fn each_device_of_a_batch_has_its_command_once() {
        let mut history = history();
        history.requested[1] = RequestedCommand { request_id: None, batch_id: Some("b1".into()), ..history.requested[0].clone() };
        broken(&history, "its command of the batch b1, accepted by http://n1 at 00:00:00.000000, is missing");
        history.stored.commands.as_mut().unwrap().get_mut("r2").unwrap().batch_id = Some("b1".into());
        assert!(check(&history).violations.is_empty());
    }
}
