//! P14: an agent loses no result and runs no command twice, whenever its process is killed. Checked for host agents, whose
//! platform keeps a record of its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;
use wire::agent::Command;

use super::history::clock_text;
use super::rows::columns;
use super::{Check, CommandRow, Evidence, History, Violation};
use crate::harness::Psql;
use crate::host_agent::{installed_version, read_actions, read_events};
use crate::identity::key_history;

/// Limit of items in the queue of an agent.
const QUEUE_ITEMS_MAX: u32 = 500;
/// Limit of the database size of an agent, including its log: a queue of 10 MB, other data and free pages.
const DATABASE_BYTES_MAX: u64 = 24 << 20;

const QUEUE_DEPTHS: &str = "SELECT device_id, max(queue_depth) FROM heartbeats_unpacked WHERE queue_depth IS NOT NULL GROUP BY 1";
const UPDATES: &str = "
    SELECT device_id, version_code, event FROM agent_update_outcome JOIN agent_build USING (build_id) WHERE event = 'installed'";

/// Action that a platform performed for its agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PerformedAction {
    /// Name of the action.
    pub action: String,
    /// Recorded parameters.
    pub params: Map<String, Value>,
}

/// Conclusion of a command in the log of an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConcludedCommand {
    /// Id of the command.
    pub request_id: String,
    /// Outcome to report.
    pub outcome: String,
    /// Code of the outcome.
    pub code: Option<String>,
    /// Time in the agent's log.
    pub at_us: i64,
}

/// Facts about a host agent beside its record.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HostAgentFacts {
    /// Number of the device.
    pub device: u32,
    /// Actions of the platform, in order.
    pub performed: Vec<PerformedAction>,
    /// Conclusions of commands that it logged.
    pub concluded: Vec<ConcludedCommand>,
    /// Last time that its database was damaged on purpose.
    pub database_damaged_us: Option<i64>,
    /// Size of its database at the end.
    pub database_bytes: u64,
    /// Largest queue depth that a heartbeat reported.
    pub queue_depth_max: Option<u32>,
    /// Version code of the agent at the end, when it was installed by an update.
    pub updated_to: Option<i64>,
    /// Versions whose installation was reported to the server.
    pub updates_reported: HashSet<i64>,
}

/// Files of a host agent and the damage done to it.
#[derive(Debug, Clone)]
pub struct HostAgentFiles<'a> {
    /// State folder.
    pub state_dir: &'a Path,
    /// Record of its own, if it has one.
    pub record: Option<&'a Path>,
    /// Initial version of the agent, if known.
    pub first_version: Option<i64>,
    /// When its database was damaged, microseconds.
    pub database_damaged_us: Option<i64>,
}

impl<'a> HostAgentFiles<'a> {
    /// Files of an undamaged agent whose record is shared with others.
    pub fn of_state_dir(state_dir: &'a Path) -> Self {
        Self { state_dir, record: None, first_version: None, database_damaged_us: None }
    }
}

impl History {
    /// Reads the files of a host agent; nothing of one that never enrolled.
    ///
    /// # Errors
    /// A file cannot be read or parsed.
    pub fn read_host_agent(&mut self, files: &HostAgentFiles<'_>) -> Result<()> {
        if let Some(record) = files.record.filter(|record| record.exists()) {
            self.read_record(record)?;
        }
        if !files.state_dir.join("identities.jsonl").exists() {
            return Ok(());
        }
        for device_id in key_history(files.state_dir)?.into_keys() {
            let device = self.devices.number(&device_id);
            let actions = read_actions(files.state_dir)?;
            let events = read_events(&files.state_dir.with_file_name("agent.log"))?;
            let concluded = events.iter().filter(|event| event.event == "command.concluded").filter_map(|event| {
                let (request_id, outcome) = (event.text("request_id")?.to_owned(), event.text("outcome")?.to_owned());
                let code = event.text("code").map(str::to_owned);
                Some(ConcludedCommand { request_id, outcome, code, at_us: event.ts.timestamp_micros() })
            });
            self.host_agents.push(HostAgentFacts {
                device,
                concluded: concluded.collect(),
                performed: actions.into_iter().map(|done| PerformedAction { action: done.action, params: done.fields }).collect(),
                database_damaged_us: files.database_damaged_us,
                database_bytes: database_bytes(files.state_dir),
                updated_to: files
                    .first_version
                    .and_then(|first| installed_version(files.state_dir, "com.nexmdm").filter(|code| *code > first)),
                ..HostAgentFacts::default()
            });
        }
        self.read_keys(files.state_dir)
    }
}

