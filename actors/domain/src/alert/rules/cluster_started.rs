//! `cluster_started`: the cluster has started; its devices are judged for liveness once they had time to report.

use crate::alert::{Evaluation, Judging, SystemFacts};
use crate::quantity;

pub(super) fn evaluate(system: &SystemFacts, at: &Judging<'_>) -> Evaluation {
    let Some(started_at) = system.cluster_started_at else { return Evaluation::UNKNOWN };
    let settled_at = started_at + at.settle;
    if settled_at <= at.now {
        return Evaluation::OK;
    }
    let settle = quantity::duration(at.settle.num_seconds());
    Evaluation::firing(format!("the cluster has started; silent devices are reported after {settle}")).until(settled_at)
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn a_start_is_notified_until_liveness_is_judged() {
        let started = SystemFacts { cluster_started_at: Some(second(0)), ..SystemFacts::default() };
        let judged = |now| At { now, ..At::default() }.of_system(Rule::ClusterStarted, &started);
        assert_eq!(judged(1), ("the cluster has started; silent devices are reported after 5 min".into(), Some(300)));
        assert_eq!(judged(300).0, "ok");
    }
}
