//! Reports of the fleet, and the schedules by which they are sent.

use bytes::Bytes;
use chrono::NaiveDate;
use clock::Clock;
use domain::access::{Permission, Principal};
use domain::audit::{AuditAction, Target};
use domain::notification::DigestTime;
use domain::report::{Period, PeriodKind, REPORT_SCHEDULES_MAX, Report, ReportSchedule};
use domain::text::{LABEL_MAX_CHARS, opaque};
use domain::{ChannelId, Invalid, ReportScheduleId, ServiceError, Timestamp};
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};
use store::{AuditEntry, Store, StoredReportSchedule};

use super::table_pools::TablePools;

/// Earliest day that is asked for.
const EARLIEST: NaiveDate = match NaiveDate::from_ymd_opt(2000, 1, 1) {
    Some(day) => day,
    None => NaiveDate::MIN,
};

/// Report that somebody wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRequest {
    /// Kind of the period.
    pub kind: PeriodKind,
    /// A day of it; the newest period that is over when absent.
    pub date: Option<NaiveDate>,
    /// Group; the fleet when absent.
    pub group: Option<String>,
}

/// A report as pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportView {
    /// The report.
    pub report: Report,
    /// Groups that there are figures of in its period, by name.
    pub groups: Vec<String>,
    /// The newest day that there are figures of; `None`: there are none yet.
    pub newest: Option<NaiveDate>,
}

/// Schedule that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportScheduleRequest {
    /// Channel.
    pub channel: ChannelId,
    /// Kind of the periods.
    pub kind: PeriodKind,
    /// Group; the fleet when absent.
    pub group: Option<String>,
    /// Time of the day; of weekly reports, on Mondays.
    pub at: DigestTime,
}

/// A schedule as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportScheduleView {
    /// The schedule.
    pub schedule: ReportSchedule,
    /// Period that was sent last, and when.
    pub sent: Option<(Period, Timestamp)>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Reports of the fleet, for people.
pub struct ReportService {
    clock: Clock,
    store: Store,
    tables: TablePools,
    groups_max: usize,
}

fn audited(schedule: &ReportSchedule) -> Value {
    let (at, tz) = schedule.at.parts();
    json!({ "channel_id": schedule.channel.to_string(), "period": schedule.kind.as_str(), "group": schedule.group, "at": at, "tz": tz })
}

fn entry(principal: &Principal, action: AuditAction, schedule: &ReportSchedule) -> AuditEntry {
    let name = format!("{}, {}", schedule.kind.title(), schedule.group.as_deref().unwrap_or("all devices"));
    AuditEntry::new(principal, action, Target::Other { kind: "report_schedule", id: Some(schedule.id.to_string()), name: Some(name) })
}

/// Whoever has reports sent sees devices.
fn authorize(principal: &Principal) -> Result<(), ServiceError> {
    principal.require(Permission::ManageAlertChannels)?;
    Ok(principal.require(Permission::ViewDevices)?)
}

impl ReportRequest {
    fn checked(self, today: NaiveDate) -> Result<Self, Invalid> {
        if let Some(group) = &self.group {
            if group.trim().is_empty() {
                return Err(Invalid::new("group", "empty: leave it out for the whole fleet"));
            }
            opaque("group", group, LABEL_MAX_CHARS)?;
        }
        match self.date {
            Some(date) if date < EARLIEST => Err(Invalid::new("date", format!("before {EARLIEST}"))),
            Some(date) if Period::of(self.kind, date).first > today => Err(Invalid::new("date", "in the future")),
            _ => Ok(self),
        }
    }
}

/// The period that is shown when none is asked for: the newest one that is over, or begun while there is none.
fn newest_period(kind: PeriodKind, newest: Option<NaiveDate>, today: NaiveDate) -> Period {
    match newest {
        Some(newest) => {
            let period = Period::of(kind, newest);
            if period.last() <= newest { period } else { period.before() }
        }
        None => Period::of(kind, today).before(),
    }
}

impl ReportService {
    /// The service over a store; a report about the fleet has at most `groups_max` groups.
    pub fn new(clock: Clock, store: Store, tables: TablePools, groups_max: usize) -> Self {
        Self { clock, store, tables, groups_max }
    }

