//! Options of a deployment, their limits and their conservative defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::window::MaintenanceWindow;
use crate::Invalid;
use crate::backoff::Backoff;
use crate::invalid::in_range;
use crate::text::bounded;

/// Largest default size of a canary.
pub const CANARY_DEFAULT_MAX: u32 = 5;
/// Highest concurrency limit.
const CONCURRENCY_MAX: u32 = 100_000;
/// Highest rate limit, starts per minute.
const RATE_MAX: u32 = 1_000_000;
/// Most retries of one device.
const RETRIES_MAX: u32 = 20;
/// Longest delay before a retry, s.
const BACKOFF_MAX_S: u32 = 86_400;
/// Latest deadline of a deployment, h.
const DEADLINE_MAX_H: u32 = 24 * 90;
/// Longest evaluation timeout of a canary, minutes.
const CANARY_TIMEOUT_MAX: u32 = 60 * 24 * 30;
/// Longest action of an intent, and longest name or value of an extra, in characters.
const INTENT_MAX_CHARS: usize = 200;
/// Most extras of an intent.
const EXTRAS_MAX: usize = 20;

/// Options of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Canary; `None`: all devices may start at once.
    pub canary: Option<CanaryOptions>,
    /// Most installations that start within any minute; 0: no limit.
    pub rate_per_minute: u32,
    /// Most devices at a time.
    pub concurrency: u32,
    /// Only over Wi-Fi or a cable, and not over a metered network.
    pub wifi_only: bool,
    /// Minimum battery level, percent.
    pub min_battery_pct: u8,
    /// Only while charging.
    pub charging_only: bool,
    /// Minimum free storage, MiB.
    pub min_storage_free_mb: u32,
    /// Only devices whose last heartbeat is at most this old, s.
    pub heartbeat_max_age_s: u32,
    /// Only devices whose agent is exempt from Doze.
    pub doze_exempt_only: bool,
    /// Maintenance window.
    pub window: Option<MaintenanceWindow>,
    /// Retries.
    pub retries: Retries,
    /// Intent that is sent to the app after the installation.
    pub restart_intent: Option<RestartIntent>,
    /// Whether a rollback is allowed.
    pub rollback_allowed: bool,
    /// Failure rate at which the deployment pauses after the canary.
    pub failure_pause: FailurePause,
    /// Deadline, h: tasks that have not started by then are skipped.
    pub deadline_h: u32,
}

/// Options of the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryOptions {
    /// Number of devices.
    pub size: u32,
    /// Success threshold: share of the completed devices that must have succeeded, percent.
    pub success_threshold_pct: u8,
    /// Minimum of completed devices; skipped ones do not count.
    pub min_count: u32,
    /// Evaluation timeout, not counting pauses, minutes.
    pub timeout_minutes: u32,
}

/// Retries on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// Maximum.
    pub max: u32,
    /// Delay before the first retry, s; it doubles with each, up to an hour or this, whichever is more.
    pub backoff_s: u32,
}

/// Failure rate that pauses a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailurePause {
    /// Failure rate, percent.
    pub threshold_pct: u8,
    /// Minimum of completed devices.
    pub min_count: u32,
}

/// Intent that is sent to an app after the installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartIntent {
    /// The intent's action.
    pub action: String,
    /// Extras of the intent.
    pub extras: BTreeMap<String, String>,
}

impl Options {
    /// The defaults for so many devices.
    pub fn careful(devices: usize) -> Self {
        Self {
            canary: Some(CanaryOptions::careful(devices)),
            rate_per_minute: 10,
            concurrency: 3,
            wifi_only: true,
            min_battery_pct: 40,
            charging_only: false,
            min_storage_free_mb: 0,
            heartbeat_max_age_s: 900,
            doze_exempt_only: false,
            window: None,
            retries: Retries { max: 2, backoff_s: 60 },
            restart_intent: None,
            rollback_allowed: true,
            failure_pause: FailurePause { threshold_pct: 20, min_count: 5 },
            deadline_h: 24 * 7,
        }
    }

    /// Checks every value against its limits and against the others, for a set of `devices`; `fleet`: that is everybody.
    ///
    /// # Errors
    /// Names the option.
    pub fn checked(self, devices: usize, fleet: bool) -> Result<Self, Invalid> {
        match self.canary {
            None if fleet => {
                return Err(Invalid::new("options.canary.size", "0: a deployment to all devices requires a canary of at least one device"));
            }
            None => {}
            Some(canary) => canary.check(devices)?,
        }
        in_range("options.rate_per_minute", self.rate_per_minute, 0, RATE_MAX)?;
        in_range("options.concurrency", self.concurrency, 1, CONCURRENCY_MAX)?;
        in_range("options.min_battery_pct", self.min_battery_pct, 0, 100)?;
        in_range("options.heartbeat_max_age_seconds", self.heartbeat_max_age_s, 30, 86_400)?;
        in_range("options.retries.max", self.retries.max, 0, RETRIES_MAX)?;
        in_range("options.retries.backoff_seconds", self.retries.backoff_s, 1, BACKOFF_MAX_S)?;
        in_range("options.failure_pause.threshold_pct", self.failure_pause.threshold_pct, 0, 100)?;
        in_range("options.failure_pause.min_count", self.failure_pause.min_count, 1, 100_000)?;
        in_range("options.deadline_hours", self.deadline_h, 1, DEADLINE_MAX_H)?;
        if let Some(intent) = &self.restart_intent {
            intent.check()?;
        }
        Ok(self)
    }

    /// Tries that one device gets in all.
    pub fn attempts_max(&self) -> u32 {
        self.retries.max + 1
    }

