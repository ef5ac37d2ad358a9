//! P3: no command ran that was unsigned, altered, expired or for another device, checked on the commands as received and
//! independently of the verdicts of the devices.

use std::collections::BTreeMap;

use wire::agent::Command;

use super::history::clock_text;
use super::{Check, Evidence, History, Violation};
use crate::agent_command::{DeviceKey, VERSION, expiry, is_signed};

/// Time within which the order of a key change and a command is undetermined.
const SAME_MOMENT_US: i64 = 1_000;

/// Checks each executed command against the keys of its device, its expiry and the table.
pub(super) fn check(history: &History) -> Check {
    let mut violations = Vec::new();
    let mut without_key = 0_u64;
    for ran in &history.executed {
        let fault = fault(history, ran.device, &ran.command, ran.at_us, &mut without_key).or_else(|| not_requested(history, &ran.command));
        violations.extend(fault.map(|fault| {
            let id = ran.command.request_id.as_str();
            let what = format!("ran the command {id} ({}) at {}: {fault}", ran.command.action, clock_text(ran.at_us));
            let evidence = super::commands::command_row(history, id, Evidence::of_request(id).and_at("executed", ran.at_us));
            Violation::new("P3", history.devices.text(ran.device), what).with(evidence)
        }));
    }
    // Refused attempts are listed to show that there was something to refuse.
    let mut tried: BTreeMap<&str, u64> = BTreeMap::new();
    for received in &history.received {
        if let Some(fault) = fault(history, received.device, &received.command, received.at_us, &mut 0) {
            *tried.entry(fault).or_default() += 1;
        }
    }
    let bad: u64 = tried.values().sum();
    let tried: Vec<String> = tried.into_iter().map(|(fault, n)| format!("{n} {fault}")).collect();
    let mut notes = Vec::new();
    if bad > 0 {
        notes.push(format!("arrived: {}", tried.join(", ")));
    }
    if without_key > 0 {
        notes.push(format!("{without_key} signatures were not looked at: the keys of their devices are not known"));
    }
    Check {
        promise: "P3",
        looked_at: match (history.executed.len(), bad) {
            (0, 0) => "nothing to check: no command was run".to_owned(),
            (run, bad) => format!("{run} commands run; {bad} bad ones arrived"),
        },
        violations,
        notes,
    }
}

/// Fault of a command itself.
fn fault(history: &History, device: u32, command: &Command, at_us: i64, without_key: &mut u64) -> Option<&'static str> {
    if command.v != VERSION {
        return Some("of an unknown version");
    }
    if command.device_id != history.devices.text(device) {
        return Some("another device's");
    }
    if expiry(command).is_none_or(|expires_at| expires_at.timestamp_micros() <= at_us) {
        return Some("expired");
    }
    let Some(periods) = history.keys.get(&device) else {
        *without_key += 1;
        return None;
    };
    let in_force = |at_us: i64| periods.iter().rev().find(|period| period.since_us <= at_us);
    let signed = |key: &DeviceKey| is_signed(key, command);
    let periods = [in_force(at_us), in_force(at_us - SAME_MOMENT_US), in_force(at_us + SAME_MOMENT_US)];
    let good = periods.into_iter().flatten().any(|period| period.keys.iter().any(signed));
    (!good).then_some("not signed with a key of its device")
}

