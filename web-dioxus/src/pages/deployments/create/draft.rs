//! Draft of a deployment, validated while it is typed by the checks of the service.

use std::collections::BTreeMap;

use domain::Invalid;
use domain::deployment::{CanaryRequest, ConflictRule, MaintenanceWindow, Options, OptionsRequest, RestartIntent};

use crate::components::form::labels_of;

/// Assumed number of devices while it is unknown.
const DEVICES_UNKNOWN: usize = 1_000_000;

/// Names of the fields; those of options are what the API calls them.
pub(super) mod field {
    pub(in super::super) const APK: &str = "apk_id";
    pub(in super::super) const NAME: &str = "name";
    pub(in super::super) const TARGET: &str = "target";
    pub(in super::super) const TAGS: &str = "target.tags";
    pub(in super::super) const GROUPS: &str = "target.groups";
    pub(in super::super) const SAVED: &str = "target.filter";
    pub(in super::super) const CONFLICT: &str = "conflict";
    pub(in super::super) const CANARY: &str = "canary";
    pub(in super::super) const CANARY_SIZE: &str = "options.canary.size";
    pub(in super::super) const CANARY_THRESHOLD: &str = "options.canary.success_threshold_pct";
    pub(in super::super) const CANARY_MIN: &str = "options.canary.min_count";
    pub(in super::super) const CANARY_TIMEOUT: &str = "options.canary.timeout_minutes";
    pub(in super::super) const RATE: &str = "options.rate_per_minute";
    pub(in super::super) const CONCURRENCY: &str = "options.concurrency";
    pub(in super::super) const WIFI: &str = "options.wifi_only";
    pub(in super::super) const BATTERY: &str = "options.min_battery_pct";
    pub(in super::super) const CHARGING: &str = "options.charging_only";
    pub(in super::super) const STORAGE: &str = "options.min_storage_free_mb";
    pub(in super::super) const HEARTBEAT: &str = "options.heartbeat_max_age_seconds";
    pub(in super::super) const DOZE: &str = "options.doze_exempt_only";
    pub(in super::super) const WINDOW: &str = "window";
    pub(in super::super) const WINDOW_START: &str = "options.window.start";
    pub(in super::super) const WINDOW_END: &str = "options.window.end";
    pub(in super::super) const WINDOW_TZ: &str = "options.window.tz";
    pub(in super::super) const RETRIES: &str = "options.retries.max";
    pub(in super::super) const BACKOFF: &str = "options.retries.backoff_seconds";
    pub(in super::super) const INTENT: &str = "options.restart_intent.action";
    pub(in super::super) const EXTRAS: &str = "options.restart_intent.extras";
    pub(in super::super) const ROLLBACK: &str = "options.rollback_allowed";
    pub(in super::super) const FAILURES: &str = "options.failure_pause.threshold_pct";
    pub(in super::super) const FAILURES_MIN: &str = "options.failure_pause.min_count";
    pub(in super::super) const DEADLINE: &str = "options.deadline_hours";
}

/// Problems by field.
pub(super) type Problems = BTreeMap<String, String>;

/// Field values of the form, as typed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft(BTreeMap<&'static str, String>);

impl Draft {
    /// Conservative defaults; those that depend on the number of devices stay empty.
    pub(super) fn careful() -> Self {
        use field::*;
        let careful = Options::careful(DEVICES_UNKNOWN);
        let on = |on: bool| if on { "on" } else { "" }.to_owned();
        let mut draft = Self(BTreeMap::from([
            (TARGET, String::new()),
            (CONFLICT, ConflictRule::Wait.as_str().to_owned()),
            (CANARY, on(careful.canary.is_some())),
            (RATE, careful.rate_per_minute.to_string()),
            (CONCURRENCY, careful.concurrency.to_string()),
            (WIFI, on(careful.wifi_only)),
            (BATTERY, careful.min_battery_pct.to_string()),
            (CHARGING, on(careful.charging_only)),
            (STORAGE, careful.min_storage_free_mb.to_string()),
            (HEARTBEAT, careful.heartbeat_max_age_s.to_string()),
            (DOZE, on(careful.doze_exempt_only)),
            (RETRIES, careful.retries.max.to_string()),
            (BACKOFF, careful.retries.backoff_s.to_string()),
            (ROLLBACK, on(careful.rollback_allowed)),
            (FAILURES, careful.failure_pause.threshold_pct.to_string()),
            (FAILURES_MIN, careful.failure_pause.min_count.to_string()),
            (DEADLINE, careful.deadline_h.to_string()),
        ]));
        if let Some(canary) = careful.canary {
            draft.set(CANARY_THRESHOLD, canary.success_threshold_pct.to_string());
            draft.set(CANARY_TIMEOUT, canary.timeout_minutes.to_string());
        }
        draft
    }

