//! Requested options of a deployment; the defaults replace what is not given.

use std::collections::BTreeMap;

use super::option_spec::{OptionSpec, option_spec, option_specs};
use super::options::{CANARY_SIZE, Options, RestartIntent, WINDOW_FROM, WINDOW_UNTIL};
use super::window::MaintenanceWindow;
use crate::Invalid;
use crate::param::ParamValue;

/// Path of the threshold that the canary has to reach.
const CANARY_THRESHOLD: &str = "canary.success_threshold_pct";

/// Options that a request gives, by their path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionsRequest(BTreeMap<&'static str, ParamValue>);

impl OptionsRequest {
    /// Gives an option.
    pub fn set(&mut self, spec: &'static OptionSpec, value: ParamValue) {
        self.0.insert(spec.param.name, value);
    }

    /// The options whose paths begin like this.
    pub fn part(&self, prefix: &str) -> Self {
        Self(self.0.iter().filter(|(path, _)| path.starts_with(prefix)).map(|(path, value)| (*path, value.clone())).collect())
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).and_then(ParamValue::as_text)
    }

    /// Options for so many devices; `fleet`: the target is the whole fleet.
    ///
    /// # Errors
    /// Names the option that is out of its limits, or contradicts another.
    pub fn over(self, devices: usize, fleet: bool) -> Result<Options, Invalid> {
        let mut options = Options::conservative(devices);
        for (path, value) in &self.0 {
            if let Some(spec) = option_spec(path) {
                spec.param.check(value)?;
            }
        }
        match (self.0.get(CANARY_SIZE), &mut options.canary) {
            (Some(ParamValue::Integer(0)), canary) => {
                if let Some(other) = self.0.keys().find(|path| path.starts_with("canary.") && **path != CANARY_SIZE) {
                    return Err(Invalid::new(format!("options.{other}"), "given, but there is no canary: size is 0"));
                }
                *canary = None;
            }
            // All of the devices, unless the request gives a number.
            (Some(ParamValue::Integer(size)), Some(canary)) => canary.min_count = u32::try_from(*size).unwrap_or(u32::MAX),
            _ => {}
        }
        for (path, value) in &self.0 {
            if let Some(spec) = option_spec(path) {
                spec.apply(&mut options, value.clone());
            }
        }
        options.window = self.window()?;
        options.restart_intent = self.restart_intent()?;
        options.checked(devices, fleet)
    }

    fn window(&self) -> Result<Option<MaintenanceWindow>, Invalid> {
        let parts = ["window.start", "window.end", "window.tz"].map(|path| self.text(path));
        // A form has empty fields for the form of window that is not chosen.
        let period = [WINDOW_FROM, WINDOW_UNTIL].map(|path| self.text(path).filter(|text| !text.trim().is_empty()));
        if parts.iter().all(Option::is_none) && period.iter().all(Option::is_none) {
            return Ok(None);
        }
        let [start, end, tz] = parts.map(Option::unwrap_or_default);
        if period.iter().any(Option::is_some) {
            if !start.is_empty() || !end.is_empty() {
                return Err(Invalid::new(format!("options.{WINDOW_FROM}"), "given beside daily hours (window.start, window.end)"));
            }
            let [from, until] = period.map(Option::unwrap_or_default);
            return MaintenanceWindow::period(from, until).map(Some);
        }
        MaintenanceWindow::parse(start, end, tz).map(Some)
    }

    fn restart_intent(&self) -> Result<Option<RestartIntent>, Invalid> {
        match (self.text("restart_intent.action"), self.0.get("restart_intent.extras")) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Invalid::new("options.restart_intent.action", "extras require an intent action")),
            (Some(action), Some(ParamValue::Texts(extras))) => {
                Ok(Some(RestartIntent { action: action.to_owned(), extras: extras.clone() }))
            }
            (Some(action), _) => Ok(Some(RestartIntent { action: action.to_owned(), extras: BTreeMap::new() })),
        }
    }
}

