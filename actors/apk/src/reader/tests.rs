//! Real APKs, and what is left of them after somebody was at them.

mod apksig;
mod devices;

use std::io::Write;
use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/apks").join(name)).unwrap()
}

fn read_bytes(bytes: &[u8]) -> Result<ApkFacts, Invalid> {
    // Without a name: it is gone when it is closed.
    let mut file = tempfile();
    file.write_all(bytes).unwrap();
    read(&file)
}

fn tempfile() -> File {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("nexmdm-reader-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}

fn refusal(bytes: &[u8]) -> String {
    let invalid = read_bytes(bytes).expect_err("taken");
    assert_eq!(invalid.field, "apk");
    invalid.problem
}

#[test]
fn an_apk_is_read() {
    let facts = read_bytes(&fixture("till-2.apk")).unwrap();
    assert_eq!((facts.package.as_str(), facts.version_code, facts.version_name.as_str()), ("com.example.till", 2, "2.0"));
    assert_eq!((facts.label.as_str(), facts.min_sdk, facts.target_sdk), ("Till", Some(26), Some(33)));
    let (icon, kind) = facts.icon.unwrap();
    assert_eq!((kind, icon.starts_with(b"\x89PNG")), ("image/png", true));
    assert_eq!((facts.signing.signers.len(), facts.signing.lineage.len()), (1, 0));
}

/// The fixtures have no debug build: the attribute `android:hasCode` of one stands in, renamed to `android:debuggable`.
#[test]
fn a_debug_build_says_so_in_its_manifest() {
    assert_eq!(read_bytes(&fixture("agent-120.apk")).unwrap().debuggable, Some(false));
    let plain = opened(&fixture("agent-120.apk"), |archive| {
        let archive = archive.unwrap();
        archive.inflate(archive.entry("AndroidManifest.xml").unwrap(), MANIFEST_MAX_BYTES).unwrap()
    });
    let debuggable = |manifest: &[u8]| manifest::read(manifest, deadline()).unwrap().debuggable;
    assert_eq!(debuggable(&plain), None);
    let replaced = |bytes: &[u8], from: &[u8], to: &[u8]| {
        let at: Vec<_> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
        assert_eq!(at.len(), 1, "{from:?}");
        [&bytes[..at[0]], to, &bytes[at[0] + from.len()..]].concat()
    };
    let named = replaced(&plain, &0x0101_000c_u32.to_le_bytes(), &0x0101_000f_u32.to_le_bytes());
    assert_eq!(debuggable(&named), Some(manifest::Value::Flag(false)));
    // A value of type boolean: its length, a zero, the type, and all bits set for yes.
    let set = replaced(&named, &[8, 0, 0, 0x12, 0, 0, 0, 0], &[8, 0, 0, 0x12, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(debuggable(&set), Some(manifest::Value::Flag(true)));
}

#[test]
fn signers_are_told_apart_and_a_rotated_one_knows_who_came_before() {
    let signing = |name: &str| read_bytes(&fixture(name)).unwrap().signing;
    let a = signing("till-1.apk").signers;
    assert_eq!(signing("till-9-v2.apk").signers, a, "scheme v2 alone");
    assert_eq!(signing("till-2.apk").signers, a);
    assert_ne!(signing("till-5-foreign.apk").signers, a);
    let rotated = signing("till-8-rotated.apk");
    assert_eq!(rotated.lineage, a);
    assert_ne!(rotated.signers, a);
    for name in ["agent-120.apk", "agent-121.apk", "agent-122.apk", "till-3.apk", "till-4-rollback.apk", "till-2-other-file.apk"] {
        assert_eq!(signing(name).signers.len(), 1, "{name}");
    }
}

#[test]
fn what_is_not_signed_well_is_refused_and_says_why() {
    assert!(refusal(&fixture("till-6-v1.apk")).contains("scheme v1"), "v1");
    assert!(refusal(&fixture("till-7-unsigned.apk")).contains("not signed"), "unsigned");
}

#[test]
fn whatever_byte_is_altered_the_file_is_refused_or_the_byte_is_not_part_of_it() {
    let whole = fixture("till-8-rotated.apk");
    let facts = read_bytes(&whole).unwrap();
    // Signing blocks are padded with bytes that nothing signs.
    let mut unsigned = 0;
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 0x41;
        match read_bytes(&altered) {
            Err(invalid) => assert_eq!(invalid.field, "apk"),
            Ok(mut same) => {
                // An altered id hides the block of an older scheme: older devices refuse the file, and its minimum says so.
                assert!(same.min_sdk >= facts.min_sdk, "altered at {at}");
                same.min_sdk = facts.min_sdk;
                assert_eq!(same, facts, "altered at {at}");
                unsigned += 1;
            }
        }
    }
    assert!(unsigned < whole.len() * 2 / 3, "{unsigned} of {} bytes may be altered unseen", whole.len());
}

#[test]
fn cut_off_files_are_refused() {
    let whole = fixture("till-1.apk");
    for length in 0..whole.len() {
        let problem = refusal(&whole[..length]);
        assert!(problem.contains("truncated") || problem.contains("not an APK"), "at {length}: {problem}");
    }
}

#[test]
fn what_is_no_apk_is_refused() {
    assert!(refusal(b"").contains("not an APK"));
    assert!(refusal(b"hello").contains("not an APK"));
    assert!(refusal(&vec![0; 100_000]).contains("not an APK"));
    let text = [b"PK\x03\x04".to_vec(), vec![b'x'; 10_000]].concat();
    assert!(refusal(&text).contains("truncated"));
}

/// A ZIP file by hand: names and what they hold, as is and as it claims to unpack to.
fn zipped(entries: &[(&str, u16, &[u8], u32)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, method, data, unpacked) in entries {
        let at = file.len() as u32;
        let mut crc = flate2::Crc::new();
        crc.update(data);
        let rest = |crc: u32| {
            let sizes = [crc.to_le_bytes(), (data.len() as u32).to_le_bytes(), unpacked.to_le_bytes()].concat();
            [&[20, 0, 0, 0][..], &method.to_le_bytes(), &[0; 4], &sizes, &(name.len() as u16).to_le_bytes(), &[0, 0]].concat()
        };
        file.extend([b"PK\x03\x04".as_slice(), &rest(crc.sum()), name.as_bytes(), data].concat());
        directory.extend([b"PK\x01\x02\x14\x00".as_slice(), &rest(crc.sum()), &[0; 10], &at.to_le_bytes(), name.as_bytes()].concat());
    }
    let (at, count) = (file.len() as u32, (entries.len() as u16).to_le_bytes());
    let end = [b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &(directory.len() as u32).to_le_bytes(), &at.to_le_bytes(), &[0, 0]];
    [file, directory, end.concat()].concat()
}

fn deadline() -> Deadline {
    Deadline(Instant::now() + Duration::from_secs(60))
}

fn opened<T>(bytes: &[u8], look: impl FnOnce(Result<Archive<'_>, Invalid>) -> T) -> T {
    let mut file = tempfile();
    file.write_all(bytes).unwrap();
    look(Archive::open(&file, deadline()))
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bombs_do_not_go_off() {
    // One that says what it is.
    let honest = zipped(&[("AndroidManifest.xml", 8, &[0; 64], u32::MAX - 1), ("a", 0, b"x", u32::MAX - 1), ("b", 0, b"x", u32::MAX - 1)]);
    assert!(refusal(&honest).contains("ZIP bomb"));
    // One that lies.
    let packed = deflated(&vec![0; 8 << 20]);
    let lying = zipped(&[("AndroidManifest.xml", 8, &packed, 100)]);
    let problem = opened(&lying, |archive| {
        let archive = archive.unwrap();
        archive.inflate(archive.entry("AndroidManifest.xml").unwrap(), MANIFEST_MAX_BYTES).unwrap_err().problem
    });
    assert!(problem.contains("unpacks to more than 4194304 bytes"), "{problem}");
}

#[test]
fn archives_that_read_differently_to_different_readers_are_refused() {
    let twice = zipped(&[("a", 0, b"x", 1), ("a", 0, b"y", 1)]);
    assert!(refusal(&twice).contains("duplicate ZIP entry name"));
    let mut overlapping = zipped(&[("a", 0, b"xxxxxxxx", 8), ("b", 0, b"yyyyyyyy", 8)]);
    // The second entry of the directory points at the first.
    let second = overlapping.len() - 22 - 47 + 42;
    overlapping[second..second + 4].fill(0);
    assert!(refusal(&overlapping).contains("overlap"));
    assert!(refusal(&zipped(&[("a", 0, b"x", 1)])).contains("not signed"));
}

#[test]
fn damaged_tables_and_manifests_do_no_harm() {
    let (manifest, table) = opened(&fixture("till-1.apk"), |archive| {
        let archive = archive.unwrap();
        let of = |name| archive.inflate(archive.entry(name).unwrap(), RESOURCES_MAX_BYTES).unwrap();
        (of("AndroidManifest.xml"), of("resources.arsc"))
    });
    let look = |manifest_bytes: &[u8], table: &[u8]| {
        let resources = Resources::read(table, deadline()).unwrap();
        if let Ok(read) = manifest::read(manifest_bytes, deadline()) {
            for value in [&read.label, &read.icon, &read.version_name].into_iter().flatten() {
                let _ = (resources.text(value), resources.files(value));
            }
        }
    };
    for at in 0..manifest.len() {
        for byte in [0, 0xff, manifest[at] ^ 1] {
            let mut altered = manifest.clone();
            altered[at] = byte;
            look(&altered, &table);
        }
        look(&manifest[..at], &table);
    }
    for at in 0..table.len() {
        for byte in [0, 0xff, table[at] ^ 1] {
            let mut altered = table.clone();
            altered[at] = byte;
            look(&manifest, &altered);
        }
        look(&manifest, &table[..at]);
    }
}

/// A resource table in which every entry refers to the next, and the last to the first.
#[test]
fn references_in_a_circle_end() {
    let chunk = |kind: u16, header: &[u8], body: &[u8]| {
        let length = 8 + header.len();
        [&kind.to_le_bytes()[..], &(length as u16).to_le_bytes(), &((length + body.len()) as u32).to_le_bytes(), header, body].concat()
    };
    let entries = 4_u32;
    let offsets: Vec<u8> = (0..entries).flat_map(|n| (n * 16).to_le_bytes()).collect();
    let values: Vec<u8> = (0..entries)
        .flat_map(|n| {
            let next = 0x7f01_0000 | ((n + 1) % entries);
            [&[8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 1][..], &next.to_le_bytes()].concat()
        })
        .collect();
    let config = [&28_u32.to_le_bytes()[..], &[0; 24]].concat();
    let header = [&[1, 0, 0, 0][..], &entries.to_le_bytes(), &(20 + 28 + entries * 4).to_le_bytes(), &config].concat();
    let of_type = chunk(0x0201, &header, &[offsets, values].concat());
    let package = chunk(0x0200, &[&0x7f_u32.to_le_bytes()[..], &[0; 276]].concat(), &of_type);
    let table = chunk(0x0002, &1_u32.to_le_bytes(), &package);
    let resources = Resources::read(&table, deadline()).unwrap();
    let circle = manifest::Value::Reference(0x7f01_0000);
    assert_eq!((resources.text(&circle), resources.files(&circle)), (None, vec![]));
}
