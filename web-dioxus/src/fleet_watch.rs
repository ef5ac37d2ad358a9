//! Data shared by all open pages: the recent heartbeat rate and a cached digest of the fleet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actors::fleet_view::FleetView;
use domain::device::{AppStatus, Connectivity, DevicePolicy, DeviceView};
use domain::query::{DeviceFilter, FilterKey, FilterKind, Sort, SortKey};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Seconds of heartbeat rate that are kept.
pub(crate) const RATES_KEPT: usize = 120;
/// Devices listed for each reason of attention.
const ATTENTION_TOP: usize = 5;
/// Values per filter.
const FACET_MAX: usize = 200;
/// Lifetime of a digest, at least; a longer scan makes it a multiple of its duration.
const DIGEST_AGE: Duration = Duration::from_secs(5);
const DIGEST_COST_RATIO: u32 = 50;

/// Devices that need attention for one reason.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Attention {
    /// Number of devices.
    pub(crate) total: usize,
    /// The most urgent of them.
    pub(crate) top: Vec<DeviceView>,
}

/// Digest of the fleet.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Digest {
    /// Online, with the monitored app down.
    pub(crate) app_down: Attention,
    /// Online, with a low battery; emptiest first.
    pub(crate) low_battery: Attention,
    /// Not heard from; newest loss first.
    pub(crate) offline: Attention,
    /// With an identity in conflict.
    pub(crate) conflict: Attention,
    /// Enrolled a while ago, and never heard from.
    pub(crate) ghosts: Attention,
    /// Values in use, of each filter whose values come from the fleet.
    pub(crate) values: BTreeMap<FilterKey, Vec<String>>,
}

struct CachedDigest {
    digest: Arc<Digest>,
    revision: u64,
    made: Instant,
    good_for: Duration,
}

/// Data shared by all open pages.
pub(crate) struct FleetWatch {
    fleet: Arc<FleetView>,
    policy: DevicePolicy,
    rates: Mutex<VecDeque<f64>>,
    digest: tokio::sync::Mutex<Option<CachedDigest>>,
}

impl FleetWatch {
    pub(crate) fn new(fleet: Arc<FleetView>, policy: DevicePolicy) -> Arc<Self> {
        Arc::new(Self { fleet, policy, rates: Mutex::default(), digest: tokio::sync::Mutex::new(None) })
    }

    /// Samples the heartbeat rate every second until `shutdown`.
    pub(crate) async fn keep_rates(self: Arc<Self>, shutdown: CancellationToken) {
        let stats = self.fleet.stats();
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let rate = stats.borrow().heartbeats_per_second;
            let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
            if rates.len() == RATES_KEPT {
                rates.pop_front();
            }
            rates.push_back(rate);
        }
    }

    /// Heartbeats per second of the last seconds, oldest first.
    pub(crate) fn rates(&self) -> Vec<f64> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// The latest digest, renewed when it is too old.
    pub(crate) async fn digest(&self) -> Arc<Digest> {
        let mut kept = self.digest.lock().await;
        let revision = self.fleet.revision();
        if let Some(dated) = kept.as_ref()
            && (dated.revision == revision || dated.made.elapsed() < dated.good_for)
        {
            return Arc::clone(&dated.digest);
        }
        let (fleet, policy, began) = (Arc::clone(&self.fleet), self.policy, Instant::now());
        // Off the pages' threads, as a scan of a hundred thousand devices takes a while.
        let looked = tokio::task::spawn_blocking(move || scan(&fleet, policy)).await;
        let digest = Arc::new(looked.unwrap_or_default());
        let good_for = DIGEST_AGE.max(began.elapsed() * DIGEST_COST_RATIO);
        *kept = Some(CachedDigest { digest: Arc::clone(&digest), revision, made: Instant::now(), good_for });
        digest
    }
}

impl Digest {
    /// Every list.
    pub(crate) fn all(&self) -> [&Attention; 5] {
        [&self.app_down, &self.low_battery, &self.offline, &self.conflict, &self.ghosts]
    }
}

impl Attention {
    fn add(&mut self, view: &DeviceView) {
        self.total += 1;
        if self.top.len() < ATTENTION_TOP {
            self.top.push(view.clone());
        }
    }
}

fn scan(fleet: &FleetView, policy: DevicePolicy) -> Digest {
    let newest_first = Sort { key: SortKey::LastSeen, descending: true };
    let ids = fleet.order(&DeviceFilter::default(), newest_first);
    let mut digest = Digest::default();
    let mut low: Vec<DeviceView> = Vec::new();
    let exact = FilterKey::ALL.iter().filter_map(|key| match key.spec().kind {
        FilterKind::Exact { values } => Some((*key, values, Facet::default())),
        _ => None,
    });
    let mut facets: Vec<_> = exact.collect();
    for id in ids {
        let Some(view) = fleet.device(id) else { continue };
        for (_, values, facet) in &mut facets {
            values(&view).into_iter().for_each(|value| facet.count(value));
        }
        if view.conflict_at.is_some() {
            digest.conflict.add(&view);
        }
        match view.connectivity {
            Connectivity::Online => {
                if view.app_status == AppStatus::Down {
                    digest.app_down.add(&view);
                }
                if view.battery_pct().is_some_and(|pct| pct < policy.low_battery_pct) {
                    low.push(view);
                }
            }
            Connectivity::Offline => digest.offline.add(&view),
            Connectivity::NeverSeen if view.ghost => digest.ghosts.add(&view),
            Connectivity::NeverSeen => {}
        }
    }
    low.sort_by_key(|view| (view.battery_pct(), view.identity.id));
    low.iter().for_each(|view| digest.low_battery.add(view));
    digest.values = facets.into_iter().map(|(key, _, facet)| (key, facet.values())).collect();
    digest
}

