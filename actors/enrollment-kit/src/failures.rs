//! Every way an enrollment script can end: one table for all shells, docs/enrollment.md and the tests.

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The script's exit code.
    pub code: u8,
    /// Stable name.
    pub name: &'static str,
    /// Meaning of the failure.
    pub meaning: &'static str,
    /// Remedy.
    pub remedy: &'static str,
}

const fn failure(code: u8, name: &'static str, meaning: &'static str, remedy: &'static str) -> Failure {
    Failure { code, name, meaning, remedy }
}

/// Every failure, by code. 0 is success. Words hold only characters that no shell takes for its own.
pub const FAILURES: [Failure; 26] = [
    failure(
        1,
        "batch_incomplete",
        "At least one device of a batch was not enrolled.",
        "The summary names each device and its own code; run the script again once the cause is fixed: devices that are already enrolled are skipped.",
    ),
    failure(2, "usage", "Invalid command line.", "Run it with --help."),
    failure(
        10,
        "no_adb",
        "adb was not found.",
        "Install the Android SDK platform tools and put adb on the PATH: developer.android.com/tools/releases/platform-tools",
    ),
    failure(
        11,
        "no_device",
        "No device is connected.",
        "Use a cable that carries data, turn on Developer options and USB debugging on the device, then look at: adb devices",
    ),
    failure(12, "several_devices", "Several devices are connected.", "Select one with --serial, or unplug the others."),
    failure(
        13,
        "unauthorized",
        "The device has not accepted this computer.",
        "Unlock the device and accept the USB debugging question; if none appears: adb kill-server, or revoke USB debugging authorizations in Developer options and plug it in again. On Linux, no permissions means that udev rules are missing.",
    ),
    failure(
        14,
        "offline",
        "The device is connected but not ready.",
        "Wait until it has started, unplug it and plug it in again, then: adb kill-server",
    ),
    failure(
        15,
        "android_too_old",
        "The device runs an Android that is too old.",
        "The agent needs Android 8.0 (API 26) or newer: update the device or use another one.",
    ),
    failure(
        16,
        "other_owner",
        "Another app is the owner of this device or of a profile on it.",
        "Remove it from its management first, or factory-reset the device. Nothing was changed.",
    ),
    failure(
        17,
        "accounts_present",
        "There are accounts on the device.",
        "Android allows no device owner then. Remove every account in the settings, or factory-reset the device and skip adding an account.",
    ),
    failure(
        18,
        "second_user",
        "There is a second user, guest or work profile on the device.",
        "Android allows no device owner then. Remove it in the settings under Users, or factory-reset the device. Second Space, Dual Apps and Secure Folder count as users too.",
    ),
    failure(
        19,
        "device_lost",
        "The device stopped answering.",
        "Check cable and screen lock, then run the script again: completed steps are recognised.",
    ),
    failure(
        20,
        "server_unreachable",
        "The server is unreachable or unavailable.",
        "Check the address from this computer and from the device. It is set with http.public_url on the server; 127.0.0.1 is never right for a device.",
    ),
    failure(
        21,
        "token_unusable",
        "The enrollment token is unknown, used, expired or revoked.",
        "Create a new token on the Enrollment page and download its script.",
    ),
    failure(22, "no_tool", "A required tool is missing on this computer.", "Install curl or wget, and sha256sum, shasum or openssl."),
    failure(
        30,
        "download_failed",
        "The agent APK could not be downloaded.",
        "The signed download URL may have expired: create the script again. Otherwise check the connection to the server, and the agent APK on the Enrollment page.",
    ),
    failure(
        31,
        "checksum_wrong",
        "Checksum mismatch of the agent APK.",
        "The file was damaged in transfer, or replaced on the server since: create the script again. Nothing was installed.",
    ),
    failure(
        32,
        "install_failed",
        "The agent APK could not be installed.",
        "See the output of adb above. Free some storage, allow installs over USB in Developer options, and run the script again.",
    ),
    failure(
        33,
        "agent_missing",
        "The agent is not on the device, and this script does not install it.",
        "Install it first, or add an agent APK to the server as described on the Enrollment page, and create the script again.",
    ),
    failure(
        40,
        "set_device_owner_failed",
        "Android refused to make the agent device owner.",
        "See its output above. A factory reset helps in most cases: skip accounts during setup, turn on USB debugging, run the script again. Xiaomi devices also need USB debugging (Security settings).",
    ),
    failure(
        41,
        "grant_failed",
        "A permission could not be granted.",
        "See the output of Android above. Some manufacturers need another switch in Developer options: Disable permission monitoring, or USB debugging (Security settings).",
    ),
    failure(
        42,
        "doze_exemption_failed",
        "The agent could not be exempted from Doze.",
        "Set the battery use of the agent to Unrestricted in the settings, then run the script again.",
    ),
    failure(
        43,
        "hand_over_failed",
        "The agent did not accept the server and the token.",
        "See its output above. If the agent belongs to another server, factory-reset the device; if the agent is too old for this call, install a newer one.",
    ),
    failure(
        44,
        "not_seen",
        "The server received no heartbeat in time.",
        "Connect the device to a network from which it reaches the server, keep it awake, and run the script again; --timeout extends the wait.",
    ),
    failure(
        45,
        "no_token_left",
        "The batch has more devices than tokens.",
        "Create more tokens, and run their script for the remaining devices.",
    ),
    failure(130, "interrupted", "The script was interrupted.", "Run the script again: completed steps are recognised."),
];

