//! The corpus of each fuzz target, run once: what broke something before does so no more.

use std::path::Path;

#[test]
fn every_target_takes_its_corpus() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for target in fuzz::TARGETS {
        let folders = target.seeds.iter().map(|seeds| here.join("..").join(seeds)).chain([here.join("corpus").join(target.name)]);
        let mut count = 0;
        for file in folders.flat_map(|folder| std::fs::read_dir(&folder).unwrap_or_else(|cause| panic!("{}: {cause}", folder.display()))) {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            (target.run)(&bytes);
            // And cut off anywhere near its ends.
            for length in [0, 1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
                (target.run)(&bytes[..length]);
            }
            count += 1;
        }
        assert!(count > 0, "{} has no corpus", target.name);
    }
}
