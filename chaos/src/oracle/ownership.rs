//! P4: at most one node acts for a shard.

use std::collections::{BTreeMap, HashMap};

use domain::DeviceId;
use domain::shard::shard_of;
use uuid::Uuid;

use super::history::{clock_text, utc_text};
use super::{Ack, Check, Claim, DecidingOwner, Evidence, History, Violation};

/// Claims of one shard by epoch.
type ClaimsByEpoch = BTreeMap<u64, Claim>;

/// Checks the owners named in responses against the claims.
pub(super) fn check(history: &History) -> Check {
    let mut shards: HashMap<u16, ClaimsByEpoch> = HashMap::new();
    for claim in &history.stored.claims {
        shards.entry(claim.shard).or_default().insert(claim.epoch, *claim);
    }
    let mut violations = epoch_order_violations(history, &shards);
    let shard_of_device: Vec<Option<u16>> = (0..history.devices.len() as u32)
        .map(|device| Uuid::parse_str(history.devices.text(device)).ok().map(|id| shard_of(DeviceId(id)).0))
        .collect();
    let mut spoke: HashMap<(u16, u64), u32> = HashMap::new();
    let (mut decided, mut without) = (0_u64, 0_u64);
    for ack in &history.acks {
        let Some(by) = ack.decided else {
            without += 1;
            continue;
        };
        let Some(shard) = shard_of_device.get(ack.device as usize).copied().flatten() else { continue };
        decided += 1;
        let first = *spoke.entry((shard, by.epoch)).or_insert(by.owner);
        let what = (first != by.owner)
            .then(|| format!("two owners in one epoch: {} and {}", history.names.text(first), history.names.text(by.owner)))
            .or_else(|| ownership_fault(history, ack, by, shards.get(&shard)));
        if let Some(what) = what {
            let (owner, epoch, asked) = (history.names.text(by.owner), by.epoch, history.names.text(ack.server));
            let what = format!("shard {shard}, decided by {owner} in epoch {epoch}, asked {asked} at {}: {what}", clock_text(ack.sent_us));
            let times = Evidence::at("sent", ack.sent_us).and_at("answered", ack.answered_us);
            let claims =
                shards.get(&shard).into_iter().flat_map(|claims| claims.range(by.epoch.saturating_sub(1)..=by.epoch.saturating_add(1)));
            let evidence = claims.fold(times, |evidence, (_, claim)| and_claim(evidence, history, claim));
            violations.push(Violation::new("P4", history.devices.text(ack.device), what).with(evidence));
        }
    }
    Check {
        promise: "P4",
        looked_at: match decided {
            0 => "nothing to check: no answer named an owner".to_owned(),
            n => {
                format!("{n} answers named their owner, {without} none; {} claims of {} shards", history.stored.claims.len(), shards.len())
            }
        },
        violations,
        notes: Vec::new(),
    }
}

/// Reason why this owner should not have given this response, if there is one.
fn ownership_fault(history: &History, ack: &Ack, by: DecidingOwner, claims: Option<&ClaimsByEpoch>) -> Option<String> {
    let Some(claim) = claims.and_then(|claims| claims.get(&by.epoch)) else {
        return Some("nobody claimed that epoch".into());
    };
    if claim.owner != by.owner {
        return Some(format!("that epoch was claimed by {}", history.names.text(claim.owner)));
    }
    if ack.answered_us < claim.moved_us {
        return Some(format!("the claim came later, at {}", clock_text(claim.moved_us)));
    }
    // Sent after a later epoch had begun: a fenced owner acted.
    let mut later = claims?.range(by.epoch + 1..).map(|(_, claim)| claim).filter(|claim| claim.moved_us < ack.sent_us);
    let next = later.next()?;
    let (owner, began) = (history.names.text(next.owner), clock_text(next.moved_us));
    Some(format!("deposed: {owner} had begun epoch {} at {began}", next.epoch))
}

