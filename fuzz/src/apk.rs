//! APK reader: archive, signing block, signatures, digests, and what comes after them where they hold.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) fn run(data: &[u8]) {
    // Without a name: it is gone when it is closed.
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("nexmdm-fuzz-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let opened = File::options().read(true).write(true).create_new(true).open(&path);
    let Ok(mut file) = opened else { return };
    let _ = std::fs::remove_file(&path);
    if file.write_all(data).is_ok() {
        let _ = ::apk::reader::read(&file);
        let _ = ::apk::reader::claimed_signer(&file);
    }
}
