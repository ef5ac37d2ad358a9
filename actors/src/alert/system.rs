//! Rules about nodes and the system: a reconciler of the node that owns their shard judges them for the cluster.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clock::Clock;
use domain::alert::{AuditHealth, FleetCount, Lasting, PushHealth, Rule, Subject, SubjectKind, SystemFacts};
use domain::audit::ChainCheck;
use domain::shard::{Epoch, ShardLease};
use domain::{AlertId, ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{NodeHealth, OpenAlert, Store, StoreError};

use super::judged::{Judged, OwnFacts, judge_and_record};
use super::outage::Outages;
use super::{AlertRules, alert_shard};
use crate::fleet_view::FleetView;
use crate::metrics::Metrics;
use crate::reconcile::{Reconcile, Reconciler, Run};
use crate::writers::AlertWriter;

/// Name of the reconciler.
pub(crate) const ALERT_SYSTEM: &str = "alert_system";
/// Time between two judgements.
const INTERVAL: Duration = Duration::from_secs(15);
/// Most open alerts that are read.
const OPEN_MAX: i64 = 10_000;
/// How long what a node says of itself counts.
const HEALTH_COUNTS_FOR: TimeDelta = TimeDelta::minutes(2);
/// How far back a device counts as one that was online before.
const ONLINE_WITHIN: TimeDelta = TimeDelta::hours(1);
/// Builds of the agent that are looked at.
const BUILDS_MAX: i64 = 100;
/// Rows of the default partition that one run counts: no more than the greatest threshold.
const DEFAULT_PARTITION_ROWS_MAX: i64 = 1_000_000;
/// Entries of the audit trail that one run checks.
const AUDIT_BATCH: i64 = 500;

/// What judges nodes and the system.
pub(crate) struct SystemRules {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) view: Arc<FleetView>,
    pub(crate) rules: Arc<AlertRules>,
    pub(crate) writer: AlertWriter,
    pub(crate) outages: Outages,
    pub(crate) metrics: Metrics,
    /// Epoch in which this node judges, and since when.
    pub(crate) since: Option<(Epoch, Timestamp)>,
    pub(crate) audit: AuditWatch,
}

impl SystemRules {
    /// The reconciler. What is recorded is compared with the epoch of the shard.
    pub(crate) fn reconciler(self) -> Reconciler {
        Reconciler::per_cluster(ALERT_SYSTEM, alert_shard(), INTERVAL, self).fenced_by_epoch().at_start()
    }

    async fn facts(&mut self, fleet_silent_since: Option<Timestamp>, now: Timestamp) -> Result<SystemFacts, StoreError> {
        let builds = self.store.circulating_agent_builds(BUILDS_MAX).await?;
        let default_partition_rows = self.store.default_partition_rows(DEFAULT_PARTITION_ROWS_MAX).await?;
        Ok(SystemFacts {
            cluster_started_at: self.store.cluster_started_at().await?,
            fleet: self.fleet(fleet_silent_since, now),
            database_away: Some(self.outages.unrecorded(now, &self.clock)),
            rollout_halted: Some(builds.iter().any(|build| build.halt_reason.is_some())),
            default_partition_rows: Some(default_partition_rows.unsigned_abs()),
            audit: self.audit.check(&self.store).await?,
            // These have no source yet.
            archive_failures: None,
            drift_rows: None,
            backup_at: None,
            // Of each node.
            database_p99_ms: None,
            pool_full: None,
            disk_free_pct: None,
            push: None,
            certificate_expires_at: None,
        })
    }

    /// Devices that fell silent, of those that were online in the hour before, or before a silence that lasts.
    fn fleet(&self, silent_since: Option<Timestamp>, now: Timestamp) -> Option<FleetCount> {
        if !self.view.is_complete() {
            return None;
        }
        let online_since = silent_since.map_or(now, |since| since.min(now)) - ONLINE_WITHIN;
        let silent_before = now - self.rules.settle();
        let mut count = FleetCount { online: 0, silent: 0 };
        self.view.visit(|device| {
            if let Some(seen) = device.last_seen_at.filter(|seen| *seen > online_since) {
                count.online += 1;
                count.silent += u64::from(seen <= silent_before);
            }
        });
        Some(count)
    }

    async fn subjects(&mut self, lease: ShardLease, open: &[OpenAlert], now: Timestamp) -> Result<Vec<Judged>, StoreError> {
        let silent = open.iter().find(|alert| alert.key.rule == Rule::FleetSilent).map(|alert| alert.opened_at);
        let facts = OwnFacts::System(Box::new(self.facts(silent, now).await?));
        let mut subjects = vec![Judged { subject: Subject::System(String::new()), name: String::new(), lease, facts }];
        for (name, facts) in self.store.judged_nodes().await? {
            subjects.push(Judged { subject: Subject::Node(name.clone()), name: name.clone(), lease, facts: OwnFacts::Node(facts) });
        }
        for (name, health) in self.store.node_health(now - HEALTH_COUNTS_FOR).await? {
            let facts = OwnFacts::System(Box::new(of_node(&health)));
            subjects.push(Judged { subject: Subject::System(name.clone()), name, lease, facts });
        }
        Ok(subjects)
    }

