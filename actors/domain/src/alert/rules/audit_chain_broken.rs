//! `audit_chain_broken`: an entry of the audit trail does not match its hash.

use crate::alert::{AuditHealth, Evaluation, SystemFacts};

pub(super) fn evaluate(system: &SystemFacts) -> Evaluation {
    match system.audit {
        None => Evaluation::UNKNOWN,
        Some(AuditHealth::Whole) => Evaluation::OK,
        Some(AuditHealth::BrokenAt(seq)) => Evaluation::firing(format!("entry {seq} of the audit trail does not match its hash")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use crate::alert::AuditHealth;

    #[test]
    fn the_first_broken_entry_is_named() {
        for (audit, verdict) in [
            (None, "unknown"),
            (Some(AuditHealth::Whole), "ok"),
            (Some(AuditHealth::BrokenAt(17)), "entry 17 of the audit trail does not match its hash"),
        ] {
            let facts = SystemFacts { audit, ..SystemFacts::default() };
            assert_eq!(At::default().of_system(Rule::AuditChainBroken, &facts).0, verdict, "{audit:?}");
        }
    }
}
