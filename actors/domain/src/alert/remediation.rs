//! Remediation: whether a command is sent to mend an alert, which one, and when to try again.

use std::time::Duration;

use chrono::TimeDelta;

use crate::Timestamp;
use crate::backoff::Backoff;
use crate::invalid::{Invalid, in_range};

use super::Rule;

/// Most attempts at one alert.
const ATTEMPTS_MAX: u32 = 10;
/// Failed remediations in a row after which a rule's remediation turns itself off, at most.
const FAILURES_MAX: u32 = 100;

/// Command that mends, by its name in the action table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Remedy {
    /// Brings the monitored app to the foreground.
    LaunchApp,
    /// Stops the monitored app and starts it.
    RestartApp,
    /// Wakes the device.
    Ping,
    /// Runs a named command of the operator's.
    Exec,
    /// Updates the agent.
    Update,
    /// Restarts the device; never unless the plan allows it.
    Reboot,
}

named!(pub Remedy, parse -> Result);

impl Rule {
    /// Remedies of a rule, in the order in which they are tried; empty: there is none.
    pub fn remedies(self) -> &'static [Remedy] {
        match self {
            Self::AppDown => &[Remedy::LaunchApp, Remedy::RestartApp, Remedy::Reboot],
            Self::DeviceOffline => &[Remedy::Ping],
            Self::StorageLow => &[Remedy::Exec],
            Self::AgentOutdated => &[Remedy::Update],
            _ => &[],
        }
    }
}

/// Remediation of a rule, for all devices or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemediationPlan {
    /// Rule.
    pub rule: Rule,
    /// Whether it is on.
    pub enabled: bool,
    /// Attempts at one alert.
    pub attempts_max: u32,
    /// Wait after the first attempt, doubled with each further one, s.
    pub backoff_seconds: u32,
    /// Devices that are remediated at once, at most.
    pub at_once_max: u32,
    /// Commands of an hour, at most.
    pub per_hour_max: u32,
    /// Remediations in a row that fail before it turns itself off.
    pub failures_max: u32,
    /// Whether a device may be restarted.
    pub allow_reboot: bool,
}

impl RemediationPlan {
    /// The plan of a rule before anybody sets one: off.
    pub fn default_of(rule: Rule) -> Self {
        Self {
            rule,
            enabled: false,
            attempts_max: 3,
            backoff_seconds: 120,
            at_once_max: 10,
            per_hour_max: 60,
            failures_max: 5,
            allow_reboot: false,
        }
    }

    /// Checks the plan.
    ///
    /// # Errors
    /// Names the field and its limits, or that nothing mends the rule's alerts.
    pub fn checked(self) -> Result<Self, Invalid> {
        if self.rule.remedies().is_empty() {
            return Err(Invalid::new("rule", format!("no command mends {}", self.rule.as_str())));
        }
        in_range("attempts_max", self.attempts_max, 1, ATTEMPTS_MAX)?;
        in_range("backoff_seconds", self.backoff_seconds, 10, 86_400)?;
        in_range("at_once_max", self.at_once_max, 1, 10_000)?;
        in_range("per_hour_max", self.per_hour_max, 1, 100_000)?;
        in_range("failures_max", self.failures_max, 1, FAILURES_MAX)?;
        Ok(self)
    }

    /// Remedy of an attempt, the first being 0: the later ones, where there are several.
    fn remedy(&self, attempt: u32) -> Option<Remedy> {
        let allowed: Vec<_> =
            self.rule.remedies().iter().copied().filter(|remedy| *remedy != Remedy::Reboot || self.allow_reboot).collect();
        let at = usize::try_from(attempt).unwrap_or(usize::MAX);
        allowed.get(at).or(allowed.last()).copied()
    }
}

/// What has been tried, and what else is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemediationState {
    /// Whether the switch of the cluster is on.
    pub master_switch: bool,
    /// Whether the alert is open, and not acknowledged: a person who looks after it is not interfered with.
    pub wanted: bool,
    /// Attempts at this alert so far.
    pub attempts: u32,
    /// When the last of them was made.
    pub last_attempt_at: Option<Timestamp>,
    /// Whether its command has not finished.
    pub under_way: bool,
    /// Whether a maintenance window is open that matches the alert: somebody works on the device.
    pub in_window: bool,
    /// Devices that are remediated by the rule at present.
    pub at_once: u32,
    /// Commands of the rule in the last hour.
    pub in_last_hour: u32,
    /// When the oldest of them leaves that hour.
    pub hour_frees_at: Option<Timestamp>,
    /// Remediations by the rule in a row that did not help.
    pub failures_in_a_row: u32,
}

/// Reason why nothing is tried now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RemediationWait {
    /// The switch of the cluster is off.
    MasterSwitch,
    /// The plan is off.
    PlanOff,
    /// The alert is resolved, or a person looks after it.
    NotWanted,
    /// The attempt before has not ended.
    UnderWay,
    /// Every attempt was made.
    AttemptsUsedUp,
    /// It is too soon after the attempt before.
    BackOff,
    /// A maintenance window that matches the alert is open.
    Window,
    /// So many devices are remediated at present.
    AtOnce,
    /// So many commands were sent within the hour.
    PerHour,
}

named!(pub RemediationWait, parse -> Option);

/// Decision about an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemediationStep {
    /// Send this command now.
    Send(Remedy),
    /// Not now, for this reason; again at that time, or when something changes.
    Wait(RemediationWait, Option<Timestamp>),
    /// Turn the plan off, and say so: it keeps failing.
    TurnOff,
}

