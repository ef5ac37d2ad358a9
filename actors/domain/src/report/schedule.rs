//! Schedules of reports: which period is sent over which channel, and when.

use chrono::{Datelike, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone, Weekday};
use chrono_tz::Tz;
use sha2::{Digest, Sha256};

use super::{Period, PeriodKind};
use crate::invalid::Invalid;
use crate::notification::DigestTime;
use crate::text::LABEL_MAX_CHARS;
use crate::{ChannelId, NotificationId, ReportScheduleId, Timestamp, name};

/// Most schedules.
pub const REPORT_SCHEDULES_MAX: usize = 100;
/// Time after which a report is sent with the days that there are.
const INCOMPLETE_AFTER: TimeDelta = TimeDelta::hours(24);

/// Schedule of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSchedule {
    /// Id.
    pub id: ReportScheduleId,
    /// Channel.
    pub channel: ChannelId,
    /// Kind of the periods.
    pub kind: PeriodKind,
    /// Group; `None`: the fleet.
    pub group: Option<String>,
    /// Time of the day; of weekly reports, on Mondays.
    pub at: DigestTime,
}

impl ReportSchedule {
    /// Checks the schedule.
    ///
    /// # Errors
    /// Names the field and its limit.
    pub fn checked(self) -> Result<Self, Invalid> {
        let group = match &self.group {
            Some(group) if group.trim().is_empty() => return Err(Invalid::new("group", "empty: leave it out for the whole fleet")),
            Some(group) => Some(name::displayed("group", group, LABEL_MAX_CHARS)?),
            None => None,
        };
        Ok(Self { group, ..self })
    }

    /// The period whose report is due at `now`, and since when: the newest one, unless it is sent. Of several that were missed, the others are
    /// not made up for. `sent`: first day of the period that was sent last; `since`: when the schedule was made.
    pub fn due(&self, sent: Option<NaiveDate>, since: Timestamp, now: Timestamp) -> Option<(Period, Timestamp)> {
        let (at, tz) = self.at.parts();
        let tz: Tz = tz.parse().unwrap_or(Tz::UTC);
        let time = NaiveTime::parse_from_str(&at, "%H:%M").ok()?;
        let today = now.with_timezone(&tz).date_naive();
        let is_its = |day: &NaiveDate| self.kind == PeriodKind::Daily || day.weekday() == Weekday::Mon;
        let days = (0..=self.kind.days()).filter_map(|back| today.checked_sub_days(Days::new(back))).filter(is_its);
        let (due, local) = days.filter_map(|day| Some((moment(day, time, tz)?, day))).find(|(due, _)| *due <= now)?;
        if due <= since {
            return None;
        }
        // The day before, by the calendar of those who read it.
        let period = Period::of(self.kind, local.pred_opt()?);
        sent.is_none_or(|sent| period.first > sent).then_some((period, due))
    }

    /// Whether a report that is due since `due` is sent now, with figures of `days` of its days: all of them, or what there is after a day of waiting.
    pub fn is_ready(&self, days: usize, due: Timestamp, now: Timestamp) -> bool {
        days >= self.kind.days() as usize || (days > 0 && now - due > INCOMPLETE_AFTER)
    }
}

/// The moment of a local time; where clocks are set forward over it, an hour later.
fn moment(day: NaiveDate, time: NaiveTime, tz: Tz) -> Option<Timestamp> {
    let local = tz.from_local_datetime(&day.and_time(time)).earliest();
    let later = || tz.from_local_datetime(&(day.and_time(time) + TimeDelta::hours(1))).earliest();
    local.or_else(later).map(|at| at.to_utc())
}

