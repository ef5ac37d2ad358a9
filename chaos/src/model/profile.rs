//! Constant properties of a simulated device.

use rand::{Rng, RngExt};

/// Usage of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Stationary and plugged in.
    Kiosk,
    /// Portable and charged when necessary.
    Handheld,
}

/// Hardware model with its system.
#[derive(Clone, Copy)]
struct Hardware {
    model: &'static str,
    manufacturer: &'static str,
    android_version: &'static str,
    sdk_int: i64,
    patch_level: &'static str,
    build_id: &'static str,
    ram_total_mb: i64,
    storage_total_mb: i64,
    cellular: bool,
}

#[rustfmt::skip]
const HARDWARE: &[Hardware] = &[
    Hardware { model: "Orbic Joy 2", manufacturer: "Orbic", android_version: "13", sdk_int: 33, patch_level: "2025-08-05", build_id: "TQ3A", ram_total_mb: 3_891, storage_total_mb: 52_000, cellular: true },
    Hardware { model: "Orbic Myra 5G", manufacturer: "Orbic", android_version: "12", sdk_int: 31, patch_level: "2024-11-01", build_id: "SP1A", ram_total_mb: 5_812, storage_total_mb: 110_000, cellular: true },
    Hardware { model: "Pixel 7a", manufacturer: "Google", android_version: "15", sdk_int: 35, patch_level: "2026-09-05", build_id: "AP4A", ram_total_mb: 7_540, storage_total_mb: 112_000, cellular: true },
    Hardware { model: "SM-T225", manufacturer: "samsung", android_version: "14", sdk_int: 34, patch_level: "2026-05-01", build_id: "UP1A", ram_total_mb: 2_787, storage_total_mb: 22_500, cellular: true },
    Hardware { model: "SM-X200", manufacturer: "samsung", android_version: "14", sdk_int: 34, patch_level: "2026-07-01", build_id: "UP1A", ram_total_mb: 3_642, storage_total_mb: 46_000, cellular: false },
    Hardware { model: "TC26", manufacturer: "Zebra Technologies", android_version: "11", sdk_int: 30, patch_level: "2025-03-05", build_id: "11-39-27", ram_total_mb: 2_850, storage_total_mb: 21_000, cellular: true },
    Hardware { model: "EDA52", manufacturer: "Honeywell", android_version: "11", sdk_int: 30, patch_level: "2024-12-05", build_id: "RKQ1", ram_total_mb: 3_740, storage_total_mb: 49_000, cellular: false },
    Hardware { model: "Lenovo TB-8505F", manufacturer: "LENOVO", android_version: "10", sdk_int: 29, patch_level: "2023-01-05", build_id: "QP1A", ram_total_mb: 1_896, storage_total_mb: 9_800, cellular: false },
];

const AGENT_VERSIONS: &[(&str, i64)] = &[("1.4.0", 140), ("1.4.0", 140), ("1.4.0", 140), ("1.3.2", 132), ("1.2.9", 129)];
const APP_VERSIONS: &[(&str, i64)] = &[("3.2.1", 321), ("3.2.1", 321), ("3.2.0", 320), ("3.1.7", 317)];
const CARRIERS: &[&str] = &["T-Mobile", "Verizon", "AT&T", "Vodafone"];
const SITES: &[&str] = &["shop", "warehouse", "lobby", "depot", "clinic", "school"];

/// Constant properties of a device.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Usage.
    pub duty: Usage,
    /// Model.
    pub model: &'static str,
    /// Manufacturer.
    pub manufacturer: &'static str,
    /// Android release.
    pub android_version: &'static str,
    /// Android API level.
    pub sdk_int: i64,
    /// Security patch level.
    pub patch_level: &'static str,
    /// Build id.
    pub build_id: &'static str,
    /// Memory, MiB.
    pub ram_total_mb: i64,
    /// Storage, MiB.
    pub storage_total_mb: i64,
    /// Mobile carrier, when it has a SIM.
    pub carrier: Option<&'static str>,
    /// Name of its Wi-Fi.
    pub ssid: &'static str,
    /// Share of its connected time on Wi-Fi.
    pub wifi_share: f64,
    /// Address on its network.
    pub ip: [u8; 4],
    /// Agent version name.
    pub agent_version: &'static str,
    /// Agent version code.
    pub agent_version_code: i64,
    /// Monitored app: version name and code; none when it is not installed.
    pub app: Option<(&'static str, i64)>,
    /// Discharge rate.
    pub drain_pct_per_hour: f64,
    /// Charge rate.
    pub charge_pct_per_hour: f64,
    /// Whether the agent is exempt from Doze.
    pub doze_whitelisted: bool,
    /// Whether the agent is device owner.
    pub is_device_owner: bool,
    /// Clock offset; 0 for almost all devices.
    pub clock_offset_s: i64,
}

