//! P2: a command runs at most once on its device.

use std::collections::HashMap;

use super::{Check, History, Violation};

/// No request id was run twice by the same device.
pub(super) fn check(history: &History) -> Check {
    let mut runs: HashMap<_, u32> = HashMap::new();
    for ran in &history.ran {
        *runs.entry(ran).or_default() += 1;
    }
    let looked_at = match (runs.len(), history.commands) {
        (0, 0) => "nothing to check: no command was sent".to_owned(),
        (0, received) => format!("nothing to check: {received} commands were received, none was run"),
        (n, received) => format!("{n} commands run, {received} received"),
    };
    let twice = runs.into_iter().filter(|(_, times)| *times > 1);
    let mut violations: Vec<_> = twice
        .map(|(ran, times)| Violation {
            promise: "P2",
            device: history.devices.text(ran.device).to_owned(),
            what: format!("ran the command {} {times} times", ran.request_id),
        })
        .collect();
    violations.sort_by(|a, b| (&a.device, &a.what).cmp(&(&b.device, &b.what)));
    Check { promise: "P2", looked_at, violations, notes: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Ran;

    fn history(ran: &[(&str, &str)]) -> History {
        let mut history = History { commands: ran.len() as u64, ..History::default() };
        for (device, request_id) in ran {
            let device = history.devices.number(device);
            history.ran.push(Ran { device, request_id: (*request_id).to_owned() });
        }
        history
    }

    #[test]
    fn each_command_once_is_fine_on_however_many_devices() {
        let check = check(&history(&[("d1", "r1"), ("d1", "r2"), ("d2", "r1")]));
        assert!(check.violations.is_empty(), "{check:?}");
    }

    #[test]
    fn a_command_run_twice_is_a_violation() {
        let check = check(&history(&[("d1", "r1"), ("d2", "r2"), ("d1", "r1")]));
        assert_eq!(check.violations.len(), 1);
        assert_eq!((check.violations[0].device.as_str(), check.violations[0].promise), ("d1", "P2"));
        assert!(check.violations[0].what.contains("r1 2 times"));
    }
}