    /// A report. Of a period that there are no figures of, it has no days; for those who may not see alerts, no alerts by rule.
    ///
    /// # Errors
    /// Forbidden, the date is in the future, or the group is none.
    pub async fn report(&self, principal: &Principal, request: ReportRequest) -> Result<ReportView, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        let today = self.clock.now().date_naive();
        let ReportRequest { kind, date, group } = request.checked(today)?;
        let _permit = self.tables.read(principal).await?;
        let newest = self.store.newest_report_day().await?;
        let group = group.as_deref();
        let mut period = match date {
            Some(date) => Period::of(kind, date),
            None => newest_period(kind, newest, today),
        };
        let mut report = self.store.for_reading().report(period, group, self.groups_max).await?;
        if let (None, Some(newest), true) = (date, newest, report.days.is_empty()) {
            period = Period::of(kind, newest);
            report = self.store.for_reading().report(period, group, self.groups_max).await?;
        }
        let groups = match group {
            None => report.groups.iter().map(|(name, _)| name.clone()).collect(),
            Some(_) => {
                let most = i64::try_from(self.groups_max).unwrap_or(i64::MAX);
                self.store.for_reading().report_groups(period.first, period.last(), most).await?.into_iter().map(|(name, _)| name).collect()
            }
        };
        if !principal.may(Permission::ViewAlerts) {
            report = report.without_rules();
        }
        // They may have been made in between.
        let newest = newest.max(report.days.last().map(|(day, _)| *day));
        Ok(ReportView { report, groups, newest })
    }

    /// A report as a table (RFC 4180).
    ///
    /// # Errors
    /// As [`Self::report`], and too many exports are under way.
    pub async fn export(
        &self,
        principal: &Principal,
        request: ReportRequest,
    ) -> Result<impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static, ServiceError> {
        principal.require(Permission::ViewDevices)?;
        let permit = self.tables.export(principal)?;
        let table = Bytes::from(self.report(principal, request).await?.report.csv());
        Ok(self.tables.stream(permit, principal, stream::iter([Ok(table)])))
    }

    /// The schedules, the oldest first.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn schedules(&self, principal: &Principal) -> Result<Vec<ReportScheduleView>, ServiceError> {
        authorize(principal)?;
        let view = |stored: StoredReportSchedule| ReportScheduleView {
            sent: stored.sent.map(|(first, at)| (Period { kind: stored.schedule.kind, first }, at)),
            schedule: stored.schedule,
            created_by: stored.created_by,
            created_at: stored.created_at,
        };
        Ok(self.store.report_schedules(false, REPORT_SCHEDULES_MAX as i64).await?.into_iter().map(view).collect())
    }

    /// Has a report sent to a channel after each period, from the next time of the day on.
    ///
    /// # Errors
    /// Forbidden, the group is none, there is no such channel, or there are too many schedules.
    pub async fn schedule(&self, principal: &Principal, request: ReportScheduleRequest) -> Result<ReportScheduleView, ServiceError> {
        authorize(principal)?;
        let ReportScheduleRequest { channel, kind, group, at } = request;
        let schedule = ReportSchedule { id: ReportScheduleId(self.clock.new_id()), channel, kind, group, at }.checked()?;
        self.store.alert_channel(channel).await?.ok_or_else(|| Invalid::new("channel_id", "not a channel"))?;
        let entry = entry(principal, AuditAction::ReportScheduleMade, &schedule).after(audited(&schedule));
        let (by, now) = (principal.username(), self.clock.now());
        match self.store.insert_report_schedule(&schedule, REPORT_SCHEDULES_MAX as i64, by, &entry, now).await? {
            true => Ok(ReportScheduleView { schedule, sent: None, created_by: by.to_owned(), created_at: now }),
            false => Err(ServiceError::WrongState("the limit of 100 report schedules is reached; remove one first")),
        }
    }

    /// Ends a schedule. What it has put into the outbox is still sent.
    ///
    /// # Errors
    /// Forbidden, or there is no such schedule.
    pub async fn unschedule(&self, principal: &Principal, id: ReportScheduleId) -> Result<(), ServiceError> {
        let all = self.schedules(principal).await?;
        let before = all.into_iter().map(|view| view.schedule).find(|one| one.id == id).ok_or(ServiceError::NotFound("report schedule"))?;
        let entry = entry(principal, AuditAction::ReportScheduleRemoved, &before).before(audited(&before));
        match self.store.delete_report_schedule(id, &entry, self.clock.now()).await? {
            true => Ok(()),
            false => Err(ServiceError::NotFound("report schedule")),
        }
    }

    /// Whether this principal may see and change schedules.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_schedules(&self, principal: &Principal) -> Result<(), ServiceError> {
        authorize(principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_period_that_is_over_is_shown() {
        for (kind, newest, first) in [
            (PeriodKind::Daily, Some("2026-11-29"), "2026-11-29"),
            (PeriodKind::Weekly, Some("2026-11-29"), "2026-11-23"),
            (PeriodKind::Weekly, Some("2026-11-28"), "2026-11-16"),
            (PeriodKind::Daily, None, "2026-11-29"),
            (PeriodKind::Weekly, None, "2026-11-23"),
        ] {
            assert_eq!(newest_period(kind, newest.map(day), day("2026-11-30")).first, day(first), "{newest:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let checked = |date: Option<&str>, group: Option<&str>| {
            let request = ReportRequest { kind: PeriodKind::Weekly, date: date.map(day), group: group.map(str::to_owned) };
            request.checked(day("2026-11-30")).map_err(|invalid| invalid.to_string())
        };
        assert!(checked(Some("2026-12-06"), None).is_ok(), "the week that has begun");
        assert_eq!(checked(Some("2026-12-07"), None).unwrap_err(), "date: in the future");
        assert_eq!(checked(Some("-262143-01-01"), None).unwrap_err(), "date: before 2000-01-01");
        assert!(checked(None, Some("a\0")).unwrap_err().starts_with("group: "));
        assert_eq!(checked(None, Some(" ")).unwrap_err(), "group: empty: leave it out for the whole fleet");
        assert!(checked(None, Some(&"x".repeat(65))).unwrap_err().starts_with("group: "));
    }
}