    /// Sets the value of a field.
    pub(super) fn set(&mut self, name: &'static str, value: String) {
        self.0.insert(name, value);
    }

    /// Trimmed value of a field.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |text| text.trim())
    }

    /// Whether a box is checked.
    pub(super) fn on(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// Names separated by commas.
    pub(super) fn labels(&self, name: &str) -> Vec<String> {
        labels_of(self.get(name))
    }

    /// Rule for devices of older deployments.
    pub(super) fn conflict(&self) -> ConflictRule {
        ConflictRule::parse(self.get(field::CONFLICT)).unwrap_or(ConflictRule::Wait)
    }

    /// Integer value of a field, if not empty; one too large for its type exceeds every limit.
    fn number<T: TryFrom<u64> + Largest>(&self, name: &'static str, problems: &mut Problems) -> Option<T> {
        match self.get(name) {
            "" => None,
            text => match text.parse::<u64>() {
                Ok(number) => Some(T::try_from(number).unwrap_or(T::LARGEST)),
                Err(_) => {
                    problems.insert(name.to_owned(), "must be a whole number".to_owned());
                    None
                }
            },
        }
    }

    fn canary(&self, problems: &mut Problems) -> CanaryRequest {
        if !self.on(field::CANARY) {
            return CanaryRequest { size: Some(0), ..CanaryRequest::default() };
        }
        CanaryRequest {
            size: self.number(field::CANARY_SIZE, problems),
            success_threshold_pct: self.number(field::CANARY_THRESHOLD, problems),
            min_count: self.number(field::CANARY_MIN, problems),
            timeout_minutes: self.number(field::CANARY_TIMEOUT, problems),
        }
    }

    fn window(&self) -> Result<Option<MaintenanceWindow>, Invalid> {
        match self.on(field::WINDOW) {
            true => {
                MaintenanceWindow::parse(self.get(field::WINDOW_START), self.get(field::WINDOW_END), self.get(field::WINDOW_TZ)).map(Some)
            }
            false => Ok(None),
        }
    }

    fn intent(&self) -> Result<Option<RestartIntent>, Invalid> {
        let mut extras = BTreeMap::new();
        for line in self.get(field::EXTRAS).lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, value) =
                line.split_once('=').ok_or_else(|| Invalid::new(field::EXTRAS, format!("{line:?} is not in the form name=value")))?;
            if extras.insert(name.trim().to_owned(), value.trim().to_owned()).is_some() {
                return Err(Invalid::new(field::EXTRAS, format!("duplicate name {:?}", name.trim())));
            }
        }
        match self.get(field::INTENT) {
            "" if extras.is_empty() => Ok(None),
            "" => Err(Invalid::new(field::INTENT, "extras require an intent action")),
            action => Ok(Some(RestartIntent { action: action.to_owned(), extras })),
        }
    }

    /// Parses the options; values that are invalid become problems.
    fn parse(&self) -> (OptionsRequest, Problems) {
        use field::*;
        let mut problems = Problems::new();
        let mut read = |result: Invalid| problems.insert(result.field, result.problem);
        let window = self.window().map_err(&mut read).unwrap_or_default();
        let restart_intent = self.intent().map_err(&mut read).unwrap_or_default();
        let request = OptionsRequest {
            canary: self.canary(&mut problems),
            rate_per_minute: self.number(RATE, &mut problems),
            concurrency: self.number(CONCURRENCY, &mut problems),
            wifi_only: Some(self.on(WIFI)),
            min_battery_pct: self.number(BATTERY, &mut problems),
            charging_only: Some(self.on(CHARGING)),
            min_storage_free_mb: self.number(STORAGE, &mut problems),
            heartbeat_max_age_s: self.number(HEARTBEAT, &mut problems),
            doze_exempt_only: Some(self.on(DOZE)),
            window,
            retries_max: self.number(RETRIES, &mut problems),
            backoff_s: self.number(BACKOFF, &mut problems),
            restart_intent,
            rollback_allowed: Some(self.on(ROLLBACK)),
            failure_threshold_pct: self.number(FAILURES, &mut problems),
            failure_min_count: self.number(FAILURES_MIN, &mut problems),
            deadline_h: self.number(DEADLINE, &mut problems),
        };
        (request, problems)
    }

    /// Options of the form and all problems for this number of devices; `None`: unknown number.
    pub(super) fn options(&self, devices: Option<usize>, fleet: bool) -> (OptionsRequest, Problems) {
        let (request, mut problems) = self.parse();
        let devices = devices.filter(|count| *count > 0).unwrap_or(DEVICES_UNKNOWN);
        // Each option by itself, so that all problems are found and not just the first.
        let none = OptionsRequest::default;
        let parts = [
            OptionsRequest { canary: request.canary, ..none() },
            OptionsRequest { rate_per_minute: request.rate_per_minute, ..none() },
            OptionsRequest { concurrency: request.concurrency, ..none() },
            OptionsRequest { min_battery_pct: request.min_battery_pct, ..none() },
            OptionsRequest { min_storage_free_mb: request.min_storage_free_mb, ..none() },
            OptionsRequest { heartbeat_max_age_s: request.heartbeat_max_age_s, ..none() },
            OptionsRequest { retries_max: request.retries_max, ..none() },
            OptionsRequest { backoff_s: request.backoff_s, ..none() },
            OptionsRequest { restart_intent: request.restart_intent.clone(), ..none() },
            OptionsRequest { failure_threshold_pct: request.failure_threshold_pct, ..none() },
            OptionsRequest { failure_min_count: request.failure_min_count, ..none() },
            OptionsRequest { deadline_h: request.deadline_h, ..none() },
        ];
        for invalid in parts.into_iter().chain([request.clone()]).filter_map(|part| part.over(devices, fleet).err()) {
            // A canary of the whole fleet that is turned off has no field of its own on the page.
            let name =
                if invalid.field == field::CANARY_SIZE && !self.on(field::CANARY) { field::CANARY.to_owned() } else { invalid.field };
            problems.entry(name).or_insert(invalid.problem);
        }
        (request, problems)
    }
}

