use std::net::IpAddr;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::DeviceId;

fn device(n: u8, class: Class, address: u8) -> Claim {
    Claim::device(class, DeviceId(Uuid::from_u128(n.into())), Some(IpAddr::from([192, 0, 2, address])))
}

fn link(n: u8) -> Claim {
    Claim { link: Some(Key::Link([n; 32])), ..Claim::new(Class::Regular) }
}

fn limits() -> PoolLimits {
    PoolLimits { per_principal: 2, per_link: 3, ..PoolLimits::of_capacity(8) }.with_parts(50, 25)
}

#[test]
fn the_table_of_refusals() {
    use Class::{Essential, Regular, Stranger};
    let held = |claims: Vec<Claim>| {
        let mut pool = PermitPool::new(PoolLimits { known_only: 2, ..limits() });
        claims.iter().for_each(|claim| pool.take(claim).unwrap());
        pool
    };
    let of = |class: Class, count: u8| (0..count).map(|n| device(10 + n, class, 10 + n)).collect::<Vec<_>>();
    for (name, pool, claim, outcome) in [
        ("nobody is there", held(vec![]), device(1, Stranger, 1), Ok(())),
        ("a device at its share", held(vec![device(1, Regular, 1); 2]), device(1, Regular, 2), Err(Limit::Principal)),
        ("another device", held(vec![device(1, Regular, 1); 2]), device(2, Regular, 2), Ok(())),
        ("a link at its share", held(vec![link(1); 3]), link(1), Err(Limit::Link)),
        ("another link", held(vec![link(1); 3]), link(2), Ok(())),
        ("an address at its share", held((1..5).map(|n| device(n, Regular, 1)).collect()), device(9, Essential, 1), Err(Limit::Address)),
        ("another address", held((1..5).map(|n| device(n, Regular, 1)).collect()), device(9, Regular, 2), Ok(())),
        ("the reserve", held(of(Regular, 6)), device(1, Regular, 1), Err(Limit::Reserve)),
        ("the reserve, for whom it is", held(of(Regular, 6)), device(1, Essential, 1), Ok(())),
        ("what is not for strangers", held(of(Stranger, 4)), device(1, Stranger, 1), Err(Limit::Reserve)),
        ("what is not for strangers, for others", held(of(Stranger, 4)), device(1, Regular, 1), Ok(())),
        ("essential ones use more than the reserve", held(of(Essential, 7)), device(1, Essential, 1), Ok(())),
        ("all in use", held(of(Essential, 8)), device(1, Essential, 1), Err(Limit::Capacity)),
    ] {
        assert_eq!(pool.check(&claim), outcome, "{name}");
    }
}

/// Tokens are made for the asking: they widen nobody's share.
#[test]
fn the_tokens_of_an_account_share_what_it_has() {
    let token = |token: u8, owner: u8| Claim {
        principal: Some(Key::ApiToken(crate::ApiTokenId(Uuid::from_u128(token.into())))),
        owner: Some(Key::User(crate::UserId(Uuid::from_u128(owner.into())))),
        ..Claim::new(Class::Regular)
    };
    let mut pool = PermitPool::new(limits());
    pool.take(&token(1, 1)).unwrap();
    pool.take(&token(2, 1)).unwrap();
    assert_eq!(pool.check(&token(3, 1)), Err(Limit::Principal));
    assert_eq!(pool.check(&token(4, 2)), Ok(()));
}

#[test]
fn parts_of_a_small_pool_leave_something_for_everybody() {
    for (capacity, per_address_pct, reserved_pct, per_address, reserved) in [
        (64, 50, 25, 32, 16),
        (1, 50, 25, 1, 0),
        (2, 50, 25, 1, 0),
        (3, 50, 50, 2, 1),
        (4, 100, 100, 4, 3),
        (0, 50, 25, 1, 0),
        (5, 1, 0, 1, 0),
    ] {
        let limits = PoolLimits::of_capacity(capacity).with_parts(per_address_pct, reserved_pct);
        assert_eq!((limits.per_address, limits.reserved), (per_address, reserved), "{capacity}");
    }
}

#[test]
fn who_waits_is_served_by_class_then_by_when_it_is_due() {
    let mut pool = PermitPool::new(PoolLimits { waiting: 10, ..PoolLimits::of_capacity(1) });
    let claim = |class, delay_ms| Claim { delay_ms, ..Claim::new(class) };
    assert_eq!(pool.ask(claim(Class::Stranger, 0), 0), Answer::Granted);
    let mut waits = |class, delay_ms, now_ms| match pool.ask(claim(class, delay_ms), now_ms) {
        Answer::Waits(ticket) => ticket,
        other => panic!("{other:?}"),
    };
    let slowed = waits(Class::Stranger, 100, 0);
    let stranger = waits(Class::Stranger, 0, 50);
    let known = waits(Class::Regular, 0, 60);
    let admin = waits(Class::Essential, 0, 70);
    let late = waits(Class::Stranger, 0, 200);
    let mut order = Vec::new();
    let mut running = Class::Stranger;
    while let [ticket] = pool.give_back(&claim(running, 0))[..] {
        running = match ticket {
            t if t == admin => Class::Essential,
            t if t == known => Class::Regular,
            _ => Class::Stranger,
        };
        order.push(ticket);
    }
    assert_eq!(order, [admin, known, stranger, slowed, late]);
    assert!(pool.is_idle());
}

