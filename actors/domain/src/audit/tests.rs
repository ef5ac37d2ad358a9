use proptest::prelude::*;

use super::*;

fn entry() -> impl Strategy<Value = Entry> {
    let text = || "[ -~äß€\n]{0,12}";
    let maybe = || proptest::option::of("[ -~äß€\n]{0,12}");
    let who = (text(), maybe(), text());
    let what = (text(), text(), maybe(), maybe());
    let how = (maybe(), maybe(), maybe(), maybe());
    (1..i64::MAX, -1_000_000_000_000_000..4_000_000_000_000_000_i64, who, what, how).prop_map(|(seq, at, who, what, how)| Entry {
        seq,
        at: Timestamp::from_timestamp_micros(at).unwrap(),
        actor_kind: who.0,
        actor_id: who.1,
        actor_name: who.2,
        action: what.0,
        target_kind: what.1,
        target_id: what.2,
        target_name: what.3,
        before: how.0,
        after: how.1,
        request_id: how.2,
        address: how.3,
    })
}

/// Reads what [`Entry::encoded`] wrote: what can be read back was not written like anything else.
fn decoded(bytes: &[u8]) -> (Entry, Vec<u8>) {
    let mut rest = bytes.strip_prefix(b"nexmdm-audit-v1\n").unwrap();
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at(count);
        rest = left;
        taken.to_vec()
    };
    let seq = i64::from_be_bytes(take(8).try_into().unwrap());
    let at = Timestamp::from_timestamp_micros(i64::from_be_bytes(take(8).try_into().unwrap())).unwrap();
    let mut field = || match take(1)[0] {
        0 => None,
        _ => {
            let length = u64::from_be_bytes(take(8).try_into().unwrap());
            Some(String::from_utf8(take(length as usize)).unwrap())
        }
    };
    let entry = Entry {
        seq,
        at,
        actor_kind: field().unwrap(),
        actor_id: field(),
        actor_name: field().unwrap(),
        action: field().unwrap(),
        target_kind: field().unwrap(),
        target_id: field(),
        target_name: field(),
        before: field(),
        after: field(),
        request_id: field(),
        address: field(),
    };
    (entry, rest.to_vec())
}

/// The entry with one of its fields made another.
fn with_other(entry: &Entry, field: usize, other: &str) -> Entry {
    let mut changed = entry.clone();
    let text = |value: &mut String| value.push_str(other);
    let maybe = |value: &mut Option<String>| {
        *value = match value.take() {
            None => Some(other.to_owned()),
            Some(_) if other.len().is_multiple_of(2) => None,
            Some(value) => Some(value + other),
        }
    };
    match field {
        0 => changed.seq = changed.seq.wrapping_sub(1 + other.len() as i64),
        1 => changed.at += chrono::TimeDelta::microseconds(1 + other.len() as i64),
        2 => text(&mut changed.actor_kind),
        3 => maybe(&mut changed.actor_id),
        4 => text(&mut changed.actor_name),
        5 => text(&mut changed.action),
        6 => text(&mut changed.target_kind),
        7 => maybe(&mut changed.target_id),
        8 => maybe(&mut changed.target_name),
        9 => maybe(&mut changed.before),
        10 => maybe(&mut changed.after),
        11 => maybe(&mut changed.request_id),
        _ => maybe(&mut changed.address),
    }
    changed
}

proptest! {
    #[test]
    fn what_is_hashed_reads_back(entry in entry(), prev in any::<Hash>()) {
        prop_assert_eq!(decoded(&entry.encoded(&prev)), (entry, prev.to_vec()));
    }

    #[test]
    fn any_change_of_any_field_changes_the_hash(entry in entry(), other in "[a-z]{1,9}", prev in any::<Hash>(), byte in 0..32_usize) {
        for field in 0..13 {
            let changed = with_other(&entry, field, &other);
            prop_assert_ne!(&changed, &entry, "field {} was to be changed", field);
            prop_assert_ne!(changed.hash(&prev), entry.hash(&prev), "field {}", field);
        }
        let mut another = prev;
        another[byte] ^= 1;
        prop_assert_ne!(entry.hash(&another), entry.hash(&prev));
    }

    #[test]
    fn text_that_moves_from_one_field_to_the_next_is_another_entry(entry in entry(), text in "[a-z]{1,9}") {
        let (mut left, mut right) = (entry.clone(), entry);
        left.actor_name.push_str(&text);
        right.action = format!("{text}{}", right.action);
        prop_assert_ne!(left.hash(&GENESIS), right.hash(&GENESIS));
    }

    #[test]
    fn whatever_is_done_to_one_entry_of_a_chain_is_found(count in 2..12_usize, at in 0..12_usize, field in 1..13_usize, act in 0..4_usize) {
        let at = at % count;
        let mut rows = chain(count);
        let head = head_of(&rows);
        match act {
            0 => rows[at].entry = with_other(&rows[at].entry, field, "x"),
            1 => drop(rows.remove(at)),
            2 => {
                let other = (at + 1) % count;
                let (a, b) = (rows[at].entry.seq, rows[other].entry.seq);
                (rows[at].entry.seq, rows[other].entry.seq) = (b, a);
                rows.sort_by_key(|row| row.entry.seq);
            }
            // Whoever forges an entry with its hash cannot forge the next one without doing so for all.
            _ => {
                let changed = with_other(&rows[at].entry, field, "x");
                rows[at].hash = changed.hash(&rows[at].prev_hash).to_vec();
                rows[at].entry = changed;
            }
        }
        prop_assert!(!checked(&rows, &head, None).is_empty());
    }
}

