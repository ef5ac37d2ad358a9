//! Tables and properties of what is taken and what may go.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn id(n: u128) -> ApkId {
    ApkId(Uuid::from_u128(n))
}

fn hex(n: u8) -> String {
    format!("{n:02x}").repeat(32)
}

fn offer(version_code: i64, signers: &[u8], lineage: &[u8]) -> Offer {
    let digests = |numbers: &[u8]| numbers.iter().map(|n| hex(*n)).collect();
    Offer {
        package: "com.example.till".into(),
        version_code,
        sha256: hex(version_code as u8),
        signing: Signing { signers: digests(signers), lineage: digests(lineage) },
        rollback_of: None,
    }
}

fn known(n: u128, version_code: i64) -> LibraryApk {
    LibraryApk { id: id(n), version_code, sha256: hex(version_code as u8) }
}

#[test]
fn a_package_is_managed_and_signed_by_whom_it_should_be() {
    let a = [hex(1)];
    for (what, offer, allowed, taken) in [
        ("by the one allowed", offer(1, &[1], &[]), Some(&a[..]), None),
        ("by another", offer(1, &[2], &[]), Some(&a[..]), Some("signers_sha256")),
        ("by one that took over from the allowed", offer(1, &[2], &[1]), Some(&a[..]), None),
        ("by one that took over at the end of a chain", offer(1, &[4], &[1, 2, 3]), Some(&a[..]), None),
        ("by two, of which one is allowed", offer(1, &[2, 1], &[]), Some(&a[..]), None),
        ("by one that took over from somebody else", offer(1, &[4], &[2, 3]), Some(&a[..]), Some("signers_sha256")),
        ("not managed", offer(1, &[1], &[]), None, Some("package")),
    ] {
        match judge(&offer, allowed, &[]) {
            Verdict::New => assert_eq!(taken, None, "{what}"),
            Verdict::Refused(refusal) => assert_eq!(Some(refusal.field()), taken, "{what}"),
            Verdict::Same(_) => panic!("{what}"),
        }
    }
}

#[test]
fn who_is_refused_learns_what_to_allow() {
    let Verdict::Refused(refusal) = judge(&offer(1, &[7], &[]), None, &[]) else { panic!("taken") };
    let text = refusal.to_string();
    assert!(text.contains("com.example.till") && text.contains(&hex(7)), "{text}");
}

#[test]
fn a_version_has_one_file() {
    let a = [hex(1)];
    let there = [known(10, 1), known(11, 2)];
    assert_eq!(judge(&offer(2, &[1], &[]), Some(&a), &there), Verdict::Same(id(11)));
    let other = Offer { sha256: hex(99), ..offer(2, &[1], &[]) };
    assert_eq!(judge(&other, Some(&a), &there), Verdict::Refused(Refusal::VersionTaken { version_code: 2, by: id(11) }));
    // An older version than the newest may come late.
    assert_eq!(judge(&offer(3, &[1], &[]), Some(&a), &[known(10, 5)]), Verdict::New);
}

#[test]
fn what_brings_back_an_older_version_is_above_the_newest() {
    let a = [hex(1)];
    let there = [known(10, 1), known(11, 5)];
    let again = |version_code, of| Offer { rollback_of: Some(id(of)), ..offer(version_code, &[1], &[]) };
    assert_eq!(judge(&again(6, 10), Some(&a), &there), Verdict::New);
    assert_eq!(judge(&again(3, 10), Some(&a), &there), Verdict::Refused(Refusal::RollbackTooOld { version_code: 3, newest: 5 }));
    assert_eq!(judge(&again(6, 77), Some(&a), &there), Verdict::Refused(Refusal::RollbackOfUnknown));
}

#[test]
fn names_and_digests_are_checked() {
    for good in ["com.nexmdm", "a.b", "io.unitynodes.unityapp_2"] {
        assert!(package("package", good).is_ok(), "{good}");
    }
    for bad in ["", "com", "com.", ".com", "com..x", "com.1x", "com.a-b", "com.ä", "com.a/b", &format!("a.{}", "b".repeat(255))] {
        assert_eq!(package("package", bad).unwrap_err().field, "package", "{bad:?}");
    }
    let colons =
        hex(0xAB).to_uppercase().as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(signers("s", &[colons.join(":"), hex(0xAB)]).unwrap(), [hex(0xAB)]);
    assert_eq!(signers("s", &[]).unwrap_err().field, "s");
    assert_eq!(signers("s", &[hex(1), "xyz".into()]).unwrap_err().field, "s[1]");
    assert!(signers("s", &vec![hex(1); 17]).is_err());
}

#[test]
fn uses_are_named_but_not_without_end() {
    assert_eq!(in_use(&[]), None);
    let one = |n: usize| ApkUse { kind: "deployment".into(), id: n.to_string(), name: format!("d{n}") };
    assert_eq!(in_use(&[one(1)]).unwrap(), "in use by deployment d1 (1)");
    let many: Vec<_> = (0..9).map(one).collect();
    assert!(in_use(&many).unwrap().ends_with("and 4 more"));
}

proptest! {
    /// Whoever signs what is taken is allowed, or took over from somebody who is.
    #[test]
    fn nothing_is_taken_from_a_stranger(signers in prop::collection::vec(0u8..6, 1..3), lineage in prop::collection::vec(0u8..6, 0..4),
                                        allowed in prop::collection::vec(0u8..6, 0..3), version in 0i64..4) {
        let digests: Vec<_> = allowed.iter().map(|n| hex(*n)).collect();
        let verdict = judge(&offer(version, &signers, &lineage), Some(&digests), &[known(9, 2)]);
        let related = signers.iter().chain(&lineage).any(|n| allowed.contains(n));
        prop_assert_eq!(related, !matches!(verdict, Verdict::Refused(Refusal::WrongSigner { .. })));
    }

    /// Of each package the newest versions stay, and whatever is used; nothing else does.
    #[test]
    fn the_newest_and_the_used_stay(apks in prop::collection::vec((0u8..3, 0i64..40, any::<bool>()), 0..40), versions in 0usize..5) {
        let mut seen = HashSet::new();
        let apks: Vec<_> = apks.into_iter().filter(|(package, version, _)| seen.insert((*package, *version))).enumerate()
            .map(|(n, (package, version_code, used))| RetentionCandidate { id: id(n as u128), package: format!("p.{package}"), version_code, used })
            .collect();
        let gone: HashSet<_> = superfluous(&apks, versions).into_iter().collect();
        for apk in &apks {
            let newer = apks.iter().filter(|other| other.package == apk.package && other.version_code > apk.version_code).count();
            prop_assert_eq!(gone.contains(&apk.id), versions > 0 && newer >= versions && !apk.used);
        }
    }
}

#[test]
fn the_refusal_of_an_unknown_package_names_what_it_takes_to_allow_it() {
    let refusal = Refusal::UnknownPackage { package: "com.example.till".into(), signers: vec!["aa".into(), "bb".into()] };
    assert_eq!(unknown_package(&refusal.to_string()), Some(("com.example.till".into(), vec!["aa".into(), "bb".into()])));
    let other = Refusal::WrongSigner { package: "com.example.till".into(), signers: vec!["aa".into()] };
    assert_eq!([unknown_package(&other.to_string()), unknown_package("")], [None, None]);
}
