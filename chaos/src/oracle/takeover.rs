//! P11 and P12: nothing is acknowledged without the database, and the devices of a failed node are taken over by another
//! node in time.

use std::collections::{BTreeMap, HashMap};

use super::history::clock_text;
use super::{Ack, Check, Evidence, Failure, FaultPeriod, FaultPeriodKind, History, Violation};

const SECOND_US: i64 = 1_000_000;
/// Takeover time after a kill.
const KILLED_WITHIN_US: i64 = 5 * SECOND_US;
/// Takeover time after a graceful stop.
const STOPPED_WITHIN_US: i64 = SECOND_US;
/// Time after the healing during which a fault may still cause failures.
const SETTLE_US: i64 = 10 * SECOND_US;
/// Longest pause of service after the death of a primary.
const PRIMARY_WITHIN_US: i64 = 30 * SECOND_US;
/// Number of slowest devices to name.
const SLOWEST: usize = 3;

/// Checks that no new heartbeat is acknowledged while PostgreSQL is down. A heartbeat that was acknowledged or may have been
/// stored before is a repeat, whose acknowledgement needs no database.
pub(super) fn without_database(history: &History) -> Check {
    let down: Vec<&FaultPeriod> = history.fault_periods.iter().filter(|period| period.kind == FaultPeriodKind::NoDatabase).collect();
    let mut first_answer_us: HashMap<(u32, i64), i64> = HashMap::new();
    for ack in &history.acks {
        if let Some(bucket_s) = ack.bucket_s {
            let first = first_answer_us.entry((ack.device, bucket_s)).or_insert(ack.answered_us);
            *first = ack.answered_us.min(*first);
        }
    }
    let inside = |ack: &&Ack| {
        let Some(bucket_s) = ack.bucket_s else { return false };
        let known_us = first_answer_us.get(&(ack.device, bucket_s)).copied().unwrap_or(ack.answered_us);
        down.iter().any(|period| {
            let sent_us = ack.sent_us.min(bucket_s * SECOND_US);
            sent_us > period.in_force_us && known_us > period.in_force_us && ack.answered_us < period.healing_us
        })
    };
    let mut violations: Vec<Violation> = history
        .acks
        .iter()
        .filter(inside)
        .map(|ack| {
            let (by, at) = (history.names.text(ack.server), clock_text(ack.answered_us));
            let times = Evidence::at("sent", ack.sent_us).and_at("acknowledged", ack.answered_us);
            let inside = down.iter().find(|period| (period.in_force_us..period.healing_us).contains(&ack.answered_us));
            let evidence = inside.into_iter().fold(times, |evidence, period| and_period(evidence, period));
            Violation::new("P11", history.devices.text(ack.device), format!("was acknowledged by {by} at {at} while PostgreSQL was down"))
                .with(evidence)
        })
        .collect();
    let (late, notes) = without_primary(history);
    violations.extend(late);
    let looked_at = match (down.len(), notes.len()) {
        (0, 0) => "nothing to check: PostgreSQL was never stopped".to_owned(),
        (n, 0) => format!("{n} times without PostgreSQL"),
        (0, n) => format!("{n} times without a primary"),
        (n, m) => format!("{n} times without PostgreSQL, {m} times without a primary"),
    };
    Check { promise: "P11", looked_at, violations, notes }
}

/// Whether new heartbeats go on being acknowledged in time after the death of a primary, and a note of the longest pause, for each.
fn without_primary(history: &History) -> (Vec<Violation>, Vec<String>) {
    let (mut violations, mut notes) = (Vec::new(), Vec::new());
    for period in history.fault_periods.iter().filter(|period| period.kind == FaultPeriodKind::NoPrimary) {
        // A repeat needs no database.
        let new = history.acks.iter().filter(|ack| {
            ack.sent_us > period.in_force_us && ack.bucket_s.is_some_and(|bucket_s| bucket_s * SECOND_US > period.in_force_us)
        });
        let mut answered: Vec<i64> = new.map(|ack| ack.answered_us).filter(|at_us| *at_us < period.healing_us).collect();
        // Of one that was never healed the end is not known; it has to have an answer.
        answered.extend([period.in_force_us, period.healing_us]);
        answered.sort_unstable();
        let pauses = answered.windows(2).filter_map(|pair| Some((pair.last()? - pair.first()?, *pair.first()?)));
        let Some((pause_us, from_us)) = pauses.max() else { continue };
        let (pause_s, limit_s) = (pause_us as f64 / SECOND_US as f64, PRIMARY_WITHIN_US / SECOND_US);
        let what = format!("{} at {}", period.text, clock_text(period.began_us));
        notes.push(format!("{what}: no new heartbeat was acknowledged for {pause_s:.2} s at most, from {} on", clock_text(from_us)));
        if pause_us > PRIMARY_WITHIN_US {
            let what = format!("{what}: no new heartbeat was acknowledged for {pause_s:.2} s, and {limit_s} s are allowed");
            violations.push(Violation::new("P11", "", what).with(Evidence::default().and_at("last before", from_us)));
        }
    }
    (violations, notes)
}