fn database_bytes(state_dir: &Path) -> u64 {
    let size = |name: &str| std::fs::metadata(state_dir.join(name)).map_or(0, |file| file.len());
    size("agent.db") + size("agent.db-wal")
}

/// Reads the database rows that concern host agents only.
pub(super) async fn read_rows(history: &mut History, psql: &Psql) -> Result<()> {
    if history.host_agents.is_empty() {
        return Ok(());
    }
    let places: HashMap<u32, usize> = history.host_agents.iter().enumerate().map(|(place, facts)| (facts.device, place)).collect();
    let place_of = |history: &History, device: &str| history.devices.find(device).and_then(|device| places.get(&device).copied());
    for [device, depth] in columns(&psql.run(QUEUE_DEPTHS, &[]).await?)? {
        if let Some(place) = place_of(history, device) {
            history.host_agents[place].queue_depth_max = Some(depth.parse()?);
        }
    }
    for [device, version_code, _] in columns(&psql.run(UPDATES, &[]).await?)? {
        if let Some(place) = place_of(history, device) {
            history.host_agents[place].updates_reported.insert(version_code.parse()?);
        }
    }
    Ok(())
}

/// Checks executions, results and limits of every host agent.
pub(super) fn check(history: &History) -> Check {
    let mut check = Check { promise: "P14", looked_at: String::new(), violations: Vec::new(), notes: Vec::new() };
    let (mut executed, mut performed, mut concluded) = (0, 0, 0);
    for facts in &history.host_agents {
        let mut findings = Findings { history, device: facts.device, violations: Vec::new() };
        executed += executed_once(facts, &mut findings);
        performed += facts.performed.len();
        concluded += facts.concluded.len();
        results(facts, &mut findings);
        memory_loss(facts, &mut findings);
        bounds(facts, &mut findings);
        check.violations.append(&mut findings.violations);
    }
    check.violations.sort_by(|a, b| (&a.device, &a.what).cmp(&(&b.device, &b.what)));
    check.looked_at = match history.host_agents.len() {
        0 => "nothing to check: no host agent took part".to_owned(),
        agents => {
            format!("{agents} host agents ran {executed} commands, their platforms performed {performed} actions; {concluded} ends logged")
        }
    };
    let depths = history.host_agents.iter().filter_map(|facts| facts.queue_depth_max).max();
    let bytes = history.host_agents.iter().map(|facts| facts.database_bytes).max();
    if let Some(bytes) = bytes {
        let depths = depths.map_or_else(|| "unknown".to_owned(), |depth| depth.to_string());
        check.notes.push(format!("longest queue {depths}, largest database {} KiB", bytes >> 10));
        check.notes.push(outcome_counts(history));
    }
    check
}

struct Findings<'h> {
    history: &'h History,
    device: u32,
    violations: Vec<Violation>,
}

impl Findings<'_> {
    fn add(&mut self, what: String) {
        self.violations.push(Violation::new("P14", self.history.devices.text(self.device), what));
    }

    fn add_of_command(&mut self, request_id: &str, at: Option<(&str, i64)>, what: String) {
        let evidence = at.into_iter().fold(Evidence::of_request(request_id), |evidence, (name, at_us)| evidence.and_at(name, at_us));
        let evidence = super::commands::command_row(self.history, request_id, evidence);
        self.violations.push(Violation::new("P14", self.history.devices.text(self.device), what).with(evidence));
    }

    fn row(&self, request_id: &str) -> Option<&CommandRow> {
        self.history.stored.commands.as_ref()?.get(request_id)
    }
}

