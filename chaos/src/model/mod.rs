//! Simulation of the telemetry of a device over time, a pure function of a seed.
//!
//! Events have rates per hour and steps have lengths, so that one step of an
//! hour and sixty of a minute tell about the same story.

mod heartbeat;
mod profile;

use domain::telemetry::Telemetry;
use rand::{Rng, RngExt};
use uuid::Uuid;

pub use heartbeat::heartbeat;
pub(crate) use heartbeat::{MONITORED_PACKAGE, timestamp, with_unusable_reading};
pub use profile::{Profile, Usage};

/// Rates of rare events, per hour of simulated time.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// The monitored app dies.
    pub app_crashes_per_hour: f64,
    /// Wi-Fi and cellular swap.
    pub network_changes_per_hour: f64,
    /// The network goes away altogether; nothing can be sent until it is back.
    pub outages_per_hour: f64,
    /// The device restarts.
    pub reboots_per_hour: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self { app_crashes_per_hour: 0.1, network_changes_per_hour: 0.5, outages_per_hour: 0.02, reboots_per_hour: 0.01 }
    }
}

/// The network a device is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The Wi-Fi of its site.
    Wifi,
    /// A mobile network.
    Cellular,
    /// No network: heartbeats wait on the device.
    None,
}

/// Variable state of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Charge, 0..100.
    pub battery_pct: f64,
    /// Whether it charges.
    pub charging: bool,
    /// Battery temperature in degrees Celsius.
    pub temperature_c: f64,
    /// Network.
    pub transport: Transport,
    /// Whether the monitored app runs.
    pub app_running: bool,
    /// Seconds since the monitored app was in the foreground.
    pub foreground_s: f64,
    /// Seconds since boot.
    pub uptime_s: f64,
    /// Changes with every boot.
    pub boot_id: Uuid,
    /// Heartbeats since boot.
    pub seq: u64,
    /// Available memory, MiB.
    pub ram_available_mb: f64,
    /// Free storage, MiB.
    pub storage_free_mb: f64,
    /// Whether a call is going on.
    pub in_call: bool,
    /// Readings that matter to nothing but the heartbeat, as it has them.
    pub readings: Telemetry,
}

impl State {
    /// Initial state of a device.
    pub fn draw<R: Rng>(profile: &Profile, rng: &mut R) -> Self {
        let kiosk = profile.duty == Usage::Kiosk;
        Self {
            battery_pct: if kiosk { rng.random_range(80.0..100.0) } else { rng.random_range(15.0..100.0) },
            charging: kiosk || rng.random_bool(0.3),
            temperature_c: rng.random_range(24.0..33.0),
            transport: if rng.random_bool(profile.wifi_share) { Transport::Wifi } else { Transport::Cellular },
            app_running: rng.random_bool(0.97),
            foreground_s: rng.random_range(0.0..30.0),
            uptime_s: rng.random_range(600.0..1_200_000.0),
            boot_id: boot_id(rng),
            seq: 0,
            ram_available_mb: profile.ram_total_mb as f64 * rng.random_range(0.25..0.5),
            storage_free_mb: profile.storage_total_mb as f64 * rng.random_range(0.15..0.7),
            in_call: false,
            readings: Telemetry { cpu_load_pct: Some(cpu_load_pct(true, rng)), ..Telemetry::default() },
        }
    }
}

/// State of the device `dt_s` seconds later.
pub fn step<R: Rng>(profile: &Profile, state: &State, dt_s: f64, rates: &Rates, rng: &mut R) -> State {
    let dt_s = dt_s.max(0.0);
    let mut next = state.clone();
    next.seq += 1;
    next.uptime_s += dt_s;
    power(profile, &mut next, dt_s, rng);
    network(profile, &mut next, dt_s, rates, rng);
    app(&mut next, dt_s, rates, rng);
    room(profile, &mut next, dt_s, rng);
    next.readings.cpu_load_pct = Some(cpu_load_pct(next.app_running, rng));
    next.in_call = if state.in_call { !happens(20.0, dt_s, rng) } else { profile.carrier.is_some() && happens(0.1, dt_s, rng) };
    if happens(rates.reboots_per_hour, dt_s, rng) {
        reboot(&mut next, rng);
        next.seq = 1;
    }
    next
}

