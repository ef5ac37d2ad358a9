//! URL state of the reports page: the period and the group.

use std::fmt;

use chrono::NaiveDate;
use domain::Invalid;
use domain::report::PeriodKind;
use services::ReportRequest;

use crate::url_state::{NAME_CHARS_MAX, Query, pairs, percent_decoded};

/// Report in the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReportsUrl {
    /// Kind of the period.
    pub(crate) kind: PeriodKind,
    /// A day of the period; the newest one that is over, if there is none.
    pub(crate) date: Option<NaiveDate>,
    /// Group; the fleet, if there is none.
    pub(crate) group: Option<String>,
}

impl Default for ReportsUrl {
    fn default() -> Self {
        Self { kind: PeriodKind::Daily, date: None, group: None }
    }
}

impl ReportsUrl {
    /// Parses the query of a download: what is not understood must not be another report.
    ///
    /// # Errors
    /// Names the parameter that is unknown or does not read.
    pub(crate) fn exact_from_address(query: &str) -> Result<Self, Invalid> {
        let query = percent_decoded(query);
        let url = Self::from(query.as_str());
        for (name, value) in pairs(&query) {
            let (is_read, problem) = match name {
                "group" => (true, ""),
                "period" => (value == url.kind.as_str(), "not one of daily, weekly"),
                "date" => (url.date.is_some(), "not a day as in 2026-11-21"),
                _ => (false, "unknown parameter"),
            };
            if !is_read {
                return Err(Invalid::new(name.chars().take(NAME_CHARS_MAX).collect::<String>(), problem));
            }
        }
        Ok(url)
    }

    /// The report that is wanted.
    pub(crate) fn request(self) -> ReportRequest {
        ReportRequest { kind: self.kind, date: self.date, group: self.group }
    }
}

impl From<&str> for ReportsUrl {
    /// Parses known parameters and ignores the rest.
    fn from(query: &str) -> Self {
        let mut url = Self::default();
        for (key, value) in pairs(query) {
            match key {
                "period" => url.kind = value.parse().unwrap_or(url.kind),
                "date" => url.date = value.parse().ok(),
                "group" => url.group = Some(value),
                _ => {}
            }
        }
        url
    }
}

impl fmt::Display for ReportsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Query::new(f);
        query.pair("period", Some(self.kind.as_str()).filter(|_| self.kind != PeriodKind::Daily))?;
        query.pair("date", self.date.map(|day| day.to_string()).as_deref())?;
        query.pair("group", self.group.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back() {
        let url = ReportsUrl { kind: PeriodKind::Weekly, date: "2026-11-29".parse().ok(), group: Some("käse & <b>~".into()) };
        assert_eq!(ReportsUrl::from(url.to_string().as_str()), url);
        assert_eq!(ReportsUrl::from("period=hourly&date=x&group=&other=1"), ReportsUrl::default());
        assert_eq!(ReportsUrl::default().to_string(), "");
    }

    /// What mail leads to is written by `domain::report`.
    #[test]
    fn the_address_in_a_message_is_understood() {
        use domain::ReportScheduleId;
        use domain::notification::DigestTime;
        use domain::report::{Period, Report, ReportSchedule, report_message};
        let group = "käse & <b>~ 100%".to_owned();
        let period = Period::of(PeriodKind::Weekly, "2026-11-29".parse().unwrap());
        let schedule = ReportSchedule {
            id: ReportScheduleId(uuid::Uuid::nil()),
            channel: domain::ChannelId(uuid::Uuid::nil()),
            kind: period.kind,
            group: None,
            at: DigestTime::parse("07:00", "UTC").unwrap(),
        };
        let message = report_message(&schedule, &Report::of(period, Some(group.clone()), vec![], &[], vec![]), None);
        let path = message.report.unwrap().path;
        let Ok(crate::route::Route::Reports { query }) = path.parse() else { panic!("{path} is no report") };
        assert_eq!(query, ReportsUrl { kind: PeriodKind::Weekly, date: Some(period.first), group: Some(group) });
    }

    #[test]
    fn a_download_refuses_what_it_does_not_understand() {
        let field = |query: &str| ReportsUrl::exact_from_address(query).map_err(|invalid| invalid.field);
        for (query, bad) in [("period=hourly", "period"), ("date=2026-13-01", "date"), ("grup=x", "grup")] {
            assert_eq!(field(query), Err(bad.to_owned()), "{query}");
        }
        assert!(field("period=weekly&date=2026-11-01&group=north").is_ok());
        assert!(field("period=daily").is_ok());
    }
}
