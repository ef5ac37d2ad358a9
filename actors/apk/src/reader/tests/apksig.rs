//! APKs with every kind of signature, sound and broken, and what the library of `apksigner` says of each
//! (`actors/testdata/apksig`, whose `make.sh` makes them): what devices verify is taken with the signers that they see,
//! what they refuse is refused.

use std::collections::BTreeMap;

use super::*;

/// Cases that are refused here although devices take them, and why.
const STRICTER: &[(&str, &str)] = &[
    ("v2-twice", "which of two blocks counts is left to the reader"),
    ("v2-does-not-match-besides-v3", "a broken signature is a sign of tampering, also where newer devices do not look at it"),
    ("v2-of-another-signer-than-v3", "to whom an app belongs must not depend on the device"),
    ("v2-of-two-signers-before-rotation-of-v3", "the same"),
    ("v3-levels-split-other-signer", "the same"),
    ("v31-without-proof", "the same"),
];
/// Cases that devices take, by signatures that a JDK does not know under the name that apksig uses.
const BEYOND_JDK: &[&str] = &["v2-pss-sha256", "v2-pss-sha512"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/apksig")
}

/// Every case by its name.
pub(super) fn cases() -> BTreeMap<String, Vec<u8>> {
    let file = File::open(folder().join("cases.zip")).unwrap();
    let archive = Archive::open(&file, deadline()).unwrap();
    let read = |(name, entry)| (String::from_utf8(Vec::from(name)).unwrap(), archive.inflate(entry, 1 << 20).unwrap());
    archive.entries().map(|(name, entry)| read((name, entry))).collect()
}

/// Signers that a device finds in a file; `None` when it refuses the file.
type Verdict = Option<Vec<String>>;

/// API levels, and of each case the verdict of a device of each of them.
fn verdicts() -> (Vec<i32>, BTreeMap<String, Vec<Verdict>>) {
    let text = std::fs::read_to_string(folder().join("verdicts.tsv")).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t'));
    let levels = lines.next().unwrap().skip(1).map(|level| level.parse().unwrap()).collect();
    let verdict = |cell: &str| (cell != "-").then(|| cell.split(',').map(str::to_owned).collect());
    let rows = lines.map(|mut cells| (cells.next().unwrap().to_owned(), cells.map(verdict).collect()));
    (levels, rows.collect())
}

#[test]
fn the_verdict_is_that_of_apksigner() {
    let ((levels, verdicts), cases) = (verdicts(), cases());
    assert!(verdicts.len() > 100, "{} cases", verdicts.len());
    let mut wrong = Vec::new();
    for (name, found) in &verdicts {
        let ours = read_bytes(&cases[name]);
        // Devices take it from an API level on, and all newer ones do.
        let taken_from = found.iter().position(Option::is_some).filter(|from| found[*from..].iter().all(Option::is_some));
        let is_stricter = STRICTER.iter().any(|(of, _)| of == name);
        let facts = match (ours, taken_from) {
            (Ok(facts), Some(_)) if !is_stricter => facts,
            (Ok(_), None) if BEYOND_JDK.contains(&name.as_str()) => continue,
            (Err(_), None) if !is_stricter => continue,
            (Err(_), Some(_)) if is_stricter => continue,
            (ours, _) => {
                wrong.push(format!(
                    "{name}: {}, but devices {found:?}",
                    ours.map_or_else(|refusal| refusal.to_string(), |_| "taken".to_owned())
                ));
                continue;
            }
        };
        // What the manifest forbids a device, its signatures need not.
        let declared = opened(&cases[name], |archive| {
            let archive = archive.unwrap();
            let manifest = archive.inflate(archive.entry("AndroidManifest.xml").unwrap(), MANIFEST_MAX_BYTES).unwrap();
            levels::read(&manifest::read(&manifest, deadline()).unwrap(), &Resources::default()).unwrap().min_sdk.unwrap()
        });
        for (level, signers) in levels.iter().zip(found).filter(|(level, _)| **level >= declared) {
            // What an older device sees is a signer that handed over to the present one.
            let is_known = |signer: &String| facts.signing.signers.contains(signer) || facts.signing.lineage.contains(signer);
            let installs = facts.min_sdk.is_none_or(|least| *level >= least);
            match signers {
                Some(signers) if installs && signers.iter().all(is_known) => {}
                None if !installs => {}
                _ => wrong.push(format!("{name}: from {:?} on, but a device of {level} finds {signers:?}", facts.min_sdk)),
            }
        }
        let newest = found.last().and_then(Option::as_ref).unwrap();
        let same = newest.iter().all(|signer| facts.signing.signers.contains(signer)) && newest.len() == facts.signing.signers.len();
        if !same {
            wrong.push(format!("{name}: {:?}, but the newest device finds {newest:?}", facts.signing));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_refusal_names_what_is_wrong() {
    let cases = cases();
    for (names, words) in [
        (
            &["v2-digest-does-not-match", "v2-signature-does-not-match", "altered-entry", "v2-dsa-signature-does-not-match"][..],
            "altered after signing",
        ),
        (&["v2-unknown-algorithm", "v3-unknown-algorithm"], "unsupported signature algorithm"),
        (&["v2-key-of-another-kind", "v2-key-is-none"], "unsupported key"),
        (&["v2-verity-block-is-no-page", "v2-verity-block-begins-within-page", "v3-verity-block-is-no-page"], "multiple of 4096 bytes"),
        (&["v2-stripped-of-v3", "v3-stripped-of-v31"], "removed after signing"),
        (&["v2-certificate-of-another-key"], "not made with the key of the certificate"),
        (&["v1"], "scheme v1 (JAR) only"),
        (&["unsigned"], "not signed"),
        (&["v2-of-another-signer-than-v3"], "different signers"),
        (&["v3-levels-gap", "v3-levels-overlap"], "overlap or leave a gap"),
        (&["v3-proof-does-not-match"], "proof of rotation"),
    ] {
        for name in names {
            let problem = refusal(&cases[*name]);
            assert!(problem.contains(words), "{name}: {problem}");
        }
    }
}

/// A bit of many bytes, in APKs of several schemes: refused, or of no concern.
#[test]
fn altered_bytes_change_nothing_unseen() {
    let cases = cases();
    for name in ["v2-verity-alone", "v31-by-hand", "v3-levels-split-rotated"] {
        let whole = &cases[name];
        let facts = read_bytes(whole).unwrap();
        for at in (0..whole.len()).step_by(13) {
            let mut altered = whole.clone();
            altered[at] ^= 0x10;
            if let Ok(same) = read_bytes(&altered) {
                assert_eq!(same, facts, "{name} altered at {at}");
            }
        }
    }
}
