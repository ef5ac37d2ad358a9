//! Remediation: a reconciler of the node that owns the shard of alerts sends commands that mend, and notes how they ended.
//!
//! ```text
//! plans, alerts that fire, what was tried --read--> `domain::alert::remediate` --> one transaction: command, attempt, history of the alert
//! ```
//! Caps are counted by the statement that sends, under the lock of the plan.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clock::Clock;
use domain::alert::{
    AlertKey, AlertWindow, MatchedAlert, RemediationState, RemediationStep, Remedy, Rule, SILENCES_MAX, Subject, remediate,
};
use domain::shard::ShardLease;
use domain::{AlertId, CommandId, ServiceError, Timestamp, name};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use store::{RemediationCandidate, RemediationCommand, RemediationUse, Store, StoredRemediation};

use super::{AlertRules, alert_shard};
use crate::metrics::Metrics;
use crate::reconcile::{Reconcile, Reconciler, Run};

/// Time between two runs.
const INTERVAL: Duration = Duration::from_secs(5);
/// Most plans.
const PLANS_MAX: i64 = 10_000;
/// Alerts that one statement reads.
const CANDIDATES_MAX: i64 = 1_000;
/// Statements of one run: what is left is looked at by the next one.
const PAGES_MAX: usize = 5;
/// Attempts that one run ends.
const ENDED_MAX: i64 = 1_000;
/// How long a command has.
const COMMAND_EXPIRES: TimeDelta = TimeDelta::minutes(30);

/// What people have set up.
struct SetUp {
    plans: Vec<StoredRemediation>,
    /// Maintenance windows that are open.
    windows: Vec<AlertWindow>,
}

/// What remediates.
pub(crate) struct Remediation {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) rules: Arc<AlertRules>,
    pub(crate) metrics: Metrics,
    /// Most open commands of a device.
    pub(crate) open_per_device_max: i64,
    /// Beginning and id of the alert that was looked at last; `None`: the next one is the oldest.
    pub(crate) after: Option<(Timestamp, AlertId)>,
}

impl Remediation {
    /// The reconciler. What it stores is compared with the epoch of the shard.
    pub(crate) fn reconciler(self) -> Reconciler {
        Reconciler::per_cluster("alert_remediation", alert_shard(), INTERVAL, self).fenced_by_epoch()
    }

    async fn run(&mut self, lease: ShardLease, now: Timestamp) -> Result<u64, ServiceError> {
        let since = now - self.rules.settle();
        for (remedy, outcome) in self.store.end_remedies(lease, since, now, ENDED_MAX).await? {
            self.metrics.remediations.with_label_values(&[remedy.as_str(), outcome.as_str()]).inc();
        }
        let plans = self.store.remediation_plans(PLANS_MAX).await?;
        let mut rules: Vec<Rule> = plans.iter().filter(|plan| plan.plan.enabled).map(|plan| plan.plan.rule).collect();
        rules.dedup();
        if rules.is_empty() || self.store.remediation_stopped().await? {
            return Ok(0);
        }
        let mut windows = self.store.alert_windows(i64::try_from(SILENCES_MAX).unwrap_or(i64::MAX)).await?;
        windows.retain(|window| window.is_active(now));
        let set_up = SetUp { plans, windows };
        let mut used: HashMap<Rule, RemediationUse> = HashMap::new();
        for rule in &rules {
            used.insert(*rule, self.store.remediation_use(*rule, now).await?);
        }
        let mut sent = 0;
        for _ in 0..PAGES_MAX {
            // Old alerts that nothing mends do not keep later ones from being looked at: it goes on after them.
            let candidates = self.store.remediation_candidates(&rules, self.after, CANDIDATES_MAX).await?;
            self.after = next_page(&candidates, CANDIDATES_MAX);
            sent += self.look_at(lease, &set_up, candidates, &mut used, now).await?;
            if self.after.is_none() {
                break;
            }
        }
        Ok(sent)
    }

