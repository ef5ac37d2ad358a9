//! Rules about nodes and the system: a reconciler of the node that owns their shard judges them for the cluster.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clock::Clock;
use domain::alert::{AuditHealth, FleetCount, Lasting, PushHealth, Rule, Subject, SubjectKind, SystemFacts};
use domain::audit::ChainCheck;
use domain::reconciliation::ReconciliationRun;
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
/// How long the record of a reconciliation counts.
const DRIFT_COUNTS_FOR: TimeDelta = TimeDelta::hours(3);
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
    /// Whether backups are expected.
    pub(crate) watches_backups: bool,
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
            drift_rows: self.drift_rows(now).await?,
            archive_failures: Some(self.store.partition_failures().await?),
            backup: if self.watches_backups { self.store.backup_age(now).await? } else { None },
            // Of each node.
            database_p99_ms: None,
            pool_full: None,
            disk_free_pct: None,
            push: None,
            certificate_expires_at: None,
        })
    }

    /// Rows that differed in the last reconciliation of each check and node. `None`: nothing was reconciled lately.
    async fn drift_rows(&self, now: Timestamp) -> Result<Option<u64>, StoreError> {
        let runs = self.store.newest_reconciliation_runs(now - DRIFT_COUNTS_FOR).await?;
        let nodes = self.store.node_health(now - HEALTH_COUNTS_FOR).await?;
        Ok(drifted(&runs, &nodes))
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

/// Rows that differed: those of the cluster, and those of nodes that are there. What actors held went with their node.
fn drifted(runs: &[ReconciliationRun], nodes: &[(String, NodeHealth)]) -> Option<u64> {
    let counts = |run: &&ReconciliationRun| run.node.is_empty() || nodes.iter().any(|(name, _)| *name == run.node);
    let counted: Vec<u64> = runs.iter().filter(counts).map(|run| run.drifted).collect();
    (!counted.is_empty()).then(|| counted.iter().sum())
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
        let mut batch = store.audit_batch(self.check.last_seq(), AUDIT_BATCH).await?;
        if batch.first().is_none_or(|first| first.entry.seq != self.check.last_seq() + 1)
            && let Some(archive) = store.newest_audit_archive().await?
            && *archive.range.end() > self.check.last_seq()
        {
            // What was removed stands in archives, which are read when they are written and by `audit verify`.
            self.check.resume(&archive.ends_with());
            batch = store.audit_batch(self.check.last_seq(), AUDIT_BATCH).await?;
        }
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

    async fn entries(store: &Store, count: i64) {
        use domain::access::Principal;
        use domain::audit::{AuditAction, Target};
        let by = Principal::Console { os_user: "root".into() };
        for second in 0..count {
            let entry = store::AuditEntry::new(&by, AuditAction::TrailExported, Target::Node(second.to_string()));
            store.record(&entry, Timestamp::from_timestamp_nanos(second * 1_000_000_000)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_watch_of_the_trail_goes_on_behind_archives() {
        use domain::audit::{AuditArchive, GENESIS};
        let db = test_database::TestDatabase::new().await;
        entries(db.store(), 5).await;
        let mut before = AuditWatch::default();
        assert_eq!(before.check(db.store()).await.unwrap(), Some(AuditHealth::Whole));
        let third = db.store().audit_batch(2, 1).await.unwrap().remove(0);
        let archive = AuditArchive {
            range: 1..=3,
            first_at: third.entry.at,
            last_at: third.entry.at,
            prev_hash: GENESIS.to_vec(),
            last_hash: third.hash,
            name: "audit/1-3".into(),
            sha256: "0".repeat(64),
            rows_sha256: "0".repeat(64),
            bytes: 1,
            verified_at: third.entry.at,
            removed_at: None,
        };
        assert!(db.store().insert_audit_archive(&archive).await.unwrap());
        assert!(!db.store().insert_audit_archive(&archive).await.unwrap(), "it follows itself");
        assert_eq!(db.store().remove_archived_entries(&archive, 10).await.unwrap(), 3);
        entries(db.store(), 1).await;
        for watch in [&mut AuditWatch::default(), &mut before] {
            assert_eq!(watch.check(db.store()).await.unwrap(), Some(AuditHealth::Whole));
            assert_eq!(watch.check.last_seq(), 6);
        }
        // An entry that is gone and in no archive.
        db.execute("ALTER TABLE audit_entry DISABLE TRIGGER USER; DELETE FROM audit_entry WHERE seq = 4").await;
        assert_eq!(AuditWatch::default().check(db.store()).await.unwrap(), Some(AuditHealth::BrokenAt(5)));
    }

    #[test]
    fn the_drift_of_a_node_that_left_counts_no_more() {
        use domain::reconciliation::Check;
        let run = |check, node: &str, drifted| ReconciliationRun { drifted, ..ReconciliationRun::new(check, node, Timestamp::UNIX_EPOCH) };
        let runs = [run(Check::LastStatus, "", 1), run(Check::Commands, "a", 10), run(Check::Commands, "b", 100)];
        let there = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), NodeHealth::default())).collect::<Vec<_>>();
        for (runs, nodes, counted) in [
            (&runs[..], there(&["a", "b"]), Some(111)),
            (&runs[..], there(&["a"]), Some(11)),
            (&runs[..], there(&[]), Some(1)),
            (&runs[1..], there(&["c"]), None),
            (&runs[..0], there(&["a"]), None),
        ] {
            assert_eq!(drifted(runs, &nodes), counted, "{nodes:?}");
        }
    }

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
