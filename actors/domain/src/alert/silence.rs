//! Silences and recurring maintenance windows: no notifications about the alerts they match; the records are kept.

use std::fmt;

use chrono::{TimeDelta, Weekday};

use crate::deployment::MaintenanceWindow;
use crate::invalid::Invalid;
use crate::text::{LABELS_MAX, bounded};
use crate::{AlertWindowId, DeviceId, SilenceId, Timestamp, name};

use super::{AlertKey, Rule, Severity, Subject, SubjectLabels};

/// Longest silence.
pub const SILENCE_MAX: TimeDelta = TimeDelta::days(90);
/// Longest reason.
pub const SILENCE_REASON_MAX_CHARS: usize = 500;
/// Most silences that have not ended, and most maintenance windows.
pub const SILENCES_MAX: usize = 1_000;

/// An alert, as matchers and routes see it.
#[derive(Debug, Clone, Copy)]
pub struct MatchedAlert<'a> {
    /// Rule and subject.
    pub key: &'a AlertKey,
    /// Severity.
    pub severity: Severity,
    /// Labels of the subject.
    pub labels: &'a SubjectLabels,
}

/// Condition on alerts: each kind of criterion that is given has to be met, by any of its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matcher {
    /// Rules.
    pub rules: Vec<Rule>,
    /// Severities.
    pub severities: Vec<Severity>,
    /// Groups of devices.
    pub groups: Vec<String>,
    /// Tags of devices.
    pub tags: Vec<String>,
    /// Devices.
    pub devices: Vec<DeviceId>,
    /// Names of nodes.
    pub nodes: Vec<String>,
}

impl Matcher {
    /// Whether the alert meets every criterion.
    pub fn matches(&self, alert: &MatchedAlert<'_>) -> bool {
        let any = |wanted: &[String], given: &[String]| wanted.is_empty() || wanted.iter().any(|a| given.iter().any(|b| name::same(a, b)));
        let subject = &alert.key.subject;
        (self.rules.is_empty() || self.rules.contains(&alert.key.rule))
            && (self.severities.is_empty() || self.severities.contains(&alert.severity))
            && any(&self.groups, &alert.labels.groups)
            && any(&self.tags, &alert.labels.tags)
            && (self.devices.is_empty() || subject.device().is_some_and(|id| self.devices.contains(&id)))
            && (self.nodes.is_empty() || matches!(subject, Subject::Node(node) if self.nodes.contains(node)))
    }

    /// Checks the criteria.
    ///
    /// # Errors
    /// None is given, which would match everything; or one has too many values.
    pub fn checked(self) -> Result<Self, Invalid> {
        let sizes = [
            ("matcher.rules", self.rules.len(), Rule::ALL.len()),
            ("matcher.severities", self.severities.len(), Severity::ALL.len()),
            ("matcher.groups", self.groups.len(), LABELS_MAX),
            ("matcher.tags", self.tags.len(), LABELS_MAX),
            ("matcher.devices", self.devices.len(), 100),
            ("matcher.nodes", self.nodes.len(), 100),
        ];
        if let Some((field, size, most)) = sizes.iter().find(|(_, size, most)| size > most) {
            return Err(Invalid::new(*field, format!("{size} entries are more than the {most} allowed")));
        }
        if sizes.iter().all(|(_, size, _)| *size == 0) {
            let all = "empty: it would match every alert; to mean all of them, name every severity";
            return Err(Invalid::new("matcher", all));
        }
        let texts = [("matcher.groups", &self.groups), ("matcher.tags", &self.tags), ("matcher.nodes", &self.nodes)];
        for (field, values) in texts {
            values.iter().try_for_each(|value| bounded(field, value, super::SUBJECT_NAME_MAX_CHARS))?;
        }
        Ok(self)
    }
}