    /// Takes the next step for each of these alerts. Returns how many commands were sent.
    async fn look_at(
        &self,
        lease: ShardLease,
        set_up: &SetUp,
        candidates: Vec<RemediationCandidate>,
        used: &mut HashMap<Rule, RemediationUse>,
        now: Timestamp,
    ) -> Result<u64, ServiceError> {
        let mut sent = 0;
        for candidate in candidates {
            let Some(plan) = plan_of(&set_up.plans, &candidate) else { continue };
            let in_window = is_in_window(&set_up.windows, &candidate);
            let in_use = used.get(&candidate.rule).copied().unwrap_or_default();
            match remediate(&plan.plan, &state_of(plan, &candidate, in_use, in_window), now) {
                RemediationStep::Send(remedy) => {
                    let Some(params) = self.params(plan, &candidate, remedy).await? else { continue };
                    let command = self.command(lease, plan, &candidate, (remedy, params), now);
                    if self.store.send_remedy(&command).await? {
                        sent += 1;
                        self.metrics.remediations.with_label_values(&[remedy.as_str(), "sent"]).inc();
                        tracing::info!(event = "alert.remedy_sent", alert_id = %candidate.alert, device_id = %candidate.device, remedy = remedy.as_str());
                        let entry = used.entry(candidate.rule).or_default();
                        (entry.at_once, entry.in_last_hour) = (entry.at_once + 1, entry.in_last_hour + 1);
                        entry.oldest_at.get_or_insert(now);
                    }
                }
                RemediationStep::TurnOff => {
                    if self.store.turn_remediation_off(plan, lease, now).await? {
                        let (rule, failures_in_a_row) = (plan.plan.rule.as_str(), plan.failures_in_a_row);
                        tracing::warn!(event = "alert.remediation_turned_off", rule, group = plan.group, failures_in_a_row);
                    }
                }
                RemediationStep::Wait(..) => {}
            }
        }
        Ok(sent)
    }

    /// Parameters of a remedy, fields in alphabetical order. `None`: it is not known what to name in it.
    async fn params(
        &self,
        plan: &StoredRemediation,
        candidate: &RemediationCandidate,
        remedy: Remedy,
    ) -> Result<Option<String>, ServiceError> {
        let params = match remedy {
            Remedy::LaunchApp | Remedy::RestartApp => candidate.package.as_deref().map(|package| json!({ "package": package })),
            Remedy::Exec => match plan.exec.as_deref() {
                Some(name) => self.store.exec_command(name).await?.map(|exec| json!({ "argv": exec.argv, "name": exec.name })),
                None => None,
            },
            Remedy::Ping | Remedy::Update | Remedy::Reboot => Some(json!({})),
        };
        Ok(params.map(|params| params.to_string()))
    }

    fn command(
        &self,
        lease: ShardLease,
        plan: &StoredRemediation,
        candidate: &RemediationCandidate,
        (remedy, params): (Remedy, String),
        now: Timestamp,
    ) -> RemediationCommand {
        RemediationCommand {
            lease,
            alert: candidate.alert,
            rule: candidate.rule,
            group: plan.group.clone(),
            device: candidate.device,
            attempt: candidate.attempts + 1,
            remedy,
            command: CommandId(self.clock.new_id()),
            params,
            expires_at: now + COMMAND_EXPIRES,
            open_per_device_max: self.open_per_device_max,
            now,
        }
    }
}

/// Where the next page begins; `None`: this one was the last.
fn next_page(candidates: &[RemediationCandidate], most: i64) -> Option<(Timestamp, AlertId)> {
    let whole = i64::try_from(candidates.len()).is_ok_and(|count| count >= most);
    candidates.last().filter(|_| whole).map(|last| (last.opened_at, last.alert))
}

/// The plan that holds for an alert: of the first of its groups by name that has one, else that of all devices.
fn plan_of<'a>(plans: &'a [StoredRemediation], candidate: &RemediationCandidate) -> Option<&'a StoredRemediation> {
    let of_rule = || plans.iter().filter(|plan| plan.plan.rule == candidate.rule);
    let of_group = |plan: &&StoredRemediation| {
        plan.group.as_deref().is_some_and(|group| candidate.labels.groups.iter().any(|own| name::same(own, group)))
    };
    of_rule().find(of_group).or_else(|| of_rule().find(|plan| plan.group.is_none()))
}

