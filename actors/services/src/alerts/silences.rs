//! Silences and maintenance windows of notifications.

use chrono::TimeDelta;
use domain::access::{Permission, Principal};
use domain::alert::{AlertWindow, Matcher, SILENCES_MAX, Severity, Silence};
use domain::audit::{AuditAction, Target};
use domain::{AlertWindowId, Invalid, ServiceError, SilenceId, Timestamp};
use serde_json::{Value, json};
use store::AuditEntry;

use super::AlertService;

/// How long a silence that has ended is listed.
const ENDED_LISTED: TimeDelta = TimeDelta::days(7);
/// Most silences of a list: those that have not ended, and others.
const LISTED_MAX: i64 = 2 * SILENCES_MAX as i64;

/// End of a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceEnd {
    /// At this time.
    At(Timestamp),
    /// So many seconds after its beginning.
    AfterSeconds(i64),
}

/// A silence as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilenceRequest {
    /// Alerts.
    pub matcher: Matcher,
    /// Reason.
    pub reason: String,
    /// Beginning; `None`: now.
    pub starts_at: Option<Timestamp>,
    /// End.
    pub end: SilenceEnd,
}

/// A maintenance window as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowRequest {
    /// Alerts.
    pub matcher: Matcher,
    /// Reason.
    pub reason: String,
    /// Weekdays on which it opens: `mon`, `tue`, ...
    pub weekdays: Vec<String>,
    /// Local time at which it opens, `HH:MM`.
    pub start: String,
    /// Local time at which it closes, `HH:MM`.
    pub end: String,
    /// Time zone, by its IANA name.
    pub tz: String,
    /// End of all of it, if any.
    pub ends_at: Option<Timestamp>,
}

impl SilenceRequest {
    fn silence(self, id: SilenceId, author: &str, now: Timestamp) -> Result<Silence, Invalid> {
        let Self { matcher, reason, starts_at, end } = self;
        let starts_at = starts_at.unwrap_or(now);
        let ends_at = match end {
            SilenceEnd::At(at) => at,
            SilenceEnd::AfterSeconds(seconds) if seconds <= 0 => return Err(Invalid::new("duration_seconds", "not a positive number")),
            SilenceEnd::AfterSeconds(seconds) => {
                let end = TimeDelta::try_seconds(seconds).and_then(|length| starts_at.checked_add_signed(length));
                end.ok_or_else(|| Invalid::new("duration_seconds", "out of range"))?
            }
        };
        Silence { id, matcher, reason: reason.trim().to_owned(), author: author.to_owned(), starts_at, ends_at }.checked(now)
    }
}

fn of_silence(silence: &Silence) -> Value {
    json!({
        "matcher": silence.matcher.to_string(), "reason": silence.reason, "starts_at": silence.starts_at, "ends_at": silence.ends_at,
    })
}

fn of_window(window: &AlertWindow) -> Value {
    let hours = window.hours.daily().map(|hours| format!("{}-{} {}", hours.start(), hours.end(), hours.tz()));
    json!({ "matcher": window.matcher.to_string(), "reason": window.reason, "weekdays": window.weekdays, "hours": hours, "ends_at": window.ends_at })
}

fn target(kind: &'static str, id: String, matcher: &Matcher) -> Target {
    Target::Other { kind, id: Some(id), name: Some(matcher.to_string()) }
}

