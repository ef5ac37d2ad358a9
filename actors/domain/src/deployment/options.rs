//! Options of a deployment: each is declared once, with its type, default, limits and words.
//!
//! A declaration makes the field of [`Options`] (or of one of its groups), its default, and an [`OptionSpec`], from which the API, its
//! description, the form, `nexmdm ctl` and the details page are made. The options that consist of several values (canary, window, restart
//! intent) are put together in [`OptionsRequest::over`](super::OptionsRequest::over).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::option_spec::{OptionGroup, OptionSpec, OptionType, flag, option_specs, options};
use super::window::{MaintenanceWindow, time_text};
use crate::Invalid;
use crate::backoff::Backoff;
use crate::invalid::in_range;
use crate::param::{ParamKind, ParamSpec, ParamValue};

/// Largest default size of a canary.
pub const CANARY_DEFAULT_MAX: u32 = 5;
/// Size of a canary that is no canary.
pub(super) const CANARY_SIZE: &str = "canary.size";
/// Begin and end of a window that is one period.
pub(super) const WINDOW_FROM: &str = "window.from";
pub(super) const WINDOW_UNTIL: &str = "window.until";
/// Largest number that the API takes where an option has no limit of its own.
const NUMBER_MAX: i64 = u32::MAX as i64;
/// Latest deadline of a deployment, h.
const DEADLINE_MAX_H: i64 = 24 * 90;
/// Longest evaluation timeout of a canary, minutes.
const CANARY_TIMEOUT_MAX: i64 = 60 * 24 * 30;
/// Longest action of an intent, and longest name or value of an extra, in characters.
const INTENT_MAX_CHARS: usize = 200;
/// Most extras of an intent.
const EXTRAS_MAX: usize = 20;

options! {
    /// Options of a deployment.
    Options from |options| Some(options), Some(options);
    rate_per_minute: u32 = 10, "rate_per_minute", Rate, "Max installs/min",
        ParamSpec::integer(0, 1_000_000).zero("no limit"), flag("rate", "Max installs per minute; 0: no limit");
    concurrency: u32 = 3, "concurrency", Rate, "Max concurrent",
        ParamSpec::integer(1, 100_000).hint("devices installing at the same time"), flag("concurrency", "Max concurrent installs");
    wifi_only: bool = true, "wifi_only", Requirements, "Wi-Fi or Ethernet",
        ParamSpec::new(ParamKind::Flag).hint("unmetered networks only"), flag("any-network", "Allow any network, not only Wi-Fi");
    charging_only: bool = false, "charging_only", Requirements, "Charging",
        ParamSpec::new(ParamKind::Flag), flag("charging-only", "Only charging devices");
    doze_exempt_only: bool = false, "doze_exempt_only", Requirements, "Exempt from Doze",
        ParamSpec::new(ParamKind::Flag).hint("battery optimization is off for the agent"), None;
    min_battery_pct: u8 = 40, "min_battery_pct", Requirements, "Minimum battery",
        ParamSpec::integer(0, 100).unit("%").zero("any"), flag("min-battery", "Minimum battery, %");
    min_storage_free_mb: u32 = 0, "min_storage_free_mb", Requirements, "Minimum free storage",
        ParamSpec::integer(0, NUMBER_MAX).unit("MB").zero("any").hint("0: any"), None;
    heartbeat_max_age_s: u32 = 900, "heartbeat_max_age_seconds", Requirements, "Max heartbeat age",
        ParamSpec::integer(30, 86_400).unit("s"), None;
    on_unmet: OnUnmet = OnUnmet::Wait, "on_unmet", Requirements, "Unmet requirements",
        ParamSpec::new(ParamKind::Choice(&[("wait", "Wait until the deadline"), ("skip", "Skip the device at once")]))
            .hint("of a device whose turn it is; one that is offline is waited for"),
        flag("on-unmet", "Device that does not meet the requirements: wait, or skip it at once");
    deadline_h: u32 = 24 * 7, "deadline_hours", Schedule, "Deadline",
        ParamSpec::integer(1, DEADLINE_MAX_H).unit("h").hint("remaining devices are skipped then"), None;
    rollback_allowed: bool = true, "rollback_allowed", AfterInstall, "Allow rollback",
        ParamSpec::new(ParamKind::Flag).hint("requires an uploaded rollback build of the previous version"), None;
    @parts {
        /// Canary; `None`: all devices may start at once.
        canary: Option<CanaryOptions> = None,
        /// Maintenance window.
        window: Option<MaintenanceWindow> = None,
        /// Retries.
        retries: Retries = Retries::DEFAULT,
        /// Intent that is sent to the app after the installation.
        restart_intent: Option<RestartIntent> = None,
        /// Failure rate at which the deployment pauses after the canary.
        failure_pause: FailurePause = FailurePause::DEFAULT,
    }
}

