//! Whether a simulated device reads the signers of real APKs as `apksigner` made them.

use std::path::Path;

use chaos::fleet::apk_signers;

fn signers(name: &str) -> Result<Vec<String>, String> {
    apk_signers(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../actors/testdata/apks").join(name))
}

#[test]
fn real_apks_name_their_signers() {
    let till = signers("till-1.apk").unwrap();
    assert!(till.len() == 1 && till[0].len() == 64, "{till:?}");
    assert_eq!(signers("till-2.apk").unwrap(), till, "the same key");
    assert_eq!(signers("till-9-v2.apk").unwrap(), till, "the same key, scheme v2 alone");
    for other in ["till-5-foreign.apk", "till-8-rotated.apk", "agent-121.apk"] {
        assert!(signers(other).is_ok_and(|signers| signers.len() == 1 && signers != till), "{other}: another key");
    }
    for none in ["till-6-v1.apk", "till-7-unsigned.apk", "make.sh", "no such file"] {
        assert!(signers(none).is_err(), "{none}");
    }
}
