//! URL state of the audit page: the filter of entries.

use std::fmt;

use chrono::{NaiveDate, NaiveTime, TimeDelta};
use domain::audit::AuditFilter;
use domain::{Invalid, Timestamp};

use crate::url_state::{NAME_CHARS_MAX, Query, pairs, percent_decoded};

/// Time range of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
pub(crate) enum TimeRange {
    #[strum(serialize = "1h")]
    Hour,
    #[strum(serialize = "24h")]
    Day,
    #[strum(serialize = "7d")]
    Week,
    #[strum(serialize = "30d")]
    Month,
}

domain::named!(pub(crate) TimeRange, parse -> Option);

impl TimeRange {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Hour => "Last hour",
            Self::Day => "Last 24 hours",
            Self::Week => "Last 7 days",
            Self::Month => "Last 30 days",
        }
    }

    fn time(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
            Self::Week => TimeDelta::days(7),
            Self::Month => TimeDelta::days(30),
        }
    }
}

/// Filter of entries in the URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AuditUrl {
    /// Actor.
    pub(crate) actor: Option<String>,
    /// Prefix of the action.
    pub(crate) action: Option<String>,
    /// Target.
    pub(crate) target: Option<String>,
    /// Text contained in the entry.
    pub(crate) text: Option<String>,
    /// Time range; explicit days below take precedence.
    pub(crate) within: Option<TimeRange>,
    /// First day, UTC.
    pub(crate) from: Option<NaiveDate>,
    /// Last day, UTC.
    pub(crate) to: Option<NaiveDate>,
    /// Whether archives are searched as well.
    pub(crate) archived: bool,
}

impl AuditUrl {
    /// Parses the query of a download: what is not understood must not widen it.
    ///
    /// # Errors
    /// Names the parameter that is unknown or does not read.
    pub(crate) fn exact_from_address(query: &str) -> Result<Self, Invalid> {
        let query = percent_decoded(query);
        let url = Self::from(query.as_str());
        for (name, _) in pairs(&query) {
            let (is_read, problem) = match name {
                "who" | "what" | "target" | "q" => (true, ""),
                "within" => (url.within.is_some(), "not one of 1h, 24h, 7d, 30d"),
                "from" => (url.from.is_some(), "not a day as in 2026-11-21"),
                "to" => (url.to.is_some(), "not a day as in 2026-11-21"),
                _ => (false, "unknown parameter"),
            };
            if !is_read {
                return Err(Invalid::new(name.chars().take(NAME_CHARS_MAX).collect::<String>(), problem));
            }
        }
        Ok(url)
    }

    /// The audit filter at `now`.
    pub(crate) fn filter(self, now: Timestamp) -> AuditFilter {
        let begins = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        let from = self.from.map(begins).or_else(|| self.within.map(|within| now - within.time()));
        let to = self.to.and_then(|day| day.succ_opt()).map(|next| begins(next) - TimeDelta::microseconds(1));
        let Self { actor, action, target, text, .. } = self;
        AuditFilter { actor, action, target, request_id: None, text, from, to }
    }
}

impl From<&str> for AuditUrl {
    /// Parses known parameters and ignores the rest.
    fn from(query: &str) -> Self {
        let mut url = Self::default();
        for (key, value) in pairs(query) {
            match key {
                "who" => url.actor = Some(value),
                "what" => url.action = Some(value),
                "target" => url.target = Some(value),
                "q" => url.text = Some(value),
                "within" => url.within = TimeRange::parse(&value),
                "from" => url.from = value.parse().ok(),
                "to" => url.to = value.parse().ok(),
                "archived" => url.archived = value == "1",
                _ => {}
            }
        }
        url
    }
}

impl fmt::Display for AuditUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Query::new(f);
        query.pair("who", self.actor.as_deref())?;
        query.pair("what", self.action.as_deref())?;
        query.pair("target", self.target.as_deref())?;
        query.pair("q", self.text.as_deref())?;
        query.pair("within", self.within.map(TimeRange::as_str))?;
        query.pair("from", self.from.map(|day| day.to_string()).as_deref())?;
        query.pair("to", self.to.map(|day| day.to_string()).as_deref())?;
        query.pair("archived", self.archived.then_some("1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back() {
        let url = AuditUrl {
            actor: Some("ann & co".into()),
            action: Some("device.".into()),
            target: Some("käse <b>".into()),
            text: Some("a=b".into()),
            within: Some(TimeRange::Week),
            from: NaiveDate::from_ymd_opt(2026, 11, 1),
            to: NaiveDate::from_ymd_opt(2026, 11, 2),
            archived: true,
        };
        assert_eq!(AuditUrl::from(url.to_string().as_str()), url);
        assert_eq!(AuditUrl::from("within=9y&from=x&who=&other=1"), AuditUrl::default());
        assert_eq!(AuditUrl::default().to_string(), "");
    }

    #[test]
    fn a_download_refuses_what_it_does_not_understand() {
        let field = |query: &str| AuditUrl::exact_from_address(query).map_err(|invalid| invalid.field);
        for (query, bad) in [("within=9y", "within"), ("from=x", "from"), ("to=2026-13-01", "to"), ("whom=ann", "whom")] {
            assert_eq!(field(query), Err(bad.to_owned()), "{query}");
        }
        assert!(field("who=ann&what=device.&from=2026-11-01&to=2026-11-02&within=7d").is_ok());
        // As an empty form writes it.
        assert_eq!(field("who=&from="), Ok(AuditUrl::default()));
    }

    #[test]
    fn days_are_whole_and_go_before_a_range() {
        let now = Timestamp::from_timestamp(1_780_000_000, 0).unwrap();
        let day = |d| NaiveDate::from_ymd_opt(2026, 11, d);
        let filter = AuditUrl { within: Some(TimeRange::Hour), from: day(1), to: day(1), ..AuditUrl::default() }.filter(now);
        let reported = |at: Option<Timestamp>| at.unwrap().to_rfc3339();
        assert_eq!(
            (reported(filter.from), reported(filter.to)),
            ("2026-11-01T00:00:00+00:00".into(), "2026-11-01T23:59:59.999999+00:00".into())
        );
        let filter = AuditUrl { within: Some(TimeRange::Hour), ..AuditUrl::default() }.filter(now);
        assert_eq!((filter.from, filter.to), (Some(now - TimeDelta::hours(1)), None));
    }
}
