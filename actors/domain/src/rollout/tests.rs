//! Cohorts, offers and halts, by tables and by chance.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn build(version_code: i64, rollout_percent: u8) -> PromotedBuild {
    PromotedBuild { build: id(version_code), version_code, rollout_percent }
}

fn id(version_code: i64) -> AgentBuildId {
    AgentBuildId(Uuid::from_u128(version_code as u128))
}

/// A device at this place.
fn device_at(place: u8) -> DeviceId {
    (0..).map(|n| DeviceId(Uuid::from_u128(n))).find(|device| cohort_slot(*device) == place).unwrap()
}

#[test]
fn a_known_id_has_a_known_place() {
    // printf 00000000-0000-0000-0000-000000000000 | sha256sum -> 12b9377c..., 0x12b9377c = 314128252
    assert_eq!(cohort_slot(DeviceId(Uuid::nil())), 52);
    // printf 0192f0c1-2345-7abc-8def-0123456789ab | sha256sum, whatever the case of what was read.
    let (lower, upper) = ("0192f0c1-2345-7abc-8def-0123456789ab", "0192F0C1-2345-7ABC-8DEF-0123456789AB");
    let digest = Sha256::digest(lower);
    let word = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    assert_eq!(cohort_slot(upper.parse().unwrap()), (word % 100) as u8);
}

#[test]
fn cohorts_are_even() {
    let mut places = [0u32; COHORT_SLOTS];
    for n in 0..100_000u128 {
        places[usize::from(cohort_slot(DeviceId(Uuid::from_u128(n))))] += 1;
    }
    let (low, high) = (places.iter().min().unwrap(), places.iter().max().unwrap());
    assert!(*low > 850 && *high < 1150, "{low}..{high} around 1000");
}

#[test]
fn who_is_offered_what() {
    let (inside, between, outside) = (device_at(9), device_at(30), device_at(80));
    let builds = [build(140, 100), build(150, 50), build(160, 10)];
    for (device, version, promoted, want) in [
        (inside, 0, &builds[..0], UpdateAnswer::NoCurrentBuild),
        (inside, 160, &builds[..], UpdateAnswer::AlreadyCurrent),
        (inside, 999, &builds[..], UpdateAnswer::AlreadyCurrent),
        (outside, 160, &builds[..], UpdateAnswer::AlreadyCurrent),
        (inside, 130, &builds[..], UpdateAnswer::Offer(id(160))),
        (inside, 155, &builds[..], UpdateAnswer::Offer(id(160))),
        // Not in the newest one's cohort: the one before it, or the one before that.
        (between, 130, &builds[..], UpdateAnswer::Offer(id(150))),
        (outside, 130, &builds[..], UpdateAnswer::Offer(id(140))),
        (between, 150, &builds[..], UpdateAnswer::NotInCohort),
        (outside, 140, &builds[..], UpdateAnswer::NotInCohort),
        // 160 is taken out: who runs it stays, and nobody goes back.
        (inside, 160, &builds[..2], UpdateAnswer::AlreadyCurrent),
        (inside, 150, &builds[..2], UpdateAnswer::AlreadyCurrent),
        (inside, 140, &builds[..2], UpdateAnswer::Offer(id(150))),
    ] {
        assert_eq!(answer(device, version, promoted), want, "place {} with {version}", cohort_slot(device));
    }
}

#[test]
fn an_offer_stands_since_the_oldest_build_that_is_newer_and_for_the_device() {
    let hour = |hour: i64| chrono::DateTime::from_timestamp(hour * 3_600, 0).unwrap();
    let (inside, outside) = (device_at(9), device_at(80));
    let builds = [(build(140, 100), hour(5)), (build(150, 10), hour(3)), (build(160, 50), hour(7))];
    for (device, version, since) in [
        (inside, 130, Some(3)),
        (inside, 140, Some(3)),
        (inside, 150, Some(7)),
        (inside, 160, None),
        (outside, 130, Some(5)),
        // What is newer is for others.
        (outside, 140, None),
    ] {
        assert_eq!(offered_since(device, version, builds), since.map(hour), "place {} with {version}", cohort_slot(device));
    }
    assert_eq!(offered_since(inside, 0, []), None);
}

#[test]
fn what_is_enough_to_halt() {
    let policy = HaltPolicy { verify_failures_max: 3, failure_rate_pct: 20, min_count: 10 };
    for (installs, failures, verify_failures, want) in [
        (0, 0, 0, None),
        (0, 0, 2, None),
        (0, 0, 3, Some(HaltReason::VerifyFailures)),
        (1_000_000, 0, 3, Some(HaltReason::VerifyFailures)),
        (0, 9, 0, None),
        (0, 10, 0, Some(HaltReason::FailureRate)),
        (9, 1, 0, None),
        (8, 2, 0, Some(HaltReason::FailureRate)),
        (81, 19, 0, None),
        (80, 20, 0, Some(HaltReason::FailureRate)),
        (8, 1, 1, Some(HaltReason::FailureRate)),
    ] {
        let judged = RolloutResults { installs, failures, verify_failures };
        assert_eq!(halt(policy, judged), want, "{judged:?}");
    }
}

