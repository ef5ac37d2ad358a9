//! P1: an acknowledged heartbeat is stored exactly once, the newest of a bucket standing, and the last status of a device is that of its
//! newest heartbeat.

use std::collections::{HashMap, HashSet};

use super::history::{clock_text, utc_text};
use super::{Check, Evidence, History, Violation};

/// Checks acknowledged buckets against rows, and last statuses against the newest rows.
pub(super) fn check(history: &History) -> Check {
    let mut seen = HashSet::new();
    let mut violations = Vec::new();
    let mut unknown = 0_u64;
    for ack in &history.acks {
        let Some(bucket_s) = ack.bucket_s else {
            unknown += 1;
            continue;
        };
        let stored_us = history.stored_device_time_us((ack.device, bucket_s));
        if let (Some(acked_us), Some(stored_us)) = (ack.device_time_us, stored_us)
            && stored_us < acked_us
        {
            let (stored, acked) = (clock_text(stored_us), clock_text(acked_us));
            let by = history.names.text(ack.server);
            let what = format!("has the heartbeat of {stored} in the bucket of {acked}, which {by} acknowledged");
            let evidence =
                heartbeat_row(history, (ack.device, bucket_s), Evidence::at("device time of the acknowledged heartbeat", acked_us))
                    .and_at("device time of the stored heartbeat", stored_us)
                    .and_at("sent", ack.sent_us)
                    .and_at("acknowledged", ack.answered_us);
            violations.push(violation(history, ack.device, what).with(evidence));
        }
        if !seen.insert((ack.device, bucket_s)) {
            continue;
        }
        let copies = history.copies((ack.device, bucket_s));
        if copies != 1 {
            let (bucket, answered) = (clock_text(bucket_s * 1_000_000), clock_text(ack.answered_us));
            let by = history.names.text(ack.server);
            let what = format!("has {copies} rows of the bucket {bucket} that {by} acknowledged at {answered}");
            let times = Evidence::at("bucket", bucket_s * 1_000_000).and_at("sent", ack.sent_us).and_at("acknowledged", ack.answered_us);
            let evidence = heartbeat_row(history, (ack.device, bucket_s), times);
            violations.push(violation(history, ack.device, what).with(evidence));
        }
    }
    let statuses = statuses(history, &mut violations);
    let missing = violations.iter().filter(|violation| violation.what.starts_with("has 0 rows")).count();
    let archived = match history.archives.known {
        true => format!(" and {} archived", history.archives.heartbeats.len()),
        false => String::new(),
    };
    Check {
        promise: "P1",
        looked_at: format!(
            "{} acknowledgements of {} buckets, {} rows{archived}, {statuses} statuses; acknowledged but missing: {missing}",
            history.acks.len(),
            seen.len(),
            history.stored.heartbeats.len()
        ),
        violations,
        notes: (unknown > 0)
            .then(|| format!("{unknown} acknowledgements of devices with a wrong clock have no known bucket"))
            .into_iter()
            .collect(),
    }
}

/// Checks that every device with rows has the status of its newest one.
fn statuses(history: &History, violations: &mut Vec<Violation>) -> usize {
    let mut newest: HashMap<u32, i64> = HashMap::new();
    for (device, bucket_s) in history.stored.heartbeats.keys().chain(history.archives.heartbeats.keys()) {
        let known = newest.entry(*device).or_insert(*bucket_s);
        *known = (*known).max(*bucket_s);
    }
    let mut devices: Vec<_> = newest.into_iter().collect();
    devices.sort_unstable();
    for (device, newest_s) in &devices {
        let newest = clock_text(newest_s * 1_000_000);
        match history.stored.last_status_s.get(device) {
            Some(status_s) if status_s == newest_s => {}
            Some(status_s) => {
                let what = format!("has the status of {}, but a newer row of {newest}", clock_text(status_s * 1_000_000));
                let evidence = Evidence::at("status", status_s * 1_000_000).and_at("newest row", newest_s * 1_000_000);
                let evidence = status_row(history, *device, 1, &utc_text(status_s * 1_000_000), evidence);
                violations.push(violation(history, *device, what).with(evidence));
            }
            None => {
                let evidence = status_row(history, *device, 0, "", Evidence::at("newest row", newest_s * 1_000_000));
                violations.push(violation(history, *device, format!("has no status, but a row of {newest}")).with(evidence));
            }
        }
    }
    devices.len()
}

