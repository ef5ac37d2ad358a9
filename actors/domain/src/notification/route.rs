//! Routes: which alerts a channel is notified of, and when.

use chrono::TimeDelta;

use crate::alert::{MatchedAlert, Rule, Severity};
use crate::deployment::MaintenanceWindow;
use crate::invalid::{Invalid, in_range};
use crate::text::{LABEL_MAX_CHARS, LABELS_MAX, bounded};
use crate::{ChannelId, RouteId, Timestamp, name};

/// Most routes.
pub const ROUTES_MAX: usize = 200;
/// Highest level of escalation.
pub const LEVEL_MAX: u8 = 5;

/// Route from alerts to a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Id.
    pub id: RouteId,
    /// Channel.
    pub channel: ChannelId,
    /// Least severity.
    pub min_severity: Severity,
    /// Rules; empty: all.
    pub rules: Vec<Rule>,
    /// Groups of devices; empty: all, and what is no device.
    pub groups: Vec<String>,
    /// Hours of the day in which it leads there; `None`: always.
    pub hours: Option<MaintenanceWindow>,
    /// Level of escalation: 0 is notified at once, the others when nobody acknowledges.
    pub level: u8,
    /// Time of the day at which a digest of the last day is sent, instead of single messages.
    pub digest: Option<DigestTime>,
}

/// Time of the day of a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestTime(MaintenanceWindow);

impl DigestTime {
    /// Parses `HH:MM` and a name of the IANA time zone database.
    ///
    /// # Errors
    /// The time is malformed, or there is no such time zone.
    pub fn parse(at: &str, tz: &str) -> Result<Self, Invalid> {
        let own_name = |refused: Invalid| {
            let field = if refused.field.ends_with("tz") { "digest.tz" } else { "digest.at" };
            Invalid::new(field, refused.problem)
        };
        // The minute that begins then, as a window: the arithmetic of time zones is there.
        let next_minute = |at: &str| {
            let (hour, minute) = (at.get(..2)?.parse::<u32>().ok()?, at.get(3..)?.parse::<u32>().ok()?);
            let next = (hour * 60 + minute + 1) % (24 * 60);
            Some(format!("{:02}:{:02}", next / 60, next % 60))
        };
        let end = next_minute(at).unwrap_or_default();
        MaintenanceWindow::parse(at, if end.is_empty() { "00:00" } else { &end }, tz).map(Self).map_err(own_name)
    }

    /// Time of the day, `HH:MM`, and the name of the time zone.
    pub fn parts(&self) -> (String, &'static str) {
        self.0.daily().map_or((String::new(), "UTC"), |hours| (hours.start(), hours.tz()))
    }

    /// When the digest after `last` is due: the next time of the day, more than an hour later.
    pub fn due_after(&self, last: Timestamp) -> Option<Timestamp> {
        self.0.opens_at(last + TimeDelta::hours(1))
    }
}

impl Route {
    /// Checks the route.
    ///
    /// # Errors
    /// Names the field and its limit.
    pub fn checked(self) -> Result<Self, Invalid> {
        in_range("level", self.level, 0, LEVEL_MAX)?;
        if self.groups.len() > LABELS_MAX {
            return Err(Invalid::new("groups", format!("{} entries are more than the {LABELS_MAX} allowed", self.groups.len())));
        }
        for (at, group) in self.groups.iter().enumerate() {
            bounded(&format!("groups[{at}]"), group, LABEL_MAX_CHARS)?;
        }
        if self.rules.len() > Rule::ALL.len() {
            return Err(Invalid::new("rules", "names a rule twice"));
        }
        if self.digest.is_some() && self.level > 0 {
            return Err(Invalid::new("level", "a digest is not escalated to; leave it 0"));
        }
        Ok(self)
    }

    /// Whether the alert is of this route but for its groups, whatever the time.
    pub(super) fn concerns(&self, alert: &MatchedAlert<'_>) -> bool {
        alert.severity >= self.min_severity && (self.rules.is_empty() || self.rules.contains(&alert.key.rule))
    }

    /// Whether the alert is of this route, whatever the time.
    pub fn takes(&self, alert: &MatchedAlert<'_>) -> bool {
        self.concerns(alert) && (self.groups.is_empty() || self.groups.iter().any(|a| alert.labels.groups.iter().any(|b| name::same(a, b))))
    }

    /// Whether it leads to its channel now.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.hours.as_ref().is_none_or(|hours| hours.is_open(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn route(number: u128) -> Route {
        Route {
            id: RouteId(uuid::Uuid::from_u128(number)),
            channel: ChannelId(uuid::Uuid::from_u128(number)),
            min_severity: Severity::Info,
            rules: vec![],
            groups: vec![],
            hours: None,
            level: 0,
            digest: None,
        }
    }

    #[test]
    fn a_digest_is_due_once_a_day_by_local_time() {
        let morning = DigestTime::parse("08:00", "Europe/Berlin").unwrap();
        assert_eq!(morning.parts(), ("08:00".to_owned(), "Europe/Berlin"));
        let mut due = at("2026-10-23T10:00:00Z");
        for expected in ["2026-10-24T06:00:00Z", "2026-10-25T07:00:00Z", "2026-10-26T07:00:00Z"] {
            due = morning.due_after(due).unwrap();
            assert_eq!(due, at(expected), "across the end of summer time");
        }
        assert_eq!(DigestTime::parse("23:59", "UTC").unwrap().due_after(at("2026-10-23T10:00:00Z")), Some(at("2026-10-23T23:59:00Z")));
        assert_eq!(DigestTime::parse("8:00", "UTC").unwrap_err().field, "digest.at");
        assert_eq!(DigestTime::parse("08:00", "Mars").unwrap_err().field, "digest.tz");
        assert_eq!(DigestTime::parse("ä8:00", "UTC").unwrap_err().field, "digest.at");
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |route: Route| route.checked().unwrap_err().to_string();
        assert_eq!(refused(Route { level: 9, ..route(1) }), "level: 9 is outside 0..5");
        assert!(refused(Route { groups: vec!["x".repeat(65)], ..route(1) }).starts_with("groups[0]: "));
        let digest = Some(DigestTime::parse("08:00", "UTC").unwrap());
        assert!(refused(Route { level: 1, digest, ..route(1) }).starts_with("level: "));
        assert!(route(1).checked().is_ok());
    }
}