/// The largest value of a type.
trait Largest {
    const LARGEST: Self;
}

impl Largest for u8 {
    const LARGEST: Self = Self::MAX;
}

impl Largest for u32 {
    const LARGEST: Self = Self::MAX;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(devices: usize, fleet: bool, fields: &[(&'static str, &str)]) -> Vec<String> {
        let mut draft = Draft::careful();
        for (name, value) in fields {
            draft.set(name, (*value).to_owned());
        }
        draft.options(Some(devices), fleet).1.into_keys().collect()
    }

    #[test]
    fn what_is_prefilled_is_careful_for_any_number_of_devices() {
        for devices in [1, 19, 20, 500, 10_000] {
            let (request, problems) = Draft::careful().options(Some(devices), true);
            assert_eq!(problems, Problems::new());
            assert_eq!(request.over(devices, true), Ok(Options::careful(devices)));
        }
    }

    #[test]
    fn every_field_is_told_what_is_wrong_with_it_at_the_same_time() {
        use field::*;
        let wrong = [
            (CANARY_SIZE, "11"),
            (RATE, "x"),
            (CONCURRENCY, "0"),
            (BATTERY, "300"),
            (HEARTBEAT, "1"),
            (WINDOW, "on"),
            (WINDOW_START, "25:00"),
            (RETRIES, "99"),
            (BACKOFF, "0"),
            (EXTRAS, "a=1"),
            (FAILURES, "101"),
            (FAILURES_MIN, "0"),
            (DEADLINE, "99999999999999"),
            (STORAGE, "-1"),
        ];
        let mut want: Vec<_> = wrong.iter().map(|(name, _)| *name).filter(|name| ![WINDOW, EXTRAS].contains(name)).collect();
        want.push(INTENT);
        want.sort_unstable();
        assert_eq!(problems(10, true, &wrong), want);
    }

    #[test]
    fn contradictions_stand_where_they_can_be_mended() {
        use field::*;
        assert_eq!(problems(10, true, &[(CANARY, "")]), [CANARY]);
        assert!(problems(10, false, &[(CANARY, "")]).is_empty(), "chosen devices need no first ones");
        assert_eq!(problems(10, false, &[(CANARY_SIZE, "3"), (CANARY_MIN, "4")]), [CANARY_MIN]);
        let window = [(WINDOW, "on"), (WINDOW_START, "22:00"), (WINDOW_END, "22:00"), (WINDOW_TZ, "UTC")];
        assert_eq!(problems(10, false, &window), [WINDOW_END]);
        assert_eq!(problems(10, false, &[(INTENT, "a.b.C"), (EXTRAS, "nothing")]), [EXTRAS]);
        assert!(problems(10, false, &[(INTENT, "a.b.C"), (EXTRAS, "a=1\n\n b = 2")]).is_empty());
    }
}
