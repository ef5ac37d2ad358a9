//! Placement of shards on nodes: a pure function of the live nodes and the present owners.
//!
//! Goals, in this order:
//! - each node that accepts shards gets its equal part, rounded down or up;
//! - a shard stays where it is unless its owner is gone, accepts no more, or has too many;
//! - what has to move goes to the node that rendezvous hashing ranks highest among those with
//!   room, and a node with too many parts with those that rank it lowest.
//!
//! Rendezvous hashing alone would leave 256 shards over 16 nodes off by half, since a node's
//! part is then a matter of luck. Nodes that look at the same rows come to the same plan; nodes
//! that look at different ones meet at the shard's row, which lets one of them in.

use crate::NodeId;
use crate::shard::{SHARD_COUNT, ShardId};

/// A live node, as its lease shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Id of this start of the node.
    pub id: NodeId,
    /// Its name, which decides its rank: a node that is started again gets its shards back.
    pub name: String,
    /// Whether it takes shards; one that drains does not.
    pub accepts: bool,
}

/// Whether a node that has not ended takes part. One whose lease ran out does no more, unless the
/// looking node is not `steady`: it has just got the database back, and others may be about to
/// renew theirs as it did. A node does not judge itself by its row: its own clock fences it earlier.
pub fn takes_part(is_me: bool, lease_left_ms: i64, steady: bool) -> bool {
    is_me || !steady || lease_left_ms > 0
}

/// The wanted owner of every shard, in the order of their ids. `owners` are the present ones;
/// whoever is no live member counts as gone. When no member accepts shards, those that drain are
/// better than nobody. `None` everywhere when there is no member.
pub fn wanted(members: &[Member], owners: &[Option<NodeId>]) -> Vec<Option<NodeId>> {
    let shards = usize::from(SHARD_COUNT);
    let mut accepting: Vec<&Member> = members.iter().filter(|member| member.accepts).collect();
    if accepting.is_empty() {
        accepting = members.iter().collect();
    }
    accepting.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    let mut wanted = vec![None; shards];
    if accepting.is_empty() {
        return wanted;
    }
    let names: Vec<u64> = accepting.iter().map(|member| name_hash(&member.name)).collect();
    let targets = targets(&names);
    let mut holds: Vec<Vec<usize>> = vec![Vec::new(); accepting.len()];
    for (shard, owner) in owners.iter().enumerate().take(shards) {
        if let Some(at) = owner.and_then(|owner| accepting.iter().position(|member| member.id == owner)) {
            holds[at].push(shard);
        }
    }
    for (at, held) in holds.iter_mut().enumerate() {
        held.sort_by_key(|shard| std::cmp::Reverse(score(names[at], *shard)));
        held.truncate(targets[at]);
        held.iter().for_each(|shard| wanted[*shard] = Some(accepting[at].id));
    }
    let mut capacity: Vec<usize> = holds.iter().zip(&targets).map(|(held, target)| target - held.len()).collect();
    for (shard, place) in wanted.iter_mut().enumerate().filter(|(_, place)| place.is_none()) {
        let best = (0..accepting.len()).filter(|at| capacity[*at] > 0).max_by_key(|at| score(names[*at], shard));
        if let Some(at) = best {
            capacity[at] -= 1;
            *place = Some(accepting[at].id);
        }
    }
    wanted
}

/// Plan of a node: shards to claim and to release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Shards to claim: unassigned, or of an owner that is gone.
    pub claim: Vec<ShardId>,
    /// Shards to release, because another node should own them.
    pub release: Vec<ShardId>,
}

/// The plan of the node `me`. `owners`: the present owners, `None` for a shard that is free or
/// whose owner's lease has ended.
pub fn plan(me: NodeId, members: &[Member], owners: &[Option<NodeId>]) -> Plan {
    let mut plan = Plan::default();
    for (shard, wanted) in ShardId::all().zip(wanted(members, owners)) {
        let owner = owners.get(usize::from(shard.0)).copied().flatten();
        if owner == Some(me) && wanted != Some(me) {
            plan.release.push(shard);
        } else if wanted == Some(me) && owner.is_none() {
            plan.claim.push(shard);
        }
    }
    plan
}

/// Equal parts; who gets one more is fixed by name, so that it does not change from look to look.
fn targets(names: &[u64]) -> Vec<usize> {
    let (part, rest) = (usize::from(SHARD_COUNT) / names.len(), usize::from(SHARD_COUNT) % names.len());
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(names[*at]));
    let mut targets = vec![part; names.len()];
    order.into_iter().take(rest).for_each(|at| targets[at] += 1);
    targets
}

