//! Heartbeat of the state of a device.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use wire::agent::{AppVersion, Battery, Heartbeat, Memory, Network, SpeedtestSignals, System};
use wire::lenient::{Float, Int};

use super::{Profile, State, Transport};

/// Default monitored app.
pub(crate) const MONITORED_PACKAGE: &str = "io.unitynodes.unityapp";

/// Heartbeat of `state`, with the time of the device clock.
pub fn heartbeat(profile: &Profile, state: &State, alias: &str, device_time: DateTime<Utc>, queue_depth: usize) -> Heartbeat {
    let [a, b, c, d] = profile.ip;
    let on = |transport| state.transport == transport;
    let connected = !on(Transport::None);
    let (version_name, version_code) = profile.app.unzip();
    let foreground_s = whole(state.foreground_s);
    let ram_available_mb = state.ram_available_mb.round() as i64;
    Heartbeat {
        alias: Some(alias.to_owned()),
        app_version: Some(profile.agent_version.to_owned()),
        timestamp_utc: Some(timestamp(device_time)),
        app_versions: Some(BTreeMap::from([(
            MONITORED_PACKAGE.to_owned(),
            Some(AppVersion {
                installed: Some(profile.app.is_some()),
                version_name: version_name.map(str::to_owned),
                version_code: version_code.map(Int),
            }),
        )])),
        speedtest_running_signals: Some(SpeedtestSignals {
            has_service_notification: Some(state.app_running),
            foreground_recent_seconds: state.app_running.then_some(foreground_s),
        }),
        battery: Some(Battery {
            pct: Some(whole(state.battery_pct)),
            charging: Some(state.charging),
            temperature_c: Some(Float((state.temperature_c * 10.0).round() / 10.0)),
        }),
        system: Some(System {
            uptime_seconds: Some(whole(state.uptime_s)),
            android_version: Some(profile.android_version.to_owned()),
            sdk_int: Some(Int(profile.sdk_int)),
            patch_level: Some(profile.patch_level.to_owned()),
            build_id: Some(profile.build_id.to_owned()),
            model: Some(profile.model.to_owned()),
            manufacturer: Some(profile.manufacturer.to_owned()),
        }),
        memory: Some(Memory {
            total_ram_mb: Some(Int(profile.ram_total_mb)),
            avail_ram_mb: Some(Int(ram_available_mb)),
            pressure_pct: Some(Int(100 - ram_available_mb * 100 / profile.ram_total_mb.max(1))),
        }),
        network: Some(Network {
            transport: Some(match state.transport {
                Transport::Wifi => "wifi".to_owned(),
                Transport::Cellular => "cellular".to_owned(),
                Transport::None => "none".to_owned(),
            }),
            ssid: on(Transport::Wifi).then(|| profile.ssid.to_owned()),
            carrier: profile.carrier.map(str::to_owned),
            ip: connected.then(|| format!("{a}.{b}.{c}.{d}")),
        }),
        is_ping_response: Some(false),
        is_device_owner: Some(profile.is_device_owner),
        monitored_foreground_recent_s: Some(if profile.app.is_some() { foreground_s } else { Int(-1) }),
        unity_process_running: Some(profile.app.is_some() && state.app_running),
        power_ok: Some(profile.doze_whitelisted),
        doze_whitelisted: Some(profile.doze_whitelisted),
        net_validated: Some(connected),
        queue_depth: Some(Int(i64::try_from(queue_depth).unwrap_or(i64::MAX))),
        storage_free_mb: Some(whole(state.storage_free_mb)),
        metered: Some(on(Transport::Cellular)),
        in_call: Some(state.in_call),
        agent_version_code: Some(Int(profile.agent_version_code)),
        boot_id: Some(state.boot_id.to_string()),
        seq: Some(Int(i64::try_from(state.seq).unwrap_or(i64::MAX))),
        ..Heartbeat::default()
    }
}

/// A time as devices write it: whole seconds, UTC.
pub(crate) fn timestamp(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn whole(value: f64) -> Int {
    Int(value.round() as i64)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_heartbeat_has_the_shape_and_the_ranges_of_the_agent_api() {
        let at = DateTime::from_timestamp(1_795_275_377, 0).unwrap();
        for seed in 0..300 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let profile = Profile::draw(0.1, &mut rng);
            let state = State::draw(&profile, &mut rng);
            let text = serde_json::to_string(&heartbeat(&profile, &state, "sim-1", at, 3)).unwrap();
            assert!(text.len() < 2_048, "{}", text.len());
            let json: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["timestamp_utc"], "2026-11-21T15:36:17Z");
            assert!((0..=100).contains(&json["battery"]["pct"].as_i64().unwrap()), "{text}");
            assert!((0..=100).contains(&json["memory"]["pressure_pct"].as_i64().unwrap()), "{text}");
            assert!(json["monitored_foreground_recent_s"].as_i64().unwrap() >= -1, "{text}");
            assert_eq!(json["queue_depth"], 3);
            assert!(json.get("device_id").is_none());
            serde_json::from_str::<Heartbeat>(&text).unwrap();
        }
    }

    #[test]
    fn without_a_network_there_is_no_address() {
        let mut rng = SmallRng::seed_from_u64(9);
        let profile = Profile::draw(0.0, &mut rng);
        let state = State { transport: Transport::None, ..State::draw(&profile, &mut rng) };
        let network = heartbeat(&profile, &state, "sim-1", DateTime::UNIX_EPOCH, 0).network.unwrap();
        assert_eq!(network.transport.as_deref(), Some("none"));
        assert!(network.ip.is_none() && network.ssid.is_none());
    }
}
