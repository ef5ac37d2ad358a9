//! Reads an APK that anybody may have made: what it is, and who signed it for certain.
//!
//! ```text
//! bytes        little-endian numbers and slices that may not be there
//! zip          the archive: its parts, its entries, one entry inflated up to a limit
//! strings      pools of strings, shared by the two formats below
//! manifest     AndroidManifest.xml in its binary form
//! resources    resources.arsc: what a reference of the manifest stands for
//! kind         other kinds of files, by name: bundles, archives of APKs, web pages
//! levels       API levels and version code, of the manifest or its resources
//! install_checks  what every device would refuse to install
//! certificate  the public key within an X.509 certificate
//! signing      signature schemes v2, v3 and v3.1: the block, its signatures, the lineage
//! digests      the digests of the file that are signed
//! ```
//!
//! Nothing is believed before it is checked, nothing is inflated or walked without a limit, and no reference
//! is followed more than a few steps.

mod bytes;
mod certificate;
mod digests;
mod install_checks;
mod kind;
mod levels;
mod manifest;
mod resources;
mod signing;
mod strings;
#[cfg(test)]
mod tests;
mod zip;

use std::fs::File;
use std::time::{Duration, Instant};

use domain::Invalid;
use domain::apk::Signing;

use resources::Resources;
use signing::Verified;
use zip::Archive;

/// Largest manifest, inflated.
const MANIFEST_MAX_BYTES: usize = 4 << 20;
/// Largest resource table, inflated.
const RESOURCES_MAX_BYTES: usize = 64 << 20;
/// Largest icon; larger ones are left out.
pub(super) const ICON_MAX_BYTES: usize = 256 << 10;
/// Longest label and version name, in characters; what is longer is cut.
const TEXT_MAX_CHARS: usize = 200;
/// References of a table that [`read_tables`] tries.
const REFERENCES_TRIED: usize = 256;
/// How long reading may take. A file of 500 MB takes some seconds.
const TIME_MAX: Duration = Duration::from_secs(120);

/// Manifest facts and signers of an APK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApkFacts {
    /// Package name.
    pub package: String,
    /// Version code, the major part included.
    pub version_code: i64,
    /// Version name; empty when there is none.
    pub version_name: String,
    /// Label; the package when it has none.
    pub label: String,
    /// Oldest Android API level that it installs on, by its manifest and its signatures.
    pub min_sdk: Option<i32>,
    /// Android API level that it was made for.
    pub target_sdk: Option<i32>,
    /// Whether a debugger may attach to it, which a release forbids; `None` where a resource decides that.
    pub debuggable: Option<bool>,
    /// Icon and its media type, if it is an image.
    pub icon: Option<(Vec<u8>, &'static str)>,
    /// ABIs that it has native code for, by name; empty: it has none, and runs on every device.
    pub native_abis: Vec<String>,
    /// Signers; what devices look at of signatures and digests was verified.
    pub signing: Signing,
}

/// Deadline of reading.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn check(self) -> Result<(), Invalid> {
        match Instant::now() < self.0 {
            true => Ok(()),
            false => Err(refused("reading the file takes too long")),
        }
    }
}

/// A refusal of the file.
fn refused(problem: impl Into<String>) -> Invalid {
    Invalid::new("apk", problem)
}

/// Reads and verifies an APK. Blocks: for a thread of its own.
///
/// # Errors
/// Names `apk` and what is wrong with the file.
pub fn read(file: &File) -> Result<ApkFacts, Invalid> {
    let deadline = Deadline(Instant::now() + TIME_MAX);
    let another = |what: &dyn std::fmt::Display| refused(format!("not an APK but {what}"));
    if let Some(what) = kind::of_file(file) {
        return Err(another(&what));
    }
    let archive = Archive::open(file, deadline)?;
    if let Some(what) = kind::of_archive(&archive) {
        return Err(another(&what));
    }
    let Verified { signing, min_sdk } = signing::verify(&archive, deadline)?;
    let Some(entry) = archive.entry("AndroidManifest.xml") else {
        return Err(refused("not an APK: no AndroidManifest.xml"));
    };
    let manifest = manifest::read(&archive.inflate(entry, MANIFEST_MAX_BYTES)?, deadline)?;
    domain::apk::package("apk.package", &manifest.package)?;
    let table = match archive.entry("resources.arsc") {
        Some(entry) => archive.inflate(entry, RESOURCES_MAX_BYTES)?,
        None => Vec::new(),
    };
    let resources = Resources::read(&table, deadline)?;
    let levels = levels::read(&manifest, &resources)?;
    install_checks::check(&archive, &manifest, &levels, &resources)?;
    let text = |value: &Option<manifest::Value>| value.as_ref().and_then(|value| resources.text(value)).map(|text| line(&text));
    let picture = |value: &manifest::Value| {
        resources.files(value).iter().find_map(|name| {
            let entry = archive.entry(name)?;
            let bytes = archive.inflate(entry, ICON_MAX_BYTES).ok()?;
            picture_type(&bytes).map(|kind| (bytes, kind))
        })
    };
    Ok(ApkFacts {
        version_code: levels.version_code,
        version_name: text(&manifest.version_name).unwrap_or_default(),
        label: text(&manifest.label).filter(|label| !label.is_empty()).unwrap_or_else(|| manifest.package.clone()),
        min_sdk: levels.min_sdk.max(min_sdk),
        target_sdk: levels.target_sdk,
        debuggable: match manifest.debuggable {
            None => Some(false),
            Some(manifest::Value::Flag(debuggable)) => Some(debuggable),
            Some(_) => None,
        },
        icon: manifest.icon.as_ref().and_then(picture),
        native_abis: install_checks::native_abis(&archive),
        package: manifest.package,
        signing,
    })
}

/// The SHA-256 of the certificate that an APK names as its signer's, without any verification: for files that are the operator's own,
/// and may be such that [`read`] refuses them.
pub fn claimed_signer(file: &File) -> Option<[u8; 32]> {
    let archive = Archive::open(file, Deadline(Instant::now() + TIME_MAX)).ok()?;
    signing::claimed(&archive)
}

/// Reads a manifest and a resource table that are in no APK, as far as they are readable, and follows their references: for fuzzers.
pub fn read_tables(manifest: &[u8], table: &[u8]) {
    let deadline = Deadline(Instant::now() + TIME_MAX);
    let Ok(resources) = Resources::read(table, deadline) else { return };
    let manifest = manifest::read(manifest, deadline).unwrap_or_default();
    let _ = levels::read(&manifest, &resources);
    let named = [&manifest.label, &manifest.icon, &manifest.version_name, &manifest.debuggable, &manifest.test_only];
    let referred = table.chunks_exact(4).take(REFERENCES_TRIED).filter_map(|word| bytes::u32_at(word, 0)).map(manifest::Value::Reference);
    for value in named.into_iter().flatten().cloned().chain(referred) {
        let _ = (resources.text(&value), resources.flag(&value), resources.files(&value));
    }
}

/// Text of a stranger as one short line.
fn line(text: &str) -> String {
    let mut text = text.trim().to_owned();
    domain::text::fit_line(&mut text, TEXT_MAX_CHARS);
    text.trim().to_owned()
}

/// Media type of an image, by its first bytes. Formats that could hold a script are none.
fn picture_type(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some("image/webp")
    } else {
        None
    }
}