/// Restarts the device: its next heartbeat is the first of a new boot.
pub fn reboot<R: Rng>(state: &mut State, rng: &mut R) {
    state.boot_id = boot_id(rng);
    state.seq = 0;
    state.uptime_s = rng.random_range(20.0..90.0);
    state.app_running = true;
    state.foreground_s = 0.0;
}

/// Launches the monitored app.
pub fn launch_app(state: &mut State) {
    state.app_running = true;
    state.foreground_s = 0.0;
}

fn power<R: Rng>(profile: &Profile, state: &mut State, dt_s: f64, rng: &mut R) {
    let hours = dt_s / 3_600.0;
    let per_hour = if state.charging { profile.charge_pct_per_hour } else { -profile.drain_pct_per_hour };
    state.battery_pct = (state.battery_pct + per_hour * hours * rng.random_range(0.8..1.2)).clamp(0.0, 100.0);
    let ambient_c = if state.charging { 34.0 } else { 29.0 };
    state.temperature_c += (ambient_c - state.temperature_c) * settled(900.0, dt_s) + rng.random_range(-0.2..0.2);
    state.temperature_c = state.temperature_c.clamp(5.0, 48.0);
    state.charging = if state.charging {
        // A kiosk stays plugged in, with rare interruptions.
        let unplugs_per_hour = match profile.duty {
            Usage::Kiosk => 0.02,
            Usage::Handheld => {
                if state.battery_pct >= 99.0 {
                    6.0
                } else {
                    0.3
                }
            }
        };
        !happens(unplugs_per_hour, dt_s, rng)
    } else {
        let plugs_per_hour = match profile.duty {
            Usage::Kiosk => 6.0,
            Usage::Handheld => {
                if state.battery_pct < 20.0 {
                    4.0
                } else {
                    0.05
                }
            }
        };
        // A simulated battery never runs empty.
        state.battery_pct <= 3.0 || happens(plugs_per_hour, dt_s, rng)
    };
}

fn network<R: Rng>(profile: &Profile, state: &mut State, dt_s: f64, rates: &Rates, rng: &mut R) {
    let home = if rng.random_bool(profile.wifi_share) { Transport::Wifi } else { Transport::Cellular };
    state.transport = match state.transport {
        Transport::None if happens(12.0, dt_s, rng) => home,
        Transport::None => Transport::None,
        _ if happens(rates.outages_per_hour, dt_s, rng) => Transport::None,
        _ if profile.carrier.is_some() && happens(rates.network_changes_per_hour, dt_s, rng) => home,
        same => same,
    };
}

fn app<R: Rng>(state: &mut State, dt_s: f64, rates: &Rates, rng: &mut R) {
    state.app_running = if state.app_running { !happens(rates.app_crashes_per_hour, dt_s, rng) } else { happens(6.0, dt_s, rng) };
    state.foreground_s = if state.app_running { rng.random_range(0.0..45.0) } else { state.foreground_s + dt_s };
}

fn room<R: Rng>(profile: &Profile, state: &mut State, dt_s: f64, rng: &mut R) {
    let total_mb = profile.ram_total_mb as f64;
    let usual_mb = total_mb * if state.app_running { 0.3 } else { 0.45 };
    state.ram_available_mb += (usual_mb - state.ram_available_mb) * settled(1_800.0, dt_s) + total_mb * rng.random_range(-0.01..0.01);
    state.ram_available_mb = state.ram_available_mb.clamp(total_mb * 0.03, total_mb * 0.9);
    let storage_mb = profile.storage_total_mb as f64;
    state.storage_free_mb -= dt_s / 3_600.0 * rng.random_range(0.0..30.0);
    if state.storage_free_mb < storage_mb * 0.04 {
        state.storage_free_mb = storage_mb * 0.4; // someone cleans up
    }
}

/// Load of the processors: the monitored app is most of it.
fn cpu_load_pct<R: Rng>(app_running: bool, rng: &mut R) -> i16 {
    if app_running { rng.random_range(15..60) } else { rng.random_range(2..15) }
}

/// Whether an event of this rate happens within the step.
fn happens<R: Rng>(per_hour: f64, dt_s: f64, rng: &mut R) -> bool {
    rng.random_bool((1.0 - (-per_hour.max(0.0) * dt_s / 3_600.0).exp()).clamp(0.0, 1.0))
}