/// Evidence with a claim.
fn and_claim(evidence: Evidence, history: &History, claim: &Claim) -> Evidence {
    let (shard, epoch, moved_at) = (claim.shard.to_string(), claim.epoch.to_string(), utc_text(claim.moved_us));
    let columns: [(&str, &str); 4] =
        [("shard_id", &shard), ("epoch", &epoch), ("to_node", history.names.text(claim.owner)), ("moved_at", &moved_at)];
    evidence.and_at(&format!("epoch {epoch} claimed"), claim.moved_us).and_row("shard_move", 1, &columns)
}

/// Epochs of a shard that did not start in order.
fn epoch_order_violations(history: &History, shards: &HashMap<u16, ClaimsByEpoch>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (shard, claims) in shards {
        for (earlier, later) in claims.values().zip(claims.values().skip(1)) {
            if later.moved_us < earlier.moved_us {
                let (owner, began) = (history.names.text(later.owner), clock_text(later.moved_us));
                let what = format!("shard {shard}: epoch {} of {owner} began at {began}, before epoch {}", later.epoch, earlier.epoch);
                let evidence =
                    [earlier, later].into_iter().fold(Evidence::default(), |evidence, claim| and_claim(evidence, history, claim));
                violations.push(Violation::new("P4", "", what).with(evidence));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "0190b2c4-0000-7000-8000-000000000001";

    /// node-1 has the shard in epoch 1 from 1,000 on, node-2 in epoch 2 from 2,000 on.
    fn history(acks: &[(&str, u64, i64)]) -> History {
        let mut history = History::default();
        let (device, server) = (history.devices.number(DEVICE), history.names.number("http://n1"));
        let shard = shard_of(DeviceId(DEVICE.parse().unwrap())).0;
        for (epoch, owner, moved_us) in [(1, "node-1", 1_000), (2, "node-2", 2_000)] {
            let owner = history.names.number(owner);
            history.stored.claims.push(Claim { shard, epoch, owner, moved_us });
        }
        for (owner, epoch, sent_us) in acks {
            let decided = match *owner {
                "-" => None,
                name => Some(DecidingOwner { owner: history.names.number(name), epoch: *epoch }),
            };
            history.acks.push(Ack {
                device,
                server,
                bucket_s: None,
                device_time_us: None,
                sent_us: *sent_us,
                answered_us: sent_us + 100,
                decided,
            });
        }
        history
    }

    fn only_violation(history: &History) -> String {
        let check = check(history);
        let [violation] = &check.violations[..] else { panic!("{check:?}") };
        assert_eq!(violation.promise, "P4");
        violation.what.clone()
    }

    #[test]
    fn each_owner_in_its_own_time_is_fine() {
        // Sent before the claim and answered after it, both ways, is fine too.
        let acks = [("node-1", 1, 1_100), ("node-1", 1, 1_950), ("-", 0, 5_000), ("node-2", 2, 1_950), ("node-2", 2, 9_000)];
        let check = check(&history(&acks));
        assert!(check.violations.is_empty(), "{check:?}");
    }

    #[test]
    fn a_deposed_owner_that_acts_is_a_violation() {
        let history = history(&[("node-1", 1, 1_500), ("node-1", 1, 2_001), ("node-2", 2, 2_500)]);
        assert!(only_violation(&history).contains("deposed: node-2 had begun epoch 2"));
        assert_eq!(check(&history).violations[0].device, DEVICE);
    }

    #[test]
    fn two_owners_in_one_epoch_are_a_violation() {
        assert!(only_violation(&history(&[("node-2", 2, 2_500), ("node-3", 2, 2_600)])).contains("two owners in one epoch"));
    }

    #[test]
    fn an_epoch_or_an_owner_that_no_claim_knows_is_a_violation() {
        assert!(only_violation(&history(&[("node-1", 7, 2_500)])).contains("nobody claimed that epoch"));
        assert!(only_violation(&history(&[("node-3", 2, 2_500)])).contains("claimed by node-2"));
    }

    #[test]
    fn an_owner_that_acts_before_its_claim_is_a_violation() {
        assert!(only_violation(&history(&[("node-2", 2, 1_200)])).contains("the claim came later"));
    }

    #[test]
    fn epochs_that_begin_in_the_wrong_order_are_a_violation() {
        let mut history = history(&[]);
        history.stored.claims[1].moved_us = 500;
        assert!(only_violation(&history).contains("before epoch 1"));
    }
}