/// Values in use with their counts.
#[derive(Default)]
struct Facet(BTreeMap<String, usize>);

impl Facet {
    fn count(&mut self, value: &str) {
        match self.0.get_mut(value) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(value.to_owned(), 1)),
        }
    }

    /// The most frequent values, by name.
    fn values(self) -> Vec<String> {
        let mut counted: Vec<_> = self.0.into_iter().collect();
        counted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counted.truncate(FACET_MAX);
        let mut values: Vec<_> = counted.into_iter().map(|(value, _)| value).collect();
        values.sort();
        values
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use domain::DeviceId;
    use domain::device::{DeviceIdentity, LastStatus};
    use domain::heartbeat::{Telemetry, Transport, WatchedApp};

    pub(crate) const POLICY: DevicePolicy = DevicePolicy {
        offline_after: chrono::TimeDelta::minutes(12),
        low_battery_pct: 15,
        app_stale_after_s: 600,
        ghost_after: chrono::TimeDelta::hours(24),
        events_per_hour: 60,
    };

    /// A fleet of `devices` that covers every state a page has to show.
    pub(crate) fn fleet(devices: u128) -> Arc<FleetView> {
        let fleet = FleetView::new(POLICY, clock::Clock::system());
        (1..=devices).for_each(|n| fleet.publish(view(n), domain::shard::Epoch(1)));
        fleet
    }

    /// Device `n`: every third one is offline, every seventh was never seen.
    pub(crate) fn view(n: u128) -> DeviceView {
        let now = clock::Clock::system().now();
        let seen = now - chrono::TimeDelta::seconds(i64::try_from(n).unwrap() * 7);
        let connectivity = match n {
            n if n.is_multiple_of(7) => Connectivity::NeverSeen,
            n if n.is_multiple_of(3) => Connectivity::Offline,
            _ => Connectivity::Online,
        };
        let mut telemetry = Telemetry {
            battery_pct: Some(i16::try_from(n * 13 % 101).unwrap()),
            charging: Some(n.is_multiple_of(2)),
            battery_temperature_c: Some(31.5),
            app_version: Some(format!("1.{}.0", n % 3)),
            model: Some("Orbic Joy 2".into()),
            transport: Some(if n.is_multiple_of(2) { Transport::Wifi } else { Transport::Cellular }),
            ssid: Some("shop".into()),
            ram_total_mb: Some(3891),
            ram_available_mb: Some(1210),
            ram_pressure_pct: Some(69),
            storage_free_mb: Some(5120),
            uptime_s: Some(86_400 + 3700),
            cpu_load_pct: Some(37),
            app_running: Some(!n.is_multiple_of(5)),
            apps: vec![WatchedApp {
                package: "io.example".into(),
                installed: Some(true),
                version_name: Some("3.2.1".into()),
                version_code: Some(321),
            }],
            ..Default::default()
        };
        if n.is_multiple_of(11) {
            telemetry.note_unusable("timestamp_utc", "", "not a time", seen);
            telemetry.note_unusable("battery.pct", -1, "outside 0..100", seen);
        }
        let last =
            LastStatus { bucket_at: seen, received_at: seen, device_time: Some(seen), clock_rejected: n.is_multiple_of(11), telemetry };
        let never = connectivity == Connectivity::NeverSeen;
        DeviceView {
            identity: Arc::new(DeviceIdentity {
                id: DeviceId(uuid::Uuid::from_u128(n)),
                alias: format!("kiosk-{n}"),
                tags: vec!["till".into(), "<b>".into()],
                groups: vec!["berlin".into()],
                hardware_id: Some("HW".into()),
                model: Some("Joy 2".into()),
                manufacturer: None,
                enrolled_at: now,
            }),
            channels: Default::default(),
            conflict_at: n.is_multiple_of(13).then_some(seen),
            ghost: never && n.is_multiple_of(2),
            open_alerts: Default::default(),
            app_status: if never { AppStatus::Unknown } else { POLICY.app_status(&last.telemetry, None) },
            last_seen_at: (!never).then_some(seen),
            last: (!never).then(|| Arc::new(last)),
            connectivity,
        }
    }

    #[tokio::test]
    async fn one_look_tells_what_needs_attention_and_what_can_be_filtered_by() {
        let watch = FleetWatch::new(fleet(100), POLICY);
        let digest = watch.digest().await;
        assert_eq!(digest.values[&FilterKey::Tag], ["<b>", "till"]);
        assert_eq!(digest.values[&FilterKey::AppVersion], ["1.0.0", "1.1.0", "1.2.0"]);
        assert_eq!(digest.low_battery.top.len(), ATTENTION_TOP);
        assert!(digest.low_battery.top.is_sorted_by_key(DeviceView::battery_pct));
        assert!(digest.app_down.top.iter().all(|view| view.app_status == AppStatus::Down));
        assert!(digest.offline.total > ATTENTION_TOP);
        assert!(Arc::ptr_eq(&digest, &watch.digest().await), "the fleet has not changed");
    }

    #[test]
    fn the_most_used_values_are_offered_in_order() {
        let mut facet = Facet::default();
        for n in 0..FACET_MAX + 10 {
            facet.count(&format!("{n:04}"));
        }
        facet.count("9999");
        facet.count("9999");
        let values = facet.values();
        assert_eq!(values.len(), FACET_MAX);
        assert_eq!(values.last().map(String::as_str), Some("9999"));
    }
}
