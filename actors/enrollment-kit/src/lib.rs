//! Tools for enrolling devices in the field: the agent's APK, scripts for a laptop, and the
//! code that a factory-new device scans.
//!
//! ```text
//! failures   every way a script can end, its exit code and remedy; one table for all shells
//! quote      values as text of bash, PowerShell, cmd and the device's own shell
//! script     templates/*, filled in
//! location   where a node looks for the APK
//! agent_apk  the APK's file: its digest, its signer, its version
//! qr         the payload of Android's provisioning, and its picture
//! ```

pub mod agent_apk;
pub mod failures;
pub mod location;
pub mod qr;
pub mod quote;
pub mod script;
mod settings;

use domain::permits::PoolName;
use domain::{Invalid, Timestamp};
use permits::Pool;
use permits::metrics::PoolMetrics;
use secrecy::SecretBox;

use agent_apk::AgentApk;
use apk::signed_url::{AGENT_APK, UrlSigner};
pub use settings::KitSettings;

/// The agent's package.
pub const PACKAGE: &str = "com.nexmdm";
/// The component that becomes device owner.
pub const ADMIN_COMPONENT: &str = "com.nexmdm/.NexDeviceAdminReceiver";
/// The component that takes server and token; only holders of `android.permission.DUMP`, that is
/// the system and adb's shell, may call it. docs/enrollment.md has the contract.
pub const ENROLL_RECEIVER: &str = "com.nexmdm/.EnrollReceiver";
/// The action of that call.
pub const ENROLL_ACTION: &str = "com.nexmdm.ENROLL";
/// Oldest Android that the agent runs on: 8.0.
pub const MIN_SDK: u32 = 26;
/// Permissions of the agent that a person would have to grant, and the API level that brought each.
pub const PERMISSIONS: [(u32, &str); 3] = [
    (26, "android.permission.ACCESS_FINE_LOCATION"),
    (26, "android.permission.READ_PHONE_STATE"),
    (33, "android.permission.POST_NOTIFICATIONS"),
];
/// An access that is not a permission but an app operation: which app is in the foreground.
pub const APP_OPERATION: &str = "GET_USAGE_STATS";
/// Longest address of the server, in bytes.
pub const SERVER_URL_MAX_BYTES: usize = 300;

/// Enrollment kit: everything that scripts and QR codes need.
pub struct EnrollmentKit {
    /// URL of the server for devices, where it is configured.
    pub public_url: Option<String>,
    /// URL of this node, used otherwise.
    listen_url: String,
    /// The agent's APK.
    pub apk: AgentApk,
    /// Signs and checks the APK's addresses.
    pub signer: UrlSigner,
    /// The signing certificate's SHA-256, where it is configured.
    pub configured_signer: Option<[u8; 32]>,
}

impl EnrollmentKit {
    /// The kit of a node; addresses of the APK are signed with a key derived from `master_key`.
    pub fn new(settings: KitSettings, master_key: &SecretBox<Vec<u8>>, metrics: &PoolMetrics) -> Self {
        let KitSettings { public_url, listen_url, agent_apk_locations, agent_signer_sha256, downloads, minimum_rate } = settings;
        let apk = AgentApk::new(agent_apk_locations, Pool::new(PoolName::AgentApkDownloads, downloads, metrics), minimum_rate);
        Self { public_url, listen_url, apk, signer: UrlSigner::new(master_key, AGENT_APK.0), configured_signer: agent_signer_sha256 }
    }

    /// The address to hand to devices: the one asked for, the configured one, or where this node listens.
    pub fn server_url(&self, wanted: Option<String>) -> Result<String, Invalid> {
        match wanted {
            Some(url) => checked_server_url(&url),
            None => Ok(self.public_url.clone().unwrap_or_else(|| self.listen_url.clone())),
        }
    }

    /// Download address of the APK, valid until `expires_at`.
    pub fn apk_url(&self, server_url: &str, expires_at: Timestamp) -> String {
        let expires = expires_at.timestamp();
        format!("{server_url}{0}?expires={expires}&signature={1}", AGENT_APK.1, self.signer.sign(AGENT_APK.1, expires))
    }
}

/// An address of a server, without a slash at the end.
///
/// # Errors
/// Neither http nor https, too long, or a character that no address has.
pub fn checked_server_url(url: &str) -> Result<String, Invalid> {
    let invalid = |problem: &str| Invalid::new("server_url", problem);
    let url = url.trim_end_matches('/');
    if url.len() > SERVER_URL_MAX_BYTES {
        return Err(invalid(&format!("more than {SERVER_URL_MAX_BYTES} bytes")));
    }
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| invalid("begins with neither http:// nor https://"))?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]+,=%".contains(c);
    if rest.is_empty() || rest.starts_with(['/', ':']) || !rest.chars().all(allowed) {
        return Err(invalid("not an address like https://mdm.example.com"));
    }
    Ok(url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_url_is_an_address_and_nothing_else() {
        assert_eq!(checked_server_url("https://mdm.example.com/").unwrap(), "https://mdm.example.com");
        assert_eq!(checked_server_url("http://[::1]:8080/a").unwrap(), "http://[::1]:8080/a");
        for wrong in [
            "",
            "mdm.example.com",
            "ftp://x",
            "http://",
            "http:///x",
            "http://:80",
            "http://u@a",
            "http://a b",
            "http://a\"b",
            "http://a\nb",
            "http://a`b",
        ] {
            assert_eq!(checked_server_url(wrong).unwrap_err().field, "server_url", "{wrong:?}");
        }
        assert!(checked_server_url(&format!("http://{}", "a".repeat(300))).is_err());
    }
}