/// Checks that no attempt at a live node fails after the takeover time of a failed node, while no other fault is in force.
pub(super) fn check(history: &History) -> Check {
    let mut check = Check { promise: "P12", looked_at: String::new(), violations: Vec::new(), notes: Vec::new() };
    let mut windows = 0;
    for period in &history.fault_periods {
        let within_us = match period.kind {
            FaultPeriodKind::Killed => KILLED_WITHIN_US,
            FaultPeriodKind::Stopped => STOPPED_WITHIN_US,
            _ => continue,
        };
        check.notes.push(first_responses_text(history, period));
        let (from_us, until_us) = (period.in_force_us + within_us, exclusive_until(history, period));
        if from_us >= until_us {
            check.notes.push(format!(
                "{} at {}: other faults were in force, so failures prove nothing",
                period.text,
                clock_text(period.began_us)
            ));
            continue;
        }
        windows += 1;
        let failures = history.failures.iter().filter(|failure| {
            Some(failure.server) != period.server
                && failure.sent_us > from_us
                && failure.sent_us < until_us
                && failure.answered_us < until_us
        });
        check.violations.extend(failures.map(|failure| {
            let late_s = (failure.sent_us - period.in_force_us) as f64 / SECOND_US as f64;
            let (asked, error) = (history.names.text(failure.server), history.names.text(failure.error));
            let what = format!("asked {asked}, which lives, {late_s:.2} s after: {}; it failed with {error}", period.text);
            let times = Evidence::at("sent", failure.sent_us).and_at("failed", failure.answered_us);
            Violation::new("P12", history.devices.text(failure.device), what).with(and_period(times, period))
        }));
    }
    check.notes.extend(failures_by_fault(history));
    check.looked_at = match windows {
        0 => "nothing to check: no node was killed or stopped with nothing else going on".to_owned(),
        n => format!("{n} times a node was gone, {} failed tries in all", history.failures.len()),
    };
    check
}

/// Evidence with the times of a fault.
fn and_period(evidence: Evidence, period: &FaultPeriod) -> Evidence {
    let evidence = evidence.and_at("fault in force", period.in_force_us);
    match period.healing_us {
        i64::MAX => evidence,
        healing_us => evidence.and_at("fault healed", healing_us),
    }
}

/// Failures during and shortly after each fault, and failures without any fault.
fn failures_by_fault(history: &History) -> Vec<String> {
    let mut left: Vec<&Failure> = history.failures.iter().collect();
    let mut notes = Vec::new();
    for period in &history.fault_periods {
        let until_us = period.healed_us.saturating_add(SETTLE_US);
        let (mine, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|failure| failure.answered_us >= period.began_us && failure.sent_us < until_us);
        left = others;
        if !mine.is_empty() {
            notes.push(format!("failed attempts during and shortly after: {}: {}", period.text, by_error(history, period.server, &mine)));
        }
    }
    if !left.is_empty() {
        notes.push(format!("failed attempts without a fault: {}", by_error(history, None, &left)));
    }
    notes
}

/// Failures by kind, at the affected node and at others.
fn by_error(history: &History, server: Option<u32>, failures: &[&Failure]) -> String {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for failure in failures {
        let suffix = if Some(failure.server) == server { " at it" } else { "" };
        *counts.entry((history.names.text(failure.error), suffix)).or_default() += 1;
    }
    counts.into_iter().map(|((error, suffix), n)| format!("{error}{suffix} {n}")).collect::<Vec<_>>().join(", ")
}

/// End of the time in which this is the only fault; before its start when it never is.
fn exclusive_until(history: &History, period: &FaultPeriod) -> i64 {
    let mut until_us = period.healing_us;
    for other in history.fault_periods.iter().filter(|other| !std::ptr::eq(*other, period)) {
        if other.healed_us.saturating_add(SETTLE_US) < period.began_us || other.began_us >= until_us {
            continue;
        }
        until_us = until_us.min(other.began_us.max(period.began_us));
    }
    until_us
}

