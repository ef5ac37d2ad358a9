//! Whether anything began although it was stopped.

use std::collections::BTreeSet;

use super::Found;
use super::facts::{Act, Brake};
use crate::oracle::History;
use crate::oracle::history::clock_text;

/// A stop is in force on every node this long after it was acknowledged.
const IN_FORCE_WITHIN_US: i64 = 10_000_000;

/// When nothing may begin: from, until.
struct Span {
    deployment: Option<String>,
    brake: Brake,
    from_us: i64,
    until_us: i64,
}

/// Looks at every start and every accept; how many stops there were.
pub(super) fn check(history: &History, found: &mut Found) -> usize {
    let facts = &history.deployments;
    let spans = spans(&facts.acts);
    let stopped = |deployment: &str, at_us: i64| {
        let concerns = |span: &&Span| span.deployment.as_deref().is_none_or(|id| id == deployment);
        spans.iter().filter(concerns).find(|span| (span.from_us..span.until_us).contains(&at_us))
    };
    let since = |span: &Span| format!("{:?} was acknowledged at {}", span.brake, clock_text(span.from_us - IN_FORCE_WITHIN_US));
    for attempt in &facts.attempts {
        if let Some(span) = stopped(&attempt.deployment, attempt.started_us) {
            let what = format!("was started by {} at {}, although {}", attempt.deployment, clock_text(attempt.started_us), since(span));
            found.add(&attempt.device_id, what);
        }
    }
    for step in facts.steps.iter().filter(|step| step.step == "accepted" && step.status == Some(200)) {
        // It may have been decided as soon as it was sent.
        if let Some(span) = stopped(&step.deployment, step.sent_us) {
            let what = format!("was let through by {} at {}, although {}", step.deployment, clock_text(step.sent_us), since(span));
            found.add(history.devices.text(step.device), what);
        }
    }
    facts.acts.iter().filter(|act| act.on).map(|act| (act.deployment.as_deref(), act.brake, act.answered_us)).collect::<BTreeSet<_>>().len()
}

/// From ten seconds after each acknowledgement until the next release was asked for.
fn spans(acts: &[Act]) -> Vec<Span> {
    let released = |act: &Act| {
        let same = |other: &&Act| !other.on && other.brake == act.brake && other.deployment == act.deployment;
        acts.iter().filter(same).map(|other| other.sent_us).filter(|at| *at > act.sent_us).min()
    };
    let on = acts.iter().filter(|act| act.on);
    on.map(|act| Span {
        deployment: act.deployment.clone(),
        brake: act.brake,
        from_us: act.answered_us.saturating_add(IN_FORCE_WITHIN_US),
        until_us: released(act).unwrap_or(i64::MAX),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::check_stops;
    use super::super::tests::{SECOND_US, history, step};
    use super::*;

    fn act(brake: Brake, on: bool, deployment: Option<&str>, at_s: i64) -> Act {
        let at_us = at_s * SECOND_US;
        Act { deployment: deployment.map(str::to_owned), brake, on, sent_us: at_us, answered_us: at_us }
    }

    fn violations(acts: Vec<Act>) -> Vec<String> {
        let mut history = history();
        history.deployments.acts = acts;
        check_stops(&history).violations.into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn nothing_begins_ten_seconds_after_a_stop() {
        // d4 is started at 61 s and let through at 62 s.
        for brake in [Brake::Pause, Brake::Cancel, Brake::KillSwitch, Brake::FlagOff] {
            let found = violations(vec![act(brake, true, None, 20)]);
            assert!(found.len() == 2 && found[0].contains("was started") && found[1].contains("was let through"), "{found:?}");
            assert!(found[0].contains("acknowledged at 00:00:20"), "{found:?}");
        }
        assert_eq!(violations(vec![act(Brake::Pause, true, Some("dep"), 51)]).len(), 2);
        assert_eq!(violations(vec![act(Brake::Pause, true, Some("dep"), 52)]).len(), 1, "let through too late");
        assert!(violations(vec![act(Brake::Pause, true, Some("dep"), 53)]).is_empty(), "within ten seconds");
    }

    #[test]
    fn a_stop_that_was_released_or_is_anothers_stops_nothing() {
        assert!(violations(vec![act(Brake::Pause, true, Some("other"), 20)]).is_empty());
        let released = vec![act(Brake::KillSwitch, true, None, 20), act(Brake::KillSwitch, false, None, 60)];
        assert!(violations(released).is_empty());
        let other_released = vec![act(Brake::KillSwitch, true, None, 20), act(Brake::Pause, false, None, 60)];
        assert_eq!(violations(other_released).len(), 2, "another brake's release is none of this one");
        let again = vec![act(Brake::Pause, true, None, 20), act(Brake::Pause, false, None, 30), act(Brake::Pause, true, None, 40)];
        assert_eq!(violations(again).len(), 2);
    }

    #[test]
    fn an_accept_that_was_refused_is_as_it_should_be() {
        let mut history = history();
        history.deployments.acts = vec![act(Brake::Cancel, true, Some("dep"), 80)];
        history.deployments.steps.push(step(1, "accepted", Some(409), 95 * SECOND_US));
        assert!(check_stops(&history).violations.is_empty());
        history.deployments.steps.push(step(1, "accepted", Some(200), 95 * SECOND_US));
        assert_eq!(check_stops(&history).violations.len(), 1);
    }
}