/// Checks by the records of agent and platform that no command was executed twice; the number of executed commands.
fn executed_once(facts: &HostAgentFacts, findings: &mut Findings<'_>) -> usize {
    let mut commands: BTreeMap<&str, (&Command, u32)> = BTreeMap::new();
    for ran in findings.history.executed.iter().filter(|ran| ran.device == facts.device) {
        commands.entry(&ran.command.request_id).or_insert((&ran.command, 0)).1 += 1;
    }
    for (request_id, (command, times)) in &commands {
        if *times > 1 {
            findings.add_of_command(request_id, None, format!("executed the command {request_id} ({}) {times} times", command.action));
        }
    }
    // Equal actions cannot be distinguished: their number must not exceed that of the commands.
    let mut groups: Vec<(&PerformedAction, usize)> = Vec::new();
    for performed in &facts.performed {
        let known = groups.iter_mut().find(|(known, _)| known.action == performed.action && known.params == performed.params);
        match known {
            Some((_, times)) => *times += 1,
            None => groups.push((performed, 1)),
        }
    }
    for (performed, times) in groups {
        let wanted = commands.values().filter(|(command, _)| explains(command, performed)).count();
        if times > wanted && is_of_a_command(&performed.action) {
            let params = Value::Object(performed.params.clone());
            findings.add(format!("its platform performed {} {params} {times} times for {wanted} executed commands", performed.action));
        }
    }
    commands.len()
}

/// Whether an action belongs to a command of its own and is not part of an installation.
fn is_of_a_command(action: &str) -> bool {
    domain::action::ActionKind::ALL.iter().any(|kind| kind.as_str() == action)
}

/// Whether an action may have been performed for a command: the recorded fields agree.
fn explains(command: &Command, performed: &PerformedAction) -> bool {
    let params: Value = serde_json::from_str(&command.params).unwrap_or_default();
    command.action == performed.action && performed.params.iter().all(|(name, value)| params.get(name).is_none_or(|wanted| wanted == value))
}

/// Checks that every executed or concluded command has reached the server with the outcome of the agent.
fn results(facts: &HostAgentFacts, findings: &mut Findings<'_>) {
    if findings.history.stored.commands.is_none() {
        return;
    }
    // Results that were queued in a damaged database are lost with it.
    let survived = |at_us: i64| facts.database_damaged_us.is_none_or(|damaged_us| at_us > damaged_us);
    let mut unknown = Vec::new();
    let mut seen = HashSet::new();
    for ran in findings.history.executed.iter().filter(|ran| ran.device == facts.device && survived(ran.at_us)) {
        let id = ran.command.request_id.as_str();
        if seen.insert(id) && findings.row(id).is_none_or(|row| row.outcome.is_none()) {
            let state = findings.row(id).map_or("not in the table", |row| row.state.as_str());
            let what = format!(
                "executed the command {id} ({}) at {}, but its result never reached the server: it is {state}",
                ran.command.action,
                clock_text(ran.at_us)
            );
            unknown.push((id, ("executed", ran.at_us), what));
        }
    }
    for end in facts.concluded.iter().filter(|end| survived(end.at_us)) {
        match findings.row(&end.request_id) {
            Some(row) if row.outcome.as_deref() == Some(end.outcome.as_str()) => {}
            // The outcome was reported before the database was lost, and the agent no longer knows.
            Some(row) if row.outcome.is_some() && facts.database_damaged_us.is_some() && end.code.as_deref() == Some("memory_lost") => {}
            // Reported above.
            Some(row) if row.outcome.is_none() && seen.contains(end.request_id.as_str()) => {}
            Some(row) => {
                let what = format!(
                    "concluded the command {} with {} at {}, but it has the outcome {} and is {} in the table",
                    end.request_id,
                    end.outcome,
                    clock_text(end.at_us),
                    row.outcome.as_deref().unwrap_or("none"),
                    row.state
                );
                unknown.push((end.request_id.as_str(), ("concluded", end.at_us), what));
            }
            None => {
                let what = format!("concluded the command {} with {}, which is not in the table", end.request_id, end.outcome);
                unknown.push((end.request_id.as_str(), ("concluded", end.at_us), what));
            }
        }
    }
    unknown.into_iter().for_each(|(id, at, what)| findings.add_of_command(id, Some(at), what));
    if let Some(version) = facts.updated_to.filter(|version| !facts.updates_reported.contains(version)) {
        findings.add(format!("was updated to {version}, but never reported it"));
    }
}

