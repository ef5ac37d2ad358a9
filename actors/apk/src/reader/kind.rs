//! Files that are taken for APKs: named, with the way to an APK.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::zip::Archive;

/// Bytes that tell what a file is.
const START_BYTES: usize = 64;

/// Leading bytes of files that are no ZIP archives, what they are, and what to do.
const BY_MAGIC: &[(&[u8], &str)] = &[
    (b"version https://git-lfs", "a Git LFS pointer instead of the file itself; fetch the file first: git lfs pull"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\xfd7zXZ", "an xz file; unpack it first"),
    (b"dex\n", "the code of an app (DEX) without the app; upload the APK"),
    (b"\x7fELF", "a native program or library; upload the APK"),
    (b"%PDF", "a PDF document"),
];

/// What a file is that does not begin as a ZIP archive does; `None`: nothing known.
pub(super) fn of_file(file: &File) -> Option<&'static str> {
    let mut start = [0; START_BYTES];
    let length = file.read_at(&mut start, 0).ok()?;
    of_start(&start[..length])
}

fn of_start(start: &[u8]) -> Option<&'static str> {
    if start.is_empty() {
        return Some("an empty file");
    }
    if let Some((_, what)) = BY_MAGIC.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Some(what);
    }
    let text: Vec<u8> = start.iter().copied().skip_while(u8::is_ascii_whitespace).take(14).map(|byte| byte.to_ascii_lowercase()).collect();
    if text.starts_with(b"<!doctype html") || text.starts_with(b"<html") {
        return Some("a web page, as servers answer with instead of a file; check how it was downloaded");
    }
    (text.starts_with(b"{") || text.starts_with(b"<?xml"))
        .then_some("a text file, perhaps the error message of a server; check how it was downloaded")
}

/// What a ZIP archive is that is no APK; `None`: it may be one.
pub(super) fn of_archive(archive: &Archive<'_>) -> Option<String> {
    let has = |name: &str| archive.entry(name).is_some();
    if has("BundleConfig.pb") {
        return Some(
            "an Android App Bundle (.aab), which devices cannot install; build an APK (./gradlew assembleRelease), or make one of the \
             bundle: bundletool build-apks --mode=universal --bundle=app.aab --output=app.apks --ks=..., then upload universal.apk out of app.apks"
                .to_owned(),
        );
    }
    if has("AndroidManifest.xml") {
        return has("classes.jar").then(|| "an Android library (.aar); upload the APK of an app".to_owned());
    }
    if has("apex_payload.img") {
        return Some("an APEX module of the system, not an app".to_owned());
    }
    if has("universal.apk") {
        return Some("an archive of bundletool (.apks); upload the file universal.apk inside it".to_owned());
    }
    let inside = archive.names_ending(b".apk");
    match inside.as_slice() {
        [] if has("META-INF/MANIFEST.MF") => Some("a Java archive (.jar), not an app".to_owned()),
        [] => None,
        [one] => Some(format!("an archive with an APK inside; unpack it and upload {one}")),
        _ => Some(format!(
            "an archive of an app in {} parts (.apks, .xapk or .apkm), which is installed from several files; get a universal APK from \
             the app's developer, or make one of the bundle with bundletool build-apks --mode=universal",
            inside.len()
        )),
    }
}
