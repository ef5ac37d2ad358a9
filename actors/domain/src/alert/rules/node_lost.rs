//! `node_lost`: the lease of a node ran out, and no node of its name has come back.

use crate::alert::{Evaluation, Judging, NodeFacts};
use crate::quantity;

/// One that does not come back is forgotten in time: it may have been taken out of service without a word.
pub(super) fn evaluate(node: &NodeFacts, at: &Judging<'_>) -> Evaluation {
    let Some(expired_at) = node.expired_at else { return Evaluation::OK };
    let forgotten_at = expired_at + at.duration("forget_after_hours");
    if forgotten_at <= at.now {
        return Evaluation::OK;
    }
    let shards = quantity::count(node.shards, "shard", "shards");
    Evaluation::firing(format!("its lease ran out; it owned {shards}, which others take over")).until(forgotten_at)
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn an_expired_node_is_notified_until_it_is_back_or_forgotten() {
        let lost = NodeFacts { expired_at: Some(second(0)), shards: 86 };
        let judged = |facts: &NodeFacts, now| At { now, ..At::default() }.of_node(Rule::NodeLost, facts);
        assert_eq!(judged(&lost, 1), ("its lease ran out; it owned 86 shards, which others take over".into(), Some(86_400)));
        assert_eq!(judged(&lost, 86_400).0, "ok");
        assert_eq!(judged(&NodeFacts::default(), 1).0, "ok");
    }
}
