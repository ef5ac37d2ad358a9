//! Settings of scripts, codes and the APK that devices are enrolled with.

use std::time::Duration;

use domain::permits::PoolLimits;
use domain::transfer::MinimumRate;

use super::location::ApkLocation;

/// Scripts, the agent's APK and codes.
#[derive(Debug, Clone)]
pub struct KitSettings {
    /// URL of the server for devices and people, where it is configured.
    pub public_url: Option<String>,
    /// URL of this node, used otherwise.
    pub listen_url: String,
    /// Locations that are searched for the agent's APK, in this order.
    pub agent_apk_locations: Vec<ApkLocation>,
    /// SHA-256 of the certificate that signs it, where the file does not tell.
    pub agent_signer_sha256: Option<[u8; 32]>,
    /// Shares of the downloads of the APK at a time.
    pub downloads: PoolLimits,
    /// How slow a download may be, and for how long.
    pub minimum_rate: MinimumRate,
}

impl Default for KitSettings {
    fn default() -> Self {
        Self {
            public_url: None,
            listen_url: "http://127.0.0.1:8080".into(),
            agent_apk_locations: Vec::new(),
            agent_signer_sha256: None,
            downloads: PoolLimits { per_link: 24, ..PoolLimits::of_capacity(32) }.with_parts(50, 0),
            minimum_rate: MinimumRate { bytes_per_second: 4096, patience: Duration::from_secs(30) },
        }
    }
}