fn violation(history: &History, device: u32, what: String) -> Violation {
    Violation::new("P1", history.devices.text(device), what)
}

/// Evidence with the row of a bucket, or that it is missing.
fn heartbeat_row(history: &History, bucket: (u32, i64), evidence: Evidence) -> Evidence {
    let copies = history.copies(bucket);
    let at = utc_text(bucket.1 * 1_000_000);
    let device_time = history.stored_device_time_us(bucket).map_or_else(|| "none".to_owned(), utc_text);
    let columns: [(&str, &str); 3] = [("device_id", history.devices.text(bucket.0)), ("bucket_at", &at), ("device_time", &device_time)];
    // A row that is missing has no device time.
    evidence.and_row("heartbeats", copies, if copies == 0 { &columns[..2] } else { &columns[..] })
}

fn status_row(history: &History, device: u32, copies: u32, bucket_at: &str, evidence: Evidence) -> Evidence {
    let columns = [("device_id", history.devices.text(device)), ("bucket_at", bucket_at)];
    evidence.and_row("device_last_status", copies, if copies == 0 { &columns[..1] } else { &columns[..] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Ack;

    fn acked(buckets: &[Option<i64>]) -> History {
        let mut history = History::default();
        let (device, server) = (history.devices.number("d1"), history.names.number("http://n1"));
        for bucket_s in buckets {
            history.acks.push(Ack { device, server, bucket_s: *bucket_s, device_time_us: None, sent_us: 1, answered_us: 2, decided: None });
        }
        history
    }

    fn with_rows(mut history: History, rows: &[(i64, u32)], status_s: Option<i64>) -> History {
        history.stored.heartbeats.extend(rows.iter().map(|(bucket_s, copies)| ((0, *bucket_s), *copies)));
        history.stored.last_status_s.extend(status_s.map(|at_s| (0, at_s)));
        history
    }

    #[test]
    fn repeats_unknown_buckets_and_rows_beyond_the_record_are_fine() {
        let history = with_rows(acked(&[Some(10), Some(10), Some(20), None]), &[(10, 1), (20, 1), (30, 1)], Some(30));
        let check = check(&history);
        assert!(check.violations.is_empty(), "{check:?}");
        assert!(check.looked_at.contains("4 acknowledgements of 2 buckets"), "{check:?}");
    }

    #[test]
    fn an_acknowledged_heartbeat_without_a_row_is_a_violation() {
        let check = check(&with_rows(acked(&[Some(10), Some(20), Some(20)]), &[(10, 1)], Some(10)));
        assert_eq!(check.violations.len(), 1, "{check:?}");
        assert!(check.violations[0].device == "d1" && check.violations[0].what.starts_with("has 0 rows"), "{check:?}");
        assert!(check.looked_at.ends_with("missing: 1"), "{check:?}");
    }

    #[test]
    fn two_rows_of_a_bucket_are_a_violation() {
        let check = check(&with_rows(acked(&[Some(10)]), &[(10, 2)], Some(10)));
        assert!(check.violations.len() == 1 && check.violations[0].what.starts_with("has 2 rows"), "{check:?}");
    }

    #[test]
    fn a_bucket_whose_newest_heartbeat_was_lost_is_a_violation() {
        for (acked_us, violations) in [(12_000_000, 0), (14_000_000, 0), (14_000_001, 1)] {
            let mut history = with_rows(acked(&[Some(10), Some(10)]), &[(10, 1)], Some(10));
            history.acks[1].device_time_us = Some(acked_us);
            history.stored.device_times_us.insert((0, 10), 14_000_000);
            let check = check(&history);
            assert_eq!(check.violations.len(), violations, "{check:?}");
        }
    }

    #[test]
    fn a_status_that_is_older_newer_or_missing_is_a_violation() {
        for status_s in [Some(10), Some(30), None] {
            let check = check(&with_rows(acked(&[Some(20)]), &[(10, 1), (20, 1)], status_s));
            assert!(check.violations.len() == 1 && check.violations[0].what.contains("status"), "{status_s:?}: {check:?}");
        }
    }
}
