//! `agent_rollout_halted`: the rollout of an agent build was halted.

use crate::alert::{Evaluation, SystemFacts};

pub(super) fn evaluate(system: &SystemFacts) -> Evaluation {
    match system.rollout_halted {
        None => Evaluation::UNKNOWN,
        Some(false) => Evaluation::OK,
        Some(true) => Evaluation::firing("the rollout is halted because devices failed to update".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn a_halt_is_notified() {
        for (halted, verdict) in
            [(None, "unknown"), (Some(false), "ok"), (Some(true), "the rollout is halted because devices failed to update")]
        {
            let facts = SystemFacts { rollout_halted: halted, ..SystemFacts::default() };
            assert_eq!(At::default().of_system(Rule::AgentRolloutHalted, &facts).0, verdict, "{halted:?}");
        }
    }
}