/// FNV-1a: the same on every build and machine.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Rendezvous weight of a node for a shard: SplitMix64 of both.
fn score(name: u64, shard: usize) -> u64 {
    let mut z = name ^ (shard as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_steady_node_takes_others_for_gone() {
        for (is_me, lease_left_ms, steady, counts) in [
            (false, 1, true, true),
            (false, 0, true, false),
            (false, -9_000, true, false),
            (false, -9_000, false, true),
            (true, -9_000, true, true),
        ] {
            assert_eq!(takes_part(is_me, lease_left_ms, steady), counts, "{is_me} {lease_left_ms} {steady}");
        }
    }

    fn members(names: impl IntoIterator<Item = u32>) -> Vec<Member> {
        names
            .into_iter()
            .map(|n| Member { id: NodeId(uuid::Uuid::from_u128(u128::from(n) + 1)), name: format!("node-{n}"), accepts: true })
            .collect()
    }

    fn settled(members: &[Member]) -> Vec<Option<NodeId>> {
        wanted(members, &[None; SHARD_COUNT as usize])
    }

    fn loads(members: &[Member], owners: &[Option<NodeId>]) -> Vec<usize> {
        members.iter().map(|member| owners.iter().filter(|owner| **owner == Some(member.id)).count()).collect()
    }

    fn names() -> impl Strategy<Value = Vec<u32>> {
        proptest::collection::hash_set(0u32..10_000, 3..=16).prop_map(|names| names.into_iter().collect())
    }

    proptest! {
        #[test]
        fn every_shard_has_an_owner_and_the_parts_are_within_15_percent(names in names()) {
            let members = members(names);
            let owners = settled(&members);
            prop_assert!(owners.iter().all(Option::is_some));
            let mean = 256.0 / members.len() as f64;
            for load in loads(&members, &owners) {
                prop_assert!((load as f64 - mean).abs() <= (mean * 0.15).max(1.0), "{load} of {mean}");
                prop_assert!((load as f64 - mean).abs() < 1.0, "{load} of {mean}");
            }
        }

        #[test]
        fn a_node_that_joins_takes_its_part_and_nothing_else_moves(names in names(), seed in any::<u64>()) {
            let all = members(names);
            let (joins, before) = all.split_at(1);
            // From any settled state, not only from the one that a fresh start gives.
            let from = churned(before, seed);
            let owners = wanted(&all, &from);
            let moved: Vec<_> = owners.iter().zip(&from).filter(|(to, from)| to != from).collect();
            prop_assert!(moved.iter().all(|(to, _)| **to == Some(joins[0].id)));
            prop_assert!(moved.len() <= 256_usize.div_ceil(all.len()));
        }

        #[test]
        fn when_a_node_leaves_only_its_shards_move(names in names(), seed in any::<u64>()) {
            let all = members(names);
            let from = churned(&all, seed);
            let (gone, rest) = all.split_at(1);
            let owners = wanted(rest, &from);
            for (to, from) in owners.iter().zip(&from) {
                prop_assert!(to == from || *from == Some(gone[0].id));
                prop_assert!(to.is_some() && *to != Some(gone[0].id));
            }
        }

        /// Nodes act one after the other, each on what the rows then show.
        #[test]
        fn acting_on_the_plan_settles_whatever_the_start(names in names(), start in proptest::collection::vec(0usize..20, 256), draining in 0usize..3) {
            let mut members = members(names);
            members[..draining].iter_mut().for_each(|member| member.accepts = false);
            let mut owners: Vec<_> = start.into_iter().map(|at| members.get(at).map(|member| member.id)).collect();
            for _ in 0..4 {
                for member in &members {
                    let plan = plan(member.id, &members, &owners);
                    plan.release.iter().for_each(|shard| owners[usize::from(shard.0)] = None);
                    plan.claim.iter().for_each(|shard| owners[usize::from(shard.0)] = Some(member.id));
                }
            }
            prop_assert_eq!(wanted(&members, &owners), owners.clone(), "settled");
            prop_assert!(members.iter().all(|member| plan(member.id, &members, &owners) == Plan::default()));
            prop_assert!(loads(&members[..draining], &owners).iter().all(|load| *load == 0));
        }
    }

    /// A settled state that nodes came and went before.
    fn churned(members: &[Member], seed: u64) -> Vec<Option<NodeId>> {
        let without = |skip: usize| -> Vec<Member> {
            members.iter().enumerate().filter(|(at, _)| members.len() == 1 || *at != skip).map(|(_, member)| member.clone()).collect()
        };
        let mut owners = settled(&without(seed as usize % members.len()));
        owners = wanted(members, &owners);
        owners = wanted(&without((seed >> 8) as usize % members.len()), &owners);
        wanted(members, &owners)
    }

    #[test]
    fn a_node_started_again_ranks_as_before() {
        let before = members([1, 2, 3]);
        let mut after = before.clone();
        after[0].id = NodeId(uuid::Uuid::from_u128(99));
        let owners = settled(&before);
        let again = wanted(&after, &owners);
        for (old, new) in owners.iter().zip(&again) {
            assert_eq!(*new, if *old == Some(before[0].id) { Some(after[0].id) } else { *old });
        }
    }

    #[test]
    fn those_that_drain_are_better_than_nobody() {
        let mut all = members([1, 2]);
        all[0].accepts = false;
        let owners = vec![Some(all[0].id); 256];
        assert_eq!(plan(all[0].id, &all, &owners).release.len(), 256);
        assert_eq!(plan(all[0].id, &all[..1], &owners), Plan::default(), "nobody would take them");
        assert_eq!(plan(all[0].id, &all[..1], &[None; 256]).claim.len(), 256, "the other is gone");
        assert!(wanted(&[], &owners).iter().all(Option::is_none));
    }
}