#[test]
fn a_failure_rate_of_zero_halts_at_the_first_failure_and_not_before() {
    let policy = HaltPolicy { verify_failures_max: 3, failure_rate_pct: 0, min_count: 1 };
    assert_eq!(halt(policy, RolloutResults { installs: 50, ..RolloutResults::default() }), None);
    assert_eq!(halt(policy, RolloutResults { installs: 50, failures: 1, ..RolloutResults::default() }), Some(HaltReason::FailureRate));
}

#[test]
fn updates_after_enrollment_end_at_a_build_for_the_whole_fleet() {
    let builds = [build(140, 100), build(160, 10), build(130, 100), build(150, 50)];
    let versions = |from| updates_from(from, &builds).into_iter().map(|build| build.version_code).collect::<Vec<_>>();
    assert_eq!(versions(120), [160, 150, 140], "nobody is offered 130");
    assert_eq!(versions(140), [160, 150]);
    assert_eq!(versions(160), [] as [i64; 0]);
}

#[test]
fn limits_are_named() {
    assert!(Promotion::new(1, true, false, 0).is_ok() && Promotion::new(100, true, false, 100).is_ok());
    for (percent, battery, field) in
        [(0, 0, "rollout_percent"), (101, 0, "rollout_percent"), (1, -1, "min_battery"), (1, 101, "min_battery")]
    {
        assert_eq!(Promotion::new(percent, false, false, battery).unwrap_err().field, field);
    }
    for state in BuildState::ALL {
        assert_eq!(BuildState::parse(state.as_str()), Some(state));
    }
    for event in UpdateEvent::ALL {
        assert_eq!(UpdateEvent::parse("event", event.as_str()).unwrap(), event);
    }
    assert!(UpdateEvent::parse("event", "exploded").is_err());
}

fn devices() -> impl Strategy<Value = DeviceId> {
    any::<u128>().prop_map(|n| DeviceId(Uuid::from_u128(n)))
}

fn promoted() -> impl Strategy<Value = Vec<PromotedBuild>> {
    proptest::collection::btree_map(1i64..40, 1u8..=100, 0..6)
        .prop_map(|builds| builds.into_iter().map(|(version, percent)| build(version, percent)).collect())
}

proptest! {
    #[test]
    fn raising_the_percentage_only_adds_devices(device in devices(), percent in 0u8..100) {
        prop_assert!(!in_cohort(device, percent) || in_cohort(device, percent + 1));
        prop_assert!(!in_cohort(device, 0) && in_cohort(device, 100));
    }

    #[test]
    fn nobody_is_offered_what_is_not_newer_or_not_for_it(device in devices(), version in 0i64..40, builds in promoted()) {
        if let UpdateAnswer::Offer(offered) = answer(device, version, &builds) {
            let offered = builds.iter().find(|build| build.build == offered).unwrap();
            prop_assert!(offered.version_code > version && in_cohort(device, offered.rollout_percent));
        }
    }

    #[test]
    fn taking_a_build_out_never_leads_to_a_downgrade(device in devices(), version in 0i64..40, builds in promoted(), out in any::<prop::sample::Index>()) {
        // The device installs what it is offered, then any build is rolled back.
        let installed = match answer(device, version, &builds) {
            UpdateAnswer::Offer(offered) => builds.iter().find(|build| build.build == offered).unwrap().version_code,
            _ => version,
        };
        let mut left = builds.clone();
        if !left.is_empty() {
            left.remove(out.index(builds.len()));
        }
        // Whatever it has is the best it can get, or what is left for it is newer still.
        prop_assert!(!matches!(answer(device, installed, &left), UpdateAnswer::Offer(_)));
    }

    #[test]
    fn the_order_of_builds_changes_nothing(device in devices(), version in 0i64..40, builds in promoted()) {
        let mut turned = builds.clone();
        turned.reverse();
        prop_assert_eq!(answer(device, version, &builds), answer(device, version, &turned));
    }

    #[test]
    fn installing_what_is_offered_ends_the_offers(device in devices(), version in 0i64..40, builds in promoted()) {
        let UpdateAnswer::Offer(offered) = answer(device, version, &builds) else { return Ok(()) };
        let version = builds.iter().find(|build| build.build == offered).unwrap().version_code;
        prop_assert!(!matches!(answer(device, version, &builds), UpdateAnswer::Offer(_)));
    }

    #[test]
    fn more_failures_never_undo_a_halt(installs in 0i64..200, failures in 0i64..200, verify in 0i64..10, max in 1i64..10, rate in 0i64..=100, least in 0i64..50) {
        let policy = HaltPolicy { verify_failures_max: max, failure_rate_pct: rate, min_count: least };
        let judged = RolloutResults { installs, failures, verify_failures: verify };
        if halt(policy, judged).is_some() {
            prop_assert!(halt(policy, judged.and(UpdateEvent::Failed)).is_some());
            prop_assert!(halt(policy, judged.and(UpdateEvent::VerifyFailed)).is_some());
        }
    }
}
