//! P13: what a backup holds can be restored: every row that was committed before it began is there, and devices go on with their tokens.

use std::collections::{BTreeMap, HashMap};

use super::history::clock_text;
use super::{Check, Evidence, History, Violation};

/// What a restored node has, and how it treats its devices.
pub struct RestoredFacts {
    /// Just before the backup began.
    pub began_us: i64,
    /// Rows and archives of the restored node; its devices have the numbers of the history it is compared with.
    pub rows: History,
    /// Answers to a heartbeat with the token of before, by device.
    pub answers: BTreeMap<String, u16>,
}

impl RestoredFacts {
    /// Facts about a backup of what `history` is about, without rows yet.
    pub fn new(history: &History, began_us: i64) -> Self {
        let mut rows = History::default();
        for number in 0..history.devices.len() {
            rows.devices.number(history.devices.text(number as u32));
        }
        Self { began_us, rows, answers: BTreeMap::new() }
    }
}

/// Compares a restored node with the history until the backup.
pub fn check(history: &History, restored: &RestoredFacts) -> Check {
    let began = clock_text(restored.began_us);
    let mut violations = Vec::new();
    let mut violation = |device: &str, what: String| {
        violations.push(Violation::new("P13", device, what).with(Evidence::at("backup began", restored.began_us)))
    };

    // The newest heartbeat of a bucket that was acknowledged by then, if its time is known.
    let mut buckets: HashMap<(u32, i64), Option<i64>> = HashMap::new();
    for ack in history.acks.iter().filter(|ack| ack.answered_us < restored.began_us) {
        let Some(bucket_s) = ack.bucket_s else { continue };
        let newest = buckets.entry((ack.device, bucket_s)).or_default();
        *newest = (*newest).max(ack.device_time_us);
    }
    let mut sorted: Vec<_> = buckets.iter().collect();
    sorted.sort_unstable();
    for (bucket, newest_us) in sorted {
        let (device, at) = (history.devices.text(bucket.0), clock_text(bucket.1 * 1_000_000));
        match restored.rows.copies(*bucket) {
            1 => {}
            copies => {
                violation(device, format!("has {copies} restored rows of the bucket {at}, acknowledged before the backup began at {began}"))
            }
        }
        if let (Some(newest_us), Some(stored_us)) = (newest_us, restored.rows.stored_device_time_us(*bucket))
            && stored_us < *newest_us
        {
            let (stored, newest) = (clock_text(stored_us), clock_text(*newest_us));
            violation(device, format!("has the restored heartbeat of {stored} in the bucket of {newest}"));
        }
    }
    let mut results = 0_usize;
    let commands = restored.rows.stored.commands.as_ref();
    for result in history.results.iter().filter(|result| result.status == Some(200) && result.answered_us < restored.began_us) {
        results += 1;
        let known = commands.is_some_and(|commands| commands.contains_key(&result.request_id));
        if !known {
            violation(
                history.devices.text(result.device),
                format!("has lost the command {}, whose result was acknowledged", result.request_id),
            );
        }
    }
    for (device, status) in restored.answers.iter().filter(|(_, status)| **status != 200) {
        violation(device, format!("was answered {status} by the restored node"));
    }
    let checked = buckets.len() + results + restored.answers.len();
    Check {
        promise: "P13",
        looked_at: match checked {
            0 => "nothing to check: nothing was acknowledged before the backup began".into(),
            _ => format!(
                "{} buckets and {results} results acknowledged before the backup began at {began}, {} devices with their tokens",
                buckets.len(),
                restored.answers.len()
            ),
        },
        violations,
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Ack, ReportedResult};

    /// Two heartbeats of a bucket before the backup began at 100 us, one after it, and a result.
    fn history() -> History {
        let mut history = History::default();
        let (device, server) = (history.devices.number("d1"), history.names.number("http://n1"));
        for (bucket_s, device_time_us, answered_us) in [(10, 11_000_000, 50), (10, 12_000_000, 60), (20, 21_000_000, 150)] {
            let device_time_us = Some(device_time_us);
            history.acks.push(Ack { device, server, bucket_s: Some(bucket_s), device_time_us, sent_us: 1, answered_us, decided: None });
        }
        let (request_id, outcome) = ("r1".to_owned(), "success".to_owned());
        history.results.push(ReportedResult { device, request_id, outcome, status: Some(200), sent_us: 1, answered_us: 70 });
        history
    }

    fn restored(history: &History) -> RestoredFacts {
        let mut restored = RestoredFacts::new(history, 100);
        restored.rows.stored.heartbeats.insert((0, 10), 1);
        restored.rows.stored.device_times_us.insert((0, 10), 12_000_000);
        let row = crate::oracle::CommandRow {
            device_id: "d1".into(),
            batch_id: None,
            action: "ping".into(),
            state: "succeeded".into(),
            outcome: Some("success".into()),
            code: None,
            expires_us: 0,
        };
        restored.rows.stored.commands = Some([("r1".to_owned(), row)].into());
        restored.answers.insert("d1".into(), 200);
        restored
    }

    fn whats(history: &History, restored: &RestoredFacts) -> Vec<String> {
        check(history, restored).violations.into_iter().map(|violation| violation.what).collect()
    }

    type Alter = fn(&mut RestoredFacts);

    #[test]
    fn what_was_committed_before_is_there_and_what_came_later_need_not_be() {
        let history = history();
        let check = check(&history, &restored(&history));
        assert!(check.violations.is_empty(), "{check:?}");
        assert!(check.looked_at.starts_with("1 buckets and 1 results"), "{check:?}");
    }

    #[test]
    fn losses_duplicates_older_rows_and_refused_tokens_are_violations() {
        let alter: [(&str, Alter); 5] = [
            ("has 0 restored rows", |restored| restored.rows.stored.heartbeats.clear()),
            ("has 2 restored rows", |restored| *restored.rows.stored.heartbeats.get_mut(&(0, 10)).unwrap() = 2),
            ("has the restored heartbeat of", |restored| *restored.rows.stored.device_times_us.get_mut(&(0, 10)).unwrap() = 11_000_000),
            ("has lost the command r1", |restored| restored.rows.stored.commands = None),
            ("was answered 401", |restored| *restored.answers.get_mut("d1").unwrap() = 401),
        ];
        let history = history();
        for (text, alter) in alter {
            let mut restored = restored(&history);
            alter(&mut restored);
            let found = whats(&history, &restored);
            assert!(found.len() == 1 && found[0].starts_with(text), "{text}: {found:?}");
        }
    }

    #[test]
    fn rows_in_a_restored_archive_count() {
        let history = history();
        let mut restored = restored(&history);
        restored.rows.stored.heartbeats.clear();
        restored.rows.archives.heartbeats.insert((0, 10), 1);
        assert_eq!(whats(&history, &restored), Vec::<String>::new());
    }
}