    /// Shows how many alerts of the cluster are open.
    async fn count_open(&self) -> Result<(), StoreError> {
        let counts = self.store.open_alert_counts().await?;
        self.metrics.alerts_open.reset();
        for (rule, severity, state, count) in counts {
            let labels = [rule.as_str(), severity.as_str(), state.as_str()];
            self.metrics.alerts_open.with_label_values(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        Ok(())
    }
}

/// What a node says of itself, as rules see it.
fn of_node(health: &NodeHealth) -> SystemFacts {
    SystemFacts {
        disk_free_pct: health.disk_free_pct.map(i64::from),
        database_p99_ms: health.database_p99_ms,
        pool_full: Some(health.pool_full_since.map_or(Lasting::Not, Lasting::Since)),
        push: push_of(health),
        certificate_expires_at: health.certificate_expires_at,
        ..SystemFacts::default()
    }
}

/// Whether there is quota is not known while the credentials are refused.
fn push_of(health: &NodeHealth) -> Option<PushHealth> {
    Some(match (health.push_refused?, health.push_quota_used_up) {
        (true, _) => PushHealth::Refused,
        (false, Some(true)) => PushHealth::QuotaUsedUp,
        (false, _) => PushHealth::Ok,
    })
}

impl Reconcile for SystemRules {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let Some(epoch) = run.epoch() else { return Ok(0) };
            let lease = ShardLease { shard: alert_shard(), epoch };
            let began = self.clock.monotonic();
            if self.since.is_none_or(|(known, _)| known != epoch) {
                self.since = Some((epoch, run.now));
            }
            let judged_since = self.since.map_or(run.now, |(_, since)| since);
            let mut open = self.store.open_alerts(&[lease.shard], Some(SubjectKind::System), None, OPEN_MAX).await?;
            open.extend(self.store.open_alerts(&[lease.shard], Some(SubjectKind::Node), None, OPEN_MAX).await?);
            let subjects = self.subjects(lease, &open, run.now).await?;
            // A node that says nothing of itself for a while is lost, and that is an alert of its own; what it said stands until it is forgotten.
            let lease_of = |subject: &Subject| {
                let known = |name: &String| subjects_of_nodes(&subjects).any(|known| known == name);
                match subject {
                    Subject::System(name) if known(name) => None,
                    _ => Some(lease),
                }
            };
            let keep: Vec<OpenAlert> =
                open.iter().filter(|alert| is_judged(&subjects, alert) || lease_of(&alert.key.subject).is_some()).cloned().collect();
            let new_id = || AlertId(self.clock.new_id());
            let at = (run.now, judged_since, self.rules.settle());
            let recorded = judge_and_record(&self.writer, &self.rules.snapshot(), new_id, subjects, keep, |_| Some(lease), at).await?;
            self.outages.recorded(began);
            self.count_open().await?;
            Ok(recorded)
        }
        .boxed()
    }
}

/// Names of the nodes among the subjects.
fn subjects_of_nodes(subjects: &[Judged]) -> impl Iterator<Item = &String> {
    subjects.iter().filter_map(|judged| if let Subject::Node(name) = &judged.subject { Some(name) } else { None })
}

fn is_judged(subjects: &[Judged], alert: &OpenAlert) -> bool {
    subjects.iter().any(|judged| judged.subject == alert.key.subject)
}

/// Check of the audit trail's chain, some entries with each run, from the beginning and on.
pub(crate) struct AuditWatch {
    check: ChainCheck,
    /// Whether the end was reached once.
    whole: bool,
    broken_at: Option<i64>,
}

impl Default for AuditWatch {
    fn default() -> Self {
        Self { check: ChainCheck::new(None), whole: false, broken_at: None }
    }
}

impl AuditWatch {
    /// Checks the next entries. `None`: the end has not been reached yet, and nothing is wrong so far.
    async fn check(&mut self, store: &Store) -> Result<Option<AuditHealth>, StoreError> {
        let batch = store.audit_batch(self.check.last_seq(), AUDIT_BATCH).await?;
        self.whole |= (batch.len() as i64) < AUDIT_BATCH;
        for row in &batch {
            if !self.check.next(row).is_empty() {
                self.broken_at.get_or_insert(row.entry.seq);
            }
        }
        Ok(match self.broken_at {
            Some(seq) => Some(AuditHealth::BrokenAt(seq)),
            None => self.whole.then_some(AuditHealth::Whole),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_more_than_a_quota() {
        for (refused, quota, push) in [
            (None, None, None),
            (Some(false), None, Some(PushHealth::Ok)),
            (Some(false), Some(false), Some(PushHealth::Ok)),
            (Some(false), Some(true), Some(PushHealth::QuotaUsedUp)),
            (Some(true), Some(true), Some(PushHealth::Refused)),
        ] {
            let health = NodeHealth { push_refused: refused, push_quota_used_up: quota, ..NodeHealth::default() };
            assert_eq!(of_node(&health).push, push, "{refused:?} {quota:?}");
        }
    }
}
