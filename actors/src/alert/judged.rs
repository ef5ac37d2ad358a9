//! Judgement of subjects that are no devices, and the record of what follows.

use std::collections::HashMap;

use chrono::TimeDelta;
use domain::alert::{
    AlertKey, Circumstances, DeploymentFacts, Facts, NodeFacts, OpenRecord, RecordChange, ResolveCause, Rule, RuleBook, Subject,
    SubjectLabels, SystemFacts, judge_subject,
};
use domain::shard::ShardLease;
use domain::{AlertId, ServiceError, Timestamp};
use futures_util::future::join_all;
use store::{AlertChange, ChangedAlert, OpenAlert};

use crate::writers::AlertWriter;

/// Facts about a subject that is no device.
pub(super) enum OwnFacts {
    /// Of a deployment.
    Deployment(DeploymentFacts),
    /// Of a node.
    Node(NodeFacts),
    /// Of the system, or a part of it.
    System(Box<SystemFacts>),
}

/// Subject to judge.
pub(super) struct Judged {
    pub(super) subject: Subject,
    /// Its name.
    pub(super) name: String,
    /// Right to its shard.
    pub(super) lease: ShardLease,
    pub(super) facts: OwnFacts,
}

/// Judges subjects at a time, given the open alerts about their kinds, and records what follows. An open alert about a subject that is not
/// among them any more is resolved, with the lease of `lease_of`. Answers how many changes were recorded.
pub(super) async fn judge_and_record(
    writer: &AlertWriter,
    book: &RuleBook,
    new_id: impl Fn() -> AlertId,
    subjects: Vec<Judged>,
    open: Vec<OpenAlert>,
    lease_of: impl Fn(&Subject) -> Option<ShardLease>,
    (now, judged_since, settle): (Timestamp, Timestamp, TimeDelta),
) -> Result<u64, ServiceError> {
    let mut records: HashMap<Subject, Vec<OpenRecord>> = HashMap::new();
    for alert in open {
        let record = OpenRecord { rule: alert.key.rule, id: alert.id, severity: alert.severity };
        records.entry(alert.key.subject).or_default().push(record);
    }
    let at = Circumstances { now, judged_since, settle };
    let mut changes = Vec::new();
    let mut add = |subject: &Subject, name: &str, lease, open: &[OpenRecord], rule: Rule, change: RecordChange| {
        let known = open.iter().find(|record| record.rule == rule).map(|record| record.id);
        changes.push(AlertChange {
            lease,
            id: known.unwrap_or_else(&new_id),
            key: AlertKey { rule, subject: subject.clone() },
            labels: SubjectLabels { name: name.to_owned(), ..SubjectLabels::default() },
            change,
            at: now,
        });
    };
    for Judged { subject, name, lease, facts } in subjects {
        let open = records.remove(&subject).unwrap_or_default();
        let facts = match &facts {
            OwnFacts::Deployment(facts) => Facts::Deployment(facts),
            OwnFacts::Node(facts) => Facts::Node(facts),
            OwnFacts::System(facts) => Facts::System(facts),
        };
        for (rule, change) in judge_subject(book, facts, None, &open, at).changes {
            add(&subject, &name, lease, &open, rule, change);
        }
    }
    for (subject, open) in records {
        let Some(lease) = lease_of(&subject) else { continue };
        for record in &open {
            add(&subject, "", lease, &open, record.rule, RecordChange::Resolve(ResolveCause::SubjectGone));
        }
    }
    let outcomes = join_all(changes.into_iter().map(|change| writer.record(change))).await;
    let mut recorded = 0;
    for outcome in outcomes {
        // What was not recorded is judged again with the next run, from what is open then.
        recorded += u64::from(outcome? == ChangedAlert::Changed);
    }
    Ok(recorded)
}