options! {
    /// Options of the canary.
    #[derive(Copy)]
    CanaryOptions from |options| options.canary.as_ref(), options.canary.as_mut();
    size: u32 = 1, "canary.size", Canary, "Canary size",
        ParamSpec::integer(0, NUMBER_MAX).zero("no canary").hint("empty: 5 % of the target, at least 1 and at most 5"),
        flag("canary", "Canary size; 0: no canary");
    success_threshold_pct: u8 = 90, "canary.success_threshold_pct", Canary, "Success threshold",
        ParamSpec::integer(1, 100).unit("%").hint("of the completed canary devices"), flag("threshold", "Success threshold of the canary, %");
    min_count: u32 = 1, "canary.min_count", Canary, "Minimum completed canary devices",
        ParamSpec::integer(1, NUMBER_MAX).hint("empty: all").example("all"), None;
    timeout_minutes: u32 = 60, "canary.timeout_minutes", Canary, "Evaluation timeout",
        ParamSpec::integer(1, CANARY_TIMEOUT_MAX).unit("min").hint("then the canary is evaluated, or the deployment pauses"), None;
}

options! {
    /// Failure rate that pauses a deployment.
    #[derive(Copy)]
    FailurePause from |options| Some(&options.failure_pause), Some(&mut options.failure_pause);
    threshold_pct: u8 = 20, "failure_pause.threshold_pct", Rate, "Auto-pause at failure rate",
        ParamSpec::integer(0, 100).unit("%").hint("pauses the rollout when exceeded"), None;
    min_count: u32 = 5, "failure_pause.min_count", Rate, "Minimum completed",
        ParamSpec::integer(1, 100_000).hint("before the failure rate is evaluated"), None;
}

options! {
    /// Retries on one device.
    #[derive(Copy)]
    Retries from |options| Some(&options.retries), Some(&mut options.retries);
    max: u32 = 2, "retries.max", Rate, "Retries", ParamSpec::integer(0, 20).hint("per device, 0 to 20"), None;
    // Doubles with each retry, up to an hour or this, whichever is more.
    backoff_s: u32 = 60, "retries.backoff_seconds", Rate, "Retry delay",
        ParamSpec::integer(1, 86_400).unit("s").hint("doubles with each retry"), None;
}

/// Rule for devices that do not meet the requirements when it is their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum OnUnmet {
    /// The task waits, until the deadline at most.
    Wait,
    /// The task is skipped.
    Skip,
}

named!(pub OnUnmet, parse -> Option);

/// Intent that is sent to an app after the installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartIntent {
    /// The intent's action.
    pub action: String,
    /// Extras of the intent.
    pub extras: BTreeMap<String, String>,
}

/// Part of an option that consists of several values; the request sets them together.
const fn part(
    name: &'static str,
    field: &'static str,
    group: OptionGroup,
    label: &'static str,
    param: ParamSpec,
    get: fn(&Options) -> Option<ParamValue>,
) -> OptionSpec {
    OptionSpec { param: ParamSpec { name, field, label, ..param.optional() }, group, flag: None, get, set: |_, _| {} }
}

/// Times and zones are judged by [`MaintenanceWindow::parse`].
const WINDOW_TEXT: ParamSpec = ParamSpec::new(ParamKind::Text { min_chars: 0, max_chars: 64 });

pub(super) static WINDOW: &[OptionSpec] = &[
    part(
        "window.start",
        "options.window.start",
        OptionGroup::Schedule,
        "Window start",
        WINDOW_TEXT.hint("HH:MM").example("22:00"),
        |options| Some(ParamValue::Text(options.window.as_ref()?.daily()?.start())),
    ),
    part("window.end", "options.window.end", OptionGroup::Schedule, "Window end", WINDOW_TEXT.hint("HH:MM").example("05:00"), |options| {
        Some(ParamValue::Text(options.window.as_ref()?.daily()?.end()))
    }),
    part(
        "window.tz",
        "options.window.tz",
        OptionGroup::Schedule,
        "Time zone",
        WINDOW_TEXT.hint("such as Europe/Berlin or UTC").example("Europe/Berlin"),
        |options| Some(ParamValue::Text(options.window.as_ref()?.daily()?.tz().to_owned())),
    ),
    part(
        WINDOW_FROM,
        "options.window.from",
        OptionGroup::Schedule,
        "One period from",
        WINDOW_TEXT.hint("instead of daily hours, with the offset from UTC").example("2026-12-01T22:00:00+01:00"),
        |options| Some(ParamValue::Text(time_text(options.window.as_ref()?.as_period()?.from))),
    ),
    part(
        WINDOW_UNTIL,
        "options.window.until",
        OptionGroup::Schedule,
        "One period until",
        WINDOW_TEXT.hint("remaining devices are skipped then").example("2026-12-02T05:00:00+01:00"),
        |options| Some(ParamValue::Text(time_text(options.window.as_ref()?.as_period()?.until))),
    ),
];

