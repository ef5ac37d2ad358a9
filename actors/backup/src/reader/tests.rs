use std::io::{Cursor, Write};

use proptest::prelude::*;

use super::*;
use crate::manifest::TableEntry;
use crate::writer::Writer;

const WORK: u8 = 2;

fn passphrase() -> SecretString {
    "correct horse battery".into()
}

fn manifest() -> Manifest {
    let table =
        |name: &str| TableEntry { name: name.to_owned(), columns: vec!["id".to_owned(), "name".to_owned()], parent: None, bound: None };
    Manifest { tables: vec![table("device"), table("empty")], keys: vec!["jwt".to_owned()], ..Manifest::new("1.2.3") }
}

fn rows(table: &str, part: u32) -> Member {
    Member::Rows { table: table.to_owned(), part }
}

/// A backup with these members, whatever they are.
fn written(members: &[(Member, Vec<u8>)], passphrase: Option<&SecretString>) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), passphrase, WORK).unwrap();
    for (member, bytes) in members {
        writer.member(member, bytes.len() as u64).unwrap();
        for piece in bytes.chunks(700) {
            writer.data(piece).unwrap();
        }
    }
    writer.finish(|_| ()).unwrap().out
}

fn members() -> Vec<(Member, Vec<u8>)> {
    // More than one block of age, and not of zeros.
    let noise: Vec<u8> = (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![
        (Member::Manifest, serde_json::to_vec(&manifest()).unwrap()),
        (Member::Key("jwt"), b"abcd".to_vec()),
        (rows("device", 0), b"1\tkiosk\n".to_vec()),
        (rows("device", 1), b"2\tscanner\n3\ta\\tb\n".to_vec()),
        (rows("empty", 0), Vec::new()),
        (Member::Archive("heartbeats/2026-09-01.parquet".to_owned()), noise),
    ]
}

/// What a backup holds, in order.
type Members = Vec<(Member, Vec<u8>)>;

fn all(bytes: &[u8], passphrase: Option<&SecretString>) -> Result<(Manifest, Digest, Members), BackupError> {
    let mut seen: Members = Vec::new();
    let (manifest, digest) = read(Cursor::new(bytes), passphrase, &mut |event| {
        match event {
            Event::Manifest(_) | Event::End => {}
            Event::Member { member } => seen.push((member, Vec::new())),
            Event::Data(bytes) => seen.last_mut().unwrap().1.extend_from_slice(&bytes),
        }
        Ok(())
    })?;
    Ok((manifest, digest, seen))
}

fn problem(bytes: &[u8], passphrase: Option<&SecretString>) -> String {
    all(bytes, passphrase).map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn what_is_written_is_read() {
    for passphrase in [Some(passphrase()), None] {
        let bytes = written(&members(), passphrase.as_ref());
        let (read, digest, seen) = all(&bytes, passphrase.as_ref()).unwrap();
        assert_eq!(read, manifest());
        assert_eq!(seen, members()[1..]);
        assert_eq!(digest.rows(), 3);
        assert_eq!((digest.count_in("archives"), digest.count_in("apks"), digest.count_in("keys")), (1, 0, 1));
    }
}

#[test]
fn every_cut_is_seen() {
    let passphrase = passphrase();
    for passphrase in [Some(&passphrase), None] {
        let bytes = written(&members(), passphrase);
        let step = (bytes.len() / 40).max(1);
        for length in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
            assert_ne!(problem(&bytes[..length], passphrase), "", "cut to {length} of {}", bytes.len());
        }
        let mut longer = bytes.clone();
        longer.write_all(b"x").unwrap();
        assert_ne!(problem(&longer, passphrase), "", "something follows");
    }
}

#[test]
fn wrong_passphrases_and_other_files_are_named() {
    let bytes = written(&members(), Some(&passphrase()));
    for (bytes, passphrase, wanted) in [
        (&bytes[..], Some("another passphrase".into()), "passphrase is wrong"),
        (&bytes, None, "encrypted"),
        (b"", None, "empty"),
        (b"PK\x03\x04", None, "not a backup"),
        (b"age-encryption.org/v1\n", Some(passphrase()), "header"),
        (&zstd::encode_all(&[7; 4096][..], 1).unwrap(), None, "not a backup"),
        (&zstd::encode_all(&[0; 4096][..], 1).unwrap(), None, "not a backup"),
    ] {
        let problem = problem(bytes, passphrase.as_ref());
        assert!(problem.contains(wanted), "{problem:?} has no {wanted:?}");
    }
}

#[test]
fn work_is_bounded() {
    let mut bytes = written(&members(), Some(&passphrase()));
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let line_end = at + 1 + bytes[at + 1..].iter().position(|byte| *byte == b'\n').unwrap();
    // "-> scrypt SALT 2": the last digit is the work factor.
    bytes.splice(line_end - 1..line_end, *b"30");
    let problem = problem(&bytes, Some(&passphrase()));
    assert!(problem.contains("2^30") && problem.contains("2^20"), "{problem}");
}

#[test]
fn members_that_are_missing_or_out_of_order_are_named() {
    let without = |left_out: usize| {
        let mut members = members();
        members.remove(left_out);
        problem(&written(&members, None), None)
    };
    assert!(without(0).contains("manifest.json"), "{}", without(0));
    assert!(without(2).contains("part 0 of table device"), "{}", without(2));
    assert!(without(4).contains("table empty"), "{}", without(4));
    let mut swapped = members();
    swapped.swap(3, 4);
    assert!(problem(&written(&swapped, None), None).contains("not in its manifest"));
    let mut odd = members();
    odd[3].1 = b"2\n".to_vec();
    assert!(problem(&written(&odd, None), None).contains("2 columns"));
}

#[test]
fn a_member_that_grows_or_shrinks_fails() {
    let mut writer = Writer::begin(Vec::new(), None, WORK).unwrap();
    writer.member(&Member::Key("jwt"), 3).unwrap();
    assert!(writer.data(b"1234").unwrap_err().to_string().contains("grew"));
    writer.data(b"12").unwrap();
    assert!(writer.member(&Member::Key("master"), 1).unwrap_err().to_string().contains("shrank"));
}

#[test]
fn a_full_disk_is_named() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let written = || -> Result<(), BackupError> {
        let mut writer = Writer::begin(Full(20_000), None, WORK).map_err(BackupError::file("begin"))?;
        for (member, bytes) in members() {
            writer.member(&member, bytes.len() as u64)?;
            writer.data(&bytes)?;
        }
        writer.finish(|_| ()).map(drop)
    };
    assert!(written().unwrap_err().to_string().contains("no storage space"), "the disk is full");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever one byte becomes, and wherever it is, it is seen.
    #[test]
    fn one_altered_byte_is_seen(at in any::<prop::sample::Index>(), flip in 1..=255_u8, is_encrypted in any::<bool>()) {
        let passphrase = is_encrypted.then(passphrase);
        let mut bytes = written(&members(), passphrase.as_ref());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let read = all(&bytes, passphrase.as_ref());
        // In the clear a flag of a frame may change without changing what is read.
        let same = read.is_ok_and(|(_, _, seen)| !is_encrypted && seen == members()[1..]);
        prop_assert!(same || !problem(&bytes, passphrase.as_ref()).is_empty());
    }
}
