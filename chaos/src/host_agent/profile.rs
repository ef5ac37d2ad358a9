//! Simulated device of a host agent, in a file that is reloaded when it changes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::identity::profile_of;
use crate::model::Usage;

/// Initially installed app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppVersion {
    /// Version code.
    pub version_code: i64,
    /// Version name.
    pub version_name: String,
    /// SHA-256 of the certificates that may sign an update of it; any may when that is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signers: Option<Vec<String>>,
}

/// Simulated behaviour of the package installer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallBehaviour {
    /// `installed`, `not_permitted`, `install_failed` or `hang`.
    pub verdict: String,
    /// Duration.
    pub ms: u64,
}

/// Properties of a device; the fields are those of the host agent's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names and units are those of the agent API")]
pub struct DeviceProfile {
    pub model: String,
    pub manufacturer: String,
    pub android_version: String,
    pub sdk_int: i64,
    pub hardware_id: String,
    pub battery_pct: u8,
    pub charging: bool,
    pub transport: String,
    pub metered: bool,
    pub validated: bool,
    pub ssid: String,
    pub storage_free_mb: i64,
    pub in_call: bool,
    /// Offset of the device clock from the true time.
    pub clock_offset_ms: i64,
    /// Initially installed apps by package.
    pub apps: BTreeMap<String, AppVersion>,
    pub install: InstallBehaviour,
    /// Initially installed agent.
    pub agent: AppVersion,
}

impl DeviceProfile {
    /// Device `number` of a seed, without problems and with a correct clock.
    pub fn draw(seed: u64, number: u64) -> Self {
        let (profile, mut rng) = profile_of(seed, number, 0.0);
        Self {
            model: profile.model.to_owned(),
            manufacturer: profile.manufacturer.to_owned(),
            android_version: profile.android_version.to_owned(),
            sdk_int: profile.sdk_int,
            hardware_id: format!("JVM{:016X}", seed.rotate_left(32) ^ number),
            battery_pct: rng.random_range(40..=100),
            charging: profile.duty == Usage::Kiosk,
            transport: "wifi".into(),
            metered: false,
            validated: true,
            ssid: profile.ssid.to_owned(),
            storage_free_mb: rng.random_range(1_000..=profile.storage_total_mb.max(1_001)),
            in_call: false,
            clock_offset_ms: 0,
            apps: BTreeMap::new(),
            install: InstallBehaviour { verdict: "installed".into(), ms: rng.random_range(50..800) },
            agent: AppVersion { version_code: profile.agent_version_code, version_name: profile.agent_version.to_owned(), signers: None },
        }
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let unfinished = path.with_extension("json.new");
        let cannot = || format!("cannot write {}", path.display());
        std::fs::write(&unfinished, serde_json::to_vec_pretty(self)?).with_context(cannot)?;
        std::fs::rename(&unfinished, path).with_context(cannot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::TempDir;

    #[test]
    fn devices_differ_by_number_and_stay_the_same_for_a_seed() {
        let devices: Vec<DeviceProfile> = (1..=20).map(|number| DeviceProfile::draw(7, number)).collect();
        assert_eq!(devices[3], DeviceProfile::draw(7, 4));
        let mut ids: Vec<&str> = devices.iter().map(|device| device.hardware_id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), devices.len());
        let models: std::collections::BTreeSet<&str> = devices.iter().map(|device| device.model.as_str()).collect();
        assert!(models.len() > 3, "{models:?}");
        assert_ne!(DeviceProfile::draw(8, 4).hardware_id, devices[3].hardware_id);
    }

    #[test]
    fn the_file_has_the_fields_of_the_host_agent() {
        let folder = TempDir::new("profile").unwrap();
        let path = folder.path().join("profile.json");
        let profile = DeviceProfile::draw(7, 1);
        profile.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<DeviceProfile>(&text).unwrap(), profile);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(json["install"]["verdict"] == "installed" && json["agent"]["version_code"].is_i64() && json["apps"].is_object(), "{json}");
    }
}