pub(super) static INTENT: &[OptionSpec] = &[
    part(
        "restart_intent.action",
        "options.restart_intent.action",
        OptionGroup::AfterInstall,
        "Restart intent",
        ParamSpec::new(ParamKind::Text { min_chars: 1, max_chars: INTENT_MAX_CHARS })
            .hint("action, sent after the installation; empty: none")
            .example("com.example.till.START"),
        |options| options.restart_intent.as_ref().map(|intent| ParamValue::Text(intent.action.clone())),
    ),
    part(
        "restart_intent.extras",
        "options.restart_intent.extras",
        OptionGroup::AfterInstall,
        "Intent extras",
        ParamSpec::new(ParamKind::Texts { max_entries: EXTRAS_MAX, max_chars: INTENT_MAX_CHARS }).hint("name=value, one per line"),
        |options| options.restart_intent.as_ref().map(|intent| ParamValue::Texts(intent.extras.clone())),
    ),
];

impl Options {
    /// The defaults for so many devices.
    pub fn conservative(devices: usize) -> Self {
        Self { canary: Some(CanaryOptions::conservative(devices)), ..Self::DEFAULT }
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
        for spec in option_specs() {
            if let Some(value) = spec.value(&self) {
                spec.param.check(&value)?;
            }
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
    pub fn conservative(devices: usize) -> Self {
        let size = (devices.div_ceil(20) as u32).clamp(1, CANARY_DEFAULT_MAX);
        Self { size, min_count: size, ..Self::DEFAULT }
    }

    /// Checks the canary against the number of devices.
    fn check(self, devices: usize) -> Result<(), Invalid> {
        let most = u32::try_from(devices).unwrap_or(u32::MAX);
        if self.size > most {
            return Err(Invalid::new("options.canary.size", format!("{} is more than the {devices} devices of the target", self.size)));
        }
        in_range("options.canary.size", self.size, 1, most)?;
        if self.min_count > self.size {
            let problem = format!("{} is more than the {} devices of the canary", self.min_count, self.size);
            return Err(Invalid::new("options.canary.min_count", problem));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::option_spec::option_spec;
    use super::*;

    fn refused(devices: usize, fleet: bool, change: impl FnOnce(&mut Options)) -> Option<String> {
        let mut options = Options::conservative(devices);
        change(&mut options);
        options.checked(devices, fleet).err().map(|invalid| invalid.field)
    }

    #[test]
    fn the_defaults_are_careful_and_always_valid() {
        for devices in [1, 2, 19, 20, 21, 100, 101, 10_000] {
            let options = Options::conservative(devices);
            assert!(options.clone().checked(devices, true).is_ok(), "{devices}");
            let canary = options.canary.unwrap();
            assert!(canary.size >= 1 && canary.size <= CANARY_DEFAULT_MAX && canary.min_count == canary.size);
        }
        let options = Options::conservative(500);
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
            ("options.rate_per_minute", refused(10, false, |options| options.rate_per_minute = 1_000_001)),
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
        let mut options = Options::conservative(10);
        let waits: Vec<_> = (1..=9).map(|attempts| options.backoff_s(attempts)).collect();
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
        options.retries.backoff_s = 7200;
        assert_eq!((options.backoff_s(1), options.backoff_s(20)), (7200, 7200));
    }

    #[test]
    fn every_option_has_one_path_words_and_a_value_that_is_within_its_limits() {
        let options = Options {
            window: Some(MaintenanceWindow::parse("22:00", "05:00", "UTC").unwrap()),
            restart_intent: Some(RestartIntent { action: "a.b.START".into(), extras: BTreeMap::new() }),
            ..Options::conservative(100)
        };
        let period = MaintenanceWindow::period("2026-12-01T22:00:00Z", "2026-12-02T05:00:00Z").unwrap();
        let once = Options { window: Some(period), ..options.clone() };
        let (mut paths, mut labels) = (Vec::new(), Vec::new());
        for spec in option_specs() {
            assert_eq!(spec.param.field, format!("options.{}", spec.param.name));
            assert_eq!(option_spec(spec.param.name), Some(spec));
            let value = spec.value(&options).or_else(|| spec.value(&once)).unwrap_or_else(|| panic!("{} has no value", spec.param.name));
            assert_eq!(spec.param.check(&value), Ok(()));
            paths.push(spec.param.name);
            labels.push(spec.param.label);
        }
        let count = paths.len();
        for mut names in [paths, labels] {
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{names:?}");
        }
        assert_eq!(option_spec("canary.size").and_then(OptionSpec::default_value), None, "it depends on the target");
        assert_eq!(option_spec("retries.max").and_then(OptionSpec::default_value), Some(ParamValue::Integer(2)));
    }

    #[test]
    fn the_documents_name_every_option() {
        let document = include_str!("../../../../docs/deployments.md");
        for spec in option_specs() {
            assert!(document.contains(&format!("`{}`", spec.param.name)), "docs/deployments.md lacks {}", spec.param.name);
        }
    }
}