/// Messages of package installers, and remedies.
pub const INSTALL_REMEDIES: [(&str, &str); 13] = [
    ("INSTALL_FAILED_INSUFFICIENT_STORAGE", "The device is full: free some storage."),
    (
        "INSTALL_FAILED_UPDATE_INCOMPATIBLE",
        "An agent with another signature is installed: uninstall it (adb uninstall com.nexmdm), or factory-reset the device if it is the owner.",
    ),
    ("INSTALL_FAILED_VERSION_DOWNGRADE", "A newer agent is installed: put a newer APK on the server, or use --no-install."),
    (
        "INSTALL_FAILED_USER_RESTRICTED",
        "The device forbids installs over USB: turn on Install via USB in Developer options (Xiaomi asks for a SIM card and an account for that), or look for a question on its screen.",
    ),
    (
        "INSTALL_FAILED_VERIFICATION_FAILURE",
        "Play Protect or a verifier refused: turn off Verify apps over USB in Developer options, and try again.",
    ),
    ("INSTALL_FAILED_NO_MATCHING_ABIS", "The APK holds no code for the processor of this device: use a universal APK."),
    ("INSTALL_FAILED_OLDER_SDK", "The APK needs a newer Android than the device has."),
    ("INSTALL_FAILED_TEST_ONLY", "The APK is a test build: put a release build on the server."),
    ("INSTALL_FAILED_ABORTED", "The install was declined on the device: accept it on the screen."),
    ("INSTALL_FAILED_INVALID_APK", "The APK is damaged or incomplete: put a whole one on the server."),
    ("INSTALL_FAILED_MISSING_SHARED_LIBRARY", "The device lacks a library that the APK needs."),
    ("INSTALL_PARSE_FAILED_NO_CERTIFICATES", "The APK is not signed: sign it with apksigner."),
    ("INSTALL_PARSE_FAILED", "The device cannot read the APK: it is damaged, or made for a newer Android."),
];

/// Android's words for why there can be no device owner, and the failure that they mean.
pub const OWNER_REFUSALS: [(&str, u8); 4] =
    [("already some accounts", 17), ("already several users", 18), ("device owner is already set", 16), ("already has a device owner", 16)];

/// Words of Android for the failure of a call that says nothing when it succeeds. Its exit code comes first; some builds answer 0 all
/// the same.
pub const CALL_REFUSALS: [&str; 4] = ["Exception", "Error:", "Failure", "not allowed"];

/// The failure with this code.
pub fn by_code(code: u8) -> Option<&'static Failure> {
    FAILURES.iter().find(|failure| failure.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_unique_and_words_are_safe_in_every_shell() {
        for (index, failure) in FAILURES.iter().enumerate() {
            assert!(FAILURES[index + 1..].iter().all(|other| other.code > failure.code && other.name != failure.name), "{}", failure.name);
        }
        let words = FAILURES.iter().flat_map(|failure| [failure.name, failure.meaning, failure.remedy]);
        let install = INSTALL_REMEDIES.iter().flat_map(|(name, remedy)| [*name, *remedy]);
        for word in words.chain(install).chain(OWNER_REFUSALS.iter().map(|(words, _)| *words)).chain(CALL_REFUSALS) {
            assert!(word.chars().all(|c| c.is_ascii_alphanumeric() || " .,:;()/-_".contains(c)), "{word}");
        }
        assert!(OWNER_REFUSALS.iter().all(|(_, code)| by_code(*code).is_some()));
    }

    #[test]
    fn docs_list_every_failure() {
        let docs = include_str!("../../../docs/enrollment.md");
        for failure in FAILURES {
            assert!(docs.contains(&format!("| {} | `{}` | {} |", failure.code, failure.name, failure.meaning)), "{}", failure.name);
        }
    }
}