impl Profile {
    /// One device of a fleet in which `clock_off_share` of the clocks are wrong.
    pub fn draw<R: Rng>(clock_off_share: f64, rng: &mut R) -> Self {
        let hardware = pick(HARDWARE, rng);
        let carrier = (hardware.cellular && rng.random_bool(0.8)).then(|| pick(CARRIERS, rng));
        let (agent_version, agent_version_code) = pick(AGENT_VERSIONS, rng);
        Self {
            duty: if rng.random_bool(0.4) { Usage::Kiosk } else { Usage::Handheld },
            model: hardware.model,
            manufacturer: hardware.manufacturer,
            android_version: hardware.android_version,
            sdk_int: hardware.sdk_int,
            patch_level: hardware.patch_level,
            build_id: hardware.build_id,
            ram_total_mb: hardware.ram_total_mb,
            storage_total_mb: hardware.storage_total_mb,
            carrier,
            ssid: pick(SITES, rng),
            wifi_share: if carrier.is_some() { rng.random_range(0.5..0.95) } else { 1.0 },
            ip: [10, rng.random(), rng.random(), rng.random_range(2..255)],
            agent_version,
            agent_version_code,
            app: rng.random_bool(0.98).then(|| pick(APP_VERSIONS, rng)),
            drain_pct_per_hour: rng.random_range(4.0..14.0),
            charge_pct_per_hour: rng.random_range(25.0..60.0),
            doze_whitelisted: rng.random_bool(0.95),
            is_device_owner: rng.random_bool(0.9),
            clock_offset_s: if rng.random_bool(clock_off_share.clamp(0.0, 1.0)) { wrong_clock_s(rng) } else { 0 },
        }
    }
}

/// Seconds to years, in both directions. Offsets keep well away from the edges
/// of what the server believes (7 days back, 5 minutes ahead), so that it is
/// certain which side of them a heartbeat falls on.
fn wrong_clock_s<R: Rng>(rng: &mut R) -> i64 {
    const HOUR_S: i64 = 3_600;
    const YEAR_S: i64 = 365 * 24 * HOUR_S;
    match rng.random_range(0..6) {
        0 => rng.random_range(2..120),
        1 => -rng.random_range(2..120),
        2 => -rng.random_range(HOUR_S..48 * HOUR_S),
        3 => rng.random_range(HOUR_S..12 * HOUR_S),
        4 => -rng.random_range(YEAR_S..12 * YEAR_S),
        _ => rng.random_range(YEAR_S..12 * YEAR_S),
    }
}

fn pick<T: Copy, R: Rng>(table: &[T], rng: &mut R) -> T {
    table[rng.random_range(0..table.len())]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn a_fleet_is_mixed_and_few_clocks_are_off() {
        let mut rng = SmallRng::seed_from_u64(1);
        let fleet: Vec<Profile> = (0..2_000).map(|_| Profile::draw(0.02, &mut rng)).collect();
        assert_eq!(fleet.iter().map(|p| p.model).collect::<BTreeSet<_>>().len(), HARDWARE.len());
        let off = fleet.iter().filter(|p| p.clock_offset_s != 0).count();
        assert!((15..80).contains(&off), "{off}");
        assert!(fleet.iter().all(|p| p.carrier.is_some() || p.wifi_share == 1.0));
    }

    #[test]
    fn clocks_are_right_when_asked_to_be() {
        let mut rng = SmallRng::seed_from_u64(2);
        assert!((0..500).all(|_| Profile::draw(0.0, &mut rng).clock_offset_s == 0));
    }
}
