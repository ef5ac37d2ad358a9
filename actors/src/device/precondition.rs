//! The preconditions of an installation, checked by the owner of the device against its newest state.
//!
//! The deployment has checked them before, and the device checks them once more; in between it may have left its Wi-Fi.

use domain::Timestamp;
use domain::deployment::{DeviceSnapshot, MaintenanceWindow, Options, Reason, ineligibility};
use domain::device::LastStatus;
use serde::Deserialize;

/// The preconditions of a `deploy_apk`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Precondition {
    options: Options,
}

#[derive(Deserialize)]
struct Params {
    constraints: Constraints,
}

#[derive(Deserialize)]
struct Constraints {
    wifi_only: bool,
    min_battery: u8,
    charging_only: bool,
    window: Option<Window>,
}

#[derive(Deserialize)]
struct Window {
    start: String,
    end: String,
    tz: String,
}

impl Precondition {
    /// The preconditions of a command; `None`: it has none.
    pub(super) fn of(action: &str, params: &str) -> Option<Self> {
        if action != "deploy_apk" {
            return None;
        }
        let Params { constraints } = serde_json::from_str(params).ok()?;
        let window = constraints.window.and_then(|window| MaintenanceWindow::parse(&window.start, &window.end, &window.tz).ok());
        let options = Options {
            wifi_only: constraints.wifi_only,
            min_battery_pct: constraints.min_battery,
            charging_only: constraints.charging_only,
            window,
            // How old the heartbeat may be was judged where the deployment is driven.
            heartbeat_max_age_s: u32::MAX,
            ..Options::conservative(1)
        };
        Some(Self { options })
    }

    /// Reason for not sending the command now; `None`: it is sent.
    pub(super) fn unmet(&self, last: Option<&LastStatus>, now: Timestamp) -> Option<Reason> {
        if self.options.window.as_ref().is_some_and(|window| !window.is_open(now)) {
            return Some(domain::deployment::ErrorCode::OutsideWindow.into());
        }
        let last = last?;
        ineligibility(&self.options, &DeviceSnapshot::of(last, "", last.received_at, true), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::heartbeat::{Telemetry, Transport};

    #[test]
    fn a_device_that_left_its_wifi_is_not_told() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let reported = |transport| LastStatus {
            bucket_at: now,
            received_at: now,
            device_time: None,
            clock_rejected: false,
            telemetry: Telemetry { transport: Some(transport), battery_pct: Some(50), ..Telemetry::default() },
        };
        let params = r#"{"constraints":{"wifi_only":true,"min_battery":40,"charging_only":false,"window":null}}"#;
        let precondition = Precondition::of("deploy_apk", params).unwrap();
        assert_eq!(precondition.unmet(Some(&reported(Transport::Wifi)), now), None);
        assert_eq!(precondition.unmet(Some(&reported(Transport::Cellular)), now).map(Reason::as_str), Some("no_wifi"));
        let night = params.replace("null", r#"{"start":"22:00","end":"05:00","tz":"UTC"}"#);
        let precondition = Precondition::of("deploy_apk", &night).unwrap();
        assert_eq!(precondition.unmet(Some(&reported(Transport::Wifi)), now).map(Reason::as_str), Some("outside_window"));
        assert_eq!(Precondition::of("ping", "{}"), None);
    }
}
