//! Parameters of the command `deploy_apk`.

use serde::Deserialize;

use super::window::Window;

/// Parameters of `deploy_apk` that a simulated device uses.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct DeployParams {
    pub(super) deployment_id: String,
    /// Number of the attempt, echoed with every status.
    #[serde(default)]
    pub(super) attempt: Option<u32>,
    pub(super) apk: ApkRef,
    #[serde(default)]
    pub(super) constraints: Constraints,
}

/// Reference to the APK file with its expected properties.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ApkRef {
    pub(super) package: String,
    pub(super) version_code: i64,
    pub(super) version_name: String,
    /// Absolute URL with a signature that expires.
    pub(super) url: String,
    /// Hex.
    pub(super) sha256: String,
    /// Accepted signing certificates: SHA-256, hex.
    #[serde(default)]
    pub(super) signer_sha256: Vec<String>,
    /// Bytes.
    pub(super) size: u64,
}

/// Install constraints.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Constraints {
    pub(super) wifi_only: bool,
    /// Per cent.
    pub(super) min_battery: Option<f64>,
    pub(super) charging_only: bool,
    /// MiB that have to stay free after the installation.
    pub(super) min_storage_free_mb: Option<f64>,
    pub(super) window: Option<Window>,
}

impl DeployParams {
    /// Parses the parameters of a command; `None` when they are invalid.
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_agent_api_is_parsed() {
        let text = r#"{"deployment_id":"d","apk":{"package":"com.nexmdm","version_code":121,"version_name":"1.0.121-d263d20",
            "url":"https://host/signed.apk","sha256":"ab","signer_sha256":["cd"],"size":8500000},
            "constraints":{"wifi_only":true,"min_battery":30,"charging_only":false,"window":{"start":"22:00","end":"05:00","tz":"Europe/Berlin"}},
            "retry":{"max":3,"backoff_sec":60},"post_install":{"restart_intent":{"action":"com.nexmdm.RESTART","extras":{}}}}"#;
        let params = DeployParams::parse(text).unwrap();
        assert_eq!((params.apk.size, params.constraints.min_battery, params.attempt), (8_500_000, Some(30.0), None));
        assert!(params.constraints.wifi_only && params.constraints.window.is_some());
        assert!(DeployParams::parse(r#"{"deployment_id":"d"}"#).is_none());
    }
}
