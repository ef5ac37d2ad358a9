//! Status of a device by its newest heartbeat and the configured thresholds.

use chrono::TimeDelta;

use super::MonitoredApp;
use crate::Timestamp;
use crate::heartbeat::Telemetry;

/// Connectivity of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Connectivity {
    /// Heartbeats within the offline limit.
    Online,
    /// Heartbeats before, but none within the limit.
    Offline,
    /// No heartbeat since enrollment.
    NeverSeen,
}

named!(pub Connectivity, parse -> Result);

impl Connectivity {
    /// Title on pages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Online => "Online",
            Self::Offline => "Offline",
            Self::NeverSeen => "Never seen",
        }
    }
}

/// State of the monitored app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AppStatus {
    /// Runs and was in the foreground lately.
    Up,
    /// Does not run, or was not in the foreground for too long.
    Down,
    /// Not reported by the device.
    Unknown,
}

named!(pub AppStatus, parse -> Result);

impl AppStatus {
    /// Title on pages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Up => "Up",
            Self::Down => "Down",
            Self::Unknown => "Unknown",
        }
    }
}

/// Thresholds of the status of a device; from configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DevicePolicy {
    /// Silence after which a device counts as offline.
    pub offline_after: TimeDelta,
    /// Charge below which a battery counts as low.
    pub low_battery_pct: i16,
    /// Seconds out of the foreground after which the monitored app counts as down.
    pub app_stale_after_s: i32,
    /// Time after its enrollment after which a device without a heartbeat counts as a ghost.
    pub ghost_after: TimeDelta,
    /// Most events an hour that a device causes by what it reports.
    pub events_per_hour: u32,
}

impl DevicePolicy {
    /// Connectivity at `now` of a device that was last seen at `last_seen_at`.
    pub fn connectivity(&self, last_seen_at: Option<Timestamp>, now: Timestamp) -> Connectivity {
        match last_seen_at {
            None => Connectivity::NeverSeen,
            Some(seen) if seen + self.offline_after > now => Connectivity::Online,
            Some(_) => Connectivity::Offline,
        }
    }

    /// Status of the monitored app by the last telemetry.
    pub fn app_status(&self, telemetry: &Telemetry, monitored: Option<&MonitoredApp>) -> AppStatus {
        let stale_after_s = monitored.and_then(|app| app.stale_after_s).unwrap_or(self.app_stale_after_s);
        let missing = |app: &MonitoredApp| telemetry.watched(&app.package).is_some_and(|watched| watched.installed == Some(false));
        match (telemetry.app_running, telemetry.foreground_recent_s) {
            _ if monitored.is_some_and(missing) => AppStatus::Down,
            (Some(false), _) => AppStatus::Down,
            (_, Some(recent_s)) if recent_s > stale_after_s => AppStatus::Down,
            (None, None) => AppStatus::Unknown,
            _ => AppStatus::Up,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::WatchedApp;

    const POLICY: DevicePolicy = DevicePolicy {
        offline_after: TimeDelta::minutes(12),
        low_battery_pct: 15,
        app_stale_after_s: 600,
        ghost_after: TimeDelta::hours(24),
        events_per_hour: 60,
    };

    #[test]
    fn the_monitored_app() {
        let reported = |app_running, foreground_recent_s| Telemetry { app_running, foreground_recent_s, ..Default::default() };
        for (running, recent_s, want) in [
            (Some(false), Some(1), AppStatus::Down),
            (Some(true), Some(601), AppStatus::Down),
            (Some(true), Some(600), AppStatus::Up),
            (Some(true), None, AppStatus::Up),
            (None, Some(5), AppStatus::Up),
            (None, None, AppStatus::Unknown),
        ] {
            assert_eq!(POLICY.app_status(&reported(running, recent_s), None), want, "{running:?} {recent_s:?}");
        }
        let app = |stale_after_s| MonitoredApp { package: "a.b".into(), stale_after_s };
        assert_eq!(POLICY.app_status(&reported(Some(true), Some(61)), Some(&app(Some(60)))), AppStatus::Down);
        assert_eq!(POLICY.app_status(&reported(Some(true), Some(61)), Some(&app(None))), AppStatus::Up);
        let installed = |installed| {
            let apps = vec![WatchedApp { package: "a.b".into(), installed, version_name: None, version_code: None }];
            Telemetry { apps, ..reported(Some(true), None) }
        };
        assert_eq!(POLICY.app_status(&installed(Some(false)), Some(&app(None))), AppStatus::Down);
        assert_eq!(POLICY.app_status(&installed(Some(true)), Some(&app(None))), AppStatus::Up);
        assert_eq!(POLICY.app_status(&installed(Some(false)), None), AppStatus::Up, "it is not the app that matters");
    }
}