/// Fault of a command that was not requested, or not like this.
fn not_requested(history: &History, command: &Command) -> Option<&'static str> {
    let rows = history.stored.commands.as_ref()?;
    match rows.get(&command.request_id) {
        None => Some("not in the table"),
        Some(row) if row.device_id != command.device_id => Some("requested for another device"),
        Some(row) if row.action != command.action => Some("requested as another action"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::agent_command::sign;
    use crate::oracle::{CommandRow, ExecutedCommand, KeyPeriod, ReceivedCommand};

    const SECOND_US: i64 = 1_000_000;
    const NOW_US: i64 = 1_795_275_377 * SECOND_US;

    fn key(byte: &str) -> DeviceKey {
        DeviceKey::from_hex(&byte.repeat(32)).unwrap()
    }

    fn command(signed_by: &str) -> Command {
        let mut command = Command {
            request_id: "r1".into(),
            device_id: "d1".into(),
            action: "ping".into(),
            ts: "2026-11-21T15:36:00Z".into(),
            expires_at: "2026-11-21T15:46:00Z".into(),
            params: "{}".into(),
            signature: String::new(),
            v: "1".into(),
        };
        command.signature = sign(&key(signed_by), &command);
        command
    }

    /// d1 had the key 11, both from 10 s ago on, and 22 alone from 5 s ago on.
    fn history(ran: Command, at_us: i64) -> History {
        let mut history = History::default();
        let device = history.devices.number("d1");
        let period = |since_us, keys: &[&str]| KeyPeriod { since_us, keys: keys.iter().map(|byte| key(byte)).collect() };
        let periods =
            vec![period(i64::MIN, &["11"]), period(NOW_US - 10 * SECOND_US, &["11", "22"]), period(NOW_US - 5 * SECOND_US, &["22"])];
        history.keys.insert(device, periods);
        history.executed.push(ExecutedCommand { device, at_us, command: ran });
        history
    }

    fn violations(history: &History) -> Vec<String> {
        let check = check(history);
        assert!(check.violations.iter().all(|violation| violation.promise == "P3" && violation.device == "d1"), "{check:?}");
        check.violations.into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn each_key_holds_in_its_time_and_not_before_or_after() {
        for (byte, ago_s, good) in
            [("11", 20, true), ("22", 20, false), ("11", 7, true), ("22", 7, true), ("11", 1, false), ("22", 1, true), ("33", 7, false)]
        {
            let found = violations(&history(command(byte), NOW_US - ago_s * SECOND_US));
            assert_eq!(found.is_empty(), good, "{byte} {ago_s}: {found:?}");
            assert!(good || found[0].contains("not signed with a key"), "{found:?}");
        }
    }

    #[test]
    fn an_altered_expired_foreign_or_unknown_one_that_ran_is_a_violation() {
        let altered = |change: &dyn Fn(&mut Command)| {
            let mut command = command("22");
            change(&mut command);
            command
        };
        for (ran, what) in [
            (altered(&|c| c.action = "reboot".into()), "not signed"),
            (altered(&|c| c.params = "{ }".into()), "not signed"),
            (altered(&|c| c.signature = String::new()), "not signed"),
            (altered(&|c| c.v = "2".into()), "unknown version"),
            (altered(&|c| c.device_id = "d2".into()), "another device's"),
            (altered(&|c| (c.expires_at, c.signature) = ("2026-11-21T15:36:00Z".into(), String::new())), "expired"),
            (altered(&|c| c.expires_at = "never".into()), "expired"),
        ] {
            let found = violations(&history(ran, NOW_US));
            assert!(found.len() == 1 && found[0].contains(what), "{what}: {found:?}");
        }
    }

    #[test]
    fn one_that_nobody_requested_is_a_violation_however_well_it_is_signed() {
        let row = |device_id: &str, action: &str| CommandRow {
            device_id: device_id.into(),
            batch_id: None,
            action: action.into(),
            state: "succeeded".into(),
            outcome: None,
            code: None,
            expires_us: 0,
        };
        for (row, what) in [
            (Some(row("d1", "ping")), None),
            (Some(row("d2", "ping")), Some("another device")),
            (Some(row("d1", "reboot")), Some("another action")),
            (None, Some("not in the table")),
        ] {
            let mut history = history(command("22"), NOW_US);
            history.stored.commands = Some(row.map(|row| ("r1".to_owned(), row)).into_iter().collect::<HashMap<_, _>>());
            let found = violations(&history);
            assert_eq!(found.first().map(|found| what.is_some_and(|what| found.contains(what))), what.map(|_| true), "{found:?}");
        }
    }

    #[test]
    fn what_was_tried_in_vain_is_told() {
        let mut history = history(command("22"), NOW_US);
        history.received.push(ReceivedCommand { device: 0, at_us: NOW_US, command: command("33") });
        history.received.push(ReceivedCommand { device: 0, at_us: NOW_US, command: command("22") });
        let found = check(&history);
        assert!(found.violations.is_empty() && found.looked_at.ends_with("1 bad ones arrived"), "{found:?}");
        assert_eq!(found.notes, ["arrived: 1 not signed with a key of its device"]);
        history.keys.clear();
        assert!(check(&history).notes[0].contains("1 signatures were not looked at"), "one run, its key unknown");
    }
}