    /// How long to wait after this many tries, s.
    pub fn backoff_s(&self, attempts: u32) -> u32 {
        const AN_HOUR_S: u32 = 3600;
        let first_s = self.retries.backoff_s;
        let [first, max] = [first_s, AN_HOUR_S.max(first_s)].map(|seconds| Duration::from_secs(seconds.into()));
        // Not above the largest of the two, which is a `u32`.
        Backoff { first, max }.wait(attempts.max(1)).as_secs() as u32
    }
}

impl CanaryOptions {
    /// A twentieth of the devices, at least one and at most five.
    pub fn careful(devices: usize) -> Self {
        let size = (devices.div_ceil(20) as u32).clamp(1, CANARY_DEFAULT_MAX);
        Self { size, success_threshold_pct: 90, min_count: size, timeout_minutes: 60 }
    }

    fn check(self, devices: usize) -> Result<(), Invalid> {
        let most = u32::try_from(devices).unwrap_or(u32::MAX);
        if self.size > most {
            return Err(Invalid::new("options.canary.size", format!("{} is more than the {devices} devices of the target", self.size)));
        }
        in_range("options.canary.size", self.size, 1, most)?;
        in_range("options.canary.success_threshold_pct", self.success_threshold_pct, 1, 100)?;
        if self.min_count > self.size {
            let problem = format!("{} is more than the {} devices of the canary", self.min_count, self.size);
            return Err(Invalid::new("options.canary.min_count", problem));
        }
        in_range("options.canary.min_count", self.min_count, 1, self.size)?;
        in_range("options.canary.timeout_minutes", self.timeout_minutes, 1, CANARY_TIMEOUT_MAX)?;
        Ok(())
    }
}

impl RestartIntent {
    fn check(&self) -> Result<(), Invalid> {
        bounded("options.restart_intent.action", &self.action, INTENT_MAX_CHARS)?;
        if self.action.is_empty() {
            return Err(Invalid::new("options.restart_intent.action", "empty"));
        }
        if self.extras.len() > EXTRAS_MAX {
            return Err(Invalid::new("options.restart_intent.extras", format!("more than {EXTRAS_MAX}")));
        }
        for (name, value) in &self.extras {
            bounded("options.restart_intent.extras", name, INTENT_MAX_CHARS)?;
            bounded("options.restart_intent.extras", value, INTENT_MAX_CHARS)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(devices: usize, fleet: bool, change: impl FnOnce(&mut Options)) -> Option<String> {
        let mut options = Options::careful(devices);
        change(&mut options);
        options.checked(devices, fleet).err().map(|invalid| invalid.field)
    }

    #[test]
    fn the_defaults_are_careful_and_always_valid() {
        for devices in [1, 2, 19, 20, 21, 100, 101, 10_000] {
            let options = Options::careful(devices);
            assert!(options.clone().checked(devices, true).is_ok(), "{devices}");
            let canary = options.canary.unwrap();
            assert!(canary.size >= 1 && canary.size <= CANARY_DEFAULT_MAX && canary.min_count == canary.size);
        }
        let options = Options::careful(500);
        assert_eq!((options.rate_per_minute, options.concurrency, options.wifi_only, options.min_battery_pct), (10, 3, true, 40));
        assert_eq!(options.canary.map(|canary| (canary.size, canary.success_threshold_pct)), Some((5, 90)));
    }

    #[test]
    fn what_is_out_of_range_or_contradicts_is_refused_by_name() {
        let canary = |change: fn(&mut CanaryOptions)| move |options: &mut Options| change(options.canary.as_mut().unwrap());
        let table: [(&str, Option<String>); 16] = [
            ("options.canary.size", refused(10, true, |options| options.canary = None)),
            ("options.canary.size", refused(10, false, canary(|canary| canary.size = 11))),
            ("options.canary.size", refused(10, false, canary(|canary| canary.size = 0))),
            ("options.canary.min_count", refused(100, false, canary(|canary| canary.min_count = canary.size + 1))),
            ("options.canary.min_count", refused(100, false, canary(|canary| canary.min_count = 0))),
            ("options.canary.success_threshold_pct", refused(100, false, canary(|canary| canary.success_threshold_pct = 0))),
            ("options.canary.success_threshold_pct", refused(100, false, canary(|canary| canary.success_threshold_pct = 101))),
            ("options.canary.timeout_minutes", refused(100, false, canary(|canary| canary.timeout_minutes = 0))),
            ("options.concurrency", refused(10, false, |options| options.concurrency = 0)),
            ("options.rate_per_minute", refused(10, false, |options| options.rate_per_minute = RATE_MAX + 1)),
            ("options.min_battery_pct", refused(10, false, |options| options.min_battery_pct = 101)),
            ("options.heartbeat_max_age_seconds", refused(10, false, |options| options.heartbeat_max_age_s = 29)),
            ("options.retries.max", refused(10, false, |options| options.retries.max = 21)),
            ("options.retries.backoff_seconds", refused(10, false, |options| options.retries.backoff_s = 0)),
            ("options.failure_pause.min_count", refused(10, false, |options| options.failure_pause.min_count = 0)),
            ("options.deadline_hours", refused(10, false, |options| options.deadline_h = 0)),
        ];
        for (field, refusal) in table {
            assert_eq!(refusal.as_deref(), Some(field));
        }
        assert_eq!(refused(10, false, |options| options.canary = None), None, "chosen devices need no canary");
    }

    #[test]
    fn tries_come_ever_more_slowly() {
        let mut options = Options::careful(10);
        let waits: Vec<_> = (1..=9).map(|attempts| options.backoff_s(attempts)).collect();
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
        options.retries.backoff_s = 7200;
        assert_eq!((options.backoff_s(1), options.backoff_s(20)), (7200, 7200));
    }
}