impl AlertService {
    /// Silences that have not ended, the first to end first; with `ended`, also those of the last seven days.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn silences(&self, principal: &Principal, ended: bool) -> Result<Vec<Silence>, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        let now = self.clock.now();
        Ok(self.store.silences(if ended { now - ENDED_LISTED } else { now }, LISTED_MAX).await?)
    }

    /// Makes a silence.
    ///
    /// # Errors
    /// Forbidden, it cannot be meant, or there are too many: the field, the problem and the limit are named.
    pub async fn add_silence(&self, principal: &Principal, request: SilenceRequest) -> Result<Silence, ServiceError> {
        principal.require(Permission::ManageAlerts)?;
        let now = self.clock.now();
        let silence = request.silence(SilenceId(self.clock.new_id()), principal.username(), now)?;
        let target = target("alert_silence", silence.id.to_string(), &silence.matcher);
        let entry = AuditEntry::new(principal, AuditAction::SilenceMade, target).after(of_silence(&silence));
        match self.store.insert_silence(&silence, SILENCES_MAX as i64, &entry, now).await? {
            true => {
                tracing::info!(event = "alert_silence.made", silence_id = %silence.id, by = principal.username());
                Ok(silence)
            }
            false => Err(ServiceError::WrongState("the limit of 1000 silences is reached; end one first")),
        }
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// Forbidden, or there is no such silence that has not ended.
    pub async fn end_silence(&self, principal: &Principal, id: SilenceId) -> Result<(), ServiceError> {
        principal.require(Permission::ManageAlerts)?;
        let now = self.clock.now();
        let silences = self.store.silences(now, LISTED_MAX).await?;
        let silence = silences.into_iter().find(|silence| silence.id == id);
        // One of a later build is ended as well.
        let target = match &silence {
            Some(silence) => target("alert_silence", id.to_string(), &silence.matcher),
            None => Target::Other { kind: "alert_silence", id: Some(id.to_string()), name: None },
        };
        let mut entry = AuditEntry::new(principal, AuditAction::SilenceEnded, target);
        if let Some(silence) = &silence {
            entry = entry.before(of_silence(silence));
        }
        match self.store.end_silence(id, &entry, now).await? {
            true => Ok(()),
            false => Err(ServiceError::NotFound("silence that has not ended")),
        }
    }

    /// Maintenance windows, the oldest first.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn windows(&self, principal: &Principal) -> Result<Vec<AlertWindow>, ServiceError> {
        principal.require(Permission::ViewAlerts)?;
        Ok(self.store.alert_windows(SILENCES_MAX as i64).await?)
    }

    /// Makes a maintenance window.
    ///
    /// # Errors
    /// Forbidden, it cannot be meant, or there are too many: the field, the problem and the limit are named.
    pub async fn add_window(&self, principal: &Principal, request: WindowRequest) -> Result<AlertWindow, ServiceError> {
        principal.require(Permission::ManageAlerts)?;
        let now = self.clock.now();
        let WindowRequest { matcher, reason, weekdays, start, end, tz, ends_at } = request;
        let window = AlertWindow {
            id: AlertWindowId(self.clock.new_id()),
            matcher,
            reason: reason.trim().to_owned(),
            author: principal.username().to_owned(),
            weekdays: AlertWindow::parse_weekdays(&weekdays)?,
            hours: AlertWindow::parse_hours(&start, &end, &tz)?,
            ends_at,
        }
        .checked(now)?;
        let target = target("alert_window", window.id.to_string(), &window.matcher);
        let entry = AuditEntry::new(principal, AuditAction::AlertWindowMade, target).after(of_window(&window));
        match self.store.insert_alert_window(&window, SILENCES_MAX as i64, &entry, now).await? {
            true => Ok(window),
            false => Err(ServiceError::WrongState("the limit of 1000 maintenance windows is reached; remove one first")),
        }
    }

    /// Removes a maintenance window.
    ///
    /// # Errors
    /// Forbidden, or there is no such window.
    pub async fn remove_window(&self, principal: &Principal, id: AlertWindowId) -> Result<(), ServiceError> {
        principal.require(Permission::ManageAlerts)?;
        let windows = self.store.alert_windows(SILENCES_MAX as i64).await?;
        let window = windows.into_iter().find(|window| window.id == id).ok_or(ServiceError::NotFound("maintenance window"))?;
        let target = target("alert_window", id.to_string(), &window.matcher);
        let entry = AuditEntry::new(principal, AuditAction::AlertWindowRemoved, target).before(of_window(&window));
        match self.store.delete_alert_window(id, &entry, self.clock.now()).await? {
            true => Ok(()),
            false => Err(ServiceError::NotFound("maintenance window")),
        }
    }
}

/// Criteria of silences and windows, as callers name them.
///
/// # Errors
/// A rule, severity or device is none.
pub fn matcher(
    rules: &[String],
    severities: &[String],
    groups: Vec<String>,
    tags: Vec<String>,
    devices: &[String],
    nodes: Vec<String>,
) -> Result<Matcher, Invalid> {
    let rule = |(at, name): (usize, &String)| domain::alert::Rule::parse(&format!("matcher.rules[{at}]"), name);
    let severity = |(at, name): (usize, &String)| Severity::parse(&format!("matcher.severities[{at}]"), name);
    let device =
        |(at, id): (usize, &String)| id.parse().map_err(|_| Invalid::new(format!("matcher.devices[{at}]"), "not an id of a device"));
    Ok(Matcher {
        rules: rules.iter().enumerate().map(rule).collect::<Result<_, _>>()?,
        severities: severities.iter().enumerate().map(severity).collect::<Result<_, _>>()?,
        groups,
        tags,
        devices: devices.iter().enumerate().map(device).collect::<Result<_, _>>()?,
        nodes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_lasts_as_long_as_it_is_asked_to() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let request = |end| SilenceRequest {
            matcher: matcher(&["device_offline".into()], &[], vec!["north".into()], vec![], &[], vec![]).unwrap(),
            reason: " move ".into(),
            starts_at: None,
            end,
        };
        let silence = |end| request(end).silence(SilenceId(uuid::Uuid::nil()), "ada", now);
        let made = silence(SilenceEnd::AfterSeconds(7200)).unwrap();
        assert_eq!((made.starts_at, made.ends_at - now, made.reason.as_str()), (now, TimeDelta::hours(2), "move"));
        for (end, field) in [
            (SilenceEnd::AfterSeconds(0), "duration_seconds"),
            (SilenceEnd::AfterSeconds(i64::MAX), "duration_seconds"),
            (SilenceEnd::AfterSeconds(91 * 86_400), "ends_at"),
            (SilenceEnd::At(now - TimeDelta::seconds(1)), "ends_at"),
        ] {
            assert_eq!(silence(end).unwrap_err().field, field, "{end:?}");
        }
    }

    #[test]
    fn a_criterion_that_is_none_is_named_by_its_place() {
        let refused = |rules: &[&str], devices: &[&str]| {
            let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            matcher(&texts(rules), &[], vec![], vec![], &texts(devices), vec![]).unwrap_err().field
        };
        assert_eq!(refused(&["app_down", "nonsense"], &[]), "matcher.rules[1]");
        assert_eq!(refused(&[], &["kiosk-7"]), "matcher.devices[0]");
    }
}
