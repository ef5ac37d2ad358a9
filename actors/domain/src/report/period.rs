//! Periods of reports: days and weeks of UTC, as history is aggregated.

use std::fmt;

use chrono::{Datelike, Days, NaiveDate};

/// Kind of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum PeriodKind {
    /// A day.
    Daily,
    /// A week, Monday to Sunday.
    Weekly,
}

named!(pub PeriodKind, parse -> Result);

impl PeriodKind {
    /// Title on pages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Daily => "Daily",
            Self::Weekly => "Weekly",
        }
    }

    /// Number of days.
    pub fn days(self) -> u64 {
        match self {
            Self::Daily => 1,
            Self::Weekly => 7,
        }
    }
}

/// Period of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Period {
    /// Kind.
    pub kind: PeriodKind,
    /// First day.
    pub first: NaiveDate,
}

impl Period {
    /// The period that this day is in.
    pub fn of(kind: PeriodKind, day: NaiveDate) -> Self {
        let into = match kind {
            PeriodKind::Daily => 0,
            PeriodKind::Weekly => u64::from(day.weekday().num_days_from_monday()),
        };
        Self { kind, first: day.checked_sub_days(Days::new(into)).unwrap_or(day) }
    }

    /// Last day.
    pub fn last(&self) -> NaiveDate {
        self.first.checked_add_days(Days::new(self.kind.days() - 1)).unwrap_or(self.first)
    }

    /// The one before.
    #[must_use]
    pub fn before(&self) -> Self {
        Self { first: self.first.checked_sub_days(Days::new(self.kind.days())).unwrap_or(self.first), ..*self }
    }

    /// The one after.
    #[must_use]
    pub fn after(&self) -> Self {
        Self { first: self.first.checked_add_days(Days::new(self.kind.days())).unwrap_or(self.first), ..*self }
    }

    /// Number of periods between it and the one that was sent last, which begins with this day.
    pub fn left_out(&self, sent: Option<NaiveDate>) -> u64 {
        let days = sent.map_or(0, |sent| (self.first - sent).num_days().max(0).unsigned_abs());
        (days / self.kind.days()).saturating_sub(1)
    }

    /// Number of days.
    pub fn days(&self) -> usize {
        self.kind.days() as usize
    }
}

/// The period in words: "2026-11-29", "week of 2026-11-23".
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PeriodKind::Daily => write!(f, "{}", self.first),
            PeriodKind::Weekly => write!(f, "week of {}", self.first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::day;

    #[test]
    fn weeks_begin_on_monday_and_follow_each_other() {
        for (date, first, last) in [
            ("2026-11-29", "2026-11-23", "2026-11-29"),
            ("2026-11-30", "2026-11-30", "2026-12-06"),
            ("2027-01-01", "2026-12-28", "2027-01-03"),
        ] {
            let week = Period::of(PeriodKind::Weekly, day(date));
            assert_eq!((week.first, week.last()), (day(first), day(last)), "{date}");
            assert_eq!(week.before().after(), week);
            assert_eq!(week.before().last().succ_opt(), Some(week.first));
        }
        let one = Period::of(PeriodKind::Daily, day("2026-03-01"));
        assert_eq!((one.last(), one.before().first, one.days()), (day("2026-03-01"), day("2026-02-28"), 1));
        assert_eq!(Period::of(PeriodKind::Weekly, day("2026-11-29")).to_string(), "week of 2026-11-23");
    }

    #[test]
    fn periods_that_were_not_sent_are_counted() {
        for (kind, sent, first, left_out) in [
            (PeriodKind::Daily, None, "2026-11-29", 0),
            (PeriodKind::Daily, Some("2026-11-28"), "2026-11-29", 0),
            (PeriodKind::Daily, Some("2026-11-27"), "2026-11-29", 1),
            (PeriodKind::Daily, Some("2026-11-30"), "2026-11-29", 0),
            (PeriodKind::Weekly, Some("2026-11-16"), "2026-11-23", 0),
            (PeriodKind::Weekly, Some("2026-11-02"), "2026-11-23", 2),
        ] {
            assert_eq!(Period::of(kind, day(first)).left_out(sent.map(day)), left_out, "{sent:?} {first}");
        }
    }

    #[test]
    fn the_end_of_the_calendar_is_no_panic() {
        for kind in PeriodKind::ALL {
            for date in [NaiveDate::MIN, NaiveDate::MAX] {
                let period = Period::of(kind, date);
                let _ = (period.last(), period.before(), period.after());
            }
        }
    }
}
