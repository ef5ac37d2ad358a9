//! URL state of the pages about alerts: which alerts are listed, and how.

use std::fmt;

use domain::alert::{AlertGrouping, AlertState, Rule, Severity, Subject};
use domain::{DeviceId, Invalid};
use services::AlertFilter;

use crate::url_state::{NAME_CHARS_MAX, Query, pairs, percent_decoded};

/// State of the alerts page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlertsUrl {
    /// State.
    pub(crate) state: AlertState,
    /// Rule.
    pub(crate) rule: Option<Rule>,
    /// Least severity.
    pub(crate) severity: Option<Severity>,
    /// Group of devices.
    pub(crate) group: Option<String>,
    /// Device.
    pub(crate) device: Option<DeviceId>,
    /// Tag of devices.
    pub(crate) tag: Option<String>,
    /// What alerts are one row by; `None`: each has its own.
    pub(crate) by: Option<AlertGrouping>,
}

impl Default for AlertsUrl {
    fn default() -> Self {
        Self::of(AlertState::Firing)
    }
}

impl AlertsUrl {
    /// The alerts in a state, without a filter.
    pub(crate) fn of(state: AlertState) -> Self {
        Self { state, rule: None, severity: None, group: None, tag: None, device: None, by: None }
    }

    /// The alerts that are meant.
    pub(crate) fn filter(self) -> AlertFilter {
        let subject = self.device.map(Subject::Device);
        AlertFilter {
            states: vec![self.state],
            rule: self.rule,
            min_severity: self.severity,
            subject,
            group: self.group,
            tag: self.tag,
            since: None,
            until: None,
        }
    }

    /// Parses the query of a download: what is not understood must not widen it.
    ///
    /// # Errors
    /// Names the parameter that is unknown or does not read.
    pub(crate) fn exact_from_address(query: &str) -> Result<Self, Invalid> {
        let query = percent_decoded(query);
        let url = Self::from(query.as_str());
        for (name, value) in pairs(&query) {
            let (is_read, problem) = match name {
                "state" => (value.parse::<AlertState>().is_ok(), "not one of firing, acknowledged, resolved"),
                "rule" => (url.rule.is_some(), "not a rule"),
                "severity" => (url.severity.is_some(), "not one of info, warning, critical"),
                "device" => (url.device.is_some(), "not an id of a device"),
                "group" | "tag" | "by" => (true, ""),
                _ => (false, "unknown parameter"),
            };
            if !is_read {
                return Err(Invalid::new(name.chars().take(NAME_CHARS_MAX).collect::<String>(), problem));
            }
        }
        Ok(url)
    }

    /// Whether any filter is set.
    pub(crate) fn is_filtered(&self) -> bool {
        *self != Self { by: self.by, ..Self::of(self.state) }
    }
}

impl From<&str> for AlertsUrl {
    /// Parses known parameters and ignores the rest.
    fn from(query: &str) -> Self {
        let mut url = Self::default();
        for (key, value) in pairs(query) {
            match key {
                "state" => url.state = value.parse().unwrap_or(url.state),
                "rule" => url.rule = value.parse().ok(),
                "severity" => url.severity = value.parse().ok(),
                "group" => url.group = Some(value),
                "device" => url.device = value.parse().ok(),
                "tag" => url.tag = Some(value),
                "by" => url.by = AlertGrouping::parse(&value),
                _ => {}
            }
        }
        url
    }
}

impl fmt::Display for AlertsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Query::new(f);
        query.pair("state", Some(self.state).filter(|state| *state != AlertState::Firing).map(AlertState::as_str))?;
        query.pair("rule", self.rule.map(Rule::as_str))?;
        query.pair("severity", self.severity.map(Severity::as_str))?;
        query.pair("group", self.group.as_deref())?;
        query.pair("device", self.device.map(|id| id.to_string()).as_deref())?;
        query.pair("tag", self.tag.as_deref())?;
        query.pair("by", self.by.map(AlertGrouping::as_str))
    }
}

/// State of the page of a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ChannelUrl {
    /// Whether only dead letters are listed.
    pub(crate) dead: bool,
}

impl From<&str> for ChannelUrl {
    fn from(query: &str) -> Self {
        Self { dead: pairs(query).any(|(key, value)| key == "state" && value == "dead") }
    }
}

impl fmt::Display for ChannelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Query::new(f).pair("state", self.dead.then_some("dead"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Route;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        let full = AlertsUrl {
            state: AlertState::Acknowledged,
            rule: Some(Rule::AppDown),
            severity: Some(Severity::Critical),
            group: Some("50% north & #1".into()),
            device: Some(DeviceId(uuid::Uuid::from_u128(7))),
            tag: Some("till".into()),
            by: Some(AlertGrouping::Tag),
        };
        for url in [AlertsUrl::default(), AlertsUrl::of(AlertState::Resolved), full.clone()] {
            let route = Route::Alerts { query: url };
            assert_eq!(route.to_string().parse::<Route>().ok(), Some(route));
        }
        assert_eq!(AlertsUrl::default().to_string(), "");
        assert!(full.is_filtered() && !AlertsUrl { by: Some(AlertGrouping::Rule), ..AlertsUrl::default() }.is_filtered());
        let dead = Route::AlertChannel { id: "7".into(), query: ChannelUrl { dead: true } };
        assert_eq!(dead.to_string().parse::<Route>().ok(), Some(dead));
    }

    #[test]
    fn a_download_refuses_what_it_does_not_understand() {
        let field = |query: &str| AlertsUrl::exact_from_address(query).map_err(|invalid| invalid.field);
        for (query, bad) in [("state=happy", "state"), ("rule=x", "rule"), ("severity=9", "severity"), ("device=x", "device"), ("q=1", "q")]
        {
            assert_eq!(field(query), Err(bad.to_owned()), "{query}");
        }
        assert_eq!(field("state=resolved&rule=app_down&group=&by=rule").map(AlertsUrl::filter).unwrap().states, [AlertState::Resolved]);
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        assert_eq!(AlertsUrl::from("state=happy&rule=none&severity=9&device=x&by=day&group=&foo=1"), AlertsUrl::default());
        assert_eq!(ChannelUrl::from("state=x"), ChannelUrl::default());
    }
}
