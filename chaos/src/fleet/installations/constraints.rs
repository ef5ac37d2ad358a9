//! Check of the install constraints against the state of a device.

use chrono::{DateTime, Utc};

use super::params::DeployParams;
use crate::model::{State, Transport};

const MIB: f64 = (1_u64 << 20) as f64;

/// State of a device that constraints refer to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::fleet) struct Condition {
    /// 0..100.
    battery_pct: f64,
    charging: bool,
    transport: Transport,
    metered: bool,
    /// MiB.
    storage_free_mb: f64,
    in_call: bool,
}

impl Condition {
    pub(super) fn of(state: &State) -> Self {
        Self {
            // Rounded as in the heartbeat, so that server and device decide on the same number.
            battery_pct: state.battery_pct.round(),
            charging: state.charging,
            transport: state.transport,
            metered: state.transport == Transport::Cellular,
            storage_free_mb: state.storage_free_mb,
            in_call: state.in_call,
        }
    }

    /// Error code of the first constraint that does not hold.
    pub(super) fn obstacle(&self, params: &DeployParams, now: DateTime<Utc>) -> Option<&'static str> {
        let wanted = &params.constraints;
        // Space for the download and for the installed app.
        let needed_mb = wanted.min_storage_free_mb.unwrap_or(0.0) + 2.0 * params.apk.size as f64 / MIB;
        match () {
            () if wanted.window.as_ref().is_some_and(|window| !window.is_open(now)) => Some("outside_window"),
            () if wanted.wifi_only && self.transport != Transport::Wifi => Some("no_wifi"),
            () if wanted.wifi_only && self.metered => Some("metered"),
            () if wanted.charging_only && !self.charging => Some("not_charging"),
            () if wanted.min_battery.is_some_and(|least| self.battery_pct < least) => Some("low_battery"),
            () if self.storage_free_mb < needed_mb => Some("low_storage"),
            () if self.in_call => Some("in_call"),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(constraints: &str) -> DeployParams {
        let text = format!(
            r#"{{"deployment_id":"d","apk":{{"package":"p","version_code":1,"version_name":"1","url":"u","sha256":"s","size":10485760}},
                "constraints":{constraints}}}"#
        );
        DeployParams::parse(&text).unwrap()
    }

    #[test]
    fn each_constraint_blocks_by_itself() {
        let good = Condition {
            battery_pct: 50.0,
            charging: true,
            transport: Transport::Wifi,
            metered: false,
            storage_free_mb: 120.0,
            in_call: false,
        };
        let all = r#"{"wifi_only":true,"min_battery":50,"charging_only":true,"min_storage_free_mb":100,
            "window":{"start":"22:00","end":"05:00","tz":"UTC"}}"#;
        let (night, noon): (DateTime<Utc>, DateTime<Utc>) =
            ("2026-11-21T23:00:00Z".parse().unwrap(), "2026-11-21T12:00:00Z".parse().unwrap());
        assert_eq!(good.obstacle(&params(all), night), None);
        assert_eq!(good.obstacle(&params(all), noon), Some("outside_window"));
        for (condition, code) in [
            (Condition { battery_pct: 49.0, ..good }, "low_battery"),
            (Condition { charging: false, ..good }, "not_charging"),
            (Condition { transport: Transport::Cellular, metered: true, ..good }, "no_wifi"),
            (Condition { metered: true, ..good }, "metered"),
            (Condition { storage_free_mb: 119.0, ..good }, "low_storage"),
            (Condition { in_call: true, ..good }, "in_call"),
        ] {
            assert_eq!(condition.obstacle(&params(all), night), Some(code));
        }
        let poor = Condition { battery_pct: 1.0, charging: false, transport: Transport::Cellular, metered: true, ..good };
        assert_eq!(poor.obstacle(&params("{}"), noon), None, "nothing was asked for");
        assert_eq!(Condition { storage_free_mb: 19.0, ..good }.obstacle(&params("{}"), noon), Some("low_storage"), "it does not fit");
    }
}