/// "rule device_offline, group north".
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |what: &str, values: Vec<String>| (!values.is_empty()).then(|| format!("{what} {}", values.join(" or ")));
        let parts = [
            list("rule", self.rules.iter().map(|rule| rule.as_str().to_owned()).collect()),
            list("severity", self.severities.iter().map(|severity| severity.as_str().to_owned()).collect()),
            list("group", self.groups.clone()),
            list("tag", self.tags.clone()),
            list("device", self.devices.iter().map(ToString::to_string).collect()),
            list("node", self.nodes.clone()),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

fn reason_and_author(reason: &str, author: &str) -> Result<(), Invalid> {
    if reason.trim().is_empty() {
        return Err(Invalid::new("reason", "missing: say why, for whoever wonders at the silence"));
    }
    bounded("reason", reason, SILENCE_REASON_MAX_CHARS)?;
    bounded("author", author, super::SUBJECT_NAME_MAX_CHARS)
}

/// Silence: no notifications about what it matches until it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Id.
    pub id: SilenceId,
    /// Alerts.
    pub matcher: Matcher,
    /// Reason.
    pub reason: String,
    /// Name of who made it.
    pub author: String,
    /// Beginning.
    pub starts_at: Timestamp,
    /// End.
    pub ends_at: Timestamp,
}

impl Silence {
    /// Checks a new silence.
    ///
    /// # Errors
    /// Names the field and its limit: one that has ended already, has no length or is too long; and as [`Matcher::checked`].
    pub fn checked(self, now: Timestamp) -> Result<Self, Invalid> {
        if self.ends_at <= now {
            return Err(Invalid::new("ends_at", "in the past: the silence would be over already"));
        }
        if self.ends_at <= self.starts_at {
            return Err(Invalid::new("ends_at", "not after starts_at"));
        }
        if self.ends_at - self.starts_at.max(now) > SILENCE_MAX {
            let days = SILENCE_MAX.num_days();
            return Err(Invalid::new("ends_at", format!("further than {days} days ahead; turn the rule off instead")));
        }
        reason_and_author(&self.reason, &self.author)?;
        Ok(Self { matcher: self.matcher.checked()?, ..self })
    }

    /// Whether it holds now.
    pub fn is_active(&self, now: Timestamp) -> bool {
        (self.starts_at..self.ends_at).contains(&now)
    }

    /// When it begins or ends next.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        [self.starts_at, self.ends_at].into_iter().find(|at| *at > now)
    }
}

/// Recurring maintenance window: no notifications about what it matches, and no remediation of it, on some weekdays, in local hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertWindow {
    /// Id.
    pub id: AlertWindowId,
    /// Alerts.
    pub matcher: Matcher,
    /// Reason.
    pub reason: String,
    /// Name of who made it.
    pub author: String,
    /// Weekdays on which it opens; Monday first.
    pub weekdays: [bool; 7],
    /// Hours, in a time zone.
    pub hours: MaintenanceWindow,
    /// End of all of it, if any.
    pub ends_at: Option<Timestamp>,
}

impl AlertWindow {
    /// Parses the hours of a window, as those of deployments.
    ///
    /// # Errors
    /// A time is malformed, the window has no length, or there is no such time zone.
    pub fn parse_hours(start: &str, end: &str, tz: &str) -> Result<MaintenanceWindow, Invalid> {
        let own_name = |refused: Invalid| Invalid::new(refused.field.replacen("options.window.", "", 1), refused.problem);
        MaintenanceWindow::parse(start, end, tz).map_err(own_name)
    }

    /// Parses weekdays: `mon`, `tue`, ...
    ///
    /// # Errors
    /// One is not a weekday, or there is none.
    pub fn parse_weekdays(names: &[String]) -> Result<[bool; 7], Invalid> {
        let mut weekdays = [false; 7];
        for (at, name) in names.iter().enumerate() {
            let day: Weekday =
                name.parse().map_err(|_| Invalid::new(format!("weekdays[{at}]"), "not one of mon, tue, wed, thu, fri, sat, sun"))?;
            weekdays[day.num_days_from_monday() as usize] = true;
        }
        match weekdays.contains(&true) {
            true => Ok(weekdays),
            false => Err(Invalid::new("weekdays", "empty: the window would never open")),
        }
    }

    /// Checks a new window.
    ///
    /// # Errors
    /// Names the field and its limit.
    pub fn checked(self, now: Timestamp) -> Result<Self, Invalid> {
        if self.ends_at.is_some_and(|end| end <= now) {
            return Err(Invalid::new("ends_at", "in the past: the window would never open"));
        }
        if self.hours.daily().is_none() {
            return Err(Invalid::new("start", "hours of a day, as HH:MM; for one period make a silence"));
        }
        reason_and_author(&self.reason, &self.author)?;
        Ok(Self { matcher: self.matcher.checked()?, ..self })
    }