/// Checks that a lost database is noticed, so that no earlier command runs again, and that an intact one is not reported as
/// lost.
fn memory_loss(facts: &HostAgentFacts, findings: &mut Findings<'_>) {
    let Some(damaged_us) = facts.database_damaged_us else {
        let device_id = findings.history.devices.text(facts.device);
        let rows = findings.history.stored.commands.iter().flatten();
        let lost = rows.filter(|(_, row)| row.device_id == device_id && row.code.as_deref() == Some("memory_lost"));
        let lost: Vec<&str> = lost.map(|(id, _)| id.as_str()).collect();
        for id in lost {
            findings.add_of_command(id, None, format!("refused the command {id} as memory_lost, although its state was not lost"));
        }
        return;
    };
    // An agent that had received nothing lost nothing: earlier commands may run.
    let had_memory = findings.history.received.iter().any(|received| received.device == facts.device && received.at_us < damaged_us);
    let old = findings.history.executed.iter().filter(|ran| had_memory && ran.device == facts.device && ran.at_us > damaged_us);
    let old = old.filter(|ran| created_us(&ran.command.request_id).is_some_and(|created_us| created_us < damaged_us));
    for ran in old {
        let id = ran.command.request_id.as_str();
        let lost = clock_text(damaged_us);
        let what = format!("executed the command {id} ({}) from before its database was lost at {lost}", ran.command.action);
        findings.add_of_command(id, Some(("executed", ran.at_us)), what);
    }
}

/// Creation time of a command, from its UUIDv7.
fn created_us(request_id: &str) -> Option<i64> {
    let (seconds, nanos) = Uuid::parse_str(request_id).ok()?.get_timestamp()?.to_unix();
    Some(i64::try_from(seconds).ok()? * 1_000_000 + i64::from(nanos) / 1_000)
}

/// Checks the limits of the queue and of the database.
fn bounds(facts: &HostAgentFacts, findings: &mut Findings<'_>) {
    if let Some(depth) = facts.queue_depth_max.filter(|depth| *depth > QUEUE_ITEMS_MAX) {
        findings.add(format!("reported {depth} queued items, limit {QUEUE_ITEMS_MAX}"));
    }
    if facts.database_bytes > DATABASE_BYTES_MAX {
        findings.add(format!("has a database of {} KiB, limit {}", facts.database_bytes >> 10, DATABASE_BYTES_MAX >> 10));
    }
}