/// Time until the devices of a failed node were acknowledged again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstResponses {
    /// Wait and number of each acknowledged device, the shortest wait first.
    pub waited_us: Vec<(i64, u32)>,
    /// Devices that were not acknowledged again.
    pub never: usize,
}

/// First responses to the devices of a failed node: those that used it last and those that it owned.
pub fn first_responses(history: &History, period: &FaultPeriod) -> FirstResponses {
    let mut before: HashMap<u32, (i64, bool)> = HashMap::new();
    let mut after: HashMap<u32, i64> = HashMap::new();
    for ack in &history.acks {
        if ack.answered_us < period.began_us {
            let affected = Some(ack.server) == period.server || ack.decided.is_some_and(|by| Some(by.owner) == period.node);
            let known = before.entry(ack.device).or_insert((ack.answered_us, affected));
            if ack.answered_us >= known.0 {
                *known = (ack.answered_us, affected);
            }
        } else if ack.answered_us > period.in_force_us {
            let known = after.entry(ack.device).or_insert(ack.answered_us);
            *known = (*known).min(ack.answered_us);
        }
    }
    let affected: Vec<u32> = before.into_iter().filter(|(_, (_, affected))| *affected).map(|(device, _)| device).collect();
    let mut waited_us: Vec<(i64, u32)> =
        affected.iter().filter_map(|device| after.get(device).map(|at_us| (at_us - period.in_force_us, *device))).collect();
    waited_us.sort_unstable();
    FirstResponses { never: affected.len() - waited_us.len(), waited_us }
}