    /// Whether it is open now.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.ends_at.is_none_or(|end| now < end)
            && self
                .hours
                .daily()
                .and_then(|hours| hours.opened_on(now))
                .is_some_and(|day| self.weekdays[day.num_days_from_monday() as usize])
    }

    /// When it opens or closes next, looked for up to eight days ahead.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let active = self.is_active(now);
        let minute = now - TimeDelta::seconds(now.timestamp().rem_euclid(60)) - TimeDelta::nanoseconds(now.timestamp_subsec_nanos().into());
        let by_minute = (1..=8 * 24 * 60).map(|minutes| minute + TimeDelta::minutes(minutes)).find(|at| self.is_active(*at) != active);
        // Its end need not be a full minute.
        match self.ends_at.filter(|end| *end > now && active) {
            Some(end) => Some(by_minute.map_or(end, |at| at.min(end))),
            None => by_minute,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn every_kind_of_criterion_has_to_be_met_by_any_of_its_values() {
        let id = DeviceId(uuid::Uuid::from_u128(1));
        let key = AlertKey { rule: Rule::DeviceOffline, subject: Subject::Device(id) };
        let labels = SubjectLabels { name: "till".into(), groups: strings(&["North"]), tags: strings(&["vip"]) };
        let alert = MatchedAlert { key: &key, severity: Severity::Warning, labels: &labels };
        let one = Matcher::default;
        for (matcher, matches) in [
            (Matcher { rules: vec![Rule::DeviceOffline, Rule::AppDown], ..one() }, true),
            (Matcher { rules: vec![Rule::AppDown], ..one() }, false),
            (Matcher { severities: vec![Severity::Critical], ..one() }, false),
            (Matcher { groups: strings(&["south", "north"]), ..one() }, true),
            (Matcher { groups: strings(&["north"]), tags: strings(&["spare"]), ..one() }, false),
            (Matcher { tags: strings(&["VIP"]), severities: vec![Severity::Warning], ..one() }, true),
            (Matcher { devices: vec![id], ..one() }, true),
            (Matcher { devices: vec![DeviceId(uuid::Uuid::from_u128(2))], ..one() }, false),
            (Matcher { nodes: strings(&["n1"]), ..one() }, false),
        ] {
            assert_eq!(matcher.matches(&alert), matches, "{matcher}");
        }
        let lost = AlertKey { rule: Rule::NodeLost, subject: Subject::Node("n1".into()) };
        let lost = MatchedAlert { key: &lost, severity: Severity::Critical, labels: &SubjectLabels::default() };
        assert!(Matcher { nodes: strings(&["n1"]), ..one() }.matches(&lost));
        assert!(!Matcher { groups: strings(&["north"]), ..one() }.matches(&lost), "a node has no group");
        let text = Matcher { rules: vec![Rule::DeviceOffline], groups: strings(&["north", "south"]), ..one() }.to_string();
        assert_eq!(text, "rule device_offline, group north or south");
    }

    fn silence(starts_at: &str, ends_at: &str) -> Silence {
        Silence {
            id: SilenceId(uuid::Uuid::nil()),
            matcher: Matcher { groups: strings(&["north"]), ..Matcher::default() },
            reason: "move".into(),
            author: "ada".into(),
            starts_at: at(starts_at),
            ends_at: at(ends_at),
        }
    }

    #[test]
    fn a_silence_that_cannot_be_meant_is_refused() {
        let now = at("2026-11-30T12:00:00Z");
        let refused = |silence: Silence| silence.checked(now).unwrap_err().to_string();
        let good = silence("2026-11-30T11:00:00Z", "2026-11-30T14:00:00Z");
        assert!(good.clone().checked(now).is_ok());
        assert_eq!(
            refused(silence("2026-11-30T10:00:00Z", "2026-11-30T11:00:00Z")),
            "ends_at: in the past: the silence would be over already"
        );
        assert_eq!(refused(silence("2026-11-30T15:00:00Z", "2026-11-30T14:00:00Z")), "ends_at: not after starts_at");
        assert_eq!(
            refused(silence("2026-11-30T12:00:00Z", "2027-11-30T12:00:00Z")),
            "ends_at: further than 90 days ahead; turn the rule off instead"
        );
        assert!(refused(Silence { reason: " ".into(), ..good.clone() }).starts_with("reason: missing"));
        assert!(refused(Silence { matcher: Matcher::default(), ..good.clone() }).starts_with("matcher: empty"));
        let many = Matcher { groups: vec!["x".into(); LABELS_MAX + 1], ..Matcher::default() };
        assert!(refused(Silence { matcher: many, ..good.clone() }).starts_with("matcher.groups: 33 entries"));
        assert!(good.is_active(now) && !good.is_active(good.ends_at));
        assert_eq!(good.next_change(now), Some(good.ends_at));
        assert_eq!(good.next_change(good.ends_at), None);
    }

    fn window(weekdays: &[&str], start: &str, end: &str, tz: &str) -> AlertWindow {
        AlertWindow {
            id: AlertWindowId(uuid::Uuid::nil()),
            matcher: Matcher { groups: strings(&["north"]), ..Matcher::default() },
            reason: "restart".into(),
            author: "ada".into(),
            weekdays: AlertWindow::parse_weekdays(&strings(weekdays)).unwrap(),
            hours: AlertWindow::parse_hours(start, end, tz).unwrap(),
            ends_at: None,
        }
    }

    #[test]
    fn a_window_opens_on_its_weekdays_by_local_time() {
        // Sunday nights in Berlin, which end on Monday morning.
        let nights = window(&["sun"], "22:00", "05:00", "Europe/Berlin");
        for (moment, active, changes) in [
            ("2026-11-22T20:59:30Z", false, "2026-11-22T21:00:00Z"),
            ("2026-11-22T21:00:00Z", true, "2026-11-23T04:00:00Z"),
            ("2026-11-23T03:59:59Z", true, "2026-11-23T04:00:00Z"),
            ("2026-11-23T21:30:00Z", false, "2026-11-29T21:00:00Z"),
        ] {
            assert_eq!((nights.is_active(at(moment)), nights.next_change(at(moment))), (active, Some(at(changes))), "{moment}");
        }
        let ending = AlertWindow { ends_at: Some(at("2026-11-22T23:00:30Z")), ..nights };
        assert_eq!(ending.next_change(at("2026-11-22T22:00:00Z")), Some(at("2026-11-22T23:00:30Z")));
        assert!(!ending.is_active(at("2026-11-22T23:00:30Z")) && ending.next_change(at("2026-11-22T23:00:30Z")).is_none());
        assert_eq!(ending.checked(at("2026-11-23T00:00:00Z")).unwrap_err().field, "ends_at");
    }

    #[test]
    fn what_is_no_window_is_refused() {
        assert_eq!(AlertWindow::parse_weekdays(&strings(&["mon", "day"])).unwrap_err().field, "weekdays[1]");
        assert_eq!(AlertWindow::parse_weekdays(&[]).unwrap_err().field, "weekdays");
        assert_eq!(AlertWindow::parse_hours("25:00", "05:00", "UTC").unwrap_err().field, "start");
        assert_eq!(AlertWindow::parse_hours("22:00", "05:00", "Mars/Olympus").unwrap_err().field, "tz");
    }

    proptest! {
        #[test]
        fn a_window_changes_when_it_says(start in 0_u32..1440, length in 1_u32..1440, days in 1_u8..127, second in 1_767_000_000_i64..1_830_000_000) {
            let text = |minute: u32| format!("{:02}:{:02}", minute % 1440 / 60, minute % 60);
            let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
            let names: Vec<_> = (0..7).filter(|day| days & (1 << day) != 0).map(|day| names[day]).collect();
            let window = window(&names, &text(start), &text(start + length), "Europe/Berlin");
            let now = chrono::DateTime::from_timestamp(second, 0).unwrap();
            if let Some(change) = window.next_change(now) {
                prop_assert!(change > now);
                prop_assert_ne!(window.is_active(change), window.is_active(now));
                prop_assert_eq!(window.is_active(change - TimeDelta::seconds(1)), window.is_active(now));
            }
        }
    }
}
