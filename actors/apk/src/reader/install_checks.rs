//! Checks of the package manager on installing, made at upload: what every device would refuse is refused here, with the remedy.

use domain::Invalid;

use super::levels::Levels;
use super::manifest::{Manifest, Value};
use super::refused;
use super::resources::Resources;
use super::zip::{Archive, Entry};

/// Android API level from which on apps must have their resource table uncompressed and aligned.
const SDK_OF_MAPPED_RESOURCES: i32 = 30;
const RESOURCES_ALIGNMENT_BYTES: u64 = 4;
/// Alignment of libraries that are run from within the APK.
const LIBRARY_ALIGNMENT_BYTES: u64 = 4096;
/// Most ABIs that are noted of an APK, and the longest name of one.
const ABIS_MAX: usize = 16;
const ABI_NAME_MAX_BYTES: usize = 32;

/// Refuses an APK that no device would install.
///
/// # Errors
/// Names `apk`, the reason and the remedy.
pub(super) fn check(archive: &Archive<'_>, manifest: &Manifest, levels: &Levels, resources: &Resources<'_>) -> Result<(), Invalid> {
    let is_set = |value: &Option<Value>, default: bool| value.as_ref().and_then(|value| resources.flag(value)).unwrap_or(default);
    if let Some(split) = manifest.split.as_deref().map(super::line).filter(|split| !split.is_empty()) {
        return Err(refused(format!("a part of an app (split {split}), which devices refuse without the rest; {UNIVERSAL}")));
    }
    if is_set(&manifest.feature_split, false) || manifest.config_for_split.as_ref().is_some_and(|of| !of.is_empty()) {
        return Err(refused(format!(
            "a part of an app (feature or configuration split), which devices refuse without the rest; {UNIVERSAL}"
        )));
    }
    let types_required =
        manifest.required_split_types.as_ref().and_then(|types| resources.text(types)).is_some_and(|types| !types.is_empty());
    let required = [&manifest.split_required, &manifest.split_required_by_app, &manifest.splits_required_by_store];
    if types_required || required.into_iter().any(|value| is_set(value, false)) {
        return Err(refused(format!(
            "the base of an app in several parts (android:isSplitRequired), which does not install or run without its splits; {UNIVERSAL}"
        )));
    }
    if is_set(&manifest.test_only, false) {
        return Err(refused(
            "a test build (android:testOnly), which devices refuse; build it with ./gradlew assembleRelease or Build > Generate Signed APK \
             instead of Run in Android Studio",
        ));
    }
    if !manifest.has_content {
        return Err(refused("the manifest has neither an application nor an instrumentation element"));
    }
    if manifest.has_application && is_set(&manifest.has_code, true) && archive.entry("classes.dex").is_none() {
        return Err(refused("the app's code is missing: no classes.dex, and android:hasCode is not false"));
    }
    aligned(archive, levels, is_set(&manifest.extract_native_libs, true))
}

/// How to get an APK that is whole.
const UNIVERSAL: &str =
    "upload a universal APK: ./gradlew assembleRelease without splits, or bundletool build-apks --mode=universal of the bundle";

/// Checks what a device maps from within the APK instead of unpacking it.
fn aligned(archive: &Archive<'_>, levels: &Levels, libraries_are_extracted: bool) -> Result<(), Invalid> {
    let remedy = "package it with a current Android Gradle plugin, or run zipalign -p 4 before signing";
    if levels.target_sdk.or(levels.min_sdk).is_some_and(|target| target >= SDK_OF_MAPPED_RESOURCES)
        && let Some(table) = archive.entry("resources.arsc")
        && !is_mapped(archive, table, RESOURCES_ALIGNMENT_BYTES)?
    {
        return Err(refused(format!(
            "resources.arsc is compressed or not aligned to {RESOURCES_ALIGNMENT_BYTES} bytes, which devices refuse of apps for API level {SDK_OF_MAPPED_RESOURCES} and newer; {remedy}"
        )));
    }
    if libraries_are_extracted {
        return Ok(());
    }
    for (name, entry) in archive.entries() {
        if native_library(name).is_some() && !is_mapped(archive, entry, LIBRARY_ALIGNMENT_BYTES)? {
            return Err(refused(format!(
                "{} is compressed or not aligned to {LIBRARY_ALIGNMENT_BYTES} bytes although android:extractNativeLibs is false, which devices refuse; {remedy}",
                super::line(&String::from_utf8_lossy(name))
            )));
        }
    }
    Ok(())
}

fn is_mapped(archive: &Archive<'_>, entry: Entry, alignment: u64) -> Result<bool, Invalid> {
    Ok(entry.is_stored() && archive.data_at(entry)?.is_multiple_of(alignment))
}

/// ABIs that an APK has native code for, by name, as Android looks for them: none installs on every device.
pub(super) fn native_abis(archive: &Archive<'_>) -> Vec<String> {
    let mut abis: Vec<String> = archive.entries().filter_map(|(name, _)| native_library(name)).map(str::to_owned).collect();
    abis.sort_unstable();
    abis.dedup();
    abis.truncate(ABIS_MAX);
    abis
}

/// The ABI of an entry `lib/ABI/lib*.so`.
fn native_library(name: &[u8]) -> Option<&str> {
    let (abi, file) = std::str::from_utf8(name).ok()?.strip_prefix("lib/")?.split_once('/')?;
    let file = file.rsplit('/').next()?;
    let is_abi = (1..=ABI_NAME_MAX_BYTES).contains(&abi.len()) && abi.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
    (is_abi && file.starts_with("lib") && file.ends_with(".so")).then_some(abi)
}