/// Whether one of these windows matches an alert, by the criteria by which it holds notifications.
fn is_in_window(windows: &[AlertWindow], candidate: &RemediationCandidate) -> bool {
    let key = AlertKey { rule: candidate.rule, subject: Subject::Device(candidate.device) };
    let alert = MatchedAlert { key: &key, severity: candidate.severity, labels: &candidate.labels };
    windows.iter().any(|window| window.matcher.matches(&alert))
}

fn state_of(plan: &StoredRemediation, candidate: &RemediationCandidate, in_use: RemediationUse, in_window: bool) -> RemediationState {
    RemediationState {
        master_switch: true,
        wanted: true,
        attempts: candidate.attempts,
        last_attempt_at: candidate.last_attempt_at,
        under_way: candidate.under_way,
        in_window,
        at_once: in_use.at_once,
        in_last_hour: in_use.in_last_hour,
        hour_frees_at: in_use.oldest_at.map(|at| at + TimeDelta::hours(1)),
        failures_in_a_row: plan.failures_in_a_row,
    }
}

impl Reconcile for Remediation {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async move {
            let Some(epoch) = run.epoch() else { return Ok(0) };
            self.run(ShardLease { shard: alert_shard(), epoch }, run.now).await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::alert::{Matcher, RemediationPlan, Severity, SubjectLabels};
    use domain::{AlertWindowId, DeviceId};

    fn candidate(rule: Rule, groups: &[&str]) -> RemediationCandidate {
        RemediationCandidate {
            alert: AlertId(uuid::Uuid::nil()),
            opened_at: Timestamp::UNIX_EPOCH,
            rule,
            device: DeviceId(uuid::Uuid::nil()),
            severity: Severity::Warning,
            labels: SubjectLabels { groups: groups.iter().map(|group| (*group).to_owned()).collect(), ..SubjectLabels::default() },
            attempts: 0,
            last_attempt_at: None,
            under_way: false,
            package: None,
        }
    }

    #[test]
    fn a_full_page_is_gone_on_from_and_a_part_of_one_is_the_last() {
        let page = vec![candidate(Rule::AppDown, &[]); 3];
        assert_eq!(next_page(&page, 3), Some((page[2].opened_at, page[2].alert)));
        assert_eq!(next_page(&page, 4), None);
        assert_eq!(next_page(&[], 4), None);
    }

    #[test]
    fn a_maintenance_window_holds_remediation_of_what_it_matches() {
        let window = |matcher| AlertWindow {
            id: AlertWindowId(uuid::Uuid::nil()),
            matcher,
            reason: "repair".into(),
            author: "ada".into(),
            weekdays: [true; 7],
            hours: AlertWindow::parse_hours("00:00", "12:00", "UTC").unwrap(),
            ends_at: None,
        };
        let group = Matcher { groups: vec!["NORTH".into()], ..Matcher::default() };
        let device = Matcher { devices: vec![DeviceId(uuid::Uuid::nil())], ..Matcher::default() };
        let (north, south) = (candidate(Rule::AppDown, &["North"]), candidate(Rule::AppDown, &["south"]));
        assert!(is_in_window(&[window(group.clone())], &north));
        assert!(!is_in_window(&[window(group.clone())], &south));
        assert!(is_in_window(&[window(group), window(device)], &south), "by its id");
        assert!(!is_in_window(&[], &north));
    }

    #[test]
    fn the_plan_of_a_group_comes_before_that_of_all_devices() {
        let stored = |group: Option<&str>| StoredRemediation {
            plan: RemediationPlan::default_of(Rule::AppDown),
            group: group.map(Into::into),
            exec: None,
            failures_in_a_row: 0,
            turned_off_at: None,
            changed_by: "ada".into(),
            changed_at: Timestamp::UNIX_EPOCH,
        };
        let plans = [stored(None), stored(Some("north")), stored(Some("south"))];
        let of = |rule, groups: &[&str]| plan_of(&plans, &candidate(rule, groups)).map(|plan| plan.group.clone());
        assert_eq!(of(Rule::AppDown, &[]), Some(None));
        assert_eq!(of(Rule::AppDown, &["South", "North"]), Some(Some("north".into())), "the first by name");
        assert_eq!(of(Rule::DeviceOffline, &[]), None);
    }
}
