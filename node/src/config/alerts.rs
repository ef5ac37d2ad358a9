//! `[alerts]`: the configured thresholds, and when people are notified.

use actors::settings::{AlertSettings, CertificateExpiry};
use chrono::TimeDelta;
use domain::Invalid;
use domain::alert::{Rule, RuleSetting, ThresholdScope};
use domain::notification::NotificationSettings;

use super::{Alerts, Config};

impl Alerts {
    fn notification(&self) -> NotificationSettings {
        NotificationSettings {
            group_wait: TimeDelta::seconds(self.group_wait_seconds),
            group_interval: TimeDelta::seconds(self.group_interval_seconds),
            cooldown: TimeDelta::seconds(self.cooldown_seconds),
            escalate_after: TimeDelta::seconds(self.escalate_after_seconds),
            flap_limit: self.flap_limit,
            per_minute_max: self.per_minute_max,
            inhibition_tail: TimeDelta::seconds(self.inhibition_tail_seconds),
        }
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        let own_section = |invalid: Invalid| Invalid::new(format!("alerts.{}", invalid.field), invalid.problem);
        self.notification().checked().map(drop).map_err(own_section)
    }
}

impl Config {
    /// Silence after which a device counts as offline, s; by the key of earlier versions, if that is set.
    pub(super) fn offline_after_seconds(&self) -> i64 {
        self.device.offline_after_seconds.unwrap_or(self.alerts.offline_after_seconds)
    }

    /// Charge below which a battery counts as low, percent; by the key of earlier versions, if that is set.
    pub(super) fn low_battery_pct(&self) -> i16 {
        self.device.low_battery_pct.unwrap_or(self.alerts.low_battery_pct)
    }

    pub(super) fn check_thresholds(&self) -> Result<(), Invalid> {
        use domain::invalid::in_range;
        in_range("device.offline_after_seconds", self.offline_after_seconds(), 1, 31_536_000)?;
        in_range("device.low_battery_pct", self.low_battery_pct(), 0, 100)?;
        in_range("alerts.low_battery_clear_pct", self.alerts.low_battery_clear_pct, self.low_battery_pct(), 100).map(drop)
    }

    pub(super) fn alert_settings(&self) -> AlertSettings {
        let alerts = &self.alerts;
        let setting = |rule, values: &[(&str, i64)]| RuleSetting {
            rule,
            scope: ThresholdScope::Default,
            enabled: None,
            severity: None,
            values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        };
        AlertSettings {
            notification: alerts.notification(),
            defaults: vec![
                setting(Rule::DeviceOffline, &[("offline_after_seconds", self.offline_after_seconds())]),
                setting(
                    Rule::LowBattery,
                    &[("raise_below_pct", self.low_battery_pct().into()), ("clear_at_pct", alerts.low_battery_clear_pct.into())],
                ),
                setting(Rule::AppDown, &[("heartbeats", alerts.app_down_heartbeats)]),
            ],
            settle: TimeDelta::seconds(i64::from(self.heartbeat.interval_seconds) + alerts.grace_seconds),
            data_dir: Some(self.data_dir.clone()),
            certificates: CertificateExpiry::default(),
            open_commands_max: self.commands.open_per_device_max,
            kept: TimeDelta::days(alerts.kept_days),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;

    #[test]
    fn the_keys_of_earlier_versions_are_taken() {
        let config = parse(&[]).unwrap();
        assert_eq!((config.offline_after_seconds(), config.low_battery_pct()), (720, 15));
        let config = parse(&[("NEXMDM__ALERTS__OFFLINE_AFTER_SECONDS", "60")]).unwrap();
        assert_eq!(config.settings().runtime.device.offline_after.num_seconds(), 60);
        let old = [("NEXMDM__DEVICE__OFFLINE_AFTER_SECONDS", "90"), ("NEXMDM__DEVICE__LOW_BATTERY_PCT", "18")];
        let settings = parse(&old).unwrap().settings().runtime;
        assert_eq!((settings.device.offline_after.num_seconds(), settings.device.low_battery_pct), (90, 18));
        assert_eq!(settings.alerts.defaults[0].values, [("offline_after_seconds".to_owned(), 90)], "alerts mean the same");
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (variable, value, wanted) in [
            ("NEXMDM__ALERTS__LOW_BATTERY_CLEAR_PCT", "14", "alerts.low_battery_clear_pct"),
            ("NEXMDM__DEVICE__LOW_BATTERY_PCT", "101", "device.low_battery_pct"),
            ("NEXMDM__ALERTS__COOLDOWN_SECONDS", "86401", "alerts.cooldown_seconds"),
            ("NEXMDM__ALERTS__FLAP_LIMIT", "20", "alerts.flap_limit"),
            ("NEXMDM__ALERTS__APP_DOWN_HEARTBEATS", "0", "alerts.app_down_heartbeats"),
        ] {
            let error = parse(&[(variable, value)]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{variable}={value}: {error}");
        }
    }
}
