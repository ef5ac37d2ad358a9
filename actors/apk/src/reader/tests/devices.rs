//! What every device would refuse to install, and files that are no APKs at all: refused with the reason and the remedy.

use super::apksig::cases;
use super::*;

#[test]
fn what_every_device_would_refuse_is_refused_with_the_remedy() {
    let cases = cases();
    for (name, reason, remedy) in [
        ("app-split", "a part of an app (split config.arm64_v8a)", "universal APK"),
        ("app-feature-split", "a part of an app", "universal APK"),
        ("app-split-required", "the base of an app in several parts", "universal APK"),
        ("app-split-required-by-resource", "the base of an app in several parts", "universal APK"),
        ("app-split-types-required", "the base of an app in several parts", "universal APK"),
        ("app-split-required-by-store", "the base of an app in several parts", "universal APK"),
        ("app-test-only", "a test build (android:testOnly)", "assembleRelease"),
        ("app-preview-min", "android:minSdkVersion is Baklava", "released API level"),
        ("app-preview-target", "android:targetSdkVersion is Baklava", "released API level"),
        ("app-no-code", "no classes.dex", "android:hasCode"),
        ("app-native-packed-in-place", "lib/", "zipalign"),
        ("app-native-in-place-unaligned", "lib/", "zipalign"),
    ] {
        let problem = refusal(&cases[name]);
        assert!(problem.contains(reason) && problem.contains(remedy), "{name}: {problem}");
    }
}

#[test]
fn what_devices_install_is_read() {
    let cases = cases();
    let facts = |name: &str| read_bytes(&cases[name]).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
    let plain = facts("app-plain");
    assert_eq!((plain.label.as_str(), plain.min_sdk, plain.target_sdk), ("Till \u{1f600}\u{1f6d2}", Some(26), Some(35)));
    assert_eq!(plain.native_abis, Vec::<String>::new());
    // A folder without a library is none that Android looks at.
    for name in ["app-native", "app-native-in-place"] {
        assert_eq!(facts(name).native_abis, ["arm64-v8a", "armeabi-v7a"], "{name}");
    }
}

/// Signature schemes raise the least API level where older devices would find no signature.
#[test]
fn an_app_is_for_devices_that_find_a_signature() {
    let cases = cases();
    let least = |name: &str| read_bytes(&cases[name]).unwrap().min_sdk;
    assert_eq!([least("v2-v3"), least("v2-verity-alone"), least("v3-on-old")], [Some(26), Some(28), Some(28)]);
}

#[test]
fn files_that_are_no_apks_are_named() {
    let one = |names: &[&str]| zipped(&names.iter().map(|name| (*name, 0, b"x".as_slice(), 1)).collect::<Vec<_>>());
    for (file, words) in [
        (
            one(&["BundleConfig.pb", "base/manifest/AndroidManifest.xml", "base/dex/classes.dex", "META-INF/A.RSA"]),
            "an Android App Bundle (.aab)",
        ),
        (one(&["BundleConfig.pb", "base/manifest/AndroidManifest.xml"]), "bundletool build-apks --mode=universal"),
        (one(&["toc.pb", "universal.apk"]), "upload the file universal.apk"),
        (one(&["toc.pb", "splits/base-master.apk", "splits/base-arm64_v8a.apk"]), "an app in 2 parts"),
        (one(&["manifest.json", "icon.png", "com.example.app.apk", "config.de.apk", "config.xhdpi.apk"]), "an app in 3 parts"),
        (one(&["release/till.apk", "release/mapping.txt"]), "upload release/till.apk"),
        (one(&["AndroidManifest.xml", "classes.jar", "R.txt"]), "an Android library (.aar)"),
        (one(&["apex_manifest.pb", "apex_payload.img"]), "an APEX module"),
        (one(&["META-INF/MANIFEST.MF", "com/example/Main.class"]), "a Java archive (.jar)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n".to_vec(), "git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>".to_vec(), "a web page"),
        (b"{\"message\":\"not found\"}".to_vec(), "error message"),
        (b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), "gzip"),
        (b"7z\xbc\xaf\x27\x1c\0\x04".to_vec(), "7z"),
        (b"dex\n035\0".to_vec(), "DEX"),
        (vec![], "an empty file"),
        (b"hello".to_vec(), "no ZIP header"),
        (one(&["readme.txt"]), "not signed"),
    ] {
        let problem = refusal(&file);
        assert!(problem.contains(words), "{words}: {problem}");
    }
}