/// Outcomes and codes of the commands of host agents.
fn outcome_counts(history: &History) -> String {
    let ours: HashSet<&str> = history.host_agents.iter().map(|facts| history.devices.text(facts.device)).collect();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for row in history.stored.commands.iter().flatten().map(|(_, row)| row).filter(|row| ours.contains(row.device_id.as_str())) {
        let code = row.code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
        *counts.entry(format!("{}{code}", row.outcome.as_deref().unwrap_or(&row.state))).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(ending, n)| format!("{n} {ending}")).collect();
    format!("their commands: {}", if counts.is_empty() { "none".into() } else { counts.join(", ") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oracle::{ExecutedCommand, ReceivedCommand};

    const SECOND_US: i64 = 1_000_000;
    /// 100 s after 1970, as a UUIDv7 tells it.
    const FIRST: &str = "00000001-86a0-7000-8000-000000000001";
    /// 200 s after it.
    const SECOND: &str = "00000003-0d40-7000-8000-000000000002";

    fn ran(history: &mut History, request_id: &str, action: &str, params: &Value, at_s: i64) {
        let device = history.devices.number("d1");
        let text = String::new;
        let command = Command {
            request_id: request_id.into(),
            device_id: "d1".into(),
            action: action.into(),
            ts: text(),
            expires_at: text(),
            params: params.to_string(),
            signature: text(),
            v: text(),
        };
        history.executed.push(ExecutedCommand { device, at_us: at_s * SECOND_US, command });
    }

    fn row(history: &mut History, request_id: &str, state: &str, outcome: Option<&str>, code: Option<&str>) {
        let row = CommandRow {
            device_id: "d1".into(),
            batch_id: None,
            action: "ring".into(),
            state: state.into(),
            outcome: outcome.map(str::to_owned),
            code: code.map(str::to_owned),
            expires_us: 0,
        };
        history.stored.commands.get_or_insert_default().insert(request_id.into(), row);
    }

    fn performed(history: &mut History, action: &str, params: Value) {
        let Value::Object(params) = params else { panic!() };
        history.host_agents[0].performed.push(PerformedAction { action: action.into(), params });
    }

    fn concluded(history: &mut History, request_id: &str, outcome: &str) {
        let end = ConcludedCommand { request_id: request_id.into(), outcome: outcome.into(), code: None, at_us: 201 * SECOND_US };
        history.host_agents[0].concluded.push(end);
    }

    /// d1 rang for 3 s and for 4 s, one command each; both results are with the server.
    fn history() -> History {
        let mut history = History::default();
        let device = history.devices.number("d1");
        history.host_agents.push(HostAgentFacts { device, queue_depth_max: Some(7), ..HostAgentFacts::default() });
        for (request_id, duration_s, at_s) in [(FIRST, 3, 101), (SECOND, 4, 200)] {
            ran(&mut history, request_id, "ring", &json!({"duration_s": duration_s}), at_s);
            performed(&mut history, "ring", json!({"duration_s": duration_s}));
            row(&mut history, request_id, "succeeded", Some("success"), None);
            concluded(&mut history, request_id, "success");
        }
        history
    }

    fn broken(history: &History, what: &str) {
        let check = check(history);
        assert!(check.violations.len() == 1 && check.violations[0].what.contains(what), "{what}: {check:?}");
        assert!(check.violations[0].promise == "P14" && check.violations[0].device == "d1", "{check:?}");
    }

    #[test]
    fn what_runs_once_and_is_told_breaks_nothing() {
        let check = check(&history());
        assert!(check.violations.is_empty(), "{check:?}");
        assert!(check.looked_at.contains("ran 2 commands") && check.looked_at.contains("performed 2 actions"), "{check:?}");
        assert_eq!(check.notes, ["longest queue 7, largest database 0 KiB", "their commands: 2 success"]);
        assert!(super::check(&History::default()).looked_at.contains("nothing to check"));
    }

    #[test]
    fn a_command_that_is_executed_twice_is_a_violation() {
        let mut history = history();
        ran(&mut history, SECOND, "ring", &json!({"duration_s": 4}), 205);
        broken(&history, "executed the command 00000003-0d40-7000-8000-000000000002 (ring) 2 times");
    }

    #[test]
    fn an_action_that_the_platform_performed_twice_is_a_violation() {
        let mut history = history();
        performed(&mut history, "ring", json!({"duration_s": 4}));
        broken(&history, "performed ring {\"duration_s\":4} 2 times for 1 executed commands");
        // A second command that wanted the same explains it.
        ran(&mut history, "another", "ring", &json!({"duration_s": 4}), 205);
        row(&mut history, "another", "succeeded", Some("success"), None);
        assert!(check(&history).violations.is_empty());
        // Nobody asked for this one at all.
        performed(&mut history, "reboot", json!({}));
        broken(&history, "performed reboot {} 1 times for 0 executed commands");
        // Installing is no command of its own.
        history.host_agents[0].performed.last_mut().unwrap().action = "install".into();
        assert!(check(&history).violations.is_empty());
    }

    #[test]
    fn a_result_that_never_reached_the_server_is_a_violation() {
        let mut lost = history();
        row(&mut lost, SECOND, "expired", None, None);
        broken(&lost, "its result never reached the server: it is expired");
        let mut vanished = history();
        vanished.stored.commands.as_mut().unwrap().remove(FIRST);
        vanished.host_agents[0].concluded.clear();
        broken(&vanished, "it is not in the table");
        // A rejected command was never executed, but its end was logged.
        let mut rejected = history();
        concluded(&mut rejected, "r3", "failed");
        row(&mut rejected, "r3", "delivered", None, None);
        broken(&rejected, "concluded the command r3 with failed at 00:03:21.000000, but it has the outcome none and is delivered");
    }

    #[test]
    fn an_outcome_that_changed_on_its_way_is_a_violation() {
        let mut history = history();
        row(&mut history, SECOND, "failed", Some("failed"), Some("interrupted"));
        broken(&history, "with success at 00:03:21.000000, but it has the outcome failed");
    }

    #[test]
    fn a_lost_database_loses_results_and_runs_nothing_from_before() {
        let mut history = history();
        history.host_agents[0].database_damaged_us = Some(150 * SECOND_US);
        row(&mut history, FIRST, "expired", None, None);
        history.host_agents[0].concluded.remove(0);
        assert!(check(&history).violations.is_empty(), "the result went with the database");
        row(&mut history, FIRST, "failed", Some("failed"), Some("memory_lost"));
        assert!(check(&history).violations.is_empty());
        // The second one was made before, and ran after.
        history.host_agents[0].database_damaged_us = Some(200 * SECOND_US + 1);
        history.executed[1].at_us = 201 * SECOND_US;
        assert!(check(&history).violations.is_empty(), "nothing had arrived before: there was nothing to remember");
        let first = &history.executed[0];
        let received = ReceivedCommand { device: first.device, at_us: first.at_us, command: first.command.clone() };
        history.received.push(received);
        broken(&history, "from before its database was lost at 00:03:20.000001");
    }

    #[test]
    fn an_outcome_that_was_told_before_the_database_was_lost_stands() {
        let mut history = history();
        history.host_agents[0].database_damaged_us = Some(200 * SECOND_US);
        let end = ConcludedCommand {
            request_id: SECOND.into(),
            outcome: "failed".into(),
            code: Some("memory_lost".into()),
            at_us: 202 * SECOND_US,
        };
        history.host_agents[0].concluded.push(end);
        assert!(check(&history).violations.is_empty(), "{:?}", check(&history).violations);
        history.host_agents[0].concluded[2].code = Some("interrupted".into());
        broken(&history, "with failed at 00:03:22.000000, but it has the outcome success");
    }

    #[test]
    fn a_memory_that_nobody_touched_is_not_lost() {
        let mut history = history();
        row(&mut history, "r3", "failed", Some("failed"), Some("memory_lost"));
        broken(&history, "refused the command r3 as memory_lost");
    }

    #[test]
    fn limits_of_queue_and_database_hold() {
        let mut long = history();
        long.host_agents[0].queue_depth_max = Some(501);
        broken(&long, "reported 501 queued items");
        let mut large = history();
        large.host_agents[0].database_bytes = 30 << 20;
        broken(&large, "a database of 30720 KiB");
    }

    #[test]
    fn an_update_that_the_server_never_heard_of_is_a_violation() {
        let mut history = history();
        history.host_agents[0].updated_to = Some(121);
        broken(&history, "was updated to 121, but never reported it");
        history.host_agents[0].updates_reported.insert(121);
        assert!(check(&history).violations.is_empty());
    }
}
