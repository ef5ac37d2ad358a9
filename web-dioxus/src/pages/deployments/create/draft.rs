//! Draft of a deployment, validated while it is typed by the checks of the service.

use std::collections::BTreeMap;

use domain::Invalid;
use domain::deployment::{ConflictRule, Options, OptionsRequest, option_spec, option_specs};
use domain::param::{ParamKind, ParamValue};
use domain::text::label_list;

/// Assumed number of devices while it is unknown.
const DEVICES_UNKNOWN: usize = 1_000_000;
/// Options of several values: what is wrong with each is found by itself.
const PARTS: [&str; 3] = ["canary.", "window.", "restart_intent."];

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
    pub(in super::super) const WINDOW: &str = "window";
}

/// Problems by field.
pub(super) type Problems = BTreeMap<String, String>;

/// Field values of the form, as typed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft(BTreeMap<&'static str, String>);

impl Draft {
    /// Conservative defaults; those that depend on the number of devices stay empty.
    pub(super) fn conservative() -> Self {
        let defaults = option_specs().filter_map(|spec| Some((spec.param.field, typed(spec.default_value()?))));
        let mut draft = Self(defaults.collect());
        draft.set(field::TARGET, String::new());
        draft.set(field::CONFLICT, ConflictRule::Wait.as_str().to_owned());
        draft.set(field::CANARY, typed(ParamValue::Flag(Options::conservative(DEVICES_UNKNOWN).canary.is_some())));
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
        label_list(self.get(name))
    }

    /// Rule for devices of older deployments.
    pub(super) fn conflict(&self) -> ConflictRule {
        ConflictRule::parse(self.get(field::CONFLICT)).unwrap_or(ConflictRule::Wait)
    }

    /// Parses the options; values that are invalid become problems.
    fn parse(&self) -> (OptionsRequest, Problems) {
        let (mut request, mut problems) = (OptionsRequest::default(), Problems::new());
        for spec in option_specs() {
            let (path, text) = (spec.param.name, self.get(spec.param.field));
            let value = match spec.param.kind {
                _ if path.starts_with("canary.") && !self.on(field::CANARY) => Ok(None),
                _ if path.starts_with("window.") && !self.on(field::WINDOW) => Ok(None),
                // A window is not left out because nothing is typed yet.
                _ if path.starts_with("window.") => Ok(Some(ParamValue::Text(text.to_owned()))),
                ParamKind::Flag => Ok(Some(ParamValue::Flag(!text.is_empty()))),
                _ => spec.param.parse(text),
            };
            match value.and_then(|value| value.map(|value| spec.param.check(&value).map(|()| value)).transpose()) {
                Ok(Some(value)) => request.set(spec, value),
                Ok(None) => {}
                Err(Invalid { field, problem }) => drop(problems.insert(field, problem)),
            }
        }
        if !self.on(field::CANARY)
            && let Some(size) = option_spec("canary.size")
        {
            request.set(size, ParamValue::Integer(0));
        }
        (request, problems)
    }

    /// Options of the form and all problems for this number of devices; `None`: unknown number.
    pub(super) fn options(&self, devices: Option<usize>, fleet: bool) -> (OptionsRequest, Problems) {
        let (request, mut problems) = self.parse();
        let devices = devices.filter(|count| *count > 0).unwrap_or(DEVICES_UNKNOWN);
        let parts = PARTS.map(|part| request.part(part));
        for invalid in parts.into_iter().chain([request.clone()]).filter_map(|part| part.over(devices, fleet).err()) {
            // A canary of the whole fleet that is turned off has no field of its own on the page.
            let name =
                if invalid.field == field::CANARY_SIZE && !self.on(field::CANARY) { field::CANARY.to_owned() } else { invalid.field };
            problems.entry(name).or_insert(invalid.problem);
        }
        (request, problems)
    }
}

/// A value as the form holds it.
fn typed(value: ParamValue) -> String {
    match value {
        ParamValue::Integer(number) => number.to_string(),
        ParamValue::Flag(on) => if on { "on" } else { "" }.to_owned(),
        ParamValue::Text(text) => text,
        ParamValue::Texts(texts) => texts.iter().map(|(name, value)| format!("{name}={value}\n")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use field::*;

    const RATE: &str = "options.rate_per_minute";
    const CONCURRENCY: &str = "options.concurrency";
    const BATTERY: &str = "options.min_battery_pct";
    const HEARTBEAT: &str = "options.heartbeat_max_age_seconds";
    const WINDOW_START: &str = "options.window.start";
    const WINDOW_END: &str = "options.window.end";
    const WINDOW_TZ: &str = "options.window.tz";
    const RETRIES: &str = "options.retries.max";
    const BACKOFF: &str = "options.retries.backoff_seconds";
    const EXTRAS: &str = "options.restart_intent.extras";
    const INTENT: &str = "options.restart_intent.action";
    const FAILURES: &str = "options.failure_pause.threshold_pct";
    const FAILURES_MIN: &str = "options.failure_pause.min_count";
    const DEADLINE: &str = "options.deadline_hours";
    const STORAGE: &str = "options.min_storage_free_mb";
    const CANARY_MIN: &str = "options.canary.min_count";

    fn problems(devices: usize, fleet: bool, fields: &[(&'static str, &str)]) -> Vec<String> {
        let mut draft = Draft::conservative();
        for (name, value) in fields {
            draft.set(name, (*value).to_owned());
        }
        draft.options(Some(devices), fleet).1.into_keys().collect()
    }

    #[test]
    fn what_is_prefilled_is_careful_for_any_number_of_devices() {
        for devices in [1, 19, 20, 500, 10_000] {
            let (request, problems) = Draft::conservative().options(Some(devices), true);
            assert_eq!(problems, Problems::new());
            assert_eq!(request.over(devices, true), Ok(Options::conservative(devices)));
        }
    }

    #[test]
    fn every_field_is_told_what_is_wrong_with_it_at_the_same_time() {
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
        assert_eq!(problems(10, true, &[(CANARY, "")]), [CANARY]);
        assert!(problems(10, false, &[(CANARY, "")]).is_empty(), "chosen devices need no first ones");
        assert_eq!(problems(10, false, &[(CANARY_SIZE, "3"), (CANARY_MIN, "4")]), [CANARY_MIN]);
        let window = [(WINDOW, "on"), (WINDOW_START, "22:00"), (WINDOW_END, "22:00"), (WINDOW_TZ, "UTC")];
        assert_eq!(problems(10, false, &window), [WINDOW_END]);
        assert_eq!(problems(10, false, &[(INTENT, "a.b.C"), (EXTRAS, "nothing")]), [EXTRAS]);
        assert!(problems(10, false, &[(INTENT, "a.b.C"), (EXTRAS, "a=1\n\n b = 2")]).is_empty());
    }
}