/// The next step of remediation of an alert.
pub fn remediate(plan: &RemediationPlan, state: &RemediationState, now: Timestamp) -> RemediationStep {
    use RemediationStep::{Send, TurnOff, Wait};
    use RemediationWait as Because;
    if !state.master_switch {
        return Wait(Because::MasterSwitch, None);
    }
    if !plan.enabled {
        return Wait(Because::PlanOff, None);
    }
    if state.failures_in_a_row >= plan.failures_max {
        return TurnOff;
    }
    if !state.wanted {
        return Wait(Because::NotWanted, None);
    }
    if state.under_way {
        return Wait(Because::UnderWay, None);
    }
    if state.attempts >= plan.attempts_max {
        return Wait(Because::AttemptsUsedUp, None);
    }
    let first = Duration::from_secs(plan.backoff_seconds.into());
    let wait = Backoff { first, max: Duration::from_secs(86_400) }.wait(state.attempts);
    let again = state.last_attempt_at.map(|at| at + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX));
    if let Some(again) = again.filter(|again| *again > now) {
        return Wait(Because::BackOff, Some(again));
    }
    if state.in_window {
        return Wait(Because::Window, Some(now + TimeDelta::minutes(1)));
    }
    if state.at_once >= plan.at_once_max {
        return Wait(Because::AtOnce, None);
    }
    if state.in_last_hour >= plan.per_hour_max {
        return Wait(Because::PerHour, state.hour_frees_at);
    }
    plan.remedy(state.attempts).map_or(Wait(Because::PlanOff, None), Send)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    fn on(rule: Rule) -> RemediationPlan {
        RemediationPlan { enabled: true, ..RemediationPlan::default_of(rule) }
    }

    const FRESH: RemediationState = RemediationState {
        master_switch: true,
        wanted: true,
        attempts: 0,
        last_attempt_at: None,
        under_way: false,
        in_window: false,
        at_once: 0,
        in_last_hour: 0,
        hour_frees_at: None,
        failures_in_a_row: 0,
    };

    #[test]
    fn each_reason_not_to_send_is_named() {
        use RemediationStep::{Send, TurnOff, Wait};
        use RemediationWait as Because;
        let tried = RemediationState { attempts: 1, last_attempt_at: Some(at(0)), ..FRESH };
        for (state, now, step) in [
            (FRESH, 0, Send(Remedy::LaunchApp)),
            (RemediationState { master_switch: false, ..FRESH }, 0, Wait(Because::MasterSwitch, None)),
            (RemediationState { wanted: false, ..FRESH }, 0, Wait(Because::NotWanted, None)),
            (RemediationState { under_way: true, ..tried }, 0, Wait(Because::UnderWay, None)),
            (tried, 119, Wait(Because::BackOff, Some(at(120)))),
            (tried, 120, Send(Remedy::RestartApp)),
            (RemediationState { attempts: 2, ..tried }, 239, Wait(Because::BackOff, Some(at(240)))),
            (RemediationState { attempts: 2, ..tried }, 240, Send(Remedy::RestartApp)),
            (RemediationState { attempts: 3, ..tried }, 9_999, Wait(Because::AttemptsUsedUp, None)),
            (RemediationState { in_window: true, ..FRESH }, 0, Wait(Because::Window, Some(at(60)))),
            (RemediationState { at_once: 10, ..FRESH }, 0, Wait(Because::AtOnce, None)),
            (RemediationState { in_last_hour: 60, hour_frees_at: Some(at(9)), ..FRESH }, 0, Wait(Because::PerHour, Some(at(9)))),
            (RemediationState { failures_in_a_row: 5, ..FRESH }, 0, TurnOff),
        ] {
            assert_eq!(remediate(&on(Rule::AppDown), &state, at(now)), step, "{state:?} at {now}");
        }
        let off = RemediationPlan::default_of(Rule::AppDown);
        assert_eq!(remediate(&off, &FRESH, at(0)), Wait(Because::PlanOff, None), "off by default");
        let reboots = RemediationPlan { allow_reboot: true, ..on(Rule::AppDown) };
        let third = RemediationState { attempts: 2, ..FRESH };
        assert_eq!(remediate(&reboots, &third, at(0)), Send(Remedy::Reboot));
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |plan: RemediationPlan| plan.checked().unwrap_err().to_string();
        assert_eq!(refused(on(Rule::LowBattery)), "rule: no command mends low_battery");
        assert_eq!(refused(RemediationPlan { attempts_max: 0, ..on(Rule::AppDown) }), "attempts_max: 0 is outside 1..10");
        assert_eq!(refused(RemediationPlan { backoff_seconds: 1, ..on(Rule::AppDown) }), "backoff_seconds: 1 is outside 10..86400");
        assert!(on(Rule::DeviceOffline).checked().is_ok());
    }

    proptest! {
        /// However often it is asked, there are no more attempts than allowed, each later than its back-off, and no restart unasked.
        #[test]
        fn attempts_are_bounded(asked in proptest::collection::vec(0_i64..2_000, 1..60), attempts_max in 1_u32..10) {
            let plan = RemediationPlan { attempts_max, ..on(Rule::AppDown) };
            let (mut now, mut state) = (0, FRESH);
            for step in asked {
                now += step;
                if let RemediationStep::Send(remedy) = remediate(&plan, &state, at(now)) {
                    prop_assert_ne!(remedy, Remedy::Reboot);
                    if let Some(last) = state.last_attempt_at {
                        prop_assert!(at(now) - last >= TimeDelta::seconds(120));
                    }
                    state = RemediationState { attempts: state.attempts + 1, last_attempt_at: Some(at(now)), ..state };
                }
            }
            prop_assert!(state.attempts <= attempts_max);
        }
    }
}