/// Share of the way to equilibrium that a value moves within the step.
fn settled(time_constant_s: f64, dt_s: f64) -> f64 {
    1.0 - (-dt_s / time_constant_s).exp()
}

fn boot_id<R: Rng>(rng: &mut R) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn device(seed: u64) -> (Profile, State, SmallRng) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let profile = Profile::draw(0.02, &mut rng);
        let state = State::draw(&profile, &mut rng);
        (profile, state, rng)
    }

    #[test]
    fn the_same_seed_tells_the_same_story() {
        let story = |seed| {
            let (profile, mut state, mut rng) = device(seed);
            for _ in 0..200 {
                state = step(&profile, &state, 300.0, &Rates::default(), &mut rng);
            }
            state
        };
        assert_eq!(story(7), story(7));
        assert_ne!(story(7), story(8));
    }

    #[test]
    fn values_stay_in_their_ranges_for_weeks() {
        for seed in 0..50 {
            let (profile, mut state, mut rng) = device(seed);
            for _ in 0..4_000 {
                state = step(&profile, &state, 300.0, &Rates::default(), &mut rng);
                assert!((0.0..=100.0).contains(&state.battery_pct), "seed {seed}: {state:?}");
                assert!((5.0..=48.0).contains(&state.temperature_c), "seed {seed}: {state:?}");
                assert!(state.ram_available_mb > 0.0 && state.ram_available_mb < profile.ram_total_mb as f64, "seed {seed}: {state:?}");
                assert!(state.storage_free_mb > 0.0 && state.storage_free_mb < profile.storage_total_mb as f64, "seed {seed}: {state:?}");
                assert!(state.foreground_s >= 0.0);
            }
        }
    }

    #[test]
    fn batteries_drain_off_the_cable_and_charge_on_it() {
        let (profile, start, mut rng) = device(3);
        for (charging, up) in [(false, false), (true, true)] {
            let before = State { battery_pct: 50.0, charging, ..start.clone() };
            let after = step(&profile, &before, 600.0, &Rates::default(), &mut rng);
            assert_eq!(after.battery_pct > 50.0, up, "{after:?}");
        }
    }

    #[test]
    fn over_a_day_things_happen_to_a_fleet() {
        let (mut crashes, mut outages, mut swaps, mut reboots) = (0, 0, 0, 0);
        for seed in 0..200 {
            let (profile, mut state, mut rng) = device(seed);
            for _ in 0..288 {
                let next = step(&profile, &state, 300.0, &Rates::default(), &mut rng);
                crashes += u32::from(state.app_running && !next.app_running);
                outages += u32::from(state.transport != Transport::None && next.transport == Transport::None);
                swaps += u32::from(state.transport == Transport::Wifi && next.transport == Transport::Cellular);
                reboots += u32::from(state.boot_id != next.boot_id);
                state = next;
            }
        }
        // Expected per day over 200 devices: about 450, 95, some hundreds, 48.
        assert!((250..700).contains(&crashes), "{crashes}");
        assert!((40..180).contains(&outages), "{outages}");
        assert!(swaps > 50, "{swaps}");
        assert!((15..100).contains(&reboots), "{reboots}");
    }

    #[test]
    fn a_reboot_counts_heartbeats_anew() {
        let (profile, state, mut rng) = device(5);
        let rates = Rates { reboots_per_hour: 1e9, ..Rates::default() };
        let next = step(&profile, &State { seq: 99, ..state.clone() }, 60.0, &rates, &mut rng);
        assert_ne!(next.boot_id, state.boot_id);
        assert_eq!(next.seq, 1);
        assert!(next.uptime_s < 100.0);
    }

    #[test]
    fn rates_of_zero_mean_never() {
        let never = Rates { app_crashes_per_hour: 0.0, network_changes_per_hour: 0.0, outages_per_hour: 0.0, reboots_per_hour: 0.0 };
        let (profile, mut state, mut rng) = device(11);
        state.app_running = true;
        for _ in 0..2_000 {
            let next = step(&profile, &state, 300.0, &never, &mut rng);
            assert!(next.app_running && next.boot_id == state.boot_id && next.transport == state.transport);
            state = next;
        }
    }
}