fn chain(count: usize) -> Vec<ChainedEntry> {
    let mut prev = GENESIS.to_vec();
    let row = |seq: i64| {
        let entry = Entry {
            seq,
            at: Timestamp::from_timestamp(1_780_000_000 + seq, 0).unwrap(),
            actor_kind: "person".into(),
            actor_id: Some("7".into()),
            actor_name: "ann".into(),
            action: "device.edited".into(),
            target_kind: "device".into(),
            target_id: Some("8".into()),
            target_name: Some(format!("kiosk {seq}")),
            before: None,
            after: Some("{}".into()),
            request_id: None,
            address: Some("192.0.2.1".into()),
        };
        let hash = entry.hash(&prev).to_vec();
        ChainedEntry { entry, prev_hash: std::mem::replace(&mut prev, hash.clone()), hash }
    };
    (1..=count as i64).map(row).collect()
}

fn head_of(rows: &[ChainedEntry]) -> Head {
    rows.last().map_or(Head { seq: 0, hash: GENESIS.to_vec() }, |row| Head { seq: row.entry.seq, hash: row.hash.clone() })
}

fn checked(rows: &[ChainedEntry], head: &Head, expected: Option<Head>) -> Vec<Problem> {
    let mut check = ChainCheck::new(expected);
    let mut found: Vec<_> = rows.iter().flat_map(|row| check.next(row)).collect();
    let newest = rows.last().map_or(0, |row| row.entry.seq);
    found.extend(check.end(head, (newest, head.seq)));
    found
}

#[test]
fn a_chain_as_it_was_written_is_whole() {
    assert_eq!(checked(&[], &head_of(&[]), None), []);
    let rows = chain(5);
    let head = head_of(&rows);
    assert_eq!(checked(&rows, &head, None), []);
    assert_eq!(checked(&rows, &head, Some(head_of(&rows[..3]))), []);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let whole = chain(6);
    let head = head_of(&whole);
    let mut rows = whole.clone();
    rows[2].entry.after = Some("{\"role\":\"admin\"}".into());
    assert_eq!(checked(&rows, &head, None), [Problem::Changed(3)]);

    let mut rows = whole.clone();
    rows.drain(1..3);
    assert_eq!(checked(&rows, &head, None), [Problem::Missing(2..=3)]);
    assert_eq!(checked(&whole[..4], &head, None), [Problem::TailMissing(5..=6)]);

    let mut rows = whole.clone();
    (rows[1].entry.seq, rows[4].entry.seq) = (5, 2);
    rows.sort_by_key(|row| row.entry.seq);
    let swapped = [Problem::Moved { seq: 2, written_as: 5 }, Problem::Moved { seq: 5, written_as: 2 }];
    assert_eq!(checked(&rows, &head, None).into_iter().filter(|found| matches!(found, Problem::Moved { .. })).collect::<Vec<_>>(), swapped);

    // Forged with its hash, the last one as well.
    let mut rows = whole.clone();
    rows[3].entry.actor_name = "bob".into();
    rows[3].hash = rows[3].entry.hash(&rows[3].prev_hash).to_vec();
    assert_eq!(checked(&rows, &head, None), [Problem::Unlinked(5)]);
    let mut rows = whole.clone();
    rows[5].entry.actor_name = "bob".into();
    rows[5].hash = rows[5].entry.hash(&rows[5].prev_hash).to_vec();
    assert_eq!(checked(&rows, &head, None), [Problem::HeadDiffers(6)]);

    // The head was set back.
    assert_eq!(checked(&whole, &head_of(&whole[..4]), None), [Problem::BeyondHead { seq: 6, head: 4 }]);
}

#[test]
fn a_head_noted_elsewhere_finds_a_chain_that_was_written_anew() {
    let whole = chain(6);
    let noted = head_of(&whole[..4]);
    let mut forged = chain(6);
    let mut prev = GENESIS.to_vec();
    for row in &mut forged {
        row.entry.actor_name = "nobody".into();
        (row.prev_hash, row.hash) = (prev.clone(), row.entry.hash(&prev).to_vec());
        prev.clone_from(&row.hash);
    }
    assert_eq!(checked(&forged, &head_of(&forged), None), [], "by itself it is a good chain");
    assert_eq!(checked(&forged, &head_of(&forged), Some(noted.clone())), [Problem::NotExpected(4)]);
    let short = &whole[..3];
    assert_eq!(checked(short, &head_of(short), Some(noted)), [Problem::ExpectedMissing { expected: 4, newest: 3 }]);
}

