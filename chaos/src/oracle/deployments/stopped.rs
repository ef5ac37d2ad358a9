//! Check that nothing starts while deployments are stopped.

use std::collections::BTreeSet;

use super::Findings;
use super::facts::{OperatorAction, StopEvent};
use crate::oracle::history::clock_text;
use crate::oracle::{Evidence, History};

/// Time after the acknowledgement within which a stop is in force on every node.
const IN_FORCE_WITHIN_US: i64 = 10_000_000;

/// Period in which nothing may start.
struct StopPeriod {
    deployment: Option<String>,
    stop: StopEvent,
    from_us: i64,
    until_us: i64,
}

/// Checks every start and every acceptance; the number of stops.
pub(super) fn check(history: &History, findings: &mut Findings) -> usize {
    let facts = &history.deployments;
    let periods = stop_periods(&facts.operator_actions);
    let stopped = |deployment: &str, at_us: i64| {
        let concerns = |period: &&StopPeriod| period.deployment.as_deref().is_none_or(|id| id == deployment);
        periods.iter().filter(concerns).find(|period| (period.from_us..period.until_us).contains(&at_us))
    };
    let since = |period: &StopPeriod| format!("{:?} was acknowledged at {}", period.stop, clock_text(period.from_us - IN_FORCE_WITHIN_US));
    for attempt in &facts.attempts {
        if let Some(period) = stopped(&attempt.deployment, attempt.started_us) {
            let what = format!("was started by {} at {}, although {}", attempt.deployment, clock_text(attempt.started_us), since(period));
            let evidence = since_times(period, &attempt.deployment).and_at("started", attempt.started_us);
            findings.add(&attempt.device_id, what, evidence);
        }
    }
    for step in facts.steps.iter().filter(|step| step.step == "accepted" && step.status == Some(200)) {
        // The decision may have been made as soon as the report was sent.
        if let Some(period) = stopped(&step.deployment, step.sent_us) {
            let what = format!("was cleared to install by {} at {}, although {}", step.deployment, clock_text(step.sent_us), since(period));
            let evidence = since_times(period, &step.deployment).and_at("sent", step.sent_us).and_at("accepted", step.answered_us);
            findings.add(history.devices.text(step.device), what, evidence);
        }
    }
    facts
        .operator_actions
        .iter()
        .filter(|action| action.on)
        .map(|action| (action.deployment.as_deref(), action.stop, action.answered_us))
        .collect::<BTreeSet<_>>()
        .len()
}

/// Evidence with the time of a stop.
fn since_times(period: &StopPeriod, deployment: &str) -> Evidence {
    Evidence::of_request(deployment).and_at(&format!("{:?} acknowledged", period.stop), period.from_us.saturating_sub(IN_FORCE_WITHIN_US))
}

/// Stop periods, from ten seconds after each acknowledgement until the end of the stop is requested.
fn stop_periods(actions: &[OperatorAction]) -> Vec<StopPeriod> {
    let released = |action: &OperatorAction| {
        let same = |other: &&OperatorAction| !other.on && other.stop == action.stop && other.deployment == action.deployment;
        actions.iter().filter(same).map(|other| other.sent_us).filter(|at| *at > action.sent_us).min()
    };
    let on = actions.iter().filter(|action| action.on);
    on.map(|action| StopPeriod {
        deployment: action.deployment.clone(),
        stop: action.stop,
        from_us: action.answered_us.saturating_add(IN_FORCE_WITHIN_US),
        until_us: released(action).unwrap_or(i64::MAX),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::check_stops;
    use super::super::tests::{SECOND_US, history, step};
    use super::*;

    fn action(stop: StopEvent, on: bool, deployment: Option<&str>, at_s: i64) -> OperatorAction {
        let at_us = at_s * SECOND_US;
        OperatorAction { deployment: deployment.map(str::to_owned), stop, on, sent_us: at_us, answered_us: at_us }
    }

    fn violations(actions: Vec<OperatorAction>) -> Vec<String> {
        let mut history = history();
        history.deployments.operator_actions = actions;
        check_stops(&history).violations.into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn nothing_begins_ten_seconds_after_a_stop() {
        // d4 is started at 61 s and accepted at 62 s.
        for stop in [StopEvent::Pause, StopEvent::Cancel, StopEvent::KillSwitch, StopEvent::FlagOff] {
            let found = violations(vec![action(stop, true, None, 20)]);
            assert!(found.len() == 2 && found[0].contains("was started") && found[1].contains("was cleared to install"), "{found:?}");
            assert!(found[0].contains("acknowledged at 00:00:20"), "{found:?}");
        }
        assert_eq!(violations(vec![action(StopEvent::Pause, true, Some("dep"), 51)]).len(), 2);
        assert_eq!(violations(vec![action(StopEvent::Pause, true, Some("dep"), 52)]).len(), 1, "cleared too late");
        assert!(violations(vec![action(StopEvent::Pause, true, Some("dep"), 53)]).is_empty(), "within ten seconds");
    }

    #[test]
    fn a_stop_that_was_released_or_is_anothers_stops_nothing() {
        assert!(violations(vec![action(StopEvent::Pause, true, Some("other"), 20)]).is_empty());
        let released = vec![action(StopEvent::KillSwitch, true, None, 20), action(StopEvent::KillSwitch, false, None, 60)];
        assert!(violations(released).is_empty());
        let other_released = vec![action(StopEvent::KillSwitch, true, None, 20), action(StopEvent::Pause, false, None, 60)];
        assert_eq!(violations(other_released).len(), 2, "the end of another stop");
        let again = vec![
            action(StopEvent::Pause, true, None, 20),
            action(StopEvent::Pause, false, None, 30),
            action(StopEvent::Pause, true, None, 40),
        ];
        assert_eq!(violations(again).len(), 2);
    }

    #[test]
    fn an_accept_that_was_refused_is_as_it_should_be() {
        let mut history = history();
        history.deployments.operator_actions = vec![action(StopEvent::Cancel, true, Some("dep"), 80)];
        history.deployments.steps.push(step(1, "accepted", Some(409), 95 * SECOND_US));
        assert!(check_stops(&history).violations.is_empty());
        history.deployments.steps.push(step(1, "accepted", Some(200), 95 * SECOND_US));
        assert_eq!(check_stops(&history).violations.len(), 1);
    }
}