#[test]
fn who_is_at_its_share_is_passed_over_and_nobody_takes_every_place_to_wait() {
    let mut pool = PermitPool::new(PoolLimits { per_principal: 1, waiting: 4, ..PoolLimits::of_capacity(2) });
    let greedy = device(1, Class::Regular, 1);
    assert_eq!(pool.ask(greedy.clone(), 0), Answer::Granted);
    let first = pool.ask(greedy.clone(), 1);
    assert!(matches!(first, Answer::Waits(_)), "its own share, though the pool has room");
    assert!(matches!(pool.ask(greedy.clone(), 2), Answer::Waits(_)));
    assert_eq!(pool.ask(greedy.clone(), 3), Answer::Refused(Limit::Waiting), "half of the places");
    let other = device(2, Class::Regular, 2);
    assert_eq!(pool.ask(other.clone(), 4), Answer::Granted);
    assert_eq!(pool.give_back(&other), [], "still at its share");
    let Answer::Waits(first) = first else { unreachable!() };
    assert_eq!(pool.give_back(&greedy), [first]);
    assert!(!pool.give_up(first), "it holds a permit already");
}

#[test]
fn a_stranger_is_delayed_more_with_each_failure_up_to_a_maximum() {
    let delays: Vec<_> = [0, 1, 2, 3, 4, 200].map(|failures| stranger_delay_ms(failures, 500, 3000)).into();
    assert_eq!(delays, [0, 500, 1000, 2000, 3000, 3000]);
}

#[derive(Debug, Clone)]
enum Step {
    Ask(Claim),
    GiveBack(usize),
    GiveUp(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let claim = (0u8..4, 0u8..3, 0u8..3, proptest::option::of(0u8..3), 0u64..50).prop_map(|(principal, address, class, link, delay_ms)| {
        let class = Class::ALL[usize::from(class)];
        Claim { link: link.map(|n| Key::Link([n; 32])), delay_ms, ..device(principal, class, address) }
    });
    prop_oneof![3 => claim.prop_map(Step::Ask), 2 => (0usize..50).prop_map(Step::GiveBack), 1 => (0usize..50).prop_map(Step::GiveUp)]
}

proptest! {
    #[test]
    fn no_share_is_exceeded_and_nobody_waits_who_could_be_served(steps in proptest::collection::vec(step(), 1..120)) {
        let limits = PoolLimits { known_only: 1, waiting: 6, ..limits() };
        let mut pool = PermitPool::new(limits);
        let (mut held, mut waiting): (Vec<Claim>, Vec<(Ticket, Claim)>) = (vec![], vec![]);
        for (now_ms, step) in steps.into_iter().enumerate() {
            match step {
                Step::Ask(claim) => match pool.ask(claim.clone(), now_ms as u64) {
                    Answer::Granted => held.push(claim),
                    Answer::Waits(ticket) => waiting.push((ticket, claim)),
                    Answer::Refused(_) => prop_assert!(pool.check(&claim).is_err()),
                },
                Step::GiveBack(n) if !held.is_empty() => {
                    let claim = held.swap_remove(n % held.len());
                    for ticket in pool.give_back(&claim) {
                        let at = waiting.iter().position(|(other, _)| *other == ticket).unwrap();
                        held.push(waiting.swap_remove(at).1);
                    }
                }
                Step::GiveUp(n) if !waiting.is_empty() => {
                    let (ticket, _) = waiting.swap_remove(n % waiting.len());
                    prop_assert!(pool.give_up(ticket));
                }
                _ => {}
            }
            let of = |class: Class| held.iter().filter(|claim| claim.class >= class).count();
            prop_assert!(of(Class::Essential) <= 8 && of(Class::Regular) <= 6 && of(Class::Stranger) <= 5);
            for claim in &held {
                for (key, limit) in claim.keys() {
                    let count = held.iter().filter(|other| other.keys().any(|(theirs, _)| theirs == key)).count();
                    prop_assert!(count <= limits.of_key(limit), "{key:?}");
                }
            }
            for class in Class::ALL {
                prop_assert_eq!(pool.in_use(class), held.iter().filter(|claim| claim.class == class).count());
                prop_assert!(pool.waiting(class) <= 6);
            }
            for (_, claim) in &waiting {
                prop_assert!(pool.check(claim).is_err(), "{claim:?} could be served");
            }
        }
        // What is given back is free again, whoever had it.
        while let Some(claim) = held.pop() {
            for ticket in pool.give_back(&claim) {
                let at = waiting.iter().position(|(other, _)| *other == ticket).unwrap();
                held.push(waiting.swap_remove(at).1);
            }
        }
        prop_assert!(pool.is_idle() && waiting.is_empty());
    }
}