#[test]
fn a_head_reads_back() {
    let head = head_of(&chain(3));
    assert_eq!(Head::parse("expect", &head.to_string()).unwrap(), head);
    for bad in ["", "3", "3:", "3:zz", "-1:00", "x:00", &head.to_string()[..60]] {
        assert_eq!(Head::parse("expect", bad).unwrap_err().field, "expect", "{bad}");
    }
}

#[test]
fn a_known_entry_has_a_known_hash() {
    // Computed apart from this code, with Python's struct and hashlib, from the docstring of `Entry::encoded`.
    let known = &chain(1)[0];
    let hex: String = known.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, KNOWN);
}

const KNOWN: &str = "d8ff78607ab4561499b1f0950234c1845af80f84beb95a3df4df272e49488bf3";

#[test]
fn a_filter_has_its_limits() {
    let long = AuditFilter { actor: Some("x".repeat(201)), ..AuditFilter::default() };
    assert_eq!(long.checked().unwrap_err().field, "actor");
    let nul = AuditFilter { text: Some("a\0".into()), ..AuditFilter::default() };
    assert_eq!(nul.checked().unwrap_err().field, "text");
    let at = |seconds| Timestamp::from_timestamp(seconds, 0);
    let turned = AuditFilter { from: at(2), to: at(1), ..AuditFilter::default() };
    assert_eq!(turned.checked().unwrap_err().field, "to");
    for (text, field) in [("+262000-01-01T00:00:00Z", "from"), ("-262000-01-01T00:00:00Z", "from"), ("+10000-01-01T00:00:00Z", "from")] {
        let far = AuditFilter { from: Some(text.parse().unwrap()), ..AuditFilter::default() };
        assert_eq!(far.checked().unwrap_err().field, field, "{text}");
    }
    let empty = AuditFilter { target: Some("  ".into()), ..AuditFilter::default() };
    assert_eq!(empty.checked().unwrap(), AuditFilter::default());
}

#[test]
fn a_filter_matches_an_entry_as_the_database_would_tell() {
    let entry = &chain(3)[2].entry;
    let some = |text: &str| Some(text.to_owned());
    let at = |seq: i64| Timestamp::from_timestamp(1_780_000_000 + seq, 0);
    let all = AuditFilter::default;
    for (filter, matches) in [
        (all(), true),
        (AuditFilter { actor: some("ANN"), ..all() }, true),
        (AuditFilter { actor: some("7"), ..all() }, true),
        (AuditFilter { actor: some("an"), ..all() }, false),
        (AuditFilter { target: some("Kiosk 3"), ..all() }, true),
        (AuditFilter { target: some("8"), ..all() }, true),
        (AuditFilter { target: some("kiosk 2"), ..all() }, false),
        (AuditFilter { action: some("device."), ..all() }, true),
        (AuditFilter { action: some("device_"), ..all() }, false),
        (AuditFilter { request_id: some("x"), ..all() }, false),
        (AuditFilter { text: some("OSK"), ..all() }, true),
        (AuditFilter { text: some("device.edited"), ..all() }, false),
        (AuditFilter { from: at(3), to: at(3), ..all() }, true),
        (AuditFilter { from: at(4), ..all() }, false),
        (AuditFilter { to: at(2), ..all() }, false),
        (AuditFilter { actor: some("ann"), target: some("nobody"), ..all() }, false),
    ] {
        assert_eq!(filter.matches(entry), matches, "{filter:?}");
    }
}

proptest! {
    #[test]
    fn an_entry_comes_out_of_an_archive_as_it_went_in(entry in entry(), prev in any::<[u8; 32]>()) {
        let row = ChainedEntry { hash: entry.hash(&prev).to_vec(), prev_hash: prev.to_vec(), entry };
        let mut batch = crate::archive::RecordBatch::with_capacity(audit_table(), 1);
        push_chained(&mut batch, &row).unwrap();
        prop_assert_eq!(chained_at(&batch, 0), Some(row));
    }
}

#[test]
fn a_check_goes_on_behind_an_archive() {
    let entries = chain(6);
    let mut check = ChainCheck::new(None);
    let third = &entries[2];
    check.resume(&Head { seq: 3, hash: third.hash.clone() });
    for row in &entries[3..] {
        assert_eq!(check.next(row), [], "{}", row.entry.seq);
    }
    let mut check = ChainCheck::new(None);
    check.resume(&Head { seq: 3, hash: vec![7; 32] });
    assert_eq!(check.next(&entries[3]), [Problem::Unlinked(4)]);
}
