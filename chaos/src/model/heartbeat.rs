//! Heartbeat of the state of a device.

use chrono::{DateTime, Utc};
use domain::telemetry::{self, Telemetry, WatchedApp};
use rand::{Rng, RngExt};
use wire::agent::Heartbeat;

use super::{Profile, State, Transport};

/// Default monitored app.
pub(crate) const MONITORED_PACKAGE: &str = "io.unitynodes.unityapp";

/// Heartbeat of `state`, with the time of the device clock.
pub fn heartbeat(profile: &Profile, state: &State, alias: &str, device_time: DateTime<Utc>, queue_depth: usize) -> Heartbeat {
    Heartbeat {
        alias: Some(alias.to_owned()),
        timestamp_utc: Some(timestamp(device_time)),
        is_ping_response: Some(false),
        ..Heartbeat::of(&telemetry(profile, state, device_time, queue_depth))
    }
}

fn telemetry(profile: &Profile, state: &State, device_time: DateTime<Utc>, queue_depth: usize) -> Telemetry {
    let [a, b, c, d] = profile.ip;
    let on = |transport| state.transport == transport;
    let connected = !on(Transport::None);
    // Few report where they are; none of them moves.
    let reports_location = b.is_multiple_of(8);
    let (version_name, version_code) = profile.app.unzip();
    let foreground_s = state.foreground_s.round() as i32;
    let ram_available_mb = state.ram_available_mb.round() as i64;
    let text = |text: &str| Some(text.to_owned());
    Telemetry {
        battery_pct: Some(state.battery_pct.round() as i16),
        charging: Some(state.charging),
        battery_temperature_c: Some((state.temperature_c * 10.0).round() as f32 / 10.0),
        app_version: text(profile.agent_version),
        agent_version_code: Some(profile.agent_version_code),
        android_version: text(profile.android_version),
        sdk_int: Some(profile.sdk_int as i32),
        patch_level: text(profile.patch_level),
        build_id: text(profile.build_id),
        model: text(profile.model),
        manufacturer: text(profile.manufacturer),
        supported_abis: text("arm64-v8a,armeabi-v7a,armeabi"),
        uptime_s: Some(state.uptime_s.round() as i64),
        ram_total_mb: Some(profile.ram_total_mb as i32),
        ram_available_mb: Some(ram_available_mb as i32),
        ram_pressure_pct: Some((100 - ram_available_mb * 100 / profile.ram_total_mb.max(1)) as i16),
        storage_free_mb: Some(state.storage_free_mb.round() as i64),
        transport: Some(match state.transport {
            Transport::Wifi => telemetry::Transport::Wifi,
            Transport::Cellular => telemetry::Transport::Cellular,
            Transport::None => telemetry::Transport::None,
        }),
        ssid: on(Transport::Wifi).then(|| profile.ssid.to_owned()),
        carrier: profile.carrier.map(str::to_owned),
        ip: connected.then(|| format!("{a}.{b}.{c}.{d}")),
        net_validated: Some(connected),
        metered: Some(on(Transport::Cellular)),
        foreground_recent_s: Some(if profile.app.is_some() { foreground_s } else { -1 }),
        app_running: Some(profile.app.is_some() && state.app_running),
        speedtest_service_running: Some(state.app_running),
        speedtest_foreground_recent_s: state.app_running.then_some(foreground_s),
        power_ok: Some(profile.doze_whitelisted),
        doze_whitelisted: Some(profile.doze_whitelisted),
        is_device_owner: Some(profile.is_device_owner),
        in_call: Some(state.in_call),
        queue_depth: Some(i32::try_from(queue_depth).unwrap_or(i32::MAX)),
        boot_id: Some(state.boot_id.to_string()),
        seq: Some(i64::try_from(state.seq).unwrap_or(i64::MAX)),
        location_lat: reports_location.then(|| 47.0 + f64::from(c) / 32.0),
        location_lon: reports_location.then(|| 6.0 + f64::from(d) / 32.0),
        location_accuracy_m: reports_location.then_some(12.5),
        location_at: reports_location.then_some(device_time),
        apps: vec![WatchedApp {
            package: MONITORED_PACKAGE.to_owned(),
            installed: Some(profile.app.is_some()),
            version_name: version_name.map(str::to_owned),
            version_code,
        }],
        ..state.readings.clone()
    }
}

/// The JSON of a heartbeat with a reading that cannot be used, as devices with broken sensors and printers of JSON send it.
pub(crate) fn with_unusable_reading<R: Rng>(heartbeat: &str, rng: &mut R) -> String {
    let (key, value) = UNUSABLE_READINGS[rng.random_range(0..UNUSABLE_READINGS.len())];
    let before = heartbeat.find(&format!("\"{key}\":")).map(|at| at + key.len() + 3);
    let Some((before, rest)) = before.and_then(|at| heartbeat.split_at_checked(at)) else { return heartbeat.to_owned() };
    let after = rest.find([',', '}']).map_or("", |end| &rest[end..]);
    format!("{before}{value}{after}")
}

/// Keys of numbers in a heartbeat, and what is sent in their place.
const UNUSABLE_READINGS: [(&str, &str); 8] = [
    ("pct", "-1"),
    ("pct", "101"),
    ("temperature_c", "NaN"),
    ("temperature_c", "1e400"),
    ("uptime_seconds", "\"long\""),
    ("storage_free_mb", "[]"),
    ("cpu_load_pct", "\"\\ud800\""),
    ("avail_ram_mb", ""),
];

/// A time as devices write it: whole seconds, UTC.
pub(crate) fn timestamp(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
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
            assert!((0..=100).contains(&json["cpu_load_pct"].as_i64().unwrap()), "{text}");
            assert!(json["monitored_foreground_recent_s"].as_i64().unwrap() >= -1, "{text}");
            assert_eq!(json["queue_depth"], 3);
            assert_eq!(json["location"]["lat"].is_number(), profile.ip[1].is_multiple_of(8), "{text}");
            assert!(json.get("device_id").is_none());
            serde_json::from_str::<Heartbeat>(&text).unwrap();
        }
    }

    #[test]
    fn an_unusable_reading_costs_no_other() {
        let at = DateTime::from_timestamp(1_795_275_377, 0).unwrap();
        for seed in 0..50 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let profile = Profile::draw(0.0, &mut rng);
            let state = State::draw(&profile, &mut rng);
            let good = serde_json::to_string(&heartbeat(&profile, &state, "sim-1", at, 3)).unwrap();
            let sent = with_unusable_reading(&good, &mut rng);
            let read = wire::tolerant::object(sent.as_bytes()).unwrap();
            let values = wire::heartbeat_values::values(&read, &telemetry::OptIn::all(), at);
            assert!(values.telemetry.seq.is_some() && values.device_time == Some(at), "{sent}");
            // A value that is missing is unknown, and nothing was sent that could be shown.
            assert!(values.telemetry.unusable.len() == 1 || sent.contains("\"avail_ram_mb\":,"), "{sent}");
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
