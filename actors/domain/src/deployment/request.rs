//! Requested options of a deployment; the defaults replace what is not given.

use super::options::{CanaryOptions, FailurePause, Options, RestartIntent, Retries};
use super::window::MaintenanceWindow;
use crate::Invalid;

/// Options that a request gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionsRequest {
    /// The canary.
    pub canary: CanaryRequest,
    /// See [`Options::rate_per_minute`].
    pub rate_per_minute: Option<u32>,
    /// See [`Options::concurrency`].
    pub concurrency: Option<u32>,
    /// See [`Options::wifi_only`].
    pub wifi_only: Option<bool>,
    /// See [`Options::min_battery_pct`].
    pub min_battery_pct: Option<u8>,
    /// See [`Options::charging_only`].
    pub charging_only: Option<bool>,
    /// See [`Options::min_storage_free_mb`].
    pub min_storage_free_mb: Option<u32>,
    /// See [`Options::heartbeat_max_age_s`].
    pub heartbeat_max_age_s: Option<u32>,
    /// See [`Options::doze_exempt_only`].
    pub doze_exempt_only: Option<bool>,
    /// See [`Options::window`].
    pub window: Option<MaintenanceWindow>,
    /// See [`Retries::max`].
    pub retries_max: Option<u32>,
    /// See [`Retries::backoff_s`].
    pub backoff_s: Option<u32>,
    /// See [`Options::restart_intent`].
    pub restart_intent: Option<RestartIntent>,
    /// See [`Options::rollback_allowed`].
    pub rollback_allowed: Option<bool>,
    /// See [`FailurePause::threshold_pct`].
    pub failure_threshold_pct: Option<u8>,
    /// See [`FailurePause::min_count`].
    pub failure_min_count: Option<u32>,
    /// See [`Options::deadline_h`].
    pub deadline_h: Option<u32>,
}

/// Canary that a request gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CanaryRequest {
    /// Number of devices; 0: no canary.
    pub size: Option<u32>,
    /// See [`CanaryOptions::success_threshold_pct`].
    pub success_threshold_pct: Option<u8>,
    /// See [`CanaryOptions::min_count`].
    pub min_count: Option<u32>,
    /// See [`CanaryOptions::timeout_minutes`].
    pub timeout_minutes: Option<u32>,
}

impl CanaryRequest {
    fn over(self, careful: CanaryOptions) -> Result<Option<CanaryOptions>, Invalid> {
        if self.size == Some(0) {
            if self.success_threshold_pct.is_some() || self.min_count.is_some() || self.timeout_minutes.is_some() {
                let problem = "given, but there is no canary: size is 0";
                return Err(Invalid::new("options.canary.success_threshold_pct", problem));
            }
            return Ok(None);
        }
        let size = self.size.unwrap_or(careful.size);
        Ok(Some(CanaryOptions {
            size,
            success_threshold_pct: self.success_threshold_pct.unwrap_or(careful.success_threshold_pct),
            min_count: self.min_count.unwrap_or(size),
            timeout_minutes: self.timeout_minutes.unwrap_or(careful.timeout_minutes),
        }))
    }
}

impl OptionsRequest {
    /// Options for so many devices; `fleet`: the target is the whole fleet.
    ///
    /// # Errors
    /// Names the option that is out of its limits, or contradicts another.
    pub fn over(self, devices: usize, fleet: bool) -> Result<Options, Invalid> {
        let careful = Options::careful(devices);
        let canary = self.canary.over(CanaryOptions::careful(devices))?;
        Options {
            canary,
            rate_per_minute: self.rate_per_minute.unwrap_or(careful.rate_per_minute),
            concurrency: self.concurrency.unwrap_or(careful.concurrency),
            wifi_only: self.wifi_only.unwrap_or(careful.wifi_only),
            min_battery_pct: self.min_battery_pct.unwrap_or(careful.min_battery_pct),
            charging_only: self.charging_only.unwrap_or(careful.charging_only),
            min_storage_free_mb: self.min_storage_free_mb.unwrap_or(careful.min_storage_free_mb),
            heartbeat_max_age_s: self.heartbeat_max_age_s.unwrap_or(careful.heartbeat_max_age_s),
            doze_exempt_only: self.doze_exempt_only.unwrap_or(careful.doze_exempt_only),
            window: self.window,
            retries: Retries {
                max: self.retries_max.unwrap_or(careful.retries.max),
                backoff_s: self.backoff_s.unwrap_or(careful.retries.backoff_s),
            },
            restart_intent: self.restart_intent,
            rollback_allowed: self.rollback_allowed.unwrap_or(careful.rollback_allowed),
            failure_pause: FailurePause {
                threshold_pct: self.failure_threshold_pct.unwrap_or(careful.failure_pause.threshold_pct),
                min_count: self.failure_min_count.unwrap_or(careful.failure_pause.min_count),
            },
            deadline_h: self.deadline_h.unwrap_or(careful.deadline_h),
        }
        .checked(devices, fleet)
    }
}

impl From<Options> for OptionsRequest {
    /// The same options for other targets, with a new canary.
    fn from(options: Options) -> Self {
        let canary = match options.canary {
            None => CanaryRequest { size: Some(0), ..CanaryRequest::default() },
            Some(canary) => CanaryRequest { success_threshold_pct: Some(canary.success_threshold_pct), ..CanaryRequest::default() },
        };
        Self {
            canary,
            rate_per_minute: Some(options.rate_per_minute),
            concurrency: Some(options.concurrency),
            wifi_only: Some(options.wifi_only),
            min_battery_pct: Some(options.min_battery_pct),
            charging_only: Some(options.charging_only),
            min_storage_free_mb: Some(options.min_storage_free_mb),
            heartbeat_max_age_s: Some(options.heartbeat_max_age_s),
            doze_exempt_only: Some(options.doze_exempt_only),
            window: options.window,
            retries_max: Some(options.retries.max),
            backoff_s: Some(options.retries.backoff_s),
            restart_intent: options.restart_intent,
            rollback_allowed: Some(options.rollback_allowed),
            failure_threshold_pct: Some(options.failure_pause.threshold_pct),
            failure_min_count: Some(options.failure_pause.min_count),
            deadline_h: Some(options.deadline_h),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_is_careful() {
        assert_eq!(OptionsRequest::default().over(500, true), Ok(Options::careful(500)));
        let asked = OptionsRequest {
            canary: CanaryRequest { size: Some(3), ..CanaryRequest::default() },
            rate_per_minute: Some(0),
            ..OptionsRequest::default()
        };
        let options = asked.over(500, true).unwrap();
        assert_eq!(options.canary.map(|canary| (canary.size, canary.min_count, canary.success_threshold_pct)), Some((3, 3, 90)));
        assert_eq!((options.rate_per_minute, options.concurrency), (0, 3));
        assert_eq!(OptionsRequest::from(options.clone()).over(500, true).unwrap().rate_per_minute, 0);
    }

    #[test]
    fn a_threshold_takes_a_canary() {
        let canary = CanaryRequest { size: Some(0), success_threshold_pct: Some(90), ..CanaryRequest::default() };
        let refused = OptionsRequest { canary, ..OptionsRequest::default() }.over(10, false).unwrap_err();
        assert_eq!(refused.field, "options.canary.success_threshold_pct");
        let none = CanaryRequest { size: Some(0), ..CanaryRequest::default() };
        assert_eq!(OptionsRequest { canary: none, ..OptionsRequest::default() }.over(10, false).unwrap().canary, None);
        assert!(OptionsRequest { canary: none, ..OptionsRequest::default() }.over(10, true).is_err());
    }
}