impl From<Options> for OptionsRequest {
    /// The same options for other targets, with a new canary.
    fn from(options: Options) -> Self {
        let new_canary = |path: &str| match options.canary {
            None => path == CANARY_SIZE,
            Some(_) => path == CANARY_THRESHOLD,
        };
        // A period may be over.
        let kept = option_specs().filter(|spec| match spec.param.name {
            WINDOW_FROM | WINDOW_UNTIL => false,
            path => !path.starts_with("canary.") || new_canary(path),
        });
        Self(kept.filter_map(|spec| Some((spec.param.name, spec.value(&options)?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(values: &[(&str, i64)]) -> OptionsRequest {
        let mut request = OptionsRequest::default();
        for (path, value) in values {
            request.set(option_spec(path).unwrap(), ParamValue::Integer(*value));
        }
        request
    }

    #[test]
    fn what_is_not_given_is_careful() {
        assert_eq!(OptionsRequest::default().over(500, true), Ok(Options::conservative(500)));
        let options = request(&[("canary.size", 3), ("rate_per_minute", 0)]).over(500, true).unwrap();
        assert_eq!(options.canary.map(|canary| (canary.size, canary.min_count, canary.success_threshold_pct)), Some((3, 3, 90)));
        assert_eq!((options.rate_per_minute, options.concurrency), (0, 3));
        assert_eq!(OptionsRequest::from(options.clone()).over(500, true).unwrap().rate_per_minute, 0);
    }

    #[test]
    fn other_targets_get_the_same_options_with_a_canary_of_their_own() {
        let options = Options {
            window: Some(MaintenanceWindow::parse("22:00", "05:00", "UTC").unwrap()),
            restart_intent: Some(RestartIntent { action: "a.b.START".into(), extras: BTreeMap::from([("a".into(), "1".into())]) }),
            wifi_only: false,
            ..request(&[("canary.size", 3), ("canary.success_threshold_pct", 75), ("retries.max", 7)]).over(500, true).unwrap()
        };
        let other = OptionsRequest::from(options.clone()).over(20, false).unwrap();
        assert_eq!(other.canary.map(|canary| (canary.size, canary.min_count, canary.success_threshold_pct)), Some((1, 1, 75)));
        assert_eq!(Options { canary: options.canary, ..other }, options);
        let none = Options { canary: None, ..options };
        assert_eq!(OptionsRequest::from(none).over(20, false).unwrap().canary, None);
    }

    #[test]
    fn a_threshold_takes_a_canary() {
        let refused = request(&[("canary.size", 0), ("canary.success_threshold_pct", 90)]).over(10, false).unwrap_err();
        assert_eq!(refused.field, "options.canary.success_threshold_pct");
        assert_eq!(request(&[("canary.size", 0)]).over(10, false).unwrap().canary, None);
        assert!(request(&[("canary.size", 0)]).over(10, true).is_err());
    }

    #[test]
    fn options_of_several_values_are_given_together() {
        let given = |values: &[(&str, &str)]| {
            let mut request = OptionsRequest::default();
            for (path, value) in values {
                request.set(option_spec(path).unwrap(), ParamValue::Text((*value).to_owned()));
            }
            request.over(10, false).map_err(|invalid| invalid.field)
        };
        let window = [("window.start", "22:00"), ("window.end", "05:00"), ("window.tz", "UTC")];
        assert_eq!(given(&window).unwrap().window.and_then(|window| Some(window.daily()?.end())), Some("05:00".into()));
        assert_eq!(given(&window[..2]), Err("options.window.tz".into()));
        let period = [("window.from", "2026-12-01T22:00:00Z"), ("window.until", "2026-12-02T05:00:00Z")];
        assert!(given(&period).unwrap().window.is_some_and(|window| window.as_period().is_some()));
        assert_eq!(given(&period[..1]), Err("options.window.until".into()));
        assert_eq!(given(&[period[0], period[1], window[0]]), Err("options.window.from".into()));
        let once = OptionsRequest::from(given(&period).unwrap()).over(10, false).unwrap();
        assert_eq!(once.window, None, "the period of a deployment is not that of its rollback");
        assert_eq!(given(&[("restart_intent.action", "")]), Err("options.restart_intent.action".into()));
        let mut extras = OptionsRequest::default();
        extras.set(option_spec("restart_intent.extras").unwrap(), ParamValue::Texts(BTreeMap::new()));
        assert_eq!(extras.over(10, false).unwrap_err().field, "options.restart_intent.action");
    }
}