/// Id of the message with the report of a period: the same, whoever makes it.
pub fn report_notification_id(schedule: ReportScheduleId, period: Period) -> NotificationId {
    let digest = Sha256::digest(format!("nexmdm-report-v1\n{schedule}\n{}\n{}", period.kind.as_str(), period.first));
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    NotificationId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::day;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule(kind: PeriodKind, tz: &str) -> ReportSchedule {
        ReportSchedule {
            id: ReportScheduleId(uuid::Uuid::from_u128(1)),
            channel: ChannelId(uuid::Uuid::nil()),
            kind,
            group: None,
            at: DigestTime::parse("07:00", tz).unwrap(),
        }
    }

    #[test]
    fn the_day_before_is_due_each_morning_by_local_time() {
        let made = at("2026-10-01T00:00:00Z");
        for (tz, now, period, due) in [
            ("UTC", "2026-11-30T06:59:59Z", "2026-11-28", "2026-11-29T07:00:00Z"),
            ("UTC", "2026-11-30T07:00:00Z", "2026-11-29", "2026-11-30T07:00:00Z"),
            ("Europe/Berlin", "2026-11-30T06:00:00Z", "2026-11-29", "2026-11-30T06:00:00Z"),
            // Summer time ended on the 25th.
            ("Europe/Berlin", "2026-10-24T05:00:00Z", "2026-10-23", "2026-10-24T05:00:00Z"),
            ("Europe/Berlin", "2026-10-25T05:30:00Z", "2026-10-23", "2026-10-24T05:00:00Z"),
            ("Europe/Berlin", "2026-10-25T06:00:00Z", "2026-10-24", "2026-10-25T06:00:00Z"),
            ("Asia/Tokyo", "2026-11-29T22:00:00Z", "2026-11-29", "2026-11-29T22:00:00Z"),
            ("America/Los_Angeles", "2026-11-30T15:00:00Z", "2026-11-29", "2026-11-30T15:00:00Z"),
        ] {
            let (due_period, since) = schedule(PeriodKind::Daily, tz).due(None, made, at(now)).unwrap();
            assert_eq!((due_period.first, since), (day(period), at(due)), "{tz} {now}");
        }
    }

    #[test]
    fn a_time_that_clocks_skip_or_repeat_is_one() {
        let made = at("2026-01-01T00:00:00Z");
        let at_half_past_two =
            ReportSchedule { at: DigestTime::parse("02:30", "Europe/Berlin").unwrap(), ..schedule(PeriodKind::Daily, "UTC") };
        let due = |now: &str| at_half_past_two.due(None, made, at(now)).unwrap();
        // Clocks go from 2 to 3 on the 29th of March, and from 3 to 2 on the 25th of October.
        assert_eq!(due("2026-03-29T02:00:00Z").1, at("2026-03-29T01:30:00Z"));
        assert_eq!(due("2026-10-25T02:00:00Z").1, at("2026-10-25T00:30:00Z"));
        assert_eq!(due("2026-10-25T02:00:00Z").0.first, day("2026-10-24"));
    }

    #[test]
    fn a_week_is_due_on_monday_until_it_is_sent_or_the_next_is_due() {
        let weekly = schedule(PeriodKind::Weekly, "Europe/Berlin");
        let made = at("2026-11-01T00:00:00Z");
        let due = |sent: Option<&str>, now: &str| weekly.due(sent.map(day), made, at(now)).map(|(period, _)| period.first.to_string());
        assert_eq!(due(None, "2026-11-30T05:59:00Z").as_deref(), Some("2026-11-16"));
        assert_eq!(due(Some("2026-11-16"), "2026-11-30T05:59:00Z"), None);
        for now in ["2026-11-30T06:00:00Z", "2026-12-03T00:00:00Z", "2026-12-07T05:59:00Z"] {
            assert_eq!(due(Some("2026-11-16"), now).as_deref(), Some("2026-11-23"), "{now}");
            assert_eq!(due(Some("2026-11-23"), now), None, "{now}");
        }
        // A schedule that is made on a Wednesday begins with the next Monday.
        assert_eq!(weekly.due(None, at("2026-11-25T12:00:00Z"), at("2026-11-25T13:00:00Z")), None);
    }

    #[test]
    fn each_period_is_due_once_over_a_year_of_clock_changes() {
        for (kind, tz, expected) in [
            (PeriodKind::Daily, "America/New_York", 365),
            (PeriodKind::Weekly, "America/New_York", 52),
            (PeriodKind::Daily, "Australia/Lord_Howe", 365),
        ] {
            let schedule = schedule(kind, tz);
            let begin = at("2026-01-01T14:00:00Z");
            let (mut sent, mut count) = (None, 0);
            for half_hour in 0..365 * 48 {
                let now = begin + TimeDelta::minutes(30 * half_hour);
                if let Some((period, _)) = schedule.due(sent, begin, now) {
                    assert!(sent.is_none_or(|sent| Period { kind, first: sent }.after() == period), "{tz}: none is left out at {now}");
                    sent = Some(period.first);
                    count += 1;
                }
            }
            assert!((expected - 1..=expected).contains(&count), "{tz}: {count}");
        }
    }

    #[test]
    fn a_report_waits_a_day_for_its_days() {
        let (weekly, due) = (schedule(PeriodKind::Weekly, "UTC"), at("2026-11-30T07:00:00Z"));
        for (days, hours, ready) in [(7, 0, true), (6, 0, false), (6, 24, false), (6, 25, true), (0, 99, false)] {
            assert_eq!(weekly.is_ready(days, due, due + TimeDelta::hours(hours)), ready, "{days} {hours}");
        }
    }

    #[test]
    fn a_period_of_a_schedule_has_one_message() {
        let (a, b) = (ReportScheduleId(uuid::Uuid::from_u128(1)), ReportScheduleId(uuid::Uuid::from_u128(2)));
        let period = Period::of(PeriodKind::Daily, day("2026-11-23"));
        assert_eq!(report_notification_id(a, period), report_notification_id(a, period));
        let week = Period::of(PeriodKind::Weekly, day("2026-11-23"));
        for (schedule, other) in [(b, period), (a, period.after()), (a, week)] {
            assert_ne!(report_notification_id(a, period), report_notification_id(schedule, other));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let of = |group: &str| ReportSchedule { group: Some(group.to_owned()), ..schedule(PeriodKind::Daily, "UTC") }.checked();
        assert_eq!(of(" ").unwrap_err().to_string(), "group: empty: leave it out for the whole fleet");
        assert_eq!(of(&"x".repeat(65)).unwrap_err().field, "group");
        assert_eq!(of(" north ").unwrap().group.as_deref(), Some("north"));
    }
}