/// Text of the first responses.
fn first_responses_text(history: &History, period: &FaultPeriod) -> String {
    let FirstResponses { waited_us, never } = first_responses(history, period);
    let at = format!("{} at {}", period.text, clock_text(period.began_us));
    let seconds = |us: i64| us as f64 / SECOND_US as f64;
    let (Some(median), Some(last)) = (waited_us.get(waited_us.len() / 2), waited_us.last()) else {
        return format!("{at}: none of its {never} devices was acknowledged again");
    };
    let slowest: Vec<String> = waited_us
        .iter()
        .rev()
        .take(SLOWEST)
        .map(|(us, device)| format!("{} {:.2} s", history.devices.text(*device), seconds(*us)))
        .collect();
    format!(
        "{at}: first answer to its {} devices after {:.2} s (median) and {:.2} s (last), {never} without one; slowest: {}",
        waited_us.len() + never,
        seconds(median.0),
        seconds(last.0),
        slowest.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// node-1 at n1 is gone from 100 s to 130 s; n2 lives.
    fn history(kind: FaultPeriodKind) -> History {
        let mut history = History::default();
        let (server, node) = (history.names.number("http://n1"), history.names.number("node-1"));
        history.fault_periods.push(period(kind, 100, 130));
        history.fault_periods[0].server = Some(server);
        history.fault_periods[0].node = Some(node);
        history
    }

    fn period(kind: FaultPeriodKind, from_s: i64, until_s: i64) -> FaultPeriod {
        let (began_us, healing_us) = (from_s * SECOND_US, until_s * SECOND_US);
        let text = format!("{kind:?}");
        FaultPeriod {
            kind,
            text,
            server: None,
            node: None,
            began_us,
            in_force_us: began_us + 1_000,
            healing_us,
            healed_us: healing_us + SECOND_US,
        }
    }

    fn failed(history: &mut History, server: &str, sent_s: f64) {
        let (device, server) = (history.devices.number("d1"), history.names.number(server));
        let sent_us = (sent_s * SECOND_US as f64) as i64;
        let error = history.names.number("http_503");
        history.failures.push(Failure { device, server, sent_us, answered_us: sent_us + 1_000, error });
    }

    fn acked(history: &mut History, device: &str, server: &str, sent_s: i64) {
        let (device, server) = (history.devices.number(device), history.names.number(server));
        let sent_us = sent_s * SECOND_US;
        history.acks.push(Ack {
            device,
            server,
            bucket_s: Some(sent_s / 10 * 10),
            device_time_us: None,
            sent_us,
            answered_us: sent_us + 1_000,
            decided: None,
        });
    }

    /// When heartbeats are sent; whether service never paused for too long after the primary died at 100 s and until it is healed at 160 s.
    #[test]
    fn after_the_death_of_a_primary_new_heartbeats_are_acknowledged_in_time() {
        for (sent_s, violations) in
            [(&[99, 125, 140][..], 0), (&[125, 150], 0), (&[99], 1), (&[140, 155], 1), (&[111, 112, 150], 1), (&[111, 112], 1), (&[], 1)]
        {
            let mut history = history(FaultPeriodKind::NoPrimary);
            history.fault_periods[0].healing_us = 160 * SECOND_US;
            sent_s.iter().for_each(|sent_s| acked(&mut history, "d1", "http://n2", *sent_s));
            let check = without_database(&history);
            assert_eq!(check.violations.len(), violations, "{sent_s:?}: {check:?}");
            assert_eq!((check.notes.len(), check.looked_at.as_str()), (1, "1 times without a primary"));
        }
    }

    #[test]
    fn failures_in_time_at_the_dead_or_afterwards_are_fine() {
        let mut history = history(FaultPeriodKind::Killed);
        for (server, sent_s) in [("http://n2", 104.9), ("http://n1", 120.0), ("http://n2", 130.5), ("http://n2", 99.0)] {
            failed(&mut history, server, sent_s);
        }
        let check = check(&history);
        assert!(check.violations.is_empty() && check.looked_at.starts_with("1 times"), "{check:?}");
    }

    #[test]
    fn a_failure_at_a_living_node_six_seconds_after_a_kill_is_a_violation() {
        let mut history = history(FaultPeriodKind::Killed);
        failed(&mut history, "http://n2", 106.0);
        let check = check(&history);
        assert_eq!(check.violations.len(), 1, "{check:?}");
        assert!(check.violations[0].device == "d1" && check.violations[0].what.contains("6.00 s after"), "{check:?}");
    }

    #[test]
    fn after_a_graceful_stop_one_second_is_allowed() {
        let mut history = history(FaultPeriodKind::Stopped);
        failed(&mut history, "http://n2", 100.9);
        assert!(check(&history).violations.is_empty());
        failed(&mut history, "http://n2", 101.5);
        assert_eq!(check(&history).violations.len(), 1);
    }

    #[test]
    fn while_something_else_is_wrong_a_failure_proves_nothing() {
        // In force all the time, ended a moment before, or begun half-way.
        for (from_s, until_s, failed_s, violations) in [(90, 140, 110.0, 0), (80, 95, 110.0, 0), (115, 120, 118.0, 0), (115, 120, 110.0, 1)]
        {
            let mut history = history(FaultPeriodKind::Killed);
            history.fault_periods.push(period(FaultPeriodKind::Other, from_s, until_s));
            failed(&mut history, "http://n2", failed_s);
            assert_eq!(check(&history).violations.len(), violations, "{from_s} {until_s}");
        }
    }

    #[test]
    fn failures_are_told_by_fault() {
        let mut history = history(FaultPeriodKind::Killed);
        for (server, sent_s) in [("http://n1", 101.0), ("http://n1", 102.0), ("http://n2", 102.0), ("http://n2", 50.0)] {
            failed(&mut history, server, sent_s);
        }
        let notes = check(&history).notes.join("; ");
        assert!(notes.contains("after: Killed: http_503 1, http_503 at it 2"), "{notes}");
        assert!(notes.contains("without a fault: http_503 1"), "{notes}");
    }

    #[test]
    fn the_wait_of_its_devices_is_told() {
        let mut history = history(FaultPeriodKind::Killed);
        for (device, server, sent_s) in [
            ("its", "http://n1", 95),
            ("its", "http://n2", 103),
            ("other", "http://n2", 96),
            ("other", "http://n2", 109),
            ("lost", "http://n1", 97),
        ] {
            acked(&mut history, device, server, sent_s);
        }
        let notes = check(&history).notes;
        assert!(notes[0].contains("its 2 devices after 3.00 s (median) and 3.00 s (last), 1 without one"), "{notes:?}");
    }

    #[test]
    fn an_acknowledgement_without_the_database_is_a_violation() {
        let mut history = history(FaultPeriodKind::NoDatabase);
        for sent_s in [99, 100, 105, 130] {
            acked(&mut history, "d1", "http://n1", sent_s);
        }
        // That at 100 s was sent before the stop was complete, that at 105 s may be
        // a repeat, that at 130 s was answered after the start.
        assert!(without_database(&history).violations.is_empty());
        acked(&mut history, "d2", "http://n1", 110);
        let check = without_database(&history);
        assert!(check.violations.len() == 1 && check.violations[0].device == "d2", "{check:?}");
    }
}
